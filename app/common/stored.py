"""The stored chips that a query selects, and what their trainings cost. Everything is read, nothing computed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from common.query import Query
from nvlib.errors import InputError
from nvlib.explore import select
from nvlib.explore.code_text import command
from nvlib.store import Store, results


@st.cache_resource(ttl=20, show_spinner="Reading results")
def stored() -> pd.DataFrame:
    """Return all samples, shipped and local. Shared by all sessions and never written to, so it is not copied."""
    return results()


def selected(query: Query) -> pd.DataFrame:
    """Return the rows of every sigma_d, method and setting of a query, as programmed, whatever the protocol."""
    return select.selected(stored(), query)


def deployed(query: Query) -> pd.DataFrame:
    """Return the rows of every sigma_d of a query's chips that a deployment method worked on."""
    return select.of_protocol(select.selected(stored(), query, deployed=True), query)


def ideal(query: Query) -> float:
    """Return the mean accuracy (percent) of a query's network trained without noise, at sigma_d = 0.

    Raises:
        InputError: where none is stored.
    """
    rows = selected(replace(query, method=("none",)))
    rows = rows[rows["sigma_d"] == 0]
    if rows.empty:
        raise InputError(
            "no model without noise at sigma_d = 0 is stored for this choice; compute it with: "
            f"{command(replace(query, sigma_d=0.0), ['none'])}"
        )
    return round(float(rows["accuracy"].mean()), 4)


def chips(query: Query, **where: Any) -> pd.DataFrame:
    """Return the rows that a query shows, over all sigma_d or those of ``where`` (column=value)."""
    return select.chips(stored(), query, **where)


@st.cache_data(ttl=60, max_entries=200, show_spinner=False)
def costs(trainings: tuple[str, ...]) -> pd.DataFrame:
    """Return what trainings cost: training, epochs (done), seconds (of training alone; NaN where not recorded)."""
    store, rows = Store(), []
    for name in trainings:
        history = store.history(name)
        seconds = float(history["seconds"].sum()) if "seconds" in history else float("nan")
        rows.append({"training": name, "epochs": len(history), "seconds": seconds})
    return pd.DataFrame(rows, columns=["training", "epochs", "seconds"])


def settings(query: Query) -> list[tuple[int | str, ...]]:
    """Return the settings that are stored for a query, the one with most chips times images first."""
    return select.settings(stored(), query)
