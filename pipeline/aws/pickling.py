"""Pickles that hold what our models are made of, and nothing else.

A pickle is a program. This unpickler runs the few instructions that plain data need,
and makes objects of the declared classes alone; everything else is refused before
anything of it is made. What is made is checked, part by part, as it is given its state.
"""

import io
import pickle
from collections.abc import Callable
from types import FunctionType
from typing import Any, ClassVar

from pipeline.aws.contents import (
    NAMESPACE,
    Declared,
    DeclaredClass,
    DeclaredExtension,
    declared,
    find_declared,
    locate,
)

MODEL = DeclaredClass(
    "model", "pipeline.aws.models:Model", former=("pipeline.aws.models", "Model")
)
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
PROTOCOL = 5
# More than twice a model of 5,000 products whose curves have 16 knots each.
MAX_BYTES = 16 * 2**20
# Three times what such a model needs. An instruction is one byte and can make an empty
# dictionary and keep it, so that 150 MB are made of them at most, within seconds.
MAX_INSTRUCTIONS = 1_000_000


class ModelPickler(pickle._Pickler):
    """Writes what is declared under its own name, and arrays as plain bytes."""

    # Of the base class, whose types are not told.
    save: Callable[[object], None]
    write: Callable[[bytes], None]
    memoize: Callable[[object], None]

    def reducer_override(self, obj: Any) -> Any:
        for each in declared.values():
            if isinstance(each, DeclaredExtension):
                if isinstance(obj, locate(each.location)):
                    return locate(each.rebuild), locate(each.flatten)(obj)
        return NotImplemented

    def save_global(self, obj: Any, name: str | None = None) -> None:
        persisted = name_of(obj)
        if persisted is None:
            pickle._Pickler.save_global(self, obj, name)  # type: ignore[attr-defined]
            return
        self.save(NAMESPACE)
        self.save(persisted)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)

    dispatch: ClassVar[dict[type, Callable[..., None]]] = {
        **pickle._Pickler.dispatch,
        FunctionType: save_global,
    }


def name_of(obj: object) -> str | None:
    """The name under which a class, or what rebuilds one, is persisted."""
    for each in (MODEL, *declared.values()):
        if obj is locate(getattr(each, "rebuild", each.location)):
            return each.name
    return None


class Limited(dict[int, Callable[..., None]]):
    """What instructions do, by their code, for as many of them as a model needs."""

    def __init__(self, instructions: dict[int, Callable[..., None]]) -> None:
        super().__init__(instructions)
        self.left = MAX_INSTRUCTIONS

    def __getitem__(self, code: int) -> Callable[..., None]:
        self.left -= 1
        if self.left < 0:
            raise pickle.UnpicklingError(
                f"it has more than the {MAX_INSTRUCTIONS:,} instructions of any model"
            )
        return super().__getitem__(code)


