"""Product codes: what one may be, and when two of them look alike.

Which codes there are is told by the deliveries, and by the models made of them.
"""

from typing import TypeGuard
from unicodedata import category, normalize

MAX_LENGTH = 64

# In lower case: letters of other scripts that look like Latin ones (Unicode TR39), and
# those that look like digits.
LOOK_ALIKES = str.maketrans(
    "авеікмнорстухѕјαβεικμνορτυχoil|",
    "abe1kmh0pctyxsjabe1kmn0ptyx0111",
)
INVISIBLE = {"Cc", "Cf", "Zl", "Zp", "Zs"}


def is_product_code(code: object) -> TypeGuard[str]:
    """Whether it can be one: a short text that can stand in logs and answers."""
    return isinstance(code, str) and 0 < len(code) <= MAX_LENGTH and code.isprintable()


def normal_form(code: str) -> str:
    """What is left of a code without case, spaces and the likeness of letters."""
    compatible = normalize("NFKC", code).casefold()
    visible = (each for each in compatible if category(each) not in INVISIBLE)
    return "".join(visible).translate(LOOK_ALIKES)
