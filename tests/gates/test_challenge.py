"""A new model passes if it is shown to be no worse on orders that are new to both."""

from datetime import UTC, datetime
from math import inf, nan

import numpy as np
import pytest
from numpy.typing import NDArray
from pandas import DataFrame, concat
from sklearn.dummy import DummyRegressor

from pipeline import aws
from pipeline.estimator import Champion, read_champion
from pipeline.gates.challenge import Challenge, Verdict, challenge_champion, judge
from pipeline.gates.comparison import Comparison
from pipeline.gates.training_rows import (
    TRAINING_ROWS,
    find_unseen,
    write_training_rows,
)
from sandbox.orders import HOURS_PER_ORDER, make_week

pytestmark = pytest.mark.once

SOURCE = "s3://b/datasets/w.csv"


def champion_of(trained_on: DataFrame | None, error: float = 0.0) -> Champion:
    """A model that answers the truth and an error more."""
    curves = {
        code: {
            "orders_placed": [0.0, 1000.0],
            "hours": [error, 1000 * slope + error],
        }
        for code, slope in HOURS_PER_ORDER.items()
    }
    rows = None if trained_on is None else write_training_rows(trained_on)
    dataset = aws.Dataset(DataFrame(), datetime(2021, 7, 2, tzinfo=UTC), "b", "k", "h")
    metadata = {"curves": curves, TRAINING_ROWS: rows}
    return read_champion(aws.Model("m", DummyRegressor(), dataset, metadata))


def challenge(
    champion: Champion, held_out: DataFrame, error: float = 0.0
) -> Challenge:
    """Let one that answers the truth and an error more challenge it."""

    def estimate(orders: DataFrame) -> NDArray[np.float64]:
        slopes = orders["product_code"].map(HOURS_PER_ORDER).to_numpy(float)
        answers: NDArray[np.float64] = slopes * orders["orders_placed"] + error
        return np.asarray(answers)

    return challenge_champion(champion, held_out, estimate, SOURCE)


def test_a_worse_one_is_refused_and_a_better_one_passes() -> None:
    held_out = make_week(rows=200, seed=1)
    worse = challenge(champion_of(None), held_out, error=2.0)
    assert worse.outcome is Verdict.WORSE and SOURCE in worse.sentence
    better = challenge(champion_of(None, error=2.0), held_out)
    assert better.outcome is Verdict.PASSED and better.comparison.upper < 0
    equal = challenge(champion_of(None), held_out, error=0.01)
    assert equal.outcome is Verdict.PASSED


def test_orders_that_the_champion_was_trained_on_do_not_count() -> None:
    """It answers those of its training as no model could."""
    known, unknown = make_week(rows=800, seed=1), make_week(rows=200, seed=2)
    found = challenge(champion_of(known), concat([known[:150], unknown]))
    assert found.held_out == 350
    fast = int((known[:150]["hours_to_dispatch"] == 0).sum())
    assert found.comparison.rows == 200 + fast
    assert found.outcome is Verdict.PASSED


def test_of_a_product_that_the_champion_does_not_know_nothing_is_compared() -> None:
    held_out = make_week(rows=200, seed=1)
    new = held_out.assign(product_code="SKU006")[:50]
    found = challenge(champion_of(None), concat([held_out, new]))
    assert found.held_out == found.comparison.rows == 200


def test_too_few_orders_show_nothing_unless_the_new_one_is_better() -> None:
    few = make_week(rows=22, seed=1)
    rough = challenge(champion_of(None), few, error=0.6)
    assert rough.outcome is Verdict.TOO_FEW_ORDERS
    assert "too few orders to judge by" in rough.sentence and SOURCE in rough.sentence
    assert challenge(champion_of(None, error=5.0), few).outcome is Verdict.PASSED


def test_what_the_champion_knows_already_is_nothing_new() -> None:
    week = make_week(rows=220, seed=1)
    found = challenge(champion_of(week[:200]), week, error=0.6)
    assert found.outcome is Verdict.NOTHING_NEW
    assert "Nothing new has arrived" in found.sentence


@pytest.mark.parametrize(
    "comparison, outcome",
    [
        (Comparison(0.0, -0.2, 0.2, 200, 1.0), Verdict.PASSED),
        (Comparison(0.0, -0.26, 0.26, 200, 1.0), Verdict.TOO_FEW_ORDERS),
        (Comparison(0.0, -0.26, 0.26, 100, 1.0), Verdict.NOTHING_NEW),
        (Comparison(-1.0, -2.0, 0.05, 200, 1.0), Verdict.PASSED),
        (Comparison(0.2, 0.04, 0.36, 200, 1.0), Verdict.PASSED),
        (Comparison(0.3, 0.06, 0.36, 200, 1.0), Verdict.WORSE),
        (Comparison(nan, nan, nan, 200, 1.0), Verdict.TOO_FEW_ORDERS),
        (Comparison(0.0, -inf, inf, 1, 1.0), Verdict.NOTHING_NEW),
        (Comparison(0.0, -0.2, 0.2, 200, nan), Verdict.TOO_FEW_ORDERS),
    ],
)
def test_only_what_is_shown_to_be_good_passes(
    comparison: Comparison, outcome: Verdict
) -> None:
    if comparison.rows == 200 and comparison.upper == 0.36 and comparison.lower == 0.04:
        # Within a quarter, and its lower end within what is tolerated.
        assert comparison.shows_enough
    assert judge(comparison, held_out=200) is outcome


def test_a_row_is_known_again_in_any_order_and_company() -> None:
    week = make_week(rows=1000, seed=1)
    mixed = week.sample(frac=1, random_state=1)[["product_code", *week.columns[:2]]]
    unseen = find_unseen(mixed, write_training_rows(week[:800]))
    slow = (mixed["hours_to_dispatch"] > 0).to_numpy()
    assert (unseen[slow] == (mixed.index >= 800)[slow]).all()
    assert unseen[~slow].all()


@pytest.mark.parametrize("rows", [1000, 20_000])
def test_orders_that_are_alike_by_chance_are_new(rows: int) -> None:
    """As where hours are whole: then most of a large week is like some of the last."""
    for seed in range(3):
        weeks = [make_week(rows=rows, seed=10 * seed + each).round() for each in (0, 1)]
        assert find_unseen(weeks[1], write_training_rows(weeks[0])).all()
        # Of so many whole hours, another week looks as much like it as it does itself.
        if rows == 1000:
            assert not find_unseen(weeks[0], write_training_rows(weeks[0])).all()


def test_without_fingerprints_all_is_new() -> None:
    assert find_unseen(make_week(rows=10, seed=1), None).all()


def test_so_many_rows_that_no_model_holds_them_are_all_unseen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    week = make_week(rows=100, seed=1)
    monkeypatch.setattr("pipeline.gates.training_rows.MOST_ROWS", 99)
    assert write_training_rows(week[:99]) is not None
    assert write_training_rows(week) is None
    assert find_unseen(week, None).all()
