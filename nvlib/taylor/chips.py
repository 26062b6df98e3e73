r"""Theory against chips: what the expansion says of the loss, beside what simulated chips lose.

The chips are those of `nvlib.program`, run without activation quantisation, as the expansion is: what differs is the
expansion alone. For chip i both sides are also had one by one, f0 + sigma_d b^T z_i + sigma_d^2 z_i^T A z_i / 2 beside
its true loss, from one product with the Hessian that serves every sigma_d.

An expansion `fails_from` the smallest sigma_d from which on its percentile lies outside the 95 % interval of the
chips' and off by more than a tolerance of the rise over f0: more chips alone do not make a theory fail.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from nvlib import population, statistics
from nvlib.errors import InputError
from nvlib.evaluate import score
from nvlib.population import Plan
from nvlib.taylor.expansion import LAWS, Expansion
from nvlib.taylor.loss import Loss
from nvlib.taylor.one import upper

K = (1.0, 5.0)


def sample(
    loss: Loss,
    sigma_d: Sequence[float],
    *,
    chips: int = 400,
    seed: int = 0,
    layers: Collection[str] | None = None,
    slices: Collection[int] | None = None,
    plan: Plan | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Return what chips lose without activation quantisation: one row a sigma_d and chip.

    Args:
        loss: of cross-entropy, at a `point`, over the images to score.
        sigma_d: sizes of the variation.
        chips: how many, at each; chip i has the same luck at every sigma_d.
        seed: the family of chips.
        layers: let these layers stray alone; None: all.
        slices: let the cells of these slices stray alone; None: all.
        plan: how to run them; None chooses.
        progress: called with (done, chips in all).

    Returns:
        Columns sigma_d, chip, loss (nats), accuracy (percent).
    """
    if chips < 1 or not sigma_d:
        raise InputError(f"chips={chips!r}, sigma_d={list(sigma_d)!r} sample nothing; expected at least one of each")
    where, rows, done = loss.point, [], 0
    plan = plan or population.plan(where.model, loss.split.x, chips * len(sigma_d))
    strays = where.deviations(layers, slices)
    for start in range(0, chips, plan.members):
        index = range(start, min(start + plan.members, chips))
        luck = where.deviates(seed, index)  # drawn once for every sigma_d
        for size in sigma_d:
            with torch.inference_mode():
                held = {name: w + size * strays[name] * luck[name] for name, w in where.centre.items()}
                accuracy, lost, _ = score(where.model, held, loss.split, plan.images, plan.how)
            rows.append(pd.DataFrame({"sigma_d": size, "chip": index, "loss": lost, "accuracy": accuracy}))
            done += len(index)
            if progress:
                progress(done, chips * len(sigma_d))
    return pd.concat(rows).sort_values(["sigma_d", "chip"], ignore_index=True)


def one_by_one(loss: Loss, *, chips: int = 50, seed: int = 0) -> pd.DataFrame:
    """Return b^T z and z^T A z of chips 0, 1, ...: one row a chip; each costs a product with the Hessian.

    A chip's loss is then f0 + sigma_d first + sigma_d^2 second / 2 by the expansion, at any sigma_d.
    """
    where, slopes, rows = loss.point, loss.gradient(), []
    for i in range(chips):
        moved = {name: where.deviation[name] * z for name, z in where.deviates(seed, range(i, i + 1)).items()}
        bent = loss.hessian_times(moved)
        first = sum(float((moved[name].double().cpu() * slopes[name]).sum()) for name in moved)
        second = sum(float((moved[name].double().cpu() * bent[name]).sum()) for name in moved)
        rows.append({"chip": i, "first": first, "second": second})
    return pd.DataFrame(rows)


