"""Where deployment happens: the chips of one call, what is known of them, and how they are scored.

All deployment methods share one shape. For each block of chips: program the model (the same draws as `nvlib.program`),
score the chips as they are, apply the procedure, score them again. A chip's procedure uses nothing of its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Protocol, Unpack

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from nvlib import noise_coverage, population, probe
from nvlib.conditions import LEFT_OUT, Conditions, Crossbar, as_crossbar
from nvlib.copies import private
from nvlib.crossbar import array_weights, program
from nvlib.data import Dataset, Split
from nvlib.deploy.deployed import COLUMNS, Deployed
from nvlib.deploy.finetune import Tuned
from nvlib.devices import Device
from nvlib.errors import InputError
from nvlib.evaluate import as_split, score
from nvlib.modules import switched
from nvlib.philox import check_seed
from nvlib.population import Plan

BLOCK = 16  # chips at a time, unless memory bids fewer


@dataclass(frozen=True)
class Context:
    """A model to deploy, in evaluation mode, with the conditions of its chips."""

    model: nn.Module
    arrays: list[str]
    crossbar: Crossbar  # with its bits
    seed: int
    train: Split
    validation: Split
    test: Split
    plan: Plan

    @property
    def sigma_d(self) -> float:
        """Return the size of the variation."""
        return self.crossbar.sigma_d

    @property
    def cells(self) -> int:
        """Return the cells of the model on one chip."""
        parameters = dict(self.model.named_parameters())
        return self.count(sum(parameters[name].numel() for name in self.arrays))

    def count(self, weights: int) -> int:
        """Return how many cells so many weights take."""
        return int(weights) * self.crossbar.cells

    def program(self, index: range, sigma_d: float | None = None) -> dict[str, Tensor]:
        """Return the weights on chips ``index``: those of `nvlib.program`."""
        crossbar = self.crossbar if sigma_d is None else self.crossbar.at(sigma_d)
        held = program(self.model, crossbar, seed=self.seed, index=index)
        return {name: w.contiguous() for name, w in held.items()}

    def score(
        self, weights: dict[str, Tensor], split: Split | None = None, model: nn.Module | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return accuracy (percent), loss and EKL (nats) of stacked weights, on the test split by default."""
        split = self.test if split is None else split
        model = self.model if model is None else model
        how = self.plan.how
        if model is not self.model or next(iter(weights.values())).dtype != torch.float32:
            how = population.way(model, split.x) if how == "native" else how
        images = self.plan.images if how == self.plan.how else min(self.plan.images, 250)
        return score(model, weights, split, images, how)

    def ideal(self, split: Split | None = None) -> float:
        """Return the accuracy of the quantised model without variation, in percent."""
        fresh = replace(self, crossbar=replace(self.crossbar, effects=()))
        return float(self.score(fresh.program(range(1), 0.0), split)[0][0])


@dataclass
class Outcome:
    """What a procedure leaves of a block of chips: scores on the test split, and costs (a number, or one a chip)."""

    scores: tuple[Tensor, Tensor, Tensor]
    verified: float | np.ndarray = 0
    pulses: float | np.ndarray | None = None  # None: one a cell
    added: int = 0  # cells beside the model's
    passes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Stage:
    """What an epoch of training left of a block of chips.

    Attributes:
        tuned: loss, passes and seconds so far.
        held: draw -> the module to run and its stacked weights, what was trained being written once more.
        arrays: what was trained and lies on arrays, clean: name -> (chips, ...).
    """

    tuned: Tuned
    held: Callable[[int], tuple[nn.Module, dict[str, Tensor]]]
    arrays: dict[str, Tensor]


Procedure = Callable[[range, Mapping[str, Tensor]], Outcome]  # (index of a block, its weights by name) -> what is left


