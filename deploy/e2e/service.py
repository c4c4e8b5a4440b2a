"""The service of a run: what must be true of it beyond a release, and its pods."""

from datetime import datetime
from typing import Any

import yaml

from deploy.e2e.manifests import CLUSTER
from deploy.e2e.pods import explain, is_ready
from deploy.kubernetes_api import STRATEGIC_MERGE, Cluster, NotYetError, wait_for
from deploy.releases import ROLLOUT_TIMEOUT_SECONDS, Release, Request, Rollout


class Service:
    """The service of a release, and the way to it.

    Attributes:
        rollout: Checks it as a release is checked.
    """

    def __init__(
        self, cluster: Cluster, release: Release, request: Request | None
    ) -> None:
        """Take a release, and what makes one request; None for the API server's way."""
        self.cluster = cluster
        self.rollout = Rollout(cluster, release, request)
        self.patch = yaml.safe_load((CLUSTER / "serve_model_patch.yaml").read_text())

    def check(self, trained_after: datetime | None = None) -> str:
        """Check that the release is what runs and answers, with all that it must have.

        Args:
            trained_after: If given, the model must be younger, and of the release.

        Returns:
            The version of the model that answers.

        Raises:
            RuntimeError: Something is not as it must be.
        """
        version = self.rollout.check(trained_after)
        # Merged in once more, the patch would change nothing.
        path = f"{self.rollout.path}?dryRun=All"
        merged = self.cluster.patch(path, self.patch, STRATEGIC_MERGE)
        if merged["spec"] != self.rollout.read()["spec"]:
            raise RuntimeError(
                f"Deployment {self.rollout.release.service} has lost some of "
                "deploy/cluster/serve_model_patch.yaml; compare it with the cluster's: "
                f"{self.rollout.path}"
            )
        return version

    def pods(self) -> list[Any]:
        """The pods of the service that are to stay."""
        selector = self.patch["spec"]["template"]["spec"]["topologySpreadConstraints"]
        [(label, value)] = selector[0]["labelSelector"]["matchLabels"].items()
        path = f"/api/v1/namespaces/{self.rollout.release.namespace}/pods"
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

        def check_replaced() -> None:
            pods = self.pods()
            waiting = [each for each in pods if not is_ready(each)]
            if self.cluster.find(path) is not None or len(pods) != count or waiting:
                reasons = [explain(self.cluster, each) for each in waiting]
                raise NotYetError(
                    f"Pod {metadata['name']} was deleted, and is not replaced: "
                    f"{'; '.join(reasons) or 'it stays'}."
                )

        wait_for(check_replaced, ROLLOUT_TIMEOUT_SECONDS)
