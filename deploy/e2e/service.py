"""The service of a run: what must be true of it, and its pods."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import yaml

from deploy.e2e.load import check_estimate
from deploy.e2e.manifests import CLUSTER
from deploy.e2e.pods import explain, is_ready
from deploy.kubernetes_api import STRATEGIC_MERGE
from deploy.releases import (
    ANSWER_TIMEOUT_SECONDS,
    ROLLOUT_TIMEOUT_SECONDS,
    Rollout,
    repeat_until_true,
)

POLL_SECONDS = 2


class Service:
    """The service of a release, and the way to it.

    Attributes:
        ask: Makes one request; returns the answer.
    """

    def __init__(self, rollout: Rollout, ask: Callable[[], bytes]) -> None:
        self.rollout = rollout
        self.cluster = rollout.cluster
        self.ask = ask
        self.patch = yaml.safe_load((CLUSTER / "serve_model_patch.yaml").read_text())

    def merge_patch(self) -> None:
        """Merge in what Bodywork leaves out, and wait for the pods that have it."""
        self.cluster.patch(self.rollout.path, self.patch, STRATEGIC_MERGE)
        repeat_until_true(self.rollout.check_replicas, ROLLOUT_TIMEOUT_SECONDS)

    def check_patch(self) -> None:
        """Check that all that was merged in is there still.

        Raises:
            RuntimeError: Bodywork has removed or changed some of it.
        """
        # Merged in once more, it would change nothing.
        path = f"{self.rollout.path}?dryRun=All"
        merged = self.cluster.patch(path, self.patch, STRATEGIC_MERGE)
        if merged["spec"] != self.rollout.read()["spec"]:
            raise RuntimeError(
                f"Deployment {self.rollout.name} has lost some of "
                "deploy/cluster/serve_model_patch.yaml; compare it with the cluster's: "
                f"{self.rollout.path}"
            )

    def check(self, trained_after: datetime | None = None) -> str:
        """Check that the release is what runs and answers, as a release is checked.

        Args:
            trained_after: If given, the model must be younger, and of the release.

        Returns:
            The version of the model that answers.

        Raises:
            RuntimeError: Something is not as it must be.
        """
        self.rollout.check_code()
        repeat_until_true(self.rollout.check_replicas, ROLLOUT_TIMEOUT_SECONDS)
        self.check_patch()
        version = repeat_until_true(self.ask_for_model, ANSWER_TIMEOUT_SECONDS)
        if trained_after is not None:
            self.rollout.check_model(version, trained_after)
        return version

    def ask_for_model(self) -> str:
        """Ask for an estimate; returns the version of the model that made it.

        Raises:
            RuntimeError: None came back.
        """
        try:
            return check_estimate(self.ask())
        except Exception as error:
            raise RuntimeError(f"The service does not answer: {error}") from error

    def pods(self) -> list[Any]:
        """The pods of the service that are to stay."""
        selector = self.patch["spec"]["template"]["spec"]["topologySpreadConstraints"]
        [(label, value)] = selector[0]["labelSelector"]["matchLabels"].items()
        path = f"/api/v1/namespaces/{self.rollout.namespace}/pods"
        pods = self.cluster.get(path, labelSelector=f"{label}={value}")["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def replace(self, pod: Any) -> None:
        """Delete a pod, and wait until it is gone and another one ready in its place.

        Raises:
            RuntimeError: That has not happened in time.
        """
        count, metadata = self.rollout.read()["spec"]["replicas"], pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        self.cluster.delete(path)
        deadline = time.monotonic() + ROLLOUT_TIMEOUT_SECONDS
        while True:
            pods = self.pods()
            waiting = [each for each in pods if not is_ready(each)]
            gone = self.cluster.find(path) is None
            if gone and len(pods) == count and not waiting:
                return
            if time.monotonic() > deadline:
                reasons = [explain(self.cluster, each) for each in waiting]
                raise RuntimeError(
                    f"Pod {metadata['name']} was deleted, and is not replaced after "
                    f"{ROLLOUT_TIMEOUT_SECONDS} s: {'; '.join(reasons) or 'it stays'}."
                )
            time.sleep(POLL_SECONDS)
