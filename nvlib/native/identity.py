"""What a class, a function or a setting is, as something to compare later: two that differ may compute differently.

A notebook redefines a helper, a constant or a class's ``forward`` while its modules live on; code that was generated
for them before is then another network's. So what a module's own code reaches is followed: the code of all methods of
its class, what they find in globals and closures by the names that they use, and so on, down to code that is installed
(torch, the standard library, packages), which is known by its identity alone.

    Unsupported where something is reached whose contents cannot be told: better no generated code than an old one.
"""

from __future__ import annotations

import dis
import enum
import functools
import sys
import types
import weakref
from collections.abc import Hashable, Mapping
from dataclasses import is_dataclass
from typing import cast

import torch
from torch import Tensor, nn

from nvlib.native.graph import Unsupported

_PLAIN = (
    int, float, complex, str, bytes, bool, type(None), type(...), enum.Enum, range, types.BuiltinFunctionType,
    types.GenericAlias, types.UnionType, torch.dtype, torch.device, torch.memory_format, torch.layout, torch.Size,
)  # fmt: skip
_QUICK = frozenset((int, float, str, bool, type(None)))
_UNREAD = (types.GetSetDescriptorType, types.MemberDescriptorType, types.WrapperDescriptorType)
_CODE = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type)
_MAKING = ("__init__", "__repr__", "extra_repr")  # of a module, when it is made and shown: not when it runs
_HIDDEN = frozenset(("globals", "eval", "exec", "environ", "getenv", "__import__"))  # ways around a name
_DEEP, _FEW = 6, 4096


