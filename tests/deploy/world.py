"""A release's world: a repository, a double of the API server, and one of Bodywork."""

import re
import subprocess
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from deploy import release
from deploy.releases import ENDPOINT, ROOT, branch_of, reports, weekly_run
from tests.bodywork_stages.conftest import git
from tests.deploy.api_server import ApiServer, recorded

NAMESPACE = "/apis/{}/namespaces/time-to-dispatch"
DEPLOYMENT = f"{NAMESPACE.format('apps/v1')}/deployments/serve-model"
JOBS = f"{NAMESPACE.format('batch/v1')}/jobs"
PODS = "/api/v1/namespaces/time-to-dispatch/pods"
PROXY = "/api/v1/namespaces/time-to-dispatch/services/serve-model:8000/proxy"
SERVICE = f"{PROXY}/{ENDPOINT}"
DOCUMENTATION = f"{PROXY}/openapi.json"
RUNS = "/apis/batch/v1/namespaces/bodywork-deployment-jobs/jobs"
SCHEDULE = RUNS.replace("/jobs", "/cronjobs/time-to-dispatch")
LEASE = (
    "/apis/coordination.k8s.io/v1/namespaces/bodywork-deployment-jobs/leases/"
    "time-to-dispatch"
)

# Not one of the sandbox's: which products there are, the deliveries say.
PRODUCT = "P-1"
PREVIOUS = "release-2021-07-02-before"
ORIGIN, CLONE = "origin.git", "clone"
# What a release is made of.
PATHS = ("bodywork.yaml", "deploy", "pipeline")
# The neighbour of `bodywork` in its environment: notes what it is to run. As that of
# the stages, tells the newest delivery, and notes what people are told.
PYTHON = """#!/bin/sh
case "$2" in
pipeline.deliveries) test -d pipeline || exit 72
    test "$*" = "$(cat "$0.ask")" || exit 73
    cat "$0.delivered" || { echo "S3 is away." >&2; exit 1; }
    exit ;;
pipeline.report_failure) test -d pipeline || exit 72
    shift 2
    echo "$*: $EXCEPTION_MESSAGE" >> "$0.told"
    exit ;;
esac
test -z "$(ls -A)" || exit 70
test -n "$BODYWORK_PARENT" || exit 71
echo "$@" >> "$0.calls"
cat "$0.output"
exit "$(cat "$0.exit_code")"
"""


