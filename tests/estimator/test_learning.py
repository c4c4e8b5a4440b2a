"""Each week joins what is known of the weeks before, as far as that still holds."""

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from pandas import DataFrame
from scipy.stats import norm

from pipeline import aws
from pipeline.estimator import (
    KNOWLEDGE,
    FeatureAndLabels,
    Knowledge,
    KnowledgeRefused,
    MonotoneTreeRegressor,
    calibrate,
    forget_last_week,
    learn_on,
    prepare_data,
    preprocess,
    read_champion,
    read_knowledge,
    summarize_knowledge,
    training_rows,
)
from pipeline.estimator import learning
from pipeline.estimator.knowledge import (
    MOST_ERRORS,
    MOST_KNOTS,
    Errors,
    Known,
    Observations,
)
from pipeline.estimator.learning import SHARE_WITHOUT_LAST, Learnt
from pipeline.gates import TRAINING_ROWS, find_known, write_training_rows
from pipeline.train_model import persist_model, train_model
from sandbox.orders import HOURS_PER_ORDER, make_products, make_week

pytestmark = pytest.mark.once

GRID = {"random_state": [42], "max_depth": [8], "min_samples_leaf": [3]}
PLACES = np.arange(0.0, 400.0)


def learn_week(week: DataFrame, known: Knowledge | None) -> Learnt:
    data = prepare_data(week)
    projection, _ = train_model(data, GRID)
    return learn_on(projection, data, np.ones(len(data.X_train), bool), known)


def learn(
    week: DataFrame, known: Knowledge | None
) -> tuple[MonotoneTreeRegressor, Knowledge]:
    learnt = learn_week(week, known)
    return learnt.model, learnt.knowledge


def measure_distance(
    model: MonotoneTreeRegressor, slopes: dict[str, float] = HOURS_PER_ORDER
) -> float:
    """Root mean square of the distance to the truth, hours."""
    weights = norm.pdf(PLACES, scale=92)
    far = []
    for code, slope in slopes.items():
        number = np.full(len(PLACES), model.product_numbers_[code])
        hours = slope * PLACES
        truth = hours * norm.cdf(hours) + norm.pdf(hours)
        far.append(model.predict(np.column_stack([PLACES, number])) - truth)
    return float(np.sqrt(np.average(np.square(far).mean(axis=0), weights=weights)))


@pytest.fixture(scope="module")
def four_weeks() -> Knowledge:
    known: Knowledge | None = None
    for seed in range(4):
        _, known = learn(make_week(1000, seed), known)
    assert known is not None
    return known


def test_a_steady_world_is_learnt_ever_better(four_weeks: Knowledge) -> None:
    week = make_week(1000, seed=4)
    alone, _ = learn(week, None)
    joined, known = learn(week, four_weeks)
    assert measure_distance(joined) < 0.5 * measure_distance(alone)
    assert {each.weeks for each in known.values()} == {5}
    assert all(each.share > 0 and each.orders > 250 for each in known.values())


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_another_world_is_learnt_at_once(
    four_weeks: Knowledge, factor: float
) -> None:
    week = make_week(1000, seed=4, slowdown=factor)
    slopes = {code: factor * slope for code, slope in HOURS_PER_ORDER.items()}
    alone, _ = learn(week, None)
    joined, known = learn(week, four_weeks)
    assert measure_distance(joined, slopes) <= measure_distance(alone, slopes)
    assert {(each.share, each.weeks) for each in known.values()} == {(0.0, 1)}


def test_a_bad_week_leaves_no_trace(four_weeks: Knowledge) -> None:
    with_errors = {
        code: each._replace(errors=Errors([1.0], [float(each.weeks)]))
        for code, each in four_weeks.items()
    }
    bad = learn_week(make_week(1000, seed=5, slowdown=1.3), with_errors)
    after = learn_week(make_week(1000, seed=6), bad.knowledge)
    assert bad.doubted == [] and sorted(after.doubted) == sorted(four_weeks)
    assert {(each.weeks, each.share) for each in after.knowledge.values()} == {
        (5, SHARE_WITHOUT_LAST)
    }
    assert all(each.errors_kept.errors == [4.0] for each in after.knowledge.values())
    without, _ = learn(make_week(1000, seed=6), four_weeks)
    assert measure_distance(after.model) < measure_distance(without) + 0.02
    # One product may have had a bad week alone.
    slopes = {**HOURS_PER_ORDER, "SKU003": 1.3 * HOURS_PER_ORDER["SKU003"]}
    _, known = learn(make_week(1000, seed=5, hours_per_order=slopes), four_weeks)
    assert learn_week(make_week(1000, seed=6), known).doubted == ["SKU003"]


