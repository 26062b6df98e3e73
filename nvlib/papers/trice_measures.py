"""What is measured for TRICE alone: shares below a percentile, the grid of its noise, Eq. 6, derivatives, devices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from nvlib import devices, statistics, summary
from nvlib.catalogue import span
from nvlib.errors import InputError
from nvlib.papers.measures import Finding, Measure, extreme, protocol
from nvlib.papers.select import Evidence, Protocol
from nvlib.statistics import Estimate


def share_below(k: float) -> Measure:
    """Return the measure of the share of chips below a k-th percentile that other chips gave, in percent.

    Even chips give the percentile, odd ones are counted. Both are samples of n chips: the share's standard deviation
    is sqrt(p (1 - p) (1 / n + 1 / n)), p = k / 100, and 1 / sqrt(trainings) of that for their mean.
    """

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
        found = results.select(settings, ("gaussian",))
        if found is None:
            return None
        rows = found[0]
        at = 0.2 if (rows.sigma_d == 0.2).any() else rows.sigma_d.max()
        rows = rows[rows.sigma_d == at]
        shares, n = [], 0
        for _, part in rows.groupby("train_seed"):
            even, odd = part[part.chip % 2 == 0].accuracy, part[part.chip % 2 == 1].accuracy
            shares.append(100 * (odd < statistics.kpp(even, k).value).mean())
            n = len(odd)
        p = k / 100
        half = 100 * 1.96 * math.sqrt(2 * p * (1 - p) / n / len(shares))
        value = sum(shares) / len(shares)
        return Finding(Estimate(value, value - half, value + half, n), f"sigma_d = {at:g}", protocol(rows))

    return measure


def grid_rows(results: Evidence, settings: Sequence[Protocol]) -> pd.DataFrame:
    """Return the chips of the grid of fig4: RC-Manual at sigma_d = 0.25 under every sigma_t and th, of one size."""
    chosen = results.select(settings, ("rc_manual",), None, 0.25)
    if chosen is None:
        return pd.DataFrame()
    rows = results.under(chosen[1], method="rc_manual", sigma_d=0.25)
    first = chosen[0].iloc[0]
    for column in ("network", "epochs", "train_images", "images"):
        rows = rows[rows[column] == first[column]]
    return rows


def interior(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
    """Measure how far the best size of noise inside the grid lies above both ends of it, along sigma_t and along th.

    The least of the four differences; limits are the least over ends of the largest over inner points, Bonferroni's.
    """
    rows = grid_rows(results, settings)
    if rows.empty:
        return None
    rows = rows.assign(ratio=[p["ratio"] for p in rows.parameters], th=[p["th"] for p in rows.parameters])
    found = []
    for axis, other, at in (("ratio", "th", 2.0), ("th", "ratio", 1.0)):
        part = rows[rows[other] == at]
        points = sorted(part[axis].unique())
        if len(points) < 3:
            return None
        for end in (points[0], points[-1]):
            inner = [_difference(part, axis, point, end, len(points) - 2) for point in points[1:-1]]
            best = max(inner, key=lambda e: e.value)
            low, high = extreme(max, [e.low for e in inner]), extreme(max, [e.high for e in inner])
            found.append(replace(best, low=low, high=high))
    least = min(found, key=lambda e: e.value)
    least = replace(least, low=extreme(min, [e.low for e in found]), high=extreme(min, [e.high for e in found]))
    return Finding(least, "sigma_d = 0.25", protocol(rows))


def _chips(rows: pd.DataFrame, axis: str, a: float, b: float) -> tuple[pd.Series, pd.Series]:
    """Return the accuracies at two points of a grid, chip by chip."""
    first, second = (rows[rows[axis] == point].sort_values("chip").accuracy for point in (a, b))
    return first, second


def _difference(part: pd.DataFrame, axis: str, a: float, b: float, looks: int) -> Estimate:
    """Return KPP at one point of a grid minus that at another, on the same chips, over seeds or one seed's chips."""
    seeds = [
        statistics.kpp_difference(*_chips(both, axis, a, b), 1, 1 - 0.05 / looks)
        for _, both in part.groupby("train_seed")
    ]  # fmt: skip
    if len(seeds) == 1:
        return replace(seeds[0], n=1, note="one training: interval over chips")
    return statistics.mean([e.value for e in seeds], 1 - 0.05 / looks)


