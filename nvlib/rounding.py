"""How far a shorter precision than float32 changes what chips score, measured on the same chips.

Over c chips of n images each: off = 100 (g - l) / (c n) points, with g labels that only the shorter precision has right
and l that only float32 has; its standard error is 100 sqrt(g + l) / (c n), were each of these a toss. A precision is
allowed where |off| <= 0.05 + 2 standard errors.

>>> from nvlib import data, models, population, rounding
>>> mnist, model = data.load("mnist", limit=20), models.build("lenet3", seed=0).eval()
>>> plan = population.Plan(2, 20, "loop", 1, "cpu")
>>> rounding.rounding(model, mnist.test, plan, "rram", 0.1).off  # float32 beside itself
0.0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import nn

from nvlib import population
from nvlib.conditions import LEFT_OUT, Conditions, Crossbar, as_crossbar
from nvlib.crossbar import program
from nvlib.data import Split
from nvlib.devices import Device
from nvlib.functional import evaluating
from nvlib.population import Plan

COMPARED = 4  # chips that are scored both in float32 and in a shorter precision before that is used
TOLERANCE = 0.05  # points of accuracy that it may be off


@dataclass(frozen=True)
class Rounding:
    """What a shorter precision changes: the same chips scored in it and in float32.

    Attributes:
        precision: the shorter one.
        chips, images: how many were compared.
        off: mean accuracy in it, less that in float32 (points).
        error: standard error of ``off``, from how many labels became right and wrong (points).
        changed: share of predicted labels that differ (percent).
    """

    precision: str
    chips: int
    images: int
    off: float
    error: float
    changed: float

    @property
    def allowed(self) -> bool:
        """Whether accuracies agree within `TOLERANCE`, as far as so many chips and images can tell."""
        return abs(self.off) <= TOLERANCE + 2 * self.error

    def text(self) -> str:
        """Return it in a line."""
        return (f"{self.precision} is {self.off:+.3f} points off float32 on {self.chips} chips and {self.images:,} "
                f"images, with {self.changed:.3f} % of labels changed")  # fmt: skip


def rounding(
    model: nn.Module, split: Split, plan: Plan, crossbar: Crossbar | Device | str | None = None,
    sigma_d: float | None = LEFT_OUT, *, seed: int = 0, **conditions: Unpack[Conditions],
) -> Rounding:  # fmt: skip
    """Score a few chips in a plan's precision and in float32, and compare.

    Args:
        model: any module, on the device that computes.
        split: images and labels there.
        plan: with a precision other than float32.
        crossbar: of the chips: the conditions, or a device with ``sigma_d`` and ``conditions`` beside it.
        sigma_d: of the chips.
        seed: the family of chips.
        **conditions: other fields of `nvlib.Crossbar`.
    """
    crossbar = as_crossbar(crossbar, sigma_d, **conditions)
    count = 1 if crossbar.sigma_d == 0 else COMPARED
    found = {}
    with evaluating(model), torch.inference_mode():
        chips = program(model, crossbar, seed=seed, index=range(count))
        for precision in (plan.precision, "float32"):
            found[precision] = torch.cat([
                population.forward(model, chips, x, how=plan.how, precision=precision).argmax(-1)
                for x in split.x.split(plan.images)
            ], 1)  # fmt: skip
    short, long = found[plan.precision] == split.y, found["float32"] == split.y
    total = short.numel()
    won, lost = int((short & ~long).sum()), int((long & ~short).sum())
    changed = int((found[plan.precision] != found["float32"]).sum())
    return Rounding(plan.precision, count, len(split.y), 100 * (won - lost) / total, 100 * (won + lost) ** 0.5 / total,
                    100 * changed / total)  # fmt: skip
