"""Release a commit to the cluster, and believe only the cluster that it is there.

With no TAG, releases the commit that is checked out: tags it as
release-<UTC date>-<short commit> and pushes the tag, unless it has one. With the TAG of
an earlier release, goes back to it. Needs a kubeconfig and Bodywork (make bodywork).
While another release or the weekly run is under way, waits for it, 20 minutes at most.

If the release is not what answers in the end, says why, puts the pods of the previous
release back at once, shows the last logs, withdraws the model and exits 1.
"""

import shutil
import signal
import sys
import traceback
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from deploy.kubernetes_api import (
    JSON_PATCH,
    Cluster,
    NotYetError,
    wait_for,
)
from deploy.releases import (
    ANSWER_TIMEOUT_SECONDS,
    ENDING_SIGNALS,
    ROLLOUT_TIMEOUT_SECONDS,
    ROOT,
    SCHEDULE,
    WEEKLY_RUN,
    Lease,
    LeaseLostError,
    Rollout,
    Schedule,
    branch_of,
    deploy,
    find_release,
    interrupt,
    last_logs,
    make_release,
    publishing_reports,
    released_tag,
    released_template,
    template_of,
    withdraw_models,
)

PATCH = "deploy/cluster/serve_model_patch.yaml"
# For an API server that is away for a moment.
RESTORE_TIMEOUT_SECONDS = 60


def main(tag: str | None, root: Path = ROOT) -> None:
    """Release a commit, or go back to an earlier release.

    Args:
        root: The clone that is released.

    Raises:
        RuntimeError: It is not what the cluster runs now; the previous release is, if
            there is one.
    """
    cluster = Cluster()
    launcher = find_bodywork(root)
    manifest = yaml.safe_load((root / SCHEDULE).read_text())
    # Of this clone, whatever the release: what clients rely on goes on.
    patch = yaml.safe_load((root / PATCH).read_text())
    # Before anything is tagged: without a Lease, the cluster is not ready.
    Lease(cluster, manifest, "").read()
    release = find_release(tag, root) if tag else make_release(root)
    lease = Lease(cluster, release.schedule, f"the release of {release.tag}")
    with lease.hold(say), publishing_reports(cluster, release, say):
        schedule = Schedule(cluster, release.schedule)
        rollout = Rollout(cluster, release)
        serving, scheduled = cluster.find(rollout.path), schedule.read()
        say(
            f"Releasing {release.tag}, commit {release.commit[:7]}, to "
            f"{cluster.address}."
        )
        started = cluster.now()
        try:
            version = deploy(rollout, launcher, patch)
            lease.renew()
            schedule.write(release, template_of(rollout.read()))
        except LeaseLostError:
            raise
        # Whatever it is, the previous release has to serve again.
        except (Exception, KeyboardInterrupt) as error:
            with uninterrupted():
                reason = f"{release.tag} is not released: {explain(error)}"
                say(f"\n{reason}")
                withdraw = partial(withdraw_published, lease, rollout, started, reason)
                outcome = go_back(
                    lease, rollout, serving, schedule, scheduled, withdraw
                )
            raise RuntimeError(f"{reason.rstrip('.')}; {outcome}") from error
    say(
        f"Released {release.tag}: it answers with {version}, and the weekly run "
        "deploys it."
    )


def check(tag: str | None, root: Path = ROOT) -> None:
    """Check that the cluster runs a release, by default the one that is scheduled.

    While a release or a weekly run is at work, nothing is called a failure that its end
    may put right.

    Raises:
        RuntimeError: It does not, or the last weekly run failed.
    """
    cluster = Cluster()
    manifest = yaml.safe_load((root / SCHEDULE).read_text())
    at_work = Lease(cluster, manifest, "").find_holder()
    schedule = Schedule(cluster, manifest)
    tag = tag or released_tag(schedule.read())
    if not tag:
        raise RuntimeError("Nothing was released yet: run python -m deploy.release.")
    release = find_release(tag, root)
    try:
        version = Rollout(cluster, release).check()
        say(f"Deployment {release.service} runs {tag}, and all its replicas are ready.")
        say(f"It answers with {version}.")
        say(schedule.check(release, at_work.startswith(WEEKLY_RUN)))
    except RuntimeError as error:
        if not at_work:
            raise
        say(f"Not yet: {error}")
    if at_work:
        say(f"This may change, for {at_work} Check again when it has ended.")


def find_bodywork(root: Path) -> list[str]:
    """Find the command that runs Bodywork.

    Raises:
        RuntimeError: It is not installed.
    """
    installed = root / ".venv" / "bodywork" / "bin"
    found = shutil.which("bodywork", path=installed) or shutil.which("bodywork")
    if found is None:
        raise RuntimeError("Bodywork is not installed: run make bodywork.")
    launcher = root / "deploy" / "bodywork" / "launch.py"
    return [str(Path(found).with_name("python")), str(launcher)]


