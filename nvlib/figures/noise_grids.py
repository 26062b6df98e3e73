"""The grid of TRICE's Fig. 4: first-percentile accuracy by size of the training noise and threshold of the law."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from nvlib import statistics
from nvlib.errors import InputError
from nvlib.figures.layout import describe, finish
from nvlib.figures.names import ordinal

# from dark to light and one hue order: read without colour as well
_SCALE = [[0.0, "#440154"], [0.25, "#3B528B"], [0.5, "#21908C"], [0.75, "#5DC863"], [1.0, "#FDE725"]]


def noise_grid(df: pd.DataFrame, k: float = 1) -> go.Figure:
    """Return the k-th percentile by sigma_t / sigma_d and th, as cells with their numbers (trice-fig4).

    Args:
        df: tidy frame of one sigma_d with the column ``parameters`` of each training (ratio and th).
        k: percentile.

    Raises:
        InputError: for a frame without parameters, or of several sigma_d.
    """
    if "parameters" not in df or df.empty:
        raise InputError("the table has no parameters of its trainings; expected rows of nvlib.papers")
    if df["sigma_d"].nunique() > 1:
        raise InputError("the selection mixes several sigma_d; choose one")
    df = df.assign(ratio=[p["ratio"] for p in df["parameters"]], th=[p["th"] for p in df["parameters"]])
    cells = {}
    for (ratio, th), part in df.groupby(["ratio", "th"]):
        seeds = [statistics.kpp(chips.accuracy, k) for _, chips in part.groupby("train_seed")]
        value = sum(e.value for e in seeds) / len(seeds)
        limits = ""
        if all(e.low is not None for e in seeds):
            low, high = (sum(side) / len(seeds) for side in zip(*((e.low, e.high) for e in seeds), strict=True))
            limits = f"<br>[{low:.1f}, {high:.1f}]"
        cells[ratio, th] = (value, f"{value:.1f}{limits}")
    ratios, ths = sorted({r for r, _ in cells}), sorted({t for _, t in cells})
    values = [[cells.get((r, t), (None, ""))[0] for r in ratios] for t in ths]
    texts = [[cells.get((r, t), (None, ""))[1] for r in ratios] for t in ths]
    fig = go.Figure(
        go.Heatmap(
            x=[f"{r:g}" for r in ratios], y=[f"{t:g}" for t in ths], z=values, text=texts, texttemplate="%{text}",
            colorscale=_SCALE, xgap=2, ygap=2, colorbar={"title": {"text": "%"}},
            hovertemplate="σ<sub>t</sub> = %{x} σ<sub>d</sub>, th = %{y}: %{z:.2f} %<extra></extra>",
        )
    )  # fmt: skip
    fig.update_xaxes(title="size of the training noise σ<sub>t</sub> / σ<sub>d</sub>", type="category")
    fig.update_yaxes(title="threshold th (in σ<sub>t</sub>)", type="category")
    known = any("[" in text for row in texts for text in row)
    few = "brackets: 95 % interval over chips" if known else "too few chips for intervals"
    one = df[df["training"].isin(df.drop_duplicates("train_seed")["training"])]  # chips a cell, not of all cells
    title = f"{ordinal(k)}-percentile accuracy by the noise injected in training"
    return finish(fig, title, describe(one, few), height=460)
