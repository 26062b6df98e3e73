"""Figures of chip accuracies: how they are distributed at one sigma_d, and how their percentiles fall with it.

Every number drawn is one of `results_table`, but for histogram, steps and the faint dots of single trainings.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nvlib import statistics
from nvlib.errors import InputError
from nvlib.figures.layout import FRAME, describe, fill, finish, sigma_axis
from nvlib.figures.names import Style, ordinal, style
from nvlib.summary import by_method, by_seed, checked, results_table, values

FAN = (1, 5, 25, 50, 75, 95, 99)


def accuracy_distribution(df: pd.DataFrame, k: float = 1) -> go.Figure:
    """Return the histogram of chip accuracies at one sigma_d, a row a method, with mean and KPP (trice-fig2).

    Args:
        df: tidy frame of one sigma_d.
        k: percentile of the line.

    Raises:
        InputError: an empty selection, several sigma_d, or a mixture that is no distribution.
    """
    df = checked(df, one_sigma=True)
    table = results_table(df, k).set_index("method")
    groups = list(by_method(df))
    edges = _edges(df["accuracy"].to_numpy(float))
    centres, step = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    heads = [_head(style(method), table.loc[method], k) for method, _ in groups]
    fig = make_subplots(
        rows=len(groups), cols=1, shared_xaxes=True, subplot_titles=heads, vertical_spacing=0.2 / len(groups)
    )
    for row, (method, chips) in enumerate(groups, start=1):
        look, line, where = style(method), table.loc[method], {"row": row, "col": 1}
        share = 100 * np.histogram(chips["accuracy"], edges)[0] / len(chips)
        roof = 1.08 * share.max()
        fig.add_bar(
            x=centres,
            y=share,
            width=step,
            name=look.label,
            showlegend=False,
            marker={"color": fill(look.colour, 0.55), "line": {"width": 0}},
            hovertemplate=f"{look.label}<br>%{{x:.2f}} ± {step / 2:.2g} %<br>%{{y:.1f}} % of chips<extra></extra>",
            **where,
        )
        lines = [(line["mean"], "dot")]
        if not math.isnan(line["kpp_low"]):  # too few chips: no line
            lines.append((line["kpp"], "solid"))
            fig.add_scatter(
                x=line[["kpp_low", "kpp_high", "kpp_high", "kpp_low"]],
                y=[0, 0, roof, roof],
                fill="toself",
                mode="none",
                fillcolor=fill(look.colour, 0.2),
                showlegend=False,
                hoverinfo="skip",
                **where,
            )
        for value, dash in lines:
            fig.add_scatter(
                x=[value, value],
                y=[0, roof],
                mode="lines",
                showlegend=False,
                hoverinfo="skip",
                line={"color": look.colour, "dash": dash, "width": 2},
                **where,
            )
        fig.update_yaxes(title="chips (%)", range=[0, roof], nticks=4, **where)
    fig.update_annotations(x=0, xanchor="left", font={"size": 13.5}, yshift=2)  # the heads
    fig.update_xaxes(range=[edges[0], edges[-1]])
    fig.update_xaxes(title="accuracy of a chip (%)", row=len(groups), col=1)
    fig.update_layout(bargap=0)
    band = "shaded: 95 % interval over chips" if table["kpp_low"].notna().any() else ""
    subtitle = describe(df, band, *_notes(table))
    return finish(fig, "Accuracy over programmed chips", subtitle, height=max(400, 170 + 165 * len(groups)))


def _head(look: Style, line: pd.Series, k: float) -> str:
    """Return the line of text above one method's histogram; its bars are the strokes of the lines below."""
    kpp = "" if math.isnan(line["kpp_low"]) else f"  ┃ {ordinal(k)} percentile <b>{line['kpp']:.2f} %</b>"
    return f"<span style='color:{look.colour}'>■</span> <b>{look.label}</b>{kpp}  ┊ mean {line['mean']:.2f} %"


