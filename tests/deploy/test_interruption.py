"""Ended by a signal at any instant, a program says the line that it ends with."""

import subprocess
import sys

import pytest

# What urllib3 leaves in Python 3.13, where a signal comes between two of its lines.
HALF_MADE = """
import signal
from deploy.releases import interrupt

class HalfMade:
    def __init__(self):
        signal.raise_signal(signal.SIGTERM)
        self.file = None

    def __del__(self):
        self.file

signal.signal(signal.SIGTERM, interrupt)
try:
    HalfMade()
except KeyboardInterrupt:
    raise SystemExit("Interrupted.")
"""


@pytest.mark.once
@pytest.mark.process
def test_what_a_signal_leaves_half_made_is_not_told() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HALF_MADE], capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (1, "Interrupted.\n")
