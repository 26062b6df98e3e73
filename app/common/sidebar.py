"""The choice in the sidebar: what is studied, shared by all pages and bound to the address."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import streamlit as st

from common.query import DATASETS, FIRST, MEASURED, METHODS, NETWORKS, RANGES, RELATIVE, SETTING, Query
from common.stored import settings, stored
from common.widgets import bound, meant, out_of_range, refused, several, warn
from nvlib import devices
from nvlib.models import own as networks


def sidebar() -> Query:
    """Draw the sidebar, keep its choice for the pages, and return it. Each widget is bound to the address."""
    table, first = stored(), "query" not in st.session_state
    bad: list[str] = []

    def options(column: str, known: Collection) -> list:
        held = [v for v in table[column].unique().tolist() if v not in known] if len(table) else []
        return [*known, *sorted(held)]

    def choose(widget: Callable, label: str, key: str, among: list, *rest: Any, **more: Any) -> Any:
        if first:
            bad.extend(refused(key, among, more.get("format_func", str), several(widget, more)))
            if not several(widget, more):
                meant(key, among)
        return bound(widget, label, key, among, *rest, **more)

    with st.sidebar:
        device = choose(
            st.selectbox, "Device", "device", options("device", devices.names()), "rram",
            "The memory cell: its levels, and how far each strays. `python -m nvlib devices` shows the numbers.",
        )  # fmt: skip
        relative = device not in devices.names() or devices.get(device).relative
        grid = RELATIVE if relative else MEASURED
        values = table.loc[table["device"] == device, "sigma_d"].unique().tolist() if len(table) else []
        sigmas = sorted({*grid, *values})
        sigma_d = choose(
            st.select_slider, "Device variation sigma_d", "sigma_d", sigmas, 0.2 if relative else 1.0,
            "Standard deviation of a programmed cell, relative to the reference below."
            if relative else "A factor on the measured deviation: 1 is as measured.",
        )  # fmt: skip
        method = choose(
            st.multiselect, "Training methods", "method", options("method", METHODS), list(FIRST),
            "none: ordinary training. gaussian: noise of the devices' size is added to the weights while training.",
        )  # fmt: skip
        k = _number_k(first, bad)
        query = Query(device=device, sigma_d=sigma_d, method=tuple(method), k=k)
        with st.expander("Conditions", key="conditions"):
            query = _conditions(query, choose, options, relative, sigmas)
            query = _setting(query, choose)
        st.caption("The address of this page holds your choice: share it, or come back to it.")
    if first:
        st.session_state["ignored"] = (query, bad)
    asked, ignored = st.session_state["ignored"]
    if ignored and asked == query:  # until the reader chooses something else
        warn(ignored)
    st.session_state["query"] = query
    return query


def query() -> Query:
    """Return the choice in the sidebar."""
    return st.session_state["query"]


def _conditions(query: Query, choose: Callable, options: Callable, relative: bool, sigmas: list[float]) -> Query:
    """Draw what else decides a result, and return the query with it."""
    network = choose(
        st.selectbox, "Network", "network", options("network", NETWORKS), "lenet", "What is trained.",
        format_func=_called,
    )  # fmt: skip
    dataset = choose(st.selectbox, "Data set", "dataset", options("dataset", DATASETS), "mnist", "What it sees.")
    protocol = choose(
        st.segmented_control, "Protocol", "protocol", ["matched", "swept"], "matched",
        "matched: each model is tested at the sigma_d it was trained at. swept: one model, trained at one sigma_d, "
        "is tested at all.", required=True,
    )  # fmt: skip
    train_sigma_d = None
    if protocol == "swept":
        train_sigma_d = choose(
            st.select_slider, "Trained at sigma_d", "train_sigma_d", options("train_sigma_d", sigmas), query.sigma_d,
            "The noise the swept model met in training.",
        )  # fmt: skip
    reference = choose(
        st.selectbox, "sigma_d is relative to", "reference", list(devices.REFERENCES), "full_scale",
        "full_scale: the whole conductance range of a cell. level: one level, a smaller unit.", disabled=not relative,
    )  # fmt: skip
    mapping = choose(
        st.selectbox, "Mapping", "mapping", ["differential", "signed"], "differential",
        "differential: a weight is the difference of two chains of cells. signed: one chain, the sign kept apart.",
    )  # fmt: skip
    span = choose(
        st.selectbox, "Weight range", "range", options("range", RANGES), "max",
        "What a cell's top level stands for: the tensor's largest |w|, so many deviations of it, or a percentile; "
        "/channel: of each column. Weights beyond saturate, and all others vary less.",
    )  # fmt: skip
    return replace(
        query, network=network, dataset=dataset, protocol=protocol, train_sigma_d=train_sigma_d, mapping=mapping,
        reference=reference if relative else Query.reference, range=span,  # a measured device has its own unit
    )  # fmt: skip


def _setting(query: Query, choose: Callable) -> Query:
    """Draw which of several stored settings is shown, and return the query with it."""
    held = settings(query)
    if len(held) < 2:
        return replace(query, setting=held[0] if held else None)
    labels = [_label(s) for s in held]
    text = "Results that differ in training length, precision or test images are never mixed."
    chosen = choose(st.selectbox, "Setting", "setting", labels, labels[0], text)
    return replace(query, setting=held[labels.index(chosen)])


def _number_k(first: bool, bad: list[str]) -> float:
    if first:
        bad.extend(out_of_range("k", 0.1, 99.9))
    text = "The k-th percentile performance (KPP) is the accuracy that all but k % of the chips exceed."
    return st.number_input("Percentile k (%)", 0.1, 99.9, 1.0, 1.0, "%g", key="k", help=text, bind="query-params")


def _called(network: str) -> str:
    """Return a network as a list and an address write it: as it is, but a reader's own by its name."""
    whole, times, width = network.partition(" x")
    return networks.label(whole) + times + width


def _label(setting: tuple[int | str, ...]) -> str:
    held = dict(zip(SETTING, setting, strict=True))
    words = [f"{held['epochs']} epochs"]
    words += [f"clipped to {held['clipping']}"] if held["clipping"] != "none" else []
    words += [f"trained for range {held['train_range']}"] if held["train_range"] != "max" else []
    words += [f"trained under {held['train_effects']}"] if held["train_effects"] else []
    words += [f"{held['bits']}-bit weights"]
    words += [f"{held['activation_bits']}-bit activations"] if held["activation_bits"] else []
    return ", ".join([*words, f"{held['images']:,} test images"])
