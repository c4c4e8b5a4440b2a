"""Release a commit to the cluster, and believe only the cluster that it is there.

With no TAG, releases the commit that is checked out: tags it as
release-<UTC date>-<short commit> and pushes the tag, unless it has one. With the TAG of
an earlier release, goes back to it. Needs a kubeconfig and Bodywork (make bodywork).

If the release is not what answers in the end, says why, shows the last logs, deploys
the previous release again and exits 1.
"""

import re
import shutil
import signal
import subprocess
import sys
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

from deploy.kubernetes_api import JSON_PATCH, STRATEGIC_MERGE, Cluster
from deploy.releases import (
    ROLLOUT_TIMEOUT_SECONDS,
    ROOT,
    Release,
    Rollout,
    Schedule,
    branch_of,
    find_release,
    last_logs,
    make_release,
    remove_leftover_jobs,
    repeat_until_true,
)

PATCH = ROOT / "deploy" / "cluster" / "serve_model_patch.yaml"
BODYWORK = ROOT / ".venv" / "bodywork" / "bin"
LAUNCHER = ROOT / "deploy" / "bodywork" / "launch.py"
BODYWORK_FAILURE = re.compile(r"Deployment failed --> (.*)")


def main(tag: str | None) -> None:
    """Release a commit, or go back to an earlier release.

    Raises:
        RuntimeError: It is not what the cluster runs now; the previous release is.
    """
    cluster = Cluster()
    schedule = Schedule(cluster)
    schedule.tag()
    find_bodywork()
    release = find_release(tag) if tag else make_release()
    rollout = Rollout(cluster, release)
    previous = cluster.find(rollout.path)
    say(f"Releasing {release.tag}, commit {release.commit[:7]}, to {cluster.address}.")
    try:
        version = deploy(rollout)
    except (RuntimeError, KeyboardInterrupt) as error:
        say(f"\n{release.tag} is not released: {str(error) or 'interrupted'}")
        with suppress(RuntimeError):
            say(last_logs(rollout))
        raise RuntimeError(go_back(rollout, previous)) from error
    schedule.write(release)
    say(
        f"Released {release.tag}: it answers with {version}, and the weekly run "
        "deploys it."
    )


def check(tag: str | None) -> None:
    """Check that the cluster runs a release, by default the one that is scheduled.

    Raises:
        RuntimeError: It does not, or the last weekly run failed.
    """
    cluster = Cluster()
    schedule = Schedule(cluster)
    tag = tag or schedule.tag()
    if not tag:
        raise RuntimeError("Nothing was released yet: run python -m deploy.release.")
    release = find_release(tag)
    rollout = Rollout(cluster, release)
    version = rollout.check()
    say(f"Deployment {rollout.name} runs {tag}, and all its replicas are ready.")
    say(f"It answers with {version}.")
    say(schedule.check(release))


def deploy(rollout: Rollout) -> str:
    """Deploy with Bodywork; returns the version of the model that answers.

    Raises:
        RuntimeError: The cluster does not run the release.
    """
    cluster, release = rollout.cluster, rollout.release
    try:
        removed = remove_leftover_jobs(rollout.namespace, cluster.client)
    except (ApiException, HTTPError) as error:
        raise RuntimeError(
            f"Jobs that an interrupted run left behind could not be removed ({error}); "
            f"kubectl -n {rollout.namespace} delete jobs --all does."
        ) from error
    for name in removed:
        say(f"Removed job {name}, which an interrupted run had left behind.")
    started = cluster.now()
    run_bodywork(release)
    rollout.check_code()
    patch = yaml.safe_load(PATCH.read_text())
    cluster.patch(rollout.path, patch, STRATEGIC_MERGE)
    return rollout.check(trained_after=started)


def find_bodywork() -> list[str]:
    """Find the command that runs Bodywork.

    Raises:
        RuntimeError: It is not installed.
    """
    found = shutil.which("bodywork", path=BODYWORK) or shutil.which("bodywork")
    if found is None:
        raise RuntimeError("Bodywork is not installed: run make bodywork.")
    return [str(Path(found).with_name("python")), str(LAUNCHER)]


def run_bodywork(release: Release) -> None:
    """Let Bodywork deploy a release, and show what it prints.

    Raises:
        RuntimeError: It failed, and said so.
    """
    failure = ""
    # What a run leaves in its directory would make the next one fail.
    with (
        TemporaryDirectory() as directory,
        subprocess.Popen(
            [*find_bodywork(), "create", "deployment", release.repository]
            + [f"--branch={release.tag}"],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                if said := BODYWORK_FAILURE.search(line):
                    failure = said[1].strip()
        except KeyboardInterrupt:
            # Bodywork then removes its job, or rolls back.
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    if process.returncode:
        raise RuntimeError(failure or f"Bodywork's exit code is {process.returncode}.")


def go_back(rollout: Rollout, previous: Any) -> str:
    """Bring the previous release back; returns a sentence that says what was done.

    Args:
        previous: The Deployment as it was before; None if there was none.
    """
    failed = rollout.release.tag
    if previous is None:
        return f"{failed} failed, and there is no previous release to go back to."
    template = previous["spec"]["template"]
    tag = branch_of(template)
    try:
        if rollout.read()["spec"]["template"] == template:
            return f"{failed} failed before it went live; {tag} still serves."
        say(f"\nDeploying {tag} again.")
        try:
            deploy(Rollout(rollout.cluster, find_release(tag)))
            return f"{failed} failed; {tag} serves again."
        except RuntimeError as error:
            say(f"{tag} could not be deployed again: {error}")
        # Its pods clone its tag, so they are what they were.
        change = [{"op": "replace", "path": "/spec/template", "value": template}]
        rollout.cluster.patch(rollout.path, change, JSON_PATCH)
        repeat_until_true(rollout.check_replicas, ROLLOUT_TIMEOUT_SECONDS)
        return f"{failed} failed; the pods of {tag} were put back as they were."
    except RuntimeError as error:
        return f"{failed} failed, and {tag} could not be brought back: {error}"


def say(line: str) -> None:
    print(line, flush=True)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    parser = ArgumentParser(prog="python -m deploy.release", description=__doc__)
    parser.add_argument("tag", metavar="TAG", nargs="?", help="of an earlier release")
    parser.add_argument(
        "--check",
        action="store_true",
        help="deploy nothing: check the release that is scheduled, or TAG",
    )
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupt)
    try:
        (check if chosen.check else main)(chosen.tag)
    except RuntimeError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Interrupted: python -m deploy.release --check tells what serves.")
