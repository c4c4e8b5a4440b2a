"""Stage 2: load the newest model and answer estimate requests over HTTP.

Usage: python -m pipeline.serve_model S3_BUCKET

Takes the newest model in s3://S3_BUCKET/models/ and listens on port 8000 of all
interfaces, or on PORT and HOST of the environment. The port opens when the model is
loaded. SIGTERM ends the service when no more requests come and all are answered.
"""

import logging
from collections.abc import Sequence
from math import isfinite

from pipeline.logs import StageParser, end_on_signals, ending_with_errors

if __name__ == "__main__":
    chosen = StageParser("pipeline.serve_model", __doc__).parse_args()
    end_on_signals("loading the model")

from fastapi import FastAPI
from fastapi.responses import Response

from pipeline import aws
from pipeline.estimator import most_orders_placed, read_curves, read_products
from pipeline.orders import MODELS_FOLDER
from pipeline.service import (
    ORDERS_PLACED,
    Estimate,
    EstimateMetrics,
    ModelEstimates,
    Order,
    Readiness,
    add_endpoint,
    add_metrics,
    create_service,
    make_request_model,
    serve,
)

__all__ = ["create_app", "main"]

JSON = {"content-type": "application/json"}

DESCRIPTION = """
How long will the dispatch of an order of spare parts take? Ask before the order is
placed, with the product and the number of orders already placed that day.

Estimates are in hours. A new model is trained on each week's orders; `model_version`
names the one that answered. A request that cannot be answered gets 422 with the field
at fault in `detail[].loc` and the reason in `detail[].msg`.
"""

log = logging.getLogger("pipeline")


def main(s3_bucket: str) -> None:
    """Load the newest model, then serve it until SIGTERM or SIGINT.

    Raises:
        RuntimeError: The model could not be loaded, or the port not be opened.
        ValueError: PORT is no port.
    """
    log.info("Starting serve-model stage.")
    model, refusals = aws.get_newest_good_model_from_s3(
        s3_bucket, MODELS_FOLDER, check=read_curves
    )
    app = create_app(model, refusals)
    log.info(f"Loaded model {model}")
    serve(app)


def create_app(model: aws.Model, refusals: Sequence[str] = ()) -> FastAPI:
    """Build the application that answers with a model.

    Args:
        refusals: Why newer models were not taken; told by /readyz.

    Raises:
        RuntimeError: The model does not estimate each of its products.
    """
    curves, products = read_curves(model), read_products(model)
    by_orders = sorted(curves, key=lambda code: -(products[code].orders or 0))
    metrics = EstimateMetrics(
        {code: most_orders_placed(curves[code]) for code in by_orders}
    )
    model_version = str(model)
    before, after = split_around_hours(model_version)

    async def time_to_dispatch(order: Order) -> Response:
        """Estimate the hours from order to dispatch of one product."""
        hours = curves[order.product_code](order.orders_placed)
        if not isfinite(hours):
            raise RuntimeError(f"{model_version} estimates {hours} hours for {order}.")
        metrics.count(order.product_code, order.orders_placed, hours)
        # JSON of an Estimate, of which all but the number is made once.
        return Response(b"%b%a%b" % (before, hours, after), headers=JSON)

    readiness = Readiness(
        model_version=model_version,
        refused=list(refusals),
        kept_products={
            code: product.learnt_at
            for code, product in products.items()
            if product.is_kept
        },
    )
    app = create_service("Time to Dispatch", "0.1", DESCRIPTION, model, readiness)
    add_endpoint(
        app,
        "/api/v0.1/time_to_dispatch",
        time_to_dispatch,
        make_request_model(curves),
        Estimate,
        summary="Estimate the time to dispatch",
        tag="estimates",
    )
    of_each = {code: curve(ORDERS_PLACED) for code, curve in curves.items()}
    said = ModelEstimates(orders_placed=ORDERS_PLACED, est_hours_to_dispatch=of_each)
    # Made once, for there may be thousands.
    content = said.model_dump_json()

    @app.get(
        "/readyz/estimates",
        response_model=ModelEstimates,
        summary="What does its model say?",
        tags=["operation"],
    )
    async def model_estimates() -> Response:
        """Answers what the estimates of one order of each product have to be."""
        return Response(content, headers=JSON)

    add_metrics(app, metrics)
    return app


def split_around_hours(model_version: str) -> tuple[bytes, bytes]:
    """Make what stands before and after the hours in the JSON of an `Estimate`."""
    estimate = Estimate(est_hours_to_dispatch=0.5, model_version=model_version)
    before, _, after = estimate.model_dump_json().encode().partition(b"0.5")
    return before, after


if __name__ == "__main__":
    with ending_with_errors("serving model"):
        main(chosen.s3_bucket)
