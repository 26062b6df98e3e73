"""What is measured of the chips that answer for an artefact: differences of methods, intervals, shares.

Two methods are compared on the same chips and training seeds, seed by seed. With several seeds the interval is over
trainings (t, seeds - 1 degrees of freedom), which speaks of the methods; with one it is over chips and speaks of that
training alone, and the note says so. A paper's "up to P" is looked at where the paper's own table puts its largest
difference, so that nothing is picked by our numbers; where it prints no table, all sigma_d are looked at with
intervals that hold together (Bonferroni), and the largest difference is reported with the largest of their limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from nvlib import statistics
from nvlib.catalogue import span
from nvlib.figures.names import name
from nvlib.papers.printed_numbers import largest_difference
from nvlib.papers.select import Evidence, Protocol
from nvlib.statistics import Estimate
from nvlib.summary import differences


@dataclass(frozen=True)
class Finding:
    """A measured number and what it rests on.

    Attributes:
        estimate: with its interval.
        at: where, e.g. ``sigma_d = 0.3``.
        protocol: the rows' network, data, convention, trainings and chips.
        substitute: what stood in for the paper's network or data set; empty: nothing.
        paper: the paper's number at the same place, where it has one there.
    """

    estimate: Estimate
    at: str = ""
    protocol: str = ""
    substitute: str = ""
    paper: float | None = None


Measure = Callable[[Evidence, Sequence[Protocol]], "Finding | None"]
Parameters = Mapping[str, Mapping[str, object]]


def gain(
    a: str,
    b: str,
    of: str = "kpp",
    *,
    table: str = "",
    sigma_d: float | None = None,
    parameters: Parameters | None = None,
    sign: int = 1,
) -> Measure:
    """Return the measure of how far method ``a`` lies above ``b``.

    Args:
        a: a method.
        b: the one it is compared with.
        of: ``kpp`` (k = 1) or ``mean`` accuracy in points, ``ekl`` in nats.
        table: artefact whose printed table says where; empty: all sigma_d, or the one given.
        sigma_d: look there alone.
        parameters: of methods, by name.
        sign: -1 measures how far below.
    """

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
        wanted = dict(parameters or {})
        if "rc_manual" in (a, b):  # chosen on validation images, in the grid of fig4
            if (chosen := results.manual(settings)) is None:
                return None
            wanted["rc_manual"] = chosen
        found = results.select(settings, (a, b), wanted, sigma_d)
        if found is None:
            return None
        rows, setting = found
        each = differences(rows[rows.method.isin([a, b])], b, of)
        place, paper = None, None
        if table and (largest := largest_difference(table, a, b, list(each.sigma_d))):
            place, paper = largest
            each = each[each.sigma_d == place]
        estimates = [_over(row, 1 - 0.05 / len(each), sign) for row in each.itertuples()]
        best = max(range(len(each)), key=lambda i: estimates[i].value)
        estimate = estimates[best]
        if len(each) > 1:  # together the intervals hold for all, so the largest limits hold for the largest difference
            estimate = replace(estimate, low=extreme(max, [e.low for e in estimates]),
                               high=extreme(max, [e.high for e in estimates]))  # fmt: skip
            if each.seeds.max() == 1:
                estimate = replace(estimate, note=f"{estimate.note}, the largest of {len(each)}")
        at = f"sigma_d = {each.sigma_d.iloc[best]:g}"
        return Finding(estimate, at, protocol(rows), setting.substitute, paper)

    return measure


def least_gain(a: str, rivals: Sequence[str], of: str = "kpp", sigma_d: float | None = None, sign: int = 1) -> Measure:
    """Return the measure of how far ``a`` lies above the best of its rivals (with sign -1: below the lowest).

    The smallest of the differences, with the smallest of their limits: each at 95 % is enough for all (an
    intersection-union test). Without a sigma_d the largest that all share is taken.
    """

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
        found = results.select(settings, (a, *rivals), None, sigma_d)
        if found is None:
            return None
        rows, setting = found
        shared = [s for s, part in rows.groupby("sigma_d") if {a, *rivals} <= set(part.method)]
        rows = rows[rows.sigma_d == max(shared)]
        pairs = [differences(rows[rows.method.isin([a, r])], r, of).iloc[0] for r in rivals]
        estimates = [_over(pair, 0.95, sign) for pair in pairs]
        worst = min(range(len(rivals)), key=lambda i: estimates[i].value)
        estimate = replace(estimates[worst], low=extreme(min, [e.low for e in estimates]),
                           high=extreme(min, [e.high for e in estimates]))  # fmt: skip
        return Finding(estimate, f"sigma_d = {max(shared):g}, over {name(rivals[worst])}", protocol(rows),
                       setting.substitute)  # fmt: skip

    return measure


def change(
    method: str,
    of: str,
    better: Mapping[str, object],
    worse: Mapping[str, object],
    *,
    sigma_d: float | None = None,
    pretrained: bool = False,
) -> Measure:
    """Return the measure of how far one setting of a method lies above another, on the same chips and seeds.

    The largest sigma_d that both have is taken unless one is given.

    Args:
        method: which.
        of: ``mean`` or ``kpp``.
        better: parameters that the paper puts above, over the usual ones.
        worse: those it puts below.
        sigma_d: look there alone.
        pretrained: the worse ones were trained on from a model trained without noise.
    """

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
        for setting in settings:
            start = {"start": "pretrained"} if pretrained else {}
            first = results.select([setting], (method,), {method: better}, sigma_d)
            begun = replace(setting, where={**setting.where, **start})
            second = results.select([begun], (method,), {method: worse}, sigma_d)
            if first is None or second is None:
                continue
            above, under = first[0], second[0]
            common = set(above.sigma_d) & set(under.sigma_d)
            if not common or set(above.images) != set(under.images) or set(above.network) != set(under.network):
                continue
            at = max(common)
            both = [rows[rows.sigma_d == at].assign(method=label) for rows, label in ((above, "a"), (under, "b"))]
            row = differences(pd.concat(both, ignore_index=True), "b", of).iloc[0]
            return Finding(_over(row, 0.95, 1), f"sigma_d = {at:g}", protocol(both[0]), setting.substitute)
        return None

    return measure


def not_converging(accuracies: Sequence[float], margin: float = 5.0) -> int:
    """Return how many runs' accuracy lies more than ``margin`` points below the runs' mean (NFT, footnote 2)."""
    x = np.asarray(accuracies, dtype=float)
    return int((x < x.mean() - margin).sum())


def share_difference(a: int, b: int, n: int, confidence: float = 0.95) -> Estimate:
    """Return the difference a/n - b/n of two counts out of n, in percent, with Newcombe's interval (hybrid score).

    Wilson's limits (l, u) of each share p give  d - sqrt((p_a - l_a)^2 + (u_b - p_b)^2)  and, with the other limits,
    the upper one (Newcombe 1998, method 10, for independent runs).
    """
    from scipy.special import ndtri

    z = ndtri((1 + confidence) / 2)

    def wilson(count: int) -> tuple[float, float, float]:
        p = count / n
        middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return p, (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)

    (pa, la, ua), (pb, lb, ub) = wilson(a), wilson(b)
    low = pa - pb - math.hypot(pa - la, ub - pb)
    high = pa - pb + math.hypot(ua - pa, pb - lb)
    return Estimate(100 * (pa - pb), 100 * low, 100 * high, n, f"{a} and {b} of {n} runs")


def fewer_failures(a: str, b: str, least: int = 5) -> Measure:
    """Return the measure of how much rarer a run of ``a`` fails to converge than one of ``b``, in percent of runs.

    At the largest sigma_d at which both have ``least`` runs; fewer say nothing.
    """

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
        found = results.select(settings, (a, b), runs=least)
        if found is None:
            return None
        rows, setting = found
        means = {m: part.groupby("train_seed").accuracy.mean() for m, part in rows.groupby("method", observed=True)}
        runs = min(len(means[m]) for m in (a, b))
        one, other = (not_converging(means[m].iloc[:runs]) for m in (b, a))
        return Finding(share_difference(one, other, runs), f"sigma_d = {rows.sigma_d.max():g}", protocol(rows),
                       setting.substitute)  # fmt: skip

    return measure


def half_width(of: str, chips: int, methods: Sequence[str]) -> Measure:
    """Return the measure of how wide an interval on ``chips`` chips is: half of it, in points, over all samples.

    The estimate is the median over the samples that have so many chips, low and high the narrowest and the widest.
    """

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
        for setting in settings:
            rows = results.under(setting, method=tuple(methods))
            rows = rows[(rows.sigma_d > 0) & (rows.chip < chips)]
            halves, used = [], []
            for _, part in rows.groupby("run", observed=True):
                if len(part) == chips:
                    e = statistics.kpp(part.accuracy) if of == "kpp" else statistics.mean(part.accuracy)
                    if e.interval is not None:
                        halves.append((e.interval[1] - e.interval[0]) / 2)
                        used.append(part)
            if halves:
                estimate = Estimate(float(np.median(halves)), min(halves), max(halves), len(halves),
                                    f"median, narrowest and widest of {len(halves)} samples")  # fmt: skip
                return Finding(estimate, f"{chips:,} chips", protocol(pd.concat(used)), setting.substitute)
        return None

    return measure


def protocol(rows: pd.DataFrame) -> str:
    """Say what rows are: matched or swept, convention, network and data, how many trainings and chips."""
    first = rows.iloc[0]
    kinds = set(rows[rows.method != "none"].protocol if (rows.method != "none").any() else rows.protocol)
    sizes = rows.groupby(["training", "sigma_d"], observed=True).size()
    seeds = rows.groupby(["method", "sigma_d"], observed=True).train_seed.nunique()
    what = f"{name(str(first.network))}/{name(str(first.dataset))}, {name(str(first.device))}"
    how = f"{'/'.join(sorted(map(str, kinds)))}, {first.reference}, {first.mapping}, {first.bits}-bit"
    size = f"{span(seeds.tolist(), 'training')} of {span(sorted(set(rows.epochs)), 'epoch')}"
    size += f" on {span(sorted(set(rows.train_images)), 'image')}"
    words = {str(word) for word in rows.train_precision} - {"float32"}
    size += f" in {'/'.join(sorted(words))}" if words else ""
    tests = f"{span(sizes.tolist(), 'chip')} each on {span(sorted(set(rows.images)), 'image')}"
    return f"{what}; {how}; {size}; {tests}"


def _over(row: Any, confidence: float, sign: int) -> Estimate:
    """Return a row of `differences` as an estimate: over trainings, or over chips where there is one training."""
    if row.seeds > 1:
        e = statistics.mean([sign * value for value in row.each], confidence)
        return replace(e, n=row.seeds, note="")
    if math.isnan(row.chips_low):
        return Estimate(sign * row.difference, None, None, 1, "one training; too few chips for an interval")
    low, high = sorted(sign * limit for limit in (row.chips_low, row.chips_high))
    return Estimate(sign * row.difference, low, high, 1, "one training: interval over chips")


def extreme(of: Callable[[list[float]], float], limits: Sequence[float | None]) -> float | None:
    """Return the least or the largest of some limits; None where one of them is missing."""
    known = [limit for limit in limits if limit is not None]
    return of(known) if len(known) == len(limits) else None
