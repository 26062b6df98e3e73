"""Fields of records that are given in one form and held in another: a device's name, and the device.

`Given[Held, Also]` is the annotation of a field that takes a Held or an Also, and that `__post_init__` makes a Held:
who makes a record may write either, who reads one finds a Held. A type checker sees a descriptor; at run time the
annotation is the union of both, and the field an ordinary one.

>>> from nvlib import fields
>>> fields.Given[int, str] == int | str
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union

import numpy as np

from nvlib.errors import of_kind, unknown

Held = TypeVar("Held")
Also = TypeVar("Also")
T = TypeVar("T")

if TYPE_CHECKING:

    class Given(Generic[Held, Also]):
        """A field that takes a Held or an Also, and holds a Held."""

        def __get__(self, record: object, owner: type) -> Held:
            """Return what the field holds."""

        def __set__(self, record: object, value: Held | Also) -> None:
            """Take what is given."""

else:
    Given = Union


def default(value: Any) -> Any:
    """Return the default of a `Given` field, which may be of either form."""
    return value


_KINDS: dict[str, Any] = {"str": str, "int": int, "float": float}


def as_field(record: type[Any], name: str, value: Any) -> Any:
    """Return a plain value as a dataclass' field of a plain kind holds it (`of_kind`); of another kind, as it is.

    Raises:
        InputError: for a value of a wrong kind.
    """
    said = next(f.type for f in fields(record) if f.name == name)
    kinds = (said if isinstance(said, str) else getattr(said, "__name__", str(said))).split(" | ")
    if (value is None and "None" in kinds) or kinds[0] not in _KINDS or set(kinds) - {kinds[0], "None"}:
        return value
    return of_kind(name, value, _KINDS[kinds[0]])


def made(record: type[T], what: str, given: Mapping[str, Any]) -> T:
    """Return a dataclass of parameters by name; what is given is held as it is, NumPy's numbers as plain ones.

    Args:
        record: the class.
        what: what it is, for the message: the name of a method.
        given: the parameters.

    Raises:
        InputError: for a parameter that it does not have, or a value of a wrong kind.
    """
    known = [f.name for f in fields(record)] if is_dataclass(record) else list(given)
    for name, value in given.items():
        if name not in known:
            raise unknown(f"parameter of {what}", name, known)
        if is_dataclass(record):
            as_field(record, name, value)
    return record(**{k: v.item() if isinstance(v, np.generic) else v for k, v in given.items()})
