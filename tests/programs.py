"""Programs run in this process: as `python -m` would, without the start of another."""

import logging
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from io import StringIO

import boto3
import pytest

from pipeline.aws import s3_client

# What only a test that is marked with it may run.
NEED_A_MARK: set[str] = set()

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_here(
    module: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a module of the pipeline or the sandbox as a program, to its end.

    What it raises is raised here.

    Args:
        environment: Variables, beside those of this process.
    """
    assert module not in NEED_A_MARK, "mark this test with: process"
    spec = find_spec(module)
    if spec is not None and spec.submodule_search_locations:
        spec = find_spec(f"{module}.__main__")
    assert spec is not None and spec.origin is not None
    output, errors = StringIO(), StringIO()
    code: object = 0
    with (
        ExitStack() as stack,
        pytest.MonkeyPatch.context() as patch,
        its_own_log(),
        its_own_signals(),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        if any(name.startswith("AWS_") for name in environment):
            stack.enter_context(its_own_s3_client(patch))
        patch.setattr(sys, "argv", [spec.origin, *arguments])
        try:
            runpy.run_path(spec.origin, run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
    if isinstance(code, str):
        # As the interpreter does.
        errors.write(f"{code}\n")
        code = 1
    assert isinstance(code, int)
    return subprocess.CompletedProcess(
        [module, *arguments], code, output.getvalue(), errors.getvalue()
    )


@contextmanager
def its_own_log() -> Iterator[None]:
    """Undo what a program does to the log of its process."""
    handlers, level = list(logging.root.handlers), logging.getLogger("pipeline").level
    try:
        yield
    finally:
        logging.root.handlers[:] = handlers
        logging.captureWarnings(False)
        logging.getLogger("pipeline").setLevel(level)


@contextmanager
def its_own_signals() -> Iterator[None]:
    """Undo what a program does to the signals of its process."""
    handlers = {each: signal.getsignal(each) for each in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def its_own_s3_client(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a program connect anew, as its environment tells it."""
    patch.setattr(boto3, "DEFAULT_SESSION", None)
    s3_client.cache_clear()
    try:
        yield
    finally:
        s3_client.cache_clear()
