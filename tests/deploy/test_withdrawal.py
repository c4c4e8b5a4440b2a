"""What a failed release has published is withdrawn, and that never keeps it from going
back."""

import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pandas import DataFrame
from sklearn.dummy import DummyRegressor

from deploy.kubernetes_api import ApiError
from deploy.releases.withdrawal import NAME
from pipeline import aws
from pipeline.estimator import read_curves
from tests.deploy.test_release import FORESEEN, answer_of_new_release
from tests.deploy.world import DEPLOYMENT, JOBS, PREVIOUS, World

pytestmark = [pytest.mark.once, pytest.mark.process]

Printed = pytest.CaptureFixture[str]
NOON = datetime(2021, 7, 10, 12, tzinfo=UTC)


def arguments_of(job: Any) -> list[str]:
    """Of the command that a Job runs, without what is cloned and the module."""
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][2] == "pipeline.models"
    return list(container["args"][3:])


def test_a_failed_release_withdraws_what_it_has_published(
    world: World, capsys: Printed
) -> None:
    world.api.now = lambda: NOON
    answer_of_new_release(world, ApiError("Not Found", 404))
    order: list[str] = []

    def run_job(made: Any) -> None:
        if made["metadata"]["name"] == NAME:
            order.append(world.serving())
        world.run_job(made)

    world.api.made = run_job
    assert world.release().endswith(f"; {PREVIOUS} serves.")
    [tag], [job] = world.calls(), world.jobs_of(NAME)
    # Those who ask are answered first.
    assert order == [PREVIOUS]
    *command, reason = arguments_of(job)
    assert command == [
        *("time-to-dispatch", "withdraw", "--commit", world.hash_of(tag)),
        *("--since", NOON.isoformat(), "--reason"),
    ]
    assert reason.startswith(f"{tag} is not released: The cluster refused POST ")
    assert "404 Not Found" in reason and reason.isprintable()
    assert "Withdrew m.pkl; services that start pass over it\n" in (
        capsys.readouterr().out
    )
    # It is not left to the next one.
    assert ("DELETE", f"{JOBS}/{NAME}", None) in world.api.changes
    left = [each["metadata"]["name"] for each in world.api.objects[JOBS]["items"]]
    assert NAME not in left


def test_pods_that_were_put_back_before_it_was_withdrawn_are_made_anew(
    world: World, capsys: Printed
) -> None:
    """They take the newest model when they start, which was that one."""
    answer_of_new_release(world, "<html>")
    assert world.release().endswith(f"; {PREVIOUS} serves.")
    _, [restored], [restarted] = world.patches(DEPLOYMENT)
    annotations = [
        each["value"]["metadata"].pop("annotations") for each in (restored, restarted)
    ]
    assert annotations[0] != annotations[1] and restored == restarted
    assert f"Replacing the pods of {PREVIOUS}: they may" in capsys.readouterr().out


def test_what_a_weekly_run_has_replaced_is_not_put_back(world: World) -> None:
    """Its pods are those of the release as well, and younger."""
    assert world.release() == world.run_weekly() == ""
    world.works = False
    assert "is not released" in world.release(PREVIOUS)
    assert len(world.patches(DEPLOYMENT)) == 1


def test_where_the_old_pods_have_stayed_they_are_left_alone(world: World) -> None:
    """As a rollback of Bodywork leaves them; they have their model."""
    world.let_bodywork_end(FORESEEN, exit_code=1)
    world.works = False
    assert "is not released" in world.release()
    assert len(world.jobs_of(NAME)) == 1 and world.patches(DEPLOYMENT) == []


