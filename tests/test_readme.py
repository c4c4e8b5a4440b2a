"""The pages never lie; tests/sandbox/test_main.py runs the requests that they show."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
IRIS = ROOT / "examples" / "iris" / "README.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), IRIS]
TEXT = "".join(page.read_text() for page in PAGES)


def blocks(language: str, page: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def commands(page: str) -> list[list[str]]:
    lines = "".join(blocks("sh", page)).splitlines()
    return [shlex.split(line, comments=True) for line in lines]


def test_the_readme_starts_with_its_two_commands() -> None:
    assert commands(README)[:2] == [["make", "run"], ["make", "test"]]
    assert {command[0] for command in commands(README)} == {"make", "curl"}


@pytest.mark.parametrize("target", sorted(set(re.findall("make ([a-z0-9]+)", TEXT))))
def test_every_make_target_that_a_page_names_is_explained(target: str) -> None:
    process = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert f"make {target}\t" in process.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link
