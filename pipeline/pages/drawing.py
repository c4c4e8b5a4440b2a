"""Pictures as SVG: elements, so that anyone's words in them are text and no markup."""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

Point = tuple[float, float]


class Drawing:
    """An SVG picture within a page, whose stylesheet gives the colours."""

    def __init__(self, width: float, height: float, label: str) -> None:
        """Begin a picture.

        Args:
            width, height: Of its coordinates; it is scaled to its place.
            label: What it shows, for who cannot see it.
        """
        self.root = Element(
            "svg",
            {
                "viewBox": f"0 0 {number(width)} {number(height)}",
                "role": "img",
                "aria-label": label,
            },
        )

    def add(
        self, tag: str, style: str, text: str = "", tip: str = "", **sizes: float | str
    ) -> None:
        """Add an element.

        Args:
            style: Its class in the stylesheet.
            tip: Shown where a mouse rests on it.
            sizes: Its other attributes.
        """
        attributes = {
            name.replace("_", "-"): value if isinstance(value, str) else number(value)
            for name, value in sizes.items()
        }
        element = SubElement(self.root, tag, {"class": style, **attributes})
        element.text = text or None
        if tip:
            SubElement(element, "title").text = tip

    def add_line(self, style: str, points: Iterable[Point], tip: str = "") -> None:
        """Add a line through points."""
        places = [f"{number(x)},{number(y)}" for x, y in points]
        if places:
            self.add("path", style, tip=tip, d="M" + "L".join(places))

    def add_area(self, style: str, points: Iterable[Point]) -> None:
        """Fill what points surround."""
        places = [f"{number(x)},{number(y)}" for x, y in points]
        if places:
            self.add("path", style, d="M" + "L".join(places) + "Z")

    def add_dots(self, style: str, points: Iterable[Point]) -> None:
        """Add dots, thousands of them in a few bytes each: ends of lines of no length,
        which are round."""
        places = [f"M{number(x)},{number(y)}h0" for x, y in points]
        if places:
            self.add("path", style, d="".join(places))

    def finish(self) -> Markup:
        return Markup(tostring(self.root, encoding="unicode"))


def number(value: float) -> str:
    """A coordinate, to a tenth: less than an eye sees."""
    return f"{value:.1f}".removesuffix(".0")
