"""Removing leftover Jobs, on a double of the API server."""

from types import SimpleNamespace
from typing import Any

import pytest

from deploy.kubernetes_api import Cluster
from deploy.releases.leftover_jobs import remove_leftover_jobs
from tests.deploy.api_server import ApiServer, recorded
from tests.deploy.world import JOBS

pytestmark = pytest.mark.once


def test_each_job_is_removed_and_waited_for(
    api: ApiServer, clock: SimpleNamespace
) -> None:
    """Its pod, if it has one still, would publish a model after this."""
    job = recorded("job")
    polls: list[list[Any]] = []

    def jobs() -> dict[str, Any]:
        polls.append([job] if len(polls) < 3 else [])
        return {"items": polls[-1]}

    api.objects = {JOBS: jobs, f"{JOBS}/train-model": job}
    api.objects[JOBS] = jobs
    api.before["DELETE", f"{JOBS}/train-model"] = [
        lambda: api.objects.update({f"{JOBS}/train-model": None})
    ]
    assert remove_leftover_jobs(Cluster(), "time-to-dispatch") == ["train-model"]
    assert [each[:2] for each in api.changes] == [("DELETE", f"{JOBS}/train-model")]
    assert len(polls) == 4 and clock.seconds > 0


def test_a_job_that_stays_is_told(api: ApiServer, clock: SimpleNamespace) -> None:
    job = recorded("job")
    api.objects = {JOBS: lambda: {"items": [job]}, f"{JOBS}/train-model": None}
    with pytest.raises(RuntimeError, match=r"removed \(train-model stayed\); kubectl"):
        remove_leftover_jobs(Cluster(), "time-to-dispatch")
    assert clock.seconds > 90


def test_no_jobs_are_no_failure(api: ApiServer) -> None:
    api.objects[JOBS] = {"items": []}
    assert remove_leftover_jobs(Cluster(), "time-to-dispatch") == []
    assert api.changes == []
