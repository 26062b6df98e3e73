"""Write-verify: program a cell, read it, and program it again until it is close enough.

How many pulses that takes and what it leaves is the redraw model's (`nvlib.deploy.verify_model`). The first pulse is
the one that made the chip: cells of draw (seed, index) are those `nvlib.program` adds up (`nvlib.cells`), so chips with
and without verification are the same chips, and differences are paired.

The shortcut of the papers: verified weights simply stray with a smaller sigma (0.03), here ``sigma``; the pulses that
this takes are then the closed form's, at the margin whose residual is that sigma.

Source: Shim, Seo, Yu, "Two-step write-verify scheme ...", Semicond. Sci. Technol. 35, 2020, for the operation; Yan, Hu,
Shi, "SWIM", DAC 2022, and TSB Sec. 4.1 for the shortcut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nvlib import modules, philox
from nvlib.cells import cells_of
from nvlib.crossbar import read_back
from nvlib.deploy.context import Context, Deployment, Outcome, Procedure
from nvlib.deploy.verify_model import Verification, check_verification, coded
from nvlib.errors import InputError


@torch.no_grad()
def verify(
    context: Context, how: Verification, index: range, chips: Mapping[str, Tensor],
    which: Mapping[str, Tensor] | None = None,
) -> tuple[dict[str, Tensor], np.ndarray, int]:  # fmt: skip
    """Verify cells of programmed chips.

    Args:
        context: the chips' conditions.
        how: from `Verification.of`.
        index: which chips.
        chips: their weights, as `Context.program` gives them.
        which: name -> cells to verify, (weights, cells) or (weights, 1) bool; None: all. A tensor that is not named
            is left as it is.

    Returns:
        The chips' weights, pulses of each chip (chips,), and how many cells were verified.
    """
    parameters, out = dict(context.model.named_parameters()), dict(chips)
    pulses, verified, address = np.full(len(index), float(context.cells)), 0, modules.address(context.model)
    for name in context.arrays if which is None else which:
        w, held, here = parameters[name].detach(), chips[name], address(name)
        cells = cells_of(w, context.crossbar)
        mask = None if which is None else which[name].expand(cells.spread.shape)
        marked = cells.spread.numel() if mask is None else int(mask.sum())
        verified += marked
        if marked == 0:
            continue
        clean = read_back(w.unsqueeze(0), context.crossbar, None).double()
        step = cells.step.flatten()  # one, or one a weight
        total = (held.double() - clean).flatten(1) / torch.where(step > 0, step, torch.inf)
        whole = mask is None or bool((mask.all(1) | ~mask.any(1)).all())
        if how.process:
            first = cells.draw(total, context.seed, index, here)
            left, count = how.repeat(cells, first, context.seed, index, here, mask)
            pulses += (count - 1).flatten(1).sum(1).cpu().numpy()
            total = left.sum(-1)
        else:
            table = torch.tensor(how.after, dtype=torch.float64)
            after = cells_of(w, coded(context.crossbar, table)).deviation
            chosen = torch.ones_like(after, dtype=torch.bool) if mask is None else mask
            z = philox.normal(context.seed, index, f"verified/{here}", len(after), w.device)
            kept = 0.0
            if not whole:  # some cells of a weight only: the others stay as they are
                kept = torch.where(chosen, 0.0, cells.draw(total, context.seed, index, here)).sum(-1)
            fresh = kept + z * torch.where(chosen, after**2, 0.0).sum(-1).sqrt()
            total = torch.where(chosen.any(1), fresh, total)
            expected = how.expected(w, context.crossbar)
            pulses += float(torch.where(chosen, expected - 1, 0.0).sum())
        moved = (clean + (step * total).view(held.shape)).to(held.dtype)
        touched = None if mask is None else mask.any(1).view(w.shape)
        out[name] = moved if touched is None else torch.where(touched, moved, held)
    return out, pulses, verified


@dataclass(frozen=True, kw_only=True)
class Verifies(Deployment):
    """What methods that verify cells share.

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

    def __post_init__(self) -> None:
        """Refuse values that verify nothing."""
        check_verification(self.sigma, self.margin, self.max_pulses)
        if self.margin is not None and not self.process:
            raise InputError("margin has no meaning for the shortcut (process=False), which takes sigma; leave it out")

    def verification(self, context: Context) -> Verification:
        """Return what the parameters come to on the site's device."""
        return Verification.of(context.crossbar, sigma=self.sigma, margin=self.margin, max_pulses=self.max_pulses,
                               process=self.process)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class WriteVerify(Verifies):
    """Verify all cells of a chip; parameters as `Verifies` has them."""

    name: ClassVar[str] = "write_verify"

    def procedure(self, context: Context) -> Procedure:
        """Verify all cells of a block of chips."""
        how = self.verification(context)

        def verified_(part: range, chips: Mapping[str, Tensor]) -> Outcome:
            held, pulses, verified = verify(context, how, part, chips)
            return Outcome(context.score(held), verified, pulses)

        return verified_
