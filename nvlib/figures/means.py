"""Curves of a mean over chips against sigma_d: accuracy (NFT and OVF, Fig. 3) and EKL divergence (their Fig. 4)."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from nvlib import statistics
from nvlib.errors import unknown
from nvlib.figures.layout import describe, fill, finish, sigma_axis
from nvlib.figures.names import style
from nvlib.summary import by_method, checked

_WHAT = {
    "accuracy": ("Mean accuracy over chips", "mean accuracy (%)", "%"),
    "ekl": ("Uncertainty of correct predictions", "EKL divergence (nats)", "nats"),
    "loss": ("Mean loss over chips", "cross-entropy (nats)", "nats"),
}


def mean_curves(df: pd.DataFrame, of: str = "accuracy") -> go.Figure:
    """Return the mean over chips against sigma_d, a curve a method; faint dots are single trainings.

    A band is the 95 % interval over trainings (t), cut at 0 and 100 %; with one training it is over chips.

    Args:
        df: tidy frame.
        of: ``accuracy``, ``ekl`` or ``loss``.

    Raises:
        InputError: for an unknown quantity, an empty selection, or a mixture that is no curve.
    """
    if of not in _WHAT:
        raise unknown("mean to draw", of, _WHAT)
    df, fig = checked(df), go.Figure()
    title, axis, unit = _WHAT[of]
    roof, counts = 100.0 if of == "accuracy" else float("inf"), set()
    for method, part in by_method(df):
        look, rows, dots = style(method), [], []
        for sigma_d, chips in part.groupby("sigma_d"):
            seeds = [c[of] for _, c in chips.groupby("train_seed")] if "train_seed" in chips else [chips[of]]
            means = [statistics.mean(c).value for c in seeds]
            over = statistics.mean(means) if len(means) > 1 else statistics.mean(seeds[0])
            rows.append((sigma_d, over.value, over.low, over.high, len(means), len(chips)))
            dots += [(sigma_d, value) for value in means] if len(means) > 1 else []
        table = pd.DataFrame(rows, columns=["sigma_d", "value", "low", "high", "seeds", "n"])
        held = table.dropna(subset=["low", "high"])
        held = held.assign(low=held.low.clip(lower=0), high=held.high.clip(upper=roof))
        counts |= set(table.seeds)
        if len(held) > 1:
            fig.add_scatter(
                x=[*held.sigma_d, *held.sigma_d[::-1]], y=[*held.high, *held.low[::-1]], fill="toself", mode="none",
                fillcolor=fill(look.colour, 0.15), hoverinfo="skip", showlegend=False, legendgroup=method,
            )  # fmt: skip
        if dots:
            fig.add_scatter(x=[d[0] for d in dots], y=[d[1] for d in dots], mode="markers", showlegend=False,
                            legendgroup=method, hoverinfo="skip",
                            marker={"color": look.colour, "size": 4, "opacity": 0.5})  # fmt: skip
        fig.add_scatter(
            x=table.sigma_d, y=table.value, name=look.label, legendgroup=method, mode="lines+markers",
            line={"color": look.colour, "dash": look.dash, "width": 2.5}, marker={"symbol": look.marker, "size": 9},
            customdata=table[["seeds", "n"]],
            hovertemplate=f"<b>{look.label}</b> at σ<sub>d</sub> = %{{x:g}}: %{{y:.3f}} {unit}<br>"
            "%{customdata[0]} trainings, %{customdata[1]} chips<extra></extra>",
        )  # fmt: skip
    sigma_axis(fig, df)
    fig.update_yaxes(title=axis, rangemode="tozero" if of != "accuracy" else "normal")
    over = "chips" if counts == {1} else "trainings" + (", over chips where there is one" if 1 in counts else "")
    dots = "" if counts == {1} else "dots: single trainings"
    return finish(fig, title, describe(df, f"band: 95 % interval over {over}", dots))
