"""How sure an estimate is: the range in which a stated share of dispatches fall.

Nothing heavy is imported here, because the service imports it.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from pipeline import aws
from pipeline.orders import is_product_code

# Where a model's metadata holds them.
RANGES = "ranges"
# The shares of dispatches that ranges are stated for.
LEVELS = (0.5, 0.8, 0.9, 0.95)
# Of who asks for none.
DEFAULT_LEVEL = 0.9

Pair = tuple[float, float]


@dataclass(frozen=True)
class Ranges:
    """The ranges of a model.

    Attributes:
        scale: How large errors are usually: so many hours, and so many more for each
            hour of the estimate. Neither is negative: no range is narrower on a busier
            day.
        common: By level, the range in multiples of the scale: how far below and above
            the estimate it reaches; without the levels that there are too few orders
            for.
        own: By product code, the same of products that are unlike the others.
        limits: By product code, the fewest and most orders placed that were observed.

    Raises:
        TypeError, ValueError: They are not such.
    """

    scale: Pair
    common: dict[float, Pair]
    own: dict[str, dict[float, Pair]]
    limits: dict[str, Pair]

    def __post_init__(self) -> None:
        sides = [self.common, *self.own.values()]
        pairs = [self.scale, *self.limits.values()]
        pairs += [pair for by_level in sides for pair in by_level.values()]
        if not (
            all(len(pair) == 2 for pair in pairs)
            and all(map(is_product_code, [*self.own, *self.limits]))
            and {type(each) for pair in pairs for each in pair} == {float}
            and all(isfinite(each) for pair in pairs for each in pair)
            and min(self.scale) >= 0
            and all(level in LEVELS for by_level in sides for level in by_level)
            and all(low <= 0 <= high for each in sides for low, high in each.values())
            and all(0 <= low <= high for low, high in self.limits.values())
        ):
            raise ValueError("its ranges are not finite, or hold no estimate")

    def around(self, code: str, estimate: float, level: float) -> Pair | None:
        """The range of a product around an estimate, hours; None if there is none."""
        found = self.own.get(code, self.common).get(level)
        if found is None:
            return None
        usual = self.scale[0] + self.scale[1] * estimate
        return max(0.0, estimate + found[0] * usual), estimate + found[1] * usual

    def is_beyond(self, code: str, orders_placed: float) -> bool:
        """Whether no such number of orders was ever observed: the estimate is that of
        the nearest one that was, and the range says nothing."""
        low, high = self.limits.get(code, (0.0, 0.0))
        return not low <= orders_placed <= high

    def __str__(self) -> str:
        told = [
            f"{level:.0%} take {around[0]:.1f} to {around[1]:.1f}"
            for level in LEVELS
            if (around := self.around("", 10.0, level))
        ]
        missing = [f"{level:.0%}" for level in LEVELS if level not in self.common]
        parts = [f"of dispatches estimated at 10 hours, {', '.join(told)}"] * bool(told)
        if missing:
            parts.append(f"too few orders for {', '.join(missing)}")
        parts.append(f"{len(self.own)} of {len(self.limits)} products are unlike that")
        return "; ".join(parts)

    def describe(self) -> dict[str, Any]:
        """For the metadata, in plain types."""
        return {
            "scale": [*self.scale],
            "common": name_levels(self.common),
            "own": {code: name_levels(each) for code, each in self.own.items()},
            "limits": {code: [*each] for code, each in self.limits.items()},
        }


def name_levels(by_level: dict[float, Pair]) -> dict[str, list[float]]:
    return {str(level): [*pair] for level, pair in by_level.items()}


def read_ranges(model: aws.Model) -> Ranges | None:
    """Read the ranges of a model.

    Returns:
        None for a model that has none, as those of earlier releases, or whose ranges
        could not be right: it estimates all the same.
    """
    try:
        match (model.metadata or {}).get(RANGES):
            case {
                "scale": list(scale),
                "common": dict(common),
                "own": dict(own),
                "limits": dict(limits),
            }:
                return Ranges(
                    as_pair(scale),
                    read_levels(common),
                    {str(code): read_levels(each) for code, each in own.items()},
                    {str(code): as_pair(each) for code, each in limits.items()},
                )
    except (AttributeError, TypeError, ValueError):
        pass
    return None


def read_levels(by_name: dict[str, list[float]]) -> dict[float, Pair]:
    return {float(name): as_pair(pair) for name, pair in by_name.items()}


def as_pair(numbers: list[float]) -> Pair:
    low, high = numbers
    return low, high
