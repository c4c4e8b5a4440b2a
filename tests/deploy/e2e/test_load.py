"""Every answer counts, and one that is no estimate is a failure."""

import json
import re
import time
from itertools import count

import pytest

from deploy.e2e.load import REQUESTS_PER_SECOND, steady_load
from deploy.e2e.report import Report

pytestmark = pytest.mark.once

COMMIT = "abc1234"


def version(second: int, commit: str = COMMIT) -> str:
    return (
        f"name:any|model_timestamp:2021-07-02T23:05:{second:02}.123456+00:00"
        f"|pipeline_git_commit_hash:{commit}"
    )


def estimate(hours: object = 8.5, second: int = 0) -> bytes:
    answer = {"est_hours_to_dispatch": hours, "model_version": version(second)}
    return json.dumps(answer).encode()


@pytest.mark.thorough
def test_requests_are_made_at_a_steady_rate_and_counted_by_model() -> None:
    asked = count()
    started = time.monotonic()
    with steady_load(lambda: estimate(second=next(asked) // 20)) as load:
        while load.requests < REQUESTS_PER_SECOND * 1.5:
            time.sleep(0.01)
    assert time.monotonic() - started > 1
    assert load.failures == []
    assert load.models[version(0)] == 20
    assert sum(load.models.values()) == load.requests == next(asked)


@pytest.mark.parametrize(
    "answer",
    [
        estimate("8.5"),
        estimate(None),
        b'{"est_hours_to_dispatch": 8.5}',
        b"[]",
        b"<html>",
        b"",
        RuntimeError("503"),
        OSError("refused"),
    ],
)
def test_what_is_no_estimate_is_a_failure(
    answer: bytes | Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask() -> bytes:
        if isinstance(answer, Exception):
            raise answer
        return answer

    report = Report()
    with report.step("Ask") as step:
        with steady_load(ask) as step.load:
            while not step.load.requests:
                time.sleep(0.01)
    assert report.failures == step.load.requests == len(step.load.failures)
    assert f"{report.failures} requests, {report.failures} failed" in (
        capsys.readouterr().out
    )


def test_the_report_names_models_by_their_release_and_survives_a_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = Report(tags={f"{COMMIT}def0": "second"})
    assert report.name(version(7)) == "second 23:05:07"
    assert report.name(version(7, commit="NA")) == "NA 23:05:07"
    with pytest.raises(RuntimeError), report.step("Roll out") as step:
        with steady_load(estimate) as step.load:
            while not step.load.requests:
                time.sleep(0.01)
            raise RuntimeError("broken")
    assert re.search(r"    FAILED \(\d+ s\)\n", capsys.readouterr().out)
    [head, row] = report.table().splitlines()
    assert head.split()[:4] == ["step", "seconds", "requests", "failures"]
    assert row.endswith(" second 23:05:00")
