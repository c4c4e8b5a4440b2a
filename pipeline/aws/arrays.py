"""Arrays of numbers or text as plain bytes, and back."""

from math import prod
from typing import Any

from pipeline.aws.contents import DeclaredExtension

# Kinds of numpy's types: truth, whole numbers, floats, text.
PLAIN_KINDS = "biufU"

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

    dtype = np.dtype(kind)
    if dtype.kind not in PLAIN_KINDS or prod(shape) * dtype.itemsize != len(content):
        raise ValueError("an array holds neither numbers nor text, or too few bytes")
    return np.frombuffer(content, dtype).reshape(shape).copy()[()]
