"""The pages in a real browser: what it draws, asks for and complains of."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline import report
from sandbox.s3_server import make_bucket
from sandbox.weeks import run_weeks
from tests.pages.chromium import Tab, find_chromium, open_chromium

pytestmark = [pytest.mark.once, pytest.mark.process]

CHROMIUM = find_chromium()
GRID = {"random_state": [42], "max_depth": [8], "min_samples_leaf": [2]}
WIDE, NARROW = 1280, 390
# Which pictures are not drawn, and which words are cut off at the edge of theirs.
LOOK = """
(() => {
  const faults = [];
  for (const svg of document.querySelectorAll("svg")) {
    const place = svg.getBoundingClientRect();
    const marks = [...svg.querySelectorAll("path, rect, circle")];
    const drawn = marks.filter(mark => mark.getBBox().width + mark.getBBox().height);
    for (const mark of marks) {
      const style = getComputedStyle(mark);
      if (style.fill + style.stroke === "nonenone")
        faults.push("has no colour: " + mark.getAttribute("class"));
    }
    const name = svg.getAttribute("aria-label");
    if (place.width < 100 || place.height < 40) faults.push("has no size: " + name);
    if (drawn.length < 2) faults.push("is not drawn: " + name);
    const edge = (svg.closest("figure") || svg).getBoundingClientRect();
    for (const text of svg.querySelectorAll("text")) {
      const box = text.getBoundingClientRect();
      if (box.left < edge.left || box.right > edge.right || box.top < edge.top)
        faults.push("is cut off: " + text.textContent);
    }
  }
  return faults;
})()
"""
COLOURS = """
[...document.querySelectorAll("body, svg text, svg path, svg circle")].map(each => {
  const style = getComputedStyle(each);
  return [style.backgroundColor, style.fill, style.stroke].join();
}).join(";")
"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    if CHROMIUM is None:
        pytest.skip("not run: chromium is not installed")
    with open_chromium(CHROMIUM) as opened:
        yield opened


def find_faults(tab: Tab, path: Path, width: int = WIDE) -> list[str]:
    """What is wrong with the page that is open in a window of some pixels."""
    faults: list[str] = tab.evaluate(LOOK)
    # A telephone makes its window as wide as the page, so that it is not asked.
    if tab.evaluate("document.documentElement.scrollWidth") > width:
        faults.append("is too wide")
    faults += [f"asks for {each}" for each in tab.requests[1:]]
    faults += [f"makes the browser say {each}" for each in tab.complaints]
    assert tab.requests[0].endswith(path.name.replace(":", "%3A")), tab.requests
    return faults


def test_twelve_weeks_are_drawn_on_every_screen_and_on_paper(
    tab: Tab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = f"test-{uuid4()}"
    make_bucket(bucket)
    told = list(run_weeks(bucket, datetime.now(UTC), GRID))
    assert len(told) == 13 and "looks like minutes" in told[-1]
    report.main([bucket, "--output", str(tmp_path)])
    pages = sorted(tmp_path.glob("*.html"))
    assert len(pages) == 13
    for path in pages:
        tab.open(path, WIDE)
        assert find_faults(tab, path) == []
        light = tab.evaluate(COLOURS)
        tab.open(path, NARROW, scheme="dark")
        assert find_faults(tab, path, NARROW) == []
        assert tab.evaluate(COLOURS) != light
        assert tab.evaluate("document.querySelectorAll('svg').length") >= 5
    # On paper it is never dark.
    tab.open(tmp_path / "index.html", WIDE, scheme="dark", media="print")
    assert find_faults(tab, tmp_path / "index.html") == []
    style = "getComputedStyle(document.body)"
    assert tab.evaluate(f"{style}.backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate(f"{style}.color") == "rgb(27, 31, 36)"
    assert tab.print().startswith(b"%PDF-")


def test_the_browser_shows_what_is_wrong_with_a_page(tab: Tab, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text(
        '<svg aria-label="empty" viewBox="0 0 9 9"><text x="-99">cut</text></svg>'
        '<img src="http://127.0.0.1:9/x.png"><p style="width: 3000px">wide</p>'
        "<script>undefined.x</script>"
    )
    tab.open(path, WIDE)
    faults = "\n".join(find_faults(tab, path))
    for fault in (
        "is not drawn: empty",
        "is cut off: cut",
        "is too wide",
        "asks for http://127.0.0.1:9/x.png",
        "Cannot read properties of undefined",
    ):
        assert fault in faults
