"""Curves of a mean over chips against sigma_d: accuracy (NFT and OVF, Fig. 3) and EKL divergence (their Fig. 4).

Of one network and data set, or of several side by side, each with the level of guessing on its own data.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nvlib import statistics
from nvlib.errors import InputError, unknown
from nvlib.figures.layout import FRAME, describe, fill, finish, sigma_axis
from nvlib.figures.names import name, style
from nvlib.image_sets import classes_of
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


def mean_panels(df: pd.DataFrame, of: str = "accuracy") -> go.Figure:
    """Return the mean over chips against sigma_d, a panel a network and data set, a curve a method.

    Dotted is what guessing scores on a panel's own data: 10 % of ten classes, 4 % of 25. Bars are 95 % intervals over
    trainings, over chips where there is one training.

    Args:
        df: tidy frame with the columns network and dataset.
        of: ``accuracy``, ``ekl`` or ``loss``.

    Raises:
        InputError: for an unknown quantity, an empty selection, or a panel that mixes what is no curve.
    """
    if of not in _WHAT:
        raise unknown("mean to draw", of, _WHAT)
    if df.empty or not {"network", "dataset"} <= set(df.columns):
        raise InputError("no chip of a network and data set to draw; expected rows with the columns of nvlib.results")
    parts = [(key, checked(part)) for key, part in df.groupby(["network", "dataset"], observed=True, sort=False)]
    columns = min(3, len(parts))
    titles = [f"{name(network)}<br>{name(dataset)}" for (network, dataset), _ in parts]
    fig = make_subplots(-(-len(parts) // columns), columns, subplot_titles=titles, vertical_spacing=0.2)
    fig.update_annotations(font={"size": 13.5})
    title, axis, unit = _WHAT[of]
    shown: set[str] = set()
    for i, ((_, dataset), part) in enumerate(parts):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        for method, rows in by_method(part):
            look, table = style(method), _means(rows, of)
            fig.add_scatter(
                x=table.sigma_d, y=table.value, name=look.label, legendgroup=method, showlegend=method not in shown,
                mode="lines+markers", line={"color": look.colour, "dash": look.dash, "width": 2},
                marker={"symbol": look.marker, "size": 8}, **place,
                error_y={"type": "data", "symmetric": False, "array": table.high - table.value,
                         "arrayminus": table.value - table.low, "thickness": 1, "width": 3},
                hovertemplate=f"<b>{look.label}</b> at σ<sub>d</sub> = %{{x:g}}: %{{y:.2f}} {unit}<extra></extra>",
            )  # fmt: skip
            shown.add(method)
        if of == "accuracy" and (classes := classes_of(str(dataset))):
            fig.add_hline(y=100 / classes, line={"color": FRAME, "dash": "dot", "width": 1}, **place)
    fig.update_xaxes(title="σ<sub>d</sub>")
    fig.update_yaxes(title=axis, col=1)
    chips, seeds = len(df), df.groupby(["network", "dataset"], observed=True).train_seed.nunique().max()
    over = "trainings" if seeds > 1 else "chips"
    note = f"{chips:,} chips in all · bars: 95 % intervals over {over}" + (
        " · dotted: guessing" if of == "accuracy" else "")  # fmt: skip
    return finish(fig, title, note, height=170 + 270 * (-(-len(parts) // columns)))


def _means(rows: pd.DataFrame, of: str) -> pd.DataFrame:
    """Return sigma_d, the mean and its limits: over trainings, over chips where there is one."""
    found = []
    for sigma_d, chips in rows.groupby("sigma_d"):
        seeds = [held[of] for _, held in chips.groupby("train_seed")]
        over = statistics.mean([held.mean() for held in seeds]) if len(seeds) > 1 else statistics.mean(seeds[0])
        found.append((sigma_d, over.value, over.low, over.high))
    return pd.DataFrame(found, columns=["sigma_d", "value", "low", "high"]).astype(float)
