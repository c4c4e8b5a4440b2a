"""Pickles that hold what our models are made of, and nothing else.

A pickle is a program. This unpickler runs the few instructions that plain data need,
and makes objects of the classes listed here alone; everything else is refused before
anything of it is made.
"""

import io
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

ADMITTED = {
    ("pipeline.aws.models", "Model"),
    ("pipeline.monotone_tree", "MonotoneTreeRegressor"),
    ("pipeline.piecewise_linear", "PiecewiseLinear"),
    ("pipeline.tree_arrays", "rebuild_tree"),
    ("sklearn.tree._classes", "DecisionTreeRegressor"),
}
INSTRUCTIONS = {
    *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.MEMOIZE),
    *(pickle.BINGET, pickle.LONG_BINGET, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE),
    *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT),
    *(pickle.SHORT_BINUNICODE, pickle.BINUNICODE, pickle.SHORT_BINBYTES),
    *(pickle.BINBYTES, pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS),
    *(pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_TUPLE),
    *(pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
    *(pickle.STACK_GLOBAL, pickle.NEWOBJ, pickle.REDUCE, pickle.BUILD),
}
PROTOCOL = 5
# A hundred times a week's model.
MAX_BYTES = 16 * 2**20


class ModelPickler(pickle.Pickler):
    """Writes scikit-learn's tree, which is an extension type, as plain bytes."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj).__module__ != "sklearn.tree._tree":
            return NotImplemented
        from pipeline.tree_arrays import flatten_tree, rebuild_tree

        return rebuild_tree, flatten_tree(obj)


class ModelUnpickler(pickle._Unpickler):
    """Runs INSTRUCTIONS and makes what is ADMITTED."""

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        code: run
        for code, run in pickle._Unpickler.dispatch.items()
        if bytes([code]) in INSTRUCTIONS
    }
    # Of the base class, whose types are not told.
    memo: dict[int, Any]
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(
                f"it holds {module}.{name}, which no model is made of"
            )
        return super().find_class(module, name)

    def get(self, index: int) -> None:
        # Containers that hold each other over and over take for ever to print or hash.
        if isinstance(self.memo[index], (dict, list, tuple)):
            raise pickle.UnpicklingError("it holds a container in two places")
        self.append(self.memo[index])

    def load_binget(self) -> None:
        self.get(self.read(1)[0])

    dispatch[pickle.BINGET[0]] = load_binget

    def load_long_binget(self) -> None:
        self.get(int.from_bytes(self.read(4), "little"))

    dispatch[pickle.LONG_BINGET[0]] = load_long_binget

    def load_build(self) -> None:
        build: Callable[..., None] = pickle._Unpickler.dispatch[pickle.BUILD[0]]
        build(self)
        estimator = self.stack[-1]
        # Its tree would read beyond rows that have fewer features.
        if hasattr(estimator, "tree_"):
            if estimator.tree_.n_features != estimator.n_features_in_:
                raise pickle.UnpicklingError("its tree has another number of features")

    dispatch[pickle.BUILD[0]] = load_build


def pickle_model(model: object) -> bytes:
    """Pickle a model or an estimator.

    Raises:
        Exception: Whatever pickle raises for what it cannot pickle.
    """
    content = io.BytesIO()
    ModelPickler(content, PROTOCOL).dump(model)
    return content.getvalue()


def unpickle_model(content: bytes) -> object:
    """Unpickle a model or an estimator, and nothing else.

    Raises:
        UnpicklingError: It is no pickle, or one that our models do not need.
    """
    if len(content) > MAX_BYTES:
        raise pickle.UnpicklingError(
            f"it has {len(content):,} bytes, more than the {MAX_BYTES:,} of any model"
        )
    stream = io.BytesIO(content)
    try:
        loaded = ModelUnpickler(stream).load()
    except pickle.UnpicklingError:
        raise
    except KeyError as error:
        raise pickle.UnpicklingError(
            f"it holds an instruction or a reference ({error}) that no model needs"
        ) from error
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise pickle.UnpicklingError(reason) from error
    if stream.read(1):
        raise pickle.UnpicklingError("something follows after its end")
    return loaded
