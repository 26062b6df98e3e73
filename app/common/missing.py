"""What to do where nothing is stored: the command that computes it, and the nearest choice that has a result."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from common.query import METHODS, Query
from common.reading import stored
from nvlib import figures


def command(query: Query, methods: Sequence[str] | None = None) -> str:
    """Return the command that computes what a query asks for; the only place that spells it."""
    network, _, width = query.network.partition(" x")
    words = ["python", "-m", "nvlib", "study", "--network", network, "--dataset", query.dataset]
    words += ["--method", *(methods or query.method or METHODS)]
    words += ["--device", query.device, "--sigma-d", f"{query.sigma_d:g}"]
    extra = {
        "--width": width,
        "--train-sigma-d": "" if query.train_sigma_d is None else f"{query.train_sigma_d:g}",
        "--reference": "" if query.reference == "full_scale" else query.reference,
        "--mapping": "" if query.mapping == "differential" else query.mapping,
        "--epochs": "" if not query.setting or query.setting[0] == 10 else str(query.setting[0]),
    }
    words += [word for flag, value in extra.items() if value for word in (flag, value)]
    return shlex.join(words)


def missing(query: Query, df: pd.DataFrame) -> list[str]:
    """Say which chosen methods have no chips in ``df`` and how to compute them; return those methods."""
    lacking = [m for m in query.method if m not in set(df["method"])]
    if not query.method:
        st.info("Choose at least one training method in the sidebar.", icon=":material/tune:")
    elif lacking:
        names = " and ".join(figures.style(m).label for m in lacking)
        where = f"{query.network} on {query.dataset}, {query.device}, sigma_d = {query.sigma_d:g}, {query.protocol}"
        st.info(f"**No result yet for {names}** ({where}). This computes it; the page then finds it by itself:",
                icon=":material/hourglass_empty:")  # fmt: skip
        st.code(command(query, lacking), language="bash", wrap_lines=True)
    if df.empty and (near := nearest(query)):
        text = f"{near['device']}, sigma_d = {near['sigma_d']:g}, {near['network']} on {near['dataset']}"
        st.button(f"Show the nearest result: {text}", on_click=_jump, args=(near,), icon=":material/near_me:")
    return lacking


def nearest(query: Query) -> dict[str, object] | None:
    """Return the stored choice that differs least from a query, as sidebar values; None if nothing is stored."""
    table = stored()
    table = table[table["protocol"] == "matched"]
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
