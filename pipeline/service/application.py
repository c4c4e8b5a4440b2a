"""The application around an endpoint: what every service of a model answers alike."""

from collections.abc import Callable, Coroutine
from inspect import signature
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client.registry import Collector
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from pipeline import aws
from pipeline.service.answers import Refusal, Liveness, Readiness
from pipeline.service.counted_route import CountedRoute
from pipeline.service.documentation import add_documentation
from pipeline.service.json_route import NOT_JSON, JsonRoute
from pipeline.service.request_limits import FAILURE, REFUSALS
from pipeline.service.service_metrics import ServiceMetrics, add_metrics_page


def create_service(
    title: str, version: str, description: str, model: aws.Model, readiness: Readiness
) -> FastAPI:
    """Build an application that answers /livez, /readyz, /metrics and /docs, and
    refuses in JSON.

    Args:
        title, version, description: For the documentation; the last in Markdown.
        model: The model in service, which /metrics describes.
        readiness: What /readyz answers.
    """
    app = FastAPI(
        # FastAPI's own is no route of ours, and would not be counted.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # Such redirects would lead to whatever host a request names.
        redirect_slashes=False,
        title=title,
        version=version,
        description=description,
        responses=describe_refusals({**REFUSALS, 500: FAILURE}),
    )

    metrics = ServiceMetrics(app.routes, model, newer_refused=len(readiness.refused))
    app.state.metrics = metrics
    app.router.route_class = CountedRoute

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
        """Name the fields at fault, without repeating what may not be valid JSON."""
        detail = [
            {"loc": list(map(ascii_only, fault["loc"])), "msg": fault["msg"]}
            | {"type": fault["type"]}
            for fault in error.errors()
        ]
        metrics.count_failure(422, request)
        metrics.invalid[detail[0]["type"]] += 1
        return JSONResponse({"detail": detail}, status_code=422)

    @app.exception_handler(HTTPException)
    async def decline(request: Request, error: HTTPException) -> Response:
        """Answer as FastAPI does."""
        metrics.count_failure(error.status_code, request)
        return await http_exception_handler(request, error)

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> JSONResponse:
        """Say nothing of the inside; the server logs the error and closes."""
        metrics.count_failure(500, request)
        headers = {"connection": "close"}
        return JSONResponse({"detail": FAILURE}, status_code=500, headers=headers)

    @app.get("/livez", summary="Is the process alive?", tags=["operation"])
    async def livez() -> Liveness:
        """Answers as long as the process does."""
        return Liveness()

    @app.get("/readyz", summary="Can it answer requests?", tags=["operation"])
    async def readyz() -> Readiness:
        """Answers from the moment that a model is loaded, and names it."""
        return readiness

    add_metrics_page(app, metrics.registry)
    add_documentation(app)
    return app


def add_endpoint(
    app: FastAPI,
    path: str,
    answer: Callable[..., Coroutine[Any, Any, Any]],
    request_model: type[BaseModel],
    response_model: type[BaseModel],
    summary: str,
    tag: str,
) -> None:
    """Let an application answer POST requests in JSON.

    Args:
        answer: Takes the request; its docstring is documentation.
        request_model: What it takes, in JSON.
        response_model: What it answers with, in JSON.
    """
    # FastAPI takes the type of the request from the annotation.
    [parameter] = signature(answer).parameters
    answer.__annotations__[parameter] = request_model
    app.router.add_api_route(
        path,
        answer,
        methods=["POST"],
        response_model=response_model,
        summary=summary,
        tags=[tag],
        responses=describe_refusals({415: NOT_JSON}),
        route_class_override=JsonRoute,
    )
    # Routes are tried one after the other, and this one is what is asked for.
    app.router.routes.insert(0, app.router.routes.pop())


def add_metrics(app: FastAPI, collector: Collector) -> None:
    """Let /metrics answer with what a collector counts as well."""
    app.state.metrics.registry.register(collector)


def describe_refusals(refusals: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Document answers other than what is asked for, by status."""
    described: dict[int | str, dict[str, Any]] = {
        status: {"model": Refusal, "description": detail}
        for status, detail in refusals.items()
    }
    if 503 in described:
        described[503]["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
        }
    return described


def ascii_only(location: str | int) -> str | int:
    """Make a field name that a client invented safe to repeat in JSON."""
    return ascii(location)[1:-1] if isinstance(location, str) else location
