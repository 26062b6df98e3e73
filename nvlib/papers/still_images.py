"""The still pictures in docs/images that README and notebooks begin with, for who reads them where nothing runs.

They are of what ships.

``python -m nvlib.papers.still_images`` draws them again (needs a Chrome or Chromium).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nvlib import figures
from nvlib.errors import InputError
from nvlib.papers.range_table import LENET, range_rows
from nvlib.papers.registry import drawings
from nvlib.papers.select import Evidence
from nvlib.papers.tables import shipped
from nvlib.store import project_root, results

if TYPE_CHECKING:
    import plotly.graph_objects as go

PICTURES = {  # of which artefact, and which of its drawings
    "trice": ("trice-table1", "Over Gauss"), "nft": ("nft-fig3", "Mean"), "ovf": ("ovf-fig4", "EKL"),
    "tsb_distance": ("tsb-fig3", "Distance"),
}  # fmt: skip
RANGE, CURVES = "range", "percentile_curves"  # of no paper; README's


def made(name: str, held: Evidence) -> go.Figure:
    """Return one of `PICTURES`, `RANGE` or `CURVES`; InputError where the store holds nothing of it."""
    if name == CURVES:
        rows = results(held.store, **LENET, method=["none", "gaussian"], epochs=10, clipping="none", range="max")
        return figures.percentile_curves(rows)
    if name == RANGE:
        return figures.range_curves(range_rows(store=held.store))
    artefact, title = PICTURES[name]
    found = drawings(artefact)[title].picture(held)
    if found is None:
        raise InputError(f"the store holds nothing of {artefact} to draw; see: python -m nvlib reproduce {artefact}")
    return found.fig


def draw(target: Path | None = None) -> list[Path]:
    """Write every picture as PNG into ``target`` (None: docs/images of the project); InputError without a browser."""
    target = target or (project_root() or Path()) / "docs" / "images"
    target.mkdir(parents=True, exist_ok=True)
    held = Evidence(shipped())
    return [figures.to_png(made(name, held), target / f"{name}.png", scale=1) for name in (*PICTURES, RANGE, CURVES)]


if __name__ == "__main__":
    try:
        print(*draw(), sep="\n")
    except InputError as error:
        sys.exit(f"error: {error}")