class Deployment:
    """What all deployment methods share: a frozen dataclass of parameters, and how it is applied.

    A method says its ``procedure``; one that trains (`Trained`) says its stages.
    """

    effects: ClassVar[bool] = False  # whether it is right for chips that something befell after programming

    @property
    def sets(self) -> int:
        """Return how many weight sets are scored for a chip: how memory is planned."""
        return 1

    def check(self, model: nn.Module) -> None:
        """Refuse a network that the method does not fit; every one does unless a method says otherwise."""

    def procedure(self, context: Context) -> Procedure:
        """Return what is done to a block of chips; it must treat each chip by itself."""
        raise NotImplementedError(f"{type(self).__name__} has no procedure")

    def apply(
        self, model: nn.Module, data: Dataset, crossbar: Crossbar | Device | str | None = None,
        sigma_d: float | None = LEFT_OUT, *, index: range, seed: int = 0, on: str | torch.device = "cpu",
        progress: bool | Callable[[int, int], None] = False, **conditions: Unpack[Conditions],
    ) -> Iterator[Deployed]:  # fmt: skip
        """Yield blocks of deployed chips.

        Args:
            model: any module; it is not changed.
            data: its training and validation splits are the method's, its test split is scored.
            crossbar: the conditions, or a device with ``sigma_d`` and ``conditions`` beside it.
            sigma_d: size of the variation.
            index: which chips.
            seed: the family of chips; those of `nvlib.program` and `nvlib.monte_carlo`.
            on: where to compute.
            progress: True for a bar, or a function called with (done, chips).
            **conditions: other fields of `nvlib.Crossbar`.

        Raises:
            InputError: for values that cannot be used; at the call.
        """
        self.check(model)
        chips = self.sets * len(index) if isinstance(index, range) else 1
        crossbar = as_crossbar(crossbar, sigma_d, **conditions)
        crossbar.only_programming(f"deployment by {getattr(self, 'name', type(self).__name__)}", effects=self.effects)
        context = prepare(model, data, crossbar, seed=seed, on=on, chips=chips, befallen=True)
        return self.deployed(context, index, progress)

    def deployed(
        self, context: Context, index: range, progress: bool | Callable[[int, int], None]
    ) -> Iterator[Deployed]:
        """Yield blocks of the context's chips, deployed."""
        return blocks(context, index, self.procedure(context), progress=progress)


class Trained(Deployment):
    """What methods share that train something for each chip, `Trains`."""

    def deployed(
        self: Trains, context: Context, index: range, progress: bool | Callable[[int, int], None]
    ) -> Iterator[Deployed]:
        """Yield blocks of the site's chips, as many at once as their frozen features allow."""
        return rounds(self, context, index, progress)


class Trains(Protocol):
    """A deployment method that trains something for each chip."""

    def stages(self, context: Context, index: range, chips: Mapping[str, Tensor]) -> Iterator[Stage]:
        """Train a block of chips; yields after each epoch."""
        ...

    def chips_at_once(self, context: Context) -> int:
        """Return how many chips' frozen features fit in memory."""
        ...

    def left(self, context: Context, index: range, chips: Mapping[str, Tensor]) -> Outcome:
        """Train, write and score a block of chips."""
        ...


def prepare(
    model: nn.Module,
    data: Dataset,
    crossbar: Crossbar | Device | str | None = None,
    sigma_d: float | None = LEFT_OUT,
    *,
    seed: int = 0,
    on: str | torch.device = "cpu",
    chips: int = 1,
    befallen: bool = False,
    **conditions: Unpack[Conditions],
) -> Context:
    """Check what is asked for and return the site; the model is copied, not changed.

    ``befallen``: whether what is done there is right for chips that something befell after programming. A reading is
    then the first one, before the procedure and behind it.

    Raises:
        InputError: for values that cannot be used.
    """
    population.usable(on)
    crossbar = as_crossbar(crossbar, sigma_d, **conditions).only_programming("deployment", effects=befallen)
    if not isinstance(data, Dataset):
        raise InputError(f"data of type {type(data).__name__} is not usable; expected a Dataset with its three splits")
    crossbar = crossbar.on(model)
    check_seed(seed)
    owner, model = model, switched(private(model).to(on)).requires_grad_(False)  # what is trained is trained beside it
    arrays = array_weights(model, warn=False)
    dtype = model.get_parameter(arrays[0]).dtype
    parts = (as_split(data, part) for part in ("train", "validation", "test"))
    train, validation, test = (
        Split(s.x.to(on, dtype if s.x.is_floating_point() else s.x.dtype), s.y.to(on)) for s in parts
    )
    probe.inspect(model, train, validation, test)
    noise_coverage.watch(owner, model, test.x, crossbar, seed)
    plan = population.plan(model, test.x, max(1, chips), how=None if dtype == torch.float32 else "loop")
    return Context(model, array_weights(model), crossbar, seed, train, validation, test, plan)


