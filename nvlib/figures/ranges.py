"""The percentile by weight range: what the largest level stands for, method by method."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from nvlib.figures.layout import describe, finish
from nvlib.figures.names import ordinal, style
from nvlib.summary import by_method, by_range, checked


def range_curves(df: pd.DataFrame, k: float = 1) -> go.Figure:
    """Return the k-th percentile by weight range, a curve a method; bars are 95 % intervals over chips.

    Ranges of whole tensors are joined, from wide to tight; those of channels stand beside them.

    Args:
        df: tidy frame of one sigma_d with the column range.
        k: percentile.

    Raises:
        InputError: for an empty selection, or one that mixes more than ranges.
    """
    table, fig = by_range(df, k), go.Figure()
    order = list(dict.fromkeys(table["range"]))
    for method, rows in by_method(table):
        look, whole = style(method), ~rows["range"].str.contains("/")
        fig.add_scatter(x=rows["range"][whole], y=rows["kpp"][whole], mode="lines", showlegend=False, hoverinfo="skip",
                        legendgroup=method, line={"color": look.colour, "dash": look.dash, "width": 2.5})  # fmt: skip
        fig.add_scatter(
            x=rows["range"], y=rows["kpp"], name=look.label, mode="markers", legendgroup=method,
            marker={"symbol": look.marker, "size": 9, "color": look.colour},
            error_y={"type": "data", "symmetric": False, "array": rows["kpp_high"] - rows["kpp"],
                     "arrayminus": rows["kpp"] - rows["kpp_low"], "thickness": 1, "width": 4},
            customdata=rows[["mean", "n"]],
            hovertemplate=f"<b>{look.label}</b>, %{{x}}: %{{y:.2f}} %<br>mean %{{customdata[0]:.2f}} %, "
            "%{customdata[1]} chips<extra></extra>",
        )  # fmt: skip
    ticks = [text.replace("deviations:", "") + (" deviations" if "deviations" in text else "") for text in order]
    ticks = ["max|W|" if text == "max" else text for text in ticks]
    fig.update_xaxes(title="what the largest level stands for", type="category", categoryorder="array",
                     categoryarray=order, tickvals=order, ticktext=ticks)  # fmt: skip
    fig.update_yaxes(title=f"{ordinal(k)}-percentile accuracy (%)")
    one = checked(df[df["range"] == order[0]])
    return finish(fig, f"{ordinal(k)}-percentile accuracy by weight range", describe(one, "bars: 95 % intervals"))
