"""Nothing is installed that is not pinned, and from PyPI nothing without its hash."""

import re
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
RECIPES = [
    *("Makefile", "tox.ini", "bodywork.yaml", "README.md"),
    *("deploy/Dockerfile", ".circleci/config.yml", ".ci/run"),
    *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
    *(str(path.relative_to(ROOT)) for path in (ROOT / "deploy").rglob("*.yaml")),
]
# Of these, all but the first two would take what is newest.
INSTALLERS = re.compile(
    r"\bpip3? install\b|\bpip sync\b|\bpipx\b|\bpip download\b|\buvx\b"
    r"|\buv (?:run|tool|add|sync)\b|\bnpm\b|\bnpx\b|\beasy_install\b|\bconda\b"
    r"|\b(?:curl|wget)\b[^|\n]*\|\s*(?:ba)?sh\b"
)


def read_commands(recipe: str) -> Iterator[str]:
    """Each line, with those that continue it, but for comments."""
    text = re.sub(r"\\\n\s*", "", (ROOT / recipe).read_text())
    for line in text.splitlines():
        if not line.lstrip().startswith("#"):
            yield line


def find_unchecked(line: str) -> list[str]:
    """The installations in a line that check no hashes."""
    return [
        part
        for part in re.split(r"&&|;", line)
        if INSTALLERS.search(part)
        and not (
            re.search(r"\bpip (?:install|sync)\b", part) and "--require-hashes" in part
        )
    ]


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_installation_checks_hashes(recipe: str) -> None:
    for line in read_commands(recipe):
        assert not find_unchecked(line)


@pytest.mark.parametrize(
    "line",
    [
        "pip install --require-hashes -r a.txt && pip install b",
        "uv pip sync requirements.txt",
        "uvx black",
        "curl -sSf https://example.com/install | sh",
        "npm install -g something",
    ],
)
def test_an_installation_without_hashes_is_found(line: str) -> None:
    assert find_unchecked(line)


def test_installations_are_looked_for_where_they_are() -> None:
    found = {
        recipe
        for recipe in RECIPES
        if any(INSTALLERS.search(line) for line in read_commands(recipe))
    }
    assert {"Makefile", "deploy/Dockerfile"} <= found


def test_tox_installs_from_locks_alone() -> None:
    tox = ConfigParser()
    tox.read(ROOT / "tox.ini")
    for section in tox.sections():
        for name in ("deps", "set_env"):
            if section != "testenv":
                assert name not in tox[section]
    for requirement in tox["testenv"]["deps"].split("\n"):
        if requirement:
            lock = (ROOT / requirement.removeprefix("-r ")).read_text()
            assert "--hash=sha256:" in lock


@pytest.mark.process
def test_tox_refuses_a_requirement_without_a_hash(tmp_path: Path) -> None:
    tox = ConfigParser()
    tox.read(ROOT / "tox.ini")
    tox["testenv"]["deps"] = "-r requirements.txt"
    with (tmp_path / "tox.ini").open("w") as file:
        tox.write(file)
    (tmp_path / "requirements.txt").write_text("iniconfig==2.3.0\n")
    process = subprocess.run(
        [sys.executable, "-m", "tox", "run", "-e", "static", "--notest"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert process.returncode != 0
    assert "In `--require-hashes` mode" in process.stdout + process.stderr


@pytest.mark.parametrize("recipe", [r for r in RECIPES if r.endswith("ml")])
def test_each_image_has_a_version(recipe: str) -> None:
    """That of the Dockerfile has a digest, by tests/deploy/test_image.py; kustomize may
    give others theirs."""
    named = (ROOT / recipe).with_name("kustomization.yaml")
    versions = dict(
        re.findall(r"- name: (\S+)\n.*\n +newTag: (\S+)", named.read_text())
        if named.exists()
        else ()
    )
    for image in re.findall(r"image: (\S.*)", (ROOT / recipe).read_text()):
        image = f"{image}:{versions[image]}" if image in versions else image
        assert re.search(r":(<< parameters\.version >>|[\w.-]*\d[\w.-]*)$", image)


def test_each_orb_has_a_full_version() -> None:
    configuration = (ROOT / ".circleci/config.yml").read_text()
    orbs = configuration.partition("\norbs:\n")[2].partition("\n\n")[0]
    for line in orbs.splitlines():
        assert re.fullmatch(r"  [\w-]+: [\w-]+/[\w-]+@\d+\.\d+\.\d+", line), line
