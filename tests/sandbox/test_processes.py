"""Child processes hand on their exit code and do not outlive their parent."""

import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.processes import run_process
from tests.sandbox.process_tables import find_descendants, still_running

pytestmark = [pytest.mark.once, pytest.mark.process]

ROOT = Path(__file__).parents[2]
# Starts a process of its own, says so and sleeps.
SLEEPER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("started", flush=True)
time.sleep(600)
"""
PARENT = f"""
import sys, time
from sandbox.processes import run_process
with run_process(sys.executable, "-c", {SLEEPER!r}):
    time.sleep(600)
"""


def test_the_exit_code_is_handed_on() -> None:
    with run_process(sys.executable, "-c", "raise SystemExit(7)") as process:
        assert process.wait() == 7


def test_the_end_of_the_block_ends_all_that_was_started() -> None:
    with run_process(
        sys.executable, "-c", SLEEPER, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        started = find_descendants(process.pid)
        assert len(started) == 2
    assert not still_running(started)


def test_a_killed_parent_leaves_nothing_behind() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        started = find_descendants(parent.pid)
        assert len(started) == 3
        parent.kill()
    assert not still_running(started)
