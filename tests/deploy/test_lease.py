"""One at a time, in both orders, and either killed at any moment."""

import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.kubernetes_api import ApiError, Cluster, NotYetError, waiting
from deploy.releases import Lease, LeaseLostError
from tests.bodywork_stages.conftest import git
from tests.deploy.api_server import recorded
from tests.deploy.world import (
    DEPLOYMENT,
    LEASE,
    PREVIOUS,
    World,
)

pytestmark = [pytest.mark.once, pytest.mark.process]

NOON = datetime(2021, 7, 3, 12, tzinfo=UTC)
NOTHING: list[Callable[[], object]] = [lambda: None]
Printed = pytest.CaptureFixture[str]


def lease_of(holder: str) -> Lease:
    return Lease(Cluster(), recorded("cronjob"), holder)


def held(world: World) -> dict[str, Any]:
    spec: dict[str, Any] = world.api.objects[LEASE]["spec"]
    return spec


def test_it_is_held_while_somebody_works_and_free_when_it_is_given_up(
    world: World,
) -> None:
    world.api.now = lambda: NOON
    first, second = lease_of("first"), lease_of("second")
    with first.hold(print):
        assert re.fullmatch(r"first \(\S+@\S+\)", held(world)["holderIdentity"])
        assert held(world)["renewTime"] == "2021-07-03T12:00:00.000000Z"
        with pytest.raises(NotYetError, match=r"^first \(.* since 2021-07-03T12:00:0"):
            second.acquire()
    second.acquire()
    assert held(world)["leaseTransitions"] == 2


def test_it_is_free_within_a_minute_when_its_holder_died(world: World) -> None:
    world.api.now = lambda: NOON
    dead, second = lease_of("dead"), lease_of("second")
    dead.acquire()
    world.api.now = lambda: NOON + timedelta(seconds=30)
    dead.renew()
    world.api.now = lambda: NOON + timedelta(seconds=69)
    with pytest.raises(NotYetError):
        second.acquire()
    world.api.now = lambda: NOON + timedelta(seconds=70)
    second.acquire()
    # Who was only asleep is told, and takes nothing from the other.
    with pytest.raises(LeaseLostError, match="^second .* took over, for dead"):
        dead.renew()
    assert held(world)["holderIdentity"].startswith("second")


def test_of_two_that_come_at_once_one_gets_it(world: World) -> None:
    first, second = lease_of("first"), lease_of("second")
    world.api.before["PUT", LEASE] = [second.acquire]
    with pytest.raises(NotYetError, match="somebody else has just begun"):
        first.acquire()
    assert held(world)["holderIdentity"].startswith("second")


def test_who_lost_it_does_not_give_up_that_of_another(world: World) -> None:
    world.api.now = lambda: NOON
    second = lease_of("second")
    with lease_of("first").hold(print):
        world.api.now = lambda: NOON + timedelta(minutes=1)
        second.acquire()
    assert held(world)["holderIdentity"].startswith("second")


