"""Large drift is told from noise, product by product."""

import numpy as np

from pipeline.gates.drift import measure_drift
from sandbox.orders import make_week

REFERENCE = make_week(rows=1000, seed=1)


def test_another_week_of_the_same_kind_has_no_large_drift() -> None:
    for seed in range(2, 12):
        drifts = measure_drift(REFERENCE, make_week(rows=1000, seed=seed))
        assert len(drifts) == 10
        assert not any(drift.is_large for drift in drifts)


def test_a_shifted_product_is_named() -> None:
    week = make_week(rows=1000, seed=2)
    slow = week["product_code"] == "SKU002"
    hours = np.where(slow, week["hours_to_dispatch"] + 5, week["hours_to_dispatch"])
    drifts = measure_drift(REFERENCE, week.assign(hours_to_dispatch=hours))
    large = [drift for drift in drifts if drift.is_large]
    assert [(drift.product_code, drift.column) for drift in large] == [
        ("SKU002", "hours_to_dispatch")
    ]
    assert str(large[0]).startswith("SKU002 hours_to_dispatch: range 5")


def test_a_shift_that_is_certain_but_small_is_no_large_drift() -> None:
    many, shifted = make_week(100_000, seed=1), make_week(100_000, seed=2)
    shifted["hours_to_dispatch"] += 0.5
    drifts = measure_drift(many, shifted)
    assert any(drift.p_value < 1e-6 for drift in drifts)
    assert not any(drift.is_large for drift in drifts)


def test_a_few_orders_in_the_wrong_unit_are_seen() -> None:
    week = make_week(rows=1000, seed=2)
    week.loc[:2, "hours_to_dispatch"] *= 60
    assert any(drift.is_large for drift in measure_drift(REFERENCE, week))
