"""SWIM, selective write-verify: verify the weights that matter most, and stop when the chip is good enough.

    rank weights by d^2 L / dw_i^2, descending; equal ones by |w_i|
    repeat: write-verify the next share of the weights; read the chip's accuracy
    until its loss of accuracy is below the target

Source: Yan, Hu, Shi, "SWIM: Selective Write-Verify for Computing-in-Memory Neural Accelerators", DAC 2022; [24] of
TRICE. Rivals: ranking by magnitude, and at random. Symbols: ``fraction`` of the weights that are verified (at most,
where there is a ``target``), ``step`` between two looks.

A look at one weight's cells says more: slice j holds 2^(jK), so that its cell's deviation moves the loss 4^(jK) times
as much as the lowest one's. With ``unit="cell"`` cells are ranked one by one, by the loss's second derivative with
respect to what the cell holds, s^2 4^(jK) d^2 L / dw^2. ``expected`` ranks by what a weight's or cell's deviation adds
to the expected loss, half of the second derivative times the variance: it knows that tensors differ in scale.

Deviations from the paper: the second derivative is exact or sampled instead of SWIM's layer-by-layer recursion
(`nvlib.deploy.sensitivity`), at the quantised weights, on training images; accuracy for the stop is read on validation
data; the verified share is what SWIM counts, of weights (or of cells with ``unit="cell"``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from nvlib import modules, philox
from nvlib.cells import cells_of
from nvlib.conditions import LEFT_OUT, Conditions, Crossbar
from nvlib.crossbar import read_back
from nvlib.data import Dataset, Split
from nvlib.deploy.context import BLOCK, Context, Outcome, Procedure, prepare
from nvlib.deploy.sensitivity import ESTIMATES, curvature
from nvlib.deploy.verify_model import Verification
from nvlib.deploy.write_verify import Verifies, verify
from nvlib.devices import Device
from nvlib.errors import InputError, unknown, whole_field

if TYPE_CHECKING:
    import pandas as pd

RANKINGS = ("curvature", "expected", "magnitude", "random")
UNITS = ("weight", "cell")


@dataclass(frozen=True)
class Swim(Verifies):
    """Verify the weights (or cells) that a ranking puts first.

    Attributes:
        fraction: share that is verified; with ``target`` at most.
        target: stop once accuracy on validation data is within so many points of the quantised model's; None: don't.
        step: share verified between two looks at the accuracy.
        ranking: ``curvature`` (SWIM), ``expected``, ``magnitude`` or ``random``.
        unit: what is ranked and verified, ``weight`` or ``cell``.
        estimate: of the curvature, ``exact`` or ``sampled``.
        images: of the training split, that the curvature is taken on.
        sigma, margin, max_pulses, process: as `Verifies` has them.
    """

    fraction: float = 0.1
    target: float | None = None
    step: float = 0.05
    ranking: str = "curvature"
    unit: str = "weight"
    estimate: str = "exact"
    images: int = 500
    name: ClassVar[str] = "swim"

    def __post_init__(self) -> None:
        """Refuse values that rank or verify nothing."""
        super().__post_init__()
        for what, value, names in (("ranking", self.ranking, RANKINGS), ("unit to verify", self.unit, UNITS),
                                   ("estimate of the curvature", self.estimate, ESTIMATES)):  # fmt: skip
            if value not in names:
                raise unknown(what, value, names)
        for key, low in (("fraction", 0.0), ("step", None)):
            value = getattr(self, key)
            inside = isinstance(value, int | float) and (value > 0 if low is None else value >= low) and value <= 1
            if not inside:
                raise InputError(f"{key}={value!r} is not usable; expected a share between 0 and 1")
        if self.target is not None and not (isinstance(self.target, int | float) and self.target >= 0):
            raise InputError(f"target={self.target!r} is not usable; expected points of accuracy, at least 0")
        whole_field(self, "images", 1)

    # -- ranking -----------------------------------------------------------------------------------------------------

    def order(self, context: Context) -> Order:
        """Return the weights or cells of all tensors in the order of verification."""
        own = dict(context.model.named_parameters())
        clean = {n: read_back(own[n].detach().unsqueeze(0), context.crossbar, None)[0]
                 for n in context.arrays}  # fmt: skip
        bends: Mapping[str, Tensor] = {}
        if self.ranking in ("curvature", "expected"):
            few = Split(context.train.x[: self.images], context.train.y[: self.images])
            bends = curvature(context.model, clean, few, context.arrays, estimate=self.estimate, seed=context.seed)
        scores, ties, address = [], [], modules.address(context.model)
        for name in context.arrays:
            cells = cells_of(own[name], context.crossbar)
            size = clean[name].double().abs().reshape(-1, 1)
            lever = (cells.step * cells.weight) ** 2  # of a cell's conductance on the weight, squared
            if self.ranking == "random":
                shape = cells.spread.shape if self.unit == "cell" else size.shape
                here = f"swim/{self.unit}/{address(name)}"
                score = philox.uniform(context.seed, 0, here, int(np.prod(shape)), size.device)
                score = score.view(shape)
            elif self.ranking == "magnitude":
                score = size * (lever.sqrt() if self.unit == "cell" else 1.0)
            else:
                bend = bends[name].reshape(-1, 1)
                each = lever if self.ranking == "curvature" else 0.5 * lever * cells.spread**2
                score = bend * each
                if self.unit == "weight":
                    score = bend if self.ranking == "curvature" else score.sum(1, keepdim=True)
            scores.append(score.cpu().numpy())
            ties.append(np.broadcast_to(size.cpu().numpy(), score.shape))
        ranks = np.lexsort([-np.concatenate([t.ravel() for t in ties]), -np.concatenate([s.ravel() for s in scores])])
        return Order(dict(zip(context.arrays, (s.shape for s in scores), strict=True)), ranks, context.train.x.device)

    # -- deployment --------------------------------------------------------------------------------------------------

    sets: ClassVar[int] = 2

    def procedure(self, context: Context) -> Procedure:
        """Verify the first cells of the order, or as many as the target asks for."""
        how, order = self.verification(context), self.order(context)
        goal = None if self.target is None else context.ideal(context.validation) - self.target

        def verified_(part: range, chips: Mapping[str, Tensor]) -> Outcome:
            if goal is None:
                held, pulses, verified = verify(context, how, part, chips, order.first(self.fraction))
                return Outcome(context.score(held), verified, pulses)
            return self._until(context, how, order, goal, part, chips)

        return verified_

    def _until(
        self, context: Context, how: Verification, order: Order, goal: float, part: range, chips: Mapping[str, Tensor]
    ) -> Outcome:
        """Verify share after share until each chip's accuracy on validation data is good enough."""
        best = {name: w.clone() for name, w in chips.items()}
        pulses, verified = np.full(len(part), float(context.cells)), np.zeros(len(part), np.int64)
        met = context.score(best, context.validation)[0].numpy() >= goal
        for i in range(1, 1 + int(np.ceil(self.fraction / self.step - 1e-9))):
            if met.all():
                break
            share = min(i * self.step, self.fraction)
            held, spent, count = verify(context, how, part, chips, order.first(share))
            for row in np.flatnonzero(~met):
                for name in best:
                    best[name][row] = held[name][row]
            pulses, verified = np.where(met, pulses, spent), np.where(met, verified, count)
            met |= context.score(held, context.validation)[0].numpy() >= goal
        return Outcome(context.score(best), verified, pulses)