def test_it_is_renewed_until_it_is_given_up_and_its_loss_ends_the_process(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a time in which the API server was away, which is no loss."""
    monkeypatch.setattr("deploy.releases.lease.RENEWAL_SECONDS", 0)
    ended, renewed = Event(), Event()
    monkeypatch.setattr(os, "kill", lambda pid, number: ended.set())
    with lease_of("first").hold(print):
        was = dict(held(world))
        world.api.before["PUT", LEASE] = [
            lambda: world.api.objects.update(
                {LEASE: ApiError("away", 503), "was": world.api.objects[LEASE]}
            )
        ]
        world.api.before["GET", LEASE] = [
            lambda: None,
            lambda: world.api.objects.update({LEASE: world.api.objects["was"]}),
        ]
        world.api.before["GET", "/version"] = [*NOTHING * 5, renewed.set]
        assert renewed.wait(60)
        assert held(world)["acquireTime"] == was["acquireTime"] and not ended.is_set()
        with world.api.lock:
            taken = world.api.objects[LEASE]
            taken["spec"]["holderIdentity"] = "another"
            taken["metadata"]["resourceVersion"] += "0"
        assert ended.wait(60)


def test_who_comes_second_gives_up_in_a_sentence(
    world: World, clock: SimpleNamespace, capsys: Printed
) -> None:
    """It has waited, saying once for whom, and has done nothing."""
    other = lease_of("the weekly run")
    other.acquire()
    said = world.release()
    assert re.fullmatch(
        r"Gave up after 20 minutes of waiting: the weekly run \(\S+@\S+\) is at work "
        r"since \S+Z\. Try again when it has ended\.",
        said,
    )
    printed = capsys.readouterr().out
    assert printed.count("Waiting for 20 minutes at most: the weekly run (") == 1
    assert clock.seconds == 1210
    assert (world.calls(), world.patches(DEPLOYMENT)) == ([], [])
    assert world.scheduled() == PREVIOUS


class Overlap:
    """Two at once: the second begins while the first is in the middle of its work."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.waits, self.ended = Event(), Event()
        self.sentence = "not ended"
        time = SimpleNamespace(monotonic=lambda: 0.0, sleep=self.sleep)
        monkeypatch.setattr(waiting, "time", time)

    def sleep(self, _: float) -> None:
        """The second sleeps until the first has ended; the first never does."""
        self.waits.set()
        assert self.ended.wait(60)

    def run(self, first: Callable[[], str], second: Callable[[], str]) -> str:
        """Run both; returns what the first ended with."""

        def follow() -> None:
            self.sentence = second()

        thread = Thread(target=follow, daemon=True)

        def begin() -> None:
            thread.start()
            assert self.waits.wait(60)

        # In the middle: Bodywork has deployed, and nothing is checked yet.
        reads_before = first == self.world.release
        self.world.api.before["GET", DEPLOYMENT] = [*NOTHING * reads_before, begin]
        said = first()
        self.ended.set()
        thread.join(60)
        assert not thread.is_alive()
        return said


@pytest.fixture
def overlap(world: World, monkeypatch: pytest.MonkeyPatch) -> Overlap:
    return Overlap(world, monkeypatch)


def test_a_weekly_run_that_begins_during_a_release_deploys_that_release(
    world: World, overlap: Overlap, capsys: Printed
) -> None:
    assert overlap.run(world.release, world.run_weekly) == ""
    assert overlap.sentence == ""
    [tag] = set(world.tags()) - {PREVIOUS}
    assert world.calls() == [tag, tag]
    assert world.serving() == world.scheduled() == tag
    printed = capsys.readouterr().out
    assert f"at most: the release of {tag} (" in printed
    assert f"Released {tag}" in printed and f"{tag} answers with name:" in printed


def test_a_release_that_begins_during_a_weekly_run_follows_it(
    world: World, overlap: Overlap, capsys: Printed
) -> None:
    """Its Jobs are those of somebody alive, and are left to it."""
    assert overlap.run(world.run_weekly, world.release) == ""
    assert overlap.sentence == ""
    [tag] = set(world.tags()) - {PREVIOUS}
    assert world.calls() == [PREVIOUS, tag]
    assert world.serving() == world.scheduled() == tag
    assert "at most: the weekly run (" in capsys.readouterr().out


def test_two_releases_follow_each_other(world: World, overlap: Overlap) -> None:
    git(world.clone, "push", "--quiet", "origin", "HEAD^:refs/tags/release-second")
    second = lambda: world.release("release-second")  # noqa: E731
    assert overlap.run(world.release, second) == overlap.sentence == ""
    assert world.calls()[1:] == ["release-second"]
    assert world.serving() == world.scheduled() == "release-second"


class Killed(BaseException):
    """Ends everything at once, as SIGKILL does: nobody cleans up."""


class Mortal:
    """Kills who changes something by the API server, before one of its changes: before
    it looked at something, all would be the same.

    Attributes:
        changes: How many more it makes.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.changes = sys.maxsize
        send = Cluster._send

        def send_or_die(cluster: Cluster, method: str, *arguments: Any) -> Any:
            self.changes -= method != "GET"
            if self.changes < 0:
                raise Killed
            return send(cluster, method, *arguments)

        monkeypatch.setattr(Cluster, "_send", send_or_die)

    def run(self, run: Callable[[], str], changes: int) -> bool:
        """Run somebody for some changes; returns whether that is its end."""
        self.changes = changes
        try:
            run()
        except Killed:
            return True
        finally:
            self.changes = sys.maxsize
        return False


# A hundred of git and of Bodywork's double.
@pytest.mark.parametrize("first", ["release", "run_weekly"])
def test_whoever_is_killed_at_any_moment_the_next_one_puts_it_right(
    world: World, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """A minute later at most, for its lease has to run out."""
    world.api.now = lambda: NOON + timedelta(seconds=clock.seconds)
    mortal = Mortal(monkeypatch)
    tags = [PREVIOUS, "release-other"]
    git(world.clone, "push", "--quiet", "origin", "HEAD:refs/tags/release-other")
    for changes in count():
        tag = tags[changes % 2]
        runs = [lambda: world.release(tag), world.run_weekly]
        if first == "run_weekly":
            runs.reverse()
        began = clock.seconds
        if not mortal.run(runs[0], changes):
            break
        assert runs[1]() == ""
        assert clock.seconds - began < 60
        assert world.serving() == world.scheduled()
        assert first == "release" or world.scheduled() == tag
        image = world.images()
        assert len(image) == 1
        assert held(world)["holderIdentity"] == ""
    assert changes >= 5