def blocks(
    context: Context,
    index: range,
    procedure: Procedure,
    *,
    at_once: int = BLOCK,
    progress: bool | Callable[[int, int], None] = False,
) -> Iterator[Deployed]:
    """Yield blocks of remedied chips in order.

    Args:
        context: from `prepare`.
        index: which chips.
        procedure: (index of the block, its weights by name) -> what is left; it must treat each chip by itself.
        at_once: chips of a block.
        progress: True for a bar, or a function called with (done, chips).
    """
    if not isinstance(index, range) or len(index) == 0:
        raise InputError(f"index {index!r} is not usable; expected a range of at least one chip")
    done = 0
    with tqdm(total=len(index), unit="chip", disable=progress is not True, desc="chips") as bar:
        for start in range(0, len(index), at_once):
            part = index[start : start + at_once]
            chips = context.program(part)
            before = context.score(chips)[0]
            yield _entries(context, part, before, procedure(part, chips))
            done += len(part)
            bar.update(len(part))
            if callable(progress):
                progress(done, len(index))


def _entries(context: Context, part: range, before: Tensor, left: Outcome) -> Deployed:
    total = context.cells + left.added
    columns = {
        "before": before.numpy(), "cells": total, "verified": left.verified,
        "pulses": float(total) if left.pulses is None else left.pulses, "passes": left.passes, "seconds": left.seconds,
        **dict(zip(("accuracy", "loss", "ekl"), (s.numpy() for s in left.scores), strict=True)),
    }  # fmt: skip
    kinds = dict.fromkeys(("cells", "verified", "passes"), np.int64)
    filled = {name: np.broadcast_to(np.asarray(columns[name], kinds.get(name, np.float64)), (len(part),)).copy()
              for name in COLUMNS}  # fmt: skip
    return Deployed(np.array(part), **filled, seed=context.seed, plan=context.plan)


# -- methods that train ----------------------------------------------------------------------------------------------


def rounds(
    method: Trains, context: Context, index: range, progress: bool | Callable[[int, int], None] = False
) -> Iterator[Deployed]:
    """Yield blocks of chips that a method trains, as many at once as their frozen features allow."""
    at_once = max(1, min(BLOCK, method.chips_at_once(context)))
    left = partial(method.left, context)
    return blocks(context, index, left, at_once=at_once, progress=progress)


def mean_scores(
    context: Context, stage: Stage, draws: int, split: Split | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return accuracy, loss and EKL of trained chips, means over several writes of what was trained."""
    found = []
    for draw in range(draws):
        module, weights = stage.held(draw)
        found.append(torch.stack(context.score(weights, split, module)))
    accuracy, loss, ekl = torch.stack(found).mean(0)
    return accuracy, loss, ekl


def finish(
    context: Context, stage: Stage, draws: int, *, verified: int = 0, pulses: np.ndarray | None = None, added: int = 0
) -> Outcome:
    """Score trained chips and add up what they cost."""
    count = len(next(iter(stage.arrays.values())))
    return Outcome(
        mean_scores(context, stage, draws), verified, pulses, added, stage.tuned.passes, stage.tuned.seconds / count
    )
