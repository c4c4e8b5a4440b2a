"""What deploy/monitoring holds, for those who look at it and those who try it."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
KUSTOMIZATION, POD_MONITOR, PROMETHEUS_RULE = (
    yaml.safe_load((MONITORING / f"{name}.yaml").read_text())
    for name in ("kustomization", "pod_monitor", "prometheus_rule")
)
DASHBOARD = json.loads((MONITORING / "time-to-dispatch.json").read_text())
# What Prometheus itself reads: its groups of rules.
RULES: dict[str, Any] = PROMETHEUS_RULE["spec"]

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def alerts(rules: dict[str, Any] = RULES) -> Iterator[dict[str, Any]]:
    for group in rules["groups"]:
        yield from group["rules"]


def quicken(factor: int) -> dict[str, Any]:
    """The rules with all their windows and patience divided; no threshold is."""

    def divide(duration: str) -> str:
        seconds = int(duration[:-1]) * UNIT_SECONDS[duration[-1]]
        return f"{seconds * 1000 // factor}ms"

    quick = deepcopy(RULES)
    for alert in alerts(quick):
        alert["for"] = divide(alert["for"])
        alert["expr"] = re.sub(
            r"\[(\w+)\]", lambda window: f"[{divide(window[1])}]", alert["expr"]
        )
    return quick


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """The title of a panel with each of its queries."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
