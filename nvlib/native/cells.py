r"""A weight's deviation divided among its cells in one compiled pass: the cells of `nvlib.cells`, to the bit.

    e <- (e + d (root z - sum_k d_k e_k) inverse) way + level

for each weight; e: the luck of its cells, d: their deviations, root and inverse: of their variance's sum. In PyTorch's
operations these are eight passes, most of them over four numbers at a time. PyTorch adds up in order, and rounds
``addcmul`` once or twice, depending on the processor: `divide` takes what gives the same bits, or none.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from nvlib.native.build import load, machine

_COMPILING = 1.0  # seconds that compiling takes or so
_spent = 0.0  # seconds that this process has divided without compiled code
_ARGUMENTS = (*(ctypes.c_void_p,) * 7, *(ctypes.c_ssize_t,) * 5)
_SOURCE = """
#include <cmath>
typedef __PTRDIFF_TYPE__ size;

template <size CELLS>
static inline void weights(
    float* e, const float* z, const float* root, const float* inverse, const float* deviation, const float* way,
    const float* level, size numbers, size several) {
  const size cells = CELLS ? CELLS : several;
  for (size i = 0; i < numbers; i++) {
    const size at = i * cells;
    float sum = 0.f;
    for (size k = 0; k < cells; k++) sum += deviation[at + k] * e[at + k];
    const float lacking = (root[i] * z[i] - sum) * inverse[i];
    for (size k = 0; k < cells; k++) {
#if ONCE
      const float own = std::fma(deviation[at + k], lacking, e[at + k]);
#else
      const float own = e[at + k] + deviation[at + k] * lacking;
#endif
      e[at + k] = own * way[at + k] + level[at + k];
    }
  }
}

extern "C" void divide(
    float* e, const float* z, const float* root, const float* inverse, const float* deviation, const float* way,
    const float* level, size chips, size numbers, size cells, size each_z, size each_meant) {
  for (size chip = 0; chip < chips; chip++, e += numbers * cells, z += each_z * numbers) {
    const size at = chip * each_meant * numbers, first = at * cells;
    const auto run = cells == 4 ? weights<4> : cells == 2 ? weights<2> : weights<0>;
    run(e, z, root + at, inverse + at, deviation + first, way + first, level + first, numbers, cells);
  }
}
"""


@dataclass(frozen=True)
class Meant:
    """What the cells of some chips were meant for, (1 or chips, weights) and (1 or chips, weights, cells).

    Attributes:
        root: of the variance of a weight, in steps.
        inverse: 1 / variance, 0 where it is 0.
        deviation: of each cell, in steps.
        way: what turns a cell's luck into its straying, in levels.
        level: that each cell was meant to hold.
    """

    root: Tensor
    inverse: Tensor
    deviation: Tensor
    way: Tensor
    level: Tensor


def divide(luck: Tensor, z: Tensor, meant: Meant) -> Tensor:
    """Return what cells hold, (chips, weights, cells), in place of their luck, given their weights' luck.

    Args:
        luck: standard normal draws of the cells.
        z: of the weights, (1 or chips, weights).
        meant: what they were meant for.
    """
    global _spent
    if any(t.dtype != torch.float32 or t.device.type != "cpu" for t in (luck, z, *vars(meant).values())):
        return _computed(luck, z, meant)
    function = _compiled(_spent > _COMPILING)
    if function is not None:
        return _called(function, luck, z, meant)
    began = time.perf_counter()
    found = _computed(luck, z, meant)
    _spent += time.perf_counter() - began
    return found


def _computed(luck: Tensor, z: Tensor, meant: Meant) -> Tensor:
    lacking = meant.root * z - torch.einsum("...k,...k->...", meant.deviation, luck)
    luck.addcmul_(meant.deviation, lacking.mul_(meant.inverse).unsqueeze(-1))
    return luck.mul_(meant.way).add_(meant.level)


def _called(function: Callable[..., None], luck: Tensor, z: Tensor, meant: Meant) -> Tensor:
    chips, numbers, cells = luck.shape
    luck, z, held = luck.contiguous(), z.expand(-1, numbers).contiguous(), list(vars(meant).values())
    several = max(map(len, held))
    if {len(z), several} - {1, chips}:
        raise ValueError(f"{len(z)} and {several} do not fit {tuple(luck.shape)}")
    held = [t.expand(several, numbers, *t.shape[2:]).contiguous() for t in held]
    addresses = (t.data_ptr() for t in (luck, z, *held))
    function(*addresses, chips, numbers, cells, int(len(z) > 1), int(several > 1))
    return luck


@lru_cache
def _compiled(make: bool) -> Callable[..., None] | None:
    """Return compiled code (``make``: compile it if need be) that gives PyTorch's bits; None if there is none."""
    draw = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.rand(shape, generator=draw) + 0.1

    for once in (1, 0):
        try:
            target = replace(machine(), flags=(*machine().flags, "-ffp-contract=off"))
            found = load(f"#define ONCE {once}\n{_SOURCE}", target, "divide", _ARGUMENTS, make=make)
        except Exception:  # no compiler, no cache, a full disk: it costs time, not the result
            return None
        if all(_agrees(found, some, cells) for cells in (1, 2, 3, 4, 8)):
            return found
    return None


def _agrees(function: Callable[..., None], some: Callable[..., Tensor], cells: int) -> bool:
    """Whether compiled code gives PyTorch's bits on some numbers."""
    luck, z, cell = some(3, 501, cells) - 0.6, some(3, 501) - 0.6, (1, 501, cells)
    meant = Meant(some(1, 501), some(1, 501), some(*cell), some(*cell) - 0.6, some(*cell))
    return torch.equal(_called(function, luck.clone(), z, meant), _computed(luck.clone(), z, meant))
