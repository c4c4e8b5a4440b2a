"""What the platform team sends and gets: the estimate request and its answer."""

from collections.abc import Collection
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipeline.orders import MAX_ORDERS_PLACED
from pipeline.service.nearest_code import NearestCode

UNKNOWN = "Input should be the code of a product that the model in service knows"
NEAREST = f"{UNKNOWN}; did you mean '{{nearest}}'?"
NONE_NEAR = f"{UNKNOWN}; /openapi.json lists them"
# Of the order that stands for all those of a product.
ORDERS_PLACED = 112


class Order(BaseModel):
    """What an estimate is asked for."""

    model_config = ConfigDict(extra="forbid")

    product_code: str
    orders_placed: Annotated[
        float,
        Field(
            strict=True,
            ge=0,
            le=MAX_ORDERS_PLACED,
            allow_inf_nan=False,
            description="Orders already placed today, of all products (orders).",
        ),
    ]


def make_request_model(products: Collection[str]) -> type[Order]:
    """Make the order that is valid for these product codes alone."""
    codes = sorted(products)
    known = frozenset(codes)
    nearest_code = NearestCode(codes)

    def check(code: object) -> object:
        if isinstance(code, str) and code in known:
            return code
        # However many are known, a refusal is as short.
        nearest = nearest_code.find(code)
        if nearest is None:
            raise PydanticCustomError("literal_error", NONE_NEAR)
        raise PydanticCustomError("literal_error", NEAREST, {"nearest": nearest})

    class EstimateRequest(Order):
        """An order that a customer is about to place."""

        model_config = ConfigDict(
            json_schema_extra={
                "examples": [{"product_code": codes[0], "orders_placed": ORDERS_PLACED}]
            },
        )

        product_code: Annotated[
            str,
            PlainValidator(check),
            WithJsonSchema({"type": "string", "enum": codes}),
            Field(description="Code of the product to be ordered."),
        ]

    return EstimateRequest


class ModelEstimates(BaseModel):
    """What the model in service says of one order of each product."""

    orders_placed: Annotated[float, Field(description="Of each of these orders.")]
    est_hours_to_dispatch: Annotated[
        dict[str, float], Field(description="By product code (hours).")
    ]


class Estimate(BaseModel):
    """How long the dispatch of that order will take."""

    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "est_hours_to_dispatch": 5.321,
                    "model_version": "name:time-to-dispatch"
                    "|model_type:DecisionTreeRegressor"
                    "|model_timestamp:2021-07-02T23:45:32.000000+00:00"
                    "|model_hash:6b3a55e0261b0304"
                    "|train_dataset_key:"
                    "datasets/time_to_dispatch_2021-07-02T23:00:00.csv"
                    "|train_dataset_hash:0b5a3f1d09c8e7f6"
                    "|pipeline_git_commit_hash:1f2e3d4",
                }
            ]
        },
    )

    est_hours_to_dispatch: Annotated[
        float, Field(description="Estimated time from order to dispatch (hours).")
    ]
    model_version: Annotated[
        str,
        Field(
            description="Which model made the estimate, from which delivery and code: "
            "key:value pairs separated by |. Quote it when you report an estimate."
        ),
    ]
