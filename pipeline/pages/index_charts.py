"""The pictures of the index: a year of runs, week by week."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from math import isfinite

from markupsafe import Markup

from pipeline.orders import HOURS_TO_DISPATCH, ORDERS_PLACED
from pipeline.pages.drawing import Drawing, Point
from pipeline.pages.plot import BOTTOM, TOP, WIDTH, Plot, Scale, find_top
from pipeline.pages.weeks import WEEK, Week
from pipeline.records import ColumnDrift, RunRecord

# So many products have a line of their own; a delivery may have thousands.
PRODUCTS_SHOWN = 12
# A few weeks do not fill a picture.
FEWEST_WEEKS = 8
DATES_SHOWN = 4
ROW_HEIGHT = 20.0
NAME_WIDTH, VALUE_WIDTH = 84.0, 34.0
LONGEST_NAME = 12
LARGE_MARK = 1.6


class Timeline:
    """The axis that all pictures of the index share."""

    def __init__(self, weeks: list[Week]) -> None:
        """Span the weeks.

        Args:
            weeks: The newest first.
        """
        self.weeks = weeks
        self.runs = [run for week in reversed(weeks) for run in reversed(week.runs)]
        self.end = weeks[0].friday + WEEK
        self.count = max(len(weeks), FEWEST_WEEKS)

    def place(self, moment: datetime) -> float:
        """A time as weeks since the beginning of the axis."""
        return self.count - (self.end - moment) / WEEK

    def ticks(self) -> dict[float, str]:
        """Fridays, as places and dates."""
        step = -(-self.count // DATES_SHOWN)
        fridays = [self.end - WEEK * (number + 1) for number in range(self.count)]
        return {self.place(each): short_day(each) for each in fridays[::step]}

    def plot(self, label: str, limits: tuple[float, float], unit: str) -> Plot:
        return Plot(
            label,
            x_limits=(0.0, float(self.count)),
            y_limits=limits,
            x_ticks=self.ticks(),
            y_unit=unit,
        )

    def add_runs_without_model(self, plot: Plot) -> None:
        """Mark the runs that did not publish a model, and should have."""
        for run in self.runs:
            if run.record.is_bad:
                across = plot.x(self.place(run.record.started))
                tip = f"{short_day(run.record.started)}: {run.record.outcome}"
                bottom, top = plot.y.start, plot.y.end
                plot.add_line("bad", [(across, bottom), (across, top)], tip=tip)
                plot.add("text", "bad cross", "×", tip, x=across, y=top - 4)

    def trace(self, value: Callable[[RunRecord], float | None]) -> list[Point]:
        """The values of all runs that have one, with their places."""
        found = ((run.record.started, value(run.record)) for run in self.runs)
        return [
            (self.place(at), each)
            for at, each in found
            if each is not None and isfinite(each)
        ]


def short_day(moment: datetime) -> str:
    return f"{moment.day} {moment:%b}"


def draw_r_squared(timeline: Timeline) -> Markup:
    """R-squared of each run, on held-out orders and cross-validated."""
    held_out = timeline.trace(
        lambda record: record.metrics.answer.r_squared
        if record.metrics.answer
        else None
    )
    folds = timeline.trace(lambda record: record.metrics.cross_validated_r_squared)
    thresholds = timeline.runs[-1].record.thresholds
    lowest = min([thresholds.error, *(each for _, each in held_out + folds)])
    floor = max(0.0, lowest - 0.05)
    plot = timeline.plot("r-squared of each run", (floor, 1.0), "r²")
    timeline.add_runs_without_model(plot)
    plot.add_level("level error", thresholds.error, "refused below")
    plot.add_level("level warning", thresholds.warning, "warned below")
    draw_trace(plot, "second", folds)
    draw_trace(plot, "first", held_out)
    return plot.finish()


def draw_error(timeline: Timeline) -> Markup:
    """Mean absolute error of each run on held-out orders."""
    errors = timeline.trace(
        lambda record: record.metrics.answer.mean_absolute_error
        if record.metrics.answer
        else None
    )
    top = find_top([each for _, each in errors])
    plot = timeline.plot("mean absolute error of each run", (0.0, top), "hours")
    timeline.add_runs_without_model(plot)
    draw_trace(plot, "first", errors)
    return plot.finish()


def draw_service_error(timeline: Timeline) -> Markup:
    """The error of the model in service on each delivery, beside that at its birth."""
    now = timeline.trace(
        lambda record: record.model_in_service.error_on_delivery
        if record.model_in_service
        else None
    )
    birth = timeline.trace(
        lambda record: record.model_in_service.error_at_birth
        if record.model_in_service
        else None
    )
    top = find_top([each for _, each in now + birth])
    label = "error of last week's model on each delivery, and at its birth"
    plot = timeline.plot(label, (0.0, top), "hours")
    timeline.add_runs_without_model(plot)
    draw_trace(plot, "second", birth)
    draw_trace(plot, "first", now)
    return plot.finish()


def draw_trace(plot: Plot, style: str, points: list[Point]) -> None:
    """Draw values over time."""
    plot.add_line(f"{style} line", [plot.at(*point) for point in points])
    for place, value in points:
        plot.add_mark(f"{style} mark", place, value, f"{value:.3f}")


def draw_drift(timeline: Timeline, column: str) -> Markup:
    """How far a column of each product has moved, as shades, week by week."""
    drifts = {
        week.friday: {each.product_code: each for each in found}
        for week, found in drift_by_week(timeline.weeks, column)
    }
    counts = Counter(code for found in drifts.values() for code in found)
    largest: dict[str, float] = {}
    for found in drifts.values():
        for code, each in found.items():
            largest[code] = max(largest.get(code, 0.0), each.statistic)
    codes = sorted(counts, key=lambda code: (-largest[code], code))[:PRODUCTS_SHOWN]
    what = {ORDERS_PLACED: "orders placed", HOURS_TO_DISPATCH: "hours to dispatch"}
    grid = Grid(timeline, sorted(codes), f"drift of {what[column]} by product and week")
    for code in codes:
        for friday, found in drifts.items():
            if code in found:
                grid.add_shade(code, friday, found[code])
    return grid.finish()


def drift_by_week(
    weeks: list[Week], column: str
) -> Iterator[tuple[Week, list[ColumnDrift]]]:
    """What the last run of each week has measured."""
    for week in weeks:
        measured = [run.record.drift for run in week.runs if run.record.drift]
        if measured:
            yield week, [each for each in measured[0] if each.column == column]


def draw_orders(timeline: Timeline) -> tuple[Markup, int, int]:
    """Orders by product and week, as bars.

    Returns:
        The picture, how many products there are, and the orders of the tallest bar.
    """
    by_week = {
        week.friday: run.record.delivery.orders_by_product
        for week in timeline.weeks
        for run in reversed(week.runs)
        if run.record.delivery and run.record.delivery.orders_by_product
    }
    totals: Counter[str] = Counter()
    for orders in by_week.values():
        totals.update(orders)
    codes = sorted(totals, key=lambda code: (-totals[code], code))[:PRODUCTS_SHOWN]
    shown = [orders.get(code, 0) for orders in by_week.values() for code in codes]
    tallest = max(shown, default=0)
    grid = Grid(timeline, sorted(codes), "orders by product and week")
    for code in codes:
        for friday, orders in by_week.items():
            if orders.get(code):
                grid.add_bar(code, friday, orders[code], tallest)
        if by_week:
            grid.add_value(code, by_week[max(by_week)].get(code, 0))
    return grid.finish(), len(totals), tallest


class Grid(Drawing):
    """A line for each product, and a column for each week."""

    def __init__(self, timeline: Timeline, codes: list[str], label: str) -> None:
        self.rows = {code: TOP / 2 + ROW_HEIGHT * row for row, code in enumerate(codes)}
        base = TOP / 2 + ROW_HEIGHT * len(codes)
        super().__init__(WIDTH, base + BOTTOM - 8, label)
        self.timeline = timeline
        self.x = Scale(0, timeline.count, NAME_WIDTH, WIDTH - VALUE_WIDTH)
        self.column = (WIDTH - NAME_WIDTH - VALUE_WIDTH) / timeline.count
        for code, top in self.rows.items():
            name = code if len(code) <= LONGEST_NAME else f"{code[:LONGEST_NAME - 1]}…"
            self.add(
                *("text", "tick right", name, code), x=NAME_WIDTH - 6, y=top + 14
            )
        self.add_line("axis", [(self.x.start, base), (self.x.end, base)])
        for place, text in timeline.ticks().items():
            across = self.x(place) + self.column / 2
            self.add_line("axis", [(across, base), (across, base + 4)])
            self.add("text", "tick middle", text, x=across, y=base + 15)

    def left_of(self, friday: datetime) -> float:
        return self.x(self.timeline.place(friday))

    def add_shade(self, code: str, friday: datetime, drift: ColumnDrift) -> None:
        (old_low, old_high), (low, high) = drift.reference_range, drift.delivered_range
        tip = (
            f"{code}, {short_day(friday)}: {drift.statistic:.2f}, {low:g} to {high:g} "
            f"(was {old_low:g} to {old_high:g})"
        )
        left, top = self.left_of(friday), self.rows[code]
        width, height = max(1.0, self.column - 1), ROW_HEIGHT - 2
        self.add(
            *("rect", "shade", "", tip),
            x=left,
            y=top,
            width=width,
            height=height,
            fill_opacity=f"{0.06 + 0.94 * min(max(drift.statistic, 0.0), 1.0):.2f}",
        )
        if drift.is_large:
            middle = left + width / 2, top + height / 2
            self.add("circle", "large", cx=middle[0], cy=middle[1], r=LARGE_MARK)

    def add_bar(self, code: str, friday: datetime, orders: int, tallest: int) -> None:
        height = (ROW_HEIGHT - 6) * orders / tallest
        self.add(
            *("rect", "bar", "", f"{code}, {short_day(friday)}: {orders:,} orders"),
            x=self.left_of(friday),
            y=self.rows[code] + ROW_HEIGHT - 1 - height,
            width=max(1.0, self.column - 1),
            height=height,
        )

    def add_value(self, code: str, value: int) -> None:
        self.add(
            *("text", "tick", f"{value:,}"), x=self.x.end + 5, y=self.rows[code] + 14
        )