def law_mean(results: Evidence, settings: Sequence[Protocol]) -> Finding:
    """Return minus the mean of right-censored noise at th = 2, in units of sigma_t; exact."""
    from nvlib import noise

    value = -float(noise.get("rc", 2.0).mean())
    return Finding(Estimate(value, value, value, 1, "closed form"), "th = 2", "closed form")


_POINT: dict[str, Any] = {"f1": 0.5, "f2": 4.0, "sigma": 0.1, "q": 0.01}


def eq6(results: Evidence, settings: Sequence[Protocol]) -> Finding:
    """Simulate the percentile of a quadratic loss that Eq. 6, as printed, says."""
    from nvlib import taylor

    printed = float(taylor.percentile(**_POINT, f0=0.05, law="printed"))
    ours = taylor.simulate(**_POINT, f0=0.05, draws=200_000)
    return Finding(ours, "f(w) = 0.05", "200,000 draws of the quadratic", paper=round(printed, 4))


def slope(results: Evidence, settings: Sequence[Protocol]) -> Finding:
    """Return by how much the exact percentile falls with |f'|."""
    from nvlib import taylor

    value = -float(taylor.slope_effect(**_POINT))
    return Finding(Estimate(value, value, value, 1, "exact law"), "f' = 0.5", "exact law of the quadratic")


def derivative(column: str, a: str, b: str) -> Measure:
    """Return the measure of how far ``a``'s mean f'' (``f2``) or |f'| (``f1``) lies above ``b``'s, in percent of b's.

    Of the whole network on training images, at `nvlib.papers.theory.AT`, seed by seed; of what ships.
    """

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
        from nvlib.papers import theory

        try:
            seeds = [theory.table("snapshots", theory.AT, seed, results.store) for seed in (0, 1, 2)]
        except InputError:  # there is none (yet)
            return None
        table = pd.concat(seeds, ignore_index=True)
        whole = table[(table.layer == "all") & (table.split == "train")]
        each = whole.pivot_table(index="train_seed", columns="method", values=column, observed=True)
        if not {a, b} <= set(each) or (ratio := (each[a] / each[b]).dropna()).empty:
            return None
        estimate = statistics.mean(100 * (ratio - 1))
        what = "LeNet/MNIST, rram; full_scale, differential; 10 epochs; derivatives on 20,000 training images"
        return Finding(estimate, f"sigma_d = {theory.AT:g}", f"{what}; {span([len(ratio)], 'training')} a method")

    return measure


def middle_levels(results: Evidence, settings: Sequence[Protocol]) -> Finding:
    """Return how many times more FeFET2 strays at its middle levels than at the outer ones; exact."""
    low, inner, *_ = devices.get("fefet2").deviation
    return Finding(Estimate(inner / low, inner / low, inner / low, 1, "closed form"), "levels 1 and 2", "Eq. 17")


# -- tables under its figures ------------------------------------------------------------------------------------------


def grid_points(held: pd.DataFrame) -> pd.DataFrame:
    """Return the first percentile of each training of TRICE's grid."""
    about = held.drop_duplicates("training").set_index("training")
    table = summary.results_table(held.assign(method=held["training"].astype(str)), k=1)
    known = [about.loc[training, "parameters"] for training in table["method"]]
    table.insert(0, "ratio", [parameters["ratio"] for parameters in known])
    table.insert(1, "th", [parameters["th"] for parameters in known])
    return table.drop(columns="method").sort_values(["ratio", "th"], ignore_index=True)


def law_moments(th: float) -> pd.DataFrame:
    """Return mean and deviation of every law of training noise cut at ``th``, in units of sigma_t; exact."""
    from nvlib import noise
    from nvlib.figures.names import style

    laws = [noise.get(name, None if name == "gaussian" else th) for name in noise.LAWS]
    return pd.DataFrame({
        "law": [style(law.name).label for law in laws], "mean": [law.mean() for law in laws],
        "deviation": [law.variance() ** 0.5 for law in laws],
    })  # fmt: skip


def levels(name: str, sigma_d: float) -> pd.DataFrame:
    """Return conductance and deviation of each level of a device, in levels; exact."""
    device = devices.get(name)
    return pd.DataFrame({"level": range(len(device.levels)), "conductance": device.levels,
                         "strays by (levels)": device.spread(sigma_d, "full_scale")})  # fmt: skip
