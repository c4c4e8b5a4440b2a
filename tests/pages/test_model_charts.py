"""What is drawn of a model: its ranges, and what stands behind it."""

from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import Element, fromstring

from pandas import DataFrame
from sklearn.tree import DecisionTreeRegressor

from pipeline import aws
from pipeline.estimator import KNOWLEDGE, RANGES, Champion, PiecewiseLinear, Ranges
from pipeline.pages.index_charts import PRODUCTS_SHOWN
from pipeline.pages.model_charts import draw_model
from pipeline.pages.run_charts import draw_curves, find_band

CURVE = PiecewiseLinear([0.0, 100.0], [0.0, 10.0])
RANGE = Ranges((1.0, 0.0), {0.9: (-2.0, 3.0)}, {}, {"A": (20.0, 60.0)})


def make_champion(products: dict[str, float], **metadata: Any) -> Champion:
    """A model with so many orders of one week behind each product."""
    nothing: dict[str, list[float]] = {"estimates": [], "errors": []}
    known = {
        code: {
            "before": {"orders_placed": [], "hours": [], "weights": []},
            "share": 0.0,
            "weeks_before": 0,
            "learnt": {"orders_placed": [1.0], "hours": [1.0], "weights": [orders]},
            "errors_before": nothing,
            "errors": nothing,
        }
        for code, orders in products.items()
    }
    dataset = aws.Dataset(DataFrame(), datetime.now(UTC), "b", "w.csv", "c0ffee")
    held = {KNOWLEDGE: known, RANGES: RANGE.describe(), **metadata}
    model = aws.Model("m", DecisionTreeRegressor(), dataset, held)
    return Champion(model, dict.fromkeys(products, CURVE), {})


def find(picture: object, style: str) -> list[Element]:
    return [each for each in fromstring(str(picture)) if each.get("class") == style]


def tell_tips(picture: object, style: str) -> list[str | None]:
    return [each.findtext("title") for each in find(picture, style)]


def test_ranges_are_drawn_around_the_estimate_of_a_middling_day() -> None:
    drawn = draw_model(make_champion({"A": 5.0}))
    told = "90% take 2.0 hours less to 3.0 hours more"
    assert tell_tips(drawn.ranges, "range") == [told]
    assert tell_tips(drawn.ranges, "first mark") == ["3.0 at 30 orders placed"]


def test_the_products_with_the_most_orders_behind_them_are_drawn() -> None:
    products = {f"P{number:02}": 10.0 + number for number in range(PRODUCTS_SHOWN + 1)}
    drawn = draw_model(make_champion(products))
    told = tell_tips(drawn.knowledge, "bar")
    assert told == [f"{each:.0f} of 1 week" for each in [*products.values()][1:]]
    assert drawn.products == PRODUCTS_SHOWN + 1
    widths = [float(each.get("width", 0)) for each in find(drawn.knowledge, "bar")]
    assert sorted(widths) == widths and widths[0] < widths[-1]


def test_nothing_is_drawn_of_what_a_model_does_not_say() -> None:
    drawn = draw_model(make_champion({"A": 5.0}, ranges=None, knowledge={"A": 1}))
    assert drawn == (None, None, 1)


def test_a_band_ends_where_nothing_was_observed() -> None:
    line = [(float(placed), CURVE(placed)) for placed in range(0, 101, 10)]
    band = find_band("A", line, RANGE)
    assert band[:5] == [(20, 0), (30, 1), (40, 2), (50, 3), (60, 4)]
    assert band[5:] == [(60, 9), (50, 8), (40, 7), (30, 6), (20, 5)]
    assert find_band("B", line[1:], RANGE) == []
    assert find(draw_curves("A", None, CURVE, None, [], RANGE), "range")
    assert not find(draw_curves("A", None, CURVE, None, [], None), "range")
