"""Releasing, as a process: with a repository of its own, a double of the API server and
one of Bodywork, which needs a cluster."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.git_releases import repository_url
from deploy.rollout import ENDPOINT
from tests.bodywork_stages.conftest import copy_working_tree, git
from tests.deploy.api_server import ApiServer, recorded, run_api_server

pytestmark = [pytest.mark.once, pytest.mark.process]

NAMESPACE = "/apis/{}/namespaces/time-to-dispatch"
DEPLOYMENT = f"{NAMESPACE.format('apps/v1')}/deployments/serve-model"
JOBS = f"{NAMESPACE.format('batch/v1')}/jobs"
PODS = "/api/v1/namespaces/time-to-dispatch/pods"
SERVICE = (
    f"/api/v1/namespaces/time-to-dispatch/services/serve-model:8000/proxy/{ENDPOINT}"
)
RUNS = "/apis/batch/v1/namespaces/bodywork-deployment-jobs/jobs"
SCHEDULE = RUNS.replace("/jobs", "/cronjobs/time-to-dispatch")

PREVIOUS = "release-2021-07-02-before"
FORESEEN = "Deployment failed --> job=train-model in namespace=time-to-dispatch failed"
# After which Bodywork exits with 0.
NOT_AUTHENTICATED = "Could not authenticate with active Kubernetes context.\n--> (401)"

IMPATIENTLY = """
import runpy, sys
import deploy.rollout
deploy.rollout.ROLLOUT_TIMEOUT_SECONDS = deploy.rollout.ANSWER_TIMEOUT_SECONDS = 0
runpy.run_module("deploy.release", run_name="__main__", alter_sys=True)
"""
# The neighbour of `bodywork` in its environment: notes what it is to run.
PYTHON = """#!/bin/sh
test -z "$(ls -A)" || exit 70
echo "$@" >> "$0.calls"
cat "$0.output"
exit "$(cat "$0.exit_code")"
"""


class World:
    """A repository, a cluster with a previous release on it, and Bodywork.

    Attributes:
        works: Whether Bodywork deploys what it is called with.
        model_age: How old the model that answers is.
    """

    def __init__(self, directory: Path, api: ApiServer, kubeconfig: Path) -> None:
        self.api = api
        self.works = True
        self.model_age = timedelta(0)
        self.origin = directory / "origin.git"
        self.clone = directory / "clone"
        self.clone.mkdir()
        copy_working_tree(self.clone)
        git(self.clone, "init", "--quiet", "--initial-branch", "master")
        git(self.clone, "remote", "add", "origin", f"file://{self.origin}")
        subprocess.run(["git", "init", "--quiet", "--bare", self.origin], check=True)
        self.commit("first")
        git(self.clone, "push", "--quiet", "origin", f"HEAD:refs/tags/{PREVIOUS}")
        self.commit("second")

        self.python = directory / "bodywork" / "python"
        self.python.parent.mkdir()
        self.python.write_text(PYTHON)
        self.python.with_name("bodywork").touch()
        for file in self.python.parent.iterdir():
            file.chmod(0o755)
        self.let_bodywork_end("", exit_code=0)
        self.environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "PATH": f"{self.python.parent}:{os.environ['PATH']}",
        }

        self.schedule = recorded("cronjob")
        self.schedule["metadata"]["creationTimestamp"] = f"{datetime.now(UTC):%FT%TZ}"
        self.set_scheduled(PREVIOUS)
        api.objects = {
            "/version": {"major": "1", "minor": "36"},
            DEPLOYMENT: self.deployment,
            SERVICE: self.estimate,
            SCHEDULE: lambda: self.schedule,
            RUNS: {"items": []},
            JOBS: {"items": []},
            PODS: {"items": []},
        }

    def commit(self, message: str) -> None:
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "--allow-empty", "--message", message)

    def hash_of(self, revision: str) -> str:
        return subprocess.check_output(
            ["git", "rev-parse", f"{revision}^{{commit}}"], cwd=self.origin, text=True
        ).strip()

    def tags(self) -> list[str]:
        return subprocess.check_output(
            ["git", "tag"], cwd=self.origin, text=True
        ).split()

    def let_bodywork_end(self, output: str, exit_code: int) -> None:
        """Let Bodywork print something and end with an exit code."""
        Path(f"{self.python}.output").write_text(f"{output}\n")
        Path(f"{self.python}.exit_code").write_text(str(exit_code))

    def calls(self) -> list[str]:
        """The tags that Bodywork was called with."""
        log = Path(f"{self.python}.calls")
        calls = log.read_text().splitlines() if log.exists() else []
        command = rf"\S+launch.py create deployment file://{self.origin} --branch=(\S+)"
        return [re.fullmatch(command, call)[1] for call in calls]  # type: ignore[index]

    def deployed(self) -> list[str]:
        """The tags that Bodywork has deployed, the newest last."""
        return [PREVIOUS, *(self.calls() if self.works else [])]

    def serving(self) -> str:
        return self.deployed()[-1]

    def deployment(self) -> dict[str, Any]:
        """The Deployment as Bodywork's last call has left it."""
        deployment: dict[str, Any] = recorded("deployment")
        template = deployment["spec"]["template"]
        [container] = template["spec"]["containers"]
        container["args"][-1] = f"--branch={self.serving()}"
        commit = self.hash_of(self.serving())[:7]
        template["metadata"]["labels"]["git-commit-hash"] = commit
        template["metadata"]["annotations"]["last-updated"] = str(self.deployed())
        return deployment

    def estimate(self) -> dict[str, Any]:
        made = datetime.now(UTC) - self.model_age
        return {
            "est_hours_to_dispatch": 5.3,
            "model_version": f"name:time-to-dispatch|model_timestamp:{made.isoformat()}"
            f"|pipeline_git_commit_hash:{self.hash_of(self.serving())[:7]}",
        }

    def set_scheduled(self, tag: str) -> None:
        spec = self.schedule["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        spec["containers"][0]["args"] = [f"file://{self.origin}", f"--branch={tag}"]

    def let_pods_run(self, log: str, log_of_previous: str) -> None:
        """Let there be a pod of the release, and one of the previous release."""

        def pod(name: str, tag: str) -> dict[str, Any]:
            found: dict[str, Any] = recorded("pod")
            found["metadata"]["name"] = name
            found["spec"]["containers"][0]["args"][-1] = f"--branch={tag}"
            return found

        self.api.objects |= {
            PODS: lambda: {
                "items": [pod("new", self.calls()[0]), pod("previous", PREVIOUS)]
            },
            f"{PODS}/new/log": log,
            f"{PODS}/previous/log": log_of_previous,
        }

    def patches(self, path: str) -> list[Any]:
        return [body for _, changed, body in self.api.changes if changed == path]

    def run(self, *arguments: str, impatiently: bool = False) -> tuple[int, str]:
        """Run the release; returns its exit code and all that it printed."""
        start = ["-c", IMPATIENTLY] if impatiently else ["-m", "deploy.release"]
        process = subprocess.run(
            [sys.executable, *start, *arguments],
            cwd=self.clone,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        return process.returncode, process.stdout


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with run_api_server(tmp_path) as (api, kubeconfig):
        yield World(tmp_path, api, kubeconfig)


def test_a_commit_is_tagged_deployed_checked_and_scheduled(world: World) -> None:
    (world.clone / "untracked").touch()
    exit_code, output = world.run()
    assert exit_code == 0, output
    head = git_head(world)
    [tag] = set(world.tags()) - {PREVIOUS}
    assert re.fullmatch(rf"release-\d{{4}}-\d\d-\d\d-{head[:7]}", tag)
    assert world.hash_of(tag) == head
    assert world.calls() == [tag]
    [patch] = world.patches(DEPLOYMENT)
    path = world.clone / "deploy/cluster/serve_model_patch.yaml"
    assert patch == yaml.safe_load(path.read_text())
    [scheduled] = world.patches(SCHEDULE)
    spec = scheduled["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert container["args"] == [f"file://{world.origin}", f"--branch={tag}"]
    configuration = yaml.safe_load((world.clone / "bodywork.yaml").read_text())
    images = {each["image"] for each in spec["containers"] + spec["initContainers"]}
    assert images == {configuration["pipeline"]["docker_image"]}
    assert f"Released {tag}: it answers with name:time-to-dispatch|" in output


def git_head(world: World) -> str:
    return subprocess.check_output(
        ["git", "rev-parse", "HEAD"], cwd=world.clone, text=True
    ).strip()


def test_a_commit_that_was_released_before_keeps_its_tag(world: World) -> None:
    tag = "release-2021-07-09-another"
    git(world.clone, "tag", "--annotate", "--message", "x", tag)
    git(world.clone, "push", "--quiet", "origin", tag)
    exit_code, output = world.run()
    assert exit_code == 0, output
    assert world.calls() == [tag]
    assert set(world.tags()) == {PREVIOUS, tag}


def test_going_back_is_releasing_an_earlier_tag(world: World) -> None:
    assert world.run()[0] == 0
    exit_code, output = world.run(PREVIOUS)
    assert exit_code == 0, output
    assert world.calls()[-1] == PREVIOUS
    assert f"--branch={PREVIOUS}" in str(world.patches(SCHEDULE)[-1])


def test_what_an_interrupted_run_left_behind_is_removed(world: World) -> None:
    job = recorded("job")
    world.api.objects[JOBS]["items"].append(job)
    world.api.objects[f"{JOBS}/train-model"] = job
    exit_code, output = world.run()
    assert exit_code == 0, output
    assert ("DELETE", f"{JOBS}/train-model") in [each[:2] for each in world.api.changes]
    assert "Removed job train-model" in output


@pytest.mark.parametrize(
    "output, exit_code, sentence",
    [
        (NOT_AUTHENTICATED, 0, f"Deployment serve-model runs {PREVIOUS}, commit "),
        (FORESEEN, 1, "job=train-model in namespace=time-to-dispatch failed"),
        ("Killed", 137, "Bodywork's exit code is 137."),
    ],
)
def test_a_deployment_that_changes_nothing_fails(
    world: World, output: str, exit_code: int, sentence: str
) -> None:
    world.let_bodywork_end(output, exit_code)
    world.works = False
    world.let_pods_run("the stage's last words", "Answering")
    code, printed = world.run()
    assert code == 1
    assert sentence in printed
    assert "the stage's last words" in printed
    # That the previous release is well says nothing of this one.
    assert "Answering" not in printed
    assert printed.rstrip().endswith(f"went live; {PREVIOUS} still serves.")
    assert len(world.calls()) == 1
    assert world.api.changes == []


def test_a_release_whose_model_is_refused_gives_way_to_the_previous_one(
    world: World,
) -> None:
    world.model_age = timedelta(days=7)
    code, printed = world.run(impatiently=True)
    assert code == 1
    assert "The model in service was made at " in printed
    # Going back needs a new model as well, and here gets none.
    assert world.calls()[1:] == [PREVIOUS]
    assert printed.rstrip().endswith(f"{PREVIOUS} were put back as they were.")
    assert world.patches(SCHEDULE) == []
    restored = world.patches(DEPLOYMENT)[-1]
    assert [(each["op"], each["path"]) for each in restored] == [
        ("replace", "/spec/template")
    ]
    template = restored[0]["value"]
    assert f"--branch={PREVIOUS}" in template["spec"]["containers"][0]["args"]


def test_a_model_of_other_code_is_not_the_one_just_trained(world: World) -> None:
    def estimate() -> Any:
        found = world.estimate()
        found["model_version"] = found["model_version"][:-7] + "0123456"
        return found

    world.api.objects[SERVICE] = estimate
    code, printed = world.run(impatiently=True)
    assert code == 1
    assert "The model in service was made by commit 0123456, not by " in printed


def test_an_old_pod_that_still_answers_is_no_reason_to_go_back(world: World) -> None:
    """It leaves the Service a moment after the Deployment has all its new ones."""
    old = world.estimate()
    answers = iter([old, old])
    world.api.objects[SERVICE] = lambda: next(answers, None) or world.estimate()
    exit_code, output = world.run()
    assert exit_code == 0, output
    assert len(world.calls()) == 1


def test_a_release_that_does_not_answer_gives_way_to_the_previous_one(
    world: World,
) -> None:
    def answer() -> Any:
        if world.serving() != PREVIOUS:
            return RuntimeError("no endpoints available for service")
        return world.estimate()

    world.api.objects[SERVICE] = answer
    code, printed = world.run(impatiently=True)
    assert code == 1
    assert "no endpoints available for service" in printed
    assert f"--- {world.calls()[0]} has no pods now; see Bodywork's output." in printed
    assert printed.rstrip().endswith(f"failed; {PREVIOUS} serves again.")
    assert world.calls()[1:] == [PREVIOUS]


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
    world: World, changed: dict[str, int], sentence: str
) -> None:
    def deployment() -> Any:
        found = world.deployment()
        found["status"] |= changed
        return found

    world.api.objects[DEPLOYMENT] = deployment
    code, printed = world.run("--check", impatiently=True)
    assert code == 1
    assert f"{sentence}, where 2 of each are due; kubectl -n time-to" in printed


def test_a_first_release_that_fails_has_nothing_to_go_back_to(world: World) -> None:
    world.let_bodywork_end(FORESEEN, exit_code=1)
    world.api.objects[DEPLOYMENT] = lambda: None
    # That there are no logs to be had is no reason to end otherwise.
    del world.api.objects[PODS]
    code, printed = world.run()
    assert code == 1
    assert "there is no previous release to go back to" in printed


def test_leftover_jobs_that_cannot_be_removed_are_told(world: World) -> None:
    world.api.objects[JOBS]["items"].append(recorded("job"))
    world.api.objects[f"{JOBS}/train-model"] = RuntimeError("etcd is down")
    code, printed = world.run()
    assert code == 1
    assert "kubectl -n time-to-dispatch delete jobs --all does." in printed
    assert "Traceback" not in printed


def test_without_bodywork_nothing_is_tagged(world: World) -> None:
    world.python.with_name("bodywork").unlink()
    code, printed = world.run()
    assert (code, printed) == (1, "Bodywork is not installed: run make bodywork.\n")
    assert world.tags() == [PREVIOUS]


def test_uncommitted_changes_are_not_released(world: World) -> None:
    (world.clone / "README.md").write_text("changed")
    code, printed = world.run()
    assert (code, world.calls(), world.api.changes) == (1, [], [])
    assert "only commits are released; commit or stash them." in printed


def test_without_a_schedule_nothing_is_deployed(world: World) -> None:
    del world.api.objects[SCHEDULE]
    code, printed = world.run()
    assert (code, world.calls(), world.api.changes) == (1, [], [])
    assert world.tags() == [PREVIOUS]
    assert "make it with kubectl apply -k deploy/cluster." in printed


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
    code, printed = world.run(tag)
    assert (code, world.calls(), world.api.changes) == (1, [], [])
    assert sentence in printed


def test_a_kubeconfig_that_is_no_good_is_told(world: World) -> None:
    kubeconfig = Path(world.environment["KUBECONFIG"])
    good = kubeconfig.read_text()
    kubeconfig.write_text(good.replace("token: recorded", "token: expired"))
    assert "401 Unauthorized" in world.run()[1]
    kubeconfig.write_text(good.replace("127.0.0.1:", "127.0.0.1:1"))
    assert "does not answer" in world.run()[1]
    kubeconfig.unlink()
    code, printed = world.run()
    assert code == 1
    assert "No cluster is configured" in printed and "set KUBECONFIG" in printed
    assert (world.calls(), world.api.changes, world.tags()) == ([], [], [PREVIOUS])


def test_pods_that_clone_a_branch_are_not_the_release(world: World) -> None:
    """Of the same commit: they would clone another one when the branch has moved."""
    was = world.deployment()
    was["spec"]["template"]["spec"]["containers"][0]["args"][-1] = "--branch=master"
    world.api.objects[DEPLOYMENT] = was
    code, printed = world.run("--check")
    assert code == 1
    assert f"runs master, commit {world.hash_of(PREVIOUS)[:7]}, not " in printed


def test_pods_of_another_commit_are_not_the_release(world: World) -> None:
    """A tag may have been moved, after the pods had cloned it."""
    moved = f"+HEAD:refs/tags/{PREVIOUS}"
    git(world.clone, "push", "--quiet", "origin", moved)
    was = world.deployment()
    was["spec"]["template"]["metadata"]["labels"]["git-commit-hash"] = "0123456"
    world.api.objects[DEPLOYMENT] = was
    code, printed = world.run("--check")
    assert code == 1
    assert f"runs {PREVIOUS}, commit 0123456, not {PREVIOUS}, commit " in printed


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


def test_the_check_tells_what_serves_and_how_the_last_run_went(world: World) -> None:
    runs = world.api.objects[RUNS]["items"]
    code, printed = world.run("--check")
    assert code == 0, printed
    assert f"Deployment serve-model runs {PREVIOUS}, and all its replicas" in printed
    assert "it has not run yet." in printed
    runs.append(weekly_run("2021-07-16T23:45:00Z", succeeded=1))
    runs.append(weekly_run("2021-07-09T23:45:00Z", failed=1))
    code, printed = world.run("--check")
    assert code == 0, printed
    assert "started 2021-07-16T23:45:00Z, succeeded." in printed
    assert (world.calls(), world.api.changes) == ([], [])


def test_the_check_fails_if_the_last_weekly_run_did(world: World) -> None:
    conditions = [{"type": "FailureTarget", "reason": "DeadlineExceeded"}]
    conditions.append({"type": "Failed", "reason": "DeadlineExceeded"})
    run = weekly_run("2021-07-16T23:45:00Z", failed=1, conditions=conditions)
    world.api.objects[RUNS]["items"].append(run)
    code, printed = world.run("--check")
    assert code == 1
    assert "00Z, failed (DeadlineExceeded); kubectl -n bodywork-deploy" in printed


def test_the_check_fails_if_there_was_no_weekly_run_for_a_week(world: World) -> None:
    week_ago = datetime.now(UTC) - timedelta(days=7, minutes=1)
    world.schedule["metadata"]["creationTimestamp"] = f"{week_ago:%FT%TZ}"
    code, printed = world.run("--check")
    assert code == 1
    assert "has not run for a week; kubectl -n bodywork-deployment-jobs desc" in printed


def test_the_check_fails_on_another_release_or_a_paused_schedule(world: World) -> None:
    git(world.clone, "push", "--quiet", "origin", "HEAD:refs/tags/release-new")
    code, printed = world.run("--check", "release-new")
    assert code == 1
    assert f"runs {PREVIOUS}, commit " in printed and "not release-new" in printed
    world.set_scheduled("release-other")
    code, printed = world.run("--check", PREVIOUS)
    assert code == 1
    assert f"The weekly run deploys release-other, not {PREVIOUS}; release" in printed
    world.set_scheduled(PREVIOUS)
    world.schedule["spec"]["suspend"] = True
    code, printed = world.run("--check")
    assert code == 1
    assert "The weekly run is paused" in printed
