"""Where numbers lie: activations with the images innermost, a chip's constants in the order they are read.

A block is as many images as a vector register has lanes. A value is stored block by block as (channels, rows, columns,
lanes), inside a border of zeros, so that a convolution reads whole vectors, padding included. A chip is one vector of
floats: for each convolution its weights tile by tile, (depth, channels of the tile), and the other constants as are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nvlib.native.fuse import Border, Kernel, near_equal
from nvlib.native.graph import Constant, Convolution, Value

BLOCKS = 4  # blocks that go through a layer of single results together, so that its weights are read a quarter as often


@dataclass(frozen=True)
class Machine:
    """What a kernel is written for: lanes of a vector, registers to keep sums in, and the compiler's flags for them."""

    name: str
    lanes: int
    sums: int
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Buffer:
    """One block of a value in memory."""

    value: Value
    border: Border
    lanes: int

    @property
    def rows(self) -> int:
        """Rows with the border."""
        return self.value.rows + 2 * self.border.rows

    @property
    def columns(self) -> int:
        """Columns with the border."""
        return self.value.columns + 2 * self.border.columns

    @property
    def plane(self) -> int:
        """Floats of one channel."""
        return self.rows * self.columns * self.lanes

    @property
    def size(self) -> int:
        """Floats of a block."""
        return self.value.channels * self.plane

    def at(self, channel: str, row: str, column: str) -> str:
        """C++ for the index of an activation; an axis of one element is repeated."""
        channel, row, column = (
            "0" if size == 1 else index for size, index in zip(self.value.shape, (channel, row, column), strict=True)
        )
        row, column = _plus(row, self.border.rows), _plus(column, self.border.columns)
        return f"((({channel}) * {self.rows} + {row}) * {self.columns} + {column}) * LANES"


@dataclass(frozen=True)
class Spot:
    """A result that a tile computes, relative to the tile's own row, column and block."""

    row: int = 0
    column: int = 0
    block: int = 0


@dataclass(frozen=True)
class Slot:
    """A stretch of a chip's vector: the outcome of a recipe's step, in the order it is read (None: as it is)."""

    step: int
    offset: int
    size: int
    order: Tensor | None


class Packing:
    """The slots of a chip's vector, handed out as kernels ask for them."""

    def __init__(self) -> None:
        self.slots: dict[object, Slot] = {}
        self.size = 0

    def plain(self, constant: Constant) -> int:
        """Return where a constant lies."""
        return self._slot(("plain", constant.step), constant, None)

    def weights(self, convolution: Convolution, tiles: list[int]) -> int:
        """Return where a convolution's weights lie, cut into tiles of channels."""
        channels, *rest = convolution.weight.shape
        index = torch.arange(torch.Size([channels, *rest]).numel()).view(channels, -1)
        parts = [part.T.reshape(-1) for part in index.split(tiles)]
        return self._slot((convolution.weight.step, tuple(tiles)), convolution.weight, torch.cat(parts))

    def _slot(self, key: object, constant: Constant, order: Tensor | None) -> int:
        if key not in self.slots:
            size = torch.Size(constant.shape).numel()
            self.slots[key] = Slot(constant.step, self.size, size, order)
            self.size += size
        return self.slots[key].offset


@dataclass(frozen=True)
class Tiling:
    """How a convolution's results are cut: channels of each tile (one group's), and positions that share a load."""

    channels: list[int]
    columns: list[int]
    blocks: int

    @staticmethod
    def of(kernel: Kernel, convolution: Convolution, machine: Machine) -> Tiling:
        """Cut so that all sums of a tile fit in the registers set aside for them."""
        if kernel.pool:
            columns, positions = [1] * kernel.shape[2], kernel.pool.kernel[0] * kernel.pool.kernel[1]
        else:
            columns = near_equal(kernel.shape[2], 4)
            positions = columns[0]
        blocks = BLOCKS if kernel.whole_blocks else 1
        most = max(1, machine.sums // (positions * blocks))
        return Tiling(near_equal(convolution.result.channels // convolution.groups, most), columns, blocks)


def _plus(index: str, border: int) -> str:
    return f"{index} + {border}" if border else index
