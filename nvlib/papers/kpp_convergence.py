"""Many chips on few images: how wide an interval is depends on the chips' number, not on what they are scored on.

TRICE-n asks for 10,000 chips. Of a stored model that is a hundred times what one figure needs; on a tenth of the test
images it is minutes. Samples land in the store as an evaluation of their own (its record says how many images), so
that they grow, resume, and are never mixed with those on all images.
"""

from __future__ import annotations

import pandas as pd

from nvlib.papers.registry import artefact
from nvlib.papers.select import Evidence, Protocol
from nvlib.store import Store

SIZES = {"smoke": (400, 100), "quick": (10_000, 1000), "full": (10_000, 1000), "paper": (10_000, 10_000)}


def many_chips(where: tuple[Protocol, ...], preset: str, store: Store | None = None, sigma_d: float = 0.2,
               on: str = "cpu") -> pd.DataFrame:  # fmt: skip
    """Score a stored Gaussian model on many chips and few images, as many as a preset says; return those rows.

    Args:
        where: settings the model is looked for under; the first training seed of the largest study.
        preset: one of `PRESETS`.
        store: None takes the project's own.
        sigma_d: at which it was trained and is scored.
        on: ``cpu`` or ``cuda``.

    Returns:
        Rows of `nvlib.results`; empty where the store has no such model with its weights.
    """
    from nvlib.studies import Study, run

    store, (chips, images) = store or Store(), SIZES[preset]
    found = Evidence(store).select(where, ("gaussian",), sigma_d=sigma_d)
    names = [] if found is None else list(found[0].sort_values("train_seed").training.unique())
    name = next((n for n in names if store.weights(n) is not None), None)
    if found is None or name is None:
        return pd.DataFrame(columns=["run", "chip", "method"])
    first, training = found[0][found[0].training == name].iloc[0], store.training(name)
    study = Study(
        training.network, training.dataset, methods=("none",), devices=(str(first.device),), sigma_d=(sigma_d,),
        width=training.width, bits=training.bits, activation_bits=training.activation_bits,
        reference=str(first.reference), mapping=str(first["mapping"]), images=images, chips=chips,
    )  # fmt: skip
    return run(study, store, on=on, progress=False, of=training)


def many_rows(results: Evidence) -> pd.DataFrame:
    """Return the chips of trice-n that the store has: ten thousand of one model on a thousand images."""
    return results.under(artefact("trice-n").settings[-1], method="gaussian", sigma_d=0.2)


def widths(accuracy: pd.Series, chips: tuple[int, ...] = (400, 1000, 3000, 10_000), k: float = 1,
           draws: int = 200, seed: int = 0) -> pd.DataFrame:  # fmt: skip
    """Return half the width of the first percentile's interval by number of chips, over resamples of ``accuracy``.

    Returns:
        A row a number of chips: chips, half_width (median of the resamples), low, high (5 % and 95 % of them).
    """
    import numpy as np

    from nvlib import statistics

    rng, rows = np.random.default_rng(seed), []
    x = accuracy.to_numpy(float)
    for n in chips:
        found = [statistics.kpp(rng.choice(x, n), k).interval for _ in range(draws)]
        halves = [(limits[1] - limits[0]) / 2 for limits in found if limits is not None]
        if halves:
            low, middle, high = np.quantile(halves, [0.05, 0.5, 0.95])
            rows.append({"chips": n, "half_width": middle, "low": low, "high": high})
    return pd.DataFrame(rows, columns=["chips", "half_width", "low", "high"])
