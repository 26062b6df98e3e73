"""How far methods lie above a baseline on the same chips: `nvlib.summary.differences`, drawn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nvlib.figures.layout import FRAME, describe, fill, finish, sigma_axis
from nvlib.figures.names import ordinal, style
from nvlib.summary import differences, values

_WHAT = {"kpp": "{k} percentile accuracy", "mean": "mean accuracy", "ekl": "EKL divergence"}


def difference_curves(df: pd.DataFrame, baseline: str = "gaussian", of: str = "kpp", k: float = 1) -> go.Figure:
    """Return each method's difference to a baseline by sigma_d, paired by chip and training seed.

    A thick bar is the 95 % interval over chips for these trainings, a thin one that over trainings; faint dots are
    single trainings.

    Args:
        df: tidy frame of several methods.
        baseline: the method at zero.
        of: ``kpp``, ``mean`` or ``ekl``.
        k: percentile of the KPP.

    Raises:
        InputError: as `nvlib.summary.differences`.
    """
    table, fig = differences(df, baseline, of, k), go.Figure()
    sigmas, methods = values(table, "sigma_d"), list(dict.fromkeys(table["method"]))
    gap = min((b - a for a, b in pairwise(sigmas)), default=0.1)
    unit = "nats" if of == "ekl" else "points"
    present = table.groupby("sigma_d")["method"].agg(list)
    for method in methods:
        rows, look = table[table["method"] == method], style(method)
        places = [present[s].index(method) - (len(present[s]) - 1) / 2 for s in rows["sigma_d"]]
        x = rows["sigma_d"] + 0.7 * gap * np.array(places) / len(methods)  # side by side about the tick
        for low, high, width, opacity in (("low", "high", 1.5, 0.9), ("chips_low", "chips_high", 7, 0.35)):
            known = rows[low].notna()
            ends = {"array": rows[high] - rows["difference"], "arrayminus": rows["difference"] - rows[low]}
            fig.add_scatter(
                x=x[known], y=rows["difference"][known], mode="markers", marker={"opacity": 0}, hoverinfo="skip",
                showlegend=False, legendgroup=method,
                error_y={k: v[known] for k, v in ends.items()}
                | {"type": "data", "symmetric": False, "width": 0, "thickness": width,
                   "color": fill(look.colour, opacity)},
            )  # fmt: skip
        seeds = [(at, value) for at, each in zip(x, rows["each"], strict=True) for value in each]
        fig.add_scatter(
            x=[at for at, _ in seeds], y=[value for _, value in seeds], mode="markers", showlegend=False,
            legendgroup=method, hoverinfo="skip", marker={"color": look.colour, "opacity": 0.35, "size": 5},
        )  # fmt: skip
        fig.add_scatter(
            x=x, y=rows["difference"], mode="markers", name=look.label, legendgroup=method,
            marker={"color": look.colour, "symbol": look.marker, "size": 10},
            customdata=rows[["sigma_d", "seeds", "chips"]],
            hovertemplate=f"{look.label}, \u03c3<sub>d</sub> = %{{customdata[0]:g}}: %{{y:+.2f}} {unit}<br>"
            "%{customdata[1]} trainings, %{customdata[2]} chips each<extra></extra>",
        )  # fmt: skip
    fig.add_hline(y=0, line={"color": FRAME, "width": 1})
    sigma_axis(fig, df[df["sigma_d"].isin(sigmas)])
    fig.update_xaxes(range=[sigmas[0] - 0.5 * gap, sigmas[-1] + 0.5 * gap])
    what = _WHAT[of].format(k=ordinal(k))
    fig.update_yaxes(title=f"difference to {style(baseline).label} ({unit})")
    notes = ["thick bar: 95 % interval over chips of these trainings, thin: over trainings"]
    notes += ["lower is surer"] if of == "ekl" else []
    subtitle = describe(df, *notes)
    return finish(fig, f"{what[0].upper()}{what[1:]}, beside {style(baseline).label} on the same chips", subtitle)
