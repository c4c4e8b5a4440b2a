"""docs/aws.md: its commands need accounts; they are held to be commands at all, of
things that the repository has. What its costs add up to is added up."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "aws.md").read_text()
VARIABLES = "".join(
    path.read_text() for path in (ROOT / "infrastructure").rglob("*.tf")
)


def commands() -> list[str]:
    blocks = "".join(re.findall(r"^```console\n(.*?)^```", PAGE, re.DOTALL | re.M))
    prose = re.sub(r"^```.*?^```", "", PAGE, flags=re.DOTALL | re.MULTILINE)
    lines = re.findall(r"`\$ (.*?)`", prose, re.DOTALL)
    whole = re.findall(r"^\$ (.*)", blocks, re.MULTILINE)
    return whole + [" ".join(line.split()) for line in lines]


@pytest.mark.parametrize("command", commands())
def test_it_is_a_command_of_what_the_repository_has(command: str) -> None:
    subprocess.run(["sh", "-n", "-c", command], check=True)
    for module in re.findall(r"python -m ([\w.]+)", command):
        assert importlib.util.find_spec(module) is not None
    for folder in re.findall(r"-chdir=(\S+)", command):
        assert list((ROOT / folder).glob("*.tf"))
        for file in re.findall(r"-var-file=(\S+)", command):
            assert (ROOT / folder / file).exists()
    for name in re.findall(r'-var "?(\w+)=', command):
        assert f'variable "{name}" {{' in VARIABLES
    for name in re.findall(r"output -raw (\w+)", command):
        assert f'output "{name}" {{' in VARIABLES
    for path in re.findall(r"--file (\S+)", command):
        assert (ROOT / path).exists()


def test_the_thresholds_are_those_of_bodywork_yaml() -> None:
    configuration = yaml.safe_load((ROOT / "bodywork.yaml").read_text())
    _, *thresholds = configuration["stages"]["train_model"]["args"]
    pattern = r'^variable "r_squared_\w+" {.*?default     = (\S+)$'
    assert re.findall(pattern, VARIABLES, re.DOTALL | re.MULTILINE) == thresholds


def test_each_variable_of_the_workflow_is_set_on_the_page() -> None:
    workflow = (ROOT / ".github" / "workflows" / "pipeline.yml").read_text()
    for kind, name in re.findall(r"\b(vars|secrets)\.(\w+)", workflow):
        command = {"vars": "gh variable set", "secrets": "gh secret set"}[kind]
        optional = f"`{name}`" in PAGE
        assert f"{command} {name}" in PAGE or optional, name


def test_the_costs_add_up() -> None:
    table = PAGE.partition("<!-- costs -->")[2].partition("\n\n")[0]
    rows = [
        [cell.strip() for cell in line.split("|")[2:5]]
        for line in table.splitlines()
        if re.search(r"\d", line)
    ]
    *rows, (_, _, total) = rows
    assert len(rows) == 11
    for quantity, price, month in rows:
        amount = float(quantity.split()[0]) * float(price)
        assert float(month) == pytest.approx(amount, abs=0.006)
    added = sum(float(month) for _, _, month in rows)
    assert float(total.strip("*")) == pytest.approx(added, abs=0.006)
