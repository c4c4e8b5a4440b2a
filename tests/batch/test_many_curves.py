"""Arrays of orders are answered to the last digit as the service answers one."""

import json
from itertools import pairwise
from math import inf, isfinite, isnan, nextafter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipeline.batch.estimate_files import make_csv
from pipeline.batch.many_curves import ManyCurves, lay_out, round_as_text
from pipeline.estimator import (
    LEVELS,
    Curve,
    PiecewiseLinear,
    Ranges,
    StepFunction,
)
from pipeline.orders import MAX_ORDERS_PLACED
from pipeline.service.many_estimates import write_estimate

CODES = ["SKU001", "SKU002", "NEW", "OLD"]

orders = st.one_of(
    st.integers(0, 300).map(float),
    st.floats(0, 300),
    st.floats(0, MAX_ORDERS_PLACED),
    st.just(MAX_ORDERS_PLACED),
)
hours = st.one_of(
    st.integers(-2, 40).map(float), st.floats(0, 40), st.floats(-1e300, 1e300)
)


@st.composite
def piecewise_linear(draw: Any) -> PiecewiseLinear:
    knots = sorted(draw(st.sets(orders, min_size=1, max_size=8)))
    heights = [draw(hours) for _ in knots]
    slopes = [
        (high - low) / (end - start)
        for (low, high), (start, end) in zip(
            pairwise(heights), pairwise(knots), strict=True
        )
    ]
    assume(all(map(isfinite, slopes)))
    return PiecewiseLinear(knots, heights)


@st.composite
def step_function(draw: Any) -> StepFunction:
    bounds = [*sorted(draw(st.sets(orders, max_size=8))), inf]
    return StepFunction(bounds, [draw(hours) for _ in bounds])


sides = st.dictionaries(
    st.sampled_from(LEVELS), st.tuples(st.floats(-5, 0), st.floats(0, 5))
)
limits = st.tuples(orders, orders).map(lambda pair: (min(pair), max(pair)))
ranges = st.builds(
    Ranges,
    scale=st.tuples(st.floats(0, 3), st.floats(0, 3)),
    common=sides,
    own=st.dictionaries(st.sampled_from(CODES), sides),
    limits=st.dictionaries(st.sampled_from(CODES), limits),
)


def places_of(curve: Curve) -> list[float]:
    """Where a curve has its corners, and right beside them."""
    assert isinstance(curve, PiecewiseLinear | StepFunction)
    bounds = vars(curve).get("orders_placed") or vars(curve)["upper_bounds"]
    corners = [bound for bound in bounds if isfinite(bound)]
    beside = [nextafter(each, side) for each in corners for side in (0.0, 2e6)]
    return [
        each for each in corners + beside if 0 <= each <= MAX_ORDERS_PLACED
    ]


@given(
    st.dictionaries(
        st.sampled_from(CODES), piecewise_linear() | step_function(), min_size=1
    ),
    st.none() | ranges,
    st.sampled_from(LEVELS),
    st.lists(orders, min_size=1, max_size=20),
)
def test_they_are_those_of_the_service(
    curves: dict[str, Curve],
    of_model: Ranges | None,
    level: float,
    others: list[float],
) -> None:
    asked = [
        (code, placed)
        for code, curve in curves.items()
        for placed in [0.0, *places_of(curve), *others, MAX_ORDERS_PLACED]
    ]
    model = ManyCurves(curves, of_model, level)
    products = np.array([model.codes.index(code) for code, _ in asked])
    placed = np.array([each for _, each in asked])
    same = [curves[code](each) for code, each in asked]
    assert model.estimate(products, placed).tolist() == same
    try:
        expected = [
            json.loads(write_estimate(code, each, level, curves[code], of_model))
            for code, each in asked
        ]
    except RuntimeError:
        with pytest.raises(RuntimeError, match="^Of .* orders of "):
            model.answer(products, placed)
        return
    answers = model.answer(products, placed)
    for (*found, beyond), one in zip(zip(*answers, strict=True), expected, strict=True):
        around = one["range"] or {"lower": None, "upper": None}
        wanted = [one["est_hours_to_dispatch"], around["lower"], around["upper"]]
        assert [None if isnan(each) else each for each in found] == wanted
        assert beyond == one["beyond_observed"]


def test_a_range_without_end_is_none() -> None:
    curve = PiecewiseLinear([1.0], [2.0])
    endless = Ranges((1e308, 0.0), {0.9: (-1.0, 10.0)}, {}, {})
    model = ManyCurves({"SKU001": curve}, endless, 0.9)
    with pytest.raises(RuntimeError, match="^Of 7.0 orders of SKU001: 2.0 "):
        model.answer(np.zeros(1, int), np.array([7.0]))
    with pytest.raises(RuntimeError, match="^Of 7.0 orders of SKU001: 2.0 "):
        write_estimate("SKU001", 7.0, 0.9, curve, endless)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
@example([0.00005, 0.00015, 1.00005, 2.67525, 0.1 + 0.2, 5e-324, 1e22, 1.7e308])
@example([2.0**45 + 0.125, 2.0**38 + 0.00005, 9007199254740993.0, -0.00005, -1.00005])
def test_they_are_rounded_as_text_is(values: list[float]) -> None:
    rounded = round_as_text(np.array(values, float)).tolist()
    assert rounded == [float(f"{each:.4f}") for each in values]


@given(st.lists(st.none() | st.integers(-(10**14), 10**14) | st.floats(-1e18, 1e18)))
def test_they_are_written_as_the_service_writes_them(
    values: list[float | None],
) -> None:
    hours = [None if each is None else round(float(each), 4) for each in values]
    column = pa.array(hours, pa.float64())
    lines = make_csv(pa.record_batch({"hours": column})).to_pybytes().decode()
    for line, each in zip(lines.splitlines(), hours, strict=True):
        assert (None if line == "" else float(line)) == each
        if each is not None and max(map(abs, filter(None, hours)), default=0) < 1e11:
            assert line.lstrip("-") == f"{each:.4f}".lstrip("-")


def test_no_other_curve_is_laid_out() -> None:
    with pytest.raises(TypeError, match="function is no curve"):
        lay_out(lambda placed: placed)
