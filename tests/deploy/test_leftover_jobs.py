"""Removing leftover Jobs, on a double of the API server."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.kubernetes_api import Cluster
from deploy.releases import leftover_jobs
from tests.deploy.api_server import ApiServer, recorded, run_api_server

pytestmark = pytest.mark.once

JOBS = "/apis/batch/v1/namespaces/time-to-dispatch/jobs"
MAX_POLLS = 5


@pytest.fixture
def api(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    use_kubeconfig: Callable[[Path], None],
) -> Iterator[ApiServer]:
    polls = count(1)

    def sleep(_: float) -> None:
        if next(polls) > MAX_POLLS:
            pytest.fail(f"The jobs are still waited for after {MAX_POLLS} polls.")

    monkeypatch.setattr(leftover_jobs, "time", SimpleNamespace(sleep=sleep))
    with run_api_server(tmp_path) as (server, kubeconfig):
        use_kubeconfig(kubeconfig)
        yield server


def add_job(api: ApiServer, age: timedelta, finished: bool) -> dict[str, Any]:
    job: dict[str, Any] = recorded("job")
    job["metadata"]["creationTimestamp"] = f"{datetime.now(UTC) - age:%FT%TZ}"
    if not finished:
        job["status"] = {"active": 1}
    api.objects[f"{JOBS}/train-model"] = job
    api.objects[JOBS] = {"items": [job]}
    return job


def test_a_finished_and_an_abandoned_job_are_removed_at_once(api: ApiServer) -> None:
    for age, finished in [(timedelta(0), True), (timedelta(minutes=16), False)]:
        add_job(api, age, finished)
        cluster = Cluster()
        removed = leftover_jobs.remove_leftover_jobs("time-to-dispatch", cluster.client)
        assert removed == ["train-model"]
        assert api.objects[JOBS]["items"] == []


def test_a_job_at_work_is_waited_for_and_left_to_its_deployment(api: ApiServer) -> None:
    job = add_job(api, timedelta(minutes=14), finished=False)
    polls: list[list[Any]] = []

    def jobs() -> dict[str, Any]:
        """Its deployment removes it after the third poll."""
        polls.append([job] if len(polls) < 3 else [])
        return {"items": polls[-1]}

    api.objects[JOBS] = jobs
    cluster = Cluster()
    removed = leftover_jobs.remove_leftover_jobs("time-to-dispatch", cluster.client)
    assert (removed, api.changes, len(polls)) == ([], [], 4)


def test_no_jobs_are_no_failure(api: ApiServer) -> None:
    api.objects[JOBS] = {"items": []}
    cluster = Cluster()
    assert leftover_jobs.remove_leftover_jobs("time-to-dispatch", cluster.client) == []
