"""The redraw model of write-verify: the closed form, and the process pulse by pulse.

Every pulse leaves the cell at its level plus a fresh deviation, N(0, spread^2) with the device's spread of that level,
whatever the cell held before. With margin m and p = P(|z| <= m / spread) = erf(a / sqrt 2), a = m / spread, the number
of pulses is geometric and the residual deviation a truncated normal:

    E[pulses] = (1 - (1 - p)^max) / p,    sd(residual)^2 = spread^2 (1 - 2 a phi(a) / p)    (given that it converged).

Symbols: sigma and margin are shares of what sigma_d is relative to (the cell's full scale, or one level); for a
measured device factors on the deviation of its widest level.

Deviations from the papers: real devices are nudged by small pulses and converge faster or slower than by redrawing;
reads are exact here. The papers do not print the margin; by default it is the one that leaves ``sigma`` on the level
that strays most. A cell that is not within the margin after ``max_pulses`` stays as its last pulse left it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import erf
from torch import Tensor

from nvlib import philox
from nvlib.cells import Cells, cells_of
from nvlib.conditions import Crossbar
from nvlib.deploy.context import Context
from nvlib.devices import Device
from nvlib.errors import number, whole

_ROUND = 4  # pulses drawn at once: the four words of a counter


# -- the closed form -------------------------------------------------------------------------------------------------


def chance(spread: float, margin: float) -> float:
    """Return p, the probability that one pulse lands within the margin."""
    return 1.0 if spread == 0 else float(erf(margin / spread / math.sqrt(2)))


def mean_pulses(spread: float, margin: float, max_pulses: float = math.inf) -> float:
    """Return the expected number of pulses of one cell."""
    p = chance(spread, margin)
    if p == 0:
        return max_pulses
    return (1 - (1 - p) ** max_pulses) / p


def residual(spread: float, margin: float) -> float:
    """Return the standard deviation of a cell that was verified."""
    if spread == 0 or math.isinf(margin):
        return spread
    a = margin / spread
    if a < 1e-3:  # the uniform limit, where the difference below would cancel
        return margin / math.sqrt(3)
    density = math.exp(-(a**2) / 2) / math.sqrt(2 * math.pi)
    return spread * math.sqrt(max(0.0, 1 - 2 * a * density / chance(spread, margin)))


@lru_cache(maxsize=256)
def margin_for(spread: float, wanted: float) -> float:
    """Return the margin that leaves a deviation of ``wanted``; infinite where the cell strays no further anyway."""
    if wanted >= spread:
        return math.inf
    return brentq(lambda m: residual(spread, m) - wanted, 0.0, 12 * spread, xtol=1e-12 * spread, rtol=1e-12)


# -- the process -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verification:
    """How cells are verified, in level units: what a device, a sigma_d and a method's parameters come to."""

    spreads: tuple[float, ...]  # of each level at sigma_d
    after: tuple[float, ...]  # of each level, verified by the shortcut
    margin: float
    max_pulses: int
    process: bool

    @staticmethod
    def of(
        crossbar: Crossbar, *, sigma: float = 0.03, margin: float | None = None,
        max_pulses: int = 100, process: bool = True,
    ) -> Verification:  # fmt: skip
        """Return what verification means here; see the module for ``sigma`` and ``margin``."""
        device, sigma_d, reference = crossbar.device, crossbar.sigma_d, crossbar.reference
        unit = max(device.spread(1.0, reference))
        widest = max(device.spread(sigma_d, reference))
        held = margin_for(widest, sigma * unit) if margin is None else margin * unit
        spreads = device.spread(sigma_d, reference)
        smaller = device.spread(min(sigma, sigma_d), reference)
        return Verification(spreads, smaller, held, max_pulses, process)

    def expected(self, w: Tensor, crossbar: Crossbar) -> Tensor:
        """Return the closed form's pulses for each cell of a tensor, (weights, cells)."""
        each = torch.tensor([mean_pulses(s, self.margin, self.max_pulses) for s in self.spreads], dtype=torch.float64)
        return cells_of(w, coded(crossbar, each)).spread

    def mean(self, level: int = 0) -> float:
        """Return the expected pulses of a cell at one level."""
        return mean_pulses(self.spreads[level], self.margin, self.max_pulses)

    def written(self, context: Context, tensors: Mapping[str, Tensor]) -> np.ndarray:
        """Return the closed form's pulses for writing stacked tensors (chips, ...), (chips,)."""
        count = len(next(iter(tensors.values())))
        if len(set(self.spreads)) == 1:
            weights = sum(w[0].numel() for w in tensors.values())
            return np.full(count, context.count(weights) * self.mean())
        each = [sum(float(self.expected(w[chip], context.crossbar).sum()) for w in tensors.values())
                for chip in range(count)]  # fmt: skip
        return np.array(each)

    def repeat(
        self, cells: Cells, first: Tensor, seed: int, index: range, name: str, which: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read and write again until all cells that are to be verified are within the margin.

        Args:
            cells: of the tensor.
            first: what the first pulse left, in units of the step, (chips, weights, cells).
            seed: the family of draws.
            index: which chips.
            name: of the tensor.
            which: cells to verify, (weights, cells) bool; None: all.

        Returns:
            Deviations as ``first``, and pulses (chips, weights, cells), 1 where nothing was verified.
        """
        left, pulses = first.clone(), torch.ones_like(first)
        reach = self.margin * cells.weight
        open_ = left.abs() > reach
        if which is not None:
            open_ &= which
        shape, size = first.shape, first[0].numel()
        for pulse in range(1, self.max_pulses):
            if not open_.any():
                break
            turn = (pulse - 1) % _ROUND
            if turn == 0:  # element 4 b + j of a stream: pulse j of cell b
                stream = f"verify/{name}/{(pulse - 1) // _ROUND}"
                drawn = philox.normal(seed, index, stream, size * _ROUND, first.device).view(*shape, _ROUND)
            left = torch.where(open_, drawn[..., turn] * cells.deviation, left)
            pulses += open_
            open_ &= left.abs() > reach
        return left, pulses


def coded(crossbar: Crossbar, numbers: Tensor) -> Crossbar:
    """Return a crossbar whose levels' deviations are any numbers, so that they can be laid out as cells are."""
    name, bits = crossbar.device.name, crossbar.device.bits
    levels = tuple(range(2**bits))
    table = Device(name, bits, levels, tuple(numbers.tolist()), "level", True, "none: numbers", "a table")
    return replace(crossbar, device=table, sigma_d=1.0, reference="level")


def check_verification(sigma: float | None, margin: float | None, max_pulses: int) -> None:
    """Raise InputError for values that verify nothing."""
    for name, value in (("sigma", sigma), ("margin", margin)):
        if value is not None:
            number(name, value, above=True, otherwise=", e.g. 0.03")
    whole("max_pulses", max_pulses, 1)
