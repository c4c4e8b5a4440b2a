"""What must be true of the cluster after a release; nothing else is believed."""

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from deploy.kubernetes_api import Cluster, Refusal
from deploy.releases.repository import Release
from deploy.releases.weekly_run import check_age, read_version

ROLLOUT_TIMEOUT_SECONDS = 300
ANSWER_TIMEOUT_SECONDS = 60
POLL_SECONDS = 2

Result = TypeVar("Result")

ENDPOINT = "api/v0.1/time_to_dispatch"
ORDER = {"product_code": "SKU001", "orders_placed": 112}


class Rollout:
    """The service of a release, as the cluster has it."""

    def __init__(self, cluster: Cluster, release: Release) -> None:
        pipeline = release.configuration["pipeline"]
        stages = release.configuration["stages"]
        [stage] = [name for name in stages if "service" in stages[name]]
        self.cluster = cluster
        self.release = release
        self.namespace = str(pipeline.get("namespace") or pipeline["name"])
        self.name = stage.replace("_", "-")
        self.port = int(stages[stage]["service"]["port"])
        self.path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.name}"

    def check(self, trained_after: datetime | None = None) -> str:
        """Check that the service runs the release and answers.

        Args:
            trained_after: If given, the model in service must be younger, and made by
                the code of the release.

        Returns:
            The version of the model that answered.

        Raises:
            RuntimeError: Something is not as it must be.
        """
        self.check_code()
        repeat_until_true(self.check_replicas, ROLLOUT_TIMEOUT_SECONDS)

        def ask() -> str:
            version = self.ask()
            if trained_after is not None:
                self.check_model(version, trained_after)
            return version

        # A pod that goes away may answer for a moment more.
        return repeat_until_true(ask, ANSWER_TIMEOUT_SECONDS)

    def check_code(self) -> None:
        """Check that new pods get the code of the release.

        Raises:
            RuntimeError: They do not.
        """
        # After a rollback the Deployment's own labels name the commit that failed.
        template = self.read()["spec"]["template"]
        commit = template["metadata"]["labels"].get("git-commit-hash") or "none"
        tag = branch_of(template)
        if tag != self.release.tag or not self.release.commit.startswith(commit):
            raise RuntimeError(
                f"Deployment {self.name} runs {tag}, commit {commit}, not "
                f"{self.release.tag}, commit {self.release.commit[:7]}; "
                "see Bodywork's output."
            )

    def check_replicas(self) -> None:
        """Check that all replicas are ready and of the newest template.

        Raises:
            RuntimeError: They are not.
        """
        deployment = self.read()
        wanted, status = deployment["spec"]["replicas"], deployment["status"]
        observed = status.get("observedGeneration") == deployment["metadata"][
            "generation"
        ]
        counts = [
            status.get(count, 0)
            for count in ("replicas", "updatedReplicas", "readyReplicas")
            + ("availableReplicas",)
        ]
        if not observed or counts != [wanted] * len(counts):
            existing, updated, ready, _ = counts
            raise RuntimeError(
                f"Deployment {self.name} has {existing} pods, {updated} of the newest "
                f"release and {ready} ready, where {wanted} of each are due; "
                f"kubectl -n {self.namespace} describe pods tells why."
            )

    def request_estimate(self) -> bytes:
        """Make one request through the Service; returns the answer."""
        path = (
            f"/api/v1/namespaces/{self.namespace}/services/{self.name}:{self.port}"
            f"/proxy/{ENDPOINT}"
        )
        return self.cluster.request("POST", path, ORDER)

    def ask(self) -> str:
        """Ask for an estimate through the Service; returns the model's version.

        Raises:
            RuntimeError: None came back.
        """
        answer = json.loads(self.request_estimate())
        hours = answer.get("est_hours_to_dispatch")
        if not isinstance(hours, float) or "model_version" not in answer:
            raise RuntimeError(f"Service {self.name} answered {answer}, no estimate.")
        return str(answer["model_version"])

    def check_model(self, version: str, trained_after: datetime) -> None:
        """Check that a model is the one that was just trained.

        Raises:
            RuntimeError: It is an older one, or other code made it.
        """
        check_age(version, trained_after)
        commit = read_version(version)["pipeline_git_commit_hash"]
        if not self.release.commit.startswith(commit):
            raise RuntimeError(
                f"The model in service was made by commit {commit}, not by "
                f"{self.release.commit[:7]}; another release may be under way."
            )

    def read(self) -> Any:
        """Read the Deployment.

        Raises:
            RuntimeError: There is none.
        """
        deployment = self.cluster.find(self.path)
        if deployment is None:
            raise RuntimeError(
                f"There is no Deployment {self.name} in namespace {self.namespace}; "
                "release with python -m deploy.release, and see Bodywork's output."
            )
        return deployment


def branch_of(pod: Any) -> str:
    """The tag or branch that a pod, or those of a template, clone; "" if none."""
    for container in pod["spec"]["containers"]:
        for argument in container.get("args", []):
            if argument.startswith("--branch="):
                return str(argument.removeprefix("--branch="))
    return ""


def repeat_until_true(check: Callable[[], Result], seconds: float) -> Result:
    """Repeat a check until it passes.

    Raises:
        RuntimeError: It has not after that time; with its last sentence.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS)


def last_logs(rollout: Rollout, pods: int = 3, lines: int = 20) -> str:
    """The last lines of a release's newest pods."""
    cluster, tag = rollout.cluster, rollout.release.tag
    path = f"/api/v1/namespaces/{rollout.namespace}/pods"
    # Those of the previous release are well, and would hide what is wrong.
    found = [pod for pod in cluster.get(path)["items"] if branch_of(pod) == tag]
    found.sort(key=lambda pod: pod["metadata"]["creationTimestamp"], reverse=True)
    shown = []
    for pod in found[:pods]:
        name = pod["metadata"]["name"]
        try:
            log = cluster.request("GET", f"{path}/{name}/log", tailLines=str(lines))
            text = log.decode(errors="replace").rstrip()
        except Refusal as refusal:
            text = str(refusal)
        shown.append(f"--- {name}, {pod['status'].get('phase')}:\n{text or '(empty)'}")
    return "\n".join(shown) or f"--- {tag} has no pods now; see Bodywork's output."
