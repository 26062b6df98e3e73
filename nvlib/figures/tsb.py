"""Figures of TSB alone: its block's parameters (Table 2, 4.7), training cost (Fig. 4), epochs, and what limits it."""

from __future__ import annotations

import json

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nvlib import statistics
from nvlib.errors import InputError
from nvlib.figures.deploy import deployment_style, subtitle
from nvlib.figures.layout import finish, wrap
from nvlib.figures.names import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, name

ABLATIONS = {
    "channels": "channels of the block", "insertions": "places of the block", "layers": "layers in the block",
    "init": "initial weights",
}  # fmt: skip


def tsb_ablation(df: pd.DataFrame, of: str, seconds: bool = True) -> go.Figure:
    """Return TSB's accuracy against one of its parameters, and the training time of it (TSB Table 2, Sec. 4.7).

    Args:
        df: tidy chips of TSB deployments; the value is taken from deployment_parameters, where it is not a column.
        of: ``channels``, ``insertions``, ``layers`` or ``init``.
        seconds: whether to show the training time; not where other work shared the machine.

    Raises:
        InputError: for another parameter, or chips that do not have it.
    """
    if of not in ABLATIONS:
        raise InputError(f"of={of!r} is not an ablation of TSB; expected one of {', '.join(ABLATIONS)}")
    rows = df[df["deployment"] == "tsb"] if "deployment" in df else df
    values = rows[of] if of in rows else rows["deployment_parameters"].map(lambda text: _parameter(text, of))
    rows = rows.assign(value=values)
    rows = rows[rows["value"].notna()]
    if rows.empty:
        raise InputError(f"no chips whose TSB names {of}; expected it among deployment_parameters, or as a column")
    fig = make_subplots(rows=1, cols=1 + seconds, horizontal_spacing=0.12)
    found = []
    for value, part in rows.groupby("value"):
        after, before, spent = (part[c].to_numpy(float) for c in ("accuracy", "before", "seconds"))
        gain, time = statistics.mean(after - before), statistics.mean(spent)
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        found.append((shown, (after.mean(), gain), (before.mean(), None), (time.value, time)))
    x = [f[0] for f in found]
    tsb, none = deployment_style("tsb"), deployment_style("")
    lines = [(1, "TSB", tsb, 1), (2, "Gauss, same chips", none, 1), (3, "TSB", tsb, 2)]
    for at, label, look, col in lines[: 2 + seconds]:
        means, widths = zip(*(f[at] for f in found), strict=True)
        known = all(e is not None and e.high is not None for e in widths)
        bars = {"array": [e.high - e.value for e in widths] if known else [], "thickness": 1, "width": 3,
                "visible": known}  # fmt: skip
        fig.add_scatter(
            x=x, y=means, error_y=bars, mode="markers" if of == "init" else "lines+markers",
            name=label, legendgroup=label, showlegend=col == 1, line={"color": look.colour, "dash": look.dash},
            marker={"symbol": look.marker, "size": 9, "color": look.colour}, row=1, col=col,
            hovertemplate=f"{label}, %{{x}}: %{{y:.2f}}<extra></extra>",
        )  # fmt: skip
    fig.update_xaxes(title=ABLATIONS[of], type="category", range=[-0.5, len(x) - 0.5])
    fig.update_yaxes(title="mean accuracy (%)", row=1, col=1)
    if seconds:
        fig.update_yaxes(title="training time (s a chip)", rangemode="tozero", row=1, col=2)
    first = rows[rows["value"] == rows["value"].iloc[0]]  # one point's chips, for the counts
    notes = [f"whiskers: 95 % intervals{', of accuracy' * seconds} of the gain over the same chips"]
    return finish(fig, f"TSB by the {ABLATIONS[of]}", subtitle(first, notes))


def _parameter(text: object, of: str) -> object:
    """Return a parameter from canonical JSON; None where it is not named."""
    return json.loads(text).get(of) if isinstance(text, str) and text else None


_STOPS = (ORANGE, GREEN, SKY, PURPLE, VERMILLION)


def training_cost(table: pd.DataFrame, axis: str = "passes", method: str = "tsb", note: str = "") -> go.Figure:
    """Return accuracy against training cost: the backbone's training, and deployment from early stops (TSB Fig. 4).

    Args:
        table: of `nvlib.deploy.cost.early_stops`.
        axis: ``passes`` (images run) or ``seconds``; both as shares of the full training.
        method: which deployment method's lines.
        note: what the table does not know: network, data set, device, sigma_d, chips.

    Raises:
        InputError: for another axis, or a table without the method.
    """
    if axis not in ("passes", "seconds"):
        raise InputError(f"axis={axis!r} is not a cost; expected passes or seconds")
    if method not in set(table["stage"]):
        raise InputError(f"the table has no stage {method!r}; it has {sorted(set(table['stage']))}")
    fig, cost = go.Figure(), f"share_{axis}"
    backbone = table[table["stage"] == "backbone"].sort_values("epoch")
    hover = "%{fullData.name}: %{x:.1f} % of the training, accuracy %{y:.2f} %<extra></extra>"
    fig.add_scatter(
        x=100 * backbone[cost], y=backbone["accuracy"], name="backbone", mode="lines+markers",
        line={"color": GREY, "width": 2}, marker={"size": 5}, hovertemplate=hover,
    )  # fmt: skip
    own = table[table["stage"] == method]
    symbols = ("triangle-up", "diamond", "hexagon", "triangle-down", "star")
    stops = sorted(own["stop"].unique())
    ends = []
    for i, stop in enumerate(stops):
        part = own[own["stop"] == stop].sort_values("epoch")
        colour = _STOPS[i % len(_STOPS)] if stop < 1 else VERMILLION
        label = deployment_style(method).label
        fig.add_scatter(
            x=100 * part[cost], y=part["accuracy"], mode="lines+markers", hovertemplate=hover,
            name=f"{label} from the {100 * stop:.0f} % stop" if stop < 1 else f"{label} after the full training",
            line={"color": colour, "width": 2}, marker={"size": 7, "symbol": symbols[i % len(symbols)]},
        )  # fmt: skip
        ends.append(f"{100 * stop:.0f} % stop: {100 * part[cost].iloc[-1]:.1f} %")
    goal = backbone["accuracy"].iloc[-1]
    fig.add_hline(y=goal, line={"color": GREY, "dash": "dot", "width": 1})
    what = "images run forward and backward" if axis == "passes" else "seconds"
    fig.update_xaxes(title=f"training cost ({what}), % of the backbone's full training", rangemode="tozero")
    fig.update_yaxes(title="mean accuracy on validation images (%)")
    notes = [note, f"whole cost at the end, {', '.join(ends)}", f"dotted: fully trained backbone, {goal:.2f} %"]
    return finish(fig, "Training cost with early stops", wrap(notes))


