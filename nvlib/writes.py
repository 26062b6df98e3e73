"""What a module writes to while it runs, put back afterwards: a chip leaves nothing for the next one.

    attributes, slots           of the module and its parts, as they were: the same objects under the same names
    containers in attributes    lists, dicts, sets, queues and objects of a user's own class, with what they held
    plain tensors in them       with the numbers that they held; a generator with its state
    parameters in them          a list of weights, say: exchanged for a chip's where they are (`exchanged`)

What lies outside of a module (globals, files, numpy's generator) is not seen.
"""

from __future__ import annotations

import argparse
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from nvlib.code import installed

_DEEP = 4  # containers within containers
_PLAIN = frozenset(vars(nn.Module()))  # what every module has
_NAMES = (types.SimpleNamespace, argparse.Namespace)  # settings, and what people put beside them
_LEAVES = (int, float, str, bytes, bool, type(None), type, torch.dtype, torch.device, torch.Size)


class Keeper:
    """What a module could write to; good as long as its structure stays."""

    def __init__(self, model: nn.Module) -> None:
        own = list(model.modules())
        self._own = {id(tensor) for part in own for tensor in (*part._parameters.values(), *part._buffers.values())}
        self._own.discard(id(None))
        self.aliases: list[tuple[Any, Any, int]] = []  # a container, where in it, and the id of a tensor of the module
        self._seen = self._own.union(map(id, own))
        self.dicts: list[dict] = []
        self.others: list[Any] = []  # lists, sets, queues
        self.tensors: list[Tensor] = []
        self.generators: list[torch.Generator] = []
        for part in own:
            self._part(part)

    def _part(self, part: nn.Module) -> None:
        self.dicts += [part._buffers, part._parameters, vars(part)]
        for key, value in vars(part).items():
            if key not in _PLAIN:
                known = len(self.aliases)
                self._look(value, 0)
                if key == "_flat_weights":  # of recurrent layers, which see to it themselves
                    del self.aliases[known:]
                elif id(value) in self._own:
                    self.aliases.append((vars(part), key, id(value)))

    def _alias(self, held: Any) -> None:
        """Note where a dict or list holds a tensor that is a parameter or buffer as well."""
        for key, item in held.items() if isinstance(held, dict) else enumerate(held):
            if isinstance(item, Tensor) and id(item) in self._own:
                self.aliases.append((held, key, id(item)))

    def _look(self, value: Any, depth: int) -> None:
        if isinstance(value, _LEAVES) or depth > _DEEP or id(value) in self._seen:
            return
        if isinstance(value, partial):
            self._look(value.keywords, depth + 1)
            return
        if callable(value) and not isinstance(value, nn.Module) and installed(type(value)):
            return
        self._seen.add(id(value))
        if isinstance(value, Tensor):
            self.tensors.append(value)
        elif isinstance(value, torch.Generator):
            self.generators.append(value)
        elif isinstance(value, nn.Module):  # one that is in a list, which PyTorch does not know as a part
            for part in value.modules():
                self._seen.add(id(part))
                self._part(part)
                self._alias(part._parameters)
                self._alias(part._buffers)
                for tensor in (*part._parameters.values(), *part._buffers.values()):
                    self._look(tensor, depth + 1)
        elif isinstance(value, dict):
            self.dicts.append(value)
            self._alias(value)
            for item in list(value.values()):
                self._look(item, depth + 1)
        elif isinstance(value, list | set | deque | tuple):
            if not isinstance(value, tuple):
                self.others.append(value)
            if isinstance(value, list):
                self._alias(value)
            for item in list(value):
                self._look(item, depth + 1)
        elif hasattr(value, "__dict__") and (not installed(type(value)) or isinstance(value, _NAMES)):
            self._look(vars(value), depth)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Put everything back, afterwards, as it is now."""
        dicts = [(held, dict(held)) for held in self.dicts]
        others = [(held, list(held)) for held in self.others]
        tensors = [(tensor, tensor.detach().clone()) for tensor in self.tensors]
        states = [(generator, generator.get_state()) for generator in self.generators]
        try:
            yield
        finally:
            for held, kept in dicts:
                if len(held) != len(kept) or any(held.get(key) is not value for key, value in kept.items()):
                    held.clear()
                    held.update(kept)
            for other, items in others:
                if len(other) != len(items) or any(a is not b for a, b in zip(other, items, strict=True)):
                    other.clear()
                    (other.update if isinstance(other, set) else other.extend)(items)
            for generator, state in states:
                generator.set_state(state)
            with torch.no_grad():
                for tensor, numbers in tensors:
                    if tensor.shape != numbers.shape or not torch.equal(tensor, numbers):
                        tensor.data = numbers


@contextmanager
def exchanged(aliases: Sequence[tuple[Any, Any, int]], tensors: Mapping[int, Tensor]) -> Iterator[None]:
    """Put other tensors where lists, dicts and objects hold a module's own (`Keeper.aliases`) for a while, by id.

    Where the module takes one away or puts another in its place, that is left.
    """
    swapped = [(held, key, held[key], tensors[known]) for held, key, known in aliases if known in tensors]
    for held, key, _, other in swapped:
        held[key] = other
    try:
        yield
    finally:
        for held, key, own, other in swapped:
            if key in (held if isinstance(held, dict) else range(len(held))) and held[key] is other:
                held[key] = own


@contextmanager
def at_once() -> Iterator[None]:
    """Run what a module checkpoints once: done again for the derivatives, it would run on the module's own weights."""
    here: Any = torch.utils.checkpoint
    kept = {name: vars(here)[name] for name in _AGAIN if name in vars(here)}
    vars(here).update({name: _AGAIN[name] for name in kept})
    try:
        yield
    finally:
        vars(here).update(kept)


class _Once:
    """In place of the function that forgets activations and computes them again."""

    @staticmethod
    def apply(function: Callable[..., Any], _: bool, *args: Any) -> Any:
        return function(*args)


def _nothing(*_: Any, **__: Any) -> Iterator[None]:
    yield


_AGAIN = {  # of torch.utils.checkpoint: reentrant, and not (by the names of torch 2.15 and of those before)
    "CheckpointFunction": _Once,
    "_checkpoint_without_reentrant_generator_impl": _nothing,
    "_checkpoint_without_reentrant_generator": _nothing,
}
