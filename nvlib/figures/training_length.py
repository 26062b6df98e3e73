"""The percentile by length of training, above the largest weight, which its deviations are relative to."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nvlib.errors import InputError
from nvlib.figures.layout import describe, finish
from nvlib.figures.names import ordinal, style
from nvlib.summary import by_method


def length_curves(table: pd.DataFrame, df: pd.DataFrame, k: float = 1) -> go.Figure:
    """Return the k-th percentile by epochs of training, and beneath it the largest |w| in two measures.

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
    fig = make_subplots(3, 1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.5, 0.25, 0.25])
    for method, rows in by_method(table):
        look, rows = style(method), rows.sort_values("epochs")
        drawn = {
            "x": rows["epochs"], "legendgroup": method, "mode": "lines+markers",
            "line": {"color": look.colour, "dash": look.dash, "width": 2.5},
            "marker": {"symbol": look.marker, "size": 9, "color": look.colour},
        }  # fmt: skip
        fig.add_scatter(
            **drawn, y=rows["kpp"], name=look.label, customdata=rows[["mean", "n"]], row=1, col=1,
            error_y={"type": "data", "symmetric": False, "array": rows["kpp_high"] - rows["kpp"],
                     "arrayminus": rows["kpp"] - rows["kpp_low"], "thickness": 1, "width": 4},
            hovertemplate=f"<b>{look.label}</b>, %{{x}} epochs: %{{y:.2f}} %<br>mean %{{customdata[0]:.2f}} %, "
            "%{customdata[1]} chips<extra></extra>",
        )  # fmt: skip
        fig.add_scatter(**drawn, y=rows["largest"], showlegend=False, row=2, col=1,
                        hovertemplate=f"<b>{look.label}</b>, %{{x}} epochs: %{{y:.2f}}<extra></extra>")  # fmt: skip
        fig.add_scatter(
            **drawn, y=rows["span"], showlegend=False, customdata=rows[["widest"]], row=3, col=1,
            hovertemplate=f"<b>{look.label}</b>, %{{x}} epochs: %{{y:.1f}}, %{{customdata[0]}}<extra></extra>",
        )
    epochs = sorted(set(table["epochs"]))
    fig.update_xaxes(type="log", tickvals=epochs, ticktext=[str(e) for e in epochs])
    fig.update_xaxes(title="epochs of training", row=3, col=1)
    fig.update_yaxes(title=f"{ordinal(k)} percentile (%)", row=1, col=1)
    fig.update_yaxes(title="max|w|,<br>first layer", row=2, col=1, rangemode="tozero")
    fig.update_yaxes(title="max|w| in<br>deviations,<br>widest layer", row=3, col=1, rangemode="tozero")
    one = df[df["epochs"] == epochs[-1]].drop(columns="epochs")
    said = describe(one, "each length a training of its own, with a whole schedule", "bars: 95 % intervals over chips")
    return finish(fig, f"{ordinal(k)}-percentile accuracy by length of training", said, height=720)
