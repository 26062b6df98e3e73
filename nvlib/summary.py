"""What a tidy frame holds: the check that it can be drawn, its parts, and the table of their statistics.

Chips of one method, sigma_d and training seed are a sample: its mean and its k-th percentile (KPP) have intervals
(`nvlib.statistics`). Over S training seeds, value and limits are averaged, (1/S) sum_s; one training with too few chips
leaves the average without limits. At sigma_d = 0 every chip is the same one, and the limits are the value.

The normalised accuracy distance of a deployed chip is (ideal - method) / (ideal - Gauss): 1 is the chip left as it is,
0 a chip without variation. Chips with and without the remedy are the same chips, so its interval is the paired one, of
a ratio of means: r -+ t sd(a_i - r b_i) / (mean(b) sqrt(n)), a and b the distances to the ideal.

    results_table     mean and KPP a method and sigma_d         differences    of methods, on the same chips
    distance_table    deployed chips against the ideal          by_range       of each weight range
    stage_row         of a stage of a chip's life

>>> from nvlib import store, summary
>>> where = dict(network="lenet", device="rram", sigma_d=0.2, epochs=10, images=10_000, protocol="matched")
>>> ships = store.results(plain=True, origin="shipped", **where)
>>> table = summary.results_table(ships, k=1)
>>> table.query("method == 'gaussian'").kpp.round(1).item()
89.6
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from nvlib import statistics
from nvlib.catalogue import DEPLOYMENTS, METHODS, plain, span
from nvlib.errors import InputError, instance, unknown
from nvlib.statistics import Estimate

# A curve that silently mixes these would show something that does not exist.
ONE_OF = ("network", "dataset", "device", "reference", "mapping", "bits", "activation_bits", "images", "precision",
          "train_precision", "device_numbers", "deployment", "deployment_code", "range", "effects",
          "periphery")  # fmt: skip
# in these a method whose name says so may differ from others (`nvlib.explore.laid`)
SAID = {"bits", "activation_bits", "images", "deployment", "range", "effects", "periphery"}


def checked(df: pd.DataFrame, one_sigma: bool = False) -> pd.DataFrame:
    """Return the frame if it can be drawn as one figure; InputError if not."""
    instance("the table", df, pd.DataFrame, "a frame of nvlib.results")
    if missing := {"method", "sigma_d", "accuracy"} - set(df.columns):
        raise InputError(f"the table lacks {', '.join(sorted(missing))}; expected the columns of nvlib.store.results")
    if df.empty:
        raise InputError("no chip matches the selection; widen it, or compute it with: python -m nvlib study")
    if not np.isfinite(df["accuracy"].to_numpy(float)).all():
        raise InputError("accuracy holds values that are not finite; expected percentages")
    for column in (*ONE_OF, *(("sigma_d",) if one_sigma else ())):
        for part in [df] if column not in SAID else _unsaid(df):
            if len(held := values(part, column)) > 1:
                listed = ", ".join(f"{v:g}" if isinstance(v, float) else str(v) or "''" for v in held)
                raise InputError(f"the selection mixes {column} {listed}; choose one")
    for method, part in df.groupby("method", observed=True):
        trained = values(part, "train_sigma_d")
        if len(trained) > 1 and not (part["train_sigma_d"] == part["sigma_d"]).all():
            listed = ", ".join(f"{t:g}" for t in trained)
            raise InputError(
                f"the selection mixes models of {method} trained at sigma_d {listed}; choose one, "
                "or those with protocol 'matched'"
            )
    for column in ("train_range", "train_effects", "clipping"):
        for method, part in df.groupby("method", observed=True) if column in df else ():
            if len(held := values(part, column)) > 1:
                raise InputError(f"the selection mixes {column} {', '.join(held)} of {method}; choose one")
    if "training" in df and (df.groupby(cell(df), observed=True)["training"].nunique() > 1).any():
        raise InputError("the selection mixes different trainings of one seed; choose one by epochs or training")
    return df


def _unsaid(df: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of methods as they are together, and those of each method whose name says how it differs."""
    said = [m for m in df["method"].unique() if plain(m)[1]]
    return [df[~df["method"].isin(said)], *(df[df["method"] == m] for m in said)] if said else [df]


def values(df: pd.DataFrame, column: str) -> list:
    """Return what a column holds, each value once, in order; nothing if there is no such column."""
    return sorted(df[column].unique().tolist()) if column in df else []


