"""The code of what is released, run where the weekly run is, as its stages are."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.releases.repository import Release, clone_release
from deploy.releases.schedule import Schedule, released_repository, released_tag

# Python of the stages, in the image.
PYTHON = "python"


@contextmanager
def clone_released(schedule: Schedule) -> Iterator[tuple[Release, Path]]:
    """Clone what is released, for the time of a with block; yields it and where it is.

    Raises:
        RuntimeError: Nothing is released, or Git failed.
    """
    found = schedule.read()
    tag = released_tag(found)
    if not tag:
        raise RuntimeError(
            "Nothing is released yet: run python -m deploy.release first."
        )
    with TemporaryDirectory() as directory:
        path = Path(directory)
        yield clone_release(released_repository(found), tag, path), path


def run_module(directory: Path, module: str, *arguments: str, **variables: str) -> str:
    """Run a module of a clone as its stages are run; returns what it prints.

    Raises:
        RuntimeError: It failed; with what it says.
    """
    process = subprocess.run(
        [PYTHON, "-m", module, *arguments],
        cwd=directory,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        said = process.stderr.strip() or f"{module} ended with {process.returncode}."
        raise RuntimeError(said.splitlines()[-1])
    return process.stdout.strip()
