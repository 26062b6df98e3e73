"""How far the weights of each layer stray on a device, beside how large they are."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from nvlib.errors import InputError
from nvlib.figures.layout import finish, wrap
from nvlib.figures.names import GREY, VERMILLION

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
