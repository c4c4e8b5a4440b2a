"""One service for the tests that leave it as it is."""

from collections.abc import Iterator

import pytest

from pipeline import aws
from sandbox.s3_server import make_bucket
from tests.stages.services import persist, running_service


@pytest.fixture(scope="session")
def service(s3_environment: dict[str, str]) -> Iterator[tuple[str, aws.Model]]:
    """Its address and its model."""
    make_bucket("served")
    model = persist("served")
    with running_service("served") as (_, address):
        yield address, model
