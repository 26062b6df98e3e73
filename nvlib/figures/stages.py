"""Where the accuracy went, stage by stage: a waterfall of the mean, with the percentile beside it."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from nvlib import array
from nvlib.errors import InputError
from nvlib.figures.layout import FRAME, finish, wrap
from nvlib.figures.names import BLUE, GREEN, ORANGE, VERMILLION, ordinal

_NEEDED = ("stage", "mean", "lost", "kpp", "kpp_low", "kpp_high", "chips", "k")
_WORDS = {
    "float": "floating<br>point", "activations": "activations<br>quantised", "weights": "weights<br>quantised",
    "programmed": "programmed", "stuck": "stuck cells", "drift": "drift", "retention": "retention",
    "read": "read noise", "common": "common<br>variation", "limits": "limits", "periphery": "circuits",
}  # fmt: skip
_UNITS = (("day", 86_400.0), ("h", 3600.0), ("s", 1.0))


def waterfall(table: pd.DataFrame, note: str = "") -> go.Figure:
    """Return the mean accuracy from stage to stage as a waterfall, and the percentile of chips as marks.

    Args:
        table: of `nvlib.stages`.
        note: which model under which conditions.

    Raises:
        InputError: for another table.
    """
    if missing := [column for column in _NEEDED if column not in table]:
        raise InputError(f"the table lacks {', '.join(missing)}; expected that of nvlib.stages")
    if table.empty:
        raise InputError("the table has no stages; expected that of nvlib.stages")
    k, several = float(table["k"].iloc[0]), table[table["chips"] > 1]
    names, fig = labels(table["stage"]), go.Figure()
    fig.add_waterfall(
        x=[*names, "left"], y=[table["mean"].iloc[0], *(-table["lost"].iloc[1:]), 0.0], name="mean",
        measure=["absolute", *["relative"] * (len(table) - 1), "total"],
        connector={"line": {"color": FRAME, "width": 1}},
        decreasing={"marker": {"color": VERMILLION}}, increasing={"marker": {"color": GREEN}},
        totals={"marker": {"color": BLUE}}, customdata=[*table["mean"], table["mean"].iloc[-1]],
        hovertemplate="%{x}<br>mean over chips: %{customdata:.2f} %<extra></extra>",
    )  # fmt: skip
    tops = [table["mean"].iloc[0], *table["mean"].rolling(2).max().iloc[1:], table["mean"].iloc[-1]]
    said = [f"{table['mean'].iloc[0]:.1f}", *(f"{round(-lost, 1) or 0.0:+.1f}" for lost in table["lost"].iloc[1:]),
            f"{table['mean'].iloc[-1]:.1f}"]  # fmt: skip
    for x, y, text in zip([*names, "left"], tops, said, strict=True):
        fig.add_annotation(x=x, y=y, text=text, showarrow=False, yshift=11)
    if len(several):
        places = [names[i] for i in several.index]
        fig.add_scatter(
            x=places, y=several["kpp"], mode="markers", name=f"{ordinal(k)} percentile of chips",
            marker={"color": ORANGE, "symbol": "diamond", "size": 10, "line": {"color": FRAME, "width": 1}},
            error_y={"type": "data", "symmetric": False, "array": several["kpp_high"] - several["kpp"],
                     "arrayminus": several["kpp"] - several["kpp_low"], "color": ORANGE},
            hovertemplate="%{x}<br>all but " f"{k:g} % of chips exceed %{{y:.2f}} %<extra></extra>",
        )  # fmt: skip
    fig.update_yaxes(title="accuracy (%)", range=[0, 108])
    fig.update_xaxes(title="", tickangle=0)
    fig.update_layout(bargap=0.35)
    count = int(table["chips"].max())
    parts = [note, f"{count:,} chips, the same at every stage" if count > 1 else "all chips are alike",
             "bars: mean, and what each stage adds or takes (points)"]  # fmt: skip
    return finish(fig, "Where the accuracy goes", wrap(parts), height=500)


def labels(stages: pd.Series) -> list[str]:
    """Return stages as they stand on an axis: a name, and below it the numbers of an effect."""
    found: list[str] = []
    for stage in stages:
        name, _, numbers = str(stage).partition(":")
        numbers = array.called(numbers) if name == "periphery" else numbers
        text = "<br>".join([_WORDS.get(name, name), *(_said(part) for part in numbers.split(",") if part)])
        found.append(text if text not in found else f"{text} ({sum(text in other for other in found) + 1})")
    return found


def _said(number: str) -> str:
    """Return a number of an effect as an axis has room for: a time in the largest unit that it fills."""
    key, _, value = number.partition("=")
    if key != "time":
        return number
    seconds = float(value)
    unit, length = next((pair for pair in _UNITS if seconds >= pair[1]), _UNITS[-1])
    return f"{seconds / length:.4g} {unit}{'s' if unit == 'day' and seconds >= 2 * length else ''}"