class World:
    """A repository, a cluster with a previous release on it, and Bodywork.

    Attributes:
        works: Whether Bodywork deploys what it is called with.
        model_age: How old the model that answers is.
        live: The Deployment.
        trained_on: The delivery that the model which answers was trained on.
        jobs: The Jobs that were made here, and not by Bodywork.
        job_ends: How such a Job ends, with what its pod says; that of the pages does
            not.
    """

    def __init__(self, directory: Path, api: ApiServer) -> None:
        """Make it around what `make_repository` has made in a directory."""
        self.api = api
        self.works = True
        self.model_age = timedelta(0)
        self.trained_on = ""
        self.jobs: list[Any] = []
        self.job_ends = ("Complete", "Withdrew m.pkl; services that start pass over it")
        self.origin, self.clone = directory / ORIGIN, directory / CLONE
        git(self.clone, "remote", "add", "origin", f"file://{self.origin}")

        self.python = directory / "bodywork" / "python"
        self.python.parent.mkdir()
        self.python.write_text(PYTHON)
        self.python.with_name("bodywork").touch()
        for file in self.python.parent.iterdir():
            file.chmod(0o755)
        self.let_bodywork_end("", exit_code=0)
        asked = "-m pipeline.deliveries newest time-to-dispatch"
        Path(f"{self.python}.ask").write_text(asked)
        self.deliver(datetime(2021, 7, 2, 23, tzinfo=UTC))

        self.live: dict[str, Any] = recorded("deployment")
        self.deployed = 0
        self.deploy(PREVIOUS)
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": "time-to-dispatch",
                "namespace": "bodywork-deployment-jobs",
                "resourceVersion": "1",
            },
        }
        api.objects = {
            "/version": {"major": "1", "minor": "36"},
            DEPLOYMENT: self.deployment,
            SERVICE: self.estimate,
            DOCUMENTATION: document(PRODUCT),
            f"{PROXY}/readyz": lambda: {"refused": ["One was forged."]},
            SCHEDULE: recorded("cronjob"),
            LEASE: lease,
            RUNS: {"items": []},
            JOBS: {"items": []},
            PODS: {"items": []},
        }
        api.made = self.run_job
        created = f"{api.now():%FT%TZ}"
        api.objects[SCHEDULE]["metadata"]["creationTimestamp"] = created
        self.set_scheduled(PREVIOUS)

    def hash_of(self, revision: str) -> str:
        return read_hash(self.origin, revision)

    def tags(self) -> list[str]:
        return subprocess.check_output(
            ["git", "tag"], cwd=self.origin, text=True
        ).split()

    def let_bodywork_end(self, output: str, exit_code: int) -> None:
        """Let Bodywork print something and end with an exit code."""
        Path(f"{self.python}.output").write_text(f"{output}\n")
        Path(f"{self.python}.exit_code").write_text(str(exit_code))

    def deliver(self, dated: datetime) -> None:
        """Deliver a week's orders, named with a character that is allowed."""
        key = f"datasets/time_to_dispatch_{dated:%Y-%m-%dT%H|%M|%S}.csv"
        Path(f"{self.python}.delivered").write_text(f"{dated.isoformat()} {key}\n")

    def delivered(self) -> str:
        """The key of the newest delivery."""
        return Path(f"{self.python}.delivered").read_text().split()[1]

    def told(self) -> str:
        """What people were told by the weekly run itself, who called it with what."""
        file = Path(f"{self.python}.told")
        return file.read_text() if file.exists() else ""

    def calls(self) -> list[str]:
        """The tags that Bodywork was called with."""
        log = Path(f"{self.python}.calls")
        calls = log.read_text().splitlines() if log.exists() else []
        command = rf"\S+launch.py create deployment file://{self.origin} --branch=(\S+)"
        return [re.fullmatch(command, call)[1] for call in calls]  # type: ignore[index]

    def deployment(self) -> dict[str, Any]:
        """The Deployment, as Bodywork's last call has left it, if nobody since."""
        calls = self.calls()
        if self.works and self.deployed < len(calls):
            self.deploy(calls[-1])
            self.trained_on = self.delivered()
        self.deployed = len(calls)
        return self.live

    def deploy(self, tag: str) -> None:
        template = deepcopy(self.live["spec"]["template"])
        [container] = template["spec"]["containers"]
        container["args"][-1] = f"--branch={tag}"
        template["metadata"]["labels"]["git-commit-hash"] = self.hash_of(tag)[:7]
        template["metadata"]["annotations"]["last-updated"] = str(self.api.now())
        self.live["spec"]["template"] = template

    def serving(self) -> str:
        return branch_of(self.deployment()["spec"]["template"])

    def estimate(self) -> Any:
        made = self.api.now() - self.model_age
        commit = self.hash_of(self.serving())[:7]
        return {
            "est_hours_to_dispatch": 5.3,
            "model_version": f"name:time-to-dispatch|model_timestamp:{made.isoformat()}"
            f"|train_dataset_key:{self.trained_on}|pipeline_git_commit_hash:{commit}",
        }

    @property
    def schedule(self) -> Any:
        return self.api.objects[SCHEDULE]

    def set_scheduled(self, tag: str) -> None:
        spec = self.schedule["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        spec["containers"][0]["args"] = [f"file://{self.origin}", f"--branch={tag}"]

    def scheduled(self) -> str:
        return branch_of(self.schedule["spec"]["jobTemplate"]["spec"]["template"])

    def images(self) -> set[str]:
        """Those of the CronJob."""
        spec = self.schedule["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        return {each["image"] for each in spec["containers"]}

    def run_job(self, made: Any) -> None:
        """Let a Job end as soon as it is made."""
        if made["kind"] != "Job":
            return
        self.jobs.append(deepcopy(made))
        if made["metadata"]["name"] == reports.NAME:
            return
        condition, log = self.job_ends
        made["status"] = {"conditions": [{"type": condition, "status": "True"}]}
        pods, pod = self.api.objects[PODS], deepcopy(made["spec"]["template"])
        pod["metadata"] |= {"name": "job", "creationTimestamp": "2021-07-10T00:00:00Z"}
        listed = pods() if callable(pods) else pods
        self.api.objects |= {PODS: {"items": [*listed["items"], pod]}}
        self.api.objects[f"{PODS}/job/log"] = f"{log}\n"

    def jobs_of(self, name: str) -> list[Any]:
        return [job for job in self.jobs if job["metadata"]["name"] == name]

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
        return [
            body
            for method, changed, body in self.api.changes
            if (method, changed) == ("PATCH", path)
        ]

    def release(self, tag: str | None = None) -> str:
        """Run the release; returns the sentence that it ended with."""
        return ending(lambda: release.main(tag, self.clone))

    def check(self, tag: str | None = None) -> str:
        return ending(lambda: release.check(tag, self.clone))

    def run_weekly(self, job: str = "") -> str:
        """Run the weekly run, of a Job; returns the sentence that it ended with."""
        names = ("bodywork-deployment-jobs", "time-to-dispatch")
        launcher = [str(self.python), "./launch.py"]
        return ending(lambda: weekly_run.main(*names, job, launcher))


def document(*products: str) -> dict[str, Any]:
    """What a service says of its requests."""
    request = {"properties": {"product_code": {"enum": list(products)}}}
    return {"components": {"schemas": {"EstimateRequest": request}}}


def make_repository(directory: Path) -> None:
    """Make a repository with a previous release, and a clone with a commit more."""
    origin, clone = directory / ORIGIN, directory / CLONE
    clone.mkdir()
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PATHS]
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).splitlines():
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(["git", "init", "--quiet", "--bare", origin], check=True)
    git(clone, "init", "--quiet", "--initial-branch", "master")
    commit(clone, "first")
    git(clone, "push", "--quiet", f"file://{origin}", f"HEAD:refs/tags/{PREVIOUS}")
    commit(clone, "second")


def commit(clone: Path, message: str) -> None:
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--allow-empty", "--message", message)


def ending(run: Callable[[], None]) -> str:
    """Run something; returns the sentence that it raised, or "" if it did not."""
    try:
        run()
    except RuntimeError as error:
        return str(error)
    return ""


@cache
def read_hash(origin: Path, revision: str) -> str:
    command = ["git", "rev-parse", f"{revision}^{{commit}}"]
    return subprocess.check_output(command, cwd=origin, text=True).strip()
