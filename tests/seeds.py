"""Seeds of generated weeks: few for a quick answer, more where all is proven."""

import pytest


def of_seeds(few: int, most: int) -> pytest.MarkDecorator:
    """Give a test `seeds`: the first few, and apart from them the rest of `most`."""
    return pytest.mark.parametrize(
        "seeds",
        [
            pytest.param(range(few), id=f"{few} seeds"),
            pytest.param(
                range(few, most),
                id=f"{most - few} more seeds",
                marks=pytest.mark.thorough,
            ),
        ],
    )
