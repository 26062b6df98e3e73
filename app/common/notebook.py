"""A notebook of the project with its parameters set, as papermill would, without running anything."""

from __future__ import annotations

import json
from pathlib import Path

from nvlib.errors import InputError
from nvlib.store import project_root


def path(name: str) -> Path | None:
    """Return where a notebook lies; None outside a checkout, or if it is still to come."""
    root = project_root()
    found = root / "notebooks" / f"{name}.ipynb" if root else None
    return found if found and found.is_file() else None


def commands(artefact: str, book: str, preset: str) -> str:
    """Return what makes an artefact at a preset, a line each: the command line, and papermill itself."""
    return (f"python -m nvlib reproduce {artefact} --preset {preset}\n"
            f"papermill notebooks/{book}.ipynb {book}-{preset}.ipynb -p preset {preset}")  # fmt: skip


def parameterised(name: str, preset: str) -> bytes:
    """Return a notebook whose defaults are followed by a cell that sets the preset, without old outputs.

    Raises:
        InputError: if there is no such notebook.
    """
    source = path(name)
    if source is None:
        raise InputError(f"no notebook {name!r} beside the package; open the app in a clone of the project")
    book = json.loads(source.read_text())
    cells = []
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            cell = {**cell, "outputs": [], "execution_count": None}
        cells.append(cell)
        if "parameters" in cell["metadata"].get("tags", ()):
            cells.append({
                "cell_type": "code", "execution_count": None, "id": "injected", "outputs": [],
                "metadata": {"tags": ["injected-parameters"]}, "source": [f"preset = {json.dumps(preset)}"],
            })  # fmt: skip
    return json.dumps({**book, "cells": cells}, indent=1, ensure_ascii=False).encode()
