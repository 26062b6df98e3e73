"""Who carries the loss, layer and slice at once: a map of squares, each as large as its share.

The cells of slice j in layer l stray alone. On a device whose levels all stray alike, slice j carries a fixed part of
every weight's variance, v_j = 4^(jK) / sum_i 4^(iK), so that with what `nvlib.taylor` tells of the layer alone

    mean      E[dL]   = v_j mean_l
    variance  Var[dL] = v_j sigma_d^2 |b_l|^2 + v_j^2 (variance_l - sigma_d^2 |b_l|^2)

(the first term is the slope's, proportional to the variance of the weights, the second the curvature's, to its square).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nvlib.figures.layout import FRAME, fill, finish
from nvlib.figures.names import BLUE, style
from nvlib.figures.taylor import SIGMA, _needs
from nvlib.summary import values

_SIDE = 46.0  # pixels of the largest square


def share_table(layers: pd.DataFrame, bits: pd.DataFrame) -> pd.DataFrame:
    """Return what the cells of each slice of each layer add to the loss when they alone stray.

    Args:
        layers: ``layers`` of `nvlib.taylor.analyse`, of one model and one sigma_d.
        bits: its ``bits`` at the same sigma_d, of a device whose levels stray alike.

    Returns:
        A row a layer and slice: layer, slice, sigma_d, mean (nats), variance (nats^2), and the share of each in the sum
        over all, mean_share and variance_share.
    """
    layers, bits = _needs(layers, "layer", "slope", "mean", "variance", "sigma_d"), _needs(bits, "slice", "mean_share")
    rows = []
    for layer in layers.itertuples():
        first = (layer.sigma_d * layer.slope) ** 2
        for part in bits.itertuples():
            v = part.mean_share
            variance = v * first + v**2 * (layer.variance - first)
            rows.append({"layer": layer.layer, "slice": part.slice, "sigma_d": layer.sigma_d, "mean": v * layer.mean,
                         "variance": variance})  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(**{f"{c}_share": table[c] / table[c].sum() for c in ("mean", "variance")})


def share_map(table: pd.DataFrame, of: str = "mean", method: str = "") -> go.Figure:
    """Return the map: layers from top to bottom, slices from left to right, a square's area its share.

    A point's customdata begins with its layer and slice, for a page to act on a click.

    Args:
        table: from `share_table`.
        of: ``mean`` or ``variance``.
        method: the model's training, for colour and words.
    """
    table = _needs(table, "layer", "slice", of, f"{of}_share")
    names = [str(v).removesuffix(".weight") for v in table["layer"]]
    x, share = [f"slice {s}" for s in table["slice"]], table[f"{of}_share"].to_numpy(float)
    side = _SIDE * np.sqrt(np.clip(share, 0, None) / max(share.max(), 1e-30))
    unit = "nats" if of == "mean" else "nats²"
    colour = style(method).colour if method else BLUE
    data = [list(row) for row in zip(table["layer"], table["slice"], 100 * share, table[of], strict=True)]
    common = {"x": x, "y": names, "customdata": data, "showlegend": False}
    fig = go.Figure()
    fig.add_scatter(  # the whole field can be clicked on
        **common, mode="markers", marker={"symbol": "square", "size": _SIDE, "color": fill(colour, 0.08),
                                          "line": {"color": FRAME, "width": 1}},
        hovertemplate="<b>%{y}, %{x}</b><br>%{customdata[2]:.1f} % of the predicted sum<br>"
        f"%{{customdata[3]:.3g}} {unit}<extra></extra>",
    )  # fmt: skip
    fig.add_scatter(
        **common, mode="markers", hoverinfo="skip",
        marker={"symbol": "square", "size": side, "color": colour, "line": {"width": 0}},
    )  # fmt: skip
    fig.add_scatter(
        x=x, y=names, mode="text", text=[f"{'&nbsp;' * 12}{100 * s:.1f} %" for s in share],
        textposition="middle right", hoverinfo="skip", showlegend=False, cliponaxis=False,
    )  # fmt: skip
    rows, columns = table["layer"].nunique(), table["slice"].nunique()
    fig.update_xaxes(type="category", side="top", showline=False, ticks="", range=[-0.5, columns - 0.3])
    fig.update_yaxes(type="category", range=[rows - 0.4, -0.6], showgrid=False)
    note = f"{SIGMA} = {values(table, 'sigma_d')[0]:g} there alone · area: share of the predicted sum · "
    note += "the highest slice holds the heaviest bits"
    word = "rise of the mean loss" if of == "mean" else "variance of the loss"
    whose = f"{style(method).label}: who" if method else "Who"
    return finish(fig, f"{whose} carries the {word}, by layer and slice", note, height=130 + 62 * rows)
