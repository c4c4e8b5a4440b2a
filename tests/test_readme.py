"""The first page never lies: its commands are run, and so are those of docs/api.md."""

import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from sandbox.ports import free_port
from tests.sandbox.test_main import IS_UP, read_until

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


@pytest.mark.process
def test_make_run_answers_the_curl_lines() -> None:
    port = free_port()
    api = (ROOT / "docs/api.md").read_text()
    requests = [line for line in commands(README) + commands(api) if line[0] == "curl"]
    assert len(requests) == 2
    with subprocess.Popen(
        ["make", "run", f"PORT={port}"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as make:
        try:
            read_until(IS_UP, make)
            for request in requests:
                here = [word.replace(":8000/", f":{port}/") for word in request]
                process = subprocess.run(
                    [*here, "--silent", "--fail"], capture_output=True, check=True
                )
                answer = json.loads(process.stdout)
                [documented] = map(json.loads, blocks("json", README))
                assert answer.keys() == documented.keys()
                assert answer["est_hours_to_dispatch"] > 0
        finally:
            os.killpg(make.pid, signal.SIGINT)


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
