"""Figures of a training's search: which sizes of noise TRICE tried, what they were worth, and where it closed in."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nvlib.errors import InputError
from nvlib.figures.layout import fill, finish, wrap
from nvlib.figures.names import GREY, ORANGE, SKY, VERMILLION

_NEEDED = {"epoch", "candidate", "sigma_t", "start", "end", "kpp", "low", "high", "chips", "chosen"}
_LOOKS = {  # of a candidate: what is written, colour, marker
    "left": ("first quartile", SKY, "triangle-down"),
    "mid": ("middle", VERMILLION, "circle"),
    "right": ("third quartile", ORANGE, "triangle-up"),
    "merged": ("one model, bracket closed", GREY, "square"),
}


def search_trace(trace: pd.DataFrame, training: int = 0) -> go.Figure:
    """Return the search of one training: candidates in their bracket, and their KPP, by epoch.

    Filled markers are candidates whose weights the others took over; bars on the KPP are its 95 % interval.

    Args:
        trace: rows of `Epoch.trace`, or `Store.trace`.
        training: which training of a population.

    Raises:
        InputError: for an empty trace, or one that is not of a search over sigma_t.
    """
    if missing := _NEEDED - set(trace.columns):
        raise InputError(f"the trace has no {', '.join(sorted(missing))}; expected one of a TRICE training, not empty")
    rows = trace[trace["training"] == training] if "training" in trace else trace
    if rows.empty:
        raise InputError(f"the trace has no training {training}; it has {sorted(set(trace['training']))}")
    fig = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    bracket = rows.groupby("epoch")[["start", "end"]].first()
    fig.add_scatter(
        x=[*bracket.index, *bracket.index[::-1]], y=[*bracket["end"], *bracket["start"][::-1]], fill="toself",
        fillcolor=fill(GREY, 0.2), line={"width": 0}, mode="lines", name="bracket", hoverinfo="skip", row=1, col=1,
    )  # fmt: skip
    for candidate, (label, colour, symbol) in _LOOKS.items():
        part = rows[rows["candidate"] == candidate]
        if part.empty:
            continue
        marker = {"color": colour, "size": 8, "symbol": [symbol if c else f"{symbol}-open" for c in part["chosen"]]}
        look = {"mode": "markers", "marker": marker, "name": label, "legendgroup": candidate}
        fig.add_scatter(
            x=part["epoch"], y=part["sigma_t"], row=1, col=1, **look,
            hovertemplate=f"{label}, epoch %{{x}}: σ<sub>t</sub> = %{{y:.4f}}<extra></extra>",
        )  # fmt: skip
        if (seen := part[part["kpp"].notna()]).empty:
            continue
        look["marker"] = marker | {"symbol": [symbol if c else f"{symbol}-open" for c in seen["chosen"]]}
        bars = {"array": seen["high"] - seen["kpp"], "arrayminus": seen["kpp"] - seen["low"], "symmetric": False}
        bars["visible"] = bool(seen["low"].notna().any())
        fig.add_scatter(
            x=seen["epoch"], y=seen["kpp"], row=2, col=1, showlegend=False, **look,
            error_y={"type": "data", "thickness": 1, "width": 3, **bars},
            hovertemplate=f"{label}, epoch %{{x}}: %{{y:.2f}} %<extra></extra>",
        )  # fmt: skip
    fig.update_yaxes(title="noise σ<sub>t</sub>", rangemode="tozero", row=1, col=1)
    fig.update_yaxes(title="KPP on validation images (%)", row=2, col=1)
    fig.update_xaxes(title="epoch", row=2, col=1)
    end = bracket.iloc[-1]
    chips = int(rows["chips"].max())
    few = "" if rows["low"].notna().any() or not chips else "too few for an interval at this percentile"
    notes = [f"bracket at the end [{end['start']:.4f}, {end['end']:.4f}]", f"{chips} chips a KPP", few]
    notes += ["filled: taken over by the others"]
    return finish(fig, "The search for the size of the training noise", wrap([n for n in notes if n]), height=560)
