"""Write-verify: program a cell, read it, and program it again until it is close enough.

The redraw model: every pulse leaves the cell at its level plus a fresh deviation, N(0, spread^2) with the device's
spread of that level, whatever the cell held before. With margin m and p = P(|z| <= m / spread) = erf(a / sqrt 2),
a = m / spread, the number of pulses is geometric and the residual deviation a truncated normal:

    E[pulses] = (1 - (1 - p)^max) / p,    sd(residual)^2 = spread^2 (1 - 2 a phi(a) / p)    (given that it converged).

The first pulse is the one that made the chip: cells of draw (seed, index) are those `nvlib.program` adds up
(`nvlib.deploy.cells`), so chips with and without verification are the same chips, and differences are paired.

The shortcut of the papers: verified weights simply stray with a smaller sigma (0.03), here ``sigma``; the pulses that
this takes are then the closed form's, at the margin whose residual is that sigma.

Source: Shim, Seo, Yu, "Two-step write-verify scheme ...", Semicond. Sci. Technol. 35, 2020, for the operation; Yan, Hu,
Shi, "SWIM", DAC 2022, and TSB Sec. 4.1 for the shortcut. Symbols: sigma and margin are shares of what sigma_d is
relative to (the cell's full scale, or one level); for a measured device factors on the deviation of its widest level.

Deviations from the papers: real devices are nudged by small pulses and converge faster or slower than by redrawing;
reads are exact here. The papers do not print the margin; by default it is the one that leaves ``sigma`` on the level
that strays most. A cell that is not within the margin after ``max_pulses`` stays as its last pulse left it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import erf
from torch import Tensor, nn

from nvlib import philox
from nvlib.crossbar import read_back
from nvlib.data import Dataset
from nvlib.deploy.cells import Cells, cells_of
from nvlib.deploy.deployed import Deployed
from nvlib.deploy.site import Remedied, Site, blocks, survey
from nvlib.devices import Device
from nvlib.errors import InputError

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
        device: Device, sigma_d: float, reference: str, *, sigma: float = 0.03, margin: float | None = None,
        max_pulses: int = 100, process: bool = True,
    ) -> Verification:  # fmt: skip
        """Return what verification means here; see the module for ``sigma`` and ``margin``."""
        unit = max(device.spread(1.0, reference))
        widest = max(device.spread(sigma_d, reference))
        held = margin_for(widest, sigma * unit) if margin is None else margin * unit
        spreads = device.spread(sigma_d, reference)
        smaller = device.spread(min(sigma, sigma_d), reference)
        return Verification(spreads, smaller, held, max_pulses, process)

    def expected(self, w: Tensor, device: Device, *, bits: int, mapping: str) -> Tensor:
        """Return the closed form's pulses for each cell of a tensor, (weights, cells)."""
        each = torch.tensor([mean_pulses(s, self.margin, self.max_pulses) for s in self.spreads], dtype=torch.float64)
        codes = cells_of(w, _coded(device, each), 1.0, bits=bits, reference="level", mapping=mapping)
        return codes.spread

    def mean(self, level: int = 0) -> float:
        """Return the expected pulses of a cell at one level."""
        return mean_pulses(self.spreads[level], self.margin, self.max_pulses)

    def written(self, site: Site, tensors: Mapping[str, Tensor]) -> np.ndarray:
        """Return the closed form's pulses for writing stacked tensors (chips, ...), (chips,)."""
        count = len(next(iter(tensors.values())))
        if len(set(self.spreads)) == 1:
            weights = sum(w[0].numel() for w in tensors.values())
            return np.full(count, site.count(weights) * self.mean())
        options = {"bits": site.bits, "mapping": site.mapping}
        each = [sum(float(self.expected(w[chip], site.device, **options).sum()) for w in tensors.values())
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


def _coded(device: Device, numbers: Tensor) -> Device:
    """Return a device whose levels' deviations are any numbers, so that they can be laid out as cells are."""
    values = tuple(range(2**device.bits))
    return Device(device.name, device.bits, values, tuple(numbers.tolist()), "level", True, "none: numbers", "a table")


@torch.no_grad()
def verify(
    site: Site, how: Verification, index: range, chips: Mapping[str, Tensor],
    which: Mapping[str, Tensor] | None = None,
) -> tuple[dict[str, Tensor], np.ndarray, int]:  # fmt: skip
    """Verify cells of programmed chips.

    Args:
        site: the chips' conditions.
        how: from `Verification.of`.
        index: which chips.
        chips: their weights, as `Site.program` gives them.
        which: name -> cells to verify, (weights, cells) or (weights, 1) bool; None: all. A tensor that is not named
            is left as it is.

    Returns:
        The chips' weights, pulses of each chip (chips,), and how many cells were verified.
    """
    parameters, out = dict(site.model.named_parameters()), dict(chips)
    pulses, verified = np.full(len(index), float(site.cells)), 0
    for name in site.arrays if which is None else which:
        w, held = parameters[name].detach(), chips[name]
        cells = cells_of(w, site.device, site.sigma_d, **site.options)
        mask = None if which is None else which[name].expand(cells.spread.shape)
        marked = cells.spread.numel() if mask is None else int(mask.sum())
        verified += marked
        if marked == 0:
            continue
        clean = read_back(w.unsqueeze(0), site.device, 0.0, None, **site.options).double()
        total = ((held.double() - clean) / cells.step if cells.step > 0 else held.double() * 0).flatten(1)
        whole = mask is None or bool((mask.all(1) | ~mask.any(1)).all())
        if how.process:
            first = cells.draw(total, site.seed, index, name)
            left, count = how.repeat(cells, first, site.seed, index, name, mask)
            pulses += (count - 1).flatten(1).sum(1).cpu().numpy()
            total = left.sum(-1)
        else:
            table = torch.tensor(how.after, dtype=torch.float64)
            after = cells_of(w, _coded(site.device, table), 1.0, bits=site.bits, reference="level",
                             mapping=site.mapping).deviation  # fmt: skip
            chosen = torch.ones_like(after, dtype=torch.bool) if mask is None else mask
            z = philox.normal(site.seed, index, f"verified/{name}", len(after), w.device)
            kept = 0.0
            if not whole:  # some cells of a weight only: the others stay as they are
                kept = torch.where(chosen, 0.0, cells.draw(total, site.seed, index, name)).sum(-1)
            fresh = kept + z * torch.where(chosen, after**2, 0.0).sum(-1).sqrt()
            total = torch.where(chosen.any(1), fresh, total)
            expected = how.expected(w, site.device, bits=site.bits, mapping=site.mapping)
            pulses += float(torch.where(chosen, expected - 1, 0.0).sum())
        moved = (clean + (cells.step * total).view(held.shape)).to(held.dtype)
        touched = None if mask is None else mask.any(1).view(w.shape)
        out[name] = moved if touched is None else torch.where(touched, moved, held)
    return out, pulses, verified


# -- the method ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WriteVerify:
    """Verify all cells of a chip.

    Attributes:
        sigma: deviation that verified cells are left with, in the unit of sigma_d.
        margin: how far a cell may be off, in the unit of sigma_d; None: what leaves ``sigma``.
        max_pulses: at most so many pulses a cell.
        process: draw every pulse; False: the shortcut, verified weights stray with ``sigma``.
    """

    sigma: float = 0.03
    margin: float | None = None
    max_pulses: int = 100
    process: bool = True
    name: ClassVar[str] = "write_verify"

    def __post_init__(self) -> None:
        """Refuse values that verify nothing."""
        check_verification(self.sigma, self.margin, self.max_pulses)
        if self.margin is not None and not self.process:
            raise InputError("margin has no meaning for the shortcut (process=False), which takes sigma; leave it out")

    def verification(self, device: Device, sigma_d: float, reference: str) -> Verification:
        """Return what the parameters come to on a device."""
        return Verification.of(device, sigma_d, reference, sigma=self.sigma, margin=self.margin,
                               max_pulses=self.max_pulses, process=self.process)  # fmt: skip

    def apply(
        self, model: nn.Module, data: Dataset, device: str | Device, sigma_d: float | None, *, index: range,
        seed: int = 0, bits: int | None = None, reference: str = "full_scale", mapping: str = "differential",
        on: str | torch.device = "cpu", progress: bool | Callable[[int, int], None] = False,
    ) -> Iterator[Deployed]:  # fmt: skip
        """Yield blocks of verified chips; arguments as `nvlib.monte_carlo` has them."""
        site = survey(model, data, device, sigma_d, seed=seed, bits=bits, reference=reference, mapping=mapping, on=on,
                      chips=len(index))  # fmt: skip
        how = self.verification(site.device, site.sigma_d, reference)

        def remedy(part: range, chips: Mapping[str, Tensor]) -> Remedied:
            held, pulses, verified = verify(site, how, part, chips)
            return Remedied(site.score(held), verified, pulses)

        return blocks(site, index, remedy, progress=progress)


def check_verification(sigma: float | None, margin: float | None, max_pulses: int) -> None:
    """Raise InputError for values that verify nothing."""
    for name, value in (("sigma", sigma), ("margin", margin)):
        if value is not None and not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
            raise InputError(f"{name}={value!r} is not usable; expected a number above 0, e.g. 0.03")
    if isinstance(max_pulses, bool) or not isinstance(max_pulses, int) or max_pulses < 1:
        raise InputError(f"max_pulses={max_pulses!r} is not usable; expected a whole number of at least 1")
