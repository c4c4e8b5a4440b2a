"""deploy/monitoring: taken by Prometheus' operator, in agreement with the service, and
with an alert for what it says, told by promtool."""

import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule

from pipeline import report_failure
from pipeline.records import Outcome, RunRecord, Thresholds, compose_title
from tests.deploy.test_cluster import BODYWORK_NAMESPACE, NAMESPACE, PATCH, only
from tests.monitoring.manifests import (
    DASHBOARD,
    KUSTOMIZATION,
    MONITORING,
    POD_MONITOR,
    PROMETHEUS_RULE,
    ROOT,
    RULES,
    alerts,
    dashboard_queries,
    quicken,
)

pytestmark = [pytest.mark.once, pytest.mark.process]

NAMES = [alert["alert"] for alert in alerts()]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
CASES_FILE = Path(__file__).with_name("alerts.yaml")
CASES: list[dict[str, Any]] = yaml.safe_load(CASES_FILE.read_text())["tests"]
METRICS = (ROOT / "docs" / "api.md").read_text()
with_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="not run: install prometheus"
)


@pytest.mark.parametrize(
    "model, manifest",
    [(PodMonitor, POD_MONITOR), (PrometheusRule, PROMETHEUS_RULE)],
    ids=["PodMonitor", "PrometheusRule"],
)
def test_the_operator_takes_it_whole(
    model: type[PodMonitor | PrometheusRule], manifest: dict[str, Any]
) -> None:
    """The models are made of the operator's CRDs; a field that they do not know, they
    leave out."""
    taken = model.model_validate(manifest)
    assert manifest == taken.model_dump(by_alias=True, exclude_unset=True, mode="json")


def test_all_files_are_applied() -> None:
    [dashboard] = KUSTOMIZATION["configMapGenerator"]
    applied = {*KUSTOMIZATION["resources"], *dashboard["files"]}
    assert {path.name for path in MONITORING.iterdir()} == applied | {
        "kustomization.yaml"
    }
    # Where Grafana's sidecar looks, under a name that does not change.
    assert dashboard["options"] == {
        "disableNameSuffixHash": True,
        "labels": {"grafana_dashboard": "1"},
    }
    # It stays when the service's namespace is deleted.
    assert KUSTOMIZATION["namespace"] == BODYWORK_NAMESPACE
    for manifest in (POD_MONITOR, PROMETHEUS_RULE):
        assert "namespace" not in manifest["metadata"]


def test_the_pods_of_the_service_are_asked_at_their_port() -> None:
    spec = POD_MONITOR["spec"]
    assert spec["namespaceSelector"] == {"matchNames": [NAMESPACE]}
    pods = only("NetworkPolicy", "serve-model")["spec"]["podSelector"]
    assert spec["selector"] == pods
    [container] = PATCH["spec"]["template"]["spec"]["containers"]
    [port] = container["ports"]
    [endpoint] = spec["podMetricsEndpoints"]
    assert endpoint["port"] == port["name"]
    [opened] = only("NetworkPolicy", "serve-model")["spec"]["ingress"]
    assert opened == {"ports": [{"port": port["containerPort"], "protocol": "TCP"}]}


def test_nobody_elses_series_are_looked_at() -> None:
    """Those of the service have the labels that the PodMonitor gives them."""
    spec = POD_MONITOR["spec"]
    job = spec["selector"]["matchLabels"][spec["jobLabel"]]
    own = f'namespace="{NAMESPACE}", job="{job}"'
    weekly_run = f'namespace="{BODYWORK_NAMESPACE}"'
    kinds = {
        "kube_deployment_": f'namespace="{NAMESPACE}", deployment="{job}"',
        "kube_cronjob_": f'{weekly_run}, cronjob="{NAMESPACE}"',
        "kube_job_owner": f'{weekly_run}, owner_kind="CronJob", '
        f'owner_name="{NAMESPACE}"',
        "kube_job_": weekly_run,
    }
    for expression in expressions():
        for name, labels in re.findall(r"\b(\w+)\{([^}]*)\}", expression):
            expected = next((kinds[k] for k in kinds if name.startswith(k)), own)
            assert labels.startswith(expected), f"{name}{{{labels}}}"


