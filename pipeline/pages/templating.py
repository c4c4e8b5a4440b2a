"""Pages from templates: HTML files that need nothing else, and make no request."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
ENCODING = "utf-8"


@cache
def environment() -> Environment:
    """The templates' world: what is put into a page is text, but for our pictures."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES, ENCODING),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "day": tell_day,
        "hour": tell_hour,
        "moment": tell_moment,
        "sized": tell_size,
    }
    return made


def render(template: str, **contents: Any) -> bytes:
    """Make a page."""
    style = Markup((TEMPLATES / "style.css").read_text(ENCODING))
    page = environment().get_template(template).render(style=style, **contents)
    # Half a character can stand in a name on S3, and not in a page.
    return page.encode(ENCODING, "replace")


def tell_day(moment: datetime) -> str:
    return f"{moment:%a} {moment.day} {moment:%b %Y}"


def tell_hour(moment: datetime) -> str:
    """A time in UTC, without its year."""
    moment = moment.astimezone(UTC)
    return f"{moment:%a} {moment.day} {moment:%b}, {moment:%H:%M}"


def tell_moment(moment: datetime) -> str:
    """A time in UTC, to the minute."""
    moment = moment.astimezone(UTC)
    return f"{tell_day(moment)}, {moment:%H:%M} UTC"


def tell_size(count: int | None) -> str:
    return "?" if count is None else f"{count / 2**20:,.0f} MiB"


def read_source() -> bytes:
    """All that pages are made with: where it changes, they have to be made again."""
    folder = Path(__file__).parent
    files = sorted([*folder.glob("*.py"), *TEMPLATES.iterdir()])
    return b"".join(file.read_bytes() for file in files)
