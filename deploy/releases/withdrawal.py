"""Withdrawing what a failed deployment has published, or restarted pods take it."""

import shlex
from collections.abc import Callable
from datetime import datetime

from deploy.kubernetes_api import Cluster
from deploy.releases.repository import Release
from deploy.releases.stage_job import make_job, run_job

NAME = "withdraw-model"
MODULE = "pipeline.models"
MEMORY = "250M"
# It takes some seconds, and an image may have to be pulled.
TIMEOUT_SECONDS = 120


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
    command = (
        *(MODULE, release.bucket, "withdraw", "--commit", release.commit),
        *("--since", since.isoformat(), "--reason", " ".join(reason.split())),
    )
    try:
        job = make_job(release, NAME, command, MEMORY, TIMEOUT_SECONDS)
        say(run_job(cluster, job))
    except RuntimeError as error:
        say(
            f"What {release.tag} has published could not be withdrawn "
            f"({' '.join(str(error).split())}); do it with the credentials of training "
            f"and the key: python -m {shlex.join(command)}"
        )
        return False
    return True
