"""The product code that was likely meant by one that is unknown."""

from collections.abc import Collection, Iterator

from pipeline.orders import is_product_code, normal_form


class NearestCode:
    """Finds it among thousands, in some microseconds: a typing error must cost nothing.

    Two codes are near if they look alike, or come to look alike where each loses one
    letter at most: one letter is another, is missing, is too many, or has moved.
    """

    def __init__(self, codes: Collection[str]) -> None:
        self.codes: dict[str, str] = {}
        # What is alike to begin with goes first.
        for code in codes:
            self.codes.setdefault(normal_form(code), code)
        for code in codes:
            for form in forms_of(code):
                self.codes.setdefault(form, code)

    def find(self, unknown: object) -> str | None:
        """Find the nearest code; None if none is near."""
        if not is_product_code(unknown):
            return None
        return next(filter(None, map(self.codes.get, forms_of(unknown))), None)


def forms_of(code: str) -> Iterator[str]:
    """What a code looks like, and what it would without each one of its letters."""
    form = normal_form(code)
    yield form
    for place in range(len(form)):
        yield form[:place] + form[place + 1 :]
