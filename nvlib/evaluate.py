"""Monte-Carlo evaluation: the accuracy, loss and confidence of many chips of one model.

For each chip, over all images: accuracy = 100 * correct / n (percent); loss = mean cross-entropy (nats);
EKL = mean of -ln p_label over the correctly classified images (nats), the mean Kullback-Leibler divergence from the
label to the softmax (NFT Sec. 4.4; NaN where nothing is correct). KPP is their k-th percentile (TRICE Algorithm 2).

How many chips is asked for outright, or found: ``until=0.5`` adds chips until the interval of a KPP or a mean is +-0.5
points, valid however often it looked (`nvlib.sequential`). What was finished when a run was interrupted is kept, and a
second call goes on from it.

>>> from nvlib import data, evaluate, models
>>> mnist, model = data.load("mnist", limit=50), models.build("lenet3", seed=0).eval()
>>> found = evaluate.blocks(model, mnist, "rram", 0.1, index=range(6))
>>> sum(len(block) for block in found)
6
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Unpack

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from nvlib import circuits, noise_coverage, population, probe
from nvlib.conditions import LEFT_OUT, Conditions, Crossbar, as_crossbar
from nvlib.copies import private
from nvlib.crossbar import readings
from nvlib.data import Dataset, Split
from nvlib.data.given import split_of as as_split
from nvlib.devices import Device
from nvlib.errors import InputError, instance, whole
from nvlib.functional import evaluating
from nvlib.modules import usable
from nvlib.philox import check_seed
from nvlib.population import Plan
from nvlib.precision import check as check_precision
from nvlib.rounding import Rounding, rounding
from nvlib.samples import Interrupted, Samples, continued, identity
from nvlib.sequential import Until


def score(
    model: nn.Module,
    weights: dict[str, Tensor],
    split: Split,
    images: int,
    how: str | None = None,
    precision: str = "float32",
) -> tuple[Tensor, Tensor, Tensor]:
    """Score stacked weights on a data split.

    Args:
        model: the module; run in evaluation mode.
        weights: name -> (members, ...).
        split: images and labels on the device that computes.
        images: how many at a time.
        how: the way of `population.forward`.
        precision: that of `population.forward`.

    Returns:
        Accuracy (percent), loss (nats) and EKL (nats), each float64 (members,) on the CPU.
    """
    count = population.members(weights)
    correct, loss, divergence = torch.zeros(3, count, dtype=torch.float64, device=split.x.device)
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(split.y), images):
            x, y = split.x[start : start + images], split.y[start : start + images]
            logits = population.forward(model, weights, x, how=how, precision=precision)
            labels = y.expand(count, -1)
            nll = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(count, -1)
            right = logits.argmax(-1) == labels
            correct += right.sum(1)
            loss += nll.sum(1, dtype=torch.float64)
            divergence += torch.where(right, nll, 0).sum(1, dtype=torch.float64)
    return (100 * correct / len(split.y)).cpu(), (loss / len(split.y)).cpu(), (divergence / correct).cpu()


def blocks(
    model: nn.Module,
    data: Dataset | Split | tuple[Tensor, Tensor],
    crossbar: Crossbar | Device | str | None = None,
    sigma_d: float | None = LEFT_OUT,
    *,
    index: range,
    seed: int = 0,
    on: str | torch.device = "cpu",
    plan: Plan | None = None,
    look: bool = True,
    calibration: Tensor | None = None,
    **conditions: Unpack[Conditions],
) -> Iterator[Samples]:
    """Yield the samples of chips ``index`` block by block, as they are computed; see `monte_carlo`.

    ``look``: whether the model is inspected on a few images first (`nvlib.probe`).
    """
    population.usable(on)
    plan = None if plan is None else instance("plan", plan, Plan, "one of nvlib.population.plan, or None")
    crossbar = as_crossbar(crossbar, sigma_d, **conditions)
    calibration = _calibration(data, crossbar, calibration)
    split = as_split(data)
    split = probe.ready(model, Split(split.x.to(on), split.y.to(on)))
    owner, model = model, private(model).to(on)
    if look:
        if probe.inspect(model, split, owner=owner):
            noise_coverage.forget(owner)
        noise_coverage.watch(owner, model, split.x, crossbar, seed)
    alike = crossbar.sigma_d == 0 and not crossbar.effects  # every chip is the quantised model: compute one, repeat it
    programmed: Callable[..., Iterator[dict[str, Tensor]]] = partial(readings, model, crossbar)
    if (periphery := crossbar.periphery) is not None:
        images = split.x[:16] if calibration is None else calibration[: periphery.images].to(split.x)
        arrays = circuits.attach(model, crossbar, images)
        model, programmed, alike = arrays.module, arrays.readings, alike and not periphery.varies
        if plan is not None and plan.precision != "float32":
            raise InputError(f"precision={plan.precision!r} with a periphery: its sums need all digits; expected "
                             "'float32'")  # fmt: skip
        if periphery.converts and (plan is None or plan.how == "native"):  # generated code has no converters
            plan = population.plan(model, split.x, 1 if alike else len(index), how=population.way(model, split.x))
    plan = plan or population.plan(model, split.x, 1 if alike else len(index))
    start = 0
    while start < len(index):
        part = index[start : start + (len(index) if alike else plan.members)]
        try:
            chips = programmed(seed=seed, index=part[:1] if alike else part)
            scores = _read(model, split, chips, crossbar.images_a_read, plan)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            plan = population.halved(plan)
            continue
        accuracy, loss, ekl = (value.expand(len(part)).numpy().copy() for value in scores)
        if np.isnan(loss).any():
            raise InputError(f"chip {part[int(np.isnan(loss).argmax())]} of {type(model).__name__} gives logits that "
                             "are not numbers, though the clean model does not; a logarithm, a root or a division of "
                             "its weights must hold for strayed ones")  # fmt: skip
        yield Samples(np.array(part), accuracy, loss, ekl, seed, plan)
        start += len(part)


def _read(
    model: nn.Module, split: Split, chips: Iterator[dict[str, Tensor]], images: int | None, plan: Plan
) -> Tensor:
    """Score chips; where reading is noisy on one reading after the other, each on its own images: (3, chips)."""
    at_once, found = images or len(split.y), torch.zeros(())
    with torch.inference_mode():
        for start in range(0, len(split.y), at_once):
            part = Split(split.x[start : start + at_once], split.y[start : start + at_once])
            scores = torch.stack(score(model, next(chips), part, plan.images, plan.how, plan.precision))
            if len(part.y) == len(split.y):
                return scores
            accuracy, loss, ekl = scores
            found = found + len(part.y) * torch.stack([accuracy, loss, torch.where(accuracy > 0, ekl * accuracy, 0)])
    accuracy, loss, right = found / len(split.y)
    return torch.stack([accuracy, loss, right / accuracy])


def monte_carlo(
    model: nn.Module,
    data: Dataset | Split | tuple[Tensor, Tensor],
    crossbar: Crossbar | Device | str | None = None,
    sigma_d: float | None = LEFT_OUT,
    *,
    chips: int = 1000,
    seed: int = 0,
    first: int = 0,
    until: float | None = None,
    of: str = "kpp",
    k: float = 1,
    confidence: float = 0.95,
    max_chips: int = 20_000,
    on: str | torch.device = "cpu",
    plan: Plan | None = None,
    precision: str = "float32",
    progress: bool | Callable[[int, int], None] = False,
    resume: Samples | None = None,
    calibration: Tensor | None = None,
    **conditions: Unpack[Conditions],
) -> Samples:
    """Program a model on many chips and score each.

    Args:
        model: any module, with the weights as trained; not changed: a copy of it is run.
        data: a data set (its test split is used), a split, a pair (x, y) of tensors, arrays or lists, a `DataLoader`
            or a PyTorch data set of pairs.
        crossbar: the conditions, or a device's name, record or path with ``sigma_d`` and ``conditions`` beside it.
        sigma_d: size of the variation; see `nvlib.program`.
        chips: how many; with ``until``, how many at the first look.
        seed: the family of draws; two models evaluated with one seed meet the same chips.
        first: index of the first draw.
        until: add chips until half the interval's width is at most this, in points of accuracy; None: just ``chips``.
        of: whose interval, ``kpp`` or ``mean``.
        k: percentile of the KPP.
        confidence: of the interval, at all looks together.
        max_chips: where ``until`` gives up; the estimate's note then says so.
        on: where to compute, ``cpu`` or ``cuda``.
        plan: how to run, from an earlier result; None chooses.
        precision: of the products where there is no plan (`nvlib.precision`). A shorter one than float32 is taken where
            it is faster, and after a few chips scored both ways agree in accuracy within 0.05 points; else float32.
        progress: True for a bar with the time left (to the next look), or a function called with (done, chips).
        resume: samples of an earlier call like this one, to go on from under their plan.
        calibration: training images that a periphery's converters are calibrated on, (n, ...); None takes the first
            ones of the data set.
        **conditions: other fields of `nvlib.Crossbar`: ``bits``, ``reference``, ``mapping``, ``range``, ...

    Returns:
        Samples of shape (chips,): accuracy in percent, loss and EKL in nats; with ``until`` its estimate.

    Raises:
        InputError: for values that cannot be used.
        Interrupted: a KeyboardInterrupt that holds the finished chips. Going on from them gives, bit for bit, what an
            uninterrupted run would have given.

    Example:
        >>> import nvlib
        >>> model, mnist = nvlib.build("lenet3").eval(), nvlib.load("mnist", limit=50)
        >>> samples = nvlib.monte_carlo(model, mnist, "rram", 0.1, chips=4)
        >>> len(samples), samples.accuracy.shape
        (4, (4,))
    """
    chips, max_chips, first = whole("chips", chips, 1), whole("max_chips", max_chips, 1), whole("first", first, 0)
    seed = check_seed(seed)
    usable(model)
    rule = None if until is None else Until(until, of, k, confidence, chips, max_chips)
    crossbar = as_crossbar(crossbar, sigma_d, **conditions)
    calibration, data = _calibration(data, crossbar, calibration), as_split(data)
    parts, done, estimate, met, of_what = [], 0, None, None, identity(model, data, crossbar, calibration)
    if resume is not None:
        instance("resume", resume, Samples, "samples of an earlier call, or None")
        parts, done = [continued(resume, first, seed, of_what)], len(resume)
        plan, met = resume.plan or plan, resume.rounding
    if plan is None and check_precision(precision, on) != "float32":
        plan, met = _in_precision(model, data, crossbar, precision, chips, on, seed)
    try:
        with tqdm(initial=done, unit="chip", disable=progress is not True, desc="chips") as bar:
            for look in rule.looks if rule else (chips,):
                bar.total = look
                for part in blocks(
                    model, data, crossbar, index=range(first + done, first + look), seed=seed, on=on, plan=plan,
                    look=not parts, calibration=calibration,
                ):  # fmt: skip
                    parts.append(part)
                    done, plan = done + len(part), part.plan
                    bar.update(len(part))
                    if callable(progress):
                        progress(done, look)
                samples = Samples.join(parts).head(look)
                if rule and rule.met(estimate := rule.estimate(samples.accuracy)):
                    break
        return replace(samples, estimate=estimate, rounding=met, of=of_what)
    except KeyboardInterrupt as stop:
        if not parts:
            raise
        raise Interrupted(replace(Samples.join(parts), rounding=met, of=of_what)) from stop


def _calibration(data: object, crossbar: Crossbar, given: Tensor | None) -> Tensor | None:
    """Return the training images that a crossbar's converters are calibrated on; None where none are."""
    periphery = crossbar.periphery
    if periphery is None or not periphery.calibrates:
        return None
    if given is None and isinstance(data, Dataset):
        given = data.train.x
    if given is None:
        raise InputError(f"periphery {str(periphery)!r} is calibrated on training images, and there are none beside "
                         "these; expected a Dataset, calibration=images, or ranges that need none "
                         "(input_range=1,adc_range=bound)")  # fmt: skip
    return given[: periphery.images]


def _in_precision(
    model: nn.Module, data: Split, crossbar: Crossbar, precision: str, chips: int, on: str | torch.device, seed: int
) -> tuple[Plan, Rounding | None]:
    """Return a plan in a precision, and what that changes; one in float32 where it does not pay or changes too much."""
    if crossbar.periphery is not None:
        raise InputError(f"precision={precision!r} with a periphery: its sums need all digits; expected 'float32'")
    split = probe.ready(model, Split(data.x.to(on), data.y.to(on)))
    model = private(model).to(on)
    probe.inspect(model, split)
    plan = population.plan(model, split.x, chips, precision=precision)
    if plan.precision == "float32":
        return plan, None
    met = rounding(model, split, plan, crossbar, seed=seed)
    if met.allowed:
        return plan, met
    warnings.warn(f"{met.text()}; evaluating in float32", stacklevel=3)
    return population.plan(model, split.x, chips), None
