"""Stage 2: load the newest model and answer estimate requests over HTTP.

Usage: python -m pipeline.serve_model S3_BUCKET

Takes the newest model in s3://S3_BUCKET/models/ and listens on port 8000 of all
interfaces, or on PORT and HOST of the environment. The port opens when the model is
loaded. SIGTERM ends the service when no more requests come and all are answered.
"""

import gc
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from math import isfinite
from os import environ
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from pipeline import aws
from pipeline.documentation import add_documentation
from pipeline.estimators import read_estimators
from pipeline.estimates import (
    Estimate,
    EstimateRequest,
    Liveness,
    Readiness,
    Refusal,
)
from pipeline.graceful_shutdown import MAX_ANSWERING_SECONDS, GracefulServer
from pipeline.json_route import NOT_JSON, JsonRoute
from pipeline.logs import configure_logger
from pipeline.orders import MODELS_FOLDER
from pipeline.request_limits import REFUSALS, LimitedProtocol, refusal_log
from pipeline.response_headers import RESPONSE_HEADERS

__all__ = ["create_app", "main"]

DEFAULT_HOST = "0.0.0.0"
DEFAULT_PORT = "8000"

OBJECTS_PER_COLLECTION = 50_000

JSON = {"content-type": "application/json"}
FAILURE = "The service failed to answer; its log says why."

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
        s3_bucket, MODELS_FOLDER, check=read_estimators
    )
    app = create_app(model, refusals)
    log.info(f"Loaded model {model}")
    listener = open_port(
        environ.get("HOST", DEFAULT_HOST), environ.get("PORT", DEFAULT_PORT)
    )
    serve(app, listener)
    log.info("Stopped: the requests in flight are answered.")


def create_app(model: aws.Model, refusals: Sequence[str] = ()) -> FastAPI:
    """Build the application that answers with a model.

    Args:
        refusals: Why newer models were not taken; told by /readyz.

    Raises:
        RuntimeError: The model does not estimate every product.
    """
    estimators = read_estimators(model)
    model_version = str(model)
    before, after = split_around_hours(model_version)
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        # Such redirects would lead to whatever host a request names.
        redirect_slashes=False,
        title="Time to Dispatch",
        version="0.1",
        description=DESCRIPTION,
        responses=describe_refusals({**REFUSALS, 500: FAILURE}),
    )

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
        """Name the fields at fault, without repeating what may not be valid JSON."""
        detail = [
            {"loc": list(map(ascii_only, fault["loc"])), "msg": fault["msg"]}
            | {"type": fault["type"]}
            for fault in error.errors()
        ]
        return JSONResponse({"detail": detail}, status_code=422)

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> JSONResponse:
        """Say nothing of the inside; uvicorn logs the error and closes."""
        headers = {"connection": "close"}
        return JSONResponse({"detail": FAILURE}, status_code=500, headers=headers)

    async def time_to_dispatch(order: EstimateRequest) -> Response:
        """Estimate the hours from order to dispatch of one product."""
        hours = estimators[order.product_code](order.orders_placed)
        if not isfinite(hours):
            raise RuntimeError(f"{model_version} estimates {hours} hours for {order}.")
        # JSON of an Estimate, of which all but the number is made once.
        return Response(b"%b%a%b" % (before, hours, after), headers=JSON)

    app.router.add_api_route(
        "/api/v0.1/time_to_dispatch",
        time_to_dispatch,
        methods=["POST"],
        response_model=Estimate,
        summary="Estimate the time to dispatch",
        tags=["estimates"],
        responses=describe_refusals({415: NOT_JSON}),
        route_class_override=JsonRoute,
    )

    @app.get("/livez", summary="Is the process alive?", tags=["operation"])
    async def livez() -> Liveness:
        """Answers as long as the process does."""
        return Liveness()

    @app.get("/readyz", summary="Can it answer estimates?", tags=["operation"])
    async def readyz() -> Readiness:
        """Answers from the moment that a model is loaded, and names it."""
        return Readiness(model_version=model_version, refused=list(refusals))

    # Last, for the routes before it are tried first.
    add_documentation(app)
    return app


def describe_refusals(refusals: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Document answers other than an estimate, by status."""
    described: dict[int | str, dict[str, Any]] = {
        status: {"model": Refusal, "description": detail}
        for status, detail in refusals.items()
    }
    if 503 in described:
        described[503]["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
        }
    return described


def split_around_hours(model_version: str) -> tuple[bytes, bytes]:
    """Make what stands before and after the hours in the JSON of an `Estimate`."""
    estimate = Estimate(est_hours_to_dispatch=0.5, model_version=model_version)
    before, _, after = estimate.model_dump_json().encode().partition(b"0.5")
    return before, after


def ascii_only(location: str | int) -> str | int:
    """Make a field name that a client invented safe to repeat in JSON."""
    return ascii(location)[1:-1] if isinstance(location, str) else location


def open_port(host: str, port: str) -> socket.socket:
    """Listen on a port.

    Raises:
        RuntimeError: The port is taken or not allowed.
        ValueError: It is no port.
    """
    if not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError(f"PORT={port} is no port; set it to a number up to 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family, backlog=2048)
    except OSError as error:
        raise RuntimeError(
            f"Could not listen on {host}:{port}: {error.strerror}; "
            "choose another port with PORT."
        ) from error


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Answer requests until SIGTERM or SIGINT, and all that were accepted by then."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=LimitedProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        # Whoever sends garbage shall not fill the log.
        log_level="error",
        headers=RESPONSE_HEADERS,
        server_header=False,
        timeout_graceful_shutdown=MAX_ANSWERING_SECONDS,
    )
    server = GracefulServer(config)
    # For a signal that comes before uvicorn has its own handlers, and for the one that
    # it raises once more when it has ended: the exit code is to be 0.
    signal.signal(signal.SIGTERM, server.handle_exit)
    signal.signal(signal.SIGINT, server.handle_exit)
    make_garbage_collections_rare()
    host, port = listener.getsockname()[:2]
    log.info(f"Answering on http://{host}:{port}, documentation on /docs.")
    server.run(sockets=[listener])
    refusal_log.write()


def make_garbage_collections_rare() -> None:
    """Collect when there may be garbage worth it, not with every few connections.

    Requests leave next to none, yet while 10,000 connections come and go, the pauses to
    look for it would hold up every hundredth answer for 0.1 seconds.
    """
    gc.freeze()
    gc.set_threshold(OBJECTS_PER_COLLECTION)


if __name__ == "__main__":
    configure_logger()
    if len(sys.argv) != 2 or not sys.argv[1]:
        log.error("Invalid arguments passed to serve_model.py: expected S3_BUCKET.")
        print(__doc__)
        sys.exit(1)
    try:
        main(sys.argv[1])
    except Exception as error:
        log.error(f"Error encountered when serving model - {error}")
        sys.exit(1)
