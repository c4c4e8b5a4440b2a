"""Waiting for pods and Jobs, and what to say when they do not come to be."""

from datetime import datetime
from typing import Any

from deploy.kubernetes_api import ApiError, Cluster, NotYetError, wait_for

# A node is short of CPU for a moment while pods are replaced.
UNSCHEDULABLE_SECONDS = 60
LOG_LINES = 40

FACTS = ("reason", "exitCode", "message")
PULL_FAILURES = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


def wait_until_ready(cluster: Cluster, path: str, seconds: float) -> Any:
    """Wait until a pod is ready; returns it.

    Raises:
        RuntimeError: It is not after that time, or will never be; with the reason.
    """

    def find() -> Any:
        pod = cluster.get(path)
        if is_ready(pod):
            return pod
        check_can_start(cluster, pod)
        sentence = (
            f"Pod {pod['metadata']['name']} is not ready: {explain(cluster, pod)}.\n"
            f"{read_logs(cluster, pod)}"
        )
        if pod["status"].get("phase") in ("Failed", "Succeeded"):
            raise RuntimeError(sentence)
        raise NotYetError(sentence)

    return wait_for(find, seconds)


def wait_for_job(cluster: Cluster, path: str, seconds: float, watched: str) -> Any:
    """Wait until a Job is complete or has failed; returns that condition.

    Args:
        watched: The path of pods of which none may be without its image meanwhile.

    Raises:
        RuntimeError: It is neither after that time, or never will be; with the reason.
    """

    def find() -> Any:
        job = cluster.get(path)
        for condition in job["status"].get("conditions", []):
            if condition["type"] in ("Complete", "Failed"):
                return condition
        pods = pods_of_job(cluster, job)
        for pod in [*pods, *cluster.get(watched)["items"]]:
            check_can_start(cluster, pod)
        reasons = [explain(cluster, pod) for pod in pods] or ["it has no pod"]
        logs = "\n".join(read_logs(cluster, pod) for pod in pods)
        name = job["metadata"]["name"]
        raise NotYetError(f"Job {name} has not ended: {'; '.join(reasons)}.\n{logs}")

    return wait_for(find, seconds)


def pods_of_job(cluster: Cluster, job: Any) -> list[Any]:
    """The pods of a Job, the oldest first."""
    metadata = job["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods"
    pods = cluster.get(path, labelSelector=f"job-name={metadata['name']}")["items"]
    return sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])


def is_ready(pod: Any) -> bool:
    """Whether a pod is ready, and is to stay."""
    return "deletionTimestamp" not in pod["metadata"] and any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod["status"].get("conditions", [])
    )


def check_can_start(cluster: Cluster, pod: Any) -> None:
    """Check that nothing keeps a pod from starting that will not change by itself.

    Raises:
        RuntimeError: Its image cannot be pulled, or no node has room for it.
    """
    name = pod["metadata"]["name"]
    for container in container_statuses(pod):
        waiting = container["state"].get("waiting", {})
        if waiting.get("reason") in PULL_FAILURES:
            raise RuntimeError(
                f"Pod {name} has no image: {waiting.get('message', waiting['reason'])};"
                f" push {container['image']} to Docker Hub (docs/deploy.md), or name "
                "one that is there: make e2e ARGS='--image NAME'."
            )
    for condition in pod["status"].get("conditions", []):
        if condition.get("reason") == "Unschedulable":
            since = datetime.fromisoformat(condition["lastTransitionTime"])
            if (cluster.now() - since).total_seconds() > UNSCHEDULABLE_SECONDS:
                raise RuntimeError(
                    f"No node takes pod {name}: {condition.get('message')}"
                )


def explain(cluster: Cluster, pod: Any) -> str:
    """Why a pod is not ready, as far as the cluster knows."""
    reasons = []
    for condition in pod["status"].get("conditions", []):
        if condition["status"] != "True" and condition.get("message"):
            reasons.append(condition["message"])
    for container in container_statuses(pod):
        for state in (container["state"], container.get("lastState", {})):
            for kind in ("waiting", "terminated"):
                if kind in state:
                    known = state[kind].items()
                    facts = [f"{key} {value}" for key, value in known if key in FACTS]
                    reasons.append(f"{container['name']} {kind}: {', '.join(facts)}")
    metadata = pod["metadata"]
    events = cluster.get(
        f"/api/v1/namespaces/{metadata['namespace']}/events",
        fieldSelector=f"involvedObject.name={metadata['name']},type=Warning",
    )["items"]
    reasons += [event["message"] for event in events[-1:]]
    phase = f"{metadata['name']} is {pod['status'].get('phase', 'new')}"
    return "; ".join([phase, *(" ".join(reason.split()) for reason in reasons)])


def read_logs(cluster: Cluster, pod: Any) -> str:
    """The last lines of each container of a pod."""
    metadata, logs = pod["metadata"], []
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log"
    for container in container_statuses(pod):
        query = {"container": container["name"], "tailLines": str(LOG_LINES)}
        try:
            text = cluster.request("GET", path, **query).decode(errors="replace")
        except ApiError as error:
            text = str(error)
        logs.append(f"--- {metadata['name']}, {container['name']}:\n{text.rstrip()}")
    return "\n".join(logs)


def container_statuses(pod: Any) -> list[Any]:
    status = pod["status"]
    return [
        *status.get("initContainerStatuses", []),
        *status.get("containerStatuses", []),
    ]
