"""Chips deployed one by one, as the notebook shows them: the paper's rows beside ours, one thing changed at a time."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from nvlib import statistics
from nvlib.errors import unknown
from nvlib.figures.names import name as written
from nvlib.papers import deployment_analyses
from nvlib.papers.deployment_analyses import SIZES, TABLES
from nvlib.papers.deployment_measures import deployed, inverted, only, scaled, settled, under, value_of
from nvlib.papers.printed_numbers import published
from nvlib.papers.registry import artefact
from nvlib.papers.select import Evidence
from nvlib.store import Store
from nvlib.summary import ratio


def analysis_table(name: str, preset: str = "quick", store: Store | None = None) -> pd.DataFrame:
    """Return one of the tables of `nvlib.papers.deployment_analyses`.

    Args:
        name: one of `TABLES`.
        preset: quick: what the store has, of the size that ships. smoke: a tiny one is made to see that it works, what
            quick gives is returned. full, paper: made now, as far as it is not stored, at that size.
        store: None takes the project's own.

    Returns:
        It; empty where it is not stored yet, ``python -m nvlib.papers.analyses`` makes it.

    Raises:
        InputError: for an unknown name or preset.
    """
    if name not in TABLES:
        raise unknown("table of programmed chips", name, TABLES)
    if preset != "quick":
        if preset not in SIZES:
            raise unknown("preset", preset, ("quick", *SIZES))
        from nvlib.papers.deployment_analysis_runs import made

        held = made(name, SIZES[preset][name], store)
        if preset != "smoke":
            return held
    return deployment_analyses.table(name, store)


def repaired(name: str, results: Evidence) -> pd.DataFrame:
    """Return an artefact's deployed chips, of the first of its settings that has any, and the rows of their ideal."""
    for setting in artefact(name).settings:
        rows = deployed(results, setting)
        if len(rows):
            quiet = results.under(setting, method="none", sigma_d=0.0)
            return pd.concat([rows, quiet.assign(deployment="")], ignore_index=True)
    return pd.DataFrame()


def ahead(rows: pd.DataFrame, method: str = "tsb") -> pd.DataFrame:
    """Return how far a deployment method lies above each other one, on the same chips.

    Returns:
        A row a sigma_d and rival: sigma_d, over, difference (points), low, high (95 %), chips.
    """
    made = []
    for sigma_d, part in rows[rows.deployment != ""].groupby("sigma_d"):
        held = part.pivot_table("accuracy", ["training", "chip"], "deployment", observed=True)
        for rival in held.columns.drop(method, errors="ignore") if method in held else ():
            gaps = (held[method] - held[rival]).dropna()
            e = statistics.mean(gaps.to_numpy())
            made.append({"sigma_d": sigma_d, "over": rival, "difference": e.value, "low": e.low, "high": e.high,
                         "chips": len(gaps)})  # fmt: skip
    return pd.DataFrame(made)


def ablated(of: str, name: str, results: Evidence) -> pd.DataFrame:
    """Return the chips whose TSB differs in one parameter at most, which is a column, of the first setting with any.

    Args:
        of: ``channels``, ``insertions``, ``layers`` or ``init``.
        name: of the artefact, under whose settings they are looked for.
        results: a store, read.
    """
    for setting in artefact(name).settings:
        rows = only(under(results, setting, deployment="tsb"), (of,))
        rows = rows.assign(**{of: [value_of(of, c, str(n)) for c, n in zip(rows.changed, rows.network, strict=True)]})
        several = rows.groupby("sigma_d")[of].transform("nunique") > 1
        if several.any():
            return rows[several].reset_index(drop=True)
    return pd.DataFrame()


