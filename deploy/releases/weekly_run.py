"""The weekly run: deploy what is released, and fail unless its new model serves.

Usage: python -m deploy.releases.weekly_run NAMESPACE NAME, those of its CronJob

Where the CronJob has started it, as the Job that JOB_NAME of the environment names, it
waits for this week's delivery, until Monday morning. By hand, it waits for none.

It waits until no release is under way, and takes what is released from the CronJob
then, not from its own arguments. The runtime image holds what it needs of deploy/, for
the environment of Bodywork and its older client of Kubernetes.
"""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from deploy.kubernetes_api import Cluster
from deploy.releases.deployment import deploy
from deploy.releases.late_delivery import LateDelivery, clone_released
from deploy.releases.lease import WEEKLY_RUN, Lease
from deploy.releases.rollout import Rollout, last_logs
from deploy.releases.schedule import Schedule
from deploy.releases.withdrawal import withdraw_models

LAUNCHER = Path(__file__).parents[1] / "bodywork" / "launch.py"
# For a Bodywork that hangs; waiting for a delivery comes before.
DEPLOYMENT_SECONDS = 3600
# What a shell says of a process that SIGTERM ended.
TERMINATED = 128 + signal.SIGTERM


def main(
    namespace: str,
    name: str,
    job: str = "",
    launcher: Sequence[str] = (sys.executable, str(LAUNCHER)),
) -> None:
    """Deploy the release that the CronJob names when nobody else is at work.

    Args:
        job: The name of the Job that this is.

    Raises:
        RuntimeError: No delivery came, or the release does not serve with the model
            just trained.
    """
    cluster = Cluster()
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": namespace},
    }
    schedule = Schedule(cluster, manifest)
    due = schedule.find_due(job)
    if due is not None and not LateDelivery(cluster, schedule, due).wait(say):
        say("Nothing to do: a model trained on this week's delivery serves already.")
        return
    signal.alarm(DEPLOYMENT_SECONDS)
    try:
        with Lease(cluster, manifest, WEEKLY_RUN).hold(say):
            with clone_released(schedule) as (release, _):
                say(f"Deploying {release.tag}, which is released.")
            rollout = Rollout(cluster, release)
            started = cluster.now()
            try:
                version = deploy(rollout, launcher)
            except RuntimeError as error:
                with suppress(RuntimeError):
                    say(last_logs(rollout))
                # Or else a pod that restarts takes the model that does not serve.
                reason = f"the weekly run of {release.tag} failed: {error}"
                withdraw_models(cluster, release, started, reason, say)
                raise
    finally:
        signal.alarm(0)
    say(f"{release.tag} answers with {version}.")


def say(line: str) -> None:
    print(line, flush=True)


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def give_up(*_: Any) -> None:
    sys.exit("The weekly run failed: the deployment did not end within an hour.")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGALRM, give_up)
    try:
        main(sys.argv[1], sys.argv[2], os.environ.get("JOB_NAME", ""))
    except RuntimeError as error:
        sys.exit(f"The weekly run failed: {error}")
    except KeyboardInterrupt:
        # A drained node, say; another pod then does it all.
        sys.exit(TERMINATED)
