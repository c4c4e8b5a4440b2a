"""A route that takes JSON, and answers without what makes a framework slow.

FastAPI documents it. What FastAPI would do with a request is done here in a fifth of
the time: a test holds both together. Refusals are made here as well, because whoever
sends what is wrong shall cost no more than whoever asks.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from inspect import signature
from itertools import islice
from typing import Any

from fastapi import Response
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json
from starlette.types import Receive, Scope

from pipeline.service.counted_route import CountedRoute
from pipeline.service.faults import (
    Fault,
    describe_bad_json,
    describe_faults,
    describe_missing_body,
    describe_unknown,
    leave_out,
    MAX_FAULTS,
)
from pipeline.service.json_response import CONTENT_TYPE
from pipeline.service.refusals import Refused

NOT_JSON = "The body is not declared as JSON; set Content-Type: application/json."
ENCODED = "The body is encoded; send it as it is, without Content-Encoding."
UNREADABLE = "There was an error parsing the body"

# Larger ones are answered one after the other, so that together they hold the memory
# of one, and the small ones need not wait for them all.
SMALL_BYTES = 8 * 1024
# Of a larger one, so much is looked at first; an order takes a tenth of it.
BEGINNING_BYTES = 1024


class JsonRoute(CountedRoute):
    """Reads a request, lets a function answer it, and refuses what is none.

    Attributes:
        invalid: How many requests were answered with 422, by the type of what is wrong.
    """

    def __init__(
        self,
        path: str,
        answer: Callable[..., Coroutine[Any, Any, Any]],
        request_model: type[BaseModel],
        response_model: type[BaseModel],
        max_body_bytes: int,
        bad_json: str,
        **settings: Any,
    ) -> None:
        """Make the route.

        Args:
            answer: Takes the request; returns a Response, or what becomes one as JSON.
            request_model: What it takes, in JSON.
            response_model: What it answers with, in JSON.
            max_body_bytes: How large a request may be.
            bad_json: What to say of a body that is not JSON; may have {reason}, {line}
                and {column}.
            settings: FastAPI's.
        """
        # FastAPI takes the type of the request from the annotation.
        [parameter] = signature(answer).parameters
        answer.__annotations__[parameter] = request_model
        super().__init__(
            path, answer, methods=["POST"], response_model=response_model, **settings
        )
        self.answer = answer
        self.request: TypeAdapter[BaseModel] = TypeAdapter(request_model)
        self.names = find_names(self.request.json_schema())
        self.max_body_bytes = max_body_bytes
        self.bad_json = bad_json
        self.invalid: Counter[str] = Counter()
        self.turn = asyncio.Lock()
        self.answers_by_itself = True
        # Which is what Starlette calls.
        self.app = self.respond

    def continue_from(self, former: CountedRoute) -> None:
        super().continue_from(former)
        assert isinstance(former, JsonRoute)
        self.invalid = former.invalid

    async def make_response(self, scope: Scope, receive: Receive) -> Response:
        check_headers(scope["headers"])
        body = await read_body(receive)
        if len(body) <= SMALL_BYTES:
            return await self.answer_to(body)
        if len(body) > self.max_body_bytes:
            raise Refused(413, too_large(self.max_body_bytes))
        async with self.turn:
            return await self.answer_to(body)

    async def answer_to(self, body: bytes) -> Response:
        return self.make_json(await self.answer(self.read(body)))

    def read(self, body: bytes) -> BaseModel:
        """Read a request.

        Raises:
            Refused: It is none.
        """
        if not body:
            raise self.refuse(describe_missing_body())
        if len(body) > BEGINNING_BYTES:
            self.check_beginning(body[:BEGINNING_BYTES])
        value = self.parse(body)
        if isinstance(value, dict) and len(value) > len(self.names) + MAX_FAULTS:
            value = leave_out(value, self.names, levels=1)
        try:
            return self.validate(value)
        except ValidationError as error:
            if error.error_count() <= MAX_FAULTS:
                raise self.refuse(describe_faults(error)) from error
        try:
            return self.validate(leave_out(value, self.names))
        except ValidationError as error:
            raise self.refuse(describe_faults(error)) from error

    def check_beginning(self, beginning: bytes) -> None:
        """Look at the first fields of a request before all of it is read.

        Raises:
            Refused: There are so many unknown ones that no other would be told of.
        """
        try:
            value = from_json(beginning, allow_partial=True)
        except ValueError:
            # Whatever it is, reading it as a whole will tell.
            return
        if not isinstance(value, dict):
            return
        unknown = (name for name in value if name not in self.names)
        first = dict.fromkeys(islice(unknown, MAX_FAULTS))
        if len(first) == MAX_FAULTS:
            raise self.refuse(describe_unknown(first))

    def validate(self, value: Any) -> BaseModel:
        # As FastAPI does, so that faults have the same words.
        return self.request.validate_python(value, from_attributes=True)

    def parse(self, body: bytes) -> Any:
        try:
            return from_json(body)
        except ValueError:
            # Python takes more, such as UTF-16, and says where what it does not begins.
            pass
        try:
            return json.loads(body)
        except json.JSONDecodeError as error:
            raise self.refuse(describe_bad_json(error, self.bad_json)) from error
        except Exception as error:
            raise Refused(400, UNREADABLE) from error

    def refuse(self, faults: list[Fault]) -> Refused:
        self.invalid[faults[0]["type"]] += 1
        return Refused(422, faults)


def check_headers(headers: list[tuple[bytes, bytes]]) -> None:
    """Check that a body is JSON, and nothing that is to become JSON.

    Raises:
        Refused: It is not.
    """
    content_type = b""
    for name, value in headers:
        if name == b"content-type" and not content_type:
            content_type = value
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            raise Refused(415, ENCODED)
    if content_type != CONTENT_TYPE[1]:
        media_type = content_type.partition(b";")[0].rstrip().lower()
        if media_type != CONTENT_TYPE[1]:
            raise Refused(415, NOT_JSON)


async def read_body(receive: Receive) -> bytes:
    """Read a body, which our own server hands over whole."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


def find_names(schema: dict[str, Any]) -> frozenset[str]:
    """The names of all fields that a schema has, on any level."""
    parts = [schema, *schema.get("$defs", {}).values()]
    return frozenset(name for part in parts for name in part.get("properties", ()))


def too_large(max_body_bytes: int) -> str:
    return f"The body is larger than {max_body_bytes} bytes."
