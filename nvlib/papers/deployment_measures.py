"""What is measured of chips that were deployed one by one: distances to the ideal, a block's parameters, time.

Chips with and without a remedy, and under two settings of one, are the same chips: differences and ratios are paired.
With several trainings the interval is over trainings, with one over chips, and the note says so.

    distance_cut    (ideal - Gauss) / (ideal - method), ideal: the network trained without noise
    varied          one parameter of TSB's block against another, all else equal
    whole_share, speedup, epochs_to_converge    of `nvlib.papers.deployment_analyses`
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nvlib import statistics
from nvlib.catalogue import span
from nvlib.papers import deployment_analyses
from nvlib.papers.measures import Finding, Measure, protocol
from nvlib.papers.select import Evidence, Protocol
from nvlib.statistics import Estimate
from nvlib.summary import distance_table

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIED = ("channels", "insertions", "layers", "init", "places")  # what an ablation changes of the block
WHOLE = {  # of the whole network, where nothing is said
    "lenet3": {"channels": 5, "insertions": 2}, "vgg8_tsb": {"channels": 128, "insertions": 6},
    "resnet18": {"channels": 128, "insertions": 8},
}  # fmt: skip
SETTLED = 0.95  # of what the block gains in the end: from then on it has converged
_ONE = "one training: interval over chips"


def under(results: Evidence, setting: Protocol, **where: Any) -> pd.DataFrame:
    """Return the deployed chips of a setting, with the parameters that are not the method's default as a dict."""
    rows, wanted = results.deployed, {**setting.where, **where}
    for column, value in wanted.items():
        rows = rows[rows[column].isin(list(value) if isinstance(value, list | tuple) else [value])]
    return rows.assign(changed=[json.loads(text or "{}") for text in rows.deployment_parameters.astype(str)])


def deployed(results: Evidence, setting: Protocol, methods: Sequence[str] | None = None) -> pd.DataFrame:
    """Return chips deployed as tsb-fig3 has them: the block by default, of several sizes of a method the largest.

    Args:
        results: a store, read.
        setting: where to look.
        methods: deployment methods; None: all.
    """
    rows = under(results, setting, **({} if methods is None else {"deployment": tuple(methods)}))
    rows = only(rows, ())
    if rows.empty:
        return rows
    cell = ["training", "sigma_d", "deployment"]
    sizes = rows.groupby([*cell, "run"], observed=True).agg(n=("chip", "size"), passes=("passes", "max")).reset_index()
    first = sizes.sort_values(["n", "passes", "run"], ascending=[False, False, True]).drop_duplicates(cell)
    return rows[rows.run.isin(first.run)].reset_index(drop=True)


def only(rows: pd.DataFrame, of: Sequence[str]) -> pd.DataFrame:
    """Return the chips whose block differs from the default in the parameters ``of`` at most."""
    return rows[np.array([set(changed) & set(VARIED) <= set(of) for changed in rows.changed], dtype=bool)]


def ideal(results: Evidence, setting: Protocol) -> float | None:
    """Return the mean accuracy of the networks trained without noise, as they are, in percent; None: there is none."""
    rows = results.under(setting, method="none", sigma_d=0.0)
    return None if rows.empty else float(rows.accuracy.mean())


