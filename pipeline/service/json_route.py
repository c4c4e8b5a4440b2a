"""A route that takes JSON and nothing else."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

JSON = "application/json"
NOT_JSON = "The body is not declared as JSON; set Content-Type: application/json."


class JsonRoute(APIRoute):
    """Answers 415 where FastAPI would take the bytes for a value of the wrong type.

    A dependency could do the same, at an eighth of the estimates a second.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            content_type = request.headers.get("content-type", "")
            if content_type != JSON:
                media_type = content_type.partition(";")[0].rstrip().lower()
                if media_type != JSON:
                    raise HTTPException(415, NOT_JSON)
            return await handle(request)

        return handle_json
