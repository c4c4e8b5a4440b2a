"""After each deployment the pages of the runs are published; nobody waits for it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.kubernetes_api import Cluster
from deploy.releases import Lease
from deploy.releases.reports import NAME
from tests.bodywork_stages.conftest import git
from tests.deploy.test_release import answer_of_new_release
from tests.deploy.world import JOBS, LEASE, PREVIOUS, World, commit

pytestmark = [pytest.mark.once, pytest.mark.process]

Printed = pytest.CaptureFixture[str]


def fail_to_release(world: World) -> str:
    answer_of_new_release(world, "<html>")
    return world.release()


@pytest.mark.parametrize(
    "run, sentence",
    [
        (World.release, ""),
        (World.run_weekly, ""),
        (fail_to_release, f"; {PREVIOUS} serves."),
    ],
)
def test_it_is_begun_whatever_came_out_and_not_waited_for(
    world: World, clock: SimpleNamespace, run: Callable[[World], str], sentence: str
) -> None:
    """By who holds the lease still, so that nobody else is removing such Jobs."""
    holders = []

    def note(made: Any) -> None:
        world.run_job(made)
        if made["metadata"]["name"] == NAME:
            lease = world.api.objects[LEASE]
            holders.append((lease["spec"]["holderIdentity"], world.serving()))

    world.api.made = note
    assert run(world).endswith(sentence)
    [tag], [job] = world.calls(), world.jobs_of(NAME)
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == [
        *(tag, f"file://{world.origin}"),
        *("pipeline.report", "time-to-dispatch", "--publish"),
    ]
    [(holder, serving)] = holders
    assert holder and serving == (PREVIOUS if sentence else tag)
    assert clock.seconds == 0


def test_one_that_is_there_still_is_made_anew_by_the_next_deployment(
    world: World, capsys: Printed
) -> None:
    assert world.release() == world.run_weekly() == ""
    assert len(world.jobs_of(NAME)) == 2
    assert ("DELETE", f"{JOBS}/{NAME}", None) in world.api.changes
    printed = capsys.readouterr().out
    assert f"Removed job {NAME}, which an earlier run had left." in printed


def test_where_nothing_was_done_there_is_nothing_to_publish(world: World) -> None:
    Lease(Cluster(), world.schedule, "another").acquire()
    assert "Gave up after 20 minutes" in world.run_weekly()
    assert "Gave up after 20 minutes" in world.release()
    assert world.check() == ""
    assert world.jobs == []


def test_a_release_that_makes_no_pages_is_not_asked_for_them(world: World) -> None:
    git(world.clone, "rm", "--quiet", "pipeline/report.py")
    commit(world.clone, "without pages")
    assert world.release() == ""
    assert world.jobs == []


def test_that_it_cannot_be_begun_is_a_line_and_changes_nothing(
    world: World, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.api.objects[f"{JOBS}/{NAME}"] = {"metadata": {"name": "of another"}}
    assert world.run_weekly() == ""
    lines = capsys.readouterr().out.splitlines()
    [line] = [each for each in lines if "not published" in each]
    assert line.startswith("The pages of the runs are not published: The cluster ")
    nothing: dict[str, object] = {}
    making = "deploy.releases.reports.make_job"
    monkeypatch.setattr(making, lambda *_: nothing["job"])
    assert world.run_weekly() == ""
    assert "The pages of the runs are not published: 'job'" in capsys.readouterr().out