def distance_cut(method: str) -> Measure:
    """Return the measure of how many times a deployment method cuts the distance to the ideal accuracy.

    Of several sigma_d the largest cut is reported, with the largest of limits that hold together (Bonferroni).
    """

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
        for setting in settings:
            rows, best = deployed(results, setting, (method,)), ideal(results, setting)
            if rows.empty or best is None:
                continue
            table = distance_table(rows, best, 1 - 0.05 / rows.sigma_d.nunique())
            table = table[table.deployment == method]
            cuts = [inverted(r.normalised, r.low, r.high) for r in table.itertuples()]
            top = max(range(len(cuts)), key=lambda i: cuts[i][0])
            low, high = (None if None in limits else max(limits) for limits in list(zip(*cuts, strict=True))[1:])
            note = _ONE + (f", the largest of {len(cuts)}" if len(cuts) > 1 else "")
            found = Estimate(cuts[top][0], low, high, rows.training.nunique() // len(cuts) or 1, note)
            return Finding(found, f"sigma_d = {table.sigma_d.iloc[top]:g}", _protocol(rows), setting.substitute)
        return None

    return measure


def inverted(ratio: float, low: float | None, high: float | None) -> tuple[float, float | None, float | None]:
    """Return 1 / ratio with its limits; without an upper one where the ratio's lower limit is not above 0."""
    if low is None or high is None:
        return 1 / ratio, None, None
    return 1 / ratio, 1 / high, 1 / low if low > 0 else math.inf


def varied(of: str, better: object, worse: object) -> Measure:
    """Return the measure of how far one value of a parameter of TSB's block lies above another, in points.

    Chips must share the training and all other parameters; the largest sigma_d with both, then most chips. Channels are
    those of the whole network, and scale with its width.

    Args:
        of: ``channels``, ``insertions``, ``layers`` or ``init``.
        better: the value that the paper puts above.
        worse: the one below.
    """

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
        for setting in settings:
            rows = under(results, setting, deployment="tsb")
            if rows.empty:
                continue
            rows = rows.assign(value=[value_of(of, c, str(n)) for c, n in zip(rows.changed, rows.network, strict=True)])
            pair_of = [scaled(of, v, str(rows.network.iloc[0])) for v in (better, worse)]
            pairs = _pairs(rows, of, *pair_of)
            if not pairs:
                continue
            top = max(pairs, key=lambda pair: (pair[0].sigma_d.iloc[0], min(map(len, pair))))
            above, below = (part.set_index(["training", "chip"]).accuracy for part in top)
            gaps = (above - below).dropna()
            means = gaps.groupby("training", observed=True).mean()
            e = statistics.mean(gaps.to_numpy() if len(means) == 1 else means.to_numpy())
            found = Estimate(e.value, e.low, e.high, len(means), _ONE if len(means) == 1 else "")
            at = f"sigma_d = {top[0].sigma_d.iloc[0]:g}, {of} {pair_of[0]} against {pair_of[1]}"
            return Finding(found, at, _protocol(top[0]), setting.substitute)
        return None

    return measure


def value_of(of: str, changed: Mapping[str, Any], network: str) -> Any:
    """Return what a parameter of the block is, given those that are not the default."""
    whole = {"layers": 1, "init": "identity", **WHOLE[network.partition(" x")[0]]}
    return changed[of] if changed.get(of) is not None else scaled(of, whole[of], network)


def scaled(of: str, value: Any, network: str) -> Any:
    """Return a value of the whole network as it is at the width in a network's name: channels scale."""
    width = float(network.partition(" x")[2] or 1)
    return max(1, round(value * width)) if of == "channels" else value


def _pairs(rows: pd.DataFrame, of: str, better: object, worse: object) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Return pairs of runs that differ in one parameter alone."""
    rest = [json.dumps({k: v for k, v in c.items() if k != of}, sort_keys=True) for c in rows.changed]
    found = []
    for _, part in rows.assign(rest=rest).groupby(["sigma_d", "network", "rest"], observed=True):
        pair = tuple(part[part.value == value] for value in (better, worse))
        if set(pair[0].training) & set(pair[1].training):
            found.append(pair)
    return found


def _protocol(rows: pd.DataFrame) -> str:
    return f"{protocol(rows)}; {span(sorted(set(rows.passes.astype(int))), 'image')} a chip run in training it"


# -- time ------------------------------------------------------------------------------------------------------------

_TIME = "LeNet-3/MNIST, RRAM; matched, full_scale, signed, 8-bit; 1 training; chips scored on validation images"


def whole_share() -> Measure:
    """Return the measure of the whole cost of stopping early and training TSB, in percent of the full training.

    Of the early stops whose end is at least as good as the fully trained backbone the cheapest; the value counts
    seconds, the range holds seconds and image passes.
    """

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
        totals = _totals(results)
        good = totals[totals.gain >= 0] if totals is not None else None
        if good is None or good.empty:
            return None
        row = good.sort_values("share_seconds").iloc[0]
        shares = 100 * row.share_seconds, 100 * row.share_passes
        note = (f"seconds {shares[0]:.1f} %, image passes {shares[1]:.1f} %; ends {row.gain:.2f} points above the "
                "fully trained backbone")  # fmt: skip
        return Finding(Estimate(shares[0], min(shares), max(shares), 1, note), _stop(row), _TIME)

    return measure


def speedup() -> Measure:
    """Return the measure of how much sooner TSB reaches the fully trained backbone's accuracy than that training does.

    Over all early stops the soonest, in seconds; the range holds seconds and image passes.
    """

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
        totals = _totals(results)
        reached = totals.dropna(subset="reached_seconds") if totals is not None else None
        if reached is None or reached.empty:
            return None
        row = reached.sort_values("reached_seconds").iloc[0]
        times = 1 / row.reached_seconds, 1 / row.reached_passes
        note = f"by seconds {times[0]:.1f}, by image passes {times[1]:.1f}"
        return Finding(Estimate(times[0], min(times), max(times), 1, note), _stop(row), _TIME)

    return measure


def _totals(results: Evidence) -> pd.DataFrame | None:
    """Return what each early stop came to; None where no table ships."""
    from nvlib.deploy import cost

    held = deployment_analyses.table("cost", results.store)
    if held.empty:
        return None
    totals = cost.totals(held)
    return totals[(totals.stage == "tsb") & (totals.stop < 1)]


def _stop(row: Any) -> str:
    return f"{100 * row.stop:.0f} % stop"


def settled(accuracy: np.ndarray) -> int:
    """Return the first epoch from which on at least `SETTLED` of the last epoch's gain is there.

    Args:
        accuracy: by epoch, the first before any training.
    """
    short = accuracy < accuracy[0] + SETTLED * (accuracy[-1] - accuracy[0])
    return int(np.flatnonzero(short)[-1]) + 1 if short.any() else 0


def epochs_to_converge(draws: int = 1000) -> Measure:
    """Return the measure of how many epochs TSB takes: of the mean over chips, with a bootstrap interval over chips."""

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
        held = deployment_analyses.table("learning", results.store)
        if held.empty:
            return None
        curves = held.pivot(index="chip", columns="epoch", values="accuracy").to_numpy(float)
        rng = np.random.default_rng(0)
        found = [settled(curves[rng.integers(len(curves), size=len(curves))].mean(0)) for _ in range(draws)]
        low, high = np.quantile(found, [0.025, 0.975])
        value, last = settled(curves.mean(0)), held[held.epoch == held.epoch.max()]
        images = int(last.passes.iloc[0] / last.epoch.iloc[0])
        note = f"{100 * SETTLED:.0f} % of the gain after {last.epoch.iloc[0]} epochs of {images:,} images"
        estimate = Estimate(float(value), float(min(low, value)), float(max(high, value)), 1, note)
        return Finding(estimate, f"sigma_d = {deployment_analyses.AT:g}", f"{_TIME}; TSB on {len(curves)} chips")

    return measure
