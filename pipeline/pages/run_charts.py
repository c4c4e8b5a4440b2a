"""The pictures of a run's page: curves and orders, what is left, the comparison."""

from collections.abc import Callable, Iterable

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from pandas import DataFrame

from pipeline.estimator import Ranges
from pipeline.gates import CONFIDENCE_LEVEL, LARGE_LOSS, name_of_lines
from pipeline.orders import HOURS_TO_DISPATCH, ORDERS_PLACED
from pipeline.pages.drawing import Drawing, Point
from pipeline.pages.plot import LEFT, RIGHT, WIDTH, Plot, Scale, find_ticks
from pipeline.records import ModelComparison, SetAsideRow

Curve = Callable[[float], float]

PANEL_WIDTH, PANEL_HEIGHT = 250.0, 170.0
# More dots in one panel hide each other.
DOTS_SHOWN = 400
RESIDUALS_SHOWN = 2000
# Of a curve; a panel has 230 points.
CURVE_POINTS = 240
# An axis ends above this share of the observations, so that the others are seen.
MOST_OBSERVED = 0.99
BINS = 25
# Of the range that is drawn: where so many dispatches fall.
BAND_LEVEL = 0.9


def thin(data: DataFrame, most: int) -> DataFrame:
    """Choose rows evenly, in their order: every second, every third one, and so on."""
    return data.iloc[:: max(1, -(-len(data) // most))]


def draw_curves(
    code: str,
    orders: DataFrame | None,
    new: Curve | None,
    old: Curve | None,
    set_aside: Iterable[SetAsideRow],
    ranges: Ranges | None,
) -> Markup:
    """The curves of a product, the range around them, and what was observed.

    Args:
        orders: Those of the product.
        new: What was learnt.
        old: What the model in service says.
        ranges: Of what was learnt, or, where nothing was, of the model in service.
    """
    placed = hours = np.zeros(0)
    counted = "line" if orders is None else name_of_lines(orders)
    if orders is not None:
        shown = thin(orders, DOTS_SHOWN)
        placed = shown[ORDERS_PLACED].to_numpy()
        hours = shown[HOURS_TO_DISPATCH].to_numpy()
    furthest = float(np.quantile(placed, MOST_OBSERVED)) if len(placed) else 0.0
    right = 1.1 * furthest or 300.0
    lines = [
        [(x, curve(x)) for x in np.linspace(0.0, right, CURVE_POINTS).tolist()]
        for curve in (old, new)
        if curve is not None
    ]
    usual = float(np.quantile(hours, MOST_OBSERVED)) if len(hours) else 0.0
    band = find_band(code, lines[-1], ranges) if ranges and lines else []
    highest = [usual, *(y for line in [*lines, band] for _, y in line)]
    top = 1.15 * max(highest) or 1.0
    plot = Plot(
        f"curves and orders of {code}",
        x_limits=(0.0, right),
        y_limits=(0.0, top),
        x_ticks={each: f"{each:g}" for each in find_ticks(0.0, right, 4)},
        x_unit="orders placed",
        y_unit="hours",
        width=PANEL_WIDTH,
        height=PANEL_HEIGHT,
    )
    plot.add_area("range", (plot.at(*point) for point in band))
    pairs = zip(placed.tolist(), hours.tolist(), strict=True)
    plot.add_dots("observed", (plot.at(*each) for each in pairs))
    styles = ["old line"] * (old is not None) + ["new line"] * (new is not None)
    for style, line in zip(styles, lines, strict=True):
        plot.add_line(style, (plot.at(*point) for point in line))
    for row in set_aside:
        across, up = plot.at(row.orders_placed, row.hours)
        took = f"{row.hours:g} hours, {row.expected:.3g} expected"
        tip = f"{counted} {row.line:,}: {took}"
        plot.add("text", "bad cross", "×", tip, x=across, y=up + 4)
    return plot.finish()


def find_band(code: str, line: list[Point], ranges: Ranges) -> list[Point]:
    """The outline of the range around a curve, as far as orders were observed."""
    found = [
        (placed, around)
        for placed, hours in line
        if not ranges.is_beyond(code, placed)
        and (around := ranges.around(code, hours, BAND_LEVEL))
    ]
    above = [(placed, high) for placed, (_, high) in found]
    return [(placed, low) for placed, (low, _) in found] + above[::-1]


def draw_residuals(orders: DataFrame, residuals: NDArray[np.float64]) -> Markup:
    """Observed less estimated hours, by orders placed.

    Args:
        orders: Shape (orders, 3).
        residuals: Hours, shape (orders,).
    """
    shown = thin(orders.assign(residual=residuals), RESIDUALS_SHOWN)
    right = 1.1 * float(np.quantile(orders[ORDERS_PLACED], MOST_OBSERVED)) or 1.0
    top = find_spread(residuals)
    plot = Plot(
        "observed less estimated hours by orders placed",
        x_limits=(0.0, right),
        y_limits=(-top, top),
        x_ticks={each: f"{each:g}" for each in find_ticks(0.0, right, 4)},
        x_unit="orders placed",
        y_unit="hours more than estimated",
    )
    zero = plot.y(0.0)
    plot.add_line("axis", [(plot.x.start, zero), (plot.x.end, zero)])
    places = zip(
        shown[ORDERS_PLACED].tolist(), shown["residual"].tolist(), strict=True
    )
    plot.add_dots("observed", (plot.at(*each) for each in places))
    return plot.finish()


def draw_distribution(residuals: NDArray[np.float64]) -> Markup:
    """How many orders took how much longer or shorter than estimated, as bars."""
    top = find_spread(residuals)
    counts, edges = np.histogram(np.clip(residuals, -top, top), BINS, (-top, top))
    plot = Plot(
        "how often which difference was observed",
        x_limits=(-top, top),
        y_limits=(0.0, 1.1 * float(counts.max()) or 1.0),
        x_ticks={each: f"{each:g}" for each in find_ticks(-top, top)},
        x_unit="hours more than estimated",
        y_unit="orders",
    )
    for count, left, right in zip(
        counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True
    ):
        if not count:
            continue
        start, up = plot.at(left, count)
        plot.add(
            *("rect", "bar", "", f"{left:.2f} to {right:.2f} hours: {count:,} orders"),
            x=start,
            y=up,
            width=max(1.0, plot.x(right) - start - 1),
            height=plot.y.start - up,
        )
    zero = plot.x(0.0)
    plot.add_line("axis", [(zero, plot.y.start), (zero, plot.y.end)])
    return plot.finish()


def find_spread(residuals: NDArray[np.float64]) -> float:
    """Find how far from 0 most of them are, hours."""
    return 1.2 * float(np.quantile(np.abs(residuals), MOST_OBSERVED)) or 1.0


def draw_comparison(comparison: ModelComparison) -> Markup:
    """By how much the new model's error is larger, with its interval."""
    large = LARGE_LOSS * comparison.champion_error
    known = [comparison.lower, comparison.upper, comparison.loss, large, 0.0]
    values = [each for each in known if each is not None]
    margin = 0.15 * (max(values) - min(values)) or 0.1
    lowest, highest = min(values) - margin, max(values) + margin
    label = "the new model's error less that of the one in service"
    drawing = Drawing(WIDTH, 96, label)
    x = Scale(lowest, highest, LEFT, WIDTH - RIGHT)
    for value, style, text in (
        (0.0, "axis", "no difference"),
        (large, "bad", "refused from here"),
    ):
        drawing.add_line(style, [(x(value), 20), (x(value), 62)])
        drawing.add("text", f"{style} name middle", text, x=x(value), y=14)
    lower = lowest if comparison.lower is None else comparison.lower
    upper = highest if comparison.upper is None else comparison.upper
    tip = f"{comparison.loss:+.3f} hours, {CONFIDENCE_LEVEL:.0%} interval"
    drawing.add_line("first line interval", [(x(lower), 41), (x(upper), 41)], tip)
    drawing.add("circle", "first mark", tip=tip, cx=x(comparison.loss), cy=41, r=5)
    drawing.add_line("axis", [(x.start, 62), (x.end, 62)])
    for tick in find_ticks(lowest, highest, 4):
        drawing.add("text", "tick middle", f"{tick:+g}", x=x(tick), y=77)
    drawing.add(
        *("text", "unit right", "hours of mean absolute error"), x=x.end, y=92
    )
    return drawing.finish()
