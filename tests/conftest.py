"""An S3 server for the whole run, and a bucket of its own for each test."""

import os
from collections.abc import Iterator
from uuid import uuid4

import boto3
import pytest
from hypothesis import HealthCheck, settings
from types_boto3_s3 import S3Client

from pipeline.aws import s3_client
from sandbox.s3_server import make_bucket, run_s3_server

# A busy machine may take its time for an example.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def s3_environment() -> Iterator[dict[str, str]]:
    """Point this process, and the stages it starts, at a local S3 server."""
    with run_s3_server() as environment, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        s3_client.cache_clear()
        yield environment


@pytest.fixture(scope="session")
def s3(s3_environment: dict[str, str]) -> S3Client:
    return boto3.client("s3")


@pytest.fixture
def bucket(s3: S3Client) -> str:
    """An empty versioned bucket."""
    name = f"test-{uuid4()}"
    make_bucket(name)
    return name
