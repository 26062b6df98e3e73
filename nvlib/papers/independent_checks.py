"""Independent checks for the notebooks: the same numbers by another way, and what a claim would be without a detail.

*EKL and the scale of the logits.* NFT trains O_total = (O_backbone - beta ...) / (N + 1), but what runs on a chip is
O_backbone: its logits are fitted to be about N + 1 times as large as the cross-entropy asks for. Larger logits alone
make correct predictions surer and lower their EKL. `ekl_by_temperature` recomputes EKL from the logits, and with the
logits divided by a temperature, which changes no prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd

from nvlib.store import Store


def ekl_by_temperature(
    rows: pd.DataFrame,
    temperatures: Sequence[float] = (1.0, 2.0, 4.0),
    chips: int = 8,
    images: int = 500,
    store: Store | None = None,
) -> pd.DataFrame:
    """Return accuracy and EKL of a few chips of each method, their logits divided by each temperature.

    Args:
        rows: of `nvlib.papers.rows`; each method's first training at the largest sigma_d they share.
        temperatures: divisors of the logits; 1 is what runs on the chip.
        chips: how many, the same for all.
        images: of the test split.
        store: None takes the project's own.

    Returns:
        A row a method: sigma_d, accuracy (percent), and EKL (nats) at each temperature; methods without weights in the
        store are left out.
    """
    import torch

    from nvlib import crossbar, data, population
    from nvlib.studies import device_of, model_of

    store = store or Store()
    if rows.empty:
        return pd.DataFrame(columns=["method", "sigma_d", "accuracy"])
    shared = [s for s, part in rows.groupby("sigma_d") if part.method.nunique() == rows.method.nunique()]
    made = []
    for method, part in rows[rows.sigma_d == max(shared)].groupby("method", observed=True):
        first = part.sort_values("train_seed").iloc[0]
        if store.weights(str(first.training)) is None:
            continue
        record = store.training(str(first.training))
        model, loaded = model_of(record, store), data.load(record.dataset, limit=images)
        size = cast(int | None, model.input_size)
        test = (loaded if size is None or size == loaded.shape[-1] else data.resize(loaded, size)).test
        device = device_of(record.device) if record.device else str(first.device)
        with torch.inference_mode():
            weights = crossbar.program(
                model, device, float(first.sigma_d), index=range(chips), reference=str(first.reference),
                mapping=str(first["mapping"]),
            )  # fmt: skip
            logits = population.forward(model, weights, test.x).double()
        right, label = logits.argmax(-1) == test.y, test.y.expand(chips, -1)[..., None]
        row = {"method": method, "sigma_d": first.sigma_d, "accuracy": 100 * right.double().mean().item()}
        for t in temperatures:
            at = logits / t
            nll = at.logsumexp(-1) - at.gather(-1, label).squeeze(-1)
            row[f"EKL at T = {t:g}"] = (nll * right).sum(1).div(right.sum(1)).mean().item()
        made.append(row)
    return pd.DataFrame(made) if made else pd.DataFrame(columns=["method", "sigma_d", "accuracy"])


def scale_said(table: pd.DataFrame, method: str = "ovf", t: float = 4.0) -> str:
    """Say what is left of a method's low EKL once its logits are those that its training saw; ``t`` is its N + 1."""
    held, column = table.set_index("method"), f"EKL at T = {t:g}"
    if column not in held or not {method, "gaussian"} <= set(held.index):
        return "not yet computed"
    run, seen, gauss = held.at[method, "EKL at T = 1"], held.at[method, column], held.at["gaussian", "EKL at T = 1"]
    return (f"{method.upper()}'s EKL is {run:.4f} nats as run and {seen:.4f} with the logits that its training saw; "
            f"Gauss's is {gauss:.4f}.")  # fmt: skip


def kpp_by_hand(rows: pd.DataFrame, a: str, b: str, k: int = 1) -> pd.DataFrame:
    """Return each training's KPP under two methods and their difference, by sorting alone (Algorithm 2)."""
    made = []
    for (sigma_d, seed), part in rows[rows.method.isin([a, b])].groupby(["sigma_d", "train_seed"]):
        held = {m: np.sort(p.accuracy.to_numpy()) for m, p in part.groupby("method", observed=True) if len(p)}
        if len(held) == 2:
            one, two = (held[m][k * len(held[m]) // 100] for m in (a, b))
            made.append({"sigma_d": sigma_d, "seed": seed, a: one, b: two, "difference": one - two})
    return pd.DataFrame(made)


def agree(by_hand: pd.DataFrame, table: pd.DataFrame) -> bool:
    """Whether mean differences by hand are those of `nvlib.summary.differences`, to rounding."""
    mine = by_hand.groupby("sigma_d").difference.mean()
    return bool(np.allclose(mine.loc[table.sigma_d].to_numpy(), table.difference.to_numpy(), atol=1e-9))