def tsb_learning(table: pd.DataFrame, settled: float | None = None, note: str = "") -> go.Figure:
    """Return accuracy epoch by epoch while the block is trained: each chip thin, their mean thick.

    Args:
        table: of `nvlib.deploy.cost.history`.
        settled: epoch from which the mean counts as converged, drawn as a line.
        note: what the table does not know: network, data set, device, sigma_d.

    Raises:
        InputError: for a table without its columns.
    """
    if missing := {"chip", "epoch", "accuracy"} - set(table):
        raise InputError(f"the table has no {', '.join(sorted(missing))}; expected one of nvlib.deploy.cost.history")
    fig, look = go.Figure(), deployment_style("tsb")
    for chip, part in table.sort_values("epoch").groupby("chip"):
        fig.add_scatter(
            x=part["epoch"], y=part["accuracy"], mode="lines", line={"width": 1, "color": look.colour}, opacity=0.4,
            name="chips", legendgroup="chips", showlegend=bool(chip == table["chip"].min()),
            hovertemplate=f"chip {chip}, epoch %{{x}}: %{{y:.2f}} %<extra></extra>",
        )  # fmt: skip
    mean = table.groupby("epoch")["accuracy"].mean()
    fig.add_scatter(
        x=mean.index, y=mean, mode="lines+markers", name="their mean", line={"width": 2.5, "color": look.colour},
        marker={"symbol": look.marker, "size": 7}, hovertemplate="mean, epoch %{x}: %{y:.2f} %<extra></extra>",
    )  # fmt: skip
    notes = [note, f"n = {table['chip'].nunique()} chips, validation images"]
    if settled is not None:
        fig.add_vline(x=settled, line={"color": GREY, "dash": "dot", "width": 1.5})
        notes.append(f"dotted: converged, epoch {settled:g}")
    fig.update_xaxes(title="epochs of the block's training")
    fig.update_yaxes(title="accuracy on validation images (%)")
    return finish(fig, "TSB, epoch by epoch", wrap(notes))


def tsb_causes(table: pd.DataFrame, paper: float | None = None) -> go.Figure:
    """Return how many times the distance to the ideal is cut, with one thing changed at a time, a row each.

    Args:
        table: of `nvlib.papers.causes`.
        paper: what the paper claims, drawn as a line.

    Raises:
        InputError: for a table without its columns.
    """
    if missing := {"network", "sigma_d", "says", "cut", "low", "high", "chips"} - set(table):
        raise InputError(f"the table has no {', '.join(sorted(missing))}; expected one of nvlib.papers.causes")
    fig = go.Figure()
    for (network, sigma_d), part in table.groupby(["network", "sigma_d"], sort=False):
        small = network == table["network"].iloc[0]
        said = f"{name(network)}, σ<sub>d</sub> = {sigma_d:g}, {part['chips'].min()} chips"
        low, high = (part[c].astype(float) for c in ("low", "high"))
        fig.add_scatter(
            x=part["cut"], y=part["says"], mode="markers", name=said,
            marker={"size": 10, "color": BLUE if small else ORANGE, "symbol": "circle" if small else "diamond"},
            error_x={"type": "data", "symmetric": False, "array": high - part["cut"], "arrayminus": part["cut"] - low,
                     "thickness": 1, "width": 3}, hovertemplate="%{y}: %{x:.2f} times<extra></extra>",
        )  # fmt: skip
    fig.add_vline(x=1, line={"color": GREY, "width": 1})
    if paper is not None:
        fig.add_vline(x=paper, line={"color": VERMILLION, "dash": "dot", "width": 1.5})
    ticks = [t for t in (1, 2, 3, 5, 10, 20, 50) if t <= 1.2 * max(paper or 0, table["cut"].max())]
    fig.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{t:g}" for t in ticks],
                     title="times that the distance to the ideal is cut (log scale)")  # fmt: skip
    fig.update_yaxes(autorange="reversed")
    notes = ["one thing changed at a time", "validation images", "whiskers: 95 % intervals over paired chips",
             f"dotted: the paper, over {paper:g} times" if paper is not None else ""]  # fmt: skip
    return finish(fig, "What keeps TSB from the ideal", wrap(notes), height=230 + 30 * table["says"].nunique())
