"""Running Bodywork, whose exit code alone tells little."""

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from tempfile import TemporaryDirectory

from deploy.releases.repository import Release

FAILURE = re.compile(r"Deployment failed --> (.*)")
# What launch.py adds.
CAUSE = re.compile(r"^Its log says: (.*)")
# To remove its Jobs, or to roll back, when it is interrupted.
ENDING_SECONDS = 30


def run_bodywork(launcher: Sequence[str], release: Release) -> None:
    """Let Bodywork deploy a release, and show what it prints.

    Args:
        launcher: The command that starts Bodywork.

    Raises:
        RuntimeError: It failed; with what it says, and what the log of its stage does.
    """
    failure = cause = ""
    # What a run leaves in its directory would make the next one fail.
    with (
        TemporaryDirectory() as directory,
        subprocess.Popen(
            [*launcher, "create", "deployment", release.repository]
            + [f"--branch={release.tag}"],
            cwd=directory,
            # It ends when this process does, whatever ended that.
            env={**os.environ, "BODYWORK_PARENT": str(os.getpid())},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # The terminal's signals are for this process, which sends them on.
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                if said := FAILURE.search(line):
                    failure = said[1].strip()
                if said := CAUSE.search(line):
                    cause = f": {said[1].strip()}"
        except BaseException:
            # Bodywork then removes its job, or rolls back.
            process.send_signal(signal.SIGINT)
            try:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(ENDING_SECONDS)
            finally:
                process.kill()
            raise
    if process.returncode:
        failure = failure or f"Bodywork's exit code is {process.returncode}."
        raise RuntimeError(failure + cause)
