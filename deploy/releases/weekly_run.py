"""The weekly run: deploy what is released, and fail unless its new model serves.

Usage: python -m deploy.releases.weekly_run NAMESPACE NAME, those of its CronJob

It waits until no release is under way, and takes what is released from the CronJob
then, not from its own arguments. The runtime image holds what it needs of deploy/, for
the environment of Bodywork and its older client of Kubernetes.
"""

import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deploy.kubernetes_api import Cluster
from deploy.releases.deployment import deploy
from deploy.releases.lease import Lease
from deploy.releases.repository import clone_release
from deploy.releases.rollout import Rollout, last_logs
from deploy.releases.schedule import Schedule, released_repository, released_tag

LAUNCHER = Path(__file__).parents[1] / "bodywork" / "launch.py"
# What a shell says of a process that SIGTERM ended.
TERMINATED = 128 + signal.SIGTERM


def main(
    namespace: str,
    name: str,
    launcher: Sequence[str] = (sys.executable, str(LAUNCHER)),
) -> None:
    """Deploy the release that the CronJob names when nobody else is at work.

    Raises:
        RuntimeError: The release does not serve with the model just trained.
    """
    cluster = Cluster()
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": namespace},
    }
    schedule = Schedule(cluster, manifest)
    with Lease(cluster, manifest, "the weekly run").hold(say):
        found = schedule.read()
        tag = released_tag(found)
        if not tag:
            raise RuntimeError(
                "Nothing is released yet: run python -m deploy.release first."
            )
        say(f"Deploying {tag}, which is released.")
        with TemporaryDirectory() as directory:
            release = clone_release(released_repository(found), tag, Path(directory))
        rollout = Rollout(cluster, release)
        try:
            version = deploy(rollout, launcher)
        except RuntimeError:
            with suppress(RuntimeError):
                say(last_logs(rollout))
            raise
    say(f"{tag} answers with {version}.")


def say(line: str) -> None:
    print(line, flush=True)


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        main(*sys.argv[1:3])
    except RuntimeError as error:
        sys.exit(f"The weekly run failed: {error}")
    except KeyboardInterrupt:
        # A drained node, say; another pod then does it all.
        sys.exit(TERMINATED)
