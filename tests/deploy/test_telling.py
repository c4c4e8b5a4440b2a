"""Whatever ends a weekly run in failure, people are told of it once."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.bodywork import launch
from deploy.kubernetes_api import ApiError, Cluster
from deploy.releases import Lease, weekly_run
from deploy.releases.rollout import Rollout
from tests.deploy.test_release import FORESEEN, NOT_AUTHENTICATED
from tests.deploy.world import LEASE, PREVIOUS, SCHEDULE, World

pytestmark = [pytest.mark.once, pytest.mark.process]

Printed = pytest.CaptureFixture[str]
FAILURE = FORESEEN.partition("--> ")[2]


def let_the_new_model_not_serve(world: World) -> None:
    world.model_age = timedelta(days=7)


def let_bodywork_change_nothing(world: World) -> None:
    """Its exit code says that it has succeeded, and nobody was told by it."""
    world.works = False
    world.set_scheduled("release-new")
    world.let_bodywork_end(NOT_AUTHENTICATED, exit_code=0)
    subprocess.run(
        ["git", "push", "--quiet", "origin", "HEAD:refs/tags/release-new"],
        cwd=world.clone,
        check=True,
    )


def let_another_be_at_work(world: World) -> None:
    Lease(Cluster(), world.schedule, "another").acquire()


@pytest.mark.parametrize(
    "prepare, sentence",
    [
        (let_the_new_model_not_serve, "the one just trained does not serve."),
        (let_bodywork_change_nothing, f"Deployment serve-model runs {PREVIOUS}, "),
        (let_another_be_at_work, "Gave up after 20 minutes of waiting: another ("),
    ],
)
def test_what_ends_it_outside_bodywork_is_told(
    world: World, prepare: Callable[[World], None], sentence: str
) -> None:
    """Whatever training has told just now: that is another matter."""
    prepare(world)
    said = world.run_weekly()
    assert sentence in said
    assert world.told() == f"time-to-dispatch: {said}\n"


def test_what_bodywork_has_told_is_not_told_again(world: World) -> None:
    world.works = False
    world.let_bodywork_end(f"{FORESEEN}\n{launch.TOLD}", exit_code=1)
    assert world.run_weekly() == FAILURE
    assert world.told() == ""


def test_what_bodywork_has_not_told_is_unless_training_has(world: World) -> None:
    """It runs no stage where it finds no image, or the stage itself has failed."""
    world.works = False
    world.let_bodywork_end(FORESEEN, exit_code=1)
    assert world.run_weekly() == FAILURE
    bucket = "time-to-dispatch"
    assert world.told() == f"time-to-dispatch {bucket}: {FAILURE}\n"


def test_a_good_week_tells_nobody(world: World) -> None:
    assert world.run_weekly() == ""
    assert world.told() == ""


def test_a_fault_of_this_program_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.releases.rollout.check_estimate", lambda _: [][0])
    with pytest.raises(IndexError):
        world.run_weekly()
    assert world.told() == "time-to-dispatch: IndexError: list index out of range\n"
    # Its model is as good as unknown.
    assert len(world.jobs_of("withdraw-model")) == 1


def test_one_that_hangs_is_ended_and_told_and_its_model_withdrawn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rollout, "check_code", weekly_run.give_up)
    with pytest.raises(weekly_run.TooLongError):
        world.run_weekly()
    assert world.told() == (
        "time-to-dispatch: the deployment did not end within an hour.\n"
    )
    assert len(world.jobs_of("withdraw-model")) == 1


def test_an_api_server_that_is_away_for_a_moment_is_asked_again(
    world: World, clock: SimpleNamespace
) -> None:
    """Who has failed because of it is to be told of nevertheless."""
    let_the_new_model_not_serve(world)
    schedule, answers = world.schedule, iter([ApiError("away", 503)] * 2)

    def go_away() -> None:
        world.api.objects[SCHEDULE] = lambda: next(answers, schedule)

    world.api.before["GET", SCHEDULE] = [lambda: None, go_away]
    said = world.run_weekly()
    assert world.told() == f"time-to-dispatch: {said}\n"


@pytest.mark.parametrize("is_released", [True, False])
def test_where_nothing_can_be_cloned_its_log_says_so(
    world: World, capsys: Printed, is_released: bool
) -> None:
    if is_released:
        shutil.rmtree(world.origin)
    else:
        del world.api.objects[SCHEDULE]
    because = "git clone " if is_released else "Nothing is released yet: "
    assert world.run_weekly().startswith(because)
    printed = capsys.readouterr().out
    assert f"Nobody is told that the weekly run failed: {because}" in printed
    assert world.told() == ""


def test_that_the_channels_cannot_be_told_is_a_line(
    world: World, capsys: Printed
) -> None:
    let_the_new_model_not_serve(world)
    Path(f"{world.python}.told").mkdir()
    assert "does not serve" in world.run_weekly()
    assert "Nobody is told that the weekly run failed: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "number, exit_code, told",
    [
        (signal.SIGALRM, 1, "time-to-dispatch: the deployment did not end within an "),
        # Of a drained node, say.
        (signal.SIGTERM, 128 + signal.SIGTERM, ""),
    ],
)
def test_the_alarm_is_told_and_another_signal_is_not(
    world: World,
    api_server: tuple[object, Path],
    number: signal.Signals,
    exit_code: int,
    told: str,
) -> None:
    """As a process, while it waits for another one."""
    let_another_be_at_work(world)
    world.api.objects[LEASE]["spec"]["leaseDurationSeconds"] = 3600
    names = ("bodywork-deployment-jobs", "time-to-dispatch")
    with subprocess.Popen(
        [sys.executable, "-m", "deploy.releases.weekly_run", *names],
        cwd=world.clone,
        env={**os.environ, "KUBECONFIG": str(api_server[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Waiting for 20 minutes at most")
        process.send_signal(number)
        printed = process.stdout.read()
    assert process.returncode == exit_code, printed
    assert world.told().startswith(told) and bool(world.told()) == bool(told)
    assert "Traceback" not in printed
