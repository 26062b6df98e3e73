"""Tables and ablations of one method under several settings: which row of the paper is which setting of ours.

NFT's Table 1 (number N of feedback outputs), its reversed decay factors and steps, IRS without noise in its classifiers
and Table 2 (pretrained backbones). Each row stands beside the number that the paper prints for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from nvlib import statistics
from nvlib.errors import unknown
from nvlib.papers.evidence import origin, sketch
from nvlib.papers.printed_numbers import number, published
from nvlib.papers.registry import artefact
from nvlib.papers.select import Evidence, Protocol


@dataclass(frozen=True)
class Variant:
    """One row of a paper's table: the method, what is set otherwise, and the number printed for it."""

    label: str
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    printed: float | None = None
    start: str = ""  # pretrained: trained on from a model without noise
    share: float | None = None  # of the epochs from scratch that were added to it; 0: the pretrained model itself
    on_vgg8: Mapping[str, Any] | None = None  # what is set there for the same: it has four kinds of blocks, not five


def _variants(name: str) -> tuple[Variant, ...]:
    def printed(**where: object) -> float:
        return number(name, **where)

    if name == "nft-table1":
        ovf = [Variant(f"OVF, N = {n}", "ovf", {"n": n}, printed(method="ovf", x=n)) for n in (1, 2, 3, 4)]
        irs = [(1, 1, "N = 1", None), (2, 2, "N = 2", None), (3, 3, "N = 3", {"n": None}),
               (None, 4, "all blocks but the last", None), (5, 5, "all blocks", {"n": 4})]  # fmt: skip
        return (*ovf, *(Variant(f"IRS, {text}", "irs", {"n": n}, printed(method="irs", x=x), on_vgg8=there)
                        for n, x, text, there in irs))  # fmt: skip
    if name == "nft-reverse-gamma":
        return tuple(
            Variant(f"{m.upper()}, {text}", m, {"reverse": r}, printed(method=m, x=int(r)))
            for m in ("ovf", "irs") for r, text in ((False, "as published"), (True, "reversed"))
        )  # fmt: skip
    if name == "nft-reverse-sigma":
        usual = number("nft-table1", method="ovf", x=3)
        return (Variant("OVF, louder by 0.05", "ovf", {}, usual),
                Variant("OVF, quieter by 0.05", "ovf", {"step": -0.05}, round(usual + printed(method="ovf"), 2)))
    if name == "nft-classifier-noise":
        return (Variant("IRS, noisy classifiers", "irs", {"noisy": True}, printed(x=1)),
                Variant("IRS, exact classifiers", "irs", {"noisy": False}, printed(x=0)))
    if name == "nft-table2":
        rows = published(name)
        later = rows[rows.parameter == "epochs_after_pretraining"]
        made = [
            Variant(f"{r.method.upper()}, pretrained + {r.x / 200:.0%} of the epochs", r.method if r.x else "none",
                    {}, r.value, "pretrained" if r.x else "", r.x / 200)
            for r in later.itertuples()
        ]  # fmt: skip
        scratch = rows[(rows.parameter == "epochs_from_scratch") & (rows.method != "none")]
        made += [Variant(f"{r.method.upper()}, from scratch", r.method, {}, r.value) for r in scratch.itertuples()]
        return tuple(sorted(made, key=lambda v: (v.label[:3], v.share is None, v.share)))
    raise unknown("artefact with variants", name, WITH_VARIANTS)


WITH_VARIANTS = ("nft-table1", "nft-reverse-gamma", "nft-reverse-sigma", "nft-classifier-noise", "nft-table2")


def variants(name: str, results: Evidence | None = None) -> pd.DataFrame:
    """Return an ablation as a table: label, method, printed, ours, low, high (mean accuracy in percent), chips, seeds.

    Rows that were not computed have NaN. All others are of one network, size and sigma_d, the one that most of them
    were computed at; ``attrs["origin"]`` says which.

    Raises:
        InputError: for an artefact that is no ablation.
    """
    wanted, results = _variants(name), results or Evidence()
    for setting in (*artefact(name).settings, sketch(name)):
        found = [_rows(v, results, setting) for v in wanted]
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
    where = Protocol({**setting.where, "start": variant.start})
    if variant.start:  # the number of epochs added, as a share of those from scratch
        scratch = results.select([setting], (variant.method,))
        if scratch is None:
            return None
        epochs = max(1, int(variant.share * scratch[0].epochs.iloc[0]))
        where = Protocol({**where.where, "epochs": epochs})
    for parameters in filter(lambda given: given is not None, (variant.parameters, variant.on_vgg8)):
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
