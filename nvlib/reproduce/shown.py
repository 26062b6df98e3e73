"""What notebooks call: run (or read) an artefact's studies, and the largest rows there are for it.

A notebook's own studies are as large as its preset; its figures show the largest that the store has, shipped or local,
and say which. `compute` runs what is missing, `rows` reads, `origin` says what is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from nvlib.errors import InputError
from nvlib.reproduce.artefacts import ARTEFACTS, artefact
from nvlib.reproduce.presets import Entry, as_study, entries, has_studies
from nvlib.reproduce.query import Results, Setting
from nvlib.reproduce.trice import grid_rows
from nvlib.store import Store


def compute(
    names: str | Sequence[str],
    preset: str,
    where: Store | None = None,
    *,
    only: Sequence[str] = (),
    on: str = "cpu",
    progress: bool = False,
) -> pd.DataFrame:
    """Run what is missing of the studies of artefacts at a preset, and return their samples.

    Studies whose data set is not at hand are left out, with a printed line that says where it should be.

    Args:
        names: of artefacts (or ``00_tour``).
        preset: one of `PRESETS`.
        where: the store; None takes the project's own.
        only: run those of ``names`` that are here; empty: all.
        on: ``cpu`` or ``cuda``.
        progress: whether to show bars.

    Raises:
        InputError: for an unknown name or preset.
    """
    where, parts = where or Store(), []
    for name in [names] if isinstance(names, str) else names:
        for entry in entries(name, preset) if not only or name in only else ():
            try:
                parts.append(_run(entry, where, on, progress))
            except MissingData as error:
                print(f"{name}: left out, {error}")
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=["run", "chip", "method"])
    return pd.concat(parts, ignore_index=True).drop_duplicates(["run", "chip"], ignore_index=True)


class MissingData(InputError):
    """A data set that a study needs is not on this machine."""


def _run(entry: Entry, where: Store, on: str, progress: bool) -> pd.DataFrame:
    from nvlib.methods import preset as published_recipe
    from nvlib.studies import run

    entry = {**entry, "dataset": at_hand(entry.get("dataset", "mnist"))}
    if isinstance(entry.get("recipe"), str):
        entry["recipe"] = published_recipe(entry["recipe"], 1 if entry["dataset"] == "mnist" else 3)
    if "manual" in entry:
        chosen = manual(where, entry)
        if chosen is None:
            return pd.DataFrame()
        entry["parameters"] = {"rc_manual": chosen}
    if "pretrain" not in entry:
        return run(as_study(entry), where, on=on, progress=progress)
    parts = []
    for seed in entry.get("seeds", (0,)):  # each goes on from the model of its own seed
        quiet = run(replace(as_study({**entry["pretrain"], "dataset": entry["dataset"]}), seeds=(seed,)), where, on=on,
                    progress=progress)  # fmt: skip
        later = replace(as_study({**entry, "seeds": (seed,)}), start=str(quiet.training.iloc[0]))
        parts += [quiet, run(later, where, on=on, progress=progress)]
    return pd.concat(parts, ignore_index=True)


def at_hand(dataset: str) -> str:
    """Return the data set if it is on this machine; CIFAR-10's JPEG copy where only that is.

    Raises:
        MissingData: if neither is.
    """
    from nvlib.data import available

    found = available()
    for name in (dataset, *(("cifar10-jpeg",) if dataset == "cifar10" else ())):
        if not found.get(name, "").startswith("not found"):
            return name
    raise MissingData(f"{dataset} {found[dataset]}; fetch it with: python -m nvlib data {dataset} --download")


def manual(where: Store, entry: Mapping[str, Any]) -> dict[str, float] | None:
    """Return RC-Manual's sigma_t and th: the point of the grid at 0.25 with the best validation accuracy, if any."""
    study = as_study({key: value for key, value in entry.items() if key != "manual"})
    keys = {"network": study.network, "epochs": study.epochs, "mapping": study.mapping}
    return Results(where).manual([Setting(keys)])


