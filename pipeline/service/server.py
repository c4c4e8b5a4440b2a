"""The server: an open port, uvicorn within our limits, and an end without a loss."""

import gc
import logging
import signal
import socket
from os import environ

import uvicorn
from fastapi import FastAPI

from pipeline.service.graceful_shutdown import MAX_ANSWERING_SECONDS, GracefulServer
from pipeline.service.request_limits import LimitedProtocol, refusal_log
from pipeline.service.response_headers import RESPONSE_HEADERS

DEFAULT_HOST = "0.0.0.0"
DEFAULT_PORT = "8000"

OBJECTS_PER_COLLECTION = 50_000

log = logging.getLogger("pipeline")


def serve(app: FastAPI) -> None:
    """Answer on HOST and PORT until SIGTERM or SIGINT, and all accepted by then.

    Args:
        app: One that create_service has made.

    Raises:
        RuntimeError: The port is taken or not allowed.
        ValueError: PORT is no port.
    """
    listener = open_port(
        environ.get("HOST", DEFAULT_HOST), environ.get("PORT", DEFAULT_PORT)
    )
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
    app.state.metrics.connections = server.server_state.connections
    # For a signal that comes before uvicorn has its own handlers, and for the one that
    # it raises once more when it has ended: the exit code is to be 0.
    signal.signal(signal.SIGTERM, server.handle_exit)
    signal.signal(signal.SIGINT, server.handle_exit)
    make_garbage_collections_rare()
    host, port = listener.getsockname()[:2]
    log.info(f"Answering on http://{host}:{port}, documentation on /docs.")
    server.run(sockets=[listener])
    refusal_log.write()
    log.info("Stopped: the requests in flight are answered.")


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


def make_garbage_collections_rare() -> None:
    """Collect when there may be garbage worth it, not with every few connections.

    Requests leave next to none, yet while 10,000 connections come and go, the pauses to
    look for it would hold up every hundredth answer for 0.1 seconds.
    """
    gc.freeze()
    gc.set_threshold(OBJECTS_PER_COLLECTION)
