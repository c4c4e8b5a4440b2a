"""Pickles that hold what our models are made of, and nothing else.

A pickle is a program. This unpickler runs the few instructions that plain data need,
and makes objects of the classes listed here alone; everything else is refused before
anything of it is made.
"""

import io
import pickle
from collections.abc import Callable
from types import FunctionType
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
    *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.BINFLOAT),
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
    """Runs INSTRUCTIONS and makes what is ADMITTED.

    Nothing but plain instances can be built up, so that no admitted class is changed;
    references lead to plain values alone and keys are short, so that nothing takes for
    ever to hash or to print.
    """

    # Of the base class, whose types are not told.
    memo: dict[int, Any]
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(
                f"it holds {module}.{name}, which no model is made of"
            )
        return super().find_class(module, name)

    def load_binget(self) -> None:
        self.get(self.read(1)[0])

    def load_long_binget(self) -> None:
        self.get(int.from_bytes(self.read(4), "little"))

    def get(self, index: int) -> None:
        value = self.memo[index]
        if not isinstance(value, (str, bytes, int, float, type, FunctionType)):
            raise pickle.UnpicklingError("it holds the same object in two places")
        self.append(value)

    def load_newobj(self) -> None:
        if self.stack[-1] != () or not isinstance(self.stack[-2], type):
            raise pickle.UnpicklingError("it makes an object in another way than ours")
        run(pickle.NEWOBJ, self)

    def load_reduce(self) -> None:
        if not isinstance(self.stack[-2], FunctionType):
            raise pickle.UnpicklingError("it makes an object in another way than ours")
        run(pickle.REDUCE, self)

    def load_build(self) -> None:
        state, built = self.stack[-1], self.stack[-2]
        if type(state) is not dict or isinstance(built, (type, FunctionType)):
            raise pickle.UnpicklingError("it builds an object in another way than ours")
        run(pickle.BUILD, self)
        # Its tree would read beyond rows that have fewer features.
        if hasattr(built, "tree_") and built.tree_.n_features != built.n_features_in_:
            raise pickle.UnpicklingError("its tree has another number of features")

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def load_setitems(self) -> None:
        self.set_items(self.pop_mark())

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or not {*map(type, items[::2])} <= {str, int}:
            raise pickle.UnpicklingError("it holds a key that is no text or number")
        target.update(zip(items[::2], items[1::2], strict=True))

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        code: run
        for code, run in pickle._Unpickler.dispatch.items()
        if bytes([code]) in INSTRUCTIONS
    } | {
        pickle.BINGET[0]: load_binget,
        pickle.LONG_BINGET[0]: load_long_binget,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }


def run(instruction: bytes, unpickler: ModelUnpickler) -> None:
    """Do what Python's own unpickler does for an instruction."""
    do: Callable[..., None] = pickle._Unpickler.dispatch[instruction[0]]
    do(unpickler)


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
