"""The Jobs that an earlier deployment left behind, on which the next might fail.

Bodywork names a Job by its stage, and fails if one of that name is there.
"""

from deploy.kubernetes_api import Cluster, NotYetError, wait_for

# Longer than the pod of a Job takes to end.
REMOVAL_TIMEOUT_SECONDS = 90


def remove_leftover_jobs(cluster: Cluster, namespace: str) -> list[str]:
    """Remove the Jobs of stages in a namespace, and wait until their pods are gone.

    Only for who holds the lease: then nobody alive made them.

    Returns:
        The names of those that were there.

    Raises:
        RuntimeError: Some cannot be removed.
    """
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"

    def list_jobs() -> list[str]:
        jobs = cluster.get(path, labelSelector="app=bodywork")["items"]
        return [str(job["metadata"]["name"]) for job in jobs]

    def check_gone() -> None:
        if left := list_jobs():
            raise NotYetError(f"{', '.join(left)} stayed")

    names = list_jobs()
    try:
        for name in names:
            cluster.delete(f"{path}/{name}", "Foreground")
        wait_for(check_gone, REMOVAL_TIMEOUT_SECONDS)
    except RuntimeError as error:
        raise RuntimeError(
            f"Jobs that an earlier run left behind could not be removed ({error}); "
            f"kubectl -n {namespace} delete jobs --all does."
        ) from error
    return names
