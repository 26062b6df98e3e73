"""A figure with what it rests on, where that comes from, its table with downloads, and the code that draws it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from common import pictures
from common.query import Query
from nvlib import figures, summary
from nvlib.errors import InputError
from nvlib.explore.code_text import code

_PERCENT = {
    "mean": "mean (%)", "mean_low": "mean, low", "mean_high": "mean, high", "kpp": "KPP (%)", "kpp_low": "KPP, low",
    "kpp_high": "KPP, high", "kpp_seed_min": "KPP, worst training", "kpp_seed_max": "KPP, best training",
    "worst": "worst chip (%)",
}  # fmt: skip


@contextmanager
def guarded() -> Iterator[None]:
    """Show bad input as one line on the page instead of a traceback."""
    try:
        yield
    except InputError as error:
        st.error(told(error))


def told(error: Exception | str, at_most: int = 400) -> str:
    """Return an error as one line that a page can show: no line breaks, not endless, nothing of it read as Markdown."""
    text = " ".join(str(error).split())
    text = text if len(text) <= at_most else f"{text[:at_most]} ..."
    return "".join(f"\\{c}" if c in "\\`*_[]<>$#|:" else c for c in text)


def show(
    fig: go.Figure, df: pd.DataFrame, query: Query, call: str, key: str, beside: Sequence[str] = ()
) -> None:  # fmt: skip
    """Show a figure of chips with its title, what it rests on, where that comes from, its table and its code.

    Args:
        fig: from `nvlib.figures`.
        df: the rows it shows.
        query: the choice it answers.
        call: the expression that drew it from ``df``, e.g. ``"figures.ecdf(df, k=1)"``.
        key: unique on the page.
        beside: what is laid beside the query's rows (`nvlib.explore.laid`).
    """
    words, runs = chart(fig, key)[1], _runs(df)
    st.caption(_rests_on(df, runs["run"].tolist()))
    with st.expander("Table and downloads", icon=":material/table:"):
        numbers(df, query, key)
        pictures.offer(fig, words, key)
    _provenance(runs)
    with st.expander("Show the code", icon=":material/code:"):
        st.code(code(df, query, call, beside), language="python")


def _runs(df: pd.DataFrame) -> pd.DataFrame:
    """Return a row a run of the chips shown."""
    runs = df.groupby(["run", "training", "method", "sigma_d", "train_seed", "origin"], observed=True).size()
    return runs.rename("chips").reset_index().sort_values(["method", "sigma_d", "train_seed"])


def _provenance(runs: pd.DataFrame) -> None:
    with st.expander("Where it comes from", icon=":material/fingerprint:"):
        first = ["method", "sigma_d", "train_seed", "chips", "origin", "run", "training"]
        small = {name: st.column_config.Column(width="small") for name in first[:5]}
        st.dataframe(runs, hide_index=True, column_order=first, column_config=small)


def _rests_on(df: pd.DataFrame, runs: Sequence[str]) -> str:
    origin = " and ".join(sorted(df["origin"].unique()))
    hashes = ", ".join(f"`{run[:10]}`" for run in runs[:3])
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    return f"n = {len(df):,} chips · results: {origin} · run {hashes}{more}"


def figure(
    fig: go.Figure, key: str, *, note: str = "", table: pd.DataFrame | None = None, code: str = "",
    columns: Mapping[str, Any] | None = None, chips: pd.DataFrame | None = None, **more: Any,
) -> Any:  # fmt: skip
    """Show any figure with its title and a note on where it comes from, its table with downloads, and its code.

    Args:
        fig: from `nvlib.figures`.
        key: unique on the page.
        note: what it rests on and where that comes from.
        table: its numbers.
        code: Python that draws it in a notebook.
        columns: of the table, as `st.dataframe` takes them.
        chips: the stored chips it is of, to be named by their runs and offered beside the table.
        **more: further arguments of `st.plotly_chart`.

    Returns:
        What `st.plotly_chart` gives: the selection, if one was asked for.
    """
    selection, words = chart(fig, key, **more)
    runs = None if chips is None or chips.empty else _runs(chips)
    if said := " · ".join(filter(None, ["" if runs is None else _rests_on(chips, runs["run"].tolist()), note])):
        st.caption(said)
    with st.expander("Table and downloads", icon=":material/table:"):
        if table is not None:
            st.dataframe(table, hide_index=True, column_config=columns, placeholder="")
            downloads({"This table": table} | ({} if runs is None else {"All chips": chips}), key)
        pictures.offer(fig, words, key)
    if runs is not None:
        _provenance(runs)
    if code:
        with st.expander("Show the code", icon=":material/code:"):
            st.code(code, language="python")
    return selection


def chart(fig: go.Figure, key: str, **more: Any) -> tuple[Any, dict[str, Any]]:
    """Set a figure's title in the page's own type, and draw it; the camera in its corner saves it as SVG.

    Returns:
        What `st.plotly_chart` gives, and the layout of title and margin, for a picture.
    """
    words = {"title": fig.layout.title.to_plotly_json(), "margin": {"t": fig.layout.margin.t}}
    title, subtitle = figures.detach_title(fig)
    st.subheader(title, anchor=False)
    st.caption(subtitle)
    picture = {"format": "svg", "filename": f"nvlib-{key}"}
    shown = st.plotly_chart(fig, key=key, config={"displaylogo": False, "toImageButtonOptions": picture}, **more)
    return shown, words


def numbers(df: pd.DataFrame, query: Query, key: str) -> None:
    """Show the table of mean, KPP and intervals, with downloads of it and of the chips."""
    table = summary.results_table(df, query.k)
    st.dataframe(table, hide_index=True, column_config=columns())
    downloads({"This table": table, "All chips": df}, key)


def columns() -> dict[str, Any]:
    """Return how the columns of `summary.results_table` are written."""
    number = st.column_config.NumberColumn
    written = {name: number(label, format="%.2f") for name, label in _PERCENT.items()}
    written |= {"ekl": number("EKL (nats)", format="%.4f"), "k": number("k (%)"), "n": number("chips")}
    return written | {"sigma_d": number(format="%g"), "seeds": number("trainings")}


def downloads(tables: Mapping[str, pd.DataFrame], key: str) -> None:
    """Offer tables as CSV and Parquet; a file is made when it is asked for."""
    kinds = {
        "CSV": ("csv", "text/csv", lambda t: t.to_csv(index=False).encode()),
        "Parquet": ("parquet", "application/vnd.apache.parquet", lambda t: t.to_parquet(index=False)),
    }
    with st.container(horizontal=True):
        for label, table in tables.items():
            stem = label.lower().split()[-1]
            for kind, (suffix, mime, written) in kinds.items():
                st.download_button(
                    f"{label} ({kind})", partial(written, table), f"nvlib-{stem}.{suffix}",
                    mime, key=f"{key}-{stem}-{suffix}", on_click="ignore", icon=":material/download:",
                )  # fmt: skip


def interval(row: pd.Series, name: str) -> str:
    """Return the limits of one estimate of a row of `summary.results_table`, as text."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "too few chips for an interval" if pd.isna(low) else f"95 %: {low:.2f} to {high:.2f}"