def rows(
    name: str,
    methods: Sequence[str],
    results: Results | None = None,
    **select: Any,
) -> pd.DataFrame:
    """Return the rows that an artefact's figures show: the largest study the store has under its settings.

    Where it has none, those of the smoke preset, which `origin` tells by their numbers of images and chips.

    Args:
        name: of the artefact.
        methods: wanted; the first two must be there, of the others those that are.
        results: the store, read; None reads the project's own.
        **select: ``parameters``, ``sigma_d``, ``zero`` of `Results.select`.
    """
    settings = (*artefact(name).settings, sketch(name))
    found = (results or Results()).select(settings, methods, need=min(2, len(methods)), **select)
    return pd.DataFrame() if found is None else found[0]


def grid(results: Results | None = None) -> pd.DataFrame:
    """Return the chips of TRICE's grid of sigma_t and th (trice-fig4), of the largest study there is."""
    return grid_rows(results or Results(), (*artefact("trice-fig4").settings, sketch("trice-fig4")))


def sketch(name: str) -> Setting:
    """Return where the smoke preset's rows of an artefact lie: for a figure where nothing else is, never a claim."""
    settings = artefact(name).settings
    if not settings:
        raise InputError(f"{name} is not made of chips in the store; it has no rows to show")
    kept = {key: settings[0].where[key] for key in ("device", "reference", "mapping", "protocol")}
    small = {network: f"{network} x0.0625" for network in ("vgg8", "resnet18")}
    network = settings[0].where["network"]
    names = ["lenet3"] if network == "lenet" else sorted({small[network], small["vgg8"]})
    return Setting({**kept, "network": names, "dataset": "mnist"}, "smoke")


def draw(figure: Callable[..., Any], table: pd.DataFrame, **options: Any) -> Any:
    """Return a figure of a table; where the table is empty, say that it is not yet computed."""
    if table.empty:
        print("not yet computed")
        return None
    return figure(table, **options)


def protocols(names: Sequence[str], preset: str) -> pd.DataFrame:
    """Return what is run for artefacts at a preset, and in brackets the paper's protocol where it differs."""
    found = {}
    for name in names:
        ours, papers = (_size(entries(name, at)) for at in (preset, "paper"))
        found[name] = {key: ours[key] if ours[key] == papers[key] else f"{ours[key]} ({papers[key]})" for key in ours}
    return pd.DataFrame(found).T.rename_axis("artefact")


def _size(made: Sequence[Entry]) -> dict[str, str]:
    """Return the size of an artefact's studies: their number, and what the first one holds."""
    first = made[0]
    settings = {name: str(first.get(name, usual)) for name, usual in
                (("reference", "full_scale"), ("mapping", "differential"), ("images", "all"))}  # fmt: skip
    network = first.get("network", "lenet") + (f" x{first['width']:g}" if "width" in first else "")
    return {
        "network": network, "data": first.get("dataset", "mnist"), "trained at": "matched", **settings,
        "studies": str(len(made)), "sigma_d": _listed(first["sigma_d"]),
        "trainings": str(len(first.get("seeds", (0,)))), "epochs": str(first["epochs"]), "chips": str(first["chips"]),
    }  # fmt: skip


def _listed(values: Sequence[float]) -> str:
    few = len(values) <= 3
    return ", ".join(f"{v:g}" for v in values) if few else f"{len(values)} from {min(values):g} to {max(values):g}"


def origin(table: pd.DataFrame) -> str:
    """Say in a sentence what rows are shown: shipped or this machine's, and their protocol."""
    from nvlib.reproduce.measures import protocol

    if table.empty:
        return "not yet computed"
    rows = table if "train_images" in table else table.assign(train_images=table.images)
    whose = "shipped results" if set(rows.origin) == {"shipped"} else "results of this machine"
    return f"Shown: {whose}; {protocol(rows)}."


def made_of_studies() -> list[str]:
    """Return the artefacts that have studies to run."""
    return [name for name in ARTEFACTS if has_studies(name)]
