"""What a model may be made of, beside plain values and arrays of numbers or text.

Storage knows no estimator. A pipeline declares the classes of its own, each under a
name that is persisted and stays the same wherever the class may live later on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

# The module of every name that is persisted: no module that can be imported.
NAMESPACE = "persisted"


@dataclass(frozen=True)
class DeclaredClass:
    """A class, of which a model may hold instances.

    Attributes:
        name: What it is called in a pickle, for good.
        location: Where it lives today, as `module:name`; imported when it is needed.
        attributes: Names of types of those attributes that hold no plain value.
        check: Where a function lives that takes the attributes of an instance before it
            gets them, and raises ValueError unless fitting could have made them.
        former: Module and name under which older models hold it.
    """

    name: str
    location: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    check: str | None = None
    former: tuple[str, str] | None = None


@dataclass(frozen=True)
class DeclaredExtension:
    """A class of an extension module, which is persisted as plain values.

    Attributes:
        name, former: As for a `DeclaredClass`; they stand for the function that makes
            an instance of the values.
        location: Where the class lives.
        flatten: Where a function lives that makes a tuple of plain values of an
            instance.
        rebuild: Where the function lives that makes an instance of these values, and
            raises ValueError unless `flatten` could have made them.
    """

    name: str
    location: str
    flatten: str
    rebuild: str
    former: tuple[str, str] | None = None


Declared = DeclaredClass | DeclaredExtension

declared: dict[str, Declared] = {}


def declare(*contents: Declared) -> None:
    """Let models hold what is declared; to declare the same again changes nothing.

    Raises:
        ValueError: A name is taken.
    """
    for each in contents:
        if declared.setdefault(each.name, each) != each:
            raise ValueError(
                f"{each.name} is declared already, as {declared[each.name].location}; "
                "choose another name."
            )


def find_declared(module: str, name: str) -> Declared | None:
    """Find what a pickle refers to."""
    if module == NAMESPACE:
        return declared.get(name)
    named_by_module = (one for one in declared.values() if one.former == (module, name))
    return next(named_by_module, None)


# Asked for each object of a model that is pickled, thousands of times.
@cache
def locate(location: str) -> Any:
    """Import what lives at `module:name`."""
    module, _, name = location.partition(":")
    return getattr(import_module(module), name)