def confront(
    expansion: Expansion, samples: pd.DataFrame, *, k: Sequence[float] = K, laws: Sequence[str] = LAWS
) -> pd.DataFrame:
    """Return predicted beside observed: one row a sigma_d, law and k.

    Args:
        expansion: of the model the samples are of.
        samples: from `sample`; sigma_d = 0 is left out.
        k: percent of chips that lose more than the percentile.
        laws: which of `LAWS`.

    Returns:
        Columns sigma_d, law, k, mean, deviation, skewness, percentile (predicted), mean_seen, mean_low, mean_high,
        deviation_seen, skewness_seen, seen, low, high (of the percentile; NaN where chips are too few), chips.
    """
    rows = []
    for size, part in samples[samples.sigma_d > 0].groupby("sigma_d"):
        lost = part.loss.to_numpy()
        middle, spread = statistics.mean(lost), lost.std(ddof=1)
        seen = {
            "mean_seen": middle.value,
            "mean_low": middle.low,
            "mean_high": middle.high,
            "deviation_seen": spread,
            "skewness_seen": float(((lost - lost.mean()) ** 3).mean() / spread**3),
        }
        tails = {each: upper(lost, each / 100) for each in k}
        for name in laws:
            law = expansion.law(float(size), name)
            said = {"mean": law.mean, "deviation": law.deviation, "skewness": law.skewness}
            for each, tail in tails.items():
                limits = {"seen": tail.value, "low": tail.low, "high": tail.high, "chips": len(lost)}
                value = float(law.quantile(1 - each / 100))
                rows.append({"sigma_d": size, "law": name, "k": each, **said, "percentile": value, **seen, **limits})
    return pd.DataFrame(rows).astype({c: float for c in ("low", "high", "mean_low", "mean_high")})


def fails_from(table: pd.DataFrame, f0: float, tolerance: float = 0.1, k: float = 1.0) -> pd.Series:
    """Return, by law, the smallest sigma_d from which on the predicted percentile fails; NaN: it holds throughout.

    Args:
        table: from `confront`.
        f0: loss of a chip without variation.
        tolerance: share of the observed rise over f0 that the prediction may be off by.
        k: of the percentile.
    """
    found = {}
    for law, part in table[table.k == k].groupby("law", sort=False):
        rows = part.sort_values("sigma_d")
        outside = rows.low.isna() | (rows.percentile < rows.low) | (rows.percentile > rows.high)
        off = (rows.percentile - rows.seen).abs() > tolerance * (rows.seen - f0).abs()
        holds = ~(outside & off).to_numpy()
        last = np.flatnonzero(holds)
        first = 0 if not len(last) else last[-1] + 1
        found[law] = float(rows.sigma_d.iloc[first]) if first < len(rows) else np.nan
    return pd.Series(found, name="fails_from", dtype=float)


def quantiles(expansion: Expansion, samples: pd.DataFrame, law: str = "full", points: int = 200) -> pd.DataFrame:
    """Return predicted beside observed quantiles, for a Q-Q plot: sigma_d, p, predicted, seen, at most ``points``."""
    rows = []
    for size, part in samples[samples.sigma_d > 0].groupby("sigma_d"):
        lost = np.sort(part.loss.to_numpy())
        take = np.unique(np.linspace(0, len(lost) - 1, min(points, len(lost))).round().astype(int))
        p = (take + 0.5) / len(lost)
        said = expansion.law(float(size), law).quantile(p)
        rows.append(pd.DataFrame({"sigma_d": size, "p": p, "predicted": said, "seen": lost[take]}))
    return pd.concat(rows, ignore_index=True)


def ranks(samples: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return how far a chip's loss tells its accuracy: Spearman's correlation over the chips of each cell.

    Args:
        samples: with columns loss and accuracy, e.g. of `sample` or `nvlib.results`.
        by: the columns that make a cell.
    """
    rows = []
    for key, part in samples.groupby(list(by), observed=True):
        if part.loss.nunique() > 1 and part.accuracy.nunique() > 1:
            values = dict(zip(by, key, strict=True))
            rows.append(values | {"rank": float(spearmanr(part.loss, part.accuracy).statistic), "chips": len(part)})
    return pd.DataFrame(rows)


def across(predicted: pd.DataFrame, samples: pd.DataFrame, by: Sequence[str], k: float = 1) -> pd.DataFrame:
    """Return loss and accuracy percentiles side by side, a row a model and sigma_d: does one order them as the other?

    Args:
        predicted: from `confront`, of several models told apart by ``by``.
        samples: from `sample`, of the same.
        by: columns that name a model.
        k: percent of chips that do worse.

    Returns:
        Columns ``by``, sigma_d, predicted (by the full law), seen (nats), accuracy (KPP, percent).
    """
    cells = [*by, "sigma_d"]
    said = predicted[(predicted.law == "full") & (predicted.k == k)]
    said = said[[*cells, "percentile", "seen"]].rename(columns={"percentile": "predicted"})
    grouped = samples.groupby(cells, observed=True).accuracy
    accuracy = grouped.agg(lambda values: statistics.kpp(values.to_numpy(), k).value).reset_index()
    return said.merge(accuracy, on=cells).reset_index(drop=True)
