"""What effects share: their text, and the check of a number."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, ClassVar, Protocol

from nvlib.errors import number

if TYPE_CHECKING:
    from dataclasses import Field


class Named(Protocol):
    """A dataclass with a name: an effect."""

    __dataclass_fields__: ClassVar[dict[str, Field]]

    @property
    def name(self) -> str:
        """What it is called."""
        ...


def text(effect: Named) -> str:
    """Return an effect's canonical text: ``name:key=value,...`` with what differs from the defaults."""
    said = []
    for field in fields(effect):
        value = getattr(effect, field.name)
        if field.default is MISSING or value != field.default:
            said.append(f"{field.name}={written(value)}")
    return f"{effect.name}:{','.join(said)}" if said else effect.name


def written(value: object) -> str:
    """Return a value as it stands in an effect's text."""
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def checked(effect: Named, key: str, least: float = 0.0, most: float = math.inf, what: str = "") -> None:
    """Make a field a float, or raise InputError that names what was expected."""
    value = getattr(effect, key)
    if value is None:
        return
    object.__setattr__(effect, key, number(f"{effect.name}: {key}", value, least, most, otherwise=what))
