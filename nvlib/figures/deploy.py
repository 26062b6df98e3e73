"""Figures of programmed chips: what deployment methods win, and what they cost.

Frames are tidy, a row a chip, as `nvlib.store.results` gives them with the columns of deployment (deployment,
deployment_parameters, before, cells, verified, pulses, passes, seconds), or as `nvlib.deploy` makes them.

The normalised accuracy distance is that of `nvlib.summary.distance_table`.
"""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nvlib import statistics
from nvlib.catalogue import DEPLOYMENTS
from nvlib.errors import InputError
from nvlib.figures.layout import describe, fill, finish, sigma_title, wrap
from nvlib.figures.names import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, Style, name
from nvlib.summary import distance_table

_LOOKS = {
    "": (BLUE, "solid", "square"),
    "last_layer": (ORANGE, "dash", "triangle-up"),
    "last_layers": (PURPLE, "dashdot", "triangle-down"),
    "swim": (SKY, "dot", "diamond"),
    "normalise": (GREEN, "dash", "pentagon"),
    "compensate": (GREEN, "longdashdot", "cross"),
    "write_verify": (GREY, "longdash", "circle"),
    "tsb": (VERMILLION, "solid", "star"),
}
RANKINGS = {
    "curvature": Style("second derivative (SWIM)", VERMILLION, "solid", "star"),
    "expected": Style("expected rise of the loss", GREEN, "dashdot", "hexagon"),
    "magnitude": Style("magnitude", BLUE, "dash", "square"),
    "random": Style("random", GREY, "dot", "circle"),
}
HATCH = {"": "", "last_layer": "/", "last_layers": "\\", "swim": "x", "write_verify": "-", "tsb": ""}


def deployment_style(key: str) -> Style:
    """Return the look of a deployment method; "" is none. One without a look of its own gets a spare one."""
    label = DEPLOYMENTS.get(key, key or "Gauss")
    return Style(label, *_LOOKS.get(key, (GREEN, "longdash", "x")))


# -- normalised accuracy distance ------------------------------------------------------------------------------------


