"""What a paper leaves open, changed one thing at a time where its claim does not hold here: would it hold then?

    open-choice    of the evaluations of a choice: open, with the columns artefact, choice, method, sigma_d, train_seed,
                   chip, accuracy

What is changed is of trice-fig8 (right-censored noise ahead of the other laws) and trice-fig6a, b (TRICE ahead of Gauss
on FeFETs), at the size of the quick preset: LeNet on MNIST, 10,000 images, five epochs, one training, 400 chips. The
chips lie in a table of their own: a claim is measured under the decided protocol, and none of these answers for it.
``python -m nvlib.papers.analyses trice-open`` computes what is missing (under an hour on a CPU core).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from nvlib import statistics
from nvlib.errors import unknown
from nvlib.papers.registry import artefact
from nvlib.papers.rules import DIRECTION, HOLDS, judge
from nvlib.records import Analysis, digest
from nvlib.store import Store

if TYPE_CHECKING:
    from nvlib.studies import Study
    from nvlib.studies.analyses import Make

_DECIDED = "as decided"
_CONVENTIONS: dict[str, dict[str, Any]] = {
    _DECIDED: {},
    "signed mapping": {"mapping": "signed"},
    "sigma_d of one level": {"reference": "level"},
    "exact activations": {"activation_bits": 0},
    "best epoch on validation images": {"select": "best"},
    "5x5 LeNet": {"network": "lenet5"},
}
CHOICES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {  # artefact: choice: what of the study it changes
    "trice-fig8": _CONVENTIONS,
    "trice-fig6a": {**_CONVENTIONS, "sigma_d = 0.2": {"sigma_d": (0.2,)}, "sigma_d = 0.3": {"sigma_d": (0.3,)}},
    "trice-fig6b": {**_CONVENTIONS, "sigma_d = 0.2": {"sigma_d": (0.2,)}, "sigma_d = 0.3": {"sigma_d": (0.3,)}},
}
AHEAD = {  # who is to lie ahead, and of whom
    "trice-fig8": ("rc", ("gaussian", "lc", "rt", "lt")),
    "trice-fig6a": ("trice", ("gaussian",)),
    "trice-fig6b": ("trice", ("gaussian",)),
}


def openings(name: str, store: Store | None = None) -> pd.DataFrame:
    """Return what came out of each choice for an artefact.

    Args:
        name: of the artefact, one of `CHOICES`.
        store: None takes the project's own.

    Returns:
        A row a choice: choice, sigma_d, ours (first percentile of the method that is to lie ahead), over (the best of
        its rivals), difference with low and high (95 %, paired by chip; the least over rivals, as the claim has it),
        chips, printed, verdict of the claim's own rule. Empty where none is stored.

    Raises:
        InputError: for an artefact that nothing was changed of.
    """
    if name not in CHOICES:
        raise unknown("artefact with open choices", name, CHOICES)
    table, (ahead, rivals) = (store or Store()).analysed("open-choice", "open", {"artefact": name}), AHEAD[name]
    claim, found = artefact(name).claims[0], []
    own = {} if table.empty else dict(iter(table.groupby("choice", sort=False)))
    for choice in CHOICES[name]:
        if (part := own.get(choice)) is None:
            continue
        chips = {m: rows.sort_values("chip").accuracy.to_numpy() for m, rows in part.groupby("method", observed=True)}
        each = {rival: statistics.kpp_difference(chips[ahead], chips[rival]) for rival in rivals}
        over = min(each, key=lambda rival: each[rival].value)
        lows, highs = ([getattr(e, side) for e in each.values()] for side in ("low", "high"))
        low, high = (None if None in limits else min(limits) for limits in (lows, highs))
        least = statistics.Estimate(each[over].value, low, high, len(chips[ahead]))
        found.append({
            "choice": choice, "sigma_d": part.sigma_d.iloc[0], "ours": statistics.kpp(chips[ahead]).value, "over": over,
            "difference": least.value, "low": low, "high": high, "chips": least.n, "printed": claim.printed,
            "verdict": judge(claim.rule, least, claim.printed),
        })  # fmt: skip
    return pd.DataFrame(found)


def outcome(name: str, store: Store | None = None) -> str:
    """Say under how many of an artefact's changes its claim would hold; empty where nothing was changed of it."""
    table = openings(name, store) if name in CHOICES else pd.DataFrame()
    changed = table[table.choice != _DECIDED] if len(table) else table
    if changed.empty:
        return ""
    well = changed[changed.verdict.isin((HOLDS, DIRECTION))].choice.tolist()
    said = f"with {', '.join(well)} it would" if well else "none would let it hold"
    return f"of {len(changed)} changes of what the paper leaves open {said}"


def _study(name: str, choice: str) -> Study:
    """Return the study of a choice: the artefact's at the quick preset, its largest sigma_d, one thing changed."""
    from nvlib.papers.presets import as_study
    from nvlib.papers.registry import entries

    ahead, rivals = AHEAD[name]
    entry = entries(name, "quick")[0]
    parameters = {m: p for m, p in entry["parameters"].items() if m in (ahead, *rivals)}
    base = {**entry, "methods": (ahead, *rivals), "sigma_d": (max(entry["sigma_d"]),), "parameters": parameters}
    return as_study({**base, **CHOICES[name][choice]})


def planned(name: str, where: Store | None = None) -> list[tuple[Analysis, Make]]:
    """Return the analyses of an artefact's choices, each with what makes it: its study, in the store, and its chips."""
    wanted: list[tuple[Analysis, Make]] = []
    for choice in CHOICES[name]:
        study = _study(name, choice)
        of = tuple(digest(evaluation) for _, evaluation in study.pairs(study.data()))
        record = Analysis("open-choice", of, {"artefact": name, "choice": choice, "chips": study.chips})
        wanted.append((record, partial(_chips, study)))
    return wanted


def _chips(study: Study, record: Analysis, store: Store) -> dict[str, pd.DataFrame]:
    from nvlib import studies

    rows = studies.run(study, store, progress=False)
    kept = rows[["method", "sigma_d", "train_seed", "chip", "accuracy"]].astype({"method": str})
    named = {key: record.parameters[key] for key in ("artefact", "choice")}
    return {"open": kept.assign(**named).reset_index(drop=True)}