@dataclass(frozen=True)
class Order:
    """In which order weights or cells are verified: positions in the concatenation of all tensors."""

    shapes: dict[str, tuple[int, ...]]  # (weights, cells) or (weights, 1), by tensor
    ranks: np.ndarray
    device: torch.device

    def first(self, fraction: float) -> dict[str, Tensor]:
        """Return which of each tensor come first: name -> bool, in the tensor's shape here."""
        chosen = np.zeros(len(self.ranks), dtype=bool)
        chosen[self.ranks[: round(fraction * len(self.ranks))]] = True
        masks, start = {}, 0
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            masks[name] = torch.from_numpy(chosen[start : start + size].reshape(shape)).to(self.device)
            start += size
        return masks


def sweep(
    model: nn.Module, data: Dataset, crossbar: Crossbar | Device | str | None = None,
    sigma_d: float | None = LEFT_OUT, *, index: range,
    fractions: Sequence[float] = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0),
    rankings: Sequence[str] = ("curvature", "magnitude", "random"), method: Swim | None = None, seed: int = 0,
    on: str | torch.device = "cpu", **conditions: Unpack[Conditions],
) -> pd.DataFrame:  # fmt: skip
    """Score the same chips at several verified shares under several rankings.

    Returns:
        A row a ranking, share and chip: ranking, fraction, chip, accuracy (test split, percent), before, ideal,
        cells, verified, pulses.
    """
    import pandas as pd

    method = method or Swim()
    context = prepare(model, data, crossbar, sigma_d, seed=seed, on=on,
                  chips=len(index) * len(fractions) * len(rankings), **conditions)  # fmt: skip
    ideal, how, rows = context.ideal(), method.verification(context), []
    orders = {ranking: replace(method, ranking=ranking).order(context) for ranking in rankings}
    for start in range(0, len(index), BLOCK):
        part = index[start : start + BLOCK]
        chips = context.program(part)
        before = context.score(chips)[0].numpy()
        for ranking, order in orders.items():
            for fraction in fractions:
                held, pulses, verified = verify(context, how, part, chips, order.first(fraction))
                accuracy = before if verified == 0 else context.score(held)[0].numpy()
                rows.append(pd.DataFrame({
                    "ranking": ranking, "fraction": float(fraction), "chip": np.array(part), "accuracy": accuracy,
                    "before": before, "ideal": ideal, "cells": context.cells, "verified": verified, "pulses": pulses,
                }))  # fmt: skip
    return pd.concat(rows, ignore_index=True)