def _edges(x: np.ndarray, bins: int = 60) -> np.ndarray:
    """Return bin edges at round numbers, common to all methods."""
    raw = max(float(np.ptp(x)), 0.2) / bins
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= raw)
    first, last = math.floor(x.min() / step) - 1, math.ceil(x.max() / step) + 1
    return np.arange(first, min(last, math.ceil(100 / step)) + 1) * step


def _notes(table: pd.DataFrame) -> list[str]:
    """Return what a reader must know of the table's numbers, each note once."""
    return sorted(set(table["note"]) - {""})


def percentile_curves(df: pd.DataFrame, k: float = 1) -> go.Figure:
    """Return the k-th percentile performance against sigma_d, with its interval (trice-table1, trice-fig5).

    A band is the 95 % interval; faint dots are the single trainings. Values with too few chips for an interval are
    drawn open and unconnected.

    Raises:
        InputError: an empty selection, or a mixture that is no curve.
    """
    table, fig = results_table(df, k), go.Figure()
    for method, part in by_method(df):
        look, rows = style(method), table[table["method"] == method]
        sound = rows["kpp_low"].notna()
        held = rows[sound]
        if len(held) > 1:
            fig.add_scatter(
                **_between(held["sigma_d"], held["kpp_high"], held["kpp_low"]),
                fillcolor=fill(look.colour, 0.2),
                showlegend=False,
                legendgroup=method,
            )
        if rows["seeds"].max() > 1:
            dots = [(s, statistics.kpp(a, k).value) for s, chips in part.groupby("sigma_d") for a in by_seed(chips)]
            fig.add_scatter(
                x=[d[0] for d in dots],
                y=[d[1] for d in dots],
                mode="markers",
                showlegend=False,
                legendgroup=method,
                marker={"color": look.colour, "size": 4, "opacity": 0.5},
                hovertemplate=f"{look.label}, one training<br>%{{y:.2f}} %<extra></extra>",
            )
        limits = [
            f"[{low:.2f}, {high:.2f}]" if ok else "too few chips"
            for low, high, ok in zip(rows["kpp_low"], rows["kpp_high"], sound, strict=True)
        ]
        fig.add_scatter(
            x=rows["sigma_d"],
            y=rows["kpp"],
            name=look.label,
            legendgroup=method,
            mode="lines+markers" if sound.all() else "markers",
            line={"color": look.colour, "dash": look.dash, "width": 2.5},
            marker={"symbol": [look.marker if ok else f"{look.marker}-open" for ok in sound], "size": 9},
            customdata=np.column_stack([limits, rows["n"], rows["mean"].round(2)]),
            hovertemplate=f"<b>{look.label}</b> at σ<sub>d</sub> = %{{x:g}}<br>{ordinal(k)} percentile %{{y:.2f}} % "
            "%{customdata[0]}<br>mean %{customdata[2]} %, %{customdata[1]} chips<extra></extra>",
        )
    sigma_axis(fig, df)
    fig.update_yaxes(title=f"{ordinal(k)}-percentile accuracy (%)", rangemode="tozero")
    band = "band: 95 % interval over chips" if table["kpp_low"].notna().any() else ""
    dots = "dots: single trainings" if table["seeds"].max() > 1 else ""
    few = [f"open, unconnected: {note}" for note in _notes(table)[:1]]
    return finish(fig, f"Accuracy that all but {k:g} % of chips exceed", describe(df, band, dots, *few))


def _between(x: pd.Series, there: pd.Series, back: pd.Series) -> dict[str, object]:
    """Return the trace of a band between two curves: along one and back along the other."""
    return {"x": [*x, *x[::-1]], "y": [*there, *back[::-1]], "fill": "toself", "mode": "none", "hoverinfo": "skip"}


