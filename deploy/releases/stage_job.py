"""A Job that runs a module of a release's pipeline as its training is run.

Who deploys need not have credentials for S3. So a pod does what needs them: with the
code of the release, and the image and the secrets of its training.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from deploy.kubernetes_api import Cluster, NotYetError, path_of, wait_for
from deploy.releases.repository import Release

# As a pod of a stage does, but for Bodywork, which has no stage for it.
SCRIPT = """
git clone --quiet --single-branch --branch "$1" "$2" code
cd code
shift 2
exec python -m "$@"
"""


def make_job(
    release: Release,
    name: str,
    arguments: Sequence[str],
    memory: str,
    timeout_seconds: int,
) -> dict[str, Any]:
    """Make the manifest of the Job, which is gone an hour after its end.

    Bodywork's label lets the next deployment remove it, if it is still there.

    Args:
        arguments: The name of the module, and what it is called with.
        memory: That is requested for it, such as 250M.
        timeout_seconds: After which the cluster ends it.
    """
    environment = [
        {
            "name": variable,
            "valueFrom": {"secretKeyRef": {"name": secret, "key": variable}},
        }
        for variable, secret in release.training["secrets"].items()
    ]
    container = {
        "name": name,
        "image": release.image,
        "command": ["sh", "-ec", SCRIPT, name],
        "args": [release.tag, release.repository, *arguments],
        "env": environment,
        "resources": {"requests": {"cpu": "100m", "memory": memory}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "serviceAccountName": "bodywork-stage",
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        # It has no handler for SIGTERM, and whoever removes it waits.
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    labels = {"app": "bodywork", "stage": name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": release.namespace, "labels": labels},
        "spec": {
            "backoffLimit": 1,
            "activeDeadlineSeconds": timeout_seconds,
            "ttlSecondsAfterFinished": 3600,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def run_job(cluster: Cluster, job: dict[str, Any]) -> str:
    """Run a Job to its end, and remove it; returns what its pod has said.

    Raises:
        RuntimeError: It failed, or did not end in time.
    """
    path = path_of(job)
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    seconds = job["spec"]["activeDeadlineSeconds"] + 10
    cluster.create(job)
    try:
        failed = wait_for(lambda: has_failed(cluster, path), seconds)
        said = read_log(cluster, name, namespace)
    finally:
        with suppress(RuntimeError):
            cluster.delete(path)
    if failed:
        raise RuntimeError(said or f"job {name} failed, and its log is gone")
    return said


def has_failed(cluster: Cluster, path: str) -> bool:
    """Whether a Job has failed, and not succeeded.

    Raises:
        NotYetError: It has not ended.
        RuntimeError: It is gone.
    """
    folder, _, name = path.rpartition("/")
    # To list is what Bodywork may do, and it need not do more.
    jobs = cluster.get(folder, labelSelector=f"stage={name}")["items"]
    if not jobs:
        raise RuntimeError(f"job {name} is gone")
    for condition in jobs[0].get("status", {}).get("conditions", []):
        if condition["type"] in ("Complete", "Failed"):
            return bool(condition["type"] == "Failed")
    raise NotYetError(f"job {name} has not ended; its pod may find no room")


def read_log(cluster: Cluster, name: str, namespace: str) -> str:
    """What the last pod of a Job has said; "" if that cannot be read."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    try:
        pods = cluster.get(path, labelSelector=f"stage={name}")["items"]
        pods.sort(key=lambda pod: pod["metadata"]["creationTimestamp"])
        log = cluster.request("GET", f"{path}/{pods[-1]['metadata']['name']}/log")
    except (RuntimeError, IndexError):
        return ""
    return log.decode(errors="replace").strip()
