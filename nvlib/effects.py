"""What befalls a chip: protocols of effects on its cells, and of the circuits round its arrays.

An effect is a frozen dataclass: what happens to cells *after* they were programmed (they are stuck, they drift, they
are read). Effects of a `nvlib.Crossbar` are applied in order, each to what the one before left. A periphery is what is
between the arrays and the numbers (tiles, converters, wires), in the forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from nvlib import philox
from nvlib.devices import Device


@dataclass(frozen=True)
class Programmed:
    """The cells of one tensor on some chips, as an effect meets them.

    Attributes:
        level: what each cell was programmed to, (weights, cells): the holding chain's slices, then the idle one's.
        device: of the cells; `Device.levels` has the conductances of the levels.
        seed: the family of chips.
        index: which chips.
        name: of the tensor.
    """

    level: Tensor
    device: Device
    seed: int
    index: range
    name: str

    def normal(self, stream: str) -> Tensor:
        """Return standard normal draws of the cells, (chips, weights, cells): a chip's own, whatever is beside it."""
        return self._drawn(philox.normal, stream)

    def uniform(self, stream: str) -> Tensor:
        """Return uniform draws in (0, 1) of the cells, (chips, weights, cells)."""
        return self._drawn(philox.uniform, stream)

    def _drawn(self, draw: object, stream: str) -> Tensor:
        size = self.level.numel()
        found = draw(self.seed, self.index, f"effect/{stream}/{self.name}", size, self.level.device)
        return found.to(torch.float64).view(len(self.index), *self.level.shape)


@runtime_checkable
class Effect(Protocol):
    """What befalls programmed cells: a frozen dataclass that `check_effect` of the tests accepts."""

    name: str

    def befall(self, g: Tensor, cells: Programmed) -> Tensor:
        """Return what cells hold afterwards.

        Args:
            g: what they hold, (chips, weights, cells), in level units: 0 is the lowest level, 2^K - 1 the top. It must
                not be changed.
            cells: what they were programmed to, and addressed draws: all randomness comes from there.

        Returns:
            A tensor of the shape of ``g``; a chip's cells depend on no other chip's.
        """
        ...


@runtime_checkable
class Periphery(Protocol):
    """The circuits round the arrays: a frozen dataclass that says what a module's layer computes with them."""

    name: str

    def attached(self, model: nn.Module) -> nn.Module:
        """Return a module of the same parameters whose layers on arrays compute as the circuits do."""
        ...
