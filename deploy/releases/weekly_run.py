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

from deploy.kubernetes_api import Cluster, wait_for
from deploy.releases.bodywork import BodyworkError
from deploy.releases.deployment import deploy
from deploy.releases.interruption import interrupt
from deploy.releases.late_delivery import LateDelivery
from deploy.releases.lease import WEEKLY_RUN, Lease
from deploy.releases.released_code import clone_released, run_module
from deploy.releases.reports import publishing_reports
from deploy.releases.rollout import Rollout, last_logs
from deploy.releases.schedule import Schedule
from deploy.releases.withdrawal import withdraw_models

LAUNCHER = Path(__file__).parents[1] / "bodywork" / "launch.py"
# For a Bodywork that hangs; waiting for a delivery comes before.
DEPLOYMENT_SECONDS = 3600
TELLING_TIMEOUT_SECONDS = 60
# What a shell says of a process that SIGTERM ended.
TERMINATED = 128 + signal.SIGTERM


class TooLongError(BaseException):
    """The deployment hangs. No Exception, for some of those are passed over."""


FAILURES = (Exception, TooLongError)


def main(
    namespace: str,
    name: str,
    job: str = "",
    launcher: Sequence[str] = (sys.executable, str(LAUNCHER)),
) -> None:
    """Deploy the release that the CronJob names when nobody else is at work.

    People are told of whatever ends it, but for a signal: then another pod begins anew.

    Args:
        job: The name of the Job that this is.

    Raises:
        RuntimeError: No delivery came, or the release does not serve with the model
            just trained.
        TooLongError: The deployment hung.
    """
    cluster = Cluster()
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": namespace},
    }
    schedule = Schedule(cluster, manifest)
    try:
        due = schedule.find_due(job)
        if due is not None and not LateDelivery(cluster, schedule, due).wait(say):
            say("Nothing to do: a model trained on this week's delivery serves.")
            return
        deploy_released(schedule, Lease(cluster, manifest, WEEKLY_RUN), launcher)
    except FAILURES as error:
        if not (isinstance(error, BodyworkError) and error.is_told):
            tell(schedule, error)
        raise


def deploy_released(
    schedule: Schedule, lease: Lease, launcher: Sequence[str]
) -> None:
    """Deploy what is released, when nobody else is at work."""
    cluster = schedule.cluster
    signal.alarm(DEPLOYMENT_SECONDS)
    try:
        with lease.hold(say):
            with clone_released(schedule) as (release, _):
                say(f"Deploying {release.tag}, which is released.")
            with publishing_reports(cluster, release, say):
                version = deploy_or_withdraw(Rollout(cluster, release), launcher)
    finally:
        signal.alarm(0)
    say(f"{release.tag} answers with {version}.")


def deploy_or_withdraw(rollout: Rollout, launcher: Sequence[str]) -> str:
    """Deploy a release, or withdraw the model that it has published.

    Returns:
        The version of the model that answers.
    """
    started = rollout.cluster.now()
    try:
        return deploy(rollout, launcher)
    except FAILURES as error:
        # What follows takes some minutes at most.
        signal.alarm(0)
        with suppress(RuntimeError):
            say(last_logs(rollout))
        # Or else a pod that restarts takes the model that does not serve.
        reason = f"the weekly run of {rollout.release.tag} failed: {error}"
        withdraw_models(rollout.cluster, rollout.release, started, reason, say)
        raise


def tell(schedule: Schedule, error: BaseException) -> None:
    """Tell people of a failure, as Bodywork does of its own."""
    is_ours = isinstance(error, (RuntimeError, TooLongError))
    message = str(error) if is_ours else f"{type(error).__name__}: {error}"

    def report() -> None:
        with clone_released(schedule) as (release, directory):
            arguments = [release.configuration["pipeline"]["name"]]
            if isinstance(error, BodyworkError):
                # Where training leaves a record, by which what it has told is known.
                arguments.append(release.bucket)
            report_failure = "pipeline.report_failure"
            variables = {"EXCEPTION_MESSAGE": message}
            run_module(directory, report_failure, *arguments, **variables)

    try:
        # The API server may be away for a moment, and be what has failed.
        wait_for(report, TELLING_TIMEOUT_SECONDS)
    except Exception as untold:
        say(f"Nobody is told that the weekly run failed: {untold}")


def say(line: str) -> None:
    print(line, flush=True)


def give_up(*_: Any) -> None:
    raise TooLongError("the deployment did not end within an hour.")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGALRM, give_up)
    try:
        main(sys.argv[1], sys.argv[2], os.environ.get("JOB_NAME", ""))
    except (RuntimeError, TooLongError) as error:
        sys.exit(f"The weekly run failed: {error}")
    except KeyboardInterrupt:
        # A drained node, say; another pod then does it all.
        sys.exit(TERMINATED)
