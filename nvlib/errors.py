"""Bad input is answered in one line: the value, what was expected, what to do.

>>> from nvlib import errors
>>> print(errors.unknown("device", "rrma", ["rram", "pcm"]))
unknown device 'rrma' (did you mean 'rram'?); expected one of: pcm, rram
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable
from numbers import Real
from typing import Any, TypeGuard


class InputError(ValueError):
    """Input from a user that cannot be used; the message is one line that says what to do.

    Example:
        >>> import nvlib
        >>> nvlib.devices.get("rrma")
        Traceback (most recent call last):
            ...
        nvlib.errors.InputError: unknown device 'rrma' (did you mean 'rram'?); expected one of: ...
    """


class Damaged(UserWarning):
    """A damaged file of the store was found and set aside."""


def unknown(kind: str, name: object, known: Iterable[str]) -> InputError:
    """Return the error for a name that is not in a registry.

    Args:
        kind: what the name should denote, e.g. ``"device"``.
        name: what was given.
        known: the names that exist; all are listed, a near match is proposed.
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    expected = f"expected one of: {', '.join(known)}" if known else "expected none: there are none; leave it out"
    return InputError(f"unknown {kind} {name!r}{hint}; {expected}")


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite real number of any kind (Python's, numpy's), and no bool."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:  # a whole number too large to be a float
        return False


def instance(name: str, value: object, kind: Any, expected: str) -> Any:
    """Return a value that is of a kind; InputError, with what was expected, for anything else."""
    if not isinstance(value, kind):
        raise InputError(f"{name}={value!r} is not usable; expected {expected}")
    return value


def of_kind(name: str, value: Any, kind: type[str] | type[int] | type[float]) -> Any:
    """Return a plain value of a kind: a whole number is a number too, one of NumPy as well, and True is none.

    Raises:
        InputError: for anything else, NaN among it.
    """
    value = value.item() if type(value).__module__ == "numpy" and not getattr(value, "shape", ()) else value
    value = float(value) if kind is float and isinstance(value, int) and not isinstance(value, bool) else value
    words = {str: "a text", int: "a whole number", float: "a number"}
    if isinstance(value, bool) or (kind is float and not is_number(value)):
        raise InputError(f"{name}={value!r} is not usable; expected {words[kind]}")
    return instance(name, value, kind, words[kind])


def whole(name: str, value: Any, least: int, most: int | None = None, otherwise: str = "") -> int:
    """Return a whole number of any kind (Python's, numpy's) as a plain one.

    Args:
        name: what it is.
        value: what was given.
        least: the smallest that is usable.
        most: the largest.
        otherwise: what else is usable, for the message: ``", or None"``.

    Raises:
        InputError: for anything else, True and 1.0 among it.
    """
    try:
        number = None if isinstance(value, bool) or type(value).__name__ == "bool" else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name}={value!r} is not usable; expected a whole number {limits}{otherwise}")
    return number


def whole_field(record: object, name: str, least: int, most: int | None = None, optional: bool = False) -> None:
    """Make a field of a frozen dataclass a plain whole number (`whole`); None stays None where that is ``optional``.

    Raises:
        InputError: for anything else.
    """
    value = getattr(record, name)
    if not (optional and value is None):
        object.__setattr__(record, name, whole(name, value, least, most, ", or None" if optional else ""))


def number(
    name: str, value: object, least: float = 0.0, most: float = math.inf, *, above: bool = False, otherwise: str = ""
) -> float:
    """Return a finite number of any kind as a plain float.

    Args:
        name: what it is.
        value: what was given.
        least: the smallest that is usable.
        most: the largest.
        above: whether ``least`` itself is not.
        otherwise: what else to say of what was expected, for the message.

    Raises:
        InputError: for anything else, True among it.
    """
    if not is_number(value) or not least <= value <= most or (above and value == least):
        span = f"from {least:g} to {most:g}" if most < math.inf else f"{'above' if above else 'of at least'} {least:g}"
        raise InputError(f"{name}={value!r} is not usable; expected a number {span}{otherwise}")
    return float(value)