def test_the_load_balancer_does_not_show_what_prometheus_is_told() -> None:
    [endpoint] = POD_MONITOR["spec"]["podMetricsEndpoints"]
    for rule in only("Ingress")["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            assert not endpoint["path"].startswith(path["path"])


def expressions() -> list[str]:
    return [
        *(alert["expr"] for alert in alerts()),
        *(query for _, query in dashboard_queries()),
    ]


def test_every_series_is_one_that_somebody_tells() -> None:
    """Of ours, docs/api.md has the names; tests/stages holds them to the service."""
    told = set(re.findall(r"^\| `(\w+)`", METRICS, re.MULTILINE))
    asked = {
        name for each in expressions() for name in re.findall(r"\b(\w+)\{", each)
    }
    ours = {name for name in asked if not name.startswith(("kube_", "process_", "up"))}
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in ours} <= told
    assert len(ours) > 8


def titles() -> list[str]:
    """What is told of a run, and of a deployment, as their titles end."""
    run = RunRecord(
        pipeline="any",
        outcome=Outcome.REFUSED,
        started=datetime.now(UTC),
        thresholds=Thresholds(error=0.8, warning=0.9),
    )
    failed = run.model_copy(update={"outcome": Outcome.FAILED})
    good = run.model_copy(update={"outcome": Outcome.PUBLISHED})
    warned = good.model_copy(update={"warnings": ["It is odd.", "So is this."]})
    told = [compose_title(each, good) for each in (run, failed, warned)]
    told += [compose_title(good, failed), report_failure.TITLE.format(pipeline="any")]
    return [each.removeprefix("any: ").replace("with 2", "with") for each in told]


def test_each_alert_and_message_has_its_section_in_the_runbook() -> None:
    assert re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE) == titles() + NAMES
    for section in re.split("^## ", RUNBOOK, flags=re.MULTILINE)[1:]:
        parts = re.findall(r"^\*\*([\w ]+?)\.?\*\*", section, re.MULTILINE)
        assert parts == ["Means", "How urgent", "Look at", "Do", "Call"], section


def test_each_alert_says_how_grave_it_is_what_happened_and_what_to_do() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in {"critical", "warning"}
        annotations = alert["annotations"]
        assert annotations.keys() == {"summary", "description", "runbook_url"}
        sentence = annotations["description"]
        assert sentence.endswith(".") and len(sentence) < 160
        assert annotations["runbook_url"].endswith(
            f"/docs/runbook.md#{alert['alert'].lower()}"
        )


def test_each_command_of_the_runbook_is_a_command() -> None:
    blocks = re.findall(r"^\$ (.+)$", RUNBOOK, re.MULTILINE)
    inline = re.findall(r"`\$ (.+?)`", RUNBOOK, re.DOTALL)
    assert len(blocks) > 10 and len(inline) > 8
    for command in blocks + inline:
        assert "\n" not in command
        subprocess.run(["sh", "-n", "-c", command], check=True)
        assert command.split()[0] in {"kubectl", "git", ".venv/bin/python", "set"}


def test_each_panel_of_the_dashboard_has_a_title_and_a_place() -> None:
    panels = DASHBOARD["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        place = panel["gridPos"]
        cells = {
            (column, row)
            for column in range(place["x"], place["x"] + place["w"])
            for row in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells


def test_each_alert_is_tried_both_ways() -> None:
    outcomes = {
        (case["alertname"], bool(case["exp_alerts"]))
        for test in CASES
        for case in test["alert_rule_test"]
    }
    assert outcomes == {(name, fires) for name in NAMES for fires in (True, False)}


@with_promtool
def test_the_alerts_fire_when_they_should_and_never_else(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    (tmp_path / "alerts.yaml").write_bytes(CASES_FILE.read_bytes())
    assert promtool("test", "rules", tmp_path / "alerts.yaml") == ""


@with_promtool
def test_prometheus_takes_the_rules_quickened_or_not(tmp_path: Path) -> None:
    for factor in (1, 60):
        rules = tmp_path / f"{factor}.yaml"
        rules.write_text(yaml.safe_dump(quicken(factor)))
        assert promtool("check", "rules", rules) == ""
    assert "[300000ms]" in (tmp_path / "1.yaml").read_text()
    assert "[5000ms]" in (tmp_path / "60.yaml").read_text()


def promtool(*arguments: object) -> str:
    """What promtool has to say against it."""
    process = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True
    )
    return process.stdout + process.stderr if process.returncode else ""


def test_a_trial_without_its_programs_is_none() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "tests.monitoring.trial"],
        cwd=ROOT,
        env={"PATH": "/nowhere"},
        capture_output=True,
        text=True,
    )
    assert process.returncode != 0
    assert process.stderr.startswith(
        "not run: install prometheus and prometheus-alertmanager"
    )
