"""Worse by more than chance is told from worse by chance."""

import numpy as np
import pytest

from pipeline.gates.comparison import (
    CONFIDENCE_LEVEL,
    TOLERATED_LOSS_HOURS,
    Comparison,
    compare_errors,
)

RANDOM = np.random.default_rng(0)
HOURS = RANDOM.uniform(0, 30, 200)
GOOD = HOURS + RANDOM.normal(0, 1, 200)
BAD = HOURS + RANDOM.normal(0, 2, 200)


def test_the_worse_model_is_told_both_ways_round() -> None:
    worse = compare_errors(HOURS, champion=GOOD, challenger=BAD)
    assert worse.is_worse
    assert 0.5 < worse.loss < 1.2
    assert worse.lower < worse.loss < worse.upper

    better = compare_errors(HOURS, champion=BAD, challenger=GOOD)
    assert not better.is_worse
    assert better.loss == pytest.approx(-worse.loss)


def test_a_model_is_not_worse_than_itself_or_its_equal() -> None:
    assert not compare_errors(HOURS, GOOD, GOOD).is_worse
    equal = HOURS + RANDOM.normal(0, 1, 200)
    assert not compare_errors(HOURS, GOOD, equal).is_worse
    assert not compare_errors(HOURS, equal, GOOD).is_worse


def test_a_small_loss_is_tolerated_however_certain() -> None:
    slightly = HOURS + TOLERATED_LOSS_HOURS
    assert not compare_errors(HOURS, HOURS, slightly - 0.001).is_worse
    assert compare_errors(HOURS, HOURS, slightly + 0.001).is_worse


def test_a_loss_that_may_be_chance_is_no_reason_to_refuse() -> None:
    errors = np.array([0.0, 0.4] * 5)
    comparison = compare_errors(np.zeros(10), np.zeros(10), errors)
    assert comparison.loss > TOLERATED_LOSS_HOURS > comparison.lower
    assert not comparison.is_worse
    surer = np.tile(errors, 20)
    assert compare_errors(np.zeros(200), np.zeros(200), surer).is_worse


def test_a_loss_of_less_than_a_quarter_may_be_the_luck_of_a_week() -> None:
    certain = Comparison(0.24, 0.2, 0.28, 1000, 1.0)
    assert not certain.is_worse
    assert certain._replace(loss=0.25).is_worse
    assert not certain._replace(loss=0.25, lower=TOLERATED_LOSS_HOURS).is_worse


def test_the_interval_covers_the_true_loss_as_often_as_it_says() -> None:
    trials, misses = 1000, 0
    for _ in range(trials):
        errors = RANDOM.exponential(1, (2, 200))
        comparison = compare_errors(np.zeros(200), errors[0], errors[1])
        misses += not comparison.lower <= 0 <= comparison.upper
    assert misses / trials == pytest.approx(1 - CONFIDENCE_LEVEL, abs=0.01)


def test_it_reads_as_a_sentence() -> None:
    sentence = str(compare_errors(HOURS, HOURS, HOURS + 1))
    assert sentence == (
        "+1.000 hours of mean absolute error, 99% interval +1.000 to +1.000, "
        "on 200 orders"
    )


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_orders_show_nothing(rows: int) -> None:
    alone = compare_errors(np.ones(rows), np.zeros(rows), np.ones(rows))
    assert alone == Comparison(0.0, -np.inf, np.inf, rows, 0.0)
    assert not alone.is_worse and not alone.shows_enough
