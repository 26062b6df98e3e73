"""What a network computes for one image, as a list of typed operations: made by `lower`, read by `fuse` and `emit`.

An operation turns values (activations, channels x rows x columns; flat features are one row and one column, or keep the
shape they were flattened from) into a value, with constants: numbers that are a chip's own, or the module's. How
constants follow from weights is the `Recipe`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Pair = tuple[int, int]


class Unsupported(Exception):
    """There is no generated code for a module, a machine or a call; the message is the reason, in a few words."""


@dataclass(frozen=True, eq=False)
class Value:
    """An activation of one image; ``mask`` for the outcome of a comparison."""

    channels: int
    rows: int
    columns: int
    mask: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        return self.channels, self.rows, self.columns

    @staticmethod
    def of(shape: Sequence[int], mask: bool = False) -> Value:
        """Return one of a shape: channels, rows, columns; flat features are one row and one column."""
        channels, rows, columns = shape if len(shape) == 3 else (*shape, 1, 1)
        return Value(channels, rows, columns, mask)

    def __str__(self) -> str:
        return "x".join(map(str, self.shape))


@dataclass(frozen=True)
class Constant:
    """Numbers that a kernel reads: the outcome of a recipe's step, in a shape of the kernel's choice."""

    step: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Convolution:
    """A convolution; a linear layer is one whose kernel covers all of its source."""

    name: str
    source: Value
    result: Value
    weight: Constant
    bias: Constant | None
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


@dataclass(frozen=True)
class Pool:
    """The largest (``max``) or the mean of each window; what lies outside the source does not count for ``max``."""

    name: str
    kind: str
    source: Value
    result: Value
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)


@dataclass(frozen=True)
class Pointwise:
    """One of `pointwise.FORMULAS`, element by element; operands of one row or column are repeated."""

    function: str
    operands: tuple[Value | Constant | float, ...]
    result: Value

    @property
    def values(self) -> list[Value]:
        """Those operands that are activations."""
        return [operand for operand in self.operands if isinstance(operand, Value)]


Operation = Convolution | Pool | Pointwise


@dataclass(frozen=True)
class Ref:
    """The outcome of an earlier step, as an argument of a later one."""

    step: int


@dataclass(frozen=True)
class Step:
    """A tensor of the module (``name``), a tensor that never changes, or a call on earlier steps."""

    name: str | None = None
    fixed: Tensor | None = None
    call: Callable[..., Tensor] | None = None
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


class Recipe:
    """How constants follow from weights: torch calls in order. What no chip has of its own is computed once."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def add(self, step: Step) -> int:
        """Append a step; returns its number."""
        self.steps.append(step)
        return len(self.steps) - 1

    def compute(self, chips: Mapping[str, Tensor], shared: Mapping[str, Tensor], count: int) -> list[list[Tensor]]:
        """Return the outcome of every step for each of ``count`` chips.

        Args:
            chips: name -> (chips, ...), weights of each chip.
            shared: name -> (...), what the module has for all of them.
            count: how many chips.
        """
        once: dict[int, Tensor] = {}
        own: set[int] = set()
        for number, step in enumerate(self.steps):
            if step.name in chips or any(ref.step in own for ref in _refs((step.arguments, dict(step.options)))):
                own.add(number)
            else:
                once[number] = self._outcome(step, shared, once)
        rows = []
        for chip in range(count):
            done, weights = dict(once), {name: tensor[chip] for name, tensor in chips.items()}
            for number in sorted(own):
                done[number] = self._outcome(self.steps[number], weights, done)
            rows.append([done[number] for number in range(len(self.steps))])
        return rows

    @staticmethod
    def _outcome(step: Step, named: Mapping[str, Tensor], done: Mapping[int, Tensor]) -> Tensor:
        if step.call is None:
            held = step.fixed if step.name is None else named[step.name]
            assert held is not None, "a step has a name, a tensor or a call"
            return held
        fill = lambda tree: torch.utils._pytree.tree_map_only(Ref, lambda ref: done[ref.step], tree)  # noqa: E731
        return step.call(*fill(step.arguments), **fill(dict(step.options)))


def _refs(tree: object) -> list[Ref]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, Ref)]


@dataclass(frozen=True)
class Network:
    """Operations in order, from the images to the logits."""

    source: Value
    result: Value
    shape: tuple[int, ...]  # of the result as the module returns it, without the batch
    operations: tuple[Operation, ...]
    recipe: Recipe
