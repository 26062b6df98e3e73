"""Fields of records that are given in one form and held in another: a device's name, and the device.

`Given[Held, Also]` is the annotation of a field that takes a Held or an Also, and that `__post_init__` makes a Held:
who makes a record may write either, who reads one finds a Held. A type checker sees a descriptor; at run time the
annotation is the union of both, and the field an ordinary one.

>>> from nvlib import fields
>>> fields.Given[int, str] == int | str
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union

Held = TypeVar("Held")
Also = TypeVar("Also")

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
