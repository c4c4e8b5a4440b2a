"""Axes and marks."""

from xml.etree.ElementTree import fromstring

import pytest

from pipeline.pages.drawing import Drawing
from pipeline.pages.plot import Scale, find_ticks, find_top


@pytest.mark.parametrize(
    "lowest, highest, ticks",
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.75, 1.0, [0.75, 0.8, 0.85, 0.9, 0.95, 1.0]),
        (-3.1, 2.9, [-2.0, 0.0, 2.0]),
        (0.0, 33000.0, [0.0, 10000.0, 20000.0, 30000.0]),
        (5.0, 5.0, [5.0]),
    ],
)
def test_ticks_are_round_numbers_within_the_axis(
    lowest: float, highest: float, ticks: list[float]
) -> None:
    assert find_ticks(lowest, highest) == ticks


def test_a_scale_maps_what_lies_beyond_to_its_edge() -> None:
    scale = Scale(0.0, 10.0, 100.0, 0.0)
    assert [scale(value) for value in (-5, 0, 5, 10, 1e300)] == [100, 100, 50, 0, 0]


def test_one_value_far_out_does_not_hide_the_others() -> None:
    assert find_top([1.0, 1.2, 0.8, 400.0]) < 5
    assert find_top([1.0, 1.2, 0.8]) > 1.2
    assert find_top([]) == find_top([0.0, 0.0]) - 0.1 == 1.0


def test_anyones_words_are_text_in_a_picture() -> None:
    words = "</text><script>alert(1)</script>&\"'"
    drawing = Drawing(10, 10, words)
    drawing.add("text", "tick", words, words)
    picture = str(drawing.finish())
    assert "<script" not in picture
    root = fromstring(picture)
    assert root.get("aria-label") == root[0].text == root[0][0].text == words
