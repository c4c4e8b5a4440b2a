"""The services that are measured, each as a process that answers the same request."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from typing import NamedTuple

from sandbox.orders import deliver_week, make_week
from sandbox.ports import HOST, free_port
from sandbox.s3_server import make_bucket, replace_aws_settings, run_s3_server

BUCKET = "benchmark"
PATH = "/api/v0.1/time_to_dispatch"
BODY = '{"product_code": "SKU001", "orders_placed": 112}'
MANY_PATH = "/api/v0.2/times_to_dispatch"
HEADERS = {"Content-Type": "application/json"}
START_TIMEOUT_SECONDS = 60

OURS = "pipeline.serve_model"
BASELINE = "benchmarks.baseline_service"
FLOOR = "benchmarks.echo_service"
UNCOUNTED = "benchmarks.uncounted_service"

# The service has the first core, whoever sends requests the last.
CORES = sorted(os.sched_getaffinity(0))
SERVICE_CORE, LOAD_CORE = str(CORES[0]), str(CORES[-1])


class Service(NamedTuple):
    """A service that answers.

    Attributes:
        seconds: From the start of its process to its first answer.
        memory: Resident after that answer, in bytes.
    """

    url: str
    seconds: float
    memory: int
    process_id: int


@contextmanager
def trained_model() -> Iterator[None]:
    """Run an S3 server that holds a model trained on a generated week."""
    with run_s3_server() as settings:
        replace_aws_settings(settings)
        make_bucket(BUCKET)
        deliver_week(make_week(1000, seed=1), datetime.now(UTC), BUCKET, "datasets")
        training = [sys.executable, "-m", "pipeline.train_model", BUCKET, "0.8", "0.9"]
        subprocess.run(training, check=True, stdout=subprocess.DEVNULL)
        yield


@contextmanager
def run_service(module: str, source: str = BUCKET) -> Iterator[Service]:
    """Run one of the services on one core, and wait for its first answer.

    Args:
        source: Where it takes its model from.
    """
    port = free_port()
    started = time.perf_counter()
    process = subprocess.Popen(
        ["taskset", "--cpu-list", SERVICE_CORE, sys.executable, "-m", module, source],
        env={**os.environ, "HOST": HOST, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
    )
    try:
        while not answers(port):
            if process.poll() is not None:
                raise RuntimeError(f"{module} ended before it answered.")
            if time.perf_counter() - started > START_TIMEOUT_SECONDS:
                raise RuntimeError(f"{module} did not answer in time.")
            time.sleep(0.005)
        seconds = time.perf_counter() - started
        url = f"http://{HOST}:{port}{PATH}"
        yield Service(url, seconds, resident_memory(process.pid), process.pid)
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=START_TIMEOUT_SECONDS)
    try:
        connection.request("POST", PATH, BODY, HEADERS)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def resident_memory(process_id: int) -> int:
    """Resident memory of a process on Linux, in bytes."""
    with open(f"/proc/{process_id}/statm") as statm:
        pages = int(statm.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(process_id: int) -> float:
    """Time that a process has had of a processor so far, on Linux.

    To the nanosecond, where /proc tells hundredths of a second.
    """
    # As clock_getcpuclockid does, which Python has for threads alone.
    return time.clock_gettime(~process_id << 3 | 2)


def find_program(name: str) -> str:
    """Find a load generator.

    Raises:
        RuntimeError: It is not installed.
    """
    path = shutil.which(name)
    if path is None:
        raise RuntimeError(f"{name} is not installed; try: apt-get install {name}")
    return path
