"""A route that takes JSON and nothing else."""

from fastapi import HTTPException, Request

from pipeline.service.counted_route import CountedRoute

JSON = "application/json"
NOT_JSON = "The body is not declared as JSON; set Content-Type: application/json."


class JsonRoute(CountedRoute):
    """Answers 415 where FastAPI would take the bytes for a value of the wrong type.

    A dependency could do the same, at an eighth of the estimates a second.
    """

    def check(self, request: Request) -> None:
        content_type = request.headers.get("content-type", "")
        if content_type != JSON:
            media_type = content_type.partition(";")[0].rstrip().lower()
            if media_type != JSON:
                raise HTTPException(415, NOT_JSON)
