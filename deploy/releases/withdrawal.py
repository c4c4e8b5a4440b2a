"""Withdrawing what a failed deployment has published, or else restarted pods take it.

Who deploys need not have credentials for S3. So a pod does it, of the release itself:
with the code, the image and the secrets with which its training could publish.
"""

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from deploy.kubernetes_api import Cluster, NotYetError, path_of, wait_for
from deploy.releases.repository import Release

NAME = "withdraw-model"
# It takes some seconds, and an image may have to be pulled.
TIMEOUT_SECONDS = 120
# As a pod of a stage does, but for Bodywork, which has no stage for it.
SCRIPT = """
git clone --quiet --single-branch --branch "$1" "$2" code
cd code
shift 2
exec python -m pipeline.models "$@"
"""


def withdraw_models(
    cluster: Cluster,
    release: Release,
    since: datetime,
    reason: str,
    say: Callable[[str], None],
) -> bool:
    """Withdraw the models that the code of a release has made since a time.

    Args:
        reason: Why; kept beside each model.
        say: Called with what was withdrawn, or with the command that does it by hand.

    Returns:
        Whether it could be done.
    """
    arguments = (
        *(release.bucket, "withdraw", "--commit", release.commit),
        *("--since", since.isoformat(), "--reason", " ".join(reason.split())),
    )
    try:
        say(run_job(cluster, make_job(release, arguments)))
    except RuntimeError as error:
        say(
            f"What {release.tag} has published could not be withdrawn "
            f"({' '.join(str(error).split())}); do it with the credentials of training "
            f"and the key: python -m pipeline.models {shlex.join(arguments)}"
        )
        return False
    return True


def run_job(cluster: Cluster, job: dict[str, Any]) -> str:
    """Run a Job to its end, and remove it; returns what its pod has said.

    Raises:
        RuntimeError: It failed, or did not end in time.
    """
    path = path_of(job)
    cluster.create(job)
    try:
        failed = wait_for(lambda: has_failed(cluster, path), TIMEOUT_SECONDS + 10)
        said = read_log(cluster, job["metadata"]["namespace"])
    finally:
        with suppress(RuntimeError):
            cluster.delete(path)
    if failed:
        raise RuntimeError(said or f"job {NAME} failed, and its log is gone")
    return said


def make_job(release: Release, arguments: Sequence[str]) -> dict[str, Any]:
    """Make the Job that runs the pipeline's command for models.

    Bodywork's label lets the next deployment remove it, if this one is killed.
    """
    environment = [
        {
            "name": variable,
            "valueFrom": {"secretKeyRef": {"name": secret, "key": variable}},
        }
        for variable, secret in release.training["secrets"].items()
    ]
    container = {
        "name": NAME,
        "image": release.image,
        "command": ["sh", "-ec", SCRIPT, NAME],
        "args": [release.tag, release.repository, *arguments],
        "env": environment,
        "resources": {"requests": {"cpu": "100m", "memory": "250M"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "serviceAccountName": "bodywork-stage",
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    labels = {"app": "bodywork", "stage": NAME}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": NAME, "namespace": release.namespace, "labels": labels},
        "spec": {
            "backoffLimit": 1,
            "activeDeadlineSeconds": TIMEOUT_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


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


def read_log(cluster: Cluster, namespace: str) -> str:
    """What the Job's last pod has said; "" if that cannot be read."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    try:
        pods = cluster.get(path, labelSelector=f"stage={NAME}")["items"]
        pods.sort(key=lambda pod: pod["metadata"]["creationTimestamp"])
        log = cluster.request("GET", f"{path}/{pods[-1]['metadata']['name']}/log")
    except (RuntimeError, IndexError):
        return ""
    return log.decode(errors="replace").strip()
