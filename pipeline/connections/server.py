"""The server: an open port, uvicorn within our limits, and an end without a loss."""

import gc
import logging
import signal
import socket
from collections.abc import Callable
from contextlib import nullcontext
from os import environ

from fastapi import FastAPI

from pipeline.connections.following import following
from pipeline.connections.graceful_shutdown import GracefulServer
from pipeline.connections.refused_requests import refusal_log
from pipeline.connections.request_limits import (
    RECEIVE_BUFFER_BYTES,
    SEND_BUFFER_BYTES,
    allow_connections,
)

DEFAULT_HOST = "0.0.0.0"
DEFAULT_PORT = "8000"

# In a round of the event loop: one for each socket that it knows to listen.
ACCEPTED = 8
OBJECTS_PER_COLLECTION = 50_000

log = logging.getLogger("pipeline")


def serve(
    app: FastAPI, find_newer: Callable[[], FastAPI | None] | None = None
) -> None:
    """Answer on HOST and PORT until SIGTERM, SIGINT or SIGHUP, and all that have asked.

    Args:
        app: One that create_service of pipeline.service has made.
        find_newer: Asked time and again, in a thread of its own, for an application
            that is to answer from then on; returns None if there is none.

    Raises:
        RuntimeError: The port is taken or not allowed, or too few files may be open.
        ValueError: PORT is no port.
    """
    server = GracefulServer(app, allow_connections())
    listener = open_port(
        environ.get("HOST", DEFAULT_HOST), environ.get("PORT", DEFAULT_PORT)
    )
    app.state.metrics.connections = server.open_connections
    # For a signal that comes before uvicorn has its own handlers, for the one that it
    # raises once more when it has ended, so that the exit code is 0, and for SIGHUP,
    # which it leaves alone: a terminal that closes ends the service as well.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, server.handle_exit)
    make_garbage_collections_rare()
    host, port = listener.getsockname()[:2]
    log.info(f"Answering on http://{host}:{port}, documentation on /docs.")
    follow = following(server, app, find_newer) if find_newer else nullcontext()
    with follow:
        server.run(sockets=[listener, *(listener.dup() for _ in range(1, ACCEPTED))])
    refusal_log.write()
    log.info("Stopped: the requests in flight are answered.")


def open_port(host: str, port: str) -> socket.socket:
    """Listen on a port, with the buffers that each of its connections will have.

    Raises:
        RuntimeError: The port is taken or not allowed.
        ValueError: It is no port.
    """
    if not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError(f"PORT={port} is no port; set it to a number up to 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, int(port)), family=family, backlog=2048)
    except OSError as error:
        raise RuntimeError(
            f"Could not listen on {host}:{port}: {error.strerror}; "
            "choose another port with PORT."
        ) from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return listener


def make_garbage_collections_rare() -> None:
    """Collect when there may be garbage worth it, not with every few connections.

    Requests leave next to none, yet while 10,000 connections come and go, the pauses to
    look for it would hold up every hundredth answer for 0.1 seconds.
    """
    gc.freeze()
    gc.set_threshold(OBJECTS_PER_COLLECTION)
