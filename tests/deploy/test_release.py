"""Releasing, with a repository of its own, a double of the API server and one of
Bodywork, which needs a cluster."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from deploy.bodywork import launch
from deploy.kubernetes_api import ApiError, Cluster
from deploy.releases import Lease, Schedule
from deploy.releases.repository import repository_url
from tests.bodywork_stages.conftest import git
from tests.deploy.api_server import ApiServer, recorded
from tests.deploy.world import (
    DEPLOYMENT,
    DOCUMENTATION,
    JOBS,
    LEASE,
    PODS,
    PREVIOUS,
    PRODUCT,
    RUNS,
    SCHEDULE,
    SERVICE,
    World,
    commit,
    document,
)

pytestmark = [pytest.mark.once, pytest.mark.process]

FORESEEN = "Deployment failed --> job=train-model in namespace=time-to-dispatch failed"
# After which Bodywork exits with 0.
NOT_AUTHENTICATED = "Could not authenticate with active Kubernetes context.\n--> (401)"

Printed = pytest.CaptureFixture[str]


def head(world: World) -> str:
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.check_output(command, cwd=world.clone, text=True).strip()


def test_a_commit_is_tagged_deployed_checked_and_scheduled(
    world: World, capsys: Printed
) -> None:
    (world.clone / "untracked").touch()
    assert world.release() == ""
    [tag] = set(world.tags()) - {PREVIOUS}
    assert re.fullmatch(rf"release-\d{{4}}-\d\d-\d\d-{head(world)[:7]}", tag)
    assert world.hash_of(tag) == head(world)
    assert world.calls() == [tag]
    [patch] = world.patches(DEPLOYMENT)
    path = world.clone / "deploy/cluster/serve_model_patch.yaml"
    assert patch == yaml.safe_load(path.read_text())
    assert world.scheduled() == tag
    configuration = yaml.safe_load((world.clone / "bodywork.yaml").read_text())
    assert world.images() == {configuration["pipeline"]["docker_image"]}
    printed = capsys.readouterr().out
    assert f"Released {tag}: it answers with name:time-to-dispatch|" in printed


def test_the_schedule_is_that_of_the_release_and_stays_paused(world: World) -> None:
    world.schedule["spec"]["suspend"] = True
    assert world.release() == ""
    path = world.clone / "deploy/cluster/schedule.yaml"
    manifest = yaml.safe_load(path.read_text())
    [container] = world.schedule["spec"]["jobTemplate"]["spec"]["template"]["spec"].pop(
        "containers"
    )
    [expected] = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"].pop(
        "containers"
    )
    assert container.pop("image") and container.pop("args")
    assert container == expected
    assert world.schedule["spec"] == {**manifest["spec"], "suspend": True}


def test_a_first_release_makes_the_schedule(world: World) -> None:
    del world.api.objects[SCHEDULE]
    assert world.release() == ""
    assert world.scheduled() == world.calls()[0]


def test_a_commit_that_was_released_before_keeps_its_tag(world: World) -> None:
    tag = "release-2021-07-09-another"
    git(world.clone, "tag", "--annotate", "--message", "x", tag)
    git(world.clone, "push", "--quiet", "origin", tag)
    assert world.release() == ""
    assert world.calls() == [tag]
    assert set(world.tags()) == {PREVIOUS, tag}


def test_going_back_is_releasing_an_earlier_tag(world: World) -> None:
    assert world.release() == ""
    assert world.release(PREVIOUS) == ""
    assert world.calls()[-1] == world.scheduled() == PREVIOUS


def test_what_an_interrupted_run_left_behind_is_removed(
    world: World, capsys: Printed
) -> None:
    """However young it is: who holds the lease knows that nobody alive made it."""
    job = recorded("job")
    job["status"] = {"active": 1}
    world.api.objects[JOBS]["items"].append(job)
    world.api.objects[f"{JOBS}/train-model"] = job
    assert world.release() == ""
    methods = [each[:2] for each in world.api.changes]
    assert methods.index(("PUT", LEASE)) < methods.index(
        ("DELETE", f"{JOBS}/train-model")
    )
    assert "Removed job train-model" in capsys.readouterr().out


@pytest.mark.parametrize(
    "output, exit_code, sentence",
    [
        (NOT_AUTHENTICATED, 0, f"Deployment serve-model runs {PREVIOUS}, commit "),
        (FORESEEN, 1, "job=train-model in namespace=time-to-dispatch failed"),
        ("Killed", 137, "Bodywork's exit code is 137."),
    ],
)
def test_a_deployment_that_changes_nothing_fails(
    world: World, capsys: Printed, output: str, exit_code: int, sentence: str
) -> None:
    world.let_bodywork_end(output, exit_code)
    world.works = False
    world.let_pods_run("the stage's last words", "Answering")
    assert world.release().endswith(f"; {PREVIOUS} serves.")
    printed = capsys.readouterr().out
    assert sentence in printed
    assert "the stage's last words" in printed
    # That the previous release is well says nothing of this one.
    assert "Answering" not in printed
    assert len(world.calls()) == 1
    assert world.patches(DEPLOYMENT) == []


def test_a_run_that_fails_says_why_in_its_last_sentence(world: World) -> None:
    """In full, where the log of Bodywork breaks lines."""
    cause = f"Error encountered when training - {'too many rows ' * 20}are no good."
    world.let_bodywork_end(f"{FORESEEN}\n{launch.CAUSE}{cause}", exit_code=1)
    world.works = False
    failure = FORESEEN.partition("--> ")[2]
    assert world.run_weekly() == f"{failure}: {cause}"
    said = world.release()
    tag = world.calls()[-1]
    why = f"{failure}: {cause}".rstrip(".")
    assert said == f"{tag} is not released: {why}; {PREVIOUS} serves."


def test_a_rollback_of_bodywork_is_not_repeated(world: World) -> None:
    """It leaves a label in the template, and nothing else has changed."""

    def roll_back() -> None:
        template = world.live["spec"]["template"]
        template["metadata"]["labels"]["pod-template-hash"] = "5d5f9c7b9d"

    world.let_bodywork_end(FORESEEN, exit_code=1)
    world.works = False
    world.api.before["GET", DEPLOYMENT] = [lambda: None, roll_back]
    assert world.release().endswith(f"; {PREVIOUS} serves.")
    assert world.patches(DEPLOYMENT) == []
    # And a label from an earlier one is not put back.
    world.api.before.clear()
    world.let_bodywork_end("", exit_code=0)
    world.works = True
    world.api.objects[SERVICE] = lambda: "<html>"
    assert "could not be brought back" in world.release()
    [_, [restored], _] = world.patches(DEPLOYMENT)
    assert "pod-template-hash" not in restored["value"]["metadata"]["labels"]


def test_what_is_asked_for_is_a_product_that_the_service_documents(
    world: World,
) -> None:
    assert world.release() == ""
    assert world.api.posted
    for order in world.api.posted:
        assert order == {"product_code": PRODUCT, "orders_placed": 112}


@pytest.mark.parametrize("documented", [document(), "<html>", [1]])
def test_a_release_that_documents_no_product_gives_way_at_once(
    world: World, clock: SimpleNamespace, capsys: Printed, documented: Any
) -> None:
    good = world.api.objects[DOCUMENTATION]
    world.api.objects[DOCUMENTATION] = lambda: (
        good if world.serving() == PREVIOUS else documented
    )
    assert world.release().endswith(f"; {PREVIOUS} serves.")
    assert "names no product in its /openapi.json." in capsys.readouterr().out
    assert clock.seconds == 0


def answer_of_new_release(world: World, answer: Any) -> None:
    """Let each release but the previous one answer in a way of its own."""
    world.api.objects[SERVICE] = lambda: (
        world.estimate()
        if world.serving() == PREVIOUS
        else answer() if callable(answer) else answer
    )


@pytest.mark.parametrize(
    "answer, sentence",
    [
        (ApiError("Not Found", 404), "proxy/api/v0.1/time_to_dispatch: 404 Not Found"),
        ("<html>An error page</html>", "'<html>An error page</html>', which is no"),
        ([1], "The service answered '[1]', which is no estimate."),
        ({"est_hours_to_dispatch": 1.0}, "which is no estimate."),
        ({"est_hours_to_dispatch": float("nan"), "model_version": "x"}, "no estimate."),
        ({"est_hours_to_dispatch": "1", "model_version": "x"}, "which is no estimate."),
        (
            {"est_hours_to_dispatch": 1.0, "model_version": "unknown"},
            "the model version 'unknown', which does not say",
        ),
    ],
)
def test_a_release_that_answers_wrongly_gives_way_at_once(
    world: World,
    clock: SimpleNamespace,
    capsys: Printed,
    answer: Any,
    sentence: str,
) -> None:
    """It is asked once, and nothing is trained to go back."""
    answer_of_new_release(world, answer)
    assert world.release().endswith(f"; {PREVIOUS} serves.")
    assert sentence in capsys.readouterr().out
    assert len(world.calls()) == 1
    assert world.serving() == world.scheduled() == PREVIOUS
    assert clock.seconds == 0


def test_a_release_that_does_not_answer_gives_way_after_a_minute(
    world: World, clock: SimpleNamespace, capsys: Printed
) -> None:
    answer_of_new_release(world, ApiError("no endpoints available", 503))
    assert world.release().endswith(f"; {PREVIOUS} serves.")
    printed = capsys.readouterr().out
    assert "no endpoints available" in printed
    assert f"--- {world.calls()[0]} has no pods now; see Bodywork's output." in printed
    assert clock.seconds == 70


def test_a_release_whose_model_is_refused_gives_way_to_the_previous_one(
    world: World, capsys: Printed
) -> None:
    world.model_age = timedelta(days=7)
    assert world.release().endswith(f"; {PREVIOUS} serves.")
    printed = capsys.readouterr().out
    assert "The model in service was made at " in printed
    assert "One was forged." in printed
    assert len(world.calls()) == 1
    assert world.scheduled() == PREVIOUS


def test_what_is_forbidden_is_not_repeated(
    world: World, clock: SimpleNamespace, capsys: Printed
) -> None:
    forbidden = [lambda: world.api.objects.update({DEPLOYMENT: ApiError("no", 403)})]
    waiting: list[Callable[[], object]] = [lambda: None] * 2
    world.api.before["GET", DEPLOYMENT] = [*waiting, *forbidden]
    assert "could not be brought back: The cluster refused GET" in world.release()
    assert clock.seconds == 0


def test_any_error_of_ours_goes_back_as_well(
    world: World, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its traceback, for somebody has to mend it."""
    monkeypatch.setattr("deploy.releases.rollout.check_estimate", lambda _: [][0])
    world.api.before["POST", SERVICE] = [lambda: None, monkeypatch.undo]
    # The double of Bodywork is found by what is undone with it.
    assert "is not released" in world.release()
    printed = capsys.readouterr().out
    assert "is not released: IndexError: list index out of range" in printed
    assert "Traceback" in printed
    assert world.serving() == world.scheduled() == PREVIOUS