def cell(df: pd.DataFrame) -> list[str]:
    """Return the columns that tell one sample of chips from another."""
    return ["method", "sigma_d", *(["train_seed"] if "train_seed" in df else [])]


def by_method(df: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (method, rows), known methods first and in their order."""
    order, held = list(METHODS), df["method"].unique()

    def place(method: str) -> tuple[int, str]:
        name = plain(method)[0]
        return (order.index(name) if name in order else len(order), method)

    for method in sorted(held, key=place):
        yield method, df[df["method"] == method]


def by_seed(df: pd.DataFrame) -> list[np.ndarray]:
    """Return the accuracies of each training seed."""
    if "train_seed" not in df:
        return [df["accuracy"].to_numpy(float)]
    return [part["accuracy"].to_numpy(float) for _, part in df.groupby("train_seed", observed=True)]


def results_table(df: pd.DataFrame, k: float = 1) -> pd.DataFrame:
    """Return one row per method and sigma_d: mean, KPP, their 95 % intervals, worst chip, EKL, n, seeds, note.

    With several training seeds, mean and KPP (with their limits) are averages over the seeds, ``kpp_seed_min`` and
    ``kpp_seed_max`` the extremes; ``n`` counts all chips. Limits are NaN where there are too few chips.

    Raises:
        InputError: an empty selection, or one that mixes what cannot stand in one row.
    """
    rows = [
        {"method": method, "sigma_d": float(sigma_d), **_row(chips, k, exact=sigma_d == 0)}
        for method, part in by_method(checked(df))
        for sigma_d, chips in part.groupby("sigma_d")
    ]
    limits = ["mean_low", "mean_high", "kpp_low", "kpp_high"]
    return pd.DataFrame(rows).astype(dict.fromkeys(limits, float))


def by_range(df: pd.DataFrame, k: float = 1) -> pd.DataFrame:
    """Return `results_table` of each weight range, with the column range: ``max`` first, then from wide to tight.

    Raises:
        InputError: an empty selection, or one that mixes more than ranges.
    """
    if df.empty or "range" not in df:
        raise InputError("no chips with a weight range to compare; expected rows of nvlib.results")
    order = sorted(df["range"].unique(), key=_width)
    parts = [results_table(df[df["range"] == span], k).assign(range=span) for span in order]
    return pd.concat(parts, ignore_index=True)


def _width(span: str) -> tuple[bool, str, float]:
    """Return a sort key of a range's text: max, then the others by kind, the widest first; channels behind tensors."""
    whole, _, per = span.partition("/")
    kind, _, number = whole.partition(":")
    return bool(per), "" if kind == "max" else kind, -float(number or 0)


def differences(df: pd.DataFrame, baseline: str = "gaussian", of: str = "kpp", k: float = 1) -> pd.DataFrame:
    """Return how far each method lies above a baseline, on the same chips and training seeds.

    Per seed the difference is taken on the chips both met. Its mean over seeds has two intervals at 95 %: ``low`` and
    ``high`` over trainings (t, seeds - 1 degrees of freedom: what is known of the methods), ``chips_low`` and
    ``chips_high`` over chips (the mean of the seeds' limits: what is known of these trainings).

    Args:
        df: tidy frame of several methods, the baseline among them.
        baseline: the method that the others are compared with.
        of: ``kpp``, ``mean`` (points of accuracy), or ``ekl`` (nats; lower is surer).
        k: percentile of the KPP.

    Returns:
        A row a method and sigma_d: method, baseline, sigma_d, of, k, difference, low, high, chips_low, chips_high,
        each (the seeds' differences), seeds, chips (per seed), wins (share of paired chips above the baseline). Limits
        are NaN where there are too few seeds or chips.

    Raises:
        InputError: for an unknown statistic, a baseline that is not there, or a frame that mixes what cannot be paired.
    """
    if of not in _DIFFERENCE:
        raise unknown("statistic to compare by", of, _DIFFERENCE)
    df = checked(df)
    if missing := {"train_seed", "chip"} - set(df.columns):
        raise InputError(f"the table lacks {', '.join(sorted(missing))}; expected the columns of nvlib.store.results")
    if baseline not in set(df["method"]):
        raise InputError(f"the selection has no {baseline!r} to compare with; it has {', '.join(values(df, 'method'))}")
    column = "ekl" if of == "ekl" else "accuracy"
    wide = {m: part.set_index(["sigma_d", "train_seed", "chip"])[column] for m, part in by_method(df)}
    rows = []
    for method in wide:
        both = pd.concat([wide[method], wide[baseline]], axis=1, join="inner", keys=["a", "b"]).sort_index()
        if method == baseline or both.empty:
            continue
        for sigma_d, part in both.groupby(level="sigma_d"):
            found = [_DIFFERENCE[of](seed["a"], seed["b"], k) for _, seed in part.groupby(level="train_seed")]
            mean = statistics.mean([e.value for e in found])
            chips = _pool(found)
            rows.append({"method": method, "baseline": baseline, "sigma_d": float(sigma_d), "of": of, "k": k,
                         "difference": mean.value, "low": mean.low, "high": mean.high, "chips_low": chips.low,
                         "chips_high": chips.high, "each": tuple(e.value for e in found), "seeds": len(found),
                         "chips": len(part) // len(found),
                         "wins": float((part["a"] > part["b"]).mean())})  # fmt: skip
    if not rows:
        raise InputError(f"no chips of another method pair with those of {baseline}; compute both for the same seeds")
    return pd.DataFrame(rows).astype(dict.fromkeys(["low", "high", "chips_low", "chips_high"], float))


def _paired(a: pd.Series, b: pd.Series, _: float) -> Estimate:
    """Return the mean difference; chips where one of both is undefined (EKL: nothing correct) are left out."""
    both = a.notna() & b.notna()
    return statistics.paired(a[both], b[both])


_DIFFERENCE: dict[str, Callable[[np.ndarray, np.ndarray, float], Estimate]] = {
    "kpp": statistics.kpp_difference, "mean": _paired, "ekl": _paired,
}  # fmt: skip


def _row(chips: pd.DataFrame, k: float, exact: bool) -> dict[str, object]:
    """Return the statistics of the chips of one method and sigma_d."""
    seeds = by_seed(chips)
    means, kpps = [statistics.mean(a) for a in seeds], [statistics.kpp(a, k) for a in seeds]
    if exact:  # every chip is the same one: nothing to estimate
        means, kpps = ([replace(e, low=e.value, high=e.value, note="") for e in part] for part in (means, kpps))
    mean, kpp = _pool(means), _pool(kpps)
    return {
        "mean": mean.value,
        "mean_low": mean.low,
        "mean_high": mean.high,
        "k": k,
        "kpp": kpp.value,
        "kpp_low": kpp.low,
        "kpp_high": kpp.high,
        "kpp_seed_min": min(e.value for e in kpps),
        "kpp_seed_max": max(e.value for e in kpps),
        "worst": float(chips["accuracy"].min()),
        "ekl": float(chips["ekl"].mean()) if "ekl" in chips else math.nan,
        "n": len(chips),
        "seeds": len(seeds),
        "epochs": span(values(chips, "epochs")) if "epochs" in chips else "",
        "note": kpp.note,
    }


def _mean(limits: Sequence[float | None]) -> float | None:
    known = [limit for limit in limits if limit is not None]
    return float(np.mean(known)) if len(known) == len(limits) else None


def _pool(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean over trainings of value and limits; no limits if one training has none."""
    return Estimate(
        float(np.mean([e.value for e in estimates])),
        _mean([e.low for e in estimates]),
        _mean([e.high for e in estimates]),
        sum(e.n for e in estimates),
        next((e.note for e in estimates if e.low is None), ""),
    )


def stage_row(accuracy: np.ndarray, before: np.ndarray | None, k: float, confidence: float) -> dict[str, object]:
    """Return the statistics of a stage of a chip's life, against the one before (`nvlib.stages`).

    Args:
        accuracy: of the same chips as before, percent; one where all chips are alike.
        before: of the stage before; None: there is none.
        k: percentile of the KPP.
        confidence: of the intervals.
    """
    found: dict[str, object] = {}
    if len(accuracy) == 1:  # all chips are alike: no interval is needed
        value = float(accuracy[0])
        found |= dict.fromkeys(("mean", "mean_low", "mean_high", "kpp", "kpp_low", "kpp_high"), value)
        tail = value
    else:
        mean, tail_ = statistics.mean(accuracy, confidence), statistics.kpp(accuracy, k, confidence)
        found |= {"mean": mean.value, "mean_low": mean.low, "mean_high": mean.high}
        found |= {"kpp": tail_.value, "kpp_low": tail_.low, "kpp_high": tail_.high}
        tail = tail_.value
    lost = dict.fromkeys(("lost", "lost_low", "lost_high", "kpp_lost"), 0.0)
    if before is not None:
        was = np.broadcast_to(before, np.broadcast_shapes(before.shape, accuracy.shape))
        now = np.broadcast_to(accuracy, was.shape)
        off = statistics.paired(was, now, confidence)
        limits = (off.value, off.value) if len(was) == 1 else (off.low, off.high)
        was_tail = statistics.kpp(before, k).value if len(before) > 1 else float(before[0])
        lost = {"lost": off.value, "lost_low": limits[0], "lost_high": limits[1], "kpp_lost": was_tail - tail}
    numbers = {key: np.nan if value is None else value for key, value in {**found, **lost}.items()}
    return {**numbers, "chips": len(accuracy)}


# -- distance to the ideal accuracy ----------------------------------------------------------------------------------

_CONDITIONS = ["network", "dataset", "sigma_d"]


def distance_table(df: pd.DataFrame, ideal: float | None = None, confidence: float = 0.95) -> pd.DataFrame:
    """Return how far deployed chips stay from the ideal: a row a network, data set, sigma_d and method.

    Args:
        df: chips with and without deployment. Rows without serve for the ideal alone: the mean accuracy of the models
            trained without noise at sigma_d = 0.
        ideal: accuracy of the noise-free model in percent, in place of that.
        confidence: of the intervals.

    Returns:
        Columns network, dataset, sigma_d, deployment ("" for the chips as they are), accuracy, before, ideal, distance
        (points), distance_before, normalised, low, high (None with fewer than three chips), n.

    Raises:
        InputError: without deployed chips, or without an ideal.
    """
    by = [c for c in _CONDITIONS if c in df]
    deployed = df[df["deployment"].fillna("") != ""] if "deployment" in df else df.iloc[:0]
    if deployed.empty:
        raise InputError("no deployed chips among the results; expected rows whose column deployment names a method")
    rows = []
    for where, cell in deployed.groupby(by, observed=True):
        where = dict(zip(by, where, strict=True))
        best = _ideal(df, where) if ideal is None else ideal
        for method in ["", *cell["deployment"].unique()]:
            part = cell if method == "" else cell[cell["deployment"] == method]
            if method == "":  # each chip once
                part = part.drop_duplicates([c for c in ("training", "chip_seed", "chip") if c in part])
            after = best - part["before" if method == "" else "accuracy"].to_numpy(float)
            before = best - part["before"].to_numpy(float)
            rows.append({
                **where, "deployment": method, "accuracy": best - after.mean(), "before": best - before.mean(),
                "ideal": best, "distance": after.mean(), "distance_before": before.mean(),
                **ratio(after, before, confidence),
            })  # fmt: skip
    order = ["", *DEPLOYMENTS]
    table = pd.DataFrame(rows)
    rank = table["deployment"].map(lambda m: order.index(m) if m in order else len(order))
    return table.assign(rank=rank).sort_values([*by, "rank"]).drop(columns="rank").reset_index(drop=True)


def _ideal(df: pd.DataFrame, where: dict[str, object]) -> float:
    kept = df[(df["method"] == "none") & (df["sigma_d"] == 0)] if "method" in df else df.iloc[:0]
    for column in ("network", "dataset"):
        if column in where:
            kept = kept[kept[column] == where[column]]
    if kept.empty:
        raise InputError(f"no model without noise at sigma_d = 0 among the results of {where}; pass ideal= (percent)")
    return float(kept["accuracy"].mean())


def ratio(a: np.ndarray, b: np.ndarray, confidence: float = 0.95) -> dict[str, Any]:
    """Return the ratio of two means with its paired interval: normalised, low, high, n."""
    n, middle = len(a), float(a.mean() / b.mean()) if b.mean() else math.nan
    low = high = None
    if n > 2 and b.mean() > 0:
        half = statistics.mean(a - middle * b, confidence)
        if half.interval is not None:
            low, high = (middle + (bound - half.value) / b.mean() for bound in half.interval)
    return {"normalised": middle, "low": low, "high": high, "n": n}
