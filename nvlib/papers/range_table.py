"""The table of the weight range: ours, no paper's. Its rules are written in the notebook that shows it, 08_range."""

from __future__ import annotations

from typing import Any

import pandas as pd

from nvlib.store import Store, results

CHIPS = 400  # the first of each run, the same for all
METHODS = ("none", "correctnet", "gaussian", "trice")
LENET: dict[str, Any] = {
    "network": "lenet", "dataset": "mnist", "device": "rram", "mapping": "differential", "bits": 4, "images": 10_000,
    "reference": "full_scale", "deployment": "", "effects": "", "periphery": "", "train_range": "max",
    "protocol": "matched", "chip": range(CHIPS),
}  # fmt: skip


def range_rows(sigma_d: float = 0.2, epochs: int = 10, store: Store | None = None) -> pd.DataFrame:
    """Return chips of the models that were tried under several ranges, trained without knowing any of them.

    Args:
        sigma_d: size of the variation.
        epochs: of their training.
        store: where to look; None: the usual one.
    """
    found = results(store, **LENET, sigma_d=sigma_d, epochs=epochs, clipping="none", method=list(METHODS))
    tried = found[found["range"] != "max"]["training"].unique()
    return found[found["training"].isin(tried)].reset_index(drop=True)


def clipped_rows(sigma_d: float = 0.2, epochs: int = 10, store: Store | None = None) -> pd.DataFrame:
    """Return chips of models whose weights were clipped in training, of every range; arguments as of `range_rows`."""
    found = results(store, **LENET, sigma_d=sigma_d, epochs=epochs)
    return found[found["clipping"] != "none"].reset_index(drop=True)
