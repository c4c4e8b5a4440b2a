"""Deploying a release: the same for who releases it and for the weekly run."""

from collections.abc import Sequence

from deploy.kubernetes_api import STRATEGIC_MERGE
from deploy.releases.bodywork import run_bodywork
from deploy.releases.leftover_jobs import remove_leftover_jobs
from deploy.releases.rollout import Rollout


def deploy(
    rollout: Rollout, launcher: Sequence[str], patch: object = None
) -> str:
    """Deploy a release with Bodywork, and believe only the cluster that it is there.

    Only for who holds the lease.

    Args:
        launcher: The command that starts Bodywork.
        patch: What is to be merged into the Deployment that Bodywork leaves; once
            merged, it survives later deployments.

    Returns:
        The version of the model that answers.

    Raises:
        RuntimeError: The cluster does not run the release.
    """
    cluster, release = rollout.cluster, rollout.release
    for name in remove_leftover_jobs(cluster, release.namespace):
        print(f"Removed job {name}, which an earlier run had left.", flush=True)
    started = cluster.now()
    run_bodywork(launcher, release)
    rollout.check_code()
    if patch is not None:
        cluster.patch(rollout.path, patch, STRATEGIC_MERGE)
    return rollout.check(trained_after=started)
