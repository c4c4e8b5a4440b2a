"""Another application in the place of the one that answers, between two requests."""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from fastapi import FastAPI
from fastapi.dependencies import models as fastapi_caches

from pipeline.connections.graceful_shutdown import GracefulServer

# How often it is asked whether there is a newer one.
POLL_SECONDS = 0.2
# How long the end waits for who is asked just then; the process ends all the same.
ENDING_SECONDS = 2.0

log = logging.getLogger("pipeline")


@contextmanager
def following(
    server: GracefulServer, app: FastAPI, find_newer: Callable[[], FastAPI | None]
) -> Iterator[None]:
    """Let each newer application answer from when it is found, for the time of a with
    block.

    It is found in a thread of its own, so that no request waits meanwhile. What has
    begun is answered by the application that it has begun with.

    Args:
        app: The one that answers first.
        find_newer: Asked time and again; returns None if there is none. What it raises
            is an ERROR in the log, and changes nothing.
    """
    is_over = Event()
    answering = app

    def replace(newer: FastAPI) -> None:
        nonlocal answering
        newer.state.metrics.continue_from(answering.state.metrics)
        server.pool.app = answering = newer

    def follow() -> None:
        while not is_over.wait(POLL_SECONDS):
            try:
                newer = find_newer() if server.started else None
            except Exception as error:
                log.error(f"What is newer could not be taken: {error}")
                continue
            if newer is not None:
                # Unless the loop has ended meanwhile.
                with suppress(RuntimeError):
                    server.pool.loop.call_soon_threadsafe(replace, newer)
                # What has begun is answered by then.
                is_over.wait(POLL_SECONDS)
                forget_replaced()

    thread = Thread(target=follow, name="follow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(ENDING_SECONDS)


def forget_replaced() -> None:
    """Give back the memory of an application that answers no more.

    FastAPI remembers of thousands of functions what kind they are, and so with ours all
    that they refer to. The garbage collector would come by once in ten applications.
    """
    for each in vars(fastapi_caches).values():
        if hasattr(each, "cache_clear"):
            each.cache_clear()
    gc.collect()
