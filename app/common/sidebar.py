"""The choice in the sidebar: what is studied, shared by all pages and bound to the address."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from common.query import DATASETS, FIRST, MEASURED, METHODS, NETWORKS, RELATIVE, Query
from common.reading import settings, stored
from common.widgets import bound, out_of_range, refused, several, warn
from nvlib import devices
from nvlib.models import own as networks


def sidebar() -> Query:
    """Draw the sidebar, keep its choice for the pages, and return it. Each widget is bound to the address."""
    table, first = stored(), "query" not in st.session_state
    bad: list[str] = []

    def options(column: str, known: Sequence) -> list:
        held = [v for v in table[column].unique().tolist() if v not in known] if len(table) else []
        return [*known, *sorted(held)]

    def choose(widget: Callable, label: str, key: str, among: list, *rest: Any, **more: Any) -> Any:
        if first:
            bad.extend(refused(key, among, more.get("format_func", str), several(widget, more)))
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
                st.select_slider, "Trained at sigma_d", "train_sigma_d", options("train_sigma_d", sigmas), sigma_d,
                "The noise the swept model met in training.",
            )  # fmt: skip
        reference = choose(
            st.selectbox, "sigma_d is relative to", "reference", list(devices.REFERENCES), "full_scale",
            "full_scale: the whole conductance range of a cell. level: one level, a smaller unit.",
            disabled=not relative,
        )  # fmt: skip
        reference = reference if relative else Query.reference  # a measured device has its own unit
        mapping = choose(
            st.selectbox, "Mapping", "mapping", ["differential", "signed"], "differential",
            "differential: a weight is the difference of two chains of cells. signed: one chain, the sign kept apart.",
        )  # fmt: skip
        query = Query(network, dataset, device, sigma_d, reference, mapping, tuple(method), protocol, train_sigma_d)
        query = replace(query, k=k)
        stored_settings = settings(query)
        labels = [_label(s) for s in stored_settings]
        if len(stored_settings) > 1:
            text = "Results that differ in training length, precision or test images are never mixed."
            chosen = choose(st.selectbox, "Setting", "setting", labels, labels[0], text)
            query = replace(query, setting=stored_settings[labels.index(chosen)])
        elif stored_settings:
            query = replace(query, setting=stored_settings[0])
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


def _number_k(first: bool, bad: list[str]) -> float:
    if first:
        bad.extend(out_of_range("k", 0.1, 99.9))
    text = "The k-th percentile performance (KPP) is the accuracy that all but k % of the chips exceed."
    return st.number_input("Percentile k (%)", 0.1, 99.9, 1.0, 1.0, "%g", key="k", help=text, bind="query-params")


def _called(network: str) -> str:
    """Return a network as a list and an address write it: as it is, but a reader's own by its name."""
    whole, times, width = network.partition(" x")
    return networks.label(whole) + times + width


def _label(setting: tuple[int, ...]) -> str:
    epochs, bits, activations, images = setting
    quantised = f", {activations}-bit activations" if activations else ""
    return f"{epochs} epochs, {bits}-bit weights{quantised}, {images:,} test images"
