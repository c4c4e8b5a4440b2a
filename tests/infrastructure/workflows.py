"""Each step that GitHub's workflows run, in their order, as the runner runs it.

Against the sandbox's S3, and the doubles of cluster and Bodywork that releases are
tested with; `make`, `docker`, `aws`, `sudo` and tox note what they are called with.
What the actions do is GitHub's.

Not named test_*.py, so that `make test` leaves it out: `make infrastructure` runs it.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import boto3
import pytest
import yaml

from sandbox.orders import deliver_week, make_week
from sandbox.processes import ROOT
from sandbox.s3_server import make_bucket
from tests.deploy.api_server import run_api_server
from tests.deploy.world import PREVIOUS, World, make_repository

pytestmark = pytest.mark.process

WORKFLOWS = ROOT / ".github" / "workflows"
BUCKET = "time-to-dispatch"
STAND_INS = ("make", "docker", "aws", "sudo", "tox")
# Notes its call; `docker manifest inspect` finds no image.
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
test "$1" != manifest
"""


class Names(SimpleNamespace):
    """A context of expressions; what is not there is empty."""

    def __getattr__(self, name: str) -> str:
        return ""


class Repository(NamedTuple):
    """A clone on a runner, of a repository with variables."""

    clone: Path
    environment: dict[str, str]
    contexts: dict[str, Any]
    calls: Path

    def evaluate(self, text: object) -> str:
        """Put in what expressions say."""

        def value(found: re.Match[str]) -> str:
            python = found[1].replace("&&", " and ").replace("||", " or ")
            python = re.sub(r"!(?!=)", " not ", python)
            return str(eval(" ".join(python.split()), {}, self.contexts))

        return re.sub(r"\$\{\{(.*?)\}\}", value, str(text), flags=re.DOTALL)

    def run(self, workflow: str) -> dict[str, str]:
        """Run the jobs of a workflow; returns the result of each."""
        described = yaml.safe_load((WORKFLOWS / workflow).read_text())
        results: dict[str, str] = {}
        for name, job in described["jobs"].items():
            needs = job.get("needs", [])
            needed = [
                results[each] for each in ([needs] if isinstance(needs, str) else needs)
            ]
            condition = str(job.get("if", "success()")).removeprefix("${{")
            if "cancelled()" not in condition and set(needed) - {"success"}:
                results[name] = "skipped"
                continue
            holds = self.evaluate("${{" + condition.removesuffix("}}") + "}}")
            if holds == "False":
                results[name] = "skipped"
                continue
            results[name] = self.run_job(
                described.get("env", {}) | job.get("env", {}), job["steps"]
            )
        return results

    def run_job(self, variables: Mapping[str, object], steps: list[Any]) -> str:
        environment = dict(self.environment)
        for name, value in variables.items():
            environment[name] = self.evaluate(value)
        for step in steps:
            if "upload-artifact" in step.get("uses", ""):
                path = self.clone / step["with"]["path"]
                assert path.is_file() or any(path.iterdir())
            if "run" not in step:
                continue
            assert "${{" not in step["run"], "put it into env"
            process = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=self.clone,
                env=environment,
                capture_output=True,
                text=True,
            )
            print(process.stdout, process.stderr)
            if process.returncode:
                return "failure"
        return "success"

    def summary(self) -> str:
        return Path(self.environment["GITHUB_STEP_SUMMARY"]).read_text()


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def make_runner(
    clone: Path, directory: Path, path: str, **environment: str
) -> Repository:
    """Make a runner, with nothing else of the environment of the tests than a PATH."""
    python = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
    for name in STAND_INS:
        write_program(directory / "bin" / name, STAND_IN)
    write_program(directory / "bin" / "python", python)
    (clone / ".venv" / "bin").mkdir(parents=True)
    write_program(clone / ".venv" / "bin" / "python", python)
    (clone / ".venv" / "bin" / "tox").symlink_to(directory / "bin" / "tox")
    calls = directory / "calls"
    calls.touch()
    return Repository(
        clone,
        {
            "HOME": str(directory),
            "CALLS": str(calls),
            # As tox sets them for the tests: threads only slow a busy machine.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "GITHUB_STEP_SUMMARY": str(directory / "summary.md"),
            **environment,
            "PATH": f"{directory / 'bin'}:{path}",
        },
        {
            "vars": Names(BUCKET=BUCKET),
            "secrets": Names(MODEL_SIGNING_KEY="k" * 32, DOCKERHUB_TOKEN="token"),
            "github": Names(sha="1f2e3d4", event_name="push"),
            "success": lambda: True,
            "cancelled": lambda: False,
        },
        calls,
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[World, Path]]:
    with run_api_server(tmp_path) as (api, kubeconfig):
        make_repository(tmp_path)
        yield World(tmp_path, api), kubeconfig


