r"""Variation that cells share: by die, by row, by column, by place.

Of the programming variance of a cell, whose standard deviation stays ``spread``, shares rho are common:

    dv = spread (sqrt(1 - rho) z + sqrt(rho_d) u_die + sqrt(rho_r) u_row + sqrt(rho_c) u_column + sqrt(rho_f) f(place)),
    rho = rho_d + rho_r + rho_c + rho_f

with z each cell's own luck (the chip's, as without the effect), u_die one standard normal for a whole chip, u_row one
for each input (word line) of a weight matrix, u_column one for each output (bit lines), and f a Gaussian field over
inputs and outputs with correlation exp(-d^2 / (2 length^2)), d counted in weights. Slices of a weight lie side by side
and share all of it. So do the two chains of ``differential`` in ``one`` array; ``apart`` they share nothing: two dies.

A weight's variance, in steps squared, with a_j = 4^(jK) spread_j^2 and b_j = 2^(jK) spread_j of the holding chain, a_0
and b_0 of the idle one (none when ``signed``):

    signed               (1 - rho) sum a_j               + rho (sum b_j)^2
    differential, apart  (1 - rho) sum (a_j + a_0j)      + rho ((sum b_j)^2 + (sum b_0j)^2)
    differential, one    (1 - rho) sum (a_j + a_0j)      + rho (sum b_j - sum b_0j)^2

so that what is common adds up over slices, and cancels in a differential pair as far as both levels stray alike.
No published simulator models this at inference; the papers name global and local variation. Rows and columns are those
of the whole weight matrix, not of tiles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from nvlib.effects.protocol import Programmed
from nvlib.effects.values import checked, text
from nvlib.errors import InputError, unknown

CHAINS = ("one", "apart")
_SHARES = ("die", "row", "column", "field")


@dataclass(frozen=True)
class CommonVariation:
    """Shares of the programming variance that cells have in common.

    Attributes:
        die: share of the whole chip's.
        row: share of an input's.
        column: share of an output's.
        field: share of a smooth field's.
        length: of the field's correlation, in weights.
        chains: whether the two chains of a differential weight lie in ``one`` array or ``apart``.
    """

    die: float = 0.0
    row: float = 0.0
    column: float = 0.0
    field: float = 0.0
    length: float = 10.0
    chains: str = "one"
    name: ClassVar[str] = "common"
    first: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what are no shares."""
        for key in _SHARES:
            checked(self, key, 0.0, 1.0, ", a share of the variance")
        checked(self, "length", 1.0, 1e6, " (weights)")
        if self.total > 1 + 1e-9:
            raise InputError(f"common: shares add up to {self.total:g}; expected 1 at most: of the variance of a cell")
        if self.chains not in CHAINS:
            raise unknown("place of the chains", self.chains, CHAINS)

    @property
    def total(self) -> float:
        """Return the share of the variance that is common, rho."""
        return sum(getattr(self, key) for key in _SHARES)

    def __str__(self) -> str:
        """Return it as text."""
        return text(self)

    def befall(self, v: Tensor, cells: Programmed) -> Tensor:
        """Put common variation in place of a part of the cells' own."""
        if not self.total:
            return v
        own = (v - cells.level).mul_(math.sqrt(max(0.0, 1 - self.total))).add_(cells.level)
        shared = self.shared(cells, "plus")
        if cells.chains == 1 or self.chains == "one":
            return own.addcmul_(cells.spread, shared.unsqueeze(-1))
        minus, slices = self.shared(cells, "minus"), cells.spread.shape[-1] // 2
        holding = torch.where(cells.negative, minus, shared).unsqueeze(-1).expand(*own.shape[:-1], slices)
        idle = torch.where(cells.negative, shared, minus).unsqueeze(-1).expand(*own.shape[:-1], slices)
        return own.addcmul_(cells.spread, torch.cat([holding, idle], -1))

    def moved(self, along: Tensor, cells: Programmed, signs: Tensor) -> Tensor:
        """Return by how much weights change, in steps in the direction of their sign, (chips, weights), without cells.

        Args:
            along: how far they strayed in programming, likewise.
            cells: as they were meant.
            signs: what a cell counts for in its weight.
        """
        if not self.total:
            return torch.zeros_like(along)
        own, shared = (math.sqrt(max(0.0, 1 - self.total)) - 1) * along, self.shared(cells, "plus")
        each = cells.spread * signs
        if cells.chains == 1 or self.chains == "one":
            return own + each.sum(-1) * shared
        minus, slices = self.shared(cells, "minus"), cells.spread.shape[-1] // 2
        holding, idle = each[..., :slices].sum(-1), each[..., slices:].sum(-1)
        return own + holding * torch.where(cells.negative, minus, shared) + idle * torch.where(
            cells.negative, shared, minus
        )

    def shared(self, cells: Programmed, array: str) -> Tensor:
        """Return what the cells of each weight share on an array, (chips, weights), with variance rho."""
        outputs = cells.shape[0]
        inputs = cells.digit.shape[1] // max(outputs, 1)
        found = cells.programmed.new_zeros(len(cells.programmed), outputs, inputs)
        if self.die:
            u = cells.normal(f"common/die/{array}", 1, whole_chip=True)
            found += math.sqrt(self.die) * u.unsqueeze(-1)
        if self.row:
            found += math.sqrt(self.row) * cells.normal(f"common/row/{array}", inputs).unsqueeze(1)
        if self.column:
            found += math.sqrt(self.column) * cells.normal(f"common/column/{array}", outputs).unsqueeze(2)
        if self.field:
            down, across = (bumps(size, self.length).to(found) for size in (outputs, inputs))
            z = cells.normal(f"common/field/{array}", down.shape[1] * across.shape[1])
            white = z.view(len(z), down.shape[1], across.shape[1])
            found += math.sqrt(self.field) * (down @ white @ across.T)
        return found.flatten(1)


@lru_cache(maxsize=64)
def bumps(size: int, length: float) -> Tensor:
    """Return the weights (size, sources) by which white noise makes a field of unit variance.

    Gaussian bumps exp(-d^2 / length^2) at sources half a length apart: the correlation of places is
    exp(-d^2 / (2 length^2)), to better than 1e-6.
    """
    pitch = length / 2
    beyond = math.ceil(4 * length / pitch)
    sources = torch.arange(-beyond, math.ceil((size - 1) / pitch) + beyond + 1, dtype=torch.float64) * pitch
    d = torch.arange(size, dtype=torch.float64)[:, None] - sources
    weight = torch.exp(-(d**2) / length**2)
    return weight / weight.square().sum(1, keepdim=True).sqrt()
