"""What is wrong with a request, in words for people, and never in many of them."""

import json
from collections.abc import Iterable, Set
from itertools import islice
from typing import Any

from pydantic import ValidationError

MAX_FAULTS = 10
# Of a name that a client invented.
MAX_NAME = 64
CUT = "..."
# Of a request: an object, a list and its objects.
MAX_LEVELS = 3

Fault = dict[str, Any]


def describe_faults(error: ValidationError) -> list[Fault]:
    """Name the first fields at fault, without repeating what may not be valid JSON."""
    faults = error.errors(
        include_url=False, include_context=False, include_input=False
    )
    return [
        {"loc": ["body", *map(make_presentable, fault["loc"])]}
        | {"msg": fault["msg"], "type": fault["type"]}
        for fault in faults[:MAX_FAULTS]
    ]


def describe_unknown(names: Iterable[str]) -> list[Fault]:
    """Name fields that there are not, as pydantic does."""
    msg, type = "Extra inputs are not permitted", "extra_forbidden"
    return [
        {"loc": ["body", make_presentable(name)], "msg": msg, "type": type}
        for name in names
    ]


def describe_missing_body() -> list[Fault]:
    return [{"loc": ["body"], "msg": "Field required", "type": "missing"}]


def describe_bad_json(error: json.JSONDecodeError, sentence: str) -> list[Fault]:
    """Tell where a body ceases to be JSON.

    Args:
        sentence: May have {reason}, {line} and {column}.
    """
    reason = error.msg[0].lower() + error.msg[1:]
    msg = sentence.format(reason=reason, line=error.lineno, column=error.colno)
    return [{"loc": ["body", error.pos], "msg": msg, "type": "json_invalid"}]


def leave_out(value: Any, known: Set[str], levels: int = MAX_LEVELS) -> Any:
    """Leave out all fields of no known name but the first ones.

    So thousands of them are told of in no more time than a few are.
    """
    if levels and isinstance(value, list):
        return [leave_out(each, known, levels - 1) for each in value]
    if levels and isinstance(value, dict):
        unknown = (name for name in value if name not in known)
        kept = dict.fromkeys(islice(unknown, MAX_FAULTS))
        for name in known:
            if name in value:
                kept[name] = leave_out(value[name], known, levels - 1)
        return kept
    return value


def make_presentable(location: str | int) -> str | int:
    """Make a field name that a client invented safe to repeat in JSON, and short."""
    if isinstance(location, int):
        return location
    name = ascii(location[: MAX_NAME + 1])[1:-1]
    return name[: MAX_NAME - len(CUT)] + CUT if len(name) > MAX_NAME else name
