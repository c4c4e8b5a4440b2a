"""A Dask cluster on this machine: its scheduler and its workers, a process each."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from sandbox.ports import HOST
from sandbox.processes import run_process

START_SECONDS = 120
POLL_SECONDS = 0.05


@contextmanager
def run_scheduler() -> Iterator[str]:
    """Run a scheduler on a free port, for the time of a with block.

    Yields:
        Its address.

    Raises:
        RuntimeError: It has not started.
    """
    with TemporaryDirectory() as directory:
        file = Path(directory, "scheduler.json")
        options = "--host", HOST, "--port", "0", "--scheduler-file", str(file)
        pages = "--no-dashboard", "--dashboard-address", f"{HOST}:0"
        with _run_dask("scheduler", *options, *pages) as process:
            end = monotonic() + START_SECONDS
            # It is written bit by bit.
            while not (file.exists() and file.read_text().endswith("}")):
                if process.poll() is not None or monotonic() > end:
                    raise RuntimeError("Dask's scheduler has not started.")
                sleep(POLL_SECONDS)
            yield str(json.loads(file.read_text())["address"])


@contextmanager
def run_worker(
    address: str, threads: int = 1, preload: Path | None = None
) -> Iterator[Popen[str]]:
    """Run a worker of a scheduler, for the time of a with block.

    It has not started yet when the block begins.

    Args:
        preload: A file of Python that it runs first.

    Yields:
        Its process.
    """
    first = () if preload is None else ("--preload", str(preload))
    options = "--no-nanny", "--no-dashboard", "--nthreads", str(threads)
    with (
        TemporaryDirectory() as directory,
        _run_dask(
            "worker", address, *options, "--local-directory", directory, *first
        ) as process,
    ):
        yield process


@contextmanager
def _run_dask(program: str, *arguments: str) -> Iterator[Popen[str]]:
    module = f"distributed.cli.dask_{program}"
    with run_process(sys.executable, "-m", module, *arguments) as process:
        yield process
