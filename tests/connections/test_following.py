"""One application after another: what fails is told, memory is given back."""

import asyncio
import weakref
from collections.abc import Iterator
from threading import current_thread, main_thread
from types import SimpleNamespace

import pytest
from fastapi import FastAPI

from pipeline.connections import following
from tests.service.applications import V0_1, ask, make_app

pytestmark = pytest.mark.once

ORDER = {"product_code": "SKU001", "orders_placed": 112}


def test_what_is_replaced_is_given_back() -> None:
    former = make_app()
    ask(former, "/openapi.json", method="GET")
    ask(former, V0_1, ORDER)
    left = [weakref.ref(former), weakref.ref(former.state.metrics.others[0])]
    for _ in range(2):
        newer = make_app()
        newer.state.metrics.continue_from(former.state.metrics)
        former = newer
    following.forget_replaced()
    assert [each() for each in left] == [None, None]


def test_what_fails_is_told_and_the_next_one_is_taken(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0.001)
    app, newer = make_app(), make_app()
    found: Iterator[FastAPI | None] = iter([None, newer])

    def find_newer() -> FastAPI | None:
        assert current_thread() is not main_thread()
        each = next(found, None)
        if each is None and not caplog.text:
            raise RuntimeError("It cannot be built.")
        return each

    async def follow() -> None:
        loop = asyncio.get_running_loop()
        pool = SimpleNamespace(loop=loop, app=app)
        server = SimpleNamespace(started=True, pool=pool)
        with following.following(server, app, find_newer):  # type: ignore[arg-type]
            async with asyncio.timeout(60):
                while pool.app is not newer:
                    await asyncio.sleep(0)

    asyncio.run(follow())
    assert caplog.text.count("could not be taken: It cannot be built.") == 1
