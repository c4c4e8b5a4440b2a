"""The stage as Bodywork runs it: its file, from within its folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from tests.publication.models import add_model

pytestmark = [pytest.mark.once, pytest.mark.process]

ROOT = Path(__file__).parents[2]


def test_its_file_runs_within_its_folder(redis: Redis, bucket: str) -> None:
    model = add_model(bucket, 1)
    process = subprocess.run(
        [sys.executable, "__main__.py", bucket, "publish"],
        cwd=ROOT / "pipeline" / "batch",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert f"of model {model}, as time-to-dispatch:" in process.stdout
    assert redis.exists("time-to-dispatch:current")
