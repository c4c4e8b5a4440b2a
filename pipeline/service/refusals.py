"""What ends a request early: that it is refused, or that the service failed."""

from collections.abc import Iterable

from fastapi import Response
from pydantic_core import to_json

from pipeline.connections import FAILURE
from pipeline.service.faults import Fault
from pipeline.service.json_response import JsonResponse


class Refused(Exception):
    """A request is refused.

    Attributes:
        status: Of the answer.
        detail: What is wrong, for a person to read, or field by field.
        headers: Of the answer, beside those of all.
    """

    def __init__(
        self,
        status: int,
        detail: str | list[Fault],
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.headers = headers

    def make_response(self) -> Response:
        content = to_json({"detail": self.detail})
        return JsonResponse(content, self.status, self.headers)


def make_failure() -> Response:
    """Say nothing of the inside; the server logs the error and closes."""
    return Refused(500, FAILURE, [(b"connection", b"close")]).make_response()
