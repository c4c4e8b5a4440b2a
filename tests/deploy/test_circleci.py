"""CircleCI's configuration: valid, pinned, and of commands that the repository has."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / ".circleci" / "config.yml"
# Of CircleCI's images, and what the orb installs.
PROGRAMS = {"aws", "docker", "echo", "sudo"}
INSTALL = "aws-cli/install"
TERRAFORM = "terraform/install"


@pytest.fixture(scope="module")
def configuration() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text())
    return loaded


def jobs_of(workflow: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each job of a workflow, a matrix as its single jobs, with its parameters."""
    for entry in workflow["jobs"]:
        ((job, settings),) = entry.items()
        for environment in (
            settings.get("matrix", {}).get("parameters", {}).get("environment")
            or [settings.get("environment")]
        ):
            yield job, {**settings, "environment": environment}


def commands(configuration: dict[str, Any]) -> list[str]:
    steps = [step for job in configuration["jobs"].values() for step in job["steps"]]
    runs = [step["run"] for step in steps if isinstance(step, dict) and "run" in step]
    return [run if isinstance(run, str) else run["command"] for run in runs]


@pytest.mark.process
def test_it_is_valid_by_the_schema_of_circleci() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
        + ["vendor.circle-ci", str(CONFIGURATION)],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr


def test_every_branch_but_master_is_tested_after_the_static_analysis(
    configuration: dict[str, Any],
) -> None:
    tox = ConfigParser()
    tox.read(ROOT / "tox.ini")
    environments = set(tox["tox"]["env_list"].split(", "))
    tested = set()
    for job, settings in jobs_of(configuration["workflows"]["test"]):
        assert settings["filters"] == {"branches": {"ignore": "master"}}
        if job == "static_analysis":
            assert "run -e static" in commands(configuration)[1]
            continue
        assert settings["requires"] == ["static_analysis"]
        if job == "tests":
            tested.add(settings["environment"])
        elif job == "clients":
            assert settings["requires"] == ["static_analysis"]
            assert "make clients" in commands(configuration)
        else:
            # `make test` leaves it out.
            assert job == "infrastructure"
            assert ".venv/bin/tox run -e infrastructure" in commands(configuration)
            tested.add(job)
    assert tested == environments - {"static"} | {"infrastructure"}


def test_master_alone_is_released_when_its_image_is_there(
    configuration: dict[str, Any],
) -> None:
    (image, pushed), (deploy, deployed) = jobs_of(configuration["workflows"]["release"])
    assert (image, deploy) == ("image", "deploy")
    for settings in (pushed, deployed):
        assert settings["filters"] == {"branches": {"only": "master"}}
        assert settings["context"]
    assert deployed["requires"] == ["image"]
    assert deployed["serial-group"].startswith("<< pipeline.project.slug >>/")
    assert set(configuration["workflows"]) == {"test", "release"}


def test_the_deploy_job_ends_with_the_release(configuration: dict[str, Any]) -> None:
    steps = configuration["jobs"]["deploy"]["steps"]
    assert steps[-1]["run"]["command"] == ".venv/bin/python -m deploy.release"


def test_images_and_orbs_are_pinned(configuration: dict[str, Any]) -> None:
    for orb in configuration["orbs"].values():
        assert re.fullmatch(r"[\w-]+/[\w-]+@\d+\.\d+\.\d+", orb)
    steps = configuration["jobs"]["deploy"]["steps"]
    [command_line] = [step[INSTALL]["version"] for step in steps if INSTALL in step]
    assert re.fullmatch(r"2\.\d+\.\d+", command_line)
    versions = re.findall(r"version: \[?(\d[^]\s]*)", CONFIGURATION.read_text())
    versions.remove(command_line)
    steps = configuration["jobs"]["infrastructure"]["steps"]
    [terraform] = [each[TERRAFORM] for each in steps if TERRAFORM in each]
    versions.remove(terraform["terraform_version"])
    assert versions.pop(0) == "2.1"
    assert all(re.fullmatch(r"3\.1[1-3]\.\d+(-node)?", version) for version in versions)
    for executor in configuration["executors"].values():
        for docker in executor["docker"]:
            assert docker["image"] == "cimg/python:<< parameters.version >>"
    assert "executor" in str(configuration["jobs"]) and "docker:" not in str(
        configuration["jobs"]
    )


def test_each_python_is_that_of_its_environment(configuration: dict[str, Any]) -> None:
    for job, settings in jobs_of(configuration["workflows"]["test"]):
        if job == "tests" and settings["environment"].startswith("py3"):
            version = settings.get("version") or (
                settings["matrix"]["parameters"]["version"][0]
            )
            minor = settings["environment"].removeprefix("py3")
            assert version.startswith(f"3.{minor}.")


def test_each_command_is_one_that_the_repository_has(
    configuration: dict[str, Any],
) -> None:
    for command in commands(configuration):
        subprocess.run(["sh", "-n", "-c", command], check=True)
        for target in re.findall(r"^make (\S+)", command):
            subprocess.run(
                ["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True
            )
        for module in re.findall(r"python -m ([\w.]+)", command):
            assert importlib.util.find_spec(module) is not None, module
        for path in re.findall(r"\bdeploy/[\w./-]+", command):
            assert (ROOT / path).is_file(), path
        program = re.match(r"(?:echo .*?\|\s*)?([\w./-]+)", command)
        assert program is not None
        assert (
            program[1] in PROGRAMS | {"make", "image"}
            or program[1].startswith(".venv/bin/")
        ), command


def test_no_account_is_named_and_no_key_of_aws_is_kept() -> None:
    """Names come from the contexts, credentials from a token of the job itself."""
    assert "ACCESS_KEY" not in CONFIGURATION.read_text()
    assert "CIRCLE_OIDC_TOKEN_V2" in CONFIGURATION.read_text()
    assert not re.search(r"\b\d{12}\b|AKIA|arn:aws", CONFIGURATION.read_text())
