"""What all pages share: the choice in the sidebar, the chips it selects, and the text around a figure.

sidebar -> frozen `Query`, bound to the address -> `chips` (cached read) -> one call of `nvlib.figures` -> `show`.
Nothing here needs torch, so a page opens at once; nothing here is drawn, `nvlib.figures` does that.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from nvlib import devices, figures
from nvlib.errors import InputError
from nvlib.store import results

# The names of nvlib.models, nvlib.data and nvlib.methods, which would import torch; a test holds them equal.
NETWORKS = ("lenet", "lenet5", "lenet3", "vgg8", "vgg8_tsb", "resnet18")
DATASETS = ("mnist", "cifar10", "cifar10-jpeg", "cifar100", "tiny-imagenet")
METHODS = (
    "none", "gaussian", "correctnet", "rc", "rc_manual", "lc", "rt", "lt", "trice", "trice_gauss", "ovf", "irs",
)  # fmt: skip
FIRST = ("none", "gaussian")  # methods shown before anything is chosen: those that ship for every sigma_d
RELATIVE = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)  # sigma_d of a device without own deviations
MEASURED = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # factors on a measured one
SETTING = ("epochs", "bits", "activation_bits", "images")  # what else tells two trainings or tests apart


@dataclass(frozen=True)
class Query:
    """The choice in the sidebar: everything that decides what a page shows."""

    network: str = "lenet"
    dataset: str = "mnist"
    device: str = "rram"
    sigma_d: float = 0.2
    reference: str = "full_scale"
    mapping: str = "differential"
    method: tuple[str, ...] = FIRST
    protocol: str = "matched"
    train_sigma_d: float | None = None  # of swept models
    setting: tuple[int, ...] | None = None  # values of SETTING; None where nothing is stored
    k: float = 1.0


# -- the sidebar -----------------------------------------------------------------------------------------------------


def sidebar() -> Query:
    """Draw the sidebar, keep its choice for the pages, and return it. Each widget is bound to the address."""
    table, first = stored(), "query" not in st.session_state
    bad: list[str] = []

    def options(column: str, known: Sequence) -> list:
        held = [v for v in table[column].unique().tolist() if v not in known] if len(table) else []
        return [*known, *sorted(held)]

    def choose(widget: object, label: str, key: str, among: list, default: object, text: str, **more: object) -> object:
        if first:
            bad.extend(f"{key}={v}" for v in st.query_params.get_all(key) if v not in map(str, among))
        if key in st.session_state and not set(_as_list(st.session_state[key])) <= set(among):
            del st.session_state[key]  # e.g. sigma_d = 0.2, and now a device that counts in multiples of 0.25
        return widget(label, among, **_start(widget, among, default), key=key, help=text, bind="query-params", **more)

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
        network = choose(st.selectbox, "Network", "network", options("network", NETWORKS), "lenet", "What is trained.")
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
        settings = _settings(query)
        labels = [_label(s) for s in settings]
        if len(settings) > 1:
            text = "Results that differ in training length, precision or test images are never mixed."
            chosen = choose(st.selectbox, "Setting", "setting", labels, labels[0], text)
            query = replace(query, setting=settings[labels.index(chosen)])
        elif settings:
            query = replace(query, setting=settings[0])
        st.caption("The address of this page holds your choice: share it, or come back to it.")
    if first:
        st.session_state["ignored"] = (query, bad)
    asked, ignored = st.session_state["ignored"]
    if ignored and asked == query:  # until the reader chooses something else
        listed = ", ".join(f"`{text[:60].replace('`', '')}`" for text in ignored)
        st.warning(f"The address asks for {listed}, which cannot be used; the default is shown instead.")
    st.session_state["query"] = query
    return query


def query() -> Query:
    """Return the choice in the sidebar."""
    return st.session_state["query"]


def _as_list(value: object) -> list:
    return list(value) if isinstance(value, list | tuple) else [value]


def _start(widget: object, among: list, default: object) -> dict[str, object]:
    """Return the argument that sets a widget's default, which widgets name differently."""
    if widget == st.selectbox:
        return {"index": among.index(default) if default in among else 0}
    return {"value" if widget == st.select_slider else "default": default}


def _number_k(first: bool, bad: list[str]) -> float:
    if first and (given := st.query_params.get("k")) is not None:
        try:
            sound = 0.1 <= float(given) <= 99.9
        except ValueError:
            sound = False
        if not sound:
            bad.append(f"k={given}")
    text = "The k-th percentile performance (KPP) is the accuracy that all but k % of the chips exceed."
    return st.number_input("Percentile k (%)", 0.1, 99.9, 1.0, 1.0, "%g", key="k", help=text, bind="query-params")


def _label(setting: tuple[int, ...]) -> str:
    epochs, bits, activations, images = setting
    quantised = f", {activations}-bit activations" if activations else ""
    return f"{epochs} epochs, {bits}-bit weights{quantised}, {images:,} test images"


# -- reading ---------------------------------------------------------------------------------------------------------


@st.cache_resource(ttl=20, show_spinner="Reading results")
def stored() -> pd.DataFrame:
    """Return all samples, shipped and local. Shared by all sessions and never written to, so it is not copied."""
    return results()


def selected(query: Query) -> pd.DataFrame:
    """Return the rows of every sigma_d, method and setting of a query, whatever the protocol."""
    table = stored()
    keep = pd.Series(True, index=table.index)
    for column in ("network", "dataset", "device", "reference", "mapping"):
        keep &= table[column] == getattr(query, column)
    keep &= table["method"].isin(query.method)
    if query.setting:
        for column, value in zip(SETTING, query.setting, strict=True):
            keep &= table[column] == value
    return table[keep]