def ablation(rows: pd.DataFrame, of: str, beside: str | None = None) -> pd.DataFrame:
    """Return what each value of a parameter of the block wins, with the paper's accuracy beside it.

    Args:
        rows: of `ablated`.
        of: the parameter.
        beside: artefact whose printed accuracies stand beside; their channels are those of the whole network.

    Returns:
        Columns ``of``, accuracy, before, gain with low and high (95 %, paired over chips), chips; with an artefact also
        whole (the value in the whole network) and paper.
    """
    made = []
    said = published(beside) if beside else pd.DataFrame(columns=["metric", "x", "value"])
    said = said[said.metric == "mean"]
    for value, part in rows.groupby(of):
        e = statistics.mean((part.accuracy - part.before).to_numpy())
        row = {of: value, "accuracy": part.accuracy.mean(), "before": part.before.mean(), "gain": e.value, "low": e.low,
               "high": e.high, "chips": len(part)}  # fmt: skip
        for x, printed in zip(said.x, said.value, strict=True):
            if scaled(of, int(x), str(rows.network.iloc[0])) == value:
                row |= {"whole": int(x), "paper": printed}
        made.append(row)
    return pd.DataFrame(made)


def causes(held: pd.DataFrame, learning: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return how many times each variant of `nvlib.papers.deployment_analyses` cuts the distance to the ideal.

    Args:
        held: its table *causes*.
        learning: its table *learning*; adds TSB trained four times as long.

    Returns:
        A row a network and variant: network, sigma_d, says, before, after, ideal (percent, validation images), cut with
        low and high (95 %, paired over chips), chips. The ideal is the network trained without noise, where it ships,
        else the same network without variation; for TSB there is a row with the latter as well.
    """
    made = []
    if held.empty:
        return held
    for (network, sigma_d, which), part in held.groupby(["network", "sigma_d", "variant"], sort=False):
        how, quiet, own, before = deployment_analyses.VARIANTS[which], part.ideal.iloc[0], part.own.iloc[0], part.before
        usual = held[(held.network == network) & (held.sigma_d == sigma_d) & (held.variant == "tsb")].before
        if how.method is None and how.exact and len(usual):  # the remedy is that those cells do not stray
            before = usual
        made.append(_cause(network, sigma_d, how.says, before, part.accuracy, own if math.isnan(quiet) else quiet))
        if which == "tsb" and not math.isnan(quiet):
            made.append(_cause(network, sigma_d, "TSB, the ideal is the same network without variation", part.before,
                               part.accuracy, own))  # fmt: skip
            if learning is not None and len(learning):
                curves = learning.pivot(index="chip", columns="epoch", values="accuracy")
                longer = f"TSB trained {curves.columns.max() / deployment_analyses.TSB['epochs']:g} times as long"
                made.append(_cause(network, sigma_d, longer, curves[0], curves[curves.columns.max()], quiet))
    return pd.DataFrame(made)


def most(table: pd.DataFrame, network: str = "lenet3") -> str:
    """Say in a sentence which change cuts the distance most, and how much TSB cuts it as it is; a table of `causes`."""
    own = table[table.network == network] if len(table) else table
    usual = own[own.says == deployment_analyses.VARIANTS["tsb"].says] if len(own) else own
    if usual.empty:
        return "not yet computed"
    best = own.loc[own.cut.idxmax()]
    return (f"{written(network)}, sigma_d = {best.sigma_d:g}: as it is TSB cuts the distance {usual.cut.item():.1f} "
            f"times; of {len(own) - 1} changes this one helps most: {best.says} ({best.cut:.1f} times).")  # fmt: skip


def learned(learning: pd.DataFrame) -> pd.DataFrame:
    """Return TSB's mean accuracy, loss and images run by epoch; empty where the table is."""
    if learning.empty:
        return learning
    return learning.groupby("epoch").agg(accuracy=("accuracy", "mean"), loss=("loss", "mean"), passes=("passes", "max"))


def converged(learning: pd.DataFrame) -> int | None:
    """Return the epoch from which on TSB's mean accuracy has 95 % of its gain; None for an empty table."""
    return settled(learning.groupby("epoch").accuracy.mean().to_numpy()) if len(learning) else None


def _cause(network: str, sigma_d: float, says: str, before: pd.Series, after: pd.Series, best: float) -> dict[str, Any]:
    a, b = (best - x.to_numpy(float) for x in (after, before))
    r = ratio(a, b)
    cut, low, high = inverted(r["normalised"], r["low"], r["high"])
    return {"network": network, "sigma_d": sigma_d, "says": says, "before": best - b.mean(), "after": best - a.mean(),
            "ideal": best, "cut": cut, "low": low, "high": high, "chips": len(a)}  # fmt: skip
