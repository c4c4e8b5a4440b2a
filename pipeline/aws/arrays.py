"""Arrays of numbers or text as plain bytes, and back."""

import re
from math import prod
from typing import Any

from pipeline.aws.contents import DeclaredExtension

# Numpy's types of truth, whole numbers, floats and text, with their size. It would read
# others as long as they are.
PLAIN_TYPE = re.compile(r"[<>|][biufU]\d{1,9}")
# As many as numpy has. The product of a million sizes would take minutes.
MAX_DIMENSIONS = 32

ARRAYS = [
    DeclaredExtension(
        name, f"numpy:{kind}", f"{__name__}:flatten_array", f"{__name__}:rebuild_array"
    )
    for name, kind in (("array", "ndarray"), ("number", "generic"))
]


def flatten_array(array: Any) -> tuple[str, tuple[int, ...], bytes]:
    """Take an array of numpy, or one number of its, apart.

    Returns:
        Type, shape and bytes of the elements.
    """
    return array.dtype.str, array.shape, array.tobytes()


def rebuild_array(kind: str, shape: tuple[int, ...], content: bytes) -> Any:
    """Put an array together again, or a number of numpy's if the shape is ().

    Raises:
        ValueError: The bytes are not those of so many numbers or texts.
    """
    import numpy as np

    if not PLAIN_TYPE.fullmatch(kind):
        raise ValueError("an array holds neither numbers nor text")
    dtype = np.dtype(kind)
    if (
        len(shape) > MAX_DIMENSIONS
        or any(size < 0 for size in shape)
        or prod(shape) * dtype.itemsize != len(content)
    ):
        raise ValueError("an array has another size than its bytes")
    return np.frombuffer(content, dtype).reshape(shape).copy()[()]
