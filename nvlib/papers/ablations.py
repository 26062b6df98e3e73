"""Tables and ablations of one method under several settings: which row of the paper is which setting of ours.

NFT's Table 1 (number N of feedback outputs), its reversed decay factors and steps, IRS without noise in its classifiers
and Table 2 (pretrained backbones). Each row stands beside the number that the paper prints for it.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from nvlib import statistics
from nvlib.errors import unknown
from nvlib.papers.artefact import Variant
from nvlib.papers.evidence import origin, sketch
from nvlib.papers.registry import ARTEFACTS, artefact
from nvlib.papers.select import Evidence, Protocol


def variants(name: str, results: Evidence | None = None) -> pd.DataFrame:
    """Return an ablation as a table: label, method, printed, ours, low, high (mean accuracy in percent), chips, seeds.

    Rows that were not computed have NaN. All others are of one protocol, that of most variants, and of one network,
    size and sigma_d, the one that most of them were computed at; ``attrs["origin"]`` says which.

    Raises:
        InputError: for an artefact that is no ablation.
    """
    known = [a.name for a in ARTEFACTS.values() if a.variants]
    if name not in known:
        raise unknown("artefact with variants", name, known)
    wanted, results = ARTEFACTS[name].variants, results or Evidence()
    tried = [[_rows(v, results, setting) for v in wanted] for setting in (*artefact(name).settings, sketch(name))]
    for found in sorted(tried, key=lambda found: sum(rows is None for rows in found)):  # a begun one displaces nothing
        held = [rows for rows in found if rows is not None]
        if sum(v.method != "none" for v, rows in zip(wanted, found, strict=True) if rows is not None) > 1:
            largest = max(held, key=lambda rows: (rows.train_images.iloc[0] * rows.epochs.iloc[0], len(rows)))
            size = _of(largest)
            same = [rows for rows in held if _of(rows) == size]
            at = max(largest.sigma_d.unique(), key=lambda at: (sum((rows.sigma_d == at).any() for rows in same), at))
            table = pd.DataFrame([_row(v, rows, size, at) for v, rows in zip(wanted, found, strict=True)])
            table = table.astype(dict.fromkeys(("ours", "low", "high"), float))
            table.attrs["origin"] = origin(pd.concat([rows[rows.sigma_d == at] for rows in same], ignore_index=True))
            return table
    empty = pd.DataFrame([_row(v, None, [], 0.0) for v in wanted])
    empty = empty.astype(dict.fromkeys(("ours", "low", "high"), float))
    empty.attrs["origin"] = origin(pd.DataFrame())
    return empty


def _rows(variant: Variant, results: Evidence, setting: Protocol) -> pd.DataFrame | None:
    where = replace(setting, where={**setting.where, "start": variant.start})
    if variant.start:  # the number of epochs added, as a share of those from scratch
        scratch = results.select([setting], (variant.method,))
        if scratch is None:
            return None
        epochs = max(1, int(variant.share * scratch[0].epochs.iloc[0]))
        where = replace(where, where={**where.where, "epochs": epochs})
    for parameters in (variant.parameters, variant.on_vgg8):
        if parameters is None:
            continue
        found = results.select([where], (variant.method,), {variant.method: parameters})
        if found is not None and (parameters is variant.parameters or found[0].network.str.startswith("vgg8").all()):
            return found[0]
    return None


def _of(rows: pd.DataFrame) -> list[object]:
    """Return what rows must share to stand in one table, but for epochs."""
    return rows.iloc[0][["network", "train_images", "images"]].tolist()


def _row(variant: Variant, rows: pd.DataFrame | None, size: list[object], at: float) -> dict[str, object]:
    made = {"label": variant.label, "method": variant.method, "printed": variant.printed}
    rows = rows[rows.sigma_d == at] if rows is not None and _of(rows) == size else None
    if rows is None or rows.empty:
        return {**made, "ours": None, "low": None, "high": None, "chips": 0, "seeds": 0}
    each = [part.accuracy for _, part in rows.groupby("train_seed")]
    over = statistics.mean([part.mean() for part in each]) if len(each) > 1 else statistics.mean(each[0])
    return {**made, "ours": over.value, "low": over.low, "high": over.high, "chips": len(rows), "seeds": len(each)}


def convergence(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how many runs of each method fail to converge: runs, failed, mean, lowest (NFT's footnote 2)."""
    from nvlib.papers.measures import not_converging

    means = {m: part.groupby("train_seed").accuracy.mean() for m, part in rows.groupby("method", observed=True)}
    return pd.DataFrame(
        [{"method": m, "runs": len(x), "failed": not_converging(x), "mean": x.mean(), "lowest": x.min()}
         for m, x in means.items()]
    )  # fmt: skip
