"""Bodywork's controller, as Jobs like those of the weekly run."""

import re
from copy import deepcopy
from typing import Any

from deploy.e2e.environment import BODYWORK_NAMESPACE, Environment
from deploy.e2e.pods import pods_of_job, read_logs, wait_for_job
from deploy.kubernetes_api import path_of
from deploy.releases import Release

# A training, a rollout and its rollback, with an image to pull for each.
TIMEOUT_SECONDS = 1200

DOCKER_HUB = re.compile("DockerHub|hub\\.docker\\.com")


def deploy(environment: Environment, schedule: Any, release: Release) -> None:
    """Let Bodywork deploy a release, in the cluster.

    Args:
        schedule: The CronJob of the weekly run, of which the Job is made.

    Raises:
        RuntimeError: It failed; with the end of its log.
    """
    succeeded, log = run(environment, schedule, release)
    if not succeeded:
        raise RuntimeError(explain_failure(release.tag, environment.image, log))


def fail_to_deploy(
    environment: Environment, schedule: Any, release: Release, because: str
) -> None:
    """Let Bodywork deploy a release that is not to go live.

    Args:
        because: What its log must say.

    Raises:
        RuntimeError: It succeeded, or failed for another reason.
    """
    succeeded, log = run(environment, schedule, release)
    if succeeded:
        raise RuntimeError(f"Bodywork deployed {release.tag}, which must fail.\n{log}")
    if because not in " ".join(log.split()):
        raise RuntimeError(
            f"Bodywork did not say that {release.tag} failed because '{because}'.\n"
            f"{explain_failure(release.tag, environment.image, log)}"
        )


def run(environment: Environment, schedule: Any, release: Release) -> tuple[bool, str]:
    """Run a release's deployment; returns whether it succeeded, and its log."""
    job = job_of(schedule, f"{environment.name}-{release.tag}")
    [container] = job["spec"]["template"]["spec"]["containers"]
    container["args"] = [release.repository, f"--branch={release.tag}"]
    return finish(environment, job)


def fire(environment: Environment, schedule: Any) -> None:
    """Fire a CronJob of the cluster by hand, as kubectl create job --from does.

    Raises:
        RuntimeError: Its run failed; with the end of its log.
    """
    job = job_of(schedule, f"{environment.name}-by-hand")
    metadata = schedule["metadata"]
    job["metadata"]["annotations"] = {"cronjob.kubernetes.io/instantiate": "manual"}
    owner = {"apiVersion": schedule["apiVersion"], "kind": schedule["kind"]}
    owner |= {"name": metadata["name"], "uid": metadata["uid"]}
    job["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
    succeeded, log = finish(environment, job)
    if not succeeded:
        raise RuntimeError(explain_failure("The CronJob", environment.image, log))


def job_of(schedule: Any, name: str) -> dict[str, Any]:
    """Make a Job as a CronJob would."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": BODYWORK_NAMESPACE},
        "spec": deepcopy(schedule["spec"]["jobTemplate"]["spec"]),
    }


def finish(environment: Environment, job: dict[str, Any]) -> tuple[bool, str]:
    """Run a Job to its end; returns whether it succeeded, and the end of its logs."""
    cluster = environment.cluster
    environment.make(job)
    pods = f"{environment.namespace}/pods"
    ended = wait_for_job(cluster, path_of(job), TIMEOUT_SECONDS, watched=pods)
    logs = [read_logs(cluster, pod) for pod in pods_of_job(cluster, job)]
    return ended["type"] == "Complete", "\n".join(logs)


def explain_failure(what: str, image: str, log: str) -> str:
    """Say why Bodywork failed, with its log."""
    if DOCKER_HUB.search(log):
        return (
            f"Bodywork did not deploy {what}, for it did not find {image} on Docker "
            "Hub: it asks https://hub.docker.com before each deployment, so pods need "
            f"the internet and the image must be public there.\n{log}"
        )
    return f"Bodywork did not deploy {what}; its log ends with:\n{log}"
