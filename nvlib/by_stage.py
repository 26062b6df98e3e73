"""Where the accuracy went: a model stage by stage, on the same chips, from floating point to the aged chip.

    float         weights and activations as trained, without quantisers
    activations   its activation quantisers at work, where it has any
    weights       on levels, none of which strays
    programmed    the crossbar's chips as programmed, where anything strays
    each effect   what befalls them, in the order of the crossbar (`nvlib.effects`)
    periphery     tiles, converters, wires, where the crossbar has any

A stage's ``lost`` is the mean over chips of what the one before scored, less what it scores: the chips are the same, so
its interval is the paired one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from nvlib import population, probe, summary
from nvlib.conditions import LEFT_OUT, Conditions, Crossbar, as_crossbar
from nvlib.copies import private
from nvlib.crossbar import array_weights, own_weights
from nvlib.data import Dataset, Split
from nvlib.devices import Device
from nvlib.errors import whole
from nvlib.evaluate import as_split, monte_carlo, score
from nvlib.modules import switched
from nvlib.population import Plan
from nvlib.samples import Samples
from nvlib.taylor.point import smooth

if TYPE_CHECKING:
    import pandas as pd

IDEAL = ("float", "activations", "weights")


def stages(
    model: nn.Module,
    data: Dataset | Split | tuple[Tensor, Tensor],
    crossbar: Crossbar | Device | str | None = None,
    sigma_d: float | None = LEFT_OUT,
    *,
    chips: int = 400,
    seed: int = 0,
    k: float = 1,
    confidence: float = 0.95,
    on: str | torch.device = "cpu",
    plan: Plan | None = None,
    calibration: Tensor | None = None,
    progress: Callable[[str], None] | None = None,
    **conditions: Unpack[Conditions],
) -> pd.DataFrame:
    """Score a model at each stage on its way to the chip that the crossbar describes.

    Args:
        model: any module; it is not changed.
        data: as `nvlib.monte_carlo` takes it.
        crossbar: the conditions, or a device with ``sigma_d`` and ``conditions`` beside it.
        sigma_d: size of the variation.
        chips: how many; the first percentile has an interval from 368 on.
        seed: the family of chips.
        k: percentile of the KPP.
        confidence: of the intervals.
        on: where to compute.
        plan: how to run chips; None chooses, once.
        calibration: training images for a periphery's converters, as `nvlib.monte_carlo` takes them.
        progress: called with each stage's name when it begins.
        **conditions: other fields of `nvlib.Crossbar`.

    Returns:
        A row a stage: stage, mean, mean_low, mean_high, kpp, kpp_low, kpp_high (percent; intervals over chips, none
        where there are too few), lost, lost_low, lost_high (points, against the stage before), kpp_lost (points),
        chips (1 where all are alike), k.

    Raises:
        InputError: as `nvlib.monte_carlo`.

    Example:
        >>> import nvlib
        >>> model, mnist = nvlib.build("lenet3").eval(), nvlib.load("mnist", limit=30)
        >>> table = nvlib.stages(model, mnist, "rram", 0.1, effects=("stuck:chen2015",), chips=3)
        >>> table.stage.tolist()
        ['float', 'weights', 'programmed', 'stuck:hrs=0.0904,lrs=0.0175']
    """
    import pandas as pd

    population.usable(on)
    chips = whole("chips", chips, 1)
    crossbar = as_crossbar(crossbar, sigma_d, **conditions).on(model)
    rows, before = [], None
    run = partial(monte_carlo, model, data, seed=seed, on=on, calibration=calibration)
    for stage, accuracy in _accuracies(model, as_split(data), crossbar, chips, run, on, plan, progress):
        rows.append({"stage": stage, **summary.stage_row(accuracy, before, k, confidence)})
        before = accuracy
    return pd.DataFrame(rows).assign(k=k)


def _accuracies(
    model: nn.Module, split: Split, crossbar: Crossbar, chips: int, run: Callable[..., Samples],
    on: str | torch.device, plan: Plan | None, progress: Callable[[str], None] | None,
) -> Iterator[tuple[str, np.ndarray]]:  # fmt: skip
    """Yield stages and what chips score there, (chips,) or (1,) where all are alike."""
    say = progress or (lambda stage: None)
    say("float")
    plain, gone = smooth(model)
    yield "float", _clean(plain, split, on)
    if gone:
        say("activations")
        yield "activations", _clean(model, split, on)
    bare = replace(crossbar, effects=(), periphery=None)
    for stage, held, count in _chips(bare, crossbar, chips):
        say(stage)
        circuits = held.periphery is not None
        found = run(held, chips=count, plan=None if circuits else plan)
        plan = plan or (found.plan if count > 1 else None)
        yield stage, found.accuracy


def _chips(bare: Crossbar, crossbar: Crossbar, chips: int) -> Iterator[tuple[str, Crossbar, int]]:
    """Yield the stages of chips: name, crossbar, how many chips differ."""
    yield "weights", replace(bare, sigma_d=0.0), 1
    if crossbar.sigma_d:
        yield "programmed", bare, chips
    for i, effect in enumerate(crossbar.effects):
        yield str(effect), replace(bare, effects=crossbar.effects[: i + 1]), chips
    if crossbar.periphery is not None:
        alike = not crossbar.sigma_d and not crossbar.effects and not crossbar.periphery.varies
        text = str(crossbar.periphery)
        yield f"periphery:{text}" if text else "periphery", crossbar, 1 if alike else chips


def _clean(model: nn.Module, split: Split, on: str | torch.device) -> np.ndarray:
    """Return the accuracy of a model with its own weights, (1,)."""
    model = switched(private(model).to(on))
    split = probe.ready(model, Split(split.x.to(on), split.y.to(on)))
    probe.inspect(model, split)
    own = {name: w.detach()[None] for name, w in own_weights(model, array_weights(model, warn=False)).items()}
    plan = population.plan(model, split.x, 1)
    return score(model, own, split, plan.images, plan.how)[0].numpy()
