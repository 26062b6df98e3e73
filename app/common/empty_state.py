"""What to do where nothing is stored: compute it in place, the command for it, the nearest choice with a result."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from common.answers import offer
from common.query import Query
from common.stored import stored
from nvlib import figures
from nvlib.explore.code_text import command


def missing(query: Query, df: pd.DataFrame) -> list[str]:
    """Say which chosen methods have no chips in ``df`` and how to compute them; return those methods."""
    lacking = [m for m in query.method if m not in set(df["method"])]
    if not query.method:
        st.info("Choose at least one training method in the sidebar.", icon=":material/tune:")
    elif lacking:
        names = " and ".join(figures.style(m).label for m in lacking)
        where = f"{_named(query.network, query.dataset, query.device, query.sigma_d)}, {query.protocol}"
        st.info(f"**No result yet for {names}** ({where}).", icon=":material/hourglass_empty:")
        offer(query, lacking)
        with st.expander("The command that computes it", icon=":material/terminal:"):
            st.code(command(query, lacking), language="bash", wrap_lines=True)
    if df.empty:
        offer_nearest(query)
    return lacking


def _named(network: str, dataset: str, device: str, sigma_d: float) -> str:
    return f"{figures.name(network)} on {figures.name(dataset)}, {figures.name(device)}, sigma_d = {sigma_d:g}"


def offer_nearest(query: Query, deployed: bool = False) -> None:
    """Offer the nearest choice that has a result, if there is any."""
    if near := nearest(query, deployed):
        text = _named(near["network"], near["dataset"], near["device"], near["sigma_d"])
        st.button(f"Show the nearest result: {text}", on_click=_jump, args=(near,), icon=":material/near_me:")


def nearest(query: Query, deployed: bool = False) -> dict[str, Any] | None:
    """Return the stored choice that differs least from a query, as sidebar values; None if nothing is stored.

    Args:
        query: the choice.
        deployed: with chips that a deployment method worked on, instead of chips as they are.
    """
    table = stored()
    table = table[(table["protocol"] == "matched") & ((table["deployment"] != "") == deployed)]
    for column in ("range", "effects", "periphery"):  # what it leads to is shown under the query's own
        table = table[table[column] == getattr(query, column)]
    if table.empty:
        return None
    keys = ["network", "dataset", "device", "reference", "mapping", "sigma_d"]
    places = table[[*keys, "method"]].drop_duplicates().astype(dict.fromkeys(keys[:-1], object))
    sigma_d = query.sigma_d if (places["device"] == query.device).any() else Query.sigma_d  # else in other units
    distance = (places["sigma_d"] - sigma_d).abs()
    for weight, column in zip((16, 8, 4, 2, 2), keys, strict=False):
        distance = distance + weight * (places[column] != getattr(query, column))
    near = places.loc[distance.idxmin(), keys].to_dict()
    methods = places.loc[distance == distance.min(), "method"].unique().tolist()
    return {**near, "method": methods, "protocol": "matched"}


def _jump(choice: dict[str, object]) -> None:
    """Set the sidebar (a button's callback)."""
    for key, value in choice.items():
        st.session_state[key] = value
