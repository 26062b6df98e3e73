"""Figures of the Taylor analysis, continued: who carries the loss, what it tells of accuracy, what training does."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from nvlib.figures.layout import fill, finish
from nvlib.figures.names import VERMILLION, style
from nvlib.figures.taylor import SIGMA, _needs, _panels
from nvlib.summary import by_method, values

_TRACKS = {  # column of `nvlib.taylor.follow`: what is written
    "f": "loss f (nats)",
    "f1": "mean |f'|",
    "f2": "mean f''",
    "slope": "slope a chip feels, |b|",
    "curvature": "curvature a chip feels, tr A",
    "noisy": "noisy accuracy (%)",
}


def variance_shares(layers: pd.DataFrame, of: str = "mean") -> go.Figure:
    """Return what each layer (or slice) adds to the loss when it alone strays: predicted bars, simulated dots.

    Args:
        layers: ``layers`` or ``bits`` of `nvlib.taylor.analyse`, of one sigma_d; with method for several models.
        of: ``mean`` (rise of the mean loss, nats) or ``variance`` (nats^2).
    """
    table = _needs(layers, of, f"{of}_seen", f"{of}_error", "sigma_d")
    place = "layer" if "layer" in table else "slice"
    parts = list(by_method(table))
    titles = [style(m).label for m, _ in parts]
    fig, places = _panels(len(parts), titles, per_row=2, horizontal_spacing=0.1, vertical_spacing=0.22)
    for i, ((method, part), where) in enumerate(zip(parts, places, strict=True)):
        names = [str(v).removesuffix(".weight") for v in part[place]]
        x = [f"{v}<br>{100 * s:.0f} %" for v, s in zip(names, part[f"{of}_share"], strict=True)]
        fig.add_bar(
            x=x, y=part[of], name="predicted", legendgroup="said", showlegend=i == 0,
            marker={"color": fill(style(method).colour, 0.55)}, **where,
        )  # fmt: skip
        fig.add_scatter(
            x=x, y=part[f"{of}_seen"], mode="markers", name="simulated, ± 2 standard errors", legendgroup="seen",
            showlegend=i == 0, marker={"color": VERMILLION, "size": 7},
            error_y={"type": "data", "array": 2 * part[f"{of}_error"], "thickness": 1, "width": 4}, **where,
        )  # fmt: skip
    fig.update_xaxes(type="category")
    unit = "rise of the mean loss (nats)" if of == "mean" else "variance of the loss (nats²)"
    fig.update_yaxes(exponentformat="power", showexponent="all")
    fig.update_yaxes(title=unit, col=1)
    note = f"{SIGMA} = {values(table, 'sigma_d')[0]:g} in one {place} at a time · %: its share of the predicted sum"
    note += " · activation quantisation off"
    rows = places[-1]["row"]
    return finish(fig, f"What each {place} adds to the loss when it alone strays", note, height=170 + 240 * rows)


def loss_and_accuracy(ranks: pd.DataFrame) -> go.Figure:
    """Return how far a chip's loss tells its accuracy, Spearman's rank correlation, against sigma_d.

    Args:
        ranks: from `nvlib.taylor.ranks`, by method and sigma_d.
    """
    table, fig = _needs(ranks, "sigma_d", "rank"), go.Figure()
    for method, part in by_method(table):
        look, rows = style(method), part.groupby("sigma_d", as_index=False)["rank"].mean()
        fig.add_scatter(
            x=rows.sigma_d, y=-rows["rank"], mode="lines+markers", name=look.label,
            line={"color": look.colour, "dash": look.dash, "width": 2}, marker={"symbol": look.marker, "size": 8},
        )  # fmt: skip
    fig.update_xaxes(title=f"device variation {SIGMA}")
    fig.update_yaxes(title="− rank correlation of loss and accuracy", range=[0, 1.02])
    return finish(fig, "How far a chip's loss tells its accuracy", "over the chips of a model; averaged over trainings")


def derivatives_by_epoch(rows: pd.DataFrame, split: str = "test", layer: str = "all") -> go.Figure:
    """Return loss, slope and curvature along training, a line a method (trice-3c).

    Args:
        rows: from `nvlib.taylor.follow`.
        split: ``train`` or ``test``: whose loss.
        layer: one layer, or ``all``.
    """
    table = _needs(rows, "epoch", "split", "layer", "method", *_TRACKS)
    table = _needs(table[(table.split == split) & (table.layer == layer) & (table.epoch > 0)], "epoch")
    fig, places = _panels(
        len(_TRACKS), list(_TRACKS.values()), per_row=3, horizontal_spacing=0.08, vertical_spacing=0.16
    )
    for i, (column, where) in enumerate(zip(_TRACKS, places, strict=True)):
        for method, part in by_method(table):
            look = style(method)
            every = part.groupby("epoch", as_index=False)[column].mean()
            fig.add_scatter(
                x=every.epoch, y=every[column], mode="lines+markers", name=look.label, legendgroup=method,
                showlegend=i == 0, line={"color": look.colour, "dash": look.dash, "width": 2},
                marker={"symbol": look.marker, "size": 6}, **where,
            )  # fmt: skip
    fig.update_yaxes(rangemode="tozero", exponentformat="power")
    fig.update_yaxes(rangemode="normal", **places[-1])
    fig.update_xaxes(title="epoch", row=2)
    sizes = ", ".join(f"{s:g}" for s in values(table, "sigma_d"))
    seeds = len(values(table, "seed"))
    note = f"{split} loss · trained at {SIGMA} = {sizes} · {seeds} training{'s' if seeds > 1 else ''}"
    note += f" · {'all layers' if layer == 'all' else layer}"
    return finish(fig, "What training does to the loss and its derivatives", note, height=600)
