"""Run what artefacts are made of: their studies at a preset, those that build on others after these.

In this process, or by several processes of one thread each: a small network gains little from a second thread, a grid
of them nearly all of a second core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from nvlib.errors import InputError
from nvlib.papers.operating_points import settle
from nvlib.papers.presets import Entry, as_study, with_recipe
from nvlib.papers.registry import entries
from nvlib.papers.select import Evidence, Protocol
from nvlib.records import digest
from nvlib.store import Store, results

if TYPE_CHECKING:
    from nvlib.data import Dataset
    from nvlib.studies import Study


class MissingData(InputError):
    """A data set that a study needs is not on this machine."""


def compute(
    names: str | Sequence[str],
    preset: str,
    where: Store | None = None,
    *,
    only: Sequence[str] = (),
    on: str = "cpu",
    progress: bool | Callable[[float], None] = False,
    workers: int = 1,
) -> pd.DataFrame:
    """Run what is missing of the studies of artefacts at a preset, and return their samples.

    Studies whose data set is not at hand are left out, with a printed line that says where it should be.

    Args:
        names: of artefacts (or ``00_tour``).
        preset: one of `PRESETS`.
        where: the store; None takes the project's own.
        only: run those of ``names`` that are here; empty: all.
        on: ``cpu`` or ``cuda``.
        progress: whether to show bars, or a function that is called with the share that is done of what is at hand.
        workers: processes of one thread each; 1 works in this process, with its threads.

    Raises:
        InputError: for an unknown name or preset.
    """
    where, chosen = where or Store(), []
    for name in [names] if isinstance(names, str) else names:
        for entry in entries(name, preset) if not only or name in only else ():
            try:
                chosen.append(resolved(entry))
            except MissingData as error:
                print(f"{name}: left out, {error}")
    chosen = settle(chosen, where, lambda studies: run_studies(studies, where, on, progress, workers))
    parts = run_studies([study for entry in chosen for study in _first(entry)], where, on, progress, workers)
    parts += run_studies([study for entry in chosen for study in _then(entry, where)], where, on, progress, workers)
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=["run", "chip", "method"])
    return pd.concat(parts, ignore_index=True).drop_duplicates(["run", "chip"], ignore_index=True)


def run_studies(
    studies: Sequence[Study],
    where: Store,
    on: str = "cpu",
    progress: bool | Callable[[float], None] = False,
    workers: int = 1,
) -> list[pd.DataFrame]:
    """Run what is missing of studies and return their samples: one after another here, or all by several processes."""
    from nvlib import launch
    from nvlib.studies import run

    if workers == 1 or not studies:
        return [
            run(study, where, on=on, progress=_told(progress, i, len(studies))) for i, study in enumerate(studies)
        ]
    told = (lambda status: progress(status.done / max(status.total, 1))) if callable(progress) else progress
    return [launch.run(studies, "processes", workers, where=where, on=on, threads=1, progress=told)]


def _told(progress: bool | Callable[[float], None], i: int, studies: int) -> bool | Callable[[str, float, float], None]:
    """Return what a study is to call: its share is one of several."""
    if not callable(progress):
        return progress
    return lambda what, done, total: progress((i + (what == "evaluation") * done / max(total, 1)) / studies)


def missing(names: Sequence[str], preset: str, where: Store | None = None) -> float:
    """Return which share of the evaluations of artefacts' studies is neither here nor shipped, 0 to 1.

    Of studies that build on others, which are not known before these, nothing is counted.
    """
    table, wanted, lacking = results(where or Store()), 0, 0
    chips = table.groupby("run", observed=True).chip.nunique().to_dict() if len(table) else {}
    loaded: dict[tuple[Any, ...], Dataset] = {}
    for name in names:
        for entry in entries(name, preset):
            if not {"manual", "pretrain", "operating_points"} & set(entry):
                try:
                    study = as_study(resolved(entry))
                except MissingData:
                    continue
                kept = (study.dataset, study.images, study.network)
                data = loaded[kept] if kept in loaded else loaded.setdefault(kept, study.data())
                held = [chips.get(digest(evaluation), 0) for _, evaluation in study.pairs(data)]
                wanted += len(held)
                lacking += sum(count < study.chips for count in held)
    return lacking / wanted if wanted else 0.0


def resolved(entry: Entry) -> Entry:
    """Return an entry with the data set that is here, and a published recipe by its values."""
    entry = with_recipe({**entry, "dataset": at_hand(entry.get("dataset", "mnist"))})
    if "pretrain" in entry:
        entry["pretrain"] = {**entry["pretrain"], "dataset": entry["dataset"], "recipe": entry["recipe"]}
    return entry


def _first(entry: Entry) -> list[Study]:
    """Return what can be run at once: a study, or those of the models that it goes on from."""
    if "manual" in entry:
        return []
    if "pretrain" in entry:
        return [as_study({**entry["pretrain"], "seeds": entry.get("seeds", (0,))})]
    return [as_study(entry)]


def _then(entry: Entry, where: Store) -> list[Study]:
    """Return what builds on it: RC by what the grid chose, and trainings that go on, each from its own seed's model."""
    if "manual" in entry:
        chosen = manual(where, entry)
        return [] if chosen is None else [as_study({**entry, "parameters": {"rc_manual": chosen}})]
    if "pretrain" not in entry:
        return []
    (quiet,) = _first(entry)
    start = {training.seed: digest(training) for training, _ in quiet.pairs(quiet.data())}
    return [replace(as_study({**entry, "seeds": (seed,)}), start=start[seed]) for seed in start]


def at_hand(dataset: str) -> str:
    """Return the data set if it is on this machine.

    Raises:
        MissingData: if it is not.
    """
    from nvlib.data import available

    found = available()
    if not found.get(dataset, "").startswith("not found"):
        return dataset
    raise MissingData(f"{dataset} {found[dataset]}; fetch it with: python -m nvlib data {dataset} --download")


def manual(where: Store, entry: Mapping[str, Any]) -> dict[str, float] | None:
    """Return RC-Manual's sigma_t and th: the point of the grid at 0.25 with the best validation accuracy, if any."""
    study = as_study({key: value for key, value in entry.items() if key != "manual"})
    keys = {"network": study.network, "epochs": study.epochs, "mapping": study.mapping}
    return Evidence(where).manual([Protocol(keys)])
