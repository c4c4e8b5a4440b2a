"""Product codes that are another one in disguise: by case, spaces or look-alikes."""

from collections.abc import Collection, Mapping
from unicodedata import category, normalize

MAX_LENGTH = 64

# In lower case: letters of other scripts that look like Latin ones (Unicode TR39), and
# those that look like digits.
LOOK_ALIKES = str.maketrans(
    "авеікмнорстухѕјαβεικμνορτυχoil|",
    "abe1kmh0pctyxsjabe1kmn0ptyx0111",
)
INVISIBLE = {"Cc", "Cf", "Zl", "Zp", "Zs"}


def normal_form(code: str) -> str:
    """What is left of a code without case, spaces and the likeness of letters."""
    compatible = normalize("NFKC", code).casefold()
    visible = (each for each in compatible if category(each) not in INVISIBLE)
    return "".join(visible).translate(LOOK_ALIKES)


def find_disguised(
    counts: Mapping[str, int], known: Collection[str]
) -> dict[str, str]:
    """Find codes that are likely meant to be another one.

    Args:
        counts: The delivered codes, with the number of rows that have each.
        known: The codes of the model in service. They are never taken for another.

    Returns:
        For each such code the likely meaning: a known code, else the more frequent one.
    """
    meant = {normal_form(code): code for code in sorted(known, reverse=True)}
    disguised = {}
    unknown = set(counts) - set(known)
    for code in sorted(unknown, key=lambda code: (-counts[code], code)):
        other = meant.setdefault(normal_form(code), code)
        if other != code:
            disguised[code] = other
    return disguised