def accuracy_distance(df: pd.DataFrame, ideal: float | None = None) -> go.Figure:
    """Return normalised accuracy distances by sigma_d, a bar a method, and the raw ones below (TSB Fig. 3).

    Args:
        df: tidy chips, with the columns of deployment.
        ideal: accuracy of the noise-free model in percent; None: the mean of those among the rows.
    """
    table = distance_table(df, ideal)
    several = [c for c in ("network", "dataset") if c in table and table[c].nunique() > 1]
    label = table["sigma_d"].map(lambda s: f"{s:g}")
    for column in several:
        label = table[column].map(name) + ", " + label
    table = table.assign(label=label)
    fig = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.09)
    for method in table["deployment"].unique():
        part, look = table[table["deployment"] == method], deployment_style(method)
        low, high = (part[c].astype(float) for c in ("low", "high"))
        bars = {"array": high - part["normalised"], "arrayminus": part["normalised"] - low, "symmetric": False,
                "visible": bool(low.notna().any()) and method != "", "thickness": 2, "width": 4,
                "color": GREY}  # fmt: skip
        hatch = {"shape": HATCH.get(method, "."), "solidity": 0.12, "fgcolor": "#000000", "fillmode": "overlay"}
        common = {"x": part["label"], "marker": {"color": look.colour, "pattern": hatch}, "name": look.label,
                  "legendgroup": method}  # fmt: skip
        fig.add_bar(
            **common, y=part["normalised"], error_y=bars, row=1, col=1, offsetgroup=look.label,
            text=part["normalised"].map("{:.2f}".format), textposition="inside", insidetextanchor="start",
            textfont={"color": _ink(look.colour)}, hovertemplate=f"{look.label}, %{{x}}: %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
        fig.add_bar(
            **common, y=part["distance"], showlegend=False, offsetgroup=look.label, customdata=part["accuracy"], row=2,
            col=1,
            hovertemplate=f"{look.label}, %{{x}}: %{{y:.2f}} points, accuracy %{{customdata:.2f}} %<extra></extra>",
        )  # fmt: skip
    fig.update_yaxes(title="normalised distance", rangemode="tozero", row=1, col=1)
    fig.update_yaxes(title="distance (points)", rangemode="tozero", row=2, col=1)
    fig.update_xaxes(type="category")
    fig.update_xaxes(title=sigma_title(df), row=2, col=1)
    fig.update_layout(barmode="group", bargap=0.25, uniformtext={"minsize": 9, "mode": "hide"})
    ideals = " and ".join(f"{i:.2f}" for i in sorted(table["ideal"].unique()))
    shown = df[df["deployment"].fillna("") != ""]
    shown = shown[shown["deployment"] == shown["deployment"].iloc[0]]  # each chip once, for the counts
    notes = [f"ideal {ideals} %", "whiskers: 95 % intervals over paired chips"]
    notes += [] if "train_seed" in shown else [f"{_span(table['n'])} chips a bar"]
    title = "How far chips stay from the noise-free model: (ideal - method) / (ideal - Gauss)"
    return finish(fig, title, subtitle(shown, notes), height=600)


def _ink(colour: str) -> str:
    """Return black or white, whichever is read on a colour (luma of ITU-R BT.601)."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else "#ffffff"


def subtitle(df: pd.DataFrame, notes: list[str]) -> str:
    """Return what `describe` says where the frame has its columns, else the notes alone."""
    needed = {"method", "sigma_d", "train_sigma_d", "network", "dataset"}
    return describe(df, *notes) if needed <= set(df) else wrap(notes)


def _span(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


# -- SWIM ------------------------------------------------------------------------------------------------------------


def selective_verify(table: pd.DataFrame, note: str = "") -> go.Figure:
    """Return accuracy against the verified share, pulses and (where given) energy, a line a ranking (SWIM).

    Args:
        table: of `nvlib.deploy.swim.sweep`; a column ``energy`` (J a chip) adds a panel.
        note: what the table does not know: network, data set, device, sigma_d.

    Raises:
        InputError: for a table without its columns.
    """
    if missing := {"ranking", "fraction", "accuracy", "cells", "pulses", "ideal"} - set(table):
        raise InputError(f"the table has no {', '.join(sorted(missing))}; expected one of nvlib.deploy.swim.sweep")
    table, priced = table.assign(cost=table["energy"] if "energy" in table else math.nan), "energy" in table
    fig = make_subplots(rows=1, cols=2 + priced, shared_yaxes=True, horizontal_spacing=0.04)
    for ranking, look in RANKINGS.items():
        part = table[table["ranking"] == ranking]
        if part.empty:
            continue
        rows = []
        for fraction, cell in part.groupby("fraction"):
            e = statistics.mean(cell["accuracy"].to_numpy())
            each = (cell["pulses"] / cell["cells"]).mean()
            rows.append((100 * fraction, each, 1e6 * cell["cost"].mean(), e.value, e.low, e.high))
        found = pd.DataFrame(rows, columns=["fraction", "pulses", "energy", "mean", "low", "high"])
        for at, column in enumerate(("fraction", "pulses", *(["energy"] if priced else [])), start=1):
            x = found[column]
            if found["low"].notna().all():
                fig.add_scatter(
                    x=[*x, *x[::-1]], y=[*found["high"], *found["low"][::-1]], fill="toself", mode="lines",
                    fillcolor=fill(look.colour, 0.15), line={"width": 0}, hoverinfo="skip", showlegend=False,
                    legendgroup=ranking, row=1, col=at,
                )  # fmt: skip
            fig.add_scatter(
                x=x, y=found["mean"], name=look.label, legendgroup=ranking, showlegend=at == 1, mode="lines+markers",
                line={"color": look.colour, "dash": look.dash}, marker={"symbol": look.marker, "size": 8}, row=1,
                col=at, hovertemplate=f"{look.label}, %{{x:.3g}}: %{{y:.2f}} %<extra></extra>",
            )  # fmt: skip
    ideal = float(table["ideal"].iloc[0])
    fig.add_hline(y=ideal, line={"color": GREY, "dash": "dot", "width": 1})
    fig.update_xaxes(title="weights verified (%)", row=1, col=1)
    fig.update_xaxes(title="pulses a cell", row=1, col=2)
    if priced:
        fig.update_xaxes(title="energy of writing a chip (µJ)", row=1, col=3)
    fig.update_yaxes(title="mean accuracy (%)", row=1, col=1)
    notes = [note, f"{table['chip'].nunique()} chips" if "chip" in table else "", "bands: 95 % intervals of the mean",
             f"dotted: quantised model without variation, {ideal:.2f} %"]  # fmt: skip
    return finish(fig, "Which weights to write-verify: accuracy, and what it costs", wrap(notes))

