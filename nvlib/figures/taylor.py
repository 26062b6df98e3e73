"""Figures of the Taylor analysis: one weight, all weights against simulated chips, and who carries the loss.

Every figure draws a table of `nvlib.taylor`; where several models are in it, a column ``method`` tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nvlib.errors import InputError
from nvlib.figures.layout import FRAME, fill, finish, wrap
from nvlib.figures.names import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, ordinal, style
from nvlib.summary import by_method, values

if TYPE_CHECKING:
    from nvlib.taylor import Cut

SIGMA = "σ<sub>d</sub>"
LAWS = {  # of a law: what is written, colour, dash
    "printed": ("Eq. 6 as printed", GREY, "dot"),
    "corrected": ("Eq. 6 with 1 − q", ORANGE, "dash"),
    "exact": ("exact law", BLUE, "solid"),
    "linear": ("slope only", GREY, "dot"),
    "gaussian": ("Gaussian, diagonal", SKY, "dashdot"),
    "diagonal": ("diagonal f''", ORANGE, "dash"),
    "full": ("full Hessian", BLUE, "solid"),
}
_SHADES = (SKY, BLUE, GREEN, ORANGE, VERMILLION, PURPLE, GREY)


def _needs(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return the table if it can be drawn; InputError if not."""
    if missing := set(columns) - set(table.columns):
        raise InputError(f"the table lacks {', '.join(sorted(missing))}; expected one of nvlib.taylor")
    if table.empty:
        raise InputError("the table is empty; widen the selection")
    return table if "method" in table else table.assign(method="model")


