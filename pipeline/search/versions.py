"""What the bits of a score follow from, to tell workers that would have others."""

import platform
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import scipy
import sklearn

__all__ = ["OtherVersion", "check_versions", "list_versions"]


class OtherVersion(RuntimeError):
    """A worker has another version of something, and might find another winner."""


@cache
def list_versions() -> dict[str, str]:
    """The versions here, by name; of this package, a digest of its sources."""
    digest = sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return {
        "a processor": platform.machine(),
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "SciPy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "pipeline.search": digest.hexdigest()[:12],
    }


def check_versions(wanted: dict[str, str]) -> None:
    """Make sure that the versions here are those of the process that asks.

    Raises:
        OtherVersion: Names the first that is another.
    """
    for name, here in list_versions().items():
        there = wanted.get(name, "none")
        if here != there:
            raise OtherVersion(
                f"a worker has {name} {here}, and this process {there}"
            )
