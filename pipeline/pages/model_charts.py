"""The pictures of the model that serves: how sure it is, and what stands behind it."""

from collections.abc import Iterable
from typing import NamedTuple

from markupsafe import Markup

from pipeline.estimator import (
    LEVELS,
    Champion,
    Knowledge,
    Known,
    Ranges,
    read_ranges,
    recall_knowledge,
)
from pipeline.logs import tell_count
from pipeline.pages.drawing import Drawing
from pipeline.pages.index_charts import LONGEST_NAME, NAME_WIDTH, PRODUCTS_SHOWN
from pipeline.pages.plot import BOTTOM, RIGHT, TOP, WIDTH, Scale, find_ticks

ROW_HEIGHT = 22.0


class ModelFigures(NamedTuple):
    """What can be drawn of a model.

    Attributes:
        ranges: None for a model without, as those of earlier releases.
        knowledge: None for one that does not say.
        products: Of the model; the pictures show no more than `PRODUCTS_SHOWN`.
    """

    ranges: Markup | None
    knowledge: Markup | None
    products: int


def draw_model(champion: Champion) -> ModelFigures:
    """Draw how sure a model is of its products, and what stands behind them."""
    ranges = read_ranges(champion.model)
    knowledge = recall_knowledge(champion.model)
    return ModelFigures(
        None if ranges is None else draw_ranges(champion, ranges, knowledge or {}),
        None if knowledge is None else draw_knowledge(knowledge),
        len(champion.curves),
    )


def draw_ranges(champion: Champion, ranges: Ranges, knowledge: Knowledge) -> Markup:
    """By product, the ranges around the estimate on a middling day: at half of the most
    orders placed that were observed."""
    codes = choose_products(champion.curves.keys() & ranges.limits, knowledge)
    middling = {code: ranges.limits[code][1] / 2 for code in codes}
    estimates = {code: champion.curves[code](at) for code, at in middling.items()}
    bars = [
        (code, level, around[0] - estimates[code], around[1] - estimates[code])
        for code in codes
        for level in reversed(LEVELS)
        if (around := ranges.around(code, estimates[code], level))
    ]
    lowest = min([low for *_, low, _ in bars] + [-1.0])
    # Room for what is written at the right.
    highest = 2.0 * max([high for *_, high in bars] + [1.0])
    limits = (1.1 * lowest, highest)
    rows = ProductRows(codes, "ranges by product", limits, "hours more than estimated")
    for code, level, low, high in bars:
        tip = f"{level:.0%} take {-low:.1f} hours less to {high:.1f} hours more"
        rows.add_bar("range", code, low, high, tip)
    for code in codes:
        told = f"{estimates[code]:.1f} at {middling[code]:.0f}"
        rows.add_dot(code, 0.0, f"{told} orders placed")
        rows.add_value(code, 0.52 * highest, told)
    return rows.finish()


def draw_knowledge(knowledge: Knowledge) -> Markup:
    """By product, how many orders of how many weeks stand behind it."""
    shown = {code: knowledge[code] for code in choose_products(knowledge, knowledge)}
    # Room for what is written behind the longest bar.
    highest = 1.6 * max([each.orders for each in shown.values()] + [1.0])
    rows = ProductRows([*shown], "orders behind each product", (0.0, highest), "orders")
    for code, each in shown.items():
        rows.add_bar("bar", code, 0.0, each.orders, tell_behind(each))
        rows.add_value(code, each.orders, tell_behind(each))
    return rows.finish()


def tell_behind(known: Known) -> str:
    """How much stands behind a product."""
    return f"{known.orders:,.0f} of {tell_count(known.weeks, 'week')}"


def choose_products(codes: Iterable[str], knowledge: Knowledge) -> list[str]:
    """The products behind which the most orders stand, by their codes."""
    orders = {code: knowledge[code].orders for code in codes if code in knowledge}
    chosen = sorted(codes, key=lambda code: (-orders.get(code, 0.0), code))
    return sorted(chosen[:PRODUCTS_SHOWN])


class ProductRows(Drawing):
    """A line for each product, over an axis."""

    def __init__(
        self, codes: list[str], label: str, limits: tuple[float, float], unit: str
    ) -> None:
        base = TOP / 2 + ROW_HEIGHT * len(codes)
        super().__init__(WIDTH, base + BOTTOM, label)
        self.rows = {code: TOP / 2 + ROW_HEIGHT * row for row, code in enumerate(codes)}
        self.x = Scale(*limits, NAME_WIDTH, WIDTH - RIGHT)
        for tick in find_ticks(*limits):
            across = self.x(tick)
            self.add_line("grid", [(across, TOP / 2), (across, base)])
            self.add("text", "tick middle", f"{tick:,g}", x=across, y=base + 13)
        for code, top in self.rows.items():
            name = code if len(code) <= LONGEST_NAME else f"{code[:LONGEST_NAME - 1]}…"
            self.add("text", "tick right", name, code, x=NAME_WIDTH - 6, y=top + 15)
        self.add_line("axis", [(self.x.start, base), (self.x.end, base)])
        self.add("text", "unit right", unit, x=self.x.end, y=base + 27)

    def add_bar(
        self, style: str, code: str, low: float, high: float, tip: str
    ) -> None:
        start, end = self.x(low), self.x(high)
        self.add(
            *("rect", style, "", tip),
            x=start,
            y=self.rows[code] + 4,
            width=max(1.0, end - start),
            height=ROW_HEIGHT - 8,
        )

    def add_dot(self, code: str, value: float, tip: str) -> None:
        middle = self.rows[code] + ROW_HEIGHT / 2
        self.add("circle", "first mark", tip=tip, cx=self.x(value), cy=middle, r=3)

    def add_value(self, code: str, value: float, text: str) -> None:
        self.add("text", "tick", text, x=self.x(value) + 5, y=self.rows[code] + 15)
