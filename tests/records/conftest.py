"""A webhook for each test."""

from collections.abc import Iterator

import pytest

from tests.records.webhook import Webhook, running_webhook


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with running_webhook() as server:
        yield server