def fan(df: pd.DataFrame, k: float = 1) -> go.Figure:
    """Return the percentiles 1 to 99 of one method against sigma_d as nested bands, the k-th as a line with intervals.

    Percentiles with too few chips for an interval are left out.

    Raises:
        InputError: an empty selection, several methods, or a mixture that is no curve.
    """
    df = checked(df)
    if len(methods := values(df, "method")) > 1:
        raise InputError(f"the selection mixes method {', '.join(methods)}; choose one for a fan")
    look, fig = style(methods[0]), go.Figure()
    curves = {q: results_table(df, q) for q in {*FAN, k}}
    sound = {q for q, curve in curves.items() if curve["kpp_low"].notna().all()}
    for low, high, opacity in ((1, 99, 0.14), (5, 95, 0.2), (25, 75, 0.3)):
        if {low, high} <= sound:
            fig.add_scatter(
                **_between(curves[low]["sigma_d"], curves[low]["kpp"], curves[high]["kpp"]),
                fillcolor=fill(look.colour, opacity),
                name=f"{ordinal(low)} to {ordinal(high)}",
            )
    for q, dash in ((50, "dot"), (k, "solid")):
        if q in sound:
            up, down = curves[q]["kpp_high"] - curves[q]["kpp"], curves[q]["kpp"] - curves[q]["kpp_low"]
            bars = {"array": up, "arrayminus": down, "symmetric": False, "thickness": 1.5, "width": 5}
            fig.add_scatter(
                x=curves[q]["sigma_d"],
                y=curves[q]["kpp"],
                error_y=bars if q == k else None,
                name="median" if q == 50 else f"{ordinal(q)} percentile",
                line={"color": look.colour, "dash": dash},
                mode="lines+markers",
                hovertemplate="σ<sub>d</sub> = %{x:g}: %{y:.2f} %<extra></extra>",
            )
    sigma_axis(fig, df)
    fig.update_yaxes(title="accuracy of a chip (%)", rangemode="tozero")
    bars = f"whiskers: 95 % interval of the {ordinal(k)} percentile over chips" if k in sound else ""
    return finish(fig, f"Percentiles of chip accuracy, {look.label}", describe(df, bars, *_notes(curves[k])[:1]))


def ecdf(df: pd.DataFrame, k: float = 1) -> go.Figure:
    """Return the share of chips at or below each accuracy, at one sigma_d, on a logarithmic scale for the tail.

    Raises:
        InputError: an empty selection, several sigma_d, or a mixture that is no distribution.
    """
    df, fig = checked(df, one_sigma=True), go.Figure()
    statistics.needed(k)  # checks k
    for method, chips in by_method(df):
        look = style(method)
        value, count = np.unique(chips["accuracy"].to_numpy(float), return_counts=True)
        start = 100 / len(chips) / 2  # a logarithmic axis has no 0: begin below the first step
        fig.add_scatter(
            x=[value[0], *value],
            y=[start, *(100 * np.cumsum(count) / len(chips))],
            name=look.label,
            mode="lines+markers",
            line={"color": look.colour, "dash": look.dash, "width": 2.5, "shape": "hv"},
            marker={"symbol": look.marker, "size": 8, "maxdisplayed": 9},  # some, to tell methods apart without colour
            hovertemplate=f"<b>{look.label}</b><br>%{{y:.3g}} % of chips reach at most %{{x:.2f}} %<extra></extra>",
        )
    fig.add_hline(y=k, line={"color": FRAME, "dash": "dot", "width": 1.5})
    fig.add_annotation(
        x=1, xref="paper", y=math.log10(k), text=f"k = {k:g} %", showarrow=False, xanchor="left", xshift=6
    )
    low = math.log10(50 / df.groupby("method", observed=True).size().max())
    fig.update_yaxes(
        type="log",
        range=[min(low, math.log10(k) - 0.3), 2.05],
        dtick=1,
        ticksuffix=" %",
        title="chips at or below (%, log scale)",
    )
    fig.update_xaxes(title="accuracy of a chip (%)")
    fig = finish(fig, "How many chips fall short", describe(df, "all trainings together"))
    return fig.update_layout(margin={"r": 78})  # room for the label of k
