"""Stage 2: load the newest model and answer estimate requests over HTTP.

Usage: python -m pipeline.serve_model S3_BUCKET
       python -m pipeline.serve_model redis://HOST:6379/0

Takes the newest model in s3://S3_BUCKET/models/ and listens on port 8000 of all
interfaces, or on PORT and HOST of the environment. The port opens when the model is
loaded. SIGTERM ends the service when no more requests come and all are answered.

From a Redis (redis://, rediss:// or unix://) it takes the model that was put there by
`python -m pipeline.batch S3_BUCKET publish`, and each that is published later, within a
second. REDIS_PASSWORD holds the password, for arguments are no secret.
"""

import logging
from collections.abc import Sequence
from functools import partial

from pipeline.logs import StageParser, end_on_signals, ending_with_errors

if __name__ == "__main__":
    chosen = StageParser("pipeline.serve_model", __doc__).parse_args()
    end_on_signals("loading the model")

from fastapi import FastAPI
from fastapi.responses import Response

from pipeline import aws
from pipeline.connections import serve
from pipeline.estimator import Curve, read_curves, read_products, read_ranges
from pipeline.orders import MODELS_FOLDER
from pipeline.publication import Follower, is_address
from pipeline.service import (
    ORDERS_PLACED,
    EstimateMetrics,
    JsonResponse,
    ModelEstimates,
    Readiness,
    add_estimate,
    add_estimates,
    add_metrics,
    create_service,
)

__all__ = ["create_app", "main"]

DESCRIPTION = """
How long will the dispatch of an order of spare parts take? Ask before the order is
placed, with the product and the number of orders already placed that day.

Estimates are in hours. A new model is trained on each week's orders; each answer names
the one that answered. A request that cannot be answered gets 422 with the field at
fault in `detail[].loc` and the reason in `detail[].msg`.
"""

log = logging.getLogger("pipeline")


def main(source: str) -> None:
    """Load the newest model, then serve it until SIGTERM or SIGINT.

    Args:
        source: A bucket, or the address of a Redis, which is followed.

    Raises:
        RuntimeError: The model could not be loaded, or the port not be opened.
        ValueError: PORT is no port, or the address none of a Redis.
    """
    log.info("Starting serve-model stage.")
    find_newer = None
    if is_address(source):
        follower = Follower(source, check=read_curves)
        model, refusals = follower.read_first()
        find_newer = partial(find_newer_app, follower)
    else:
        model, refusals = aws.get_newest_good_model_from_s3(
            source, MODELS_FOLDER, check=read_curves
        )
    app = create_app(model, refusals)
    log.info(f"Loaded model {model}")
    serve(app, find_newer)


def find_newer_app(follower: Follower) -> FastAPI | None:
    """Build the application of what was published since; None if nothing was."""
    newer = follower.read_newer()
    return None if newer is None else create_app(*newer)


def create_app(model: aws.Model, refusals: Sequence[str] = ()) -> FastAPI:
    """Build the application that answers with a model.

    Args:
        refusals: Why newer models were not taken; told by /readyz.

    Raises:
        RuntimeError: The model does not estimate each of its products.
    """
    products = read_products(model)
    by_orders = sorted(
        read_curves(model).items(), key=lambda item: -(products[item[0]].orders or 0)
    )
    curves = dict(by_orders)
    readiness = Readiness(
        model_version=str(model),
        refused=list(refusals),
        kept_products={
            code: product.learnt_at
            for code, product in products.items()
            if product.is_kept
        },
    )
    app = create_service("Time to Dispatch", "0.2", DESCRIPTION, model, readiness)
    metrics = EstimateMetrics(curves)
    add_estimate(app, model, curves, metrics)
    add_estimates(app, model, curves, read_ranges(model), metrics)
    add_model_estimates(app, curves)
    add_metrics(app, metrics)
    return app


def add_model_estimates(app: FastAPI, curves: dict[str, Curve]) -> None:
    """Tell what the model says of one order of each product."""
    of_each = {code: curve(ORDERS_PLACED) for code, curve in curves.items()}
    said = ModelEstimates(orders_placed=ORDERS_PLACED, est_hours_to_dispatch=of_each)
    # Made once, for there may be thousands.
    content = said.model_dump_json().encode()

    @app.get(
        "/readyz/estimates",
        response_model=ModelEstimates,
        summary="What does its model say?",
        tags=["operation"],
    )
    async def get_model_estimates() -> Response:
        """Answers what the estimates of one order of each product have to be."""
        return JsonResponse(content)


if __name__ == "__main__":
    with ending_with_errors("serving model"):
        main(chosen.s3_bucket)