def go_back(
    lease: Lease,
    rollout: Rollout,
    serving: Any,
    schedule: Schedule,
    scheduled: Any,
    withdraw: Callable[[], bool],
) -> str:
    """Bring the previous release back: its pods first, and nothing is trained.

    Args:
        serving: The Deployment as it was before; None if there was none.
        scheduled: The CronJob as it was before; None if there was none.
        withdraw: Withdraws what the failed release has published; tells whether it
            could.

    Returns:
        What serves now.

    Raises:
        RuntimeError: The previous release could not be brought back.
    """
    if serving is None:
        say_last_logs(rollout)
        return "there is no previous release to go back to."
    template, released = template_of(serving), released_template(scheduled)
    if released and branch_of(released) != branch_of(template):
        # A run before this one ended in the middle.
        template = released
    tag = branch_of(template)

    def read() -> Any:
        # Who took over is in charge of what serves.
        lease.renew()
        return template_of(rollout.read())

    def put_pods(template: Any) -> None:
        lease.renew()
        change = [{"op": "replace", "path": "/spec/template", "value": template}]
        rollout.cluster.patch(rollout.path, change, JSON_PATCH)

    def put_schedule() -> None:
        if scheduled is not None and schedule.read()["spec"] != scheduled["spec"]:
            schedule.put(scheduled)

    try:
        is_replaced = wait_for(read, RESTORE_TIMEOUT_SECONDS) != template
        if is_replaced:
            wait_for(lambda: put_pods(template), RESTORE_TIMEOUT_SECONDS)
            say(f"Put the pods of {tag} back.")
        wait_for(put_schedule, RESTORE_TIMEOUT_SECONDS)
        # The failed pods stay until those of the previous release are ready.
        say_last_logs(rollout)
        is_withdrawn = withdraw()
        wait_for(rollout.check_replicas, ROLLOUT_TIMEOUT_SECONDS)
        if is_replaced and is_withdrawn:
            say(f"Replacing the pods of {tag}: they may have begun with that model.")
            made_anew = with_new_pods(template, rollout.cluster.now())
            wait_for(lambda: put_pods(made_anew), RESTORE_TIMEOUT_SECONDS)
            wait_for(rollout.check_replicas, ROLLOUT_TIMEOUT_SECONDS)
        wait_for(lambda: ask_again(rollout), ANSWER_TIMEOUT_SECONDS)
    except LeaseLostError:
        raise
    except Exception as error:
        raise RuntimeError(
            f"{rollout.release.tag} failed, and {tag} could not be brought back: "
            f"{explain(error)}"
        ) from error
    return f"{tag} serves."


def withdraw_published(
    lease: Lease, rollout: Rollout, started: datetime, reason: str
) -> bool:
    """Withdraw what a failed release has published; tells whether it could be done.

    Raises:
        LeaseLostError: Somebody else is in charge.
    """
    lease.renew()
    try:
        return withdraw_models(rollout.cluster, rollout.release, started, reason, say)
    # Whatever it is, it is no reason not to go back.
    except Exception as error:
        say(f"The model is not withdrawn: {explain(error)}")
        return False


def with_new_pods(template: Any, now: datetime) -> Any:
    """The template of a Deployment that is to make its pods anew, as Bodywork does."""
    metadata = template["metadata"]
    annotations = {**metadata.get("annotations", {}), "last-updated": f"{now:%FT%T}"}
    return {**template, "metadata": {**metadata, "annotations": annotations}}


def ask_again(rollout: Rollout) -> str:
    """Ask for an estimate, when a pod of the failed release may answer still."""
    try:
        return rollout.ask()
    except RuntimeError as error:
        raise NotYetError(str(error)) from error


def say_last_logs(rollout: Rollout) -> None:
    # That there are none to be had is no reason to end otherwise.
    with suppress(RuntimeError):
        say(last_logs(rollout))


def explain(error: BaseException) -> str:
    """Say what happened; with the traceback, if that is a fault of this program."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, RuntimeError):
        return str(error)
    say("".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {error}"


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no signal end a with block."""
    handlers = {each: signal.signal(each, signal.SIG_IGN) for each in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    parser = ArgumentParser(prog="python -m deploy.release", description=__doc__)
    parser.add_argument("tag", metavar="TAG", nargs="?", help="of an earlier release")
    parser.add_argument(
        "--check",
        action="store_true",
        help="deploy nothing: check the release that is scheduled, or TAG",
    )
    chosen = parser.parse_args()
    for number in ENDING_SIGNALS:
        # A script's `command &` ignores SIGINT, and that is to stay so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        (check if chosen.check else main)(chosen.tag)
    except RuntimeError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Interrupted: python -m deploy.release --check tells what serves.")
