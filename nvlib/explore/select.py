"""The rows of the table of results (`nvlib.store.results`) that answer a query. Nothing is computed here."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from nvlib import figures
from nvlib.errors import InputError
from nvlib.explore.query import CONDITIONS, SETTING, Query
from nvlib.store import Store

ONE = ["method", "sigma_d", "train_seed"]  # of one training


def selected(table: pd.DataFrame, query: Query, deployed: bool = False) -> pd.DataFrame:
    """Return the rows of every sigma_d, method and setting of a query, whatever the protocol.

    Args:
        table: from `nvlib.store.results`.
        query: the choice.
        deployed: those of chips that a deployment method worked on, instead of those as programmed.
    """
    keep = (table["deployment"] != "") == deployed
    for column in CONDITIONS:
        keep &= table[column] == getattr(query, column)
    keep &= table["method"].isin(query.method)
    if query.setting:
        for column, value in zip(SETTING, query.setting, strict=True):
            keep &= table[column] == value
    return table[keep]


def of_protocol(table: pd.DataFrame, query: Query) -> pd.DataFrame:
    """Return the rows of a query's protocol; without noise in training there is nothing to match or sweep."""
    if query.protocol == "swept":
        return table[(table["method"] == "none") | (table["train_sigma_d"] == query.train_sigma_d)]
    return table[table["protocol"] == "matched"]


def manner(training: str, store: Store | None = None) -> dict[str, Any]:
    """Return how a training was done, its length, seed, clipping and conditions apart: parameters and recipe.

    Nothing where its record is not there.
    """
    try:
        record = (store or Store()).training(training)
    except InputError:
        return {}
    recipe = {key: value for key, value in record.recipe.items() if key != "clip"}
    start = {"start": str(recipe["start"])[:8]} if recipe.get("start") else {}
    return {**record.parameters, **recipe, **start}


def one_training(table: pd.DataFrame, store: Store | None = None) -> pd.DataFrame:
    """Return the table with one training per method, sigma_d and seed: the one with most chips.

    Trainings of a method under several parameters or recipes are never mixed: those with most chips are taken.
    """
    counts = table.groupby([*ONE, "training"], observed=True).size()
    best = counts.groupby(level=ONE, observed=True).idxmax()
    if len(best) == len(counts):
        return table
    sizes = counts.rename("chips").reset_index()
    several = sizes[sizes.duplicated(ONE)]["method"].unique()
    store = store or Store()
    said = {name: json.dumps(manner(name, store), sort_keys=True)
            for name in sizes[sizes["method"].isin(several)]["training"].unique()}  # fmt: skip
    sizes["manner"] = [said.get(name, "") for name in sizes["training"]]
    whole = sizes.groupby(["method", "manner"], observed=True)["chips"].sum()
    usual = set(whole.groupby(level="method", observed=True).idxmax())
    sizes = sizes[[pair in usual for pair in zip(sizes["method"], sizes["manner"], strict=True)]]
    best = sizes.set_index([*ONE, "training"])["chips"].groupby(level=ONE, observed=True).idxmax()
    return table[pd.MultiIndex.from_frame(table[[*ONE, "training"]]).isin(best.tolist())]


def chips(table: pd.DataFrame, query: Query, store: Store | None = None, **where: object) -> pd.DataFrame:
    """Return the rows that a query shows, over all sigma_d or those of ``where`` (column=value)."""
    table = of_protocol(selected(table, query), query)
    keep = pd.Series(True, index=table.index)
    for column, value in where.items():
        keep &= table[column] == value
    return one_training(table[keep], store)


def settings(table: pd.DataFrame, query: Query) -> list[tuple[int | str, ...]]:
    """Return the settings that are stored for a query: those with chips at its sigma_d, then by chips times images."""
    table = selected(table, query)
    if table.empty:
        return []
    counts = table.groupby(list(SETTING), observed=True).size()
    here = set(table.loc[table["sigma_d"] == query.sigma_d, list(SETTING)].itertuples(index=False, name=None))
    return sorted(counts.index.tolist(), key=lambda s: (s not in here, -counts[s] * s[-1], s))


def trainings(table: pd.DataFrame, query: Query, mapping: bool = True) -> pd.DataFrame:
    """Return the stored trainings of a query's network, data set and methods: a row a hash.

    Its ``device`` is the one trained for; empty for a training without noise, which is for any, and where unknown.

    Args:
        table: from `nvlib.store.results`.
        query: the choice.
        mapping: only those that were evaluated under the query's mapping.
    """
    keep = table["method"].isin(query.method)
    if query.setting:
        keep &= table["bits"] == query.setting[1]
    for column in ("network", "dataset", *(["mapping"] if mapping else [])):
        keep &= table[column] == getattr(query, column)
    columns = ["training", "method", "train_sigma_d", "train_seed", "epochs", "bits", "activation_bits"]
    rows = table[keep]
    found = rows[columns].drop_duplicates("training").astype({"training": object, "method": object})
    found = found.sort_values(["method", "train_sigma_d", "train_seed", "training"]).set_index("training")
    matched = rows.loc[rows["protocol"] == "matched", ["training", "device"]].astype(object)
    device = matched.drop_duplicates("training").set_index("training")["device"].reindex(found.index).fillna("")
    return found.assign(device=device.where(found["method"] != "none", ""))


def labels(found: pd.DataFrame) -> dict[str, str]:
    """Return what `trainings` found as a reader chooses it: text -> hash."""
    return {
        f"{figures.style(row.method).label}, trained at sigma_d = {row.train_sigma_d:g}"
        f"{f' of {figures.name(row.device)}' if row.device else ''}, seed {row.train_seed}, "
        f"{row.epochs} epochs ({name[:10]})": name for name, row in found.iterrows()
    }  # fmt: skip


def near(found: pd.DataFrame, query: Query) -> str:
    """Return the label of the model trained nearest to a query's sigma_d, for its device, as long if one was."""
    distance = (found["train_sigma_d"] - query.sigma_d).abs()
    other = ~found["device"].isin([query.device, ""])
    longer = found["epochs"] != query.setting[0] if query.setting else other
    order = list(zip(other, longer, distance, strict=True))
    return list(labels(found))[order.index(min(order))]
