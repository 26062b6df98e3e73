"""Choosing the weight range: some ranges tried on validation images and on chips that no result reports.

What the largest level stands for (`nvlib.ranges`) can be chosen after training, by what it gives. Chosen on test images
and on the chips that are reported, it would be chosen to look good; so it is not: images are of the validation split,
and chips of a family of their own (`SEED`). What comes out is a range's text, which goes into a record like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import pandas as pd
import torch
from torch import nn

from nvlib import ranges, statistics
from nvlib.conditions import LEFT_OUT, Conditions, Crossbar, as_crossbar
from nvlib.crossbar import array_weights, deviations, own_weights, read_back
from nvlib.data import Dataset
from nvlib.devices import Device
from nvlib.errors import InputError, unknown
from nvlib.evaluate import as_split, monte_carlo

AMONG = ("max", "deviations:4", "deviations:3", "deviations:2.5", "deviations:2", "deviations:1.5")
BY = ("kpp", "mean", "error")
SEED = 1_000_003  # of the chips that a range is chosen on; results report those of small seeds


@dataclass(frozen=True)
class Calibration:
    """A chosen range, and what it was chosen from.

    Attributes:
        range: the one chosen, as text.
        table: a row a range, in the order they were tried: range, clean (accuracy of the quantised weights, %), mean,
            mean_low, mean_high, kpp, kpp_low, kpp_high (accuracy of chips, %; 95 % intervals, NaN with too few chips),
            error (root mean square over tensors of |programmed - trained| over |trained|), saturated (largest share of
            a tensor's weights beyond its range, %), level (largest mean level of a tensor, of 1: what its columns'
            current and so its energy grow with).
    """

    range: str
    table: pd.DataFrame


def calibrate(
    model: nn.Module,
    data: Dataset,
    crossbar: Crossbar | Device | str | None = None,
    sigma_d: float | None = LEFT_OUT,
    *,
    among: Sequence[str | ranges.WeightRange] = AMONG,
    by: str = "kpp",
    k: float = 1,
    chips: int = 400,
    seed: int = SEED,
    on: str | torch.device = "cpu",
    **conditions: Unpack[Conditions],
) -> Calibration:
    """Choose the weight range of a trained model on validation images.

    Args:
        model: with the weights as trained; not changed.
        data: a data set, of which the validation split is used.
        crossbar: the conditions whose range is chosen, or a device, with ``sigma_d`` and ``conditions`` beside it.
        sigma_d: size of the variation.
        among: the ranges to try.
        by: ``kpp`` (the k-th percentile of the chips' accuracy, highest), ``mean`` (of the chips' accuracy, highest) or
            ``error`` (relative squared error of the programmed weights, least: needs no chip to be run).
        k: percentile of the KPP.
        chips: on how many chips each is tried.
        seed: of those chips; results that are reported must be of another.
        on: where to compute.
        **conditions: other fields of `nvlib.Crossbar`.

    Returns:
        The range and the table it was chosen from. Of ranges that do equally well the first.

    Raises:
        InputError: for values that cannot be used.

    Sources: aihwkit and CrossSim calibrate a percentile or a number of deviations on training data.

    Example:
        >>> import nvlib
        >>> model, mnist = nvlib.build("lenet3", seed=0), nvlib.load("mnist", limit=10)
        >>> found = nvlib.calibrate(model, mnist, "rram", 0.1, by="error", chips=2)
        >>> found.range
        'deviations:1.5'
    """
    if by not in BY:
        raise unknown("what a range is chosen by", by, BY)
    if isinstance(among, str) or not among:
        raise InputError(f"among={among!r} is no choice; expected several ranges such as ('max', 'deviations:2.5')")
    if not isinstance(data, Dataset):
        raise InputError(f"data of type {type(data).__name__} has no validation split; expected a Dataset: a range "
                         "that is chosen on test images is not to be reported on them")  # fmt: skip
    tried = [str(ranges.get(given)) for given in among]
    crossbar = as_crossbar(crossbar, sigma_d, **conditions).on(model)
    images = as_split(data, "validation")
    rows = []
    for text in tried:
        under = replace(crossbar, range=text)
        row = {"range": text, "error": error(model, under)}
        layers = deviations(model, under)
        row |= {"saturated": layers.saturated.max(), "level": layers.level.max()}
        if by != "error":
            clean = monte_carlo(model, images, replace(under, sigma_d=0.0), chips=1, on=on)
            scores = monte_carlo(model, images, under, chips=chips, seed=seed, on=on)
            row["clean"] = float(clean.accuracy[0])
            for name, found in (("mean", scores.mean()), ("kpp", statistics.kpp(scores.accuracy, k))):
                row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        rows.append(row)
    table = pd.DataFrame(rows)
    best = table["error"].idxmin() if by == "error" else table[by].idxmax()
    scores = ["clean", "mean", "mean_low", "mean_high", "kpp", "kpp_low", "kpp_high", "error", "saturated", "level"]
    numbers = table.reindex(columns=["range", *scores]).astype(dict.fromkeys(scores, float))
    return Calibration(tried[best], numbers)


@torch.no_grad()
def error(model: nn.Module, crossbar: Crossbar) -> float:
    """Return how far programmed weights are off the trained ones: sqrt(mean over tensors of E |w' - w|^2 / |w|^2).

    Exact: the squared error of quantisation and saturation, plus the variance of programming.

    Args:
        model: with the weights as trained.
        crossbar: with its bits and sigma_d.
    """
    shares, strays = [], deviations(model, crossbar).set_index("name")["deviation"]
    for name, w in own_weights(model, array_weights(model)).items():
        w = w.detach().float()
        off = (read_back(w[None], crossbar, None)[0] - w).double().square().mean() + strays[name] ** 2
        if (size := w.double().square().mean()) > 0:
            shares.append(float(off / size))
    return (sum(shares) / len(shares)) ** 0.5 if shares else 0.0
