"""Drift compensation: outputs are scaled so that their mean size is again what it was when the chip was programmed.

    alpha = R(0) / R(t),    R = mean |w_ij|

R is what a layer's outputs come to on one-hot inputs, in the mean over outputs and inputs, so that it can be measured
on the arrays; alpha multiplies the layer's outputs, digitally. ``tensor``: one factor a layer (global drift
compensation); ``column``: one an output, R the mean over its inputs. Where all cells decay by the same factor a
differential weight is restored exactly; what exponents do that differ from cell to cell, stuck cells and noise is left.

Source: Joshi et al., Nature Communications 11, 2473 (2020); as in IBM aihwkit (GlobalDriftCompensation), R(t) there too
at least 1e-4 (of weights whose largest is 1; here of R(0)). R(t) is measured on the first reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from nvlib.conditions import outputs_first
from nvlib.deploy.context import Context, Deployment, Outcome, Procedure
from nvlib.errors import unknown

PER = ("tensor", "column")


@torch.no_grad()
def compensated(new: Tensor, held: Tensor, per: str = "tensor") -> Tensor:
    """Return what chips hold, scaled to the mean size of what they held when new; both (chips, outputs, ...)."""
    axes = tuple(range(2 if per == "column" and held.ndim > 2 else 1, held.ndim))
    before, now = (w.double().abs().mean(axes, keepdim=True) for w in (new, held))
    alpha = torch.where(before > 0, before / torch.maximum(now, 1e-4 * before), 1.0)
    return held * alpha.to(held.dtype)


@dataclass(frozen=True)
class Compensate(Deployment):
    """Scale the outputs of each layer by what it has lost.

    Attributes:
        per: one factor a ``tensor``, or one a ``column`` (an output).
    """

    per: str = "tensor"
    name: ClassVar[str] = "compensate"
    sets: ClassVar[int] = 2
    effects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what a factor cannot be of."""
        if self.per not in PER:
            raise unknown("part that a factor of compensation is of", self.per, PER)

    def procedure(self, context: Context) -> Procedure:
        """Scale a block of chips."""
        if self.per == "column":
            outputs_first(context.model, "compensation of each column", "per='tensor'")
        fresh = replace(context, crossbar=replace(context.crossbar, effects=()))

        def scaled(part: range, chips: Mapping[str, Tensor]) -> Outcome:
            new = fresh.program(part)
            return Outcome(context.score({name: compensated(new[name], w, self.per) for name, w in chips.items()}))

        return scaled
