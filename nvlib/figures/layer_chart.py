"""How far the weights of each layer stray on a device, beside how large they are; weights against their range."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from nvlib.errors import InputError
from nvlib.figures.layout import finish, wrap
from nvlib.figures.names import BLUE, GREY, VERMILLION

_NEEDED = ("name", "weights", "typical", "deviation", "ratio")


def layer_deviations(table: pd.DataFrame, note: str = "") -> go.Figure:
    """Return the deviation of each layer's weights beside the weights themselves, both as root mean squares.

    Args:
        table: of `nvlib.crossbar.deviations`.
        note: which model on which device.

    Raises:
        InputError: for another table.
    """
    if missing := [column for column in _NEEDED if column not in table]:
        raise InputError(f"the table has no {', '.join(missing)}; expected that of nvlib.crossbar.deviations")
    names, fig = [name.removesuffix(".weight") for name in table["name"]], go.Figure()
    for column, label, colour, pattern in (
        ("typical", "weights as trained", GREY, ""), ("deviation", "their deviation on a chip", VERMILLION, "/"),
    ):  # fmt: skip
        fig.add_bar(
            x=names, y=table[column], name=label, marker={"color": colour, "pattern": {"shape": pattern}},
            customdata=table[["weights", "ratio"]],
            hovertemplate=f"%{{x}}, %{{customdata[0]:,}} weights<br>{label}: %{{y:.4g}}<br>"
            "deviation / weight: %{customdata[1]:.2f}<extra></extra>",
        )  # fmt: skip
    for name, row in zip(names, table.itertuples(), strict=True):
        top = max(row.typical, row.deviation)
        fig.add_annotation(x=name, y=top, text=f"{row.ratio:.0%}", showarrow=False, yshift=10)
    fig.update_xaxes(title="layer")
    fig.update_yaxes(title="root mean square over the layer", rangemode="tozero")
    fig.update_layout(bargap=0.35)
    parts = [note, "numbers: deviation as a share of the weights"]
    return finish(fig, "How far the weights of each layer stray", wrap([p for p in parts if p]))


def weights_and_range(spread: pd.DataFrame, saturation: pd.DataFrame, note: str = "") -> go.Figure:
    """Return the sizes of a model's weights, the range as a line, and the weights that saturate beyond it.

    Args:
        spread: of `nvlib.explore.saturation.spread`.
        saturation: of `nvlib.explore.saturation.saturation`.
        note: which model, which range.

    Raises:
        InputError: for other tables.
    """
    if lacking := [c for c in ("size", "share") if c not in spread] + [c for c in ("range", "saturated", "weights")
                                                                       if c not in saturation]:  # fmt: skip
        raise InputError(f"the tables lack {', '.join(lacking)}; expected those of nvlib.explore.saturation")
    at = (saturation["range"] * saturation["weights"]).sum() / saturation["weights"].sum()
    beyond = (saturation["saturated"] * saturation["weights"]).sum() / saturation["weights"].sum()
    fig = go.Figure()
    for label, rows, colour, pattern in (
        ("on their own level", spread[spread["size"] <= at], BLUE, ""),
        ("saturated", spread[spread["size"] > at], VERMILLION, "/"),
    ):
        fig.add_bar(x=rows["size"], y=100 * rows["share"], name=label,
                    marker={"color": colour, "pattern": {"shape": pattern}},
                    hovertemplate="|w| = %{x:.2f}<br>%{y:.3g} % of the weights<extra></extra>")  # fmt: skip
    fig.add_vline(x=at, line={"color": VERMILLION, "width": 2},
                  annotation_text=f"range {at:.3g}", annotation_position="top right")
    fig.update_xaxes(title="size of a weight |w| (root mean squares of its tensor)")
    fig.update_yaxes(title="weights (%, log scale)", type="log", range=[-3.2, 1.4], dtick=1)
    fig.update_layout(bargap=0.05)
    parts = [note, f"{100 * beyond:.3g} % of the weights saturate", "the range of each layer: in the table"]
    return finish(fig, "A model's weights against the range", wrap([p for p in parts if p]))
