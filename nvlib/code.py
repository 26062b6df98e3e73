"""The code of what a user brings, as a digest for records: edited code is another record, so its results are its own.

    digest(Mine) -> SHA-256 of the byte code of Mine's methods, its attributes, and what of the user's own they reach
    digest(one of the library's) -> None: its semantics are `nvlib.records.VERSION`

Byte code is what runs, whatever its file holds by now; names of lines, comments and files do not enter. Packages, torch
and the standard library are known by name alone. Another minor version of Python has other byte code, and so another
digest: the training is done again there, which costs time and never a number.
"""

from __future__ import annotations

import argparse
import dis
import hashlib
import os
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING
from functools import partial
from typing import Any

_DEEP = 8
_UNREAD = ("__", "_abc_impl")  # attributes of a class that are not its author's


def digest(thing: type | Callable[..., object]) -> str | None:
    """Return the digest (hex) of a class or function of the user's own; None for the library's."""
    if _root(thing) == "nvlib":
        return None
    found = hashlib.sha256()
    _feed(thing, found.update, {}, 0)
    return found.hexdigest()


def contents(thing: object) -> str:
    """Return the digest (hex) of anything: code by what it does, values as they are, what is installed by its name."""
    found = hashlib.sha256()
    _feed(thing, found.update, {}, 0)
    return found.hexdigest()


def _root(value: object) -> str:
    name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    return str(name or "").partition(".")[0]


def installed(value: object) -> bool:
    """Whether a class, a function or a module comes with Python or a package, nvlib among them."""
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
    if isinstance(value, type) and not installed(value):
        add(value.__qualname__.encode())
        for name, item in sorted(vars(value).items()):
            code = isinstance(item, types.FunctionType | staticmethod | classmethod | property)
            if code or not name.startswith(_UNREAD):
                add(name.encode())
                go(item)
        for base in value.__bases__:
            go(base)
        if not installed(type(value)):  # a metaclass
            go(type(value))
    elif isinstance(value, types.FunctionType) and not installed(value):
        go(value.__code__)
        go(value.__defaults__)
        go(value.__kwdefaults__)
        for name in sorted(_globals(value.__code__)):
            if name in value.__globals__:
                add(name.encode())
                go(value.__globals__[name])
                if used := _used(value.__globals__[name], _mentions(value.__code__)[0]):
                    go(used)
        for name, held in _elsewhere(value):
            go((name, held))
        for cell in value.__closure__ or ():
            go(_held(cell))
    elif isinstance(value, staticmethod | classmethod | types.MethodType):
        go(value.__func__)
    elif hasattr(value, "__wrapped__") and not isinstance(value, type):  # functools.cache and the like
        go(value.__wrapped__)
    elif isinstance(value, property):
        go(value.fget)
    elif isinstance(value, partial):
        go((value.func, value.args, value.keywords))
    elif isinstance(value, tuple | list | deque):
        for item in value:
            go(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            go((key, item))
    elif isinstance(value, type):  # of an installed package: a kind of array, by its name
        add(value.__qualname__.encode())
    elif hasattr(value, "tobytes") and hasattr(value, "dtype") and hasattr(value, "shape"):
        add(repr((value.dtype, value.shape)).encode() + value.tobytes())
    elif hasattr(value, "detach") and hasattr(value, "numpy"):
        plain = value.detach().cpu()
        go((plain.float() if str(plain.dtype) == "torch.bfloat16" else plain).numpy())
    elif hasattr(value, "named_modules") and not isinstance(value, type) and installed(type(value)):  # torch's own
        network: Any = value
        go([(name, type(part)) for name, part in network.named_modules()])
        go(dict(network.state_dict()))
    elif isinstance(value, types.SimpleNamespace | argparse.Namespace):
        go(vars(value))
    else:
        named = isinstance(value, type | types.ModuleType | types.FunctionType | types.BuiltinFunctionType)
        add(str(getattr(value, "__qualname__", getattr(value, "__name__", ""))).encode() if named else b"")
        if isinstance(value, types.ModuleType) and not installed(value):
            own = types.FunctionType | type
            go({name: item for name, item in sorted(vars(value).items()) if isinstance(item, own)})
        elif not named and not installed(type(value)) and hasattr(value, "__dict__"):
            go(type(value))
            go(dict(vars(value)))
        slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        if slots and not named and not installed(type(value)):
            go(type(value))
            go({name: getattr(value, name, None) for name in slots if isinstance(name, str)})


def _elsewhere(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    """What a function looks up at run time: in modules that it imports itself, by ``globals()``, in the environment."""
    names, texts = _mentions(function.__code__)
    for name in sorted(texts):
        if "globals" in names and name in function.__globals__:
            yield name, function.__globals__[name]
        if names & {"environ", "getenv"} and name in os.environ:
            yield name, os.environ[name]
    for step in _steps(function.__code__):
        if step.opname == "IMPORT_NAME" and step.argval in sys.modules and not installed(sys.modules[step.argval]):
            yield step.argval, _used(sys.modules[step.argval], names)


def _used(module: object, names: set[str], depth: int = 0) -> dict[str, object]:
    """Return what of a user's own module code names, values and modules within it too: name -> it; else nothing."""
    if not isinstance(module, types.ModuleType) or installed(module) or depth > _DEEP:
        return {}
    mentioned = [(name, held) for name, held in sorted(vars(module).items()) if name in names]
    return {name: _used(held, names, depth + 1) if isinstance(held, types.ModuleType) else held
            for name, held in mentioned}  # fmt: skip


def _steps(code: types.CodeType) -> list[dis.Instruction]:
    """Instructions of code, and of code within it."""
    inner = [step for held in code.co_consts if isinstance(held, types.CodeType) for step in _steps(held)]
    return [*dis.get_instructions(code), *inner]


def _mentions(code: types.CodeType) -> tuple[set[str], set[str]]:
    """The names and the texts that are written in code, and in code within it."""
    names, texts = set(code.co_names), {held for held in code.co_consts if isinstance(held, str)}
    for held in code.co_consts:
        if isinstance(held, types.CodeType):
            more, others = _mentions(held)
            names, texts = names | more, texts | others
    return names, texts


def _globals(code: types.CodeType) -> set[str]:
    """The globals that code, and code within it, looks up."""
    found = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return found.union(*(_globals(c) for c in code.co_consts if isinstance(c, types.CodeType)))


def _held(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # empty yet
        return MISSING
