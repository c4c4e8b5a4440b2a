// Asks both versions with the generated client, and prints what they answer.
import { estimateTimeToDispatch, estimateTimesToDispatch } from "./generated/client";
import type { EstimateRequest, EstimatesRequest, Fault } from "./generated/client";
import { client } from "./generated/client/client.gen";

declare const process: { argv: string[] };

async function ask(one: EstimateRequest, many: EstimatesRequest): Promise<void> {
  const estimate = await estimateTimeToDispatch({ body: one, throwOnError: true });
  const estimates = await estimateTimesToDispatch({ body: many, throwOnError: true });
  const refused = await estimateTimesToDispatch({ body: { orders: [] } });
  const faults = refused.error?.detail as Fault[];
  console.log(
    JSON.stringify({ one: estimate.data, many: estimates.data, loc: faults[0]?.loc }),
  );
}

client.setConfig({ baseUrl: process.argv[2] });
const order: EstimateRequest = { product_code: "SKU001", orders_placed: 112 };
void ask(order, { orders: [order, { ...order, product_code: "SKU002" }], level: 0.8 });
