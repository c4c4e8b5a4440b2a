"""The application around endpoints: what every service of a model answers alike."""

from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from pipeline import aws
from pipeline.connections import FAILURE, REFUSALS, refusal_log
from pipeline.service.answers import InvalidRequest, Liveness, Readiness, Refusal
from pipeline.service.counted_route import CountedRoute
from pipeline.service.documentation import PATH as DOCS
from pipeline.service.documentation import add_documentation
from pipeline.service.json_route import ENCODED, NOT_JSON, JsonRoute, too_large
from pipeline.service.refusals import Refused, make_failure
from pipeline.service.service_metrics import (
    ContinuedCollector,
    ServiceMetrics,
    add_metrics_page,
)

# Of an endpoint that says nothing else: more than one order, or one flower, takes.
MAX_BODY_BYTES = 8 * 1024
BAD_JSON = "The body is not valid JSON: {reason} at line {line}, column {column}."
INVALID = "A field is missing, unknown or not allowed, or the body is not valid JSON."
OPERATION = "operation"


class Example(NamedTuple):
    """A request, and what the service answers to it; both as JSON is in Python."""

    request: Any
    answer: Any


class Service(FastAPI):
    """An application that finds the route of a request in a dictionary.

    FastAPI would search for it, for as long as several estimates take; only requests
    for pages go that way. No route has parameters in its path.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        route = self._routes_by_path.get(scope["path"])
        if route is None:
            self.state.metrics.unrouted[404] += 1
            refusal_log.count(404)
            refusal = Refused(404, self._paths)
            await refusal.make_response()(scope, receive, send)
        elif scope["method"] not in (route.methods or ()):
            route.count(405, scope)
            allow = (b"allow", route.allowed.encode())
            refusal = Refused(405, "Method Not Allowed", [allow])
            await refusal.make_response()(scope, receive, send)
        elif route.answers_by_itself:
            await route.respond(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    @cached_property
    def _routes_by_path(self) -> dict[str, CountedRoute]:
        routes = (route for route in self.routes if isinstance(route, CountedRoute))
        return {route.path: route for route in routes}

    @cached_property
    def _paths(self) -> str:
        """Tells which paths there are, for people; endpoints first."""
        there_are = [
            f"{route.allowed} {route.path}"
            for route in sorted(
                self._routes_by_path.values(),
                key=lambda route: not isinstance(route, JsonRoute),
            )
            if route.include_in_schema
        ]
        return f"There is no such path; there are {', '.join(there_are)}, GET {DOCS}."

    def openapi(self) -> dict[str, Any]:
        """Make the document, once; nobody needs to prove who they are."""
        document = super().openapi()
        document["security"] = []
        return document


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
    app = Service(
        # FastAPI's own is no route of ours, and would not be counted.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        title=title,
        version=version,
        description=description,
        servers=[{"url": "/", "description": "Wherever this document is from."}],
        openapi_tags=[
            {"name": OPERATION, "description": "For Kubernetes, and for releases."}
        ],
        responses=describe_refusals({**REFUSALS, 500: FAILURE}),
        # What generated clients call their functions.
        generate_unique_id_function=lambda route: route.name,
    )
    metrics = ServiceMetrics(app.routes, model, newer_refused=len(readiness.refused))
    app.state.metrics = metrics
    app.router.route_class = CountedRoute

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        request.scope["route"].count(500, request.scope)
        return make_failure()

    @app.get("/livez", summary="Is the process alive?", tags=[OPERATION])
    async def get_liveness() -> Liveness:
        """Answers as long as the process does."""
        return Liveness()

    @app.get("/readyz", summary="Can it answer requests?", tags=[OPERATION])
    async def get_readiness() -> Readiness:
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
    *,
    example: Example | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    bad_json: str = BAD_JSON,
) -> None:
    """Let an application answer POST requests in JSON.

    Args:
        answer: Takes the request; its name and docstring are documentation. It holds
            up all others until it awaits something.
        request_model: What it takes, in JSON.
        response_model: What it answers with, in JSON.
        example: For the documentation.
        max_body_bytes: How large a request may be, up to the limit of all.
        bad_json: What to say of a body that is not JSON; may have {reason}, {line} and
            {column}.
    """
    responses = {
        **app.router.responses,
        **describe_refusals(
            {413: too_large(max_body_bytes), 415: f"{NOT_JSON} {ENCODED}"}
        ),
        422: {"model": InvalidRequest, "description": INVALID},
    }
    tags = app.openapi_tags or []
    if tag not in (each["name"] for each in tags):
        # Before those of operation.
        app.openapi_tags = [*tags[:-1], {"name": tag}, tags[-1]]
    extra = {}
    if example:
        responses[200] = show(example.answer)
        extra = {"requestBody": show(example.request)}
    app.router.routes.append(
        JsonRoute(
            path,
            answer,
            request_model,
            response_model,
            max_body_bytes,
            bad_json,
            summary=summary,
            tags=[tag],
            responses=responses,
            generate_unique_id_function=app.router.generate_unique_id_function,
            openapi_extra=extra,
        )
    )


def show(example: object) -> dict[str, Any]:
    """Describe a body by an example."""
    return {"content": {"application/json": {"example": example}}}


def add_metrics(app: FastAPI, collector: ContinuedCollector) -> None:
    """Let /metrics answer with what a collector counts as well."""
    app.state.metrics.others.append(collector)
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
