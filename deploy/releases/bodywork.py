"""Running Bodywork, whose exit code alone tells little."""

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from tempfile import TemporaryDirectory

from deploy.bodywork.launch import CAUSE, TOLD
from deploy.releases.repository import Release

FAILURE = re.compile(r"Deployment failed --> (.*)")
# To remove its Jobs, or to roll back, when it is interrupted.
ENDING_SECONDS = 30


class BodyworkError(RuntimeError):
    """Bodywork has failed.

    Attributes:
        is_told: Whether it has run the stage that tells people.
    """

    def __init__(self, sentence: str, is_told: bool) -> None:
        super().__init__(sentence)
        self.is_told = is_told


def run_bodywork(launcher: Sequence[str], release: Release) -> None:
    """Let Bodywork deploy a release, and show what it prints.

    Args:
        launcher: The command that starts Bodywork.

    Raises:
        BodyworkError: It failed; with what it says, and what the log of its stage does.
    """
    failure = cause = ""
    is_told = False
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
                if line.startswith(CAUSE):
                    cause = f": {line.removeprefix(CAUSE).strip()}"
                is_told |= line.startswith(TOLD)
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
        raise BodyworkError(failure + cause, is_told)
