"""One estimate: what the platform team sends and gets, and the endpoint between."""

from collections.abc import Collection, Mapping
from math import isfinite
from typing import Annotated, Any

from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from pipeline import aws
from pipeline.estimator import Curve
from pipeline.orders import MAX_ORDERS_PLACED
from pipeline.service.application import Example, add_endpoint
from pipeline.service.estimate_metrics import EstimateMetrics
from pipeline.service.json_response import JsonResponse
from pipeline.service.nearest_code import NearestCode

PATH = "/api/v0.1/time_to_dispatch"

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

    # Named, so that the document lists thousands of them once.
    ProductCode = TypeAliasType(
        "ProductCode",
        Annotated[
            str,
            PlainValidator(check),
            WithJsonSchema(
                {
                    "type": "string",
                    "enum": codes,
                    "description": "A product that the model in service knows.",
                }
            ),
        ],
    )

    class EstimateRequest(Order):
        """An order that a customer is about to place."""

        model_config = ConfigDict(json_schema_extra={"examples": [make_example(codes)]})

        product_code: Annotated[
            ProductCode,
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

    model_config = ConfigDict(protected_namespaces=())

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


def add_estimate(
    app: FastAPI,
    model: aws.Model,
    curves: Mapping[str, Curve],
    metrics: EstimateMetrics,
) -> None:
    """Let an application estimate one order.

    Args:
        curves: Of the model, by product.
    """
    model_version = str(model)
    before, after = split_around_hours(model_version)

    async def estimate_time_to_dispatch(order: Order) -> Response:
        """Estimate the hours from order to dispatch of one product."""
        code, orders_placed = order.product_code, order.orders_placed
        hours = curves[code](orders_placed)
        if not isfinite(hours):
            raise RuntimeError(f"{model_version} estimates {hours} hours for {order}.")
        metrics.count(code, orders_placed)
        # JSON of an Estimate, of which all but the number is made once.
        return JsonResponse(b"%b%a%b" % (before, hours, after))

    asked = make_example(curves)
    answer = {
        "est_hours_to_dispatch": curves[asked["product_code"]](asked["orders_placed"]),
        "model_version": model_version,
    }
    add_endpoint(
        app,
        PATH,
        estimate_time_to_dispatch,
        make_request_model(curves),
        Estimate,
        summary="Estimate the time to dispatch of one order",
        tag="estimates",
        example=Example(asked, answer),
        # As this version has always said.
        bad_json="JSON decode error",
    )


def split_around_hours(model_version: str) -> tuple[bytes, bytes]:
    """Make what stands before and after the hours in the JSON of an `Estimate`."""
    estimate = Estimate(est_hours_to_dispatch=0.5, model_version=model_version)
    before, _, after = estimate.model_dump_json().encode().partition(b"0.5")
    return before, after


def make_example(products: Collection[str]) -> dict[str, Any]:
    """Make an order that the documentation can show."""
    return {"product_code": min(products), "orders_placed": ORDERS_PLACED}
