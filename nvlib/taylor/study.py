r"""The analysis of one trained model, and of a training as it goes: everything as tidy tables, ready to ship and draw.

`analyse` expands a model once and confronts it with chips over many sigma_d. `follow` expands the models along a
training, by layer, and asks TRICE's III-C: a training that injects noise of mean mu sigma d rests where
E f'(w + dw) = 0, to first order where

    f' = -mu sigma_d f'' d        (f'' the whole matrix, d each weight's deviation at sigma_d = 1)

so ``pull``, the least-squares coefficient of f' on f'' d, measures whether the mean of the noise raised f': the paper's
mechanism predicts -mu sigma_d, 0.0085 sigma_d for RC at th = 2. What zero-mean noise leaves in f' is third order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Unpack

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from nvlib import methods, population
from nvlib.conditions import LEFT_OUT, Conditions, Crossbar, as_crossbar
from nvlib.data import Dataset, Split
from nvlib.data.given import split_of
from nvlib.devices import Device
from nvlib.methods import Method
from nvlib.population import Plan
from nvlib.taylor import chips as chips_of
from nvlib.taylor.diagonal import diagonal
from nvlib.taylor.expansion import Expansion, expand
from nvlib.taylor.loss import Loss
from nvlib.taylor.point import point

SIGMA_D = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Size:
    """How much is computed: what a preset shrinks.

    ``pairs`` chips are predicted one by one; ``alone`` chips stray in one layer or slice at a time, at ``alone_at``.
    """

    images: int = 2000
    sigma_d: tuple[float, ...] = SIGMA_D
    chips: int = 400
    vectors: int = 8
    probes: int = 8
    block_probes: int = 2
    pairs: int = 24
    alone: int = 100
    alone_at: tuple[float, ...] = (0.05,)


@dataclass(frozen=True, eq=False)
class Analysis:
    """What `analyse` found of one model.

    Attributes:
        expansion: f0, b and A.
        predicted: from `chips.confront`.
        samples: from `chips.sample`: sigma_d, chip, loss, accuracy; and ``taylor``, the chip's own prediction, where
            it was computed (NaN elsewhere).
        quantiles: from `chips.quantiles`, by the full law.
        layers, bits: shares of mean and variance by layer and by slice, at each ``alone_at``, predicted; beside them
            what chips with noise there alone show (mean_seen, variance_seen, with the standard error of each).
        concentration: share of tr(A) by share of weights.
    """

    expansion: Expansion
    predicted: pd.DataFrame = field(repr=False)
    samples: pd.DataFrame = field(repr=False)
    quantiles: pd.DataFrame = field(repr=False)
    layers: pd.DataFrame = field(repr=False)
    bits: pd.DataFrame = field(repr=False)
    concentration: pd.DataFrame = field(repr=False)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return all tables by name; ``models`` is the expansion's own numbers, one row."""
        e = self.expansion
        numbers = {
            "f0": e.f0, "slope": float(np.linalg.norm(e.b)), "trace": float(e.a.sum()), "square": e.square[0],
            "square_error": e.square[1], "square_diagonal": float(e.a @ e.a), "cube": e.cube[0],
            "cube_error": e.cube[1], "bent": e.bent, "f1": float(np.abs(e.f1).mean()), "f2": float(e.f2.mean()),
            "weights": len(e.f1), "images": e.images, "how": e.how,
            **{f"fails_{law}": at for law, at in chips_of.fails_from(self.predicted, e.f0).items()},
        }  # fmt: skip
        spectrum = pd.DataFrame({"rank": np.arange(len(e.lam)), "lam": e.lam[::-1], "beta": e.beta[::-1]})
        names = ("predicted", "samples", "quantiles", "layers", "bits", "concentration")
        return {"models": pd.DataFrame([numbers]), "spectrum": spectrum, **{n: getattr(self, n) for n in names}}


def analyse(
    model: nn.Module,
    split: Split,
    crossbar: Crossbar | Device | str | None = None,
    size: Size | None = None,
    *,
    progress: Callable[[str], None] | None = None,
    **conditions: Unpack[Conditions],
) -> Analysis:
    """Expand a trained model on a device and set the theory beside simulated chips.

    Args:
        model: any module with Linear and Conv2d layers on arrays (others: see `diagonal`).
        split: images; the first ``size.images`` serve.
        crossbar: the conditions, or a device (None: RRAM) with ``conditions`` beside it.
        size: how much to compute.
        progress: called with what is done next.
        **conditions: other fields of `nvlib.Crossbar`.
    """
    size, say = size or Size(), progress or (lambda _: None)
    split = split_of(split)
    split = Split(split.x[: size.images], split.y[: size.images])
    loss = Loss(point(model, crossbar, **conditions), split)
    say("derivatives")
    found = expand(loss, vectors=size.vectors, probes=size.probes, block_probes=size.block_probes)
    say("chips")
    plan = population.plan(loss.point.model, split.x, size.chips * len(size.sigma_d))
    samples = chips_of.sample(loss, size.sigma_d, chips=size.chips, plan=plan)
    say("chips one by one")
    pairs = chips_of.one_by_one(loss, chips=size.pairs)
    both = samples.merge(pairs, on="chip", how="left")
    samples["taylor"] = found.f0 + both.sigma_d * both["first"] + both.sigma_d**2 * both["second"] / 2
    say("layers and slices alone")
    layers, bits = [], []
    for at in size.alone_at:
        own = [_alone(loss, found.f0, at, size.alone, plan, layers=[name]) for name in found.names]
        layers.append(found.layers(at).assign(sigma_d=at).join(pd.DataFrame(own)))
        own = [_alone(loss, found.f0, at, size.alone, plan, slices=[j]) for j in range(len(found.slices))]
        bits.append(found.bits(at).assign(sigma_d=at).join(pd.DataFrame(own)))
    return Analysis(
        expansion=found,
        predicted=chips_of.confront(found, samples),
        samples=samples,
        quantiles=chips_of.quantiles(found, samples),
        layers=pd.concat(layers, ignore_index=True),
        bits=pd.concat(bits, ignore_index=True),
        concentration=found.concentration(),
    )


