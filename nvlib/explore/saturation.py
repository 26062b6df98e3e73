"""A model's weights against a weight range: how they are spread, and how many a range saturates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nvlib import crossbar, ranges

if TYPE_CHECKING:
    from torch import nn

BINS = 81
REACH = 8.0  # root mean squares that the histogram goes far


def saturation(model: nn.Module, span: str) -> pd.DataFrame:
    """Return what a range does to each layer on arrays: a row a layer.

    Args:
        model: any module.
        span: a range of `nvlib.ranges`, e.g. ``deviations:2.5``.

    Returns:
        name, weights, rms (root mean square of the weights), largest (max|w| in rms), range (in rms; of channels their
        mean), saturated (share of weights beyond it), quieter (R / max|w|: what every other weight's deviation falls
        to).
    """
    of, rows = ranges.get(span), []
    for name, w in crossbar.own_weights(model, crossbar.array_weights(model, warn=False)).items():
        w = w.detach()
        r, rms, top = of.of(w[None])[0], float(w.square().mean().sqrt()), float(w.abs().max())
        rows.append({
            "name": name, "weights": w.numel(), "rms": rms, "largest": top / rms if rms else 0.0,
            "range": float(r.mean()) / rms if rms else 0.0, "saturated": float((w.abs() > r).double().mean()),
            "quieter": float(r.mean()) / top if top else 1.0,
        })  # fmt: skip
    return pd.DataFrame(rows)


def spread(model: nn.Module) -> pd.DataFrame:
    """Return how the weights on arrays are spread: |w| in root mean squares of their tensor, and the share of weights.

    Returns:
        size (middle of a bin), share (of all weights on arrays).
    """
    sizes = [(w.detach().abs() / w.detach().square().mean().sqrt().clamp_min(1e-30)).flatten().numpy()
             for w in crossbar.own_weights(model, crossbar.array_weights(model, warn=False)).values()]  # fmt: skip
    counts, edges = np.histogram(np.concatenate(sizes).clip(max=REACH), BINS - 1, (0.0, REACH))
    return pd.DataFrame({"size": (edges[:-1] + edges[1:]) / 2, "share": counts / max(1, counts.sum())})