def test_a_week_like_those_before_is_not_doubted(four_weeks: Knowledge) -> None:
    for seed in range(5, 11):
        assert learn_week(make_week(1000, seed), four_weeks).doubted == []


def test_each_order_is_estimated_by_what_was_not_fitted_on_it(
    four_weeks: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    week = make_week(1000, seed=4)
    data = prepare_data(week)
    for known in (None, four_weeks):
        learnt = learn_week(week, known)
        fitted = learnt.model.predict(
            preprocess(data.X_train, learnt.model.product_numbers_)
        )
        apart = np.abs(data.y_train - learnt.out_of_fold).mean()
        assert np.abs(data.y_train - fitted).mean() + 0.01 < apart < 1.1
    # What is known already tells nothing.
    is_new = np.arange(len(data.X_train)) >= 100
    learnt = learn_on(learnt.model, data, is_new, four_weeks)
    assert np.array_equal(np.isfinite(learnt.out_of_fold), is_new)
    calibrated = calibrate(learnt, data, week, {})
    assert sum(len(each.errors) for each in calibrated.knowledge.values()) == 900
    monkeypatch.setattr(learning, "ENOUGH_HELD_OUT", 200)
    assert np.isnan(learn_week(week, None).out_of_fold).all()


def test_one_product_may_change_alone(four_weeks: Knowledge) -> None:
    slopes = {**HOURS_PER_ORDER, "SKU003": 1.5 * HOURS_PER_ORDER["SKU003"]}
    week = make_week(1000, seed=4, hours_per_order=slopes)
    _, known = learn(week, four_weeks)
    assert [code for code, each in known.items() if not each.share] == ["SKU003"]


def test_the_first_week_answers_with_its_projection() -> None:
    data = prepare_data(make_week(500, seed=1))
    projection, _ = train_model(data, GRID)
    learnt = learn_on(projection, data, np.ones(len(data.X_train), bool), None)
    assert learnt.model is projection
    assert sum(each.orders for each in learnt.knowledge.values()) == 400


@pytest.mark.parametrize(
    ("share", "weeks", "kept"), [(0.5, 2, True), (0.5, 1, False), (0.0, 2, False)]
)
def test_errors_are_kept_with_what_is_known_but_those_of_a_fresh_start(
    share: float, weeks: int, kept: bool
) -> None:
    observed = Observations([1.0], [1.0], [2.0])
    known = Known(observed, share, weeks, observed, errors_before=Errors([1.0], [2.0]))
    assert known.errors_kept == (known.errors_before if kept else Errors())


def test_a_line_says_how_much_is_known() -> None:
    first = Known(Observations(), 0.0, 0, Observations([1.0], [1.0], [1.0]))
    assert summarize_knowledge({"A": first}) == (
        "Kept nothing; the model knows 1 order of up to 1 week, of 1 product."
    )
    observed = Observations([1.0], [1.0], [800.0])
    later = Known(observed, 0.75, 3, observed)
    assert summarize_knowledge({"A": later, "B": first}) == (
        "Kept 75% of what was known of 1 product; the model knows 1,401 orders of "
        "up to 4 weeks, of 2 products."
    )


@pytest.mark.thorough
def test_a_product_that_is_missed_fades(four_weeks: Knowledge) -> None:
    week = make_week(1000, seed=4)
    before = four_weeks["SKU002"]._replace(errors=Errors([1.0], [2.0]))
    past = {**four_weeks, "SKU002": before}
    _, known = learn(week[week["product_code"] != "SKU002"], past)
    after = known["SKU002"]
    assert after.errors_kept == before.errors
    assert after.orders == pytest.approx(0.9 * before.orders, abs=0.1)
    assert after.weeks == before.weeks == 4
    data = prepare_data(make_week(60, 5, hours_per_order={"SKU001": 0.1}))
    projection, _ = train_model(data, GRID)
    for _ in range(80):
        is_new = np.ones(len(data.X_train), bool)
        known = learn_on(projection, data, is_new, known).knowledge
    assert [*known] == ["SKU001"]


def test_a_week_that_is_learnt_again_counts_once(four_weeks: Knowledge) -> None:
    week = make_week(1000, seed=4)
    model, known = learn(week, four_weeks)
    again, known_again = learn(week, forget_last_week(known))
    assert known_again == known
    # What is carried on is rounded.
    assert measure_distance(again) == pytest.approx(measure_distance(model), abs=1e-4)


def publish(week: DataFrame, known: Knowledge | None, bucket: str) -> aws.Model:
    data = prepare_data(week)
    projection, metrics = train_model(data, GRID)
    is_new = np.ones(len(data.X_train), bool)
    learnt = learn_on(projection, data, is_new, known)
    metadata = {
        KNOWLEDGE: {code: each.describe() for code, each in learnt.knowledge.items()},
        TRAINING_ROWS: write_training_rows(training_rows(data)),
    }
    dataset = aws.Dataset(week, datetime.now(UTC), bucket, "datasets/w.csv", "c0ffee")
    persist_model(bucket, learnt.model, dataset, metrics, metadata)
    return aws.get_latest_pkl_model_from_s3(bucket, "models")


def test_what_is_known_is_neither_learnt_twice_nor_held_out(
    four_weeks: Knowledge, bucket: str
) -> None:
    old = make_week(1000, seed=4)
    champion = read_champion(publish(old, four_weeks, bucket))
    learnt = training_rows(prepare_data(old))
    mixed = make_week(1000, seed=5)
    mixed.iloc[:300] = learnt[mixed.columns].iloc[:300]
    data = prepare_data(mixed)
    week = find_known(data, champion)
    assert week.known == read_knowledge(champion.model)
    assert 540 <= week.is_new.sum() <= 580
    assert 130 <= len(week.data.X_test) <= 155
    # The same week again, in another order, is learnt from what was known before.
    data = prepare_data(old.sample(frac=1, random_state=1))
    week = find_known(data, champion)
    assert week.known == forget_last_week(read_knowledge(champion.model) or {})
    assert week.is_new.all() and len(week.data.X_test) == 200


@pytest.fixture(scope="module")
def small_week() -> tuple[FeatureAndLabels, MonotoneTreeRegressor]:
    data = prepare_data(make_week(300, seed=1))
    return data, train_model(data, GRID)[0]


def set_deep(record: Any, path: tuple[Any, ...], value: object) -> None:
    for name in path[:-1]:
        record = record[name]
    record[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((), []),
        (("SKU001",), {}),
        (("SKU001\n",), {}),
        (("SKU001", "share"), 1.5),
        (("SKU001", "share"), float("nan")),
        (("SKU001", "weeks_before"), -1),
        (("SKU001", "weeks_before"), True),
        (("SKU001", "weeks_before"), 0),
        (("SKU001", "learnt"), None),
        (("SKU001", "learnt", "weights"), [1.0]),
        (("SKU001", "learnt", "weights", 0), 0.0),
        (("SKU001", "learnt", "weights", 0), float("inf")),
        (("SKU001", "learnt", "weights", 0), 1e300),
        (("SKU001", "learnt", "hours", 0), -1.0),
        (("SKU001", "learnt", "hours", 0), 1e9),
        (("SKU001", "learnt", "hours", 0), "1"),
        (("SKU001", "learnt", "orders_placed", 0), 399.0),
        (("SKU001", "learnt", "other"), [1.0]),
        (
            ("SKU001", "learnt"),
            dict.fromkeys(
                ("orders_placed", "hours", "weights"),
                np.linspace(0.001, 900, MOST_KNOTS + 1).tolist(),
            ),
        ),
        (
            ("SKU001", "errors"),
            dict.fromkeys(("estimates", "errors"), [1.0] * (MOST_ERRORS + 1)),
        ),
        (("SKU001", "errors", "errors"), [1.0]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_could_not_be_right_is_a_fresh_start(
    four_weeks: Knowledge,
    small_week: tuple[FeatureAndLabels, MonotoneTreeRegressor],
    path: tuple[Any, ...],
    value: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    records: Any = {code: each.describe() for code, each in four_weeks.items()}
    holder = {KNOWLEDGE: deepcopy(records)}
    set_deep(holder, (KNOWLEDGE, *path), value)
    dataset = aws.Dataset(DataFrame(), datetime.now(UTC), "b", "w.csv", "c0ffee")
    data, projection = small_week
    model = aws.Model("m", projection, dataset, {KNOWLEDGE: records})
    assert read_knowledge(model) == four_weeks
    odd = aws.Model("m", projection, dataset, holder)
    with pytest.raises(KnowledgeRefused):
        read_knowledge(odd)
    champion = read_champion(odd)
    assert find_known(data, champion).known is None
    assert "is passed over: " in caplog.text


@pytest.mark.thorough
def test_thousands_of_products_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "MOST_KNOTS", 7 * 2 * 600)
    products = make_products(600)
    known: Knowledge | None = None
    for seed in range(2):
        week = make_week(12_000, seed, hours_per_order=products, equal_shares=True)
        data = prepare_data(week)
        projection, _ = train_model(data, {"random_state": [42], "max_depth": [9]})
        is_new = np.ones(len(data.X_train), bool)
        model, known, *_ = learn_on(projection, data, is_new, known)
    assert known is not None and len(known) == 600
    knots = [len(each.before) + len(each.learnt) for each in known.values()]
    assert 6 * 2 * 600 < sum(knots) <= 7 * 2 * 600
    assert measure_distance(model, products) < 3
    assert all(each.weeks == 2 for each in known.values())
