"""What the playground shows, as HTML, text and plotly's JSON: the numbers of some chips, and where they come from."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from nvlib import figures, summary

if TYPE_CHECKING:
    import plotly.graph_objects as go

PLOTLY = "application/vnd.plotly.v1+json"
_CELL = "padding:3px 8px;text-align:right;line-height:1.3;max-width:230px"


def numbers(rows: pd.DataFrame, k: float) -> str:
    """Return the table of each method's KPP with its interval, how many chips, and the names of its runs, as HTML."""
    cells = []
    for row in summary.results_table(rows, k).itertuples():
        mine = rows[rows["method"] == row.method]
        limits = f"[{row.kpp_low:.2f}, {row.kpp_high:.2f}]" if pd.notna(row.kpp_low) else html.escape(row.note)
        cells.append([
            figures.style(row.method).label, f"<b>{row.kpp:.2f}</b> {limits}", f"{row.mean:.2f}", f"{row.worst:.2f}",
            f"{row.n:,}", f"{row.seeds}", f"{row.epochs}", " and ".join(sorted(set(mine["origin"]))), _names(mine),
        ])  # fmt: skip
    heads = ("trained with", f"{figures.ordinal(k)} percentile, 95 % interval (%)", "mean (%)", "worst (%)", "chips",
             "trainings", "epochs", "from", "hash")  # fmt: skip
    return _table([html.escape(head) for head in heads], cells)


def as_text(rows: pd.DataFrame, k: float) -> str:
    """Return the same numbers as plain text."""
    columns = ["method", "sigma_d", "k", "kpp", "kpp_low", "kpp_high", "mean", "n", "seeds"]
    return summary.results_table(rows, k)[columns].round(2).to_string(index=False)


def paragraphs(lines: Sequence[str]) -> str:
    """Return lines of text as HTML."""
    return "".join(f"<p style='line-height:1.4;margin:4px 0'>{html.escape(line)}</p>" for line in lines)


def program(text: str) -> str:
    """Return Python to be unfolded, as HTML."""
    if not text:
        return ""
    pre = f"<pre style='line-height:1.3'>{html.escape(text)}</pre>"
    return f"<details><summary>The same chips in Python</summary>{pre}</details>"


def outputs(fig: go.Figure | None) -> tuple[dict[str, Any], ...]:
    """Return a figure as what an `ipywidgets.Output` holds; arrays as lists, which any front end reads."""
    if fig is None:
        return ()
    spec = json.loads(fig.to_json(engine="json")) | {"config": {"displaylogo": False, "responsive": True}}
    return ({"output_type": "display_data", "data": {PLOTLY: spec, "text/plain": "a figure"}, "metadata": {}},)


def _names(rows: pd.DataFrame) -> str:
    """Return the hashes of stored runs; chips scored now have none, and are named by their model."""
    runs = sorted(set(rows["run"]) - {""})
    what, names = ("", runs) if runs else ("of model ", sorted(set(rows["training"])))
    return what + ", ".join(f"<code title='{name}'>{name[:8]}</code>" for name in names)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th style='{_CELL}'>{h}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td style='{_CELL}'>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f"<div style='overflow-x:auto'><table class='nvlib-numbers'><tr>{head}</tr>{body}</table></div>"
