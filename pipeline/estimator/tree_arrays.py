"""A fitted tree as plain bytes, and back, if they are those of a tree."""

from typing import Any

import numpy as np
from sklearn.tree._tree import NODE_DTYPE, Tree

LEAF = -1


def flatten_tree(tree: Any) -> tuple[int, int, bytes, bytes, int]:
    """Take a `sklearn.tree._tree.Tree` of one output apart.

    Returns:
        Number of features, depth, nodes, values, and number of classes: 1 for a
        regression tree.
    """
    state = tree.__getstate__()
    return (
        int(tree.n_features),
        int(state["max_depth"]),
        state["nodes"].tobytes(),
        state["values"].tobytes(),
        int(tree.max_n_classes),
    )


def rebuild_tree(
    n_features: int, max_depth: int, nodes: bytes, values: bytes, n_classes: int = 1
) -> Any:
    """Put a tree together again, having checked its arrays.

    Scikit-learn walks a tree without looking where it steps: one whose arrays point
    outside themselves would read foreign memory or crash the process.

    Raises:
        ValueError: These are not the arrays of a tree.
    """
    node_array = np.frombuffer(nodes, NODE_DTYPE).copy()
    count = len(node_array)
    value_array = np.frombuffer(values, np.float64).reshape(count, 1, n_classes)
    value_array = value_array.copy()
    left, right = node_array["left_child"], node_array["right_child"]
    index = np.arange(count)
    inner = left != LEAF
    children = np.concatenate([left[inner], right[inner]])
    grown_from_root = count > 0 and np.array_equal(np.sort(children), index[1:])
    feature = node_array["feature"][inner]
    if not (
        n_classes == value_array.shape[2]
        and grown_from_root
        and np.all(right[~inner] == LEAF)
        and np.all(left[inner] > index[inner])
        and np.all(right[inner] > index[inner])
        and np.all((feature >= 0) & (feature < n_features))
        and np.all(np.isfinite(node_array["threshold"][inner]))
        and np.all(np.isfinite(value_array))
        and max_depth == measure_depth(left, right)
    ):
        raise ValueError("the arrays of its tree point outside themselves")
    tree = Tree(n_features, np.array([n_classes], dtype=np.intp), 1)
    tree.__setstate__(
        {
            "max_depth": max_depth,
            "node_count": count,
            "nodes": node_array,
            "values": value_array,
        }
    )
    return tree


def measure_depth(left: Any, right: Any) -> int:
    """Depth of a tree whose children come after their parents."""
    depth = [0] * len(left)
    for node, children in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        for child in children:
            if child != LEAF:
                depth[child] = depth[node] + 1
    return max(depth)
