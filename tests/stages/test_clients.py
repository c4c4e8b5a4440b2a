"""A client that is generated from the OpenAPI document asks both versions.

One in TypeScript does so in tests/clients, which needs npm.
"""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pipeline import aws
from tests.clients.__main__ import main as check_clients
from tests.stages.services import ENDPOINT, MANY_ENDPOINT, ORDER, client

pytestmark = [pytest.mark.once, pytest.mark.process]

Served = tuple[str, aws.Model]


@pytest.fixture(scope="module")
def package(service: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated package."""
    path = tmp_path_factory.mktemp("clients") / "dispatch_client"
    programs = Path(sys.executable).parent
    process = subprocess.run(
        [str(programs / "openapi-python-client"), "generate", "--fail-on-warning"]
        + ["--url", f"{service[0]}/openapi.json"]
        + ["--meta", "none", "--output-path", str(path)],
        # It formats what it has made with ruff.
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return path


def test_a_check_that_cannot_be_run_has_not_passed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="not run: no npm; install Node.js"):
        check_clients()
    assert "passed" not in capsys.readouterr().out


def test_a_generated_client_asks_both_versions(
    service: Served, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, model = service
    monkeypatch.syspath_prepend(package.parent)
    generated, models, one, many = (
        import_module(f"dispatch_client{name}")
        for name in (
            *("", ".models", ".api.estimates.estimate_time_to_dispatch"),
            ".api.estimates.estimate_times_to_dispatch",
        )
    )

    def order(code: Any) -> Any:
        return models.EstimateRequest(code, ORDER["orders_placed"])

    with generated.Client(address) as asking:
        estimate = one.sync(client=asking, body=order(models.ProductCode.SKU001))
        orders = [order(code) for code in models.ProductCode]
        request = models.EstimatesRequest(orders, level=0.8)
        estimates = many.sync(client=asking, body=request)
        refusal = many.sync(client=asking, body=models.EstimatesRequest([]))
    answer = client.post(address + ENDPOINT, json=ORDER).json()
    assert estimate.to_dict() == answer
    answer = client.post(address + MANY_ENDPOINT, json=request.to_dict()).json()
    assert estimates.to_dict() == answer
    assert estimates.model.hash_ == model.hash
    assert refusal.detail[0].loc == ["body", "orders"]
