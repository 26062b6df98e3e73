"""Which method comes first, second, ... at each sigma_d: ranks by `nvlib.summary.results_table`, and their figure."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from nvlib.errors import unknown
from nvlib.figures.layout import describe, finish, sigma_axis
from nvlib.figures.names import ordinal, style
from nvlib.summary import results_table, values

_BY = {"kpp": ("{k} percentile accuracy", "%"), "mean": ("mean accuracy", "%"), "ekl": ("EKL divergence", "nats")}


def ranks(df: pd.DataFrame, by: str = "kpp", k: float = 1) -> pd.DataFrame:
    """Return each method's place at each sigma_d, 1 the best; equal values share the better place.

    Args:
        df: tidy frame of several methods.
        by: ``kpp`` or ``mean`` (higher is better), or ``ekl`` (lower is).
        k: percentile of the KPP.

    Returns:
        A row a method and sigma_d: method, sigma_d, value, rank, methods (how many there are at this sigma_d).

    Raises:
        InputError: for an unknown statistic, or a frame that mixes what cannot stand in one row.
    """
    if by not in _BY:
        raise unknown("statistic to rank by", by, _BY)
    table = results_table(df, k)[["method", "sigma_d", by]].rename(columns={by: "value"})
    groups = table.groupby("sigma_d")["value"]
    rank = groups.rank(method="min", ascending=by == "ekl").astype("Int64")
    return table.assign(rank=rank, methods=groups.transform("count"))


def ranking(df: pd.DataFrame, by: str = "kpp", k: float = 1) -> go.Figure:
    """Return each method's place against sigma_d, the best on top.

    Places say nothing of distances, nor whether two methods can be told apart: `difference_curves` does.

    Raises:
        InputError: as `ranks`.
    """
    table, fig = ranks(df, by, k), go.Figure()
    what, unit = _BY[by]
    for method in dict.fromkeys(table["method"]):
        rows, look = table[table["method"] == method], style(method)
        fig.add_scatter(
            x=rows["sigma_d"], y=rows["rank"].astype(float), name=look.label, mode="lines+markers",
            line={"color": look.colour, "dash": look.dash, "width": 2.5},
            marker={"symbol": look.marker, "size": 12}, customdata=rows[["value", "methods"]],
            hovertemplate=f"<b>{look.label}</b> at σ<sub>d</sub> = %{{x:g}}: place %{{y}} of %{{customdata[1]}}<br>"
            f"%{{customdata[0]:.4g}} {unit}<extra></extra>",
        )  # fmt: skip
    last = int(table["methods"].max())
    fig.update_yaxes(title="place", range=[last + 0.4, 0.6], tickvals=list(range(1, last + 1)))
    sigma_axis(fig, df)
    note = "places alone: they do not say whether two methods can be told apart"
    at = len(values(df, "sigma_d")) > 1
    title = f"Ranking by {what.format(k=ordinal(k))}{', by σ<sub>d</sub>' if at else ''}"
    return finish(fig, title, describe(df, note), height=max(320, 170 + 42 * last))