def _panels(count: int, titles: Sequence[str], per_row: int = 4, **options: object) -> tuple[go.Figure, list[dict]]:
    """Return a grid of panels and the place of each."""
    columns = min(count, per_row)
    rows = -(-count // columns)
    fig = make_subplots(rows=rows, cols=columns, subplot_titles=list(titles), **options)
    fig.update_annotations(font={"size": 13.5})
    return fig, [{"row": i // columns + 1, "col": i % columns + 1} for i in range(count)]


def _bars(part: pd.DataFrame, value: str = "value") -> dict[str, object]:
    """Return error bars to the limits; none where there are too few chips."""
    return {
        "type": "data", "symmetric": False,
        "array": part["high"] - part[value], "arrayminus": part[value] - part["low"],
        "thickness": 1, "width": 3, "visible": bool(part["low"].notna().any()),
    }  # fmt: skip


def one_weight(table: pd.DataFrame) -> go.Figure:
    """Return the percentile of the loss against the slope, by Eq. 6, by the exact law and simulated (trice-eq6).

    Args:
        table: from `nvlib.taylor.compare`.
    """
    _needs(table, "f1", "law", "value", "low", "high", "f2", "sigma", "q", "f0")
    fig = go.Figure()
    for law in ("printed", "corrected", "exact"):
        part, (label, colour, dash) = table[table.law == law], LAWS[law]
        fig.add_scatter(
            x=part.f1.abs(), y=part.value, mode="lines", name=label, line={"color": colour, "dash": dash, "width": 2}
        )
    seen = table[table.law == "simulated"]
    fig.add_scatter(
        x=seen.f1.abs(), y=seen.value, mode="markers", name="simulated, 95 % interval", error_y=_bars(seen),
        marker={"color": VERMILLION, "size": 7},
    )  # fmt: skip
    one = table.iloc[0]
    fig.update_xaxes(title="slope of the loss in the weight, |f'|")
    fig.update_yaxes(title=f"loss that {100 * one.q:g} % of chips exceed")
    notes = [f"one weight, f'' = {one.f2:g}", f"σ = {one.sigma:g}", f"loss without variation {one.f0:g}"]
    return finish(fig, "Does a larger slope make the worst chips better or worse?", wrap(notes))


def slope_effect(q: Sequence[float], curves: pd.DataFrame) -> go.Figure:
    """Return d percentile / d|f'| against q: above zero a larger slope makes the percentile worse.

    Args:
        q: where the sign turns, to be marked.
        curves: columns q, slope (label), effect (per sigma).
    """
    _needs(curves, "q", "slope", "effect")
    fig = go.Figure()
    for (label, part), colour in zip(curves.groupby("slope", sort=False), _SHADES, strict=False):
        fig.add_scatter(x=part.q, y=part.effect, mode="lines", name=str(label), line={"color": colour, "width": 2})
    fig.add_hline(y=0, line={"color": FRAME, "width": 1})
    for turn in q:
        fig.add_vline(x=turn, line={"color": FRAME, "dash": "dot", "width": 1})
    fig.update_xaxes(title="share q of chips that lose more", type="log", dtick=1)
    fig.update_yaxes(title="d percentile / d|f'|, in deviations of the weight")
    note = "above zero a larger slope makes the percentile worse · dotted: where the sign turns for small slopes"
    return finish(fig, "Which way the slope moves the percentile, by the exact law", note)


def loss_cut(cuts: Sequence[Cut]) -> go.Figure:
    """Return the loss along single weights, true and to second order; shaded: where they agree (trice-eq6)."""
    if not cuts:
        raise InputError("no weight to draw; expected at least one cut")
    titles = [f"{c.name}[{c.place}]" for c in cuts]
    fig, places = _panels(len(cuts), titles, per_row=3, horizontal_spacing=0.09)
    for cut, where in zip(cuts, places, strict=True):
        x = cut.table.dw / cut.sigma
        for column, label, colour, dash in (
            ("true", "true loss", VERMILLION, "solid"),
            ("taylor", "second order", BLUE, "dash"),
        ):
            fig.add_scatter(
                x=x, y=cut.table[column], mode="lines", name=label, legendgroup=column, showlegend=cut is cuts[0],
                line={"color": colour, "dash": dash, "width": 2}, **where,
            )  # fmt: skip
        fig.add_vrect(
            x0=cut.low / cut.sigma, x1=cut.high / cut.sigma, fillcolor=fill(GREY, 0.18), line_width=0, **where
        )
    fig.update_xaxes(title=f"deviation of the weight, {SIGMA} z", nticks=5)
    fig.update_yaxes(title="loss (nats)", col=1)
    note = f"one weight moved, all others as programmed · shaded: the two agree to {cuts[0].tolerance:g} nats"
    return finish(fig, "The loss along one weight", note, height=430)


def loss_percentiles(predicted: pd.DataFrame, k: float = 1) -> go.Figure:
    """Return predicted and observed percentiles of the loss against sigma_d, a panel a model.

    Args:
        predicted: from `nvlib.taylor.confront`, with a column method for several models.
        k: percent of chips that lose more.
    """
    table = _needs(predicted, "sigma_d", "law", "k", "percentile", "seen", "low", "high", "chips")
    table = table[table.k == k]
    parts = list(by_method(_needs(table, "k")))
    fig, places = _panels(len(parts), [style(m).label for m, _ in parts], shared_yaxes=True, horizontal_spacing=0.03)
    for i, ((_, part), where) in enumerate(zip(parts, places, strict=True)):
        for law in (name for name in LAWS if name in set(part.law)):
            label, colour, dash = LAWS[law]
            rows = part[part.law == law].sort_values("sigma_d")
            fig.add_scatter(
                x=rows.sigma_d, y=rows.percentile, mode="lines", name=label, legendgroup=law, showlegend=i == 0,
                line={"color": colour, "dash": dash, "width": 2}, **where,
            )  # fmt: skip
        rows = part[part.law == part.law.iloc[0]]
        fig.add_scatter(
            x=rows.sigma_d, y=rows.seen, mode="markers", name="chips, 95 % interval", legendgroup="seen",
            showlegend=i == 0, error_y=_bars(rows, "seen"), marker={"color": VERMILLION, "size": 7}, **where,
        )  # fmt: skip
    ticks = values(table, "sigma_d")
    fig.update_xaxes(type="log", title=SIGMA, tickvals=ticks, ticktext=[f"{t:g}" for t in ticks], tickangle=-60)
    fig.update_yaxes(type="log", dtick=1)
    fig.update_yaxes(title=f"loss that {k:g} % of chips exceed (nats)", col=1)
    note = f"{int(table.chips.max())} chips · activation quantisation off in both"
    return finish(fig, f"The {ordinal(100 - k)} percentile of the loss, predicted and simulated", note, height=500)


def loss_quantiles(quantiles: pd.DataFrame) -> go.Figure:
    """Return observed against predicted quantiles of the loss, each as a rise over the median, a panel a model (Q-Q).

    Both axes are in deviations of the prediction from its mean, so that every sigma_d fits on one page.
    """
    table = _needs(quantiles, "sigma_d", "p", "predicted", "seen")
    parts = list(by_method(table))
    fig, places = _panels(len(parts), [style(m).label for m, _ in parts], shared_yaxes=True, horizontal_spacing=0.03)
    for i, ((_, part), where) in enumerate(zip(parts, places, strict=True)):
        fig.add_scatter(
            x=[-3, 5], y=[-3, 5], mode="lines", line={"color": FRAME, "width": 1}, showlegend=False, hoverinfo="skip",
            **where,
        )  # fmt: skip
        for (size, rows), colour in zip(part.groupby("sigma_d"), _SHADES, strict=False):
            centre, spread = rows.predicted.mean(), rows.predicted.std()
            fig.add_scatter(
                x=(rows.predicted - centre) / spread, y=(rows.seen - centre) / spread, mode="lines",
                name=f"{SIGMA} = {size:g}", legendgroup=f"{size:g}", showlegend=i == 0,
                line={"color": colour, "width": 2}, **where,
            )  # fmt: skip
    fig.update_xaxes(title="predicted", range=[-3, 5])
    fig.update_yaxes(range=[-3, 8])
    fig.update_yaxes(title="simulated", col=1)
    note = "full law · both axes: loss less the predicted mean, over the predicted deviation · on the line: it holds"
    return finish(fig, "Quantiles of the loss over chips, simulated against predicted", note, height=500)


def chip_losses(samples: pd.DataFrame, sigma_d: Sequence[float] = (0.02, 0.05, 0.1, 0.2)) -> go.Figure:
    """Return the loss of each chip against what the expansion says of that very chip, a panel a sigma_d.

    Args:
        samples: from `nvlib.taylor.analyse`, with the column taylor; and method for several models.
        sigma_d: which.
    """
    table = _needs(samples, "sigma_d", "loss", "taylor").dropna(subset=["taylor"])
    sizes = [s for s in sigma_d if (table.sigma_d == s).any()]
    if not sizes:
        raise InputError(f"no chip was predicted at sigma_d {list(sigma_d)}; it has {values(table, 'sigma_d')}")
    fig, places = _panels(len(sizes), [f"{SIGMA} = {s:g}" for s in sizes], horizontal_spacing=0.06)
    for i, (size, where) in enumerate(zip(sizes, places, strict=True)):
        here = table[table.sigma_d == size]
        ends = [here[["loss", "taylor"]].min().min(), here[["loss", "taylor"]].max().max()]
        fig.add_scatter(
            x=ends, y=ends, mode="lines", line={"color": FRAME, "width": 1}, showlegend=False, hoverinfo="skip", **where
        )
        for method, part in by_method(here):
            look = style(method)
            fig.add_scatter(
                x=part.taylor, y=part.loss, mode="markers", name=look.label, legendgroup=method, showlegend=i == 0,
                marker={"color": look.colour, "symbol": look.marker, "size": 6}, **where,
            )  # fmt: skip
    fig.update_xaxes(title="second order (nats)")
    ticks = [m * 10.0**e for e in range(-3, 3) for m in (1, 2, 5)]
    for update in (fig.update_xaxes, fig.update_yaxes):
        update(type="log", tickvals=ticks, ticktext=[f"{t:g}" for t in ticks], tickangle=0)
    fig.update_yaxes(title="true loss (nats)", col=1)
    return finish(fig, "Chip by chip: the loss, and what the expansion says of it", "activation quantisation off", 430)
