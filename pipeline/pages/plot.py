"""A pair of axes, and what can be drawn between them."""

from math import floor, log10
from statistics import median
from typing import NamedTuple

from pipeline.pages.drawing import Drawing, Point

# As wide as a telephone, so that letters have the size there that they have here.
WIDTH = 360.0
LEFT, RIGHT, TOP, BOTTOM = 34.0, 12.0, 18.0, 30.0
# A value of so many medians is drawn at the edge: the others are to be seen as well.
FAR_OUT = 4.0


class Scale(NamedTuple):
    """Maps values to coordinates; what lies beyond is mapped to the edge."""

    lowest: float
    highest: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        within = min(max(value, self.lowest), self.highest)
        share = (within - self.lowest) / ((self.highest - self.lowest) or 1.0)
        return self.start + share * (self.end - self.start)


class Plot(Drawing):
    """A picture with an axis at its left and one below."""

    def __init__(
        self,
        label: str,
        *,
        x_limits: tuple[float, float],
        y_limits: tuple[float, float],
        x_ticks: dict[float, str],
        x_unit: str = "",
        y_unit: str = "",
        width: float = WIDTH,
        height: float = 190.0,
    ) -> None:
        """Draw the axes.

        Args:
            x_ticks: Values and what is written below each.
            x_unit, y_unit: What the values are in, written at the ends of the axes.
        """
        super().__init__(width, height, label)
        self.x = Scale(*x_limits, LEFT, width - RIGHT)
        self.y = Scale(*y_limits, height - BOTTOM, TOP)
        if y_unit:
            self.add("text", "unit", y_unit, x=0, y=10)
        for value in find_ticks(*y_limits):
            height_of = self.y(value)
            self.add_line("grid", [(self.x.start, height_of), (self.x.end, height_of)])
            self.add(
                *("text", "tick right", f"{value:g}"),
                x=self.x.start - 6,
                y=height_of + 3.5,
            )
        self.add_x_ticks(x_ticks)
        if x_unit:
            self.add("text", "unit right", x_unit, x=self.x.end, y=height - 2)

    def add_x_ticks(self, ticks: dict[float, str]) -> None:
        base = self.y.start
        self.add_line("axis", [(self.x.start, base), (self.x.end, base)])
        for value, text in ticks.items():
            place = self.x(value)
            self.add_line("axis", [(place, base), (place, base + 4)])
            self.add("text", "tick middle", text, x=place, y=base + 15)

    def at(self, x: float, y: float) -> Point:
        return self.x(x), self.y(y)

    def add_level(self, style: str, value: float, text: str) -> None:
        """Draw a line across, and name it."""
        height = self.y(value)
        self.add_line(style, [(self.x.start, height), (self.x.end, height)])
        self.add("text", f"{style} name", text, x=self.x.start + 4, y=height - 4)

    def add_mark(self, style: str, x: float, y: float, tip: str) -> None:
        """Draw a dot with a tip, or an arrow at the edge for what is beyond it."""
        across, up = self.at(x, y)
        if y > self.y.highest:
            self.add("text", f"{style} beyond", "▲", tip, x=across, y=up + 8)
        else:
            self.add("circle", style, tip=tip, cx=across, cy=up, r=3)


def find_ticks(lowest: float, highest: float, most: int = 5) -> list[float]:
    """Find round numbers between two numbers."""
    if not highest > lowest:
        return [lowest]
    rough = (highest - lowest) / most
    power = 10.0 ** floor(log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    first = -floor(1e-9 - lowest / step)
    count = floor((highest - first * step) / step + 1e-9) + 1
    return [float(f"{(first + each) * step:.6g}") for each in range(count)]


def find_top(values: list[float]) -> float:
    """Find where an axis from 0 is to end, so that what is usual is seen."""
    if not values:
        return 1.0
    usual = FAR_OUT * median(values)
    return 1.1 * (min(max(values), usual) or max(values) or 1.0)
