"""Figures of what papers claim: their printed numbers beside ours, row by row, and runs that fail to converge.

A filled marker with its bar is ours and its 95 % interval, a hollow diamond the number a paper prints. Rows that were
not computed keep their place, with the paper's number alone. A verdict has a colour and a sign of its own.
"""

from __future__ import annotations

import textwrap

import pandas as pd
import plotly.graph_objects as go

from nvlib.errors import InputError
from nvlib.figures.layout import describe, finish, wrap
from nvlib.figures.names import BLUE, GREEN, GREY, ORANGE, SKY, VERMILLION, style
from nvlib.summary import by_method, checked

VERDICTS = {  # colour, and sign before the row
    "holds": (GREEN, "●"),
    "holds in direction": (SKY, "◐"),
    "does not hold": (VERMILLION, "✕"),
    "undecided": (ORANGE, "?"),
    "not yet computed": (GREY, "○"),
}
_NEEDED = {"label", "printed", "ours", "low", "high"}
MARGIN = 5.0  # points below the mean of the runs at which one has not converged (NFT, footnote 2)


def beside_printed(
    table: pd.DataFrame, title: str, unit: str = "mean accuracy (%)", note: str = "", room: int = 26
) -> go.Figure:
    """Return printed numbers and ours, a row each, on one axis.

    Args:
        table: columns label, printed, ours, low, high; optionally method (the colour) or verdict (colour and sign).
        title: of the figure.
        unit: title of the axis.
        note: what a reader must know, e.g. the protocol.
        room: letters a line of a row's label.

    Raises:
        InputError: for an empty table, or one that lacks a column.
    """
    if missing := _NEEDED - set(table.columns):
        raise InputError(f"the table lacks {', '.join(sorted(missing))}; expected label, printed, ours, low and high")
    if table.empty:
        raise InputError("there is no row to draw; expected at least one")
    fig, labels = go.Figure(), list(table["label"])
    shown: set[str] = set()
    for row in table.itertuples():
        verdict, method = getattr(row, "verdict", None), getattr(row, "method", None)
        colour = VERDICTS[verdict][0] if verdict else style(method).colour if method else BLUE
        if pd.notna(row.ours):
            known = pd.notna(row.low) and pd.notna(row.high)
            bar = {"array": [row.high - row.ours], "arrayminus": [row.ours - row.low]} if known else {"array": [0]}
            said = f" [{row.low:.2f}, {row.high:.2f}]" if known else ""
            fig.add_scatter(
                x=[row.ours], y=[row.label], mode="markers", name=verdict or "ours", legendgroup=verdict or "ours",
                showlegend=(verdict or "ours") not in shown, marker={"color": colour, "size": 10},
                error_x={"type": "data", "thickness": 2, "width": 5, "color": colour, "symmetric": False, **bar},
                hovertemplate=f"{row.label}<br>ours {row.ours:.2f}{said}<extra></extra>",
            )  # fmt: skip
            shown.add(verdict or "ours")
        if pd.notna(row.printed):
            fig.add_scatter(
                x=[row.printed], y=[row.label], mode="markers", name="printed", legendgroup="printed",
                showlegend="printed" not in shown,
                marker={"color": GREY, "size": 10, "symbol": "diamond-open", "line": {"width": 2}},
                hovertemplate=f"{row.label}<br>printed {row.printed:.2f}<extra></extra>",
            )  # fmt: skip
            shown.add("printed")
    broken = ["<br>".join(textwrap.wrap(str(label), room)) for label in labels]
    fig.update_yaxes(categoryorder="array", categoryarray=labels[::-1], range=[-0.7, len(labels) - 0.3],
                     tickvals=labels, ticktext=broken)  # fmt: skip
    fig.update_xaxes(title=unit)
    lines = sum(1 + label.count("<br>") for label in broken)
    missing = int(table["ours"].isna().sum())
    notes = [*note.split(" · "), "bars: 95 % interval", "not yet computed: " + str(missing) if missing else ""]
    return finish(fig, title, wrap([n for n in notes if n]), height=max(300, 170 + 15 * len(labels) + 16 * lines))


def verdicts(table: pd.DataFrame, title: str = "What the papers claim, and what came out") -> go.Figure:
    """Return the claims table as a figure: every claim in points, ours with its interval beside the printed number.

    Args:
        table: of `nvlib.papers.claims_table`, or some rows of it.
        title: of the figure.
    """
    rows = table[(table["unit"] == "points") & (table["ours"].notna() | table["printed"].notna())]
    if rows.empty:
        raise InputError("the table has no claim in points; expected rows of nvlib.papers.claims_table")
    labels = [f"{VERDICTS[r.verdict][1]} {r.artefact}: {r.claim}" for r in rows.itertuples()]
    counts = rows["verdict"].value_counts()
    note = " · ".join(f"{VERDICTS[v][1]} {v}: {counts[v]}" for v in VERDICTS if v in counts)
    return beside_printed(rows.assign(label=_apart(labels), method=None), title, "difference (points)", note, 60)


def _apart(labels: list[str]) -> list[str]:
    """Return labels that differ: one that comes again gets a number, since rows of one name would fall together."""
    seen: dict[str, int] = {}
    out = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        out.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return out


def converging(df: pd.DataFrame) -> go.Figure:
    """Return every run's mean accuracy by method, with the line below which a run has not converged.

    Args:
        df: tidy frame of one sigma_d and many training seeds.

    Raises:
        InputError: an empty selection, or several sigma_d.
    """
    df, fig = checked(df, one_sigma=True), go.Figure()
    for place, (method, part) in enumerate(by_method(df)):
        means, look = part.groupby("train_seed").accuracy.mean(), style(method)
        line = means.mean() - MARGIN
        failed = int((means < line).sum())
        fig.add_scatter(
            x=means, y=[place] * len(means), mode="markers", showlegend=False,
            marker={"color": look.colour, "symbol": [f"{look.marker}-open" if m < line else look.marker for m in means],
                    "size": 11, "opacity": 0.85},
            customdata=means.index, hovertemplate=f"{look.label}, seed %{{customdata}}: %{{x:.2f}} %<extra></extra>",
        )  # fmt: skip
        fig.add_scatter(x=[line, line], y=[place - 0.3, place + 0.3], mode="lines", showlegend=False, hoverinfo="skip",
                        line={"color": look.colour, "dash": "dot", "width": 2})  # fmt: skip
        fig.add_annotation(x=1, xref="paper", xanchor="right", y=place, yshift=16, showarrow=False,
                           text=f"{failed} of {len(means)} not converging")  # fmt: skip
    names = [style(method).label for method, _ in by_method(df)]
    fig.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[-0.6, len(names) - 0.3])
    fig.update_xaxes(title="mean accuracy of a training over its chips (%)")
    subtitle = describe(df, f"dotted: {MARGIN:g} points below the mean of the runs; hollow: below it")
    return finish(fig, "Trainings that fail to converge", subtitle, height=220 + 70 * len(names))
