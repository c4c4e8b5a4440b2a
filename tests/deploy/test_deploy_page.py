"""docs/deploy.md: what needs an account or a cluster cannot run here; it is held to be
a command at all, of things that the repository has.

Its other commands are run by tests/bodywork_stages.
"""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from tests.deploy.test_cluster import MANIFESTS, PATCH

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deploy.md").read_text()
PROGRAMS = {"aws", "curl", "docker", "for", "git", "kubectl", "make", "terraform"}
PROGRAMS |= {"export", "sh"}
BODYWORK = ".venv/bodywork/bin/python"
NAMES = {each["metadata"]["name"] for each in [*MANIFESTS, PATCH]}


def commands() -> list[str]:
    blocks = "".join(re.findall(r"^```console\n(.*?)^```", PAGE, re.DOTALL | re.M))
    # A command goes on in the lines that begin with a >.
    joined = blocks.replace("\n> ", "\n$>")
    whole = [
        command.replace("\n$>", "\n")
        for command in re.findall(r"^\$ (.*(?:\n\$>.*)*)", joined, re.MULTILINE)
    ]
    prose = re.sub(r"^```.*?^```", "", PAGE, flags=re.DOTALL | re.MULTILINE)
    lines = re.findall(r"`\$ (.*?)`", prose, re.DOTALL)
    return whole + [" ".join(line.split()) for line in lines]


def test_there_are_commands() -> None:
    assert len(commands()) > 20


@pytest.mark.parametrize("command", commands())
def test_it_is_a_command_of_what_the_repository_has(command: str) -> None:
    subprocess.run(["sh", "-n", "-c", command], check=True)
    program = command.removeprefix("KUBECONFIG=~/.kube/config ").split()[0]
    assert program in PROGRAMS | {".venv/bin/python", BODYWORK}
    for module in re.findall(r"python -m ([\w.]+)", command):
        assert importlib.util.find_spec(module) is not None
    for path in re.findall(r"(?<![\w/.])deploy/[\w./-]*\w", command):
        if not path.startswith("deploy/secrets/"):
            assert (ROOT / path).exists(), path
    for name in re.findall(r"(?:deployment|service|cronjob)[ /]([a-z-]+)", command):
        assert name in NAMES
    for namespace in re.findall(r"-n (\S+)", command):
        assert namespace in NAMES | {"bodywork-deployment-jobs"}


def test_each_command_of_the_cluster_is_marked() -> None:
    """With a $, in a block or in a line of prose."""
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        assert not re.search("kubectl|aws|docker|deploy.release", block)
