"""An S3 server for the whole run, and a bucket of its own for each test."""

import gc
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from hypothesis import HealthCheck, settings
from types_boto3_s3 import S3Client

from pipeline.aws import s3_client
from sandbox.s3_server import make_bucket, run_s3_server
from tests import programs

FEW_EXAMPLES = 20
MANY_EXAMPLES = 150

# JSON Schema asks for it where it is installed: a grammar of addresses that takes a
# second to read.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]


# Of a listing; S3 itself has 1,000.
KEYS_PER_PAGE = 50


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Spare the import of what `-m "not MARK"` leaves nothing of: seconds a worker."""
    left_out = re.findall(r"not (\w+)", config.option.markexpr)
    alone = " and ".join(f"not {mark}" for mark in left_out)
    if not left_out or alone != config.option.markexpr:
        return None
    pattern = rf"^pytestmark = .*\bpytest\.mark\.({'|'.join(left_out)})\b"
    marked = re.compile(pattern, re.MULTILINE)
    modules = [*collection_path.rglob("test_*.py")] or [collection_path]
    everything = all(
        each.suffix == ".py" and marked.search(each.read_text()) for each in modules
    )
    return everything or None


def pytest_configure(config: pytest.Config) -> None:
    """Generate fewer examples for whoever leaves out tests, to have an answer soon."""
    settings.register_profile(
        "untimed",
        max_examples=FEW_EXAMPLES if config.option.markexpr else MANY_EXAMPLES,
        # A busy machine may take its time for an example.
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Look for garbage rarely, and never in what was imported: a tenth of the time."""
    gc.set_threshold(100_000)
    gc.freeze()


@pytest.fixture(autouse=True)
def no_process_but_where_it_is_marked(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep out of `make check` what starts another Python, or Git time and again, and
    what runs the whole training stage, though it be within this process."""
    if request.node.get_closest_marker("process") is not None:
        return
    start = subprocess.Popen.__init__

    def start_another(self: Any, args: Any, *others: Any, **settings: Any) -> None:
        assert not {sys.executable, "git"} & {*args}, "mark this test with: process"
        start(self, args, *others, **settings)

    monkeypatch.setattr(subprocess.Popen, "__init__", start_another)
    monkeypatch.setattr(programs, "NEED_A_MARK", {"pipeline.train_model"})


@pytest.fixture(scope="session", autouse=True)
def s3_environment() -> Iterator[dict[str, str]]:
    """Point this process, and the stages it starts, at a local S3 server."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        with pytest.MonkeyPatch.context() as moto:
            moto.setenv("MOTO_S3_DEFAULT_MAX_KEYS", str(KEYS_PER_PAGE))
            environment = stack.enter_context(run_s3_server())
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        s3_client.cache_clear()
        yield environment


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The address of a Redis, for all tests of this process."""
    from sandbox.redis_server import run_redis_server

    with run_redis_server() as address:
        yield address


@pytest.fixture(scope="session")
def s3(s3_environment: dict[str, str]) -> S3Client:
    return boto3.client("s3")


@pytest.fixture
def bucket(s3: S3Client) -> str:
    """An empty versioned bucket."""
    name = f"test-{uuid4()}"
    make_bucket(name)
    return name