class ModelUnpickler(pickle._Unpickler):
    """Runs INSTRUCTIONS and makes what is admitted.

    Each object is given its state once, and no class is changed; references lead to
    plain values alone, what is rebuilt from bytes has no more than a pickle may, and
    keys are short, so that nothing takes for ever to make, to hash or to print.
    """

    def __init__(
        self, stream: io.BytesIO, find: Callable[[str, str], Declared | None]
    ) -> None:
        super().__init__(stream)
        self.find = find
        # Where the base class looks for what to do.
        vars(self)["dispatch"] = Limited(self.dispatch)
        self.classes: dict[type, DeclaredClass] = {}
        # Made and without state yet, the innermost last.
        self.unfinished: list[object] = []
        self.rebuilt_bytes = 0

    # Of the base class, whose types are not told.
    memo: dict[int, Any]
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]

    def find_class(self, module: str, name: str) -> Any:
        found = self.find(module, name)
        if found is None:
            raise pickle.UnpicklingError(
                f"it holds {module}.{name}, which is not declared as part of a model"
            )
        if isinstance(found, DeclaredExtension):
            return locate(found.rebuild)
        made = locate(found.location)
        self.classes[made] = found
        return made

    def load_binget(self) -> None:
        self.push_memoized(self.read(1)[0])

    def load_long_binget(self) -> None:
        self.push_memoized(int.from_bytes(self.read(4), "little"))

    def push_memoized(self, index: int) -> None:
        value = self.memo[index]
        if not isinstance(value, (str, bytes, int, float, type, FunctionType)):
            raise pickle.UnpicklingError("it holds the same object in two places")
        self.append(value)

    def load_newobj(self) -> None:
        if self.stack[-1] != () or not isinstance(self.stack[-2], type):
            raise pickle.UnpicklingError("it makes an object in another way than ours")
        run_instruction(pickle.NEWOBJ, self)
        self.unfinished.append(self.stack[-1])

    def load_reduce(self) -> None:
        if not isinstance(self.stack[-2], FunctionType):
            raise pickle.UnpicklingError("it makes an object in another way than ours")
        if type(self.stack[-1]) is not tuple:
            raise pickle.UnpicklingError("it makes an object in another way than ours")
        # Many could be made of the same bytes.
        self.rebuilt_bytes += sum(
            len(each) if isinstance(each, bytes) else 1 for each in self.stack[-1]
        )
        if self.rebuilt_bytes > MAX_BYTES:
            raise pickle.UnpicklingError("it makes more of its bytes than it has")
        run_instruction(pickle.REDUCE, self)

    def load_build(self) -> None:
        state, made = self.stack[-1], self.stack[-2]
        innermost = self.unfinished.pop() if self.unfinished else None
        if type(state) is not dict or made is not innermost:
            raise pickle.UnpicklingError("it builds an object in another way than ours")
        check_state(self.classes[type(made)], state)
        run_instruction(pickle.BUILD, self)

    def load_stop(self) -> None:
        if self.unfinished:
            raise pickle.UnpicklingError("it holds an object without its state")
        run_instruction(pickle.STOP, self)

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
        code: instruction
        for code, instruction in pickle._Unpickler.dispatch.items()
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


def run_instruction(instruction: bytes, unpickler: ModelUnpickler) -> None:
    """Do what Python's own unpickler does for an instruction."""
    do: Callable[..., None] = pickle._Unpickler.dispatch[instruction[0]]
    do(unpickler)


def check_state(declared_class: DeclaredClass, state: dict[Any, Any]) -> None:
    """Check what an object is to be given; only a Model does so itself.

    Raises:
        UnpicklingError: It has attributes of other types than declared.
        Exception: Whatever the declared check raises for others than fitting makes.
    """
    if declared_class is MODEL:
        return
    for name, value in state.items():
        found, expected = type(value).__name__, declared_class.attributes.get(name)
        if found != expected and (expected is not None or found not in PLAIN):
            raise pickle.UnpicklingError(
                f"its {declared_class.name} has a {found} for its {name}"
            )
    if declared_class.check is not None:
        locate(declared_class.check)(state)


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
    return unpickle(content, find_model)


def unpickle_estimator(content: bytes) -> object:
    """Unpickle an estimator that is made of what is declared, and nothing else.

    Raises:
        UnpicklingError: It is no pickle, or one that no declared estimator needs.
    """
    return unpickle(content, find_declared)


def find_model(module: str, name: str) -> DeclaredClass | None:
    return MODEL if (module, name) in {(NAMESPACE, MODEL.name), MODEL.former} else None


def unpickle(
    content: bytes, find: Callable[[str, str], Declared | None]
) -> object:
    """Unpickle what is made of plain values and of what is found.

    Raises:
        UnpicklingError: It is no pickle, or of something else.
    """
    if len(content) > MAX_BYTES:
        raise pickle.UnpicklingError(
            f"it has {len(content):,} bytes, more than the {MAX_BYTES:,} of any model"
        )
    stream = io.BytesIO(content)
    try:
        loaded = ModelUnpickler(stream, find).load()
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
