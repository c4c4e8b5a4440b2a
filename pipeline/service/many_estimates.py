"""Many estimates: what the platform team sends and gets, and the endpoint between."""

import asyncio
import json
from collections.abc import Mapping
from math import isfinite
from typing import Annotated

from fastapi import FastAPI, Response
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from pipeline import aws
from pipeline.estimator import (
    DEFAULT_LEVEL,
    LEVELS,
    Curve,
    Ranges,
    most_orders_placed,
)
from pipeline.service.application import Example, add_endpoint
from pipeline.service.estimate_metrics import EstimateMetrics
from pipeline.service.estimates import Order, make_example, make_request_model
from pipeline.service.json_response import JsonResponse

PATH = "/api/v0.2/times_to_dispatch"

MAX_ORDERS = 1_000
# Of so many orders with codes of 64 letters.
MAX_BODY_BYTES = 128 * 1024
ONE_LEVEL = f"Input should be one of {', '.join(map(str, LEVELS))}"

# An enum of numbers is one that generators of clients do not know.
LEVEL_SCHEMA = {"anyOf": [{"type": "number", "const": level} for level in LEVELS]}
# As much as several estimates of one order take.
ORDERS_AT_A_TIME = 50
WITHOUT_RANGE = '{"est_hours_to_dispatch":%.4f,"range":null,"beyond_observed":%s}'
WITH_RANGE = (
    '{"est_hours_to_dispatch":%.4f,"range":{"level":%s,"lower":%.4f,"upper":%.4f},'
    '"beyond_observed":%s}'
)
BOOLEANS = ("false", "true")
HOURS = "(hours, with four decimals: to the second)."


class Orders(BaseModel):
    """The orders of a request.

    Attributes:
        level: Of the ranges.
    """

    orders: list[Order]
    level: float


def check_level(level: float) -> float:
    if level not in LEVELS:
        raise PydanticCustomError("literal_error", ONE_LEVEL)
    return level


def make_many_request_model(request_model: type[Order]) -> type[Orders]:
    """Make the request of many orders from that of one."""

    class EstimatesRequest(Orders):
        """Orders that a customer is about to place."""

        model_config = ConfigDict(extra="forbid")

        orders: Annotated[
            list[request_model],  # type: ignore[valid-type]
            # The first bad one is told of, and the others are not looked at.
            FailFast(),
            Field(min_length=1, max_length=MAX_ORDERS),
        ]
        level: Annotated[
            float,
            Field(
                strict=True,
                description="Which share of dispatches the ranges are to hold.",
            ),
            AfterValidator(check_level),
            WithJsonSchema(LEVEL_SCHEMA),
        ] = DEFAULT_LEVEL

    return EstimatesRequest


class ModelName(BaseModel):
    """Which model answered. Quote it when you report an estimate."""

    timestamp: Annotated[
        str, Field(description="When it was made, in UTC and ISO 8601.")
    ]
    delivery: Annotated[
        str, Field(description="Key of the delivery that it was trained on.")
    ]
    code: Annotated[str, Field(description="Commit that it was trained by.")]
    hash: Annotated[str, Field(description="SHA-256 of what was learnt.")]


class Range(BaseModel):
    """Between which hours that share of dispatches takes."""

    level: Annotated[float, Field(description="The share that was asked for.")]
    lower: Annotated[float, Field(description=f"At least so long {HOURS}")]
    upper: Annotated[float, Field(description=f"At most so long {HOURS}")]


class OrderEstimate(BaseModel):
    """How long the dispatch of one order will take."""

    est_hours_to_dispatch: Annotated[
        float, Field(description=f"Estimated time from order to dispatch {HOURS}")
    ]
    range: Annotated[
        Range | None,
        Field(
            description="Null if the model has seen too few orders to tell, for this "
            "product at this level."
        ),
    ]
    beyond_observed: Annotated[
        bool,
        Field(
            description="Whether so many orders placed, or so few, were never "
            "observed: the estimate is that of the nearest number that was, and the "
            "range says nothing."
        ),
    ]


class Estimates(BaseModel):
    """How long the dispatch of those orders will take."""

    model: ModelName
    estimates: Annotated[
        list[OrderEstimate],
        Field(
            min_length=1,
            max_length=MAX_ORDERS,
            description="One for each order, in the order asked.",
        ),
    ]


def add_estimates(
    app: FastAPI,
    model: aws.Model,
    curves: Mapping[str, Curve],
    ranges: Ranges | None,
    metrics: EstimateMetrics,
) -> None:
    """Let an application estimate many orders at once.

    Args:
        curves: Of the model, by product.
        ranges: Of the model, if it has some.
    """
    name = name_model(model)
    before = b'{"model":%b,"estimates":[' % name.model_dump_json().encode()

    async def estimate_times_to_dispatch(request: Orders) -> Response:
        """Estimate the hours from order to dispatch of many orders, with ranges."""
        asked = [(each.product_code, each.orders_placed) for each in request.orders]
        texts: list[str] = []
        for start in range(0, len(asked), ORDERS_AT_A_TIME):
            if start:
                # Others are not to wait for all of them.
                await asyncio.sleep(0)
            texts += [
                write_estimate(code, placed, request.level, curves[code], ranges)
                for code, placed in asked[start : start + ORDERS_AT_A_TIME]
            ]
        metrics.count_all(asked)
        return JsonResponse(b"%b%b]}" % (before, ",".join(texts).encode()))

    asked = make_example(curves)
    code, orders_placed = asked.values()
    text = write_estimate(code, orders_placed, DEFAULT_LEVEL, curves[code], ranges)
    add_endpoint(
        app,
        PATH,
        estimate_times_to_dispatch,
        make_many_request_model(make_request_model(curves)),
        Estimates,
        summary="Estimate the times to dispatch of up to 1,000 orders",
        tag="estimates",
        example=Example(
            {"orders": [asked], "level": DEFAULT_LEVEL},
            {"model": name.model_dump(), "estimates": [json.loads(text)]},
        ),
        max_body_bytes=MAX_BODY_BYTES,
    )


def write_estimate(
    code: str,
    orders_placed: float,
    level: float,
    curve: Curve,
    ranges: Ranges | None,
) -> str:
    """Make the JSON of an `OrderEstimate`, for a quarter of what pydantic takes.

    Raises:
        RuntimeError: It is not a number.
    """
    hours = curve(orders_placed)
    around = None
    if ranges is None:
        beyond = orders_placed > most_orders_placed(curve)
    else:
        beyond = ranges.is_beyond(code, orders_placed)
        around = ranges.around(code, hours, level)
    # Ranges hold their estimate.
    if not isfinite(around[1] if around else hours):
        raise RuntimeError(f"Of {orders_placed} orders of {code}: {hours} {around}.")
    if around is None:
        return WITHOUT_RANGE % (hours, BOOLEANS[beyond])
    return WITH_RANGE % (hours, level, *around, BOOLEANS[beyond])


def name_model(model: aws.Model) -> ModelName:
    return ModelName(
        timestamp=model.creation_time,
        delivery=model.train_dataset_key,
        code=model.pipeline_git_commit_hash,
        hash=model.hash,
    )