def chips(query: Query, **where: object) -> pd.DataFrame:
    """Return the rows that a query shows, over all sigma_d or those of ``where`` (column=value)."""
    table = selected(query)
    keep = table["protocol"] == "matched"
    if query.protocol == "swept":
        keep = (table["method"] == "none") | (table["train_sigma_d"] == query.train_sigma_d)
    for column, value in where.items():
        keep &= table[column] == value
    return _one_training(table[keep])


def clean(query: Query) -> pd.DataFrame:
    """Return the tests without variation (sigma_d = 0) of the models that a query shows at its sigma_d."""
    shown, table = chips(query, sigma_d=query.sigma_d), selected(query)
    return table[(table["sigma_d"] == 0) & table["training"].isin(shown["training"])]


def _settings(query: Query) -> list[tuple[int, ...]]:
    """Return the settings that are stored for a query, the one with most chips times images first."""
    table = selected(query)
    counts = table.groupby(list(SETTING)).size() if len(table) else pd.Series(dtype=int)
    return sorted(counts.index.tolist(), key=lambda s: (-counts[s] * s[-1], s))


def _one_training(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with one training per method, sigma_d and seed: the one with most chips."""
    cell = ["method", "sigma_d", "train_seed"]
    counts = table.groupby([*cell, "training"], observed=True).size()
    best = counts.groupby(level=cell, observed=True).idxmax()
    if len(best) == len(counts):
        return table
    return table[pd.MultiIndex.from_frame(table[[*cell, "training"]]).isin(best.tolist())]


# -- showing ---------------------------------------------------------------------------------------------------------


@contextmanager
def guarded() -> Iterator[None]:
    """Show bad input as one line on the page instead of a traceback."""
    try:
        yield
    except InputError as error:
        st.error(str(error))


def show(fig: go.Figure, df: pd.DataFrame, query: Query, call: str, key: str) -> None:
    """Show a figure with its title, what it rests on, where that comes from, its table and its code.

    Args:
        fig: from `nvlib.figures`.
        df: the rows it shows.
        query: the choice it answers.
        call: the expression that drew it from ``df``, e.g. ``"figures.ecdf(df, k=1)"``.
        key: unique on the page.
    """
    title, subtitle = figures.detach_title(fig)
    st.subheader(title, anchor=False)
    st.caption(subtitle)
    st.plotly_chart(fig, key=key, config={"displaylogo": False})
    origin = " and ".join(sorted(df["origin"].unique()))
    runs = df.groupby(["run", "training", "method", "sigma_d", "train_seed", "origin"], observed=True).size()
    runs = runs.rename("chips").reset_index().sort_values(["method", "sigma_d", "train_seed"])
    hashes = ", ".join(f"`{run[:10]}`" for run in runs["run"].iloc[:3])
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    st.caption(f"n = {len(df):,} chips · results: {origin} · run {hashes}{more}")
    with st.expander("Table", icon=":material/table:"):
        numbers(df, query, key)
    with st.expander("Where it comes from", icon=":material/fingerprint:"):
        first = ["method", "sigma_d", "train_seed", "chips", "origin", "run", "training"]
        small = {name: st.column_config.Column(width="small") for name in first[:5]}
        st.dataframe(runs, hide_index=True, column_order=first, column_config=small)
    with st.expander("Show the code", icon=":material/code:"):
        st.code(code(df, query, call), language="python")


def numbers(df: pd.DataFrame, query: Query, key: str) -> None:
    """Show the table of mean, KPP and intervals, with downloads of it and of the chips."""
    table = figures.results_table(df, query.k)
    number = st.column_config.NumberColumn
    percent = {
        "mean": "mean (%)", "mean_low": "mean, low", "mean_high": "mean, high", "kpp": "KPP (%)", "kpp_low": "KPP, low",
        "kpp_high": "KPP, high", "kpp_seed_min": "KPP, worst training", "kpp_seed_max": "KPP, best training",
        "worst": "worst chip (%)",
    }  # fmt: skip
    columns = {name: number(label, format="%.2f") for name, label in percent.items()}
    columns |= {"ekl": number("EKL (nats)", format="%.4f"), "k": number("k (%)"), "n": number("chips")}
    columns |= {"sigma_d": number(format="%g"), "seeds": number("trainings")}
    st.dataframe(table, hide_index=True, column_config=columns)
    left, right = st.columns(2)
    for place, label, data, stem in ((left, "This table", table, "table"), (right, "All chips", df, "chips")):
        place.download_button(
            f"{label} (CSV)", lambda data=data: data.to_csv(index=False), f"nvlib-{stem}.csv", "text/csv",
            key=f"{key}-{stem}", on_click="ignore", icon=":material/download:",
        )  # fmt: skip


def interval(row: pd.Series, name: str) -> str:
    """Return the limits of one estimate of a row of `figures.results_table`, as text."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "too few chips for an interval" if pd.isna(low) else f"95 %: {low:.2f} to {high:.2f}"


def code(df: pd.DataFrame, query: Query, call: str) -> str:
    """Return the Python that reads the same rows and draws the same figure in a notebook."""
    where = {c: getattr(query, c) for c in ("network", "dataset", "device", "reference", "mapping")}
    where["method"] = sorted(df["method"].unique())
    where |= dict(zip(SETTING, query.setting or (), strict=False))
    if df["sigma_d"].nunique() == 1:
        where["sigma_d"] = query.sigma_d
    if query.protocol == "matched":
        where["protocol"] = "matched"
    else:
        where["train_sigma_d"] = sorted(df["train_sigma_d"].unique().tolist())
    lines = "".join(f"    {column}={value!r},\n" for column, value in where.items())
    return f"from nvlib import figures, results\n\ndf = results(\n{lines})\n{call}"


# -- nothing there ---------------------------------------------------------------------------------------------------


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
