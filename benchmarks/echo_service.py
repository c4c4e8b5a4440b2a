"""The floor: a bare ASGI application that answers each request with a constant.

Usage: python -m benchmarks.echo_service
"""

from collections.abc import Awaitable, Callable
from os import environ
from typing import Any

import uvicorn

BODY = b'{"est_hours_to_dispatch":1.0,"model_version":"none"}'
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(BODY)),
]


async def echo(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


if __name__ == "__main__":
    uvicorn.run(
        echo,
        host="127.0.0.1",
        port=int(environ["PORT"]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="warning",
        access_log=False,
    )
