"""Parameters of methods and deployments as words of a command line.

A parameter is a field of its dataclass, and ``--set name=value`` is read as the field's type: ``th=2`` a number,
``reverse=yes`` a truth value, ``beta=1e-1,1e-2`` several numbers, ``images=none`` nothing given.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from nvlib.errors import InputError, unknown

TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
EXPECTED = {int: "a whole number", float: "a number", bool: "yes or no", str: "a word", type(None): "none"}


def parameters(
    pairs: Sequence[str], chosen: Sequence[str], registry: Mapping[str, type], kind: str
) -> dict[str, dict[str, Any]]:
    """Return the parameters that ``--set`` gives to the chosen methods.

    Args:
        pairs: ``name=value``, for every chosen method that has the parameter, or ``method.name=value``, for one.
        chosen: names of ``registry``.
        registry: name -> dataclass.
        kind: what its entries are, for errors: ``method`` or ``deployment``.

    Returns:
        method -> parameter -> value, of the type of the dataclass's field.

    Raises:
        InputError: for what is not ``name=value``, a parameter nobody has, or a value of another type.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in chosen:
        if name not in registry:
            raise unknown(kind, name, registry)
    known = {name: types_of(registry[name]) for name in chosen}
    once: set[str] = set()
    for pair in pairs:
        left, equals, text = pair.partition("=")
        if left in once:
            raise InputError(f"{pair!r} sets {left} again; expected one value for each")
        once.add(left)
        owner, dot, name = left.rpartition(".")
        if not equals or not name:
            raise InputError(f"{pair!r} sets nothing; expected parameter=value or {kind}.parameter=value")
        if dot and owner not in known:
            raise InputError(f"{pair!r} is for {owner!r}, which is not among the {kind}s of this run: "
                             f"{', '.join(chosen) or 'none'}")  # fmt: skip
        meant = [owner] if dot else [n for n in known if name in known[n]]
        if not meant or name not in known[meant[0]]:
            among = {p for n in ([owner] if dot else known) for p in known[n]}
            if not among:
                raise InputError(f"{', '.join([owner] if dot else chosen) or 'nothing chosen'} has no parameters; "
                                 f"leave {pair!r} out")  # fmt: skip
            raise unknown(f"parameter of {owner or ', '.join(chosen)}", name, among)
        for one in meant:
            found.setdefault(one, {})[name] = convert(text, known[one][name], f"{name} of {one}")
    return found


def types_of(record: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields, by name."""
    hints = typing.get_type_hints(record)
    return {field.name: hints[field.name] for field in fields(record)}


def convert(text: str, kind: Any, what: str) -> Any:
    """Return a word of the command line as a value of a type.

    Args:
        text: the word.
        kind: a type as annotations have it: int, float, bool, str, None, tuple[X, ...] and unions of these.
        what: what it is for, in errors.

    Raises:
        InputError: if it is none of them.
    """
    choices = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    for choice in sorted(choices, key=_narrow):
        try:
            return _as(text.strip(), choice)
        except ValueError:
            continue
    expected = " or ".join(_expected(choice) for choice in choices)
    raise InputError(f"{what}={text!r} is not usable; expected {expected}")


def _narrow(kind: Any) -> int:
    """Order types by how few words they take: a word that none of them takes is text."""
    order = (type(None), bool, int, float)
    return order.index(kind) if kind in order else len(order) + (kind is str)


def _as(text: str, kind: Any) -> Any:
    if kind is type(None):
        if text.lower() not in ("none", ""):
            raise ValueError
        return None
    if kind is bool:
        if text.lower() not in TRUTH:
            raise ValueError
        return TRUTH[text.lower()]
    if typing.get_origin(kind) is tuple:
        words = [word for word in text.strip("()[]").split(",") if word.strip()]
        if not words:
            raise ValueError
        return tuple(_as(word.strip(), typing.get_args(kind)[0]) for word in words)
    if kind in (int, float, str):
        return kind(text)
    raise ValueError


def _expected(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return f"several of them with commas ({EXPECTED.get(typing.get_args(kind)[0], 'a value')} each)"
    return EXPECTED.get(kind, getattr(kind, "__name__", str(kind)))
