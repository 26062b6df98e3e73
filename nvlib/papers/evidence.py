"""What notebooks show: the largest rows there are for an artefact, and whose they are.

A notebook's own studies are as large as its preset; its figures show the largest that the store has, shipped or local,
and say which: `rows` reads, `origin` says what is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from nvlib.errors import InputError
from nvlib.papers.nft import PANELS, panel
from nvlib.papers.presets import Entry
from nvlib.papers.registry import artefact, entries
from nvlib.papers.select import Evidence, Protocol
from nvlib.papers.trice_measures import grid_rows


def rows(
    name: str,
    methods: Sequence[str],
    results: Evidence | None = None,
    **select: Any,
) -> pd.DataFrame:
    """Return the rows that an artefact's figures show: the largest study the store has under its settings.

    Where it has none, those of the smoke preset, which `origin` tells by their numbers of images and chips.

    Args:
        name: of the artefact.
        methods: wanted; the first two must be there, of the others those that are.
        results: the store, read; None reads the project's own.
        **select: ``parameters``, ``sigma_d``, ``zero``, ``runs`` of `Evidence.select`.
    """
    settings = (*artefact(name).settings, sketch(name))
    found = (results or Evidence()).select(settings, methods, need=min(2, len(methods)), **select)
    return pd.DataFrame() if found is None else found[0]


def panels(methods: Sequence[str], results: Evidence | None = None) -> pd.DataFrame:
    """Return the rows of all panels of NFT's Fig. 3 that were computed on the whole of their data, at whatever width.

    Args:
        methods: wanted; the first two must be there in a panel, of the others those that are.
        results: the store, read; None reads the project's own.
    """
    results = results or Evidence()
    found = [results.select(panel(*which), methods, need=min(2, len(methods))) for which in PANELS]
    held = [part[0] for part in found if part is not None]
    return pd.concat(held, ignore_index=True) if held else pd.DataFrame()


def grid(results: Evidence | None = None) -> pd.DataFrame:
    """Return the chips of TRICE's grid of sigma_t and th (trice-fig4), of the largest study there is."""
    return grid_rows(results or Evidence(), (*artefact("trice-fig4").settings, sketch("trice-fig4")))


def sketch(name: str) -> Protocol:
    """Return where the smoke preset's rows of an artefact lie: for a figure where nothing else is, never a claim."""
    settings = artefact(name).settings
    if not settings:
        raise InputError(f"{name} is not made of chips in the store; it has no rows to show")
    kept = {key: settings[0].where[key] for key in ("device", "reference", "mapping", "protocol")}
    small = {network: f"{network} x0.0625" for network in ("vgg8", "resnet18")}
    network = settings[0].where["network"]
    names = ["lenet3"] if network == "lenet" else sorted({small[network], small["vgg8"]})
    return Protocol({**kept, "network": names, "dataset": "mnist"}, "smoke", settings[0].parameters)


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
    conventions = first.get("reference", "full_scale"), first.get("mapping", "differential")
    network = first.get("network", "lenet") + (f" x{first['width']:g}" if "width" in first else "")
    return {
        "network": network, "data": first.get("dataset", "mnist"), "protocol": ", ".join(("matched", *conventions)),
        "images": str(first.get("images", "all")), "studies": str(len(made)), "sigma_d": _listed(first["sigma_d"]),
        "trainings": str(len(first.get("seeds", (0,)))), "epochs": str(first["epochs"]), "chips": str(first["chips"]),
    }  # fmt: skip


def _listed(values: Sequence[float]) -> str:
    few = len(values) <= 3
    return ", ".join(f"{v:g}" for v in values) if few else f"{len(values)} from {min(values):g} to {max(values):g}"


def origin(table: pd.DataFrame) -> str:
    """Say in a sentence what rows are shown: shipped or this machine's, and their protocol."""
    from nvlib.papers.measures import protocol

    if table.empty:
        return "not yet computed"
    rows = table if "train_images" in table else table.assign(train_images=table.images)
    whose = "shipped results" if set(rows.origin) == {"shipped"} else "results of this machine"
    return f"Shown: {whose}; {protocol(rows)}."
