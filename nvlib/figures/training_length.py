"""The percentile by length of training, above the largest weight that its deviations are relative to."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nvlib.errors import InputError
from nvlib.figures.layout import describe, finish
from nvlib.figures.names import ordinal, style
from nvlib.summary import by_method


def length_curves(table: pd.DataFrame, df: pd.DataFrame, k: float = 1) -> go.Figure:
    """Return the k-th percentile by epochs of training, and beneath it the largest |w| of the first layer.

    Bars are 95 % intervals over chips. Each point is a training of its own, with a whole schedule.

    Args:
        table: of `nvlib.papers.length_table`, at this k.
        df: the chips it is of (`nvlib.papers.length_rows`): for the subtitle.
        k: percentile.

    Raises:
        InputError: for an empty table.
    """
    if table.empty:
        raise InputError("no training of several lengths to show; expected rows of nvlib.papers.length_table")
    fig = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.08, row_heights=[0.6, 0.4])
    for method, rows in by_method(table):
        look, rows = style(method), rows.sort_values("epochs")
        line = {"color": look.colour, "dash": look.dash, "width": 2.5}
        marker = {"symbol": look.marker, "size": 9, "color": look.colour}
        fig.add_scatter(
            x=rows["epochs"], y=rows["kpp"], name=look.label, legendgroup=method, mode="lines+markers", line=line,
            marker=marker, customdata=rows[["mean", "n"]],
            error_y={"type": "data", "symmetric": False, "array": rows["kpp_high"] - rows["kpp"],
                     "arrayminus": rows["kpp"] - rows["kpp_low"], "thickness": 1, "width": 4},
            hovertemplate=f"<b>{look.label}</b>, %{{x}} epochs: %{{y:.2f}} %<br>mean %{{customdata[0]:.2f}} %, "
            "%{customdata[1]} chips<extra></extra>", row=1, col=1,
        )  # fmt: skip
        fig.add_scatter(
            x=rows["epochs"], y=rows["largest"], legendgroup=method, showlegend=False, mode="lines+markers", line=line,
            marker=marker, customdata=rows[["deviation"]], row=2, col=1,
            hovertemplate=f"<b>{look.label}</b>, %{{x}} epochs: max|w| %{{y:.2f}}<br>standard deviation "
            "%{customdata[0]:.3f}<extra></extra>",
        )  # fmt: skip
    epochs = sorted(set(table["epochs"]))
    fig.update_xaxes(type="log", tickvals=epochs, ticktext=[str(e) for e in epochs])
    fig.update_xaxes(title="epochs of training", row=2, col=1)
    fig.update_yaxes(title=f"{ordinal(k)}-percentile accuracy (%)", row=1, col=1)
    fig.update_yaxes(title="max|w|, first layer", row=2, col=1, rangemode="tozero")
    notes = "a training each, with a whole schedule; bars: 95 % intervals over chips"
    return finish(fig, f"{ordinal(k)}-percentile accuracy by length of training", describe(df, notes), height=620)
