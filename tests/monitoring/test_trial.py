"""What the trial of the alerts breaks: it starts, and is broken in no other way."""

from datetime import timedelta

import pytest

from tests.monitoring.trial import ORDERS_PLACED, PATH, SERVE_WITH
from tests.stages.services import client, persist, running

pytestmark = [pytest.mark.once, pytest.mark.process]

ORDER = {"product_code": "SKU001", "orders_placed": ORDERS_PLACED}


@pytest.mark.parametrize(
    ("defect", "status", "seconds"), [("failing", 500, 0.0), ("slow", 200, 0.2)]
)
def test_a_service_with_a_defect_starts_and_has_it(
    bucket: str, defect: str, status: int, seconds: float
) -> None:
    persist(bucket)
    program = SERVE_WITH % (ORDERS_PLACED, defect)
    with running("-c", program, bucket) as (_, address):
        assert client.get(f"{address}/readyz").is_success
        answer = client.post(address + PATH, json=ORDER)
    assert answer.status_code == status
    assert answer.elapsed >= timedelta(seconds=seconds)