@pytest.mark.parametrize(
    "condition, log, seconds, because",
    [
        ("Failed", "Could not list s3://b/models/", 0, "Could not list s3://b/models/"),
        ("Failed", "", 0, "job withdraw-model failed, and its log is gone"),
        ("Suspended", "", 140, "job withdraw-model has not ended; its pod may find no"),
    ],
)
def test_what_cannot_be_withdrawn_is_told_with_the_command_that_does(
    world: World,
    clock: SimpleNamespace,
    capsys: Printed,
    condition: str,
    log: str,
    seconds: int,
    because: str,
) -> None:
    world.job_ends = (condition, log)
    answer_of_new_release(world, "<html>")
    assert world.release().endswith(f"; {PREVIOUS} serves.")
    assert world.serving() == PREVIOUS and clock.seconds == seconds
    printed = capsys.readouterr().out
    assert f"has published could not be withdrawn ({because}" in printed
    command = printed.partition("and the key: python -m pipeline.models ")[2]
    [job] = world.jobs_of(NAME)
    assert shlex.split(command.splitlines()[0]) == arguments_of(job)
    # There is nothing that the restored pods would pass over.
    assert len(world.patches(DEPLOYMENT)) == 2


def test_an_error_of_ours_is_no_reason_not_to_go_back(
    world: World, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing: dict[str, object] = {}
    making = "deploy.releases.withdrawal.make_job"
    monkeypatch.setattr(making, lambda *_: nothing["job"])
    answer_of_new_release(world, "<html>")
    assert world.release().endswith(f"; {PREVIOUS} serves.")
    assert "The model is not withdrawn: KeyError: 'job'" in capsys.readouterr().out


def test_who_may_make_no_job_goes_back_all_the_same(
    world: World, capsys: Printed
) -> None:
    world.api.objects[f"{JOBS}/{NAME}"] = {"metadata": {"name": "of another"}}
    answer_of_new_release(world, "<html>")
    assert world.release().endswith(f"; {PREVIOUS} serves.")
    printed = capsys.readouterr().out
    assert f"could not be withdrawn (The cluster refused POST {JOBS}: 409" in printed


def test_a_weekly_run_whose_model_does_not_serve_withdraws_it(
    world: World, capsys: Printed
) -> None:
    world.model_age = timedelta(days=7)
    said = world.run_weekly()
    assert "the one just trained does not serve" in said
    [job] = world.jobs_of(NAME)
    reason = arguments_of(job)[-1]
    assert reason == f"the weekly run of {PREVIOUS} failed: {said}"
    assert "Withdrew m.pkl" in capsys.readouterr().out


def test_what_serves_is_not_withdrawn(world: World) -> None:
    assert world.release() == ""
    assert world.run_weekly() == ""
    assert world.jobs_of(NAME) == []


def test_the_pod_withdraws_the_model_from_a_clone_of_the_release(
    world: World,
    bucket: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The Job's own command, without a cluster, against an S3 server."""
    monkeypatch.setenv("MODEL_SIGNING_KEY", "k" * 32)
    world.works = False
    assert "is not released" in world.release()
    [job] = world.jobs_of(NAME)
    curves = {"SKU001": {"orders_placed": [0.0, 9.0], "hours": [1.0, 2.0]}}
    learnt = {"number": 0, "orders": 9, "learnt_from": "k", "learnt_at": "2021-07-02"}
    metadata = {"curves": curves, "products": {"SKU001": learnt}}
    dataset = aws.Dataset(DataFrame(), NOON, "b", "k", "h")
    for commit in (world.hash_of(PREVIOUS), world.hash_of(world.calls()[0])):
        monkeypatch.setenv("GIT_COMMIT_HASH", commit[:7])
        model = aws.Model("m", DummyRegressor(), dataset, metadata)
        model.put_model_to_s3(bucket, "models")
    [container] = job["spec"]["template"]["spec"]["containers"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        [*container["command"], *container["args"][:3], bucket, *container["args"][4:]],
        cwd=tmp_path_factory.mktemp("pod"),
        env={**os.environ, "PATH": path},
        check=True,
    )
    left, passed_over = aws.get_newest_good_model_from_s3(bucket, "models", read_curves)
    assert left.commit == world.hash_of(PREVIOUS)[:7]
    [sentence] = passed_over
    assert " was withdrawn at 20" in sentence and "is not released: " in sentence