def test_a_schedule_that_cannot_be_written_goes_back(world: World) -> None:
    was = world.schedule

    def forbid() -> None:
        world.api.objects[SCHEDULE] = ApiError("may not", 403)
        world.api.before["GET", SCHEDULE] = [
            lambda: world.api.objects.update({SCHEDULE: was})
        ]

    world.api.before["GET", SCHEDULE] = [lambda: None, forbid]
    assert world.release().endswith(f"; {PREVIOUS} serves.")
    assert world.serving() == world.scheduled() == PREVIOUS


def test_a_schedule_that_was_written_is_put_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interruption in the last moment must not leave two releases, one in each."""

    def raise_after_write(*arguments: Any) -> None:
        write(*arguments)
        raise KeyboardInterrupt

    write = Schedule.write
    monkeypatch.setattr(Schedule, "write", raise_after_write)
    assert world.release().endswith(f"; {PREVIOUS} serves.")
    assert world.serving() == world.scheduled() == PREVIOUS
    assert world.images() == {"timetodispatch/pipeline:12ee6ed927403fb3"}


def test_what_a_killed_release_left_is_not_what_is_gone_back_to(world: World) -> None:
    """What is released stands in the schedule, with its pods."""
    assert world.release() == ""
    released = world.scheduled()
    git(world.clone, "push", "--quiet", "origin", "HEAD^:refs/tags/release-killed")
    world.deploy("release-killed")
    world.api.objects[SERVICE] = lambda: (
        world.estimate() if world.serving() == released else "<html>"
    )
    commit(world.clone, "third")
    assert world.release().endswith(f"; {released} serves.")
    assert world.serving() == world.scheduled() == released


def test_a_model_of_other_code_is_not_the_one_just_trained(
    world: World, capsys: Printed
) -> None:
    def estimate() -> Any:
        found = world.estimate()
        found["model_version"] = found["model_version"][:-7] + "0123456"
        return found

    world.api.objects[SERVICE] = estimate
    assert "is not released" in world.release()
    printed = capsys.readouterr().out
    assert "The model in service was made by commit 0123456, not by " in printed


def test_an_old_pod_that_still_answers_is_no_reason_to_go_back(world: World) -> None:
    """It leaves the Service a moment after the Deployment has all its new ones."""
    old = world.estimate()
    answers = iter([old, old])
    world.api.objects[SERVICE] = lambda: next(answers, None) or world.estimate()
    assert world.release() == ""
    assert len(world.calls()) == 1


def test_a_failed_pod_that_still_answers_is_no_reason_to_fail_going_back(
    world: World,
) -> None:
    answers = iter(["<html>"] * 4)
    world.api.objects[SERVICE] = lambda: next(answers, None) or world.estimate()
    assert world.release().endswith(f"; {PREVIOUS} serves.")


@pytest.mark.parametrize(
    "changed, sentence",
    [
        ({"readyReplicas": 1}, "has 2 pods, 2 of the newest release and 1 ready"),
        ({"updatedReplicas": 1}, "has 2 pods, 1 of the newest release and 2 ready"),
        ({"replicas": 4}, "has 4 pods, 2 of the newest release and 2 ready"),
        ({"availableReplicas": 0}, "has 2 pods, 2 of the newest release and 2 ready"),
        ({"observedGeneration": 1}, "has 2 pods, 2 of the newest release and 2 ready"),
    ],
)
def test_replicas_that_are_not_ready_are_told(
    world: World, clock: SimpleNamespace, changed: dict[str, int], sentence: str
) -> None:
    world.live["status"] |= changed
    said = world.check()
    assert f"{sentence}, where 2 of each are due; kubectl -n time-to" in said
    assert clock.seconds > 300


def test_a_first_release_that_fails_has_nothing_to_go_back_to(world: World) -> None:
    world.let_bodywork_end(FORESEEN, exit_code=1)
    world.api.objects[DEPLOYMENT] = lambda: None
    # That there are no logs to be had is no reason to end otherwise.
    del world.api.objects[PODS]
    assert world.release().endswith("there is no previous release to go back to.")


def test_leftover_jobs_that_cannot_be_removed_are_told(
    world: World, capsys: Printed
) -> None:
    world.api.objects[JOBS]["items"].append(recorded("job"))
    world.api.objects[f"{JOBS}/train-model"] = ApiError("etcd is down", 500)
    assert world.release().endswith(f"; {PREVIOUS} serves.")
    assert "delete jobs --all does." in capsys.readouterr().out
    assert world.calls() == []


def test_without_bodywork_nothing_is_tagged(world: World) -> None:
    world.python.with_name("bodywork").unlink()
    assert world.release() == "Bodywork is not installed: run make bodywork."
    assert world.tags() == [PREVIOUS]


def test_uncommitted_changes_are_not_released(world: World) -> None:
    (world.clone / "bodywork.yaml").write_text("changed")
    assert "only commits are released; commit or stash them." in world.release()
    assert (world.calls(), world.api.changes) == ([], [])


def test_without_a_lease_nothing_is_deployed(world: World) -> None:
    del world.api.objects[LEASE]
    assert "make it with kubectl apply -k deploy/cluster." in world.release()
    assert (world.calls(), world.api.changes) == ([], [])
    assert world.tags() == [PREVIOUS]


@pytest.mark.parametrize(
    "tag, sentence",
    [
        ("release-unknown", "has no tag release-unknown; choose one that git ls-"),
        ("feature/x", "feature/x cannot be deployed: at most 63 letters"),
    ],
)
def test_a_tag_that_cannot_be_released_is_refused(
    world: World, tag: str, sentence: str
) -> None:
    assert sentence in world.release(tag)
    assert (world.calls(), world.api.changes) == ([], [])


def test_a_kubeconfig_that_is_no_good_is_told(
    world: World,
    api_server: tuple[ApiServer, Path],
    tmp_path: Path,
    use_kubeconfig: Callable[[Path], None],
) -> None:
    good = api_server[1].read_text()
    kubeconfig = tmp_path / "kubeconfig"
    use_kubeconfig(kubeconfig)
    kubeconfig.write_text(good.replace("token: recorded", "token: expired"))
    assert "401 Unauthorized" in world.release()
    kubeconfig.write_text(good.replace("127.0.0.1:", "127.0.0.1:1"))
    assert "does not answer" in world.release()
    kubeconfig.unlink()
    said = world.release()
    assert "No cluster is configured" in said and "set KUBECONFIG" in said
    assert (world.calls(), world.api.changes, world.tags()) == ([], [], [PREVIOUS])


def test_pods_that_clone_a_branch_are_not_the_release(world: World) -> None:
    """Of the same commit: they would clone another one when the branch has moved."""
    template = world.live["spec"]["template"]
    template["spec"]["containers"][0]["args"][-1] = "--branch=master"
    assert f"runs master, commit {world.hash_of(PREVIOUS)[:7]}, not " in world.check()


def test_pods_of_another_commit_are_not_the_release(world: World) -> None:
    """A tag may have been moved, after the pods had cloned it."""
    moved = f"+HEAD:refs/tags/{PREVIOUS}"
    git(world.clone, "push", "--quiet", "origin", moved)
    labels = world.live["spec"]["template"]["metadata"]["labels"]
    labels["git-commit-hash"] = "0123456"
    said = world.check()
    assert f"runs {PREVIOUS}, commit 0123456, not {PREVIOUS}, commit " in said


@pytest.mark.parametrize(
    "remote",
    [
        "git@github.com:account/repository.git",
        "ssh://git@github.com/account/repository.git",
        "https://user:token@github.com/account/repository.git",
        "https://github.com/account/repository/",
    ],
)
def test_pods_clone_over_https_without_credentials(tmp_path: Path, remote: str) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "remote", "add", "origin", remote)
    assert repository_url(tmp_path) == "https://github.com/account/repository"


def test_a_remote_that_pods_cannot_clone_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "remote", "add", "origin", "/srv/repository")
    with pytest.raises(RuntimeError, match="to an https:// address"):
        repository_url(tmp_path)


def weekly_run(started: str, **status: Any) -> dict[str, Any]:
    run: dict[str, Any] = recorded("weekly_run")
    run["metadata"]["name"] += started
    run["metadata"]["creationTimestamp"] = run["status"]["startTime"] = started
    run["status"] = {"startTime": started, **status}
    return run


def test_the_check_tells_what_serves_and_how_the_last_run_went(
    world: World, capsys: Printed
) -> None:
    runs = world.api.objects[RUNS]["items"]
    assert world.check() == ""
    printed = capsys.readouterr().out
    assert f"Deployment serve-model runs {PREVIOUS}, and all its replicas" in printed
    assert "it has not run yet." in printed
    assert "may change" not in printed
    runs.append(weekly_run("2021-07-16T23:45:00Z", succeeded=1))
    runs.append(weekly_run("2021-07-09T23:45:00Z", failed=1))
    assert world.check() == ""
    assert "started 2021-07-16T23:45:00Z, succeeded." in capsys.readouterr().out
    assert (world.calls(), world.api.changes) == ([], [])


def test_the_check_fails_if_the_last_weekly_run_did(world: World) -> None:
    conditions = [{"type": "FailureTarget", "reason": "DeadlineExceeded"}]
    conditions.append({"type": "Failed", "reason": "DeadlineExceeded"})
    run = weekly_run("2021-07-16T23:45:00Z", failed=1, conditions=conditions)
    world.api.objects[RUNS]["items"].append(run)
    said = world.check()
    assert "00Z, failed (DeadlineExceeded); kubectl -n bodywork-deploy" in said


@pytest.mark.parametrize("status", [{"active": 1}, {"failed": 1}, {}])
def test_a_weekly_run_that_waits_has_not_failed(
    world: World, capsys: Printed, status: Any
) -> None:
    """For a late delivery, say; nor has one whose pod was drained, or is to come."""
    run = weekly_run("2021-07-16T23:45:00Z", **status)
    world.api.objects[RUNS]["items"].append(run)
    assert world.check() == ""
    printed = capsys.readouterr().out
    assert "is under way since 2021-07-16T23:45:00Z: it waits, as its log " in printed


def test_who_is_at_work_is_told_and_nothing_called_a_failure_meanwhile(
    world: World, capsys: Printed
) -> None:
    run = weekly_run("2021-07-16T23:45:00Z", active=1)
    world.api.objects[RUNS]["items"].append(run)
    lease = Lease(Cluster(), world.schedule, "the weekly run")
    with lease.hold(print):
        assert world.check() == ""
        printed = capsys.readouterr().out
        assert "is under way since 2021-07-16T23:45:00Z: it deploys." in printed
        assert "This may change, for the weekly run (" in printed
        world.set_scheduled("release-new")
        git(world.clone, "push", "--quiet", "origin", "HEAD:refs/tags/release-new")
        assert world.check() == ""
        printed = capsys.readouterr().out
        assert f"Not yet: Deployment serve-model runs {PREVIOUS}, commit " in printed
    assert f"runs {PREVIOUS}, commit " in world.check()


def test_the_check_fails_if_there_was_no_weekly_run_for_a_week(world: World) -> None:
    week_ago = datetime.now(UTC) - timedelta(days=7, minutes=1)
    world.schedule["metadata"]["creationTimestamp"] = f"{week_ago:%FT%TZ}"
    said = world.check()
    assert "has not run for a week; kubectl -n bodywork-deployment-jobs desc" in said


def test_the_check_fails_on_another_release_or_a_paused_schedule(world: World) -> None:
    git(world.clone, "push", "--quiet", "origin", "HEAD:refs/tags/release-new")
    said = world.check("release-new")
    assert f"runs {PREVIOUS}, commit " in said and "not release-new" in said
    world.set_scheduled("release-other")
    said = world.check(PREVIOUS)
    assert f"The weekly run deploys release-other, not {PREVIOUS}; release" in said
    world.set_scheduled(PREVIOUS)
    world.schedule["spec"]["suspend"] = True
    assert "The weekly run is paused" in world.check()


def test_the_check_before_the_first_release_says_so(world: World) -> None:
    del world.api.objects[SCHEDULE]
    assert "Nothing was released yet" in world.check()


# Waits for the SIGINT that its parent sends on, whatever signals that one ignores.
INTERRUPTIBLE = """#!{python}
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
open(sys.argv[0] + ".calls", "a").write(" ".join(sys.argv[1:]) + "\\n")
print("Bodywork is at work", flush=True)
try:
    signal.pause()
except KeyboardInterrupt:
    print("Bodywork ends", flush=True)
"""


def test_an_interrupted_release_goes_back_even_if_sigint_is_ignored(
    world: World, api_server: tuple[ApiServer, Path]
) -> None:
    """As a process, started as `command &` of a script is, and ended with SIGTERM."""
    world.python.write_text(INTERRUPTIBLE.format(python=sys.executable))
    ignoring = "trap '' INT; exec \"$@\""
    with subprocess.Popen(
        ["sh", "-c", ignoring, "sh", sys.executable, "-m", "deploy.release"],
        cwd=world.clone,
        env={**os.environ, "KUBECONFIG": str(api_server[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if line == "Bodywork is at work\n":
                process.send_signal(signal.SIGINT)
                process.send_signal(signal.SIGTERM)
    assert process.returncode == 1, printed
    assert "is not released: interrupted\n" in printed
    assert printed.rstrip().endswith(f"; {PREVIOUS} serves.")
    assert world.serving() == world.scheduled() == PREVIOUS
    assert world.api.objects[LEASE]["spec"]["holderIdentity"] == ""
