"""The still pictures in docs/images that notebooks begin with, for who reads them where nothing runs; of what ships.

``python -m nvlib.reproduce.pictures`` draws them again (needs a Chrome or Chromium).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nvlib import figures
from nvlib.errors import InputError
from nvlib.reproduce.artefacts import artefact
from nvlib.reproduce.query import Results
from nvlib.reproduce.repaired import repaired
from nvlib.reproduce.shown import rows
from nvlib.reproduce.tables import shipped
from nvlib.store import project_root

if TYPE_CHECKING:
    import plotly.graph_objects as go

TRICE = ("none", "correctnet", "gaussian", "rc", "trice_gauss", "trice")
PICTURES: dict[str, Callable[[Results], go.Figure]] = {
    "trice": lambda held: figures.difference_curves(rows("trice-table1", TRICE, held), baseline="gaussian"),
    "nft": lambda held: figures.mean_curves(rows("nft-fig3", ("gaussian", "ovf", "none", "irs"), held)),
    "ovf": lambda held: figures.mean_curves(rows("ovf-fig4", ("gaussian", "ovf", "none"), held), of="ekl"),
    "tsb_distance": lambda held: figures.accuracy_distance(repaired(artefact("tsb-fig3").settings, held)),
}


def draw(target: Path | None = None) -> list[Path]:
    """Write every picture as PNG into ``target`` (None: docs/images of the project); InputError without a browser."""
    target = target or (project_root() or Path()) / "docs" / "images"
    target.mkdir(parents=True, exist_ok=True)
    held = Results(shipped())
    return [figures.to_png(make(held), target / f"{name}.png", scale=1) for name, make in PICTURES.items()]


if __name__ == "__main__":
    try:
        print(*draw(), sep="\n")
    except InputError as error:
        sys.exit(f"error: {error}")
