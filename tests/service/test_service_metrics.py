"""What one application has counted, the next counts on."""

import pytest
from fastapi import FastAPI

from tests.service.applications import V0_1, V0_2, ask, make_app

pytestmark = pytest.mark.once

ORDER = {"product_code": "SKU001", "orders_placed": 112}


def read_counts(app: FastAPI) -> dict[str, float]:
    """What /metrics says of requests and estimates, and of refusals."""
    lines = ask(app, "/metrics", method="GET").body.decode().splitlines()
    counted = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    names = ("http_requests_total", "http_refusals_total", "estimate_hours_count")
    return {name: float(n) for name, _, n in counted if name.startswith(names)}


def test_what_was_counted_goes_on_though_nobody_asked_for_it_meanwhile() -> None:
    app = make_app()
    for _ in range(3):
        for _ in range(2):
            assert ask(app, V0_1, ORDER).status == 200
        assert ask(app, V0_2, {"orders": [ORDER] * 10}).status == 200
        assert ask(app, V0_1, b"{").status == 422
        assert ask(app, "/nowhere").status == 404
        newer = make_app()
        newer.state.metrics.continue_from(app.state.metrics)
        app = newer
    counts = read_counts(app)
    assert counts['estimate_hours_count{product="SKU001"}'] == 36
    assert counts[f'http_requests_total{{route="{V0_1}",status="200"}}'] == 6
    assert counts[f'http_requests_total{{route="{V0_1}",status="422"}}'] == 3
    assert counts['http_requests_total{route="unknown",status="404"}'] == 3
    assert counts['http_refusals_total{reason="json_invalid"}'] == 3


def test_what_the_former_answers_late_is_counted_as_well() -> None:
    former, app = make_app(), make_app()
    app.state.metrics.continue_from(former.state.metrics)
    ask(former, V0_1, ORDER)
    ask(app, V0_1, ORDER)
    assert read_counts(app)['estimate_hours_count{product="SKU001"}'] == 2
