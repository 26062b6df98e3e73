"""What the papers print: one tidy file of numbers with their sources (`nvlib/_data/published.csv`), and ours beside.

A row is one printed number: artefact, network, dataset, device, method, sigma_d, metric, parameter, x, value, unit,
source. ``parameter`` and ``x`` name what else was varied (n = 3 feedback outputs); what a text does not say is empty.
Accuracies are in percent, their differences in points, shares in percent.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

from nvlib.errors import unknown

COLUMNS = (
    "artefact", "network", "dataset", "device", "method", "sigma_d", "metric", "parameter", "x", "value", "unit",
    "source",
)  # fmt: skip


@cache
def everything() -> pd.DataFrame:
    """Return every printed number, in the order of the papers; do not write to it."""
    return pd.read_csv(Path(__file__).parents[1] / "_data" / "published.csv")


def published(artefact: str) -> pd.DataFrame:
    """Return the numbers a paper prints for an artefact: the columns `COLUMNS` that say something for it.

    Raises:
        InputError: for an artefact without printed numbers.
    """
    table = everything()
    if artefact not in set(table.artefact):
        raise unknown("artefact with published numbers", artefact, set(table.artefact))
    rows = table[table.artefact == artefact].drop(columns="artefact").reset_index(drop=True)
    return rows.dropna(axis="columns", how="all")


def number(artefact: str, **where: object) -> float:
    """Return the one printed number of an artefact that matches, e.g. ``number("nft-table1", method="ovf", x=3)``.

    Raises:
        InputError: for an artefact without printed numbers.
        ValueError: if none or several match.
    """
    rows = published(artefact)
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return float(rows["value"].item())


def largest_difference(artefact: str, a: str, b: str, among: list[float]) -> tuple[float, float] | None:
    """Return the sigma_d at which a paper's table puts method ``a`` farthest above ``b``, and by how much.

    Only values of sigma_d in ``among`` count: the place is chosen by the paper's numbers, never by ours.
    """
    table = published(artefact).pivot_table("value", "sigma_d", "method")
    gaps = (table[a] - table[b])[[s for s in table.index if s in among]]
    return None if gaps.empty else (float(gaps.idxmax()), float(round(gaps.max(), 6)))


def beside(artefact: str, table: pd.DataFrame, k: float = 1) -> pd.DataFrame:
    """Set a paper's numbers and ours side by side.

    Args:
        artefact: e.g. ``trice-table1``.
        table: samples (`nvlib.results`) under the artefact's protocol.
        k: percentile of both, in percent.

    Returns:
        One row a method and sigma_d that both have: paper, ours, low, high (KPP in percent), chips, seeds.
    """
    from nvlib.summary import results_table

    ours = results_table(table, k=k).rename(columns={"kpp": "ours", "kpp_low": "low", "kpp_high": "high", "n": "chips"})
    paper = published(artefact).rename(columns={"value": "paper"})
    both = paper[paper.metric == f"kpp{k:g}"].merge(ours, on=["method", "sigma_d"])
    both.attrs["epochs"] = ours.epochs.iloc[0]
    return both[["method", "sigma_d", "paper", "ours", "low", "high", "chips", "seeds"]]
