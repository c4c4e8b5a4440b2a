"""What must be true of the cluster after a release; nothing else is believed."""

import json
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

from deploy.kubernetes_api import ApiError, Cluster, NotYetError, wait_for
from deploy.releases.model_versions import read_version
from deploy.releases.repository import Release

ROLLOUT_TIMEOUT_SECONDS = 300
ANSWER_TIMEOUT_SECONDS = 60

ENDPOINT = "api/v0.1/time_to_dispatch"
DOCUMENTATION = "openapi.json"
ORDERS_PLACED = 112
# Of the pods of a Deployment, the API server names a template by its hash.
HASH_LABEL = "pod-template-hash"
# Of the logs of a release that has failed.
LOG_PODS, LOG_LINES = 3, 20

# Makes a request of the service: method, path and JSON; returns the answer.
Request = Callable[[str, str, object], bytes]


class Rollout:
    """The service of a release, as the cluster has it.

    Attributes:
        request: Makes a request of it; by default through the API server.
    """

    def __init__(
        self, cluster: Cluster, release: Release, request: Request | None = None
    ) -> None:
        self.cluster = cluster
        self.release = release
        self.request = request or self._request_through_api_server
        self.path = (
            f"/apis/apps/v1/namespaces/{release.namespace}/deployments/"
            f"{release.service}"
        )
        self.service_path = (
            f"/api/v1/namespaces/{release.namespace}/services/"
            f"{release.service}:{release.port}/proxy"
        )

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
        wait_for(self.check_replicas, ROLLOUT_TIMEOUT_SECONDS)

        def ask() -> str:
            version = self.ask()
            if trained_after is not None:
                self.check_model(version, trained_after)
            return version

        return wait_for(ask, ANSWER_TIMEOUT_SECONDS)

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
                f"Deployment {self.release.service} runs {tag}, commit {commit}, not "
                f"{self.release.tag}, commit {self.release.commit[:7]}; "
                "see Bodywork's output."
            )

    def check_replicas(self) -> None:
        """Check that all replicas are ready and of the newest template.

        Raises:
            NotYetError: They are not.
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
            raise NotYetError(
                f"Deployment {self.release.service} has {existing} pods, {updated} of "
                f"the newest release and {ready} ready, where {wanted} of each are "
                f"due; kubectl -n {self.release.namespace} describe pods tells why."
            )

    def ask(self) -> str:
        """Ask for an estimate; returns the version of the model that made it.

        Raises:
            NotYetError: The service does not answer now.
            RuntimeError: What came back is no estimate.
        """
        try:
            content = self.request("POST", ENDPOINT, self.make_order())
        except OSError as error:
            raise NotYetError(f"The service does not answer ({error}).") from error
        return check_estimate(content)

    def make_order(self) -> dict[str, Any]:
        """Make an order of a product that the service documents.

        Raises:
            RuntimeError: It documents none, or does not answer.
        """
        content = self.request("GET", DOCUMENTATION, None)
        try:
            schemas = json.loads(content)["components"]["schemas"]
            codes = schemas["EstimateRequest"]["properties"]["product_code"]["enum"]
            return {"product_code": codes[0], "orders_placed": ORDERS_PLACED}
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise RuntimeError(
                f"The service names no product in its /{DOCUMENTATION}."
            ) from error

    def check_model(self, version: str, trained_after: datetime) -> None:
        """Check that a model is the one that was just trained.

        Raises:
            NotYetError: It is an older one, or other code made it; a pod that goes
                away may answer for a moment more.
        """
        made, commit = read_version(version)
        if made < trained_after:
            raise NotYetError(
                f"The model in service was made at {made.isoformat()}, before this "
                "deployment: the one just trained does not serve. "
                + " ".join(self.refused_models())
            )
        if not self.release.commit.startswith(commit):
            raise NotYetError(
                f"The model in service was made by commit {commit}, not by "
                f"{self.release.commit[:7]}."
            )

    def refused_models(self) -> list[str]:
        """Why the service has refused models, in its own sentences."""
        try:
            return list(self.cluster.get(f"{self.service_path}/readyz")["refused"])
        except (RuntimeError, ValueError, KeyError) as error:
            return [f"/readyz does not tell what was refused ({error})."]

    def read(self) -> Any:
        """Read the Deployment.

        Raises:
            RuntimeError: There is none.
        """
        deployment = self.cluster.find(self.path)
        if deployment is None:
            raise RuntimeError(
                f"There is no Deployment {self.release.service} in namespace "
                f"{self.release.namespace}; release with python -m deploy.release, and "
                "see Bodywork's output."
            )
        return deployment

    def _request_through_api_server(
        self, method: str, path: str, body: object
    ) -> bytes:
        return self.cluster.request(method, f"{self.service_path}/{path}", body)


def check_estimate(content: bytes) -> str:
    """Check an answer of the service; returns the version of the model.

    Raises:
        RuntimeError: It is no estimate.
    """
    try:
        answer = json.loads(content)
        hours, version = answer["est_hours_to_dispatch"], answer["model_version"]
        is_time = isinstance(hours, float) and math.isfinite(hours) and hours >= 0
        if is_time and isinstance(version, str):
            return version
    except (ValueError, TypeError, KeyError):
        pass
    shown = " ".join(content.decode(errors="replace").split())[:200]
    raise RuntimeError(f"The service answered {shown!r}, which is no estimate.")


def branch_of(pod: Any) -> str:
    """The tag or branch that a pod, or those of a template, clone; "" if none."""
    for container in pod["spec"]["containers"]:
        for argument in container.get("args", []):
            if argument.startswith("--branch="):
                return str(argument.removeprefix("--branch="))
    return ""


def template_of(deployment: Any) -> Any:
    """The template of a Deployment's pods, without what Bodywork's rollback leaves."""
    template = deployment["spec"]["template"]
    labels = template["metadata"].get("labels", {})
    kept = {name: value for name, value in labels.items() if name != HASH_LABEL}
    return {**template, "metadata": {**template["metadata"], "labels": kept}}


def last_logs(rollout: Rollout) -> str:
    """The last lines of a release's newest pods."""
    cluster, tag = rollout.cluster, rollout.release.tag
    path = f"/api/v1/namespaces/{rollout.release.namespace}/pods"
    # Those of the previous release are well, and would hide what is wrong.
    found = [pod for pod in cluster.get(path)["items"] if branch_of(pod) == tag]
    found.sort(key=lambda pod: pod["metadata"]["creationTimestamp"], reverse=True)
    shown = []
    for pod in found[:LOG_PODS]:
        name = pod["metadata"]["name"]
        try:
            log = cluster.request("GET", f"{path}/{name}/log", tailLines=str(LOG_LINES))
            text = log.decode(errors="replace").rstrip()
        except ApiError as error:
            text = str(error)
        shown.append(f"--- {name}, {pod['status'].get('phase')}:\n{text or '(empty)'}")
    return "\n".join(shown) or f"--- {tag} has no pods now; see Bodywork's output."
