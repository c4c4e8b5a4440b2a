"""The stated share of dispatches falls into the range, whatever the noise is like."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from pandas import DataFrame
from sklearn.tree import DecisionTreeRegressor

from benchmarks.learning import (
    CHANGE_WEEK,
    WORLDS,
    World,
    draw_normal,
    estimate_with,
    make_orders,
    measure_coverage,
)
from pipeline import aws
from pipeline.estimator import (
    LEVELS,
    RANGES,
    Knowledge,
    Ranges,
    calibrate,
    learn_on,
    prepare_data,
    read_ranges,
)
from pipeline.estimator import calibration
from pipeline.estimator.calibration import find_sides
from pipeline.train_model import train_model

pytestmark = pytest.mark.once

GRID = {"random_state": [42], "max_depth": [8], "min_samples_leaf": [3]}


def learn(
    orders: DataFrame, known: Knowledge | None, limits: dict[str, tuple[float, float]]
) -> tuple[Any, Ranges, Knowledge]:
    data = prepare_data(orders)
    projection, _ = train_model(data, GRID)
    learnt = learn_on(projection, data, np.ones(len(data.X_train), bool), known)
    ranges, known = calibrate(learnt, data, orders, limits)
    estimate = estimate_with(learnt.model, projection.product_numbers_)
    return estimate, ranges, known


def learn_weeks(world: World, weeks: int, rows: int, seed: int) -> tuple[Any, Ranges]:
    known: Knowledge | None = None
    limits: dict[str, tuple[float, float]] = {}
    for week in range(1, weeks + 1):
        orders = make_orders(world, week, rows, seed)
        estimate, ranges, known = learn(orders, known, limits)
        limits = ranges.limits
    return estimate, ranges


def assert_covers(
    ranges: Ranges, estimate: Any, world: World, week: int, rows: int, seed: int
) -> None:
    """Assert that as many of the next orders as stated fall into their range."""
    fresh = make_orders(world, week, rows, seed + 1000)
    for level, (overall, *products) in measure_coverage(
        ranges, estimate, fresh
    ).items():
        assert overall == pytest.approx(level, abs=0.02)
        assert products == pytest.approx([level] * 5, abs=0.035)


@pytest.mark.parametrize(
    "name",
    [
        "steady",
        pytest.param("skewed", marks=pytest.mark.thorough),
        pytest.param("growing", marks=pytest.mark.thorough),
    ],
)
def test_as_many_orders_as_stated_fall_into_the_range(name: str) -> None:
    estimate, ranges = learn_weeks(WORLDS[name], weeks=4, rows=5000, seed=1)
    assert_covers(ranges, estimate, WORLDS[name], 5, 20_000, seed=1)


@pytest.mark.thorough
def test_in_another_world_the_next_range_holds() -> None:
    estimate, ranges = learn_weeks(WORLDS["slower"], CHANGE_WEEK, rows=2000, seed=1)
    assert_covers(ranges, estimate, WORLDS["slower"], CHANGE_WEEK, 20_000, seed=1)


@pytest.mark.thorough
def test_a_product_whose_noise_is_unlike_that_of_others_has_its_own_range() -> None:
    estimate, ranges = learn_weeks(WORLDS["by product"], weeks=2, rows=5000, seed=1)
    assert {"SKU001", "SKU005"} <= {*ranges.own}
    assert_covers(ranges, estimate, WORLDS["by product"], 3, 20_000, seed=1)
    # What is new has the common one, in which the others' are left out.
    assert ranges.around("NEW", 9.0, 0.9) is not None
    _, alike = learn_weeks(WORLDS["steady"], weeks=1, rows=1000, seed=1)
    assert alike.own == {}


def test_where_noise_grows_with_the_load_so_does_the_range() -> None:
    _, growing = learn_weeks(WORLDS["growing"], weeks=1, rows=3000, seed=1)
    _, steady = learn_weeks(WORLDS["steady"], weeks=1, rows=3000, seed=1)
    widths = []
    for ranges in (growing, steady):
        quiet, busy = (ranges.around("SKU001", hours, 0.9) for hours in (5.0, 20.0))
        assert quiet is not None and busy is not None
        widths.append((busy[1] - busy[0]) / (quiet[1] - quiet[0]))
    assert widths[0] > 2 and 1 <= widths[1] < 1.3


@pytest.mark.thorough
def test_where_the_noise_has_changed_the_next_range_says_so() -> None:
    known: Knowledge | None = None
    limits: dict[str, tuple[float, float]] = {}
    for week in range(1, 5):
        orders = make_orders(WORLDS["steady"], week, 2000, seed=2)
        estimate, ranges, known = learn(orders, known, limits)
    louder = World("", noise=lambda *drawn: 2.5 * draw_normal(*drawn))
    orders = make_orders(louder, 5, 2000, seed=2)
    estimate, ranges, known = learn(orders, known, limits)
    assert not any(len(each.errors_before) for each in known.values())
    coverage = measure_coverage(ranges, estimate, make_orders(louder, 6, 5000, 2))
    assert coverage[0.9][0] == pytest.approx(0.9, abs=0.04)


def test_no_range_is_below_zero_nor_narrower_on_a_busier_day() -> None:
    _, ranges = learn_weeks(WORLDS["growing"], weeks=2, rows=500, seed=3)
    for level in LEVELS:
        around = [ranges.around("SKU001", hours, level) for hours in np.arange(0.0, 60)]
        lows, highs = np.array(around).T
        assert np.all(lows >= 0) and np.all(np.diff(highs) > 0)
        uncut = lows > 0
        assert np.all(np.diff((highs - lows)[uncut]) >= -1e-9)
        assert np.all(lows <= np.arange(0, 60)) and np.all(highs >= np.arange(0, 60))


@pytest.mark.parametrize(
    ("count", "levels"), [(10, [0.5, 0.8]), (38, [0.5, 0.8, 0.9]), (39, [*LEVELS])]
)
def test_a_level_needs_enough_orders(count: int, levels: list[float]) -> None:
    orders = make_orders(WORLDS["steady"], 1, count, seed=1)
    orders["product_code"] = "SKU001"
    _, ranges, known = learn(orders, None, {})
    assert len(known["SKU001"].errors) == count
    assert ranges.own == {} and [*ranges.common] == levels
    for level in LEVELS:
        is_given = ranges.around("SKU001", 9.0, level) is not None
        assert is_given == (level in levels)
    missing = [f"{level:.0%}" for level in LEVELS if level not in levels]
    assert ("too few orders for " + ", ".join(missing) in str(ranges)) == bool(missing)


def test_no_more_errors_are_carried_on_than_are_of_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibration, "MOST_ERRORS_OF_PRODUCT", 50)
    known: Knowledge | None = None
    for week in range(1, 5):
        before = known
        orders = make_orders(WORLDS["steady"], week, 1000, seed=1)
        _, _, known = learn(orders, known, {})
    assert before is not None and known is not None
    for code, each in known.items():
        assert each.share and len(each.errors) == len(each.errors_before) == 50
        assert each.errors_before == before[code].errors


def test_a_range_reaches_from_one_order_in_rank_to_another() -> None:
    sides = find_sides(np.arange(-9.0, 10.0) ** 3)
    assert sides == {0.5: (-125, 125), 0.8: (-512, 512), 0.9: (-729, 729)}
    # The estimate is within its own range, though all took longer.
    assert find_sides(np.arange(1.0, 20.0))[0.9] == (0.0, 19.0)
    assert find_sides(-np.arange(1.0, 20.0))[0.9] == (-19.0, 0.0)
    assert find_sides(np.empty(0)) == {}


def test_it_knows_which_orders_were_observed() -> None:
    orders = make_orders(WORLDS["steady"], 1, 500, seed=1)
    _, ranges, known = learn(orders, None, {})
    placed = orders.groupby("product_code")["orders_placed"]
    assert ranges.limits["SKU003"] == (placed.min()["SKU003"], placed.max()["SKU003"])
    quietest, busiest = ranges.limits["SKU003"]
    assert ranges.is_beyond("SKU003", quietest - 1)
    assert not ranges.is_beyond("SKU003", busiest)
    assert ranges.is_beyond("SKU003", busiest + 1) and ranges.is_beyond("X", 1.0)
    # A product that is missed keeps its own, and others what was known of them.
    quiet = orders[orders["orders_placed"] < 50]
    quiet = quiet[quiet["product_code"] != "SKU003"]
    _, later, known = learn(quiet, known, ranges.limits)
    assert later.limits["SKU003"] == ranges.limits["SKU003"]
    assert later.limits["SKU001"] == ranges.limits["SKU001"] and known["SKU001"].share
    # Where nothing was kept, they are this week's.
    slow = quiet.assign(hours_to_dispatch=5 * quiet["hours_to_dispatch"])
    _, later, known = learn(slow, known, later.limits)
    assert later.limits["SKU001"][1] < 50 and known["SKU001"].share == 0


@pytest.mark.parametrize(
    "odd",
    [
        {"scale": [1.0]},
        {"scale": [-1.0, 0.0]},
        {"scale": [1.0, float("nan")]},
        {"common": {"0.91": [-1.0, 1.0]}},
        {"common": {"0.9": [0.5, 1.0]}},
        {"common": {"0.9": [-1.0, "1"]}},
        {"own": {"SKU001\n": {"0.9": [-1.0, 1.0]}}},
        {"own": {"SKU001": [1.0]}},
        {"limits": {"SKU001": [3.0, 1.0]}},
        {"limits": []},
    ],
    ids=str,
)
def test_ranges_that_could_not_be_right_are_none(odd: dict[str, object]) -> None:
    good: dict[str, Any] = {
        "scale": [1.0, 0.0],
        "common": {"0.9": [-1.0, 1.0]},
        "own": {},
        "limits": {"SKU001": [1.0, 3.0]},
    }
    dataset = aws.Dataset(DataFrame(), datetime.now(UTC), "b", "w.csv", "c0ffee")
    tree = DecisionTreeRegressor()
    ranges = read_ranges(aws.Model("m", tree, dataset, {RANGES: good}))
    assert ranges is not None and ranges.describe() == good
    assert ranges.around("SKU001", 0.5, 0.9) == (0.0, 1.5)
    assert read_ranges(aws.Model("m", tree, dataset, {RANGES: {**good, **odd}})) is None
    assert read_ranges(aws.Model("m", tree, dataset, {})) is None
