"""What a stage says of its arguments, before it imports anything slow."""

import re
import subprocess
import sys
from importlib import import_module

import pytest

from tests.stages.services import ROOT, TIMEOUT_SECONDS

pytestmark = pytest.mark.process

STAGES = ["serve_model", "train_model"]

pytestmark = pytest.mark.process


def run_stage(stage: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a stage that shall end by itself; stderr lists what it imported."""
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"pipeline.{stage}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )


def assert_little_is_imported(process: subprocess.CompletedProcess[str]) -> None:
    imported = set(re.findall(r"\| +(\w+)$", process.stderr, re.MULTILINE))
    assert "pipeline" in imported
    assert not imported & {"boto3", "fastapi", "numpy", "pandas", "pydantic", "sklearn"}


@pytest.mark.parametrize("stage", STAGES)
def test_help_is_told_at_once(stage: str) -> None:
    process = run_stage(stage, "--help")
    assert process.returncode == 0
    assert process.stdout == import_module(f"pipeline.{stage}").__doc__
    assert_little_is_imported(process)


@pytest.mark.parametrize(
    "stage, arguments, mistake",
    [
        ("serve_model", [], "the following arguments are required: S3_BUCKET"),
        ("serve_model", [""], "argument S3_BUCKET: it is empty"),
        ("serve_model", ["b", "--fast", "c"], "unrecognized arguments: --fast c"),
        (
            "train_model",
            ["b", "nan", "0.9"],
            "argument R_SQUARED_ERROR_THRESHOLD: 'nan' is not above 0 and at most 1",
        ),
        (
            "train_model",
            ["b", "0.8", "1.1"],
            "argument R_SQUARED_WARNING_THRESHOLD: '1.1' is not above 0 and at most 1",
        ),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence_at_once(
    stage: str, arguments: list[str], mistake: str
) -> None:
    process = run_stage(stage, *arguments)
    assert process.returncode == 1
    assert re.fullmatch(
        rf"\S+ - ERROR - \S+ - Invalid arguments passed to {stage}\.py: "
        rf"{re.escape(mistake)}; see python -m pipeline\.{stage} --help\.",
        process.stdout.splitlines()[0],
    )
    assert f"Usage: python -m pipeline.{stage} S3_BUCKET" in process.stdout
    assert_little_is_imported(process)
