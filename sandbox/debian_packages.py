"""Programs that this machine has, or that are taken out of their packages of Debian."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from tempfile import gettempdir
from typing import NamedTuple

# What is downloaded is what would be installed: the package, and what it lacks here.
# Lists of packages may not have been fetched yet, and who is not root keeps others.
UNPACK = """
fetch() {
    missing=$(apt-get "$@" --simulate --no-install-recommends install "$PACKAGE" |
        awk '/^Inst / { print $2 }') && test -n "$missing" &&
        apt-get "$@" download $missing
}
rm -rf new && mkdir -p new/lists new/cache && cd new || exit 1
set -- -o Dir::State::lists="$PWD/lists" -o Dir::Cache="$PWD/cache"
fetch || (apt-get "$@" update && fetch "$@") || exit 1
for file in *.deb; do dpkg --extract "$file" root || exit 1; done
cd .. && mv new/root . && rm -r new
"""


class Program(NamedTuple):
    """A program of this machine.

    Attributes:
        environment: The variables that it needs.
    """

    path: Path
    environment: dict[str, str]


def find_program(name: str, package: str) -> Program:
    """Find a program, this machine's or else out of its package.

    That is unpacked once, for all who look for it on this machine.

    Raises:
        RuntimeError: It is not to be had.
    """
    installed = shutil.which(name)
    if installed is not None:
        return Program(Path(installed), {})
    directory = make_directory() / package
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = directory / "root"
        if not root.exists():
            unpack(package, directory)
    libraries = [*root.glob("lib/*-linux-gnu*"), *root.glob("usr/lib/*-linux-gnu*")]
    return Program(
        root / "usr" / "bin" / name,
        {"LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))},
    )


def make_directory() -> Path:
    """Make the directory of what this user has unpacked, which nobody else may change.

    Raises:
        RuntimeError: It is somebody else's.
    """
    directory = Path(gettempdir(), f"programs-of-{os.getuid()}")
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.stat().st_uid != os.getuid() or directory.is_symlink():
        raise RuntimeError(f"{directory} is somebody else's; remove it.")
    return directory


def unpack(package: str, directory: Path) -> None:
    """Unpack a package of Debian or Ubuntu, with all that it needs and is not here.

    Raises:
        RuntimeError: It is not to be had.
    """
    process = subprocess.run(
        ["sh", "-c", UNPACK],
        cwd=directory,
        env={**os.environ, "PACKAGE": package},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        raise RuntimeError(
            f"Install {package}, which is not here and could not be taken out of its "
            f"package: {process.stderr}"
        )
