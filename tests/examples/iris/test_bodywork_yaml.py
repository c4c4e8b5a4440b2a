"""What is deployed of irises is what is deployed of ours, but for names and sizes.

That Bodywork takes it, and runs its stages, tests/bodywork_stages tests.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[3]


def read(folder: Path) -> dict[str, Any]:
    configuration: dict[str, Any] = yaml.safe_load(
        (folder / "bodywork.yaml").read_text()
    )
    return configuration


def test_it_differs_from_ours_in_names_and_sizes_and_records_alone() -> None:
    ours, iris = read(ROOT), read(ROOT / "examples" / "iris")
    training, reporting = (
        ours["stages"][stage]["secrets"] for stage in ("train_model", "report_failure")
    )
    # Ours tells of its own runs, and reads what it told.
    for variable in ("ALERT_URLS", "REPORT_URLS", "REPORTS_ADDRESS"):
        assert training.pop(variable) == reporting["ALERT_URLS"]
    for variable in training:
        assert reporting.pop(variable) == training[variable]
    assert ours["pipeline"]["name"] != iris["pipeline"]["name"]
    for configuration in (ours, iris):
        for name in ("name", "docker_image", "secrets_group"):
            del configuration["pipeline"][name]
        for stage in configuration["stages"].values():
            for name in ("executable_module_path", "cpu_request", "memory_request_mb"):
                del stage[name]
            stage.pop("args", None)
    assert iris == ours
