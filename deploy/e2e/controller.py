"""Releases and weekly runs, as the Jobs that they are in a cluster."""

import re
from copy import deepcopy
from typing import Any

from deploy.e2e.environment import BODYWORK_NAMESPACE, Environment, to_env
from deploy.e2e.manifests import HERE, containers, load
from deploy.e2e.pods import pods_of_job, read_logs, wait_for_job
from deploy.kubernetes_api import NotYetError, path_of, wait_for
from deploy.releases import (
    REPORTS_JOB,
    Lease,
    Release,
    Schedule,
    read_log,
    released_tag,
)

# A training, a rollout and its rollback, with an image to pull for each.
TIMEOUT_SECONDS = 1200
START_TIMEOUT_SECONDS = 300

DOCKER_HUB = re.compile("DockerHub|hub\\.docker\\.com")

Job = dict[str, Any]


def release(environment: Environment, released: Release) -> None:
    """Release, with the command that people use.

    Raises:
        RuntimeError: It failed; with the end of its log.
    """
    succeed(environment, start_release(environment, released))


def fail_to_release(
    environment: Environment, refused: Release, *sentences: str
) -> None:
    """Release what is not to go live.

    Args:
        sentences: What its log must say.

    Raises:
        RuntimeError: It succeeded, or failed for another reason.
    """
    succeeded, log = finish(environment, start_release(environment, refused))
    if succeeded:
        raise RuntimeError(f"{refused.tag} was released, and must fail.\n{log}")
    for sentence in sentences:
        if sentence not in " ".join(log.split()):
            raise RuntimeError(
                f"When {refused.tag} failed, it was not said that '{sentence}'.\n"
                f"{explain_failure(refused.tag, environment.image, log)}"
            )


def start_release(environment: Environment, released: Release) -> Job:
    """Start the release command in a pod."""
    [job] = load(HERE / "release.yaml", environment.name, environment.image)
    environment.jobs += 1
    job["metadata"]["name"] = (
        f"{environment.name}-{environment.jobs}-{released.tag}"
    )
    [container] = containers(job)
    variables = {"RELEASE": released.tag, "REPOSITORY": released.repository}
    container["env"] = to_env(variables)
    environment.make(job)
    return job


def start_weekly_run(environment: Environment, schedule: Any) -> Job:
    """Fire a CronJob of the cluster by hand, as kubectl create job --from does."""
    environment.jobs += 1
    metadata = schedule["metadata"]
    owner = {"apiVersion": schedule["apiVersion"], "kind": schedule["kind"]}
    owner |= {"name": metadata["name"], "uid": metadata["uid"]}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{environment.name}-{environment.jobs}",
            "namespace": BODYWORK_NAMESPACE,
            "annotations": {"cronjob.kubernetes.io/instantiate": "manual"},
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": deepcopy(schedule["spec"]["jobTemplate"]["spec"]),
    }
    environment.make(job)
    return job


def succeed(environment: Environment, job: Job) -> None:
    """Wait for a Job's success.

    Raises:
        RuntimeError: It failed; with the end of its log.
    """
    succeeded, log = finish(environment, job)
    if not succeeded:
        name = job["metadata"]["name"]
        raise RuntimeError(explain_failure(name, environment.image, log))


def overlap(
    environment: Environment, schedule: Schedule, released: Release, weekly_first: bool
) -> None:
    """Let a release and a weekly run begin at once.

    Raises:
        RuntimeError: One failed, or something else than the release is scheduled then.
    """
    cluster = environment.cluster

    def start_weekly() -> Job:
        return start_weekly_run(environment, schedule.read())

    if weekly_first:
        first = start_weekly()
        wait_until_held(environment, released)
        second = start_release(environment, released)
    else:
        first = start_release(environment, released)
        wait_until_held(environment, released)
        second = start_weekly()
    for job in (first, second):
        succeed(environment, job)
    scheduled = released_tag(cluster.get(schedule.path))
    if scheduled != released.tag:
        raise RuntimeError(f"The weekly run deploys {scheduled}, not {released.tag}.")


def wait_until_held(environment: Environment, released: Release) -> None:
    """Wait until somebody has begun to work."""
    lease = Lease(environment.cluster, released.schedule, "nobody")

    def check_held() -> None:
        if not lease.read().get("spec", {}).get("holderIdentity"):
            raise NotYetError("Nobody has begun to work.")

    wait_for(check_held, START_TIMEOUT_SECONDS)


def evict(environment: Environment, namespace: str, selector: str) -> None:
    """Evict the running pods of a selector, as a drain of their nodes does.

    Raises:
        RuntimeError: There is none after a while.
    """
    cluster, path = environment.cluster, f"/api/v1/namespaces/{namespace}/pods"

    def find() -> list[Any]:
        pods = cluster.get(path, labelSelector=selector)["items"]
        running = [pod for pod in pods if pod["status"].get("phase") == "Running"]
        if not running:
            raise NotYetError(f"No pod of {selector} runs.")
        return running

    for pod in wait_for(find, START_TIMEOUT_SECONDS):
        name = pod["metadata"]["name"]
        metadata = {"name": name, "namespace": namespace}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        cluster.request("POST", f"{path}/{name}/eviction", eviction)


def wait_for_reports(environment: Environment) -> str:
    """Wait until the last deployment has published its pages; returns what it says.

    Raises:
        RuntimeError: It has not.
    """
    cluster, pods = environment.cluster, f"{environment.namespace}/pods"
    path = f"/apis/batch/v1/namespaces/{environment.name}/jobs/{REPORTS_JOB}"
    ended = wait_for_job(cluster, path, TIMEOUT_SECONDS, watched=pods)
    log = read_log(cluster, REPORTS_JOB, environment.name)
    if ended["type"] == "Failed":
        raise RuntimeError(f"The pages of the runs are not published.\n{log}")
    return log


def finish(environment: Environment, job: Job) -> tuple[bool, str]:
    """Wait for a Job's end; returns whether it succeeded, and the end of its logs."""
    cluster = environment.cluster
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
