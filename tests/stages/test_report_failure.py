"""Reporting a failed deployment, once."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.records import Outcome, RunRecord, Thresholds, add_record
from tests.programs import run_here
from tests.records.webhook import Webhook, running_webhook

ROOT = Path(__file__).parents[2]
LINE = "Deployment of time-to-dispatch failed: job train-model failed"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with running_webhook() as server:
        yield server


def report(*arguments: str, **environment: str) -> list[str]:
    """Run the stage; returns its log, of which it must not fail."""
    told = {"EXCEPTION_MESSAGE": "job train-model failed", **environment}
    return read_log(run_here("pipeline.report_failure", *arguments, **told))


def read_log(process: subprocess.CompletedProcess[str]) -> list[str]:
    assert process.returncode == 0
    assert process.stderr == ""
    return process.stdout.splitlines()


def record_run(bucket: str, outcome: Outcome, message: str, minutes_ago: int) -> None:
    record = RunRecord(
        pipeline="time-to-dispatch",
        outcome=outcome,
        reason="why",
        started=datetime.now(UTC) - timedelta(minutes=minutes_ago),
        thresholds=Thresholds(error=0.8, warning=0.9),
        message=message,
    )
    add_record(bucket, record)


@pytest.mark.process
def test_as_bodywork_runs_it_it_ends_well() -> None:
    reason = {"EXCEPTION_MESSAGE": "job train-model failed", "ALERT_URLS": ""}
    process = subprocess.run(
        [sys.executable, "report_failure.py"],
        cwd=ROOT / "pipeline",
        env={**os.environ, "PYTHONPATH": str(ROOT), **reason},
        capture_output=True,
        text=True,
    )
    (line,) = read_log(process)
    assert " - ERROR - " in line and line.endswith(f" - {LINE}")


def test_without_a_channel_the_failure_is_logged() -> None:
    (line,) = report(ALERT_URLS=" ")
    assert " - ERROR - " in line and line.endswith(f" - {LINE}")


def test_without_a_reason_it_says_so() -> None:
    (line,) = report(EXCEPTION_MESSAGE="")
    assert "ERROR" in line and line.endswith("Bodywork gave no reason.")


def test_the_channels_get_the_line_that_is_logged(webhook: Webhook) -> None:
    error, told = report(ALERT_URLS=webhook.url)
    assert error.endswith(LINE)
    assert " - INFO - " in told and "Told 1 of 1 channels" in told
    (posted,) = webhook.posted
    assert posted["title"] == "time-to-dispatch: the deployment failed"
    assert posted["message"] == LINE


def test_another_pipeline_is_told_by_its_name(webhook: Webhook) -> None:
    error, _ = report("iris", ALERT_URLS=webhook.url)
    assert error.endswith("Deployment of iris failed: job train-model failed")
    assert webhook.posted[0]["title"] == "iris: the deployment failed"


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.FAILED])
def test_what_training_has_told_is_not_told_again(
    bucket: str, webhook: Webhook, outcome: Outcome
) -> None:
    record_run(bucket, outcome, "it told", minutes_ago=5)
    _, line = report("time-to-dispatch", bucket, ALERT_URLS=webhook.url)
    assert line.endswith('Training has told people already: "it told".')
    assert not webhook.posted


@pytest.mark.parametrize(
    "outcome, message, minutes_ago",
    [
        # It was a good model that does not serve.
        (Outcome.PUBLISHED, "with a warning", 5),
        # It was ended by a signal, say.
        (Outcome.FAILED, "", 5),
        # The record is of an earlier run: this one was killed.
        (Outcome.REFUSED, "it told", 45),
    ],
)
def test_what_training_has_not_told_is_told(
    bucket: str, webhook: Webhook, outcome: Outcome, message: str, minutes_ago: int
) -> None:
    record_run(bucket, outcome, message, minutes_ago)
    report("time-to-dispatch", bucket, ALERT_URLS=webhook.url)
    (posted,) = webhook.posted
    assert posted["message"] == LINE


def test_where_records_cannot_be_read_it_is_told(webhook: Webhook) -> None:
    _, warning, _ = report("time-to-dispatch", "no-bucket", ALERT_URLS=webhook.url)
    assert "Whether training has told people is not known: " in warning
    assert len(webhook.posted) == 1
