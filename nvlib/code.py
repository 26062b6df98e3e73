"""The code of what a user brings, as a digest for records: edited code is another record, so its results are its own.

    digest(Mine) -> SHA-256 of the byte code of Mine's methods, its attributes, and what of the user's own they reach
    digest(one of the library's) -> None: its semantics are `nvlib.records.VERSION`

Byte code is what runs, whatever its file holds by now; names of lines, comments and files do not enter. Packages, torch
and the standard library are known by name alone. Another minor version of Python has other byte code, and so another
digest: the training is done again there, which costs time and never a number.
"""

from __future__ import annotations

import dis
import hashlib
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from functools import partial

_DEEP = 8
_UNREAD = ("__", "_abc_impl")  # attributes of a class that are not its author's


def digest(thing: type | Callable[..., object]) -> str | None:
    """Return the digest (hex) of a class or function of the user's own; None for the library's."""
    if _root(thing) == "nvlib":
        return None
    found = hashlib.sha256()
    _feed(thing, found.update, {}, 0)
    return found.hexdigest()


def _root(value: object) -> str:
    name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    return str(name or "").partition(".")[0]


def _installed(value: object) -> bool:
    root = _root(value)
    if root == "__main__":  # a notebook, whichever file it was started from
        return False
    place = str(getattr(sys.modules.get(root), "__file__", "") or "")
    known = root in ("nvlib", "builtins") or root in sys.stdlib_module_names
    return known or "site-packages" in place or "dist-packages" in place


def _feed(value: object, add: Callable[[bytes], None], seen: dict[int, object], depth: int) -> None:
    """Add a value to a digest: code by what it does, plain values as they are, other things by their class."""
    add(type(value).__name__.encode() + b"(")
    if isinstance(value, types.CodeType):
        add(repr((value.co_code, value.co_names, value.co_varnames, value.co_freevars, value.co_flags)).encode())
        for constant in value.co_consts:
            _feed(constant, add, seen, depth)
    elif value is None or isinstance(value, int | float | complex | str | bytes):
        add(repr(value).encode())
    elif isinstance(value, set | frozenset):
        add(repr(sorted(map(repr, value))).encode())
    elif id(value) in seen or depth > _DEEP:
        add(b"again")
    else:
        seen[id(value)] = value  # held, so that no other value gets its id
        _feed_object(value, add, seen, depth)
    add(b")")


def _feed_object(value: object, add: Callable[[bytes], None], seen: dict[int, object], depth: int) -> None:
    go = partial(_feed, add=add, seen=seen, depth=depth + 1)
    if isinstance(value, type) and not _installed(value):
        add(value.__qualname__.encode())
        for name, item in sorted(vars(value).items()):
            code = isinstance(item, types.FunctionType | staticmethod | classmethod | property)
            if code or not name.startswith(_UNREAD):
                add(name.encode())
                go(item)
        for base in value.__bases__:
            go(base)
    elif isinstance(value, types.FunctionType) and not _installed(value):
        go(value.__code__)
        go(value.__defaults__)
        go(value.__kwdefaults__)
        for name in sorted(_globals(value.__code__)):
            if name in value.__globals__:
                add(name.encode())
                go(value.__globals__[name])
        for cell in value.__closure__ or ():
            go(_held(cell))
    elif isinstance(value, staticmethod | classmethod | types.MethodType):
        go(value.__func__)
    elif isinstance(value, property):
        go(value.fget)
    elif isinstance(value, partial):
        go((value.func, value.args, value.keywords))
    elif isinstance(value, tuple | list):
        for item in value:
            go(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            go((key, item))
    elif hasattr(value, "tobytes") and hasattr(value, "dtype") and hasattr(value, "shape"):
        add(repr((value.dtype, value.shape)).encode() + value.tobytes())
    elif hasattr(value, "detach") and hasattr(value, "numpy"):
        go(value.detach().cpu().numpy())
    else:
        named = isinstance(value, type | types.ModuleType | types.FunctionType | types.BuiltinFunctionType)
        add(str(getattr(value, "__qualname__", getattr(value, "__name__", ""))).encode() if named else b"")
        if isinstance(value, types.ModuleType) and not _installed(value):
            own = types.FunctionType | type
            go({name: item for name, item in sorted(vars(value).items()) if isinstance(item, own)})
        elif not named and not _installed(type(value)) and hasattr(value, "__dict__"):
            go(type(value))
            go(dict(vars(value)))


def _globals(code: types.CodeType) -> set[str]:
    """The globals that code, and code within it, looks up."""
    found = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return found.union(*(_globals(c) for c in code.co_consts if isinstance(c, types.CodeType)))


def _held(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # empty yet
        return MISSING