class Reader:
    """Reads values into keys; one for a whole network, since what was read before is named by its number.

    Attributes:
        own: ids of the network's own tensors, which are no settings.
        where: which part is being read, for messages.
    """

    def __init__(self, own: set[int]) -> None:
        self.own, self.where = own, "the module"
        self.seen: dict[tuple[int, frozenset[str] | None], tuple[int, object]] = {}

    def value(self, value: object, depth: int = 0, names: frozenset[str] = frozenset()) -> Hashable:
        """Return a setting, or something that code reaches, as a key.

        Args:
            value: of any kind.
            depth: within containers and objects.
            names: attributes that the code which reached it uses; of a Python module only these count.
        """
        if type(value) in _QUICK or isinstance(value, _PLAIN):
            return type(value), value
        if isinstance(value, weakref.ref):
            return cast(Hashable, type(value))
        if id(value) in self.own:
            raise Unsupported(f"{self.where} holds a parameter or buffer elsewhere as well, in a list or the like")
        key = (id(value), names if isinstance(value, types.ModuleType) else None)
        if key in self.seen:
            return "seen", self.seen[key][0]
        self.seen[key] = len(self.seen), value  # held, so that no other value gets its id
        return self._read(value, depth, names)

    def _read(self, value: object, depth: int, names: frozenset[str]) -> Hashable:
        if depth < _DEEP and isinstance(value, dict | Mapping):
            return type(value), tuple([(key, self.value(item, depth + 1)) for key, item in value.items()])
        if depth < _DEEP and isinstance(value, tuple | list | set | frozenset):
            return type(value), tuple([self.value(item, depth + 1) for item in value])
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.ModuleType):
            held = sorted(name for name in names if name in vars(value))
            if _installed(value):  # torch.relu may have been replaced; its caches and flags are not read
                held = [name for name in held if isinstance(vars(value)[name], _CODE)]
            return value.__name__, tuple((name, self._reached(vars(value)[name], names)) for name in held)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return self.value(value.__func__), self.value(value.__self__, depth + 1)
        if isinstance(value, staticmethod | classmethod):
            return type(value), self.value(value.__func__)
        if isinstance(value, property):
            return property, *(self.value(part) for part in (value.fget, value.fset))
        if hasattr(value, "__wrapped__"):  # functools.cache and the like
            return type(value), self.value(value.__wrapped__)
        if isinstance(value, functools.cached_property):
            return functools.cached_property, self.value(value.func)
        if isinstance(value, functools.partial):
            return functools.partial, self.value((value.func, value.args, value.keywords), depth + 1)
        plain = is_dataclass(value) or isinstance(value, types.SimpleNamespace) or not _installed(type(value))
        if depth < _DEEP and plain and not isinstance(value, Tensor | nn.Module) and hasattr(value, "__dict__"):
            return self.value(type(value)), self.value(dict(vars(value)), depth + 1)
        if isinstance(value, Tensor):
            raise Unsupported(f"{self.where} holds a tensor that is neither parameter nor buffer")
        if _installed(value) and callable(value) and not isinstance(value, nn.Module):
            return "installed", id(value)
        raise Unsupported(f"{self.where} holds a {type(value).__name__}, which may change what it computes")

    def _reached(self, value: object, names: frozenset[str]) -> Hashable:
        """What code finds outside of itself; a small tensor is a constant of it, by its numbers."""
        if isinstance(value, Tensor) and value.numel() <= _FEW and id(value) not in self.own:
            return tuple(value.shape), value.dtype, tuple(value.detach().flatten().tolist())
        return self.value(value, 0, names)

    def _class(self, cls: type) -> Hashable:
        """A class and the code of its methods; of an installed one its forward, which may have been replaced."""
        if _installed(cls):
            return cls, id(vars(cls).get("forward"))
        held = []
        for name, item in sorted(vars(cls).items()):
            if isinstance(item, _UNREAD) or name == "_abc_impl" or (issubclass(cls, nn.Module) and name in _MAKING):
                continue
            if name.startswith("__") and not isinstance(item, types.FunctionType):  # __doc__, __annotations__, ...
                continue
            held.append((name, self.value(item)))
        kind = None if _installed(type(cls)) else self.value(type(cls))  # a metaclass
        return cls, tuple(held), tuple(self.value(base) for base in cls.__bases__), kind

    def _function(self, function: types.FunctionType) -> Hashable:
        """A function's code, its defaults, and what it finds outside of itself by the names that it uses."""
        if _installed(function):
            return "installed", id(function), function.__code__
        names, attributes = _names(function.__code__)
        if hidden := sorted((names | attributes) & _HIDDEN):
            raise Unsupported(f"{function.__qualname__} uses {hidden[0]}, so that what it computes with is not seen")
        around = function.__globals__
        found = tuple((name, self._reached(around[name], attributes)) for name in sorted(names) if name in around)
        cells = []
        for cell in function.__closure__ or ():
            try:
                cells.append(self._reached(cell.cell_contents, attributes))
            except ValueError:  # empty yet
                cells.append(None)
        defaults = self.value((function.__defaults__, function.__kwdefaults__), 1)
        return function.__code__, defaults, found, tuple(cells)


@functools.lru_cache(maxsize=4096)
def _names(code: types.CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """The globals that code, and code within it, looks up; and the attributes of whatever it has."""
    names, attributes = set(), set()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            names.add(step.argval)
        elif step.opname == "IMPORT_NAME" and not _installed(sys.modules.get(step.argval)):
            names.add("__import__")
        elif step.opname.startswith(("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM")):
            attributes.add(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            more, others = _names(constant)
            names |= more
            attributes |= others
    return frozenset(names), frozenset(attributes)


def _installed(value: object) -> bool:
    """Whether a class or function comes with Python or a package, nvlib among them."""
    name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    root = str(name or "").partition(".")[0]
    if root == "__main__":  # a notebook, whichever file it was started from
        return False
    return root in ("nvlib", "builtins") or root in sys.stdlib_module_names or _packaged(root)


@functools.lru_cache(maxsize=512)
def _packaged(root: str) -> bool:
    place = str(getattr(sys.modules.get(root), "__file__", "") or "")
    return "site-packages" in place or "dist-packages" in place
