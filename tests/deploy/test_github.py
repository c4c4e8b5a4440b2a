"""GitHub's workflows: valid, pinned, with few permissions, and like CircleCI's jobs.

Their steps are run by tests/infrastructure/workflows.py.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.run_summary import summarize

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LINTER = Path(sys.executable).with_name("jactionlint")
by_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def load(path: Path) -> dict[str, Any]:
    # YAML 1.1 takes the key `on` for a truth value.
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text())
    return {("on" if key is True else key): value for key, value in loaded.items()}


def test_jactionlint_finds_nothing() -> None:
    """What actionlint checks, and what lets outsiders in."""
    process = subprocess.run(
        [LINTER, "--strict-exit", "--shellcheck=", "--pyflakes=", *WORKFLOWS],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr


@by_workflow
def test_actions_are_pinned_by_commit(path: Path) -> None:
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used
    for each in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


@by_workflow
def test_jobs_have_the_permissions_they_need_and_no_more(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        used = str([step.get("uses", "") for step in job["steps"]])
        expected = {"contents": "write" if name == "release" else "read"}
        if "configure-aws-credentials" in used:
            expected["id-token"] = "write"
        assert job["permissions"] == expected, name


@by_workflow
def test_no_account_is_named_and_no_key_of_aws_is_kept(path: Path) -> None:
    text = path.read_text()
    assert "ACCESS_KEY" not in text
    assert not re.search(r"\b\d{12}\b|AKIA|arn:aws", text)


def test_the_pipeline_runs_when_it_has_to() -> None:
    workflow = load(ROOT / ".github" / "workflows" / "pipeline.yml")
    manifest = ROOT / "deploy" / "cluster" / "schedule.yaml"
    schedule = yaml.safe_load(manifest.read_text())
    assert workflow["on"] == {
        "push": {"branches": ["master"]},
        "schedule": [{"cron": schedule["spec"]["schedule"]}],
        "repository_dispatch": {"types": ["delivery"]},
    }
    assert workflow["concurrency"]["cancel-in-progress"] is False


def test_it_trains_with_the_thresholds_of_bodywork_yaml() -> None:
    configuration = yaml.safe_load((ROOT / "bodywork.yaml").read_text())
    _, *thresholds = configuration["stages"]["train_model"]["args"]
    text = (ROOT / ".github" / "workflows" / "pipeline.yml").read_text()
    assert f'"$BUCKET" {" ".join(thresholds)}\n' in text


def test_a_pull_request_has_the_jobs_that_circleci_has() -> None:
    jobs = load(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]
    matrix = jobs["tests"]["strategy"]["matrix"]["include"]
    circleci = (ROOT / ".circleci" / "config.yml").read_text()
    for entry in matrix:
        assert re.search(rf"\b{entry['environment']}\b", circleci)
    [environments] = re.findall(
        r"^env_list = (.*)$", (ROOT / "tox.ini").read_text(), re.MULTILINE
    )
    tested = {entry["environment"] for entry in matrix}
    assert tested == {*environments.split(", "), "infrastructure"}


def run(day: int, **record: object) -> dict[str, Any]:
    key = f"runs/time-to-dispatch_2021-07-0{day}T23:45:28.json"
    kept = {"reason": "", "warnings": [], "metrics": {"answer": None}, **record}
    return {"key": key, "refusal": "", "record": kept}


def test_the_summary_tells_the_newest_run_and_draws_those_before() -> None:
    answer = {"r_squared": 0.97612, "mean_absolute_error": 0.85111}
    good = run(2, outcome="published", metrics={"answer": answer})
    refused = run(9, outcome="refused", reason="Too few\n```rows.", warnings=["Odd."])
    lines = list(summarize([refused, good]))
    assert lines[0] == "### 2021-07-09 23:45:28: refused"
    assert "Too few ```rows." in " ".join(lines)
    assert '    x-axis ["07-02"]' in lines
    assert "    line [0.9761]" in lines
    assert "    line [0.8511]" in lines


def test_the_summary_tells_a_record_that_does_not_verify() -> None:
    forged = run(2) | {"record": None, "refusal": "It was forged."}
    lines = list(summarize([forged]))
    assert lines[0].endswith(": not to be believed")
    assert "It was forged." in lines
    assert "mermaid" not in json.dumps(lines)
