"""A delivery that comes late is waited for, until Monday morning, and only by a run
that the schedule has started."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.bodywork import launch
from tests.deploy.api_server import recorded
from tests.deploy.test_release import FORESEEN
from tests.deploy.world import DEPLOYMENT, LEASE, PREVIOUS, RUNS, SCHEDULE, World

pytestmark = [pytest.mark.once, pytest.mark.process]

FRIDAY = datetime(2021, 7, 9, 23, tzinfo=UTC)
START = FRIDAY + timedelta(minutes=45)
HOUR = 3600

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def job(world: World, clock: SimpleNamespace) -> str:
    """The name of a Job that is due and begins on Friday."""
    run = recorded("weekly_run")
    run["metadata"]["annotations"] = {
        "batch.kubernetes.io/cronjob-scheduled-timestamp": f"{START:%FT%TZ}"
    }
    name = str(run["metadata"]["name"])
    world.api.objects[f"{RUNS}/{name}"] = run
    world.trained_on = world.delivered()
    begin(world, clock, START)
    return name


def begin(world: World, clock: SimpleNamespace, now: datetime) -> None:
    world.api.now = lambda: now + timedelta(seconds=clock.seconds)


def deliver_after(world: World, hours: int, dated: datetime) -> None:
    """Deliver before the run asks once more, after it has asked for some hours."""
    world.api.before["GET", SCHEDULE] = [lambda: None] * hours
    world.api.before["GET", SCHEDULE].append(lambda: world.deliver(dated))


def test_one_that_is_on_time_is_trained_on_at_once(
    world: World, clock: SimpleNamespace, job: str
) -> None:
    world.deliver(FRIDAY)
    assert world.run_weekly(job) == ""
    assert world.calls() == [PREVIOUS]
    assert (clock.seconds, world.told()) == (0, "")


@pytest.mark.parametrize("dated", [FRIDAY, FRIDAY + timedelta(hours=8)])
def test_one_that_comes_on_saturday_is_trained_on_within_an_hour(
    world: World, clock: SimpleNamespace, job: str, dated: datetime, capsys: Printed
) -> None:
    deliver_after(world, 9, dated)
    assert world.run_weekly(job) == ""
    assert clock.seconds == 9 * HOUR
    assert world.calls() == [PREVIOUS]
    assert world.trained_on == world.delivered()
    said = capsys.readouterr().out
    assert said.count("none is dated Friday, 2021-07-09, or later") == 9
    assert world.told() == ""


def test_nothing_is_changed_while_it_is_waited_for(world: World, job: str) -> None:
    """Nobody is kept from releasing, and no pod is replaced."""
    changes = []
    deliver_after(world, 3, FRIDAY)
    world.api.before["GET", SCHEDULE][2] = lambda: changes.append(world.api.changes[:])
    assert world.run_weekly(job) == ""
    assert changes == [[]]
    assert {path for _, path, _ in world.api.changes} == {LEASE}
    assert world.patches(DEPLOYMENT) == []


def test_one_that_does_not_come_until_monday_is_a_failure_that_is_told(
    world: World, clock: SimpleNamespace, job: str
) -> None:
    """On a node that was drained on Sunday, another pod has gone on."""
    begin(world, clock, START + timedelta(hours=48, minutes=5))
    said = world.run_weekly(job)
    assert said == (
        "No delivery to train on by Monday 06:00 UTC: the newest delivery in "
        f"s3://time-to-dispatch is {world.delivered()}, and none is dated Friday, "
        "2021-07-09, or later; ask the data engineers."
    )
    assert world.told() == f"time-to-dispatch: {said}\n"
    # From Sunday 23:50 to Monday 05:50.
    assert clock.seconds == 6 * HOUR
    assert world.calls() == []


def test_one_that_is_refused_is_a_failure_at_once(
    world: World, clock: SimpleNamespace, job: str
) -> None:
    """Bodywork has told it; the corrected one is trained on by hand."""
    world.deliver(FRIDAY)
    world.let_bodywork_end(f"{FORESEEN}\n{launch.TOLD}", exit_code=1)
    world.works = False
    assert world.run_weekly(job) == FORESEEN.partition("--> ")[2]
    assert (clock.seconds, world.told()) == (0, "")
    world.deliver(FRIDAY + timedelta(hours=10))
    world.let_bodywork_end("", exit_code=0)
    world.works = True
    assert world.run_weekly() == ""
    assert world.trained_on == world.delivered()


def test_one_that_a_release_has_trained_on_needs_nothing(
    world: World, clock: SimpleNamespace, job: str, capsys: Printed
) -> None:
    deliver_after(world, 2, FRIDAY)
    released = world.api.before["GET", SCHEDULE][2]

    def release() -> None:
        released()
        world.trained_on = world.delivered()

    world.api.before["GET", SCHEDULE][2] = release
    assert world.run_weekly(job) == ""
    assert (world.calls(), world.told(), world.jobs) == ([], "", [])
    assert "Nothing to do: a model trained on this" in capsys.readouterr().out


def test_where_nothing_answers_it_is_deployed(world: World, job: str) -> None:
    world.deliver(FRIDAY)
    world.trained_on = world.delivered()
    answers = iter(["<html>"])
    path = [each for each in world.api.objects if each.endswith("time_to_dispatch")][0]
    world.api.objects[path] = lambda: next(answers, None) or world.estimate()
    assert world.run_weekly(job) == ""
    assert world.calls() == [PREVIOUS]


def test_s3_that_is_away_is_asked_again(
    world: World, clock: SimpleNamespace, job: str, capsys: Printed
) -> None:
    Path(f"{world.python}.delivered").unlink()
    deliver_after(world, 2, FRIDAY)
    assert world.run_weekly(job) == ""
    assert clock.seconds == 2 * HOUR
    assert capsys.readouterr().out.count("Not yet: S3 is away.") == 2


def test_by_hand_nothing_is_waited_for(
    world: World, clock: SimpleNamespace, job: str
) -> None:
    world.api.objects[f"{RUNS}/{job}"]["metadata"]["annotations"] = {
        "cronjob.kubernetes.io/instantiate": "manual"
    }
    assert world.run_weekly(job) == ""
    assert (world.calls(), clock.seconds) == ([PREVIOUS], 0)