def _alone(loss: Loss, f0: float, sigma_d: float, chips: int, plan: Plan, **where: Any) -> dict[str, float]:
    """Return mean rise and variance of the loss of chips that stray in one place only, with standard errors."""
    lost = chips_of.sample(loss, [sigma_d], chips=chips, plan=plan, **where).loss.to_numpy()
    off = (lost - lost.mean()) ** 2
    return {
        "mean_seen": lost.mean() - f0,
        "mean_error": lost.std(ddof=1) / np.sqrt(chips),
        "variance_seen": lost.var(ddof=1),
        "variance_error": off.std(ddof=1) / np.sqrt(chips),
    }


def snapshot(
    model: nn.Module, split: Split, crossbar: Crossbar | Device | str | None = None, bent: int = 500
) -> pd.DataFrame:
    """Return f, f' and f'' of a model by layer: one row a layer and one for ``all``.

    f and f' are over the whole split, so that what is left of f' is the model's and not the images'; f'' over the first
    ``bent`` images.

    Columns: layer, weights, f (nats, of all), f1 and f2 (means of |f'| and f''), slope |b| and curvature tr(A) (nats
    per unit of sigma_d and its square: what a chip feels), pull (see above), pull_error (its standard error, weights
    taken as independent: optimistic).
    """
    loss = Loss(point(model, crossbar), split)
    few = replace(loss, split=Split(split.x[:bent], split.y[:bent]), _graphs=[])
    where, f0 = loss.point, loss.value()
    first, second = loss.gradient(), diagonal(few).values
    shift = few.hessian_times({name: d.unsqueeze(0) for name, d in where.deviation.items()})
    parts: dict[str, tuple[Tensor, ...]] = {
        name: (first[name], second[name], where.deviation[name].double().cpu(), shift[name][0]) for name in where.centre
    }
    parts["all"] = tuple(torch.cat([part[i].flatten() for part in parts.values()]) for i in range(4))
    rows = []
    for name, (f1, f2, d, bent) in parts.items():
        norm = float(bent.square().sum())
        pull = float((f1 * bent).sum()) / norm
        rest = f1 - pull * bent
        rows.append(
            {
                "layer": name,
                "weights": f1.numel(),
                "f": f0,
                "f1": float(f1.abs().mean()),
                "f2": float(f2.mean()),
                "slope": float((f1 * d).norm()),
                "curvature": float((f2 * d.square()).sum()),
                "pull": pull,
                "pull_error": float((rest.square().sum() / max(f1.numel() - 1, 1) / norm).sqrt()),
            }
        )
    return pd.DataFrame(rows)


def follow(
    method: Method | str,
    data: Dataset,
    crossbar: Crossbar | Device | str = "rram",
    sigma_d: float | None = LEFT_OUT,
    *,
    network: str = "lenet",
    epochs: int = 5,
    images: int = 2000,
    bent: int = 500,
    **options: Any,
) -> Iterator[pd.DataFrame]:
    """Train, and yield what each epoch did to the loss and its derivatives; the first yield is the untrained network.

    Args:
        method: a name of `METHODS`, or a method with its parameters.
        data: trained on; f and f' are of its first ``images`` training and test images, f'' of the first ``bent``.
        crossbar: the conditions, or a device's name, record or path.
        sigma_d: of the training (left out: the crossbar's, or 0.2, or as measured); also where derivatives are weighed.
        network: name of the network.
        epochs: how many.
        images: of each split for f and f'.
        bent: of each split for f''.
        **options: of `nvlib.train`.

    Yields:
        Rows of `snapshot` with method, sigma_d, seed, epoch, split, and noisy (mean validation accuracy over a few
        chips, percent; NaN before training).
    """
    from nvlib import models

    method, seed = methods.get(method), options.get("seed", 0)
    if not isinstance(crossbar, Crossbar):
        given = {name: options.pop(name) for name in tuple(options) if name in Conditions.__annotations__}
        crossbar = as_crossbar(crossbar, sigma_d, **given)
        if sigma_d is LEFT_OUT and crossbar.device.relative:
            crossbar = crossbar.at(0.2)
    else:
        crossbar = as_crossbar(crossbar, sigma_d)
    sigma_d = crossbar.sigma_d
    parts = {"train": data.train, "test": data.test}
    parts = {name: Split(part.x[:images], part.y[:images]) for name, part in parts.items()}

    def rows(model: nn.Module, epoch: int, noisy: float) -> pd.DataFrame:
        tables = [snapshot(model, part, crossbar, bent).assign(split=name) for name, part in parts.items()]
        known = {"method": method.name, "sigma_d": sigma_d, "seed": seed, "epoch": epoch, "noisy": noisy}
        return pd.concat(tables, ignore_index=True).assign(**known)

    yield rows(models.build(network, seed=seed), 0, np.nan)
    for epoch in methods.train(method, network, data, crossbar, epochs=epochs, **options):
        yield rows(epoch.model(), epoch.epoch, float(epoch.noisy[0]))
