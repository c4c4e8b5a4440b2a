"""A program that is not to be had is told of, for no test may pass without it."""

import os
from pathlib import Path

import pytest

from sandbox import debian_packages
from sandbox.debian_packages import find_program

pytestmark = pytest.mark.once

APT = """#!/bin/sh
case "$*" in
    *--simulate*lacking) echo "Inst library (1)"; echo "Inst lacking (2)";;
    *--simulate*) echo "E: Unable to locate package" >&2; exit 100;;
    *update) echo "E: There is no network" >&2; exit 100;;
    *download*) touch library_1.deb lacking_2.deb;;
esac
"""
DPKG = """#!/bin/sh
mkdir -p root/usr/bin root/usr/lib/any-linux-gnu && touch root/usr/bin/$(basename $2)
"""


@pytest.fixture(autouse=True)
def fake_debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Debian with one package, and what was unpacked of others forgotten."""
    for name, script in (("apt-get", APT), ("dpkg", DPKG)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(debian_packages, "gettempdir", lambda: str(tmp_path))


def test_what_is_installed_is_taken() -> None:
    assert find_program("sh", "no-such-package").environment == {}


def test_what_is_nowhere_is_told() -> None:
    told = "(?s)Install no-such-package, which is not here .*There is no network"
    with pytest.raises(RuntimeError, match=told):
        find_program("no-such-program", "no-such-package")


def test_a_package_is_unpacked_once_with_what_it_lacks(tmp_path: Path) -> None:
    found = find_program("lacking_2.deb", "lacking")
    assert found.path.exists()
    assert found.path.with_name("library_1.deb").exists()
    assert found.environment["LD_LIBRARY_PATH"].endswith("/usr/lib/any-linux-gnu")
    (tmp_path / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    assert find_program("lacking_2.deb", "lacking") == found


def test_what_somebody_else_may_change_is_not_run() -> None:
    directory = debian_packages.make_directory()
    assert directory.stat().st_mode & 0o777 == 0o700
    elsewhere = directory.with_name("elsewhere")
    directory.rename(elsewhere)
    directory.symlink_to(elsewhere)
    with pytest.raises(RuntimeError, match="is somebody else's; remove it"):
        find_program("lacking_2.deb", "lacking")
