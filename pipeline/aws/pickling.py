"""Pickles that hold what our models are made of, and nothing else.

A pickle is a program. This unpickler runs the few instructions that plain data need,
and makes objects of the classes listed here alone; everything else is refused before
anything of it is made. What is made is checked, part by part, as it is given its state.
"""

import io
import pickle
from collections.abc import Callable
from importlib.metadata import version
from types import FunctionType
from typing import Any, ClassVar

from pipeline.piecewise_linear import PiecewiseLinear

# The estimator is a pickle within that of its model, and read when it is needed.
MODEL = {("pipeline.aws.models", "Model")}
ESTIMATOR = {
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
PLAIN = {"NoneType", "bool", "int", "float", "str"}
# What an estimator has beside plain parameters.
PARTS = {
    "MonotoneTreeRegressor": {
        "estimator": "DecisionTreeRegressor",
        "estimator_": "DecisionTreeRegressor",
        "curves_": "dict",
    },
    "DecisionTreeRegressor": {"tree_": "Tree"},
    "PiecewiseLinear": {"orders_placed": "list", "hours": "list"},
}
PROTOCOL = 5
# Fifty times a week's model, eight times one of 100,000 orders. Each byte can become an
# empty dictionary, so that 150 MB are made of them at most.
MAX_BYTES = 2 * 2**20


class ModelPickler(pickle.Pickler):
    """Writes scikit-learn's tree, which is an extension type, as plain bytes."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj).__module__ != "sklearn.tree._tree":
            return NotImplemented
        from pipeline.tree_arrays import flatten_tree, rebuild_tree

        return rebuild_tree, flatten_tree(obj)


class ModelUnpickler(pickle._Unpickler):
    """Runs INSTRUCTIONS and makes what is admitted.

    Each object is given its state once, and no class is changed; there is one tree at
    most; references lead to plain values alone and keys are short, so that nothing
    takes for ever to make, to hash or to print.
    """

    def __init__(self, stream: io.BytesIO, admitted: set[tuple[str, str]]) -> None:
        super().__init__(stream)
        self.admitted = admitted
        # Made and without state yet, the innermost last.
        self.unfinished: list[object] = []
        self.has_tree = False

    # Of the base class, whose types are not told.
    memo: dict[int, Any]
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.admitted:
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
        self.unfinished.append(self.stack[-1])

    def load_reduce(self) -> None:
        if not isinstance(self.stack[-2], FunctionType):
            raise pickle.UnpicklingError("it makes an object in another way than ours")
        if self.has_tree:
            raise pickle.UnpicklingError("it holds more than one tree")
        self.has_tree = True
        run(pickle.REDUCE, self)

    def load_build(self) -> None:
        state, made = self.stack[-1], self.stack[-2]
        innermost = self.unfinished.pop() if self.unfinished else None
        if type(state) is not dict or made is not innermost:
            raise pickle.UnpicklingError("it builds an object in another way than ours")
        check_state(type(made).__name__, state)
        run(pickle.BUILD, self)

    def load_stop(self) -> None:
        if self.unfinished:
            raise pickle.UnpicklingError("it holds an object without its state")
        run(pickle.STOP, self)

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
        pickle.STOP[0]: load_stop,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }


def run(instruction: bytes, unpickler: ModelUnpickler) -> None:
    """Do what Python's own unpickler does for an instruction."""
    do: Callable[..., None] = pickle._Unpickler.dispatch[instruction[0]]
    do(unpickler)


def check_state(kind: str, state: dict[Any, Any]) -> None:
    """Check what an object is to be given; only a Model does so itself.

    Raises:
        UnpicklingError: It is not what fitting gives.
        TypeError, ValueError: Nor are they the knots of a curve.
    """
    if kind == "Model":
        return
    for name, value in state.items():
        found, expected = type(value).__name__, PARTS[kind].get(name)
        if found != expected and (expected is not None or found not in PLAIN):
            raise pickle.UnpicklingError(f"its {kind} has a {found} for its {name}")
    match kind:
        case "PiecewiseLinear":
            PiecewiseLinear(**state)
        case "MonotoneTreeRegressor":
            curves = state.get("curves_", {}).values()
            if not all(isinstance(curve, PiecewiseLinear) for curve in curves):
                raise pickle.UnpicklingError("it holds a curve that is none")
        case "DecisionTreeRegressor":
            # Scikit-learn would warn in the words of the pickle.
            if state.get("_sklearn_version") != version("scikit-learn"):
                raise pickle.UnpicklingError("its tree is of another scikit-learn")
            # It would read beyond rows that have fewer features.
            tree = state.get("tree_")
            if tree and tree.n_features != state.get("n_features_in_"):
                raise pickle.UnpicklingError(
                    "its tree has another number of features than it says"
                )


def pickle_model(model: object) -> bytes:
    """Pickle a model or an estimator.

    Raises:
        Exception: Whatever pickle raises for what it cannot pickle.
    """
    content = io.BytesIO()
    ModelPickler(content, PROTOCOL).dump(model)
    return content.getvalue()


def unpickle_model(content: bytes) -> object:
    """Unpickle a model, and nothing else, without the estimator within it.

    Raises:
        UnpicklingError: It is no pickle, or one that our models do not need.
    """
    return unpickle(content, MODEL)


def unpickle_estimator(content: bytes) -> object:
    """Unpickle an estimator, and nothing else.

    Raises:
        UnpicklingError: It is no pickle, or one that our estimators do not need.
    """
    return unpickle(content, ESTIMATOR)


def unpickle(content: bytes, admitted: set[tuple[str, str]]) -> object:
    """Unpickle what is made of plain values and of what is admitted.

    Raises:
        UnpicklingError: It is no pickle, or of something else.
    """
    if len(content) > MAX_BYTES:
        raise pickle.UnpicklingError(
            f"it has {len(content):,} bytes, more than the {MAX_BYTES:,} of any model"
        )
    stream = io.BytesIO(content)
    try:
        loaded = ModelUnpickler(stream, admitted).load()
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
