"""The examples in the docstrings."""

import doctest
from types import ModuleType

import pytest

from pipeline.search import absolute_deviations, gains


@pytest.mark.parametrize("module", [absolute_deviations, gains])
def test_examples_hold(module: ModuleType) -> None:
    result = doctest.testmod(module)

    assert result.attempted and not result.failed
