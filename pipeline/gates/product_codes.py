"""Product codes that are another one in disguise: by case, spaces or look-alikes."""

from collections.abc import Collection, Mapping

from pipeline.orders import normal_form


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
