"""What a publication looks like in Redis: which keys it has, and what they hold.

    time-to-dispatch:current                  name of the current publication
    time-to-dispatch:NAME:about               which model, when, which products; JSON
    time-to-dispatch:NAME:model               the signed model as it lies in S3; a hash
    time-to-dispatch:NAME:estimates:PRODUCT   hours, by the number of orders; a list
"""

import re
from datetime import UTC, datetime
from secrets import token_hex

PREFIX = "time-to-dispatch"
CURRENT = f"{PREFIX}:current"
NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}")
# Of the name of a publication.
NAME_BYTES = 32

CONTENT, PLACE, SAID, PASSED_OVER = "content", "place", "metadata", "passed_over"


def make_name(seconds: int, microseconds: int) -> str:
    """Name a publication after the moment at which it was begun, by Redis' clock."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y%m%dT%H%M%S}.{microseconds:06d}Z-{token_hex(4)}"


def read_moment(name: str) -> datetime:
    """When a publication was begun."""
    return datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%S.%f%z")


def about_key(name: str) -> str:
    return f"{PREFIX}:{name}:about"


def model_key(name: str) -> str:
    return f"{PREFIX}:{name}:model"


def estimates_key(name: str, product_code: str) -> str:
    return f"{PREFIX}:{name}:estimates:{product_code}"


def find_name(key: bytes) -> str:
    """The name of the publication that a key belongs to; "" if it is none of ours."""
    parts = key.decode(errors="replace").split(":", 2)
    is_ours = len(parts) == 3 and parts[0] == PREFIX and NAME.fullmatch(parts[1])
    return parts[1] if is_ours else ""