@pytest.fixture
def runner(
    world: tuple[World, Path], tmp_path: Path, s3_environment: dict[str, str]
) -> Iterator[Repository]:
    """One with a bucket, and a cluster that it may release to."""
    made, kubeconfig = world
    # It goes into the image.
    shutil.copy(ROOT / "requirements_pipe.txt", made.clone)
    make_bucket(BUCKET)
    yield make_runner(
        made.clone,
        tmp_path / "runner",
        f"{made.python.parent}:{os.environ['PATH']}",
        **s3_environment,
        KUBECONFIG=str(kubeconfig),
    )
    left = boto3.resource("s3").Bucket(BUCKET)
    left.object_versions.delete()
    left.delete()


days = count(8, -1)


def deliver(seed: int, factor: float = 1.0) -> None:
    week = make_week(rows=1000, seed=seed)
    week["hours_to_dispatch"] *= factor
    deliver_week(
        week, datetime.now(UTC) - timedelta(days=next(days)), BUCKET, "datasets"
    )


def models() -> int:
    return len(
        list(boto3.resource("s3").Bucket(BUCKET).objects.filter(Prefix="models/"))
    )


def test_with_a_cluster_it_rehearses_releases_and_shows(
    runner: Repository, world: tuple[World, Path]
) -> None:
    made, _ = world
    runner.contexts["vars"].EKS_CLUSTER = "cluster"
    deliver(1)
    results = runner.run("pipeline.yml")
    assert results == dict.fromkeys(["train", "image", "release", "report"], "success")
    # The release trains by itself: here, its double of Bodywork.
    assert models() == 0
    [tag] = set(made.tags()) - {PREVIOUS}
    assert made.calls() == [tag]
    assert made.scheduled() == tag
    summary = runner.summary()
    assert ": dry-run\n" in summary
    assert summary.count("```mermaid\nxychart-beta\n") == 2
    [image] = re.findall(r"docker push (\S+)", runner.calls.read_text())
    assert runner.calls.read_text().splitlines() == [
        "make .venv/installed",
        "docker login --username  --password-stdin",
        f"docker manifest inspect {image}",
        f"docker build --file deploy/Dockerfile --tag {image} .",
        f"docker push {image}",
        "make bodywork",
        "aws eks update-kubeconfig --name cluster",
        "make .venv/installed",
    ]


def test_without_one_it_trains_and_stops_where_training_does(
    runner: Repository,
) -> None:
    trained = {"train": "success", "image": "skipped", "release": "skipped"}
    deliver(1)
    assert runner.run("pipeline.yml") == {**trained, "report": "success"}
    assert models() == 1
    assert ": published\n" in runner.summary()
    # A delivery that was told of twice.
    runner.contexts["github"].event_name = "repository_dispatch"
    assert runner.run("pipeline.yml") == {**trained, "report": "success"}
    assert models() == 1
    # Hours in minutes; now there is a cluster.
    runner.contexts["vars"].EKS_CLUSTER = "cluster"
    deliver(2, factor=60)
    results = runner.run("pipeline.yml")
    assert results == {**trained, "train": "failure", "report": "success"}
    assert ": refused\n" in runner.summary()
    assert "aws eks" not in runner.calls.read_text()


def test_a_pull_request_runs_what_circleci_runs(tmp_path: Path) -> None:
    described = yaml.safe_load((WORKFLOWS / "tests.yml").read_text())
    matrix = described["jobs"]["tests"]["strategy"]["matrix"]["include"]
    runner = make_runner(tmp_path / "clone", tmp_path / "runner", os.environ["PATH"])
    for entry in matrix:
        runner.contexts["matrix"] = Names(**entry)
        assert runner.run("tests.yml") == {"tests": "success"}
        assert runner.calls.read_text().splitlines()[-4:] == [
            "make .venv/installed",
            "sudo apt-get update",
            "sudo apt-get install --yes "
            "tini redis-server prometheus prometheus-alertmanager",
            f"tox run -e {entry['environment']} --skip-missing-interpreters false",
        ]
