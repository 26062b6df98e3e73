"""The protocol of effects on programmed cells, and the cells as an effect meets them.

Cells are held in level units, v = (g - g_min) (2^K - 1) / (g_max - g_min); laws are of conductances g, for which
`Programmed.conductance` and `Programmed.held` go there and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from nvlib import philox
from nvlib.devices import Device


@dataclass(frozen=True)
class Programmed:
    """The cells of one tensor on some chips, as an effect meets them.

    A weight's cells are the holding chain's slices, then (``differential``) those of the idle one, which is at level 0.

    Attributes:
        digit: the level each cell was programmed to, (1 or chips, weights, cells), int64.
        spread: standard deviation of its programming, in level units, likewise.
        programmed: what it held right after programming, in level units, (chips, weights, cells).
        negative: whether the holding chain is that of negative weights, (1 or chips, weights).
        shape: of the tensor, (outputs, inputs, ...).
        chains: 1 (``signed``) or 2 (``differential``).
        sigma_d: size of the variation: a number, or (chips, 1, 1).
        device: of the cells.
        seed: the family of chips; in training one a member.
        index: which chips; in training the step.
        name: of the tensor.
        read: the number of the reading, from 0.
    """

    digit: Tensor
    spread: Tensor
    programmed: Tensor
    negative: Tensor
    shape: torch.Size
    chains: int
    sigma_d: float | Tensor
    device: Device
    seed: int | Sequence[int]
    index: range
    name: str
    read: int = 0
    tables: dict[object, Tensor] = field(default_factory=dict, repr=False, compare=False)  # of `per_level`

    @property
    def top(self) -> int:
        """Return the top level, 2^K - 1."""
        return 2**self.device.bits - 1

    @property
    def level(self) -> Tensor:
        """Return what each cell was meant to hold, in level units, of the shape of ``digit``."""
        return self.per_level(self.device.values)

    def per_level(self, column: Sequence[float]) -> Tensor:
        """Return a column of one number a level as each cell has it, of the shape of ``digit``."""
        column = tuple(column)
        if column not in self.tables:
            table = torch.tensor(column, dtype=self.programmed.dtype, device=self.digit.device)
            self.tables[column] = table.index_select(0, self.digit.flatten()).view(self.digit.shape)
        return self.tables[column]

    @property
    def offset(self) -> float:
        """Return g_min in level units: conductance is proportional to v + offset."""
        return self.device.levels[0] * self.top / (self.device.levels[-1] - self.device.levels[0])

    def conductance(self, v: Tensor) -> Tensor:
        """Return g of v, in the device's unit."""
        low, span = self.device.levels[0], self.device.levels[-1] - self.device.levels[0]
        return low + v * (span / self.top)

    def held(self, g: Tensor) -> Tensor:
        """Return v of g."""
        low, span = self.device.levels[0], self.device.levels[-1] - self.device.levels[0]
        return (g - low) * (self.top / span)

    def normal(self, stream: str, size: int | None = None, *, whole_chip: bool = False) -> Tensor:
        """Return standard normal draws: of the cells, (chips, weights, cells), or so many a chip, (chips, size).

        Args:
            stream: names the draw.
            size: how many a chip; None: one a cell.
            whole_chip: whether all tensors of a chip share them.
        """
        return self._normal(self._drawn(stream, size, whole_chip))

    def drawn(self, address: str) -> Tensor:
        """Return standard normal draws of the cells by their whole address."""
        shape = self.programmed.shape[1:]
        u = philox.uniform(self.seed, self.index, address, shape.numel(), self.digit.device)
        return self._normal(u.view(len(u), *shape))

    def _normal(self, u: Tensor) -> Tensor:
        u.mul_(2).sub_(1)
        if self.programmed.dtype == torch.float64:
            return torch.erfinv(u).mul_(2**0.5)
        return torch.erfinv(u.to(self.programmed.dtype).clamp_(-_NEARLY, _NEARLY)).mul_(2**0.5)

    def uniform(self, stream: str) -> Tensor:
        """Return uniform draws in (0, 1) of the cells, (chips, weights, cells), float64."""
        return self._drawn(stream, None, False)

    def _drawn(self, stream: str, size: int | None, whole_chip: bool) -> Tensor:
        shape = self.programmed.shape[1:]
        address = f"effect/{stream}" if whole_chip else f"effect/{stream}/{self.name}"
        u = philox.uniform(self.seed, self.index, address, shape.numel() if size is None else size, self.digit.device)
        return u.view(len(u), *shape) if size is None else u


_NEARLY = 1 - 2**-24  # the float32 below 1: a draw beyond 5.4 deviations lands there


@runtime_checkable
class Effect(Protocol):
    """What befalls programmed cells: a frozen dataclass that `check_effect` of the tests accepts.

    It may have more: ``on(device)``, which refuses a device it has no numbers for and returns the effect as it then
    is; ``numbers(device)``, all it depends on in plain types, where its fields are not all; ``first = True``, where it
    is a part of programming and comes before what happens later; ``images``, how many images one reading serves;
    ``moved``, the same for whole weights, where one Gaussian a weight is left and it is the only effect.
    """

    @property
    def name(self) -> str:
        """What it is called in texts and records."""
        ...

    def befall(self, v: Tensor, cells: Programmed) -> Tensor:
        """Return what cells hold afterwards.

        Args:
            v: what they hold, (chips, weights, cells), in level units: 0 is the lowest level, 2^K - 1 the top. It must
                not be changed.
            cells: what they were programmed to, and addressed draws: all randomness comes from there.

        Returns:
            A tensor of the shape of ``v``; a chip's cells depend on no other chip's.
        """
        ...
