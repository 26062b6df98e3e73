"""Choose notebooks; run the studies that they show, then the notebooks through papermill; render them to HTML.

One bar over all advances by seconds: of a notebook's studies what its preset is known to take, as far as their runs are
neither here nor shipped, and `START` for the notebook itself; one without studies computes in its cells.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from nvlib import bars
from nvlib.errors import InputError, unknown
from nvlib.papers.artefact import Notebook
from nvlib.papers.computation import compute, missing
from nvlib.papers.notebooks import EVERY, SHORT, TOUR_PRESET
from nvlib.papers.presets import PRESETS
from nvlib.papers.registry import NOTEBOOKS
from nvlib.store import project_root

START = 15.0  # seconds of a notebook that shows what is stored


def choose(names: Sequence[str] = (), preset: str | None = None) -> list[tuple[Notebook, str]]:
    """Return what to run, cheapest first.

    Args:
        names: artefacts or notebooks; none: every notebook.
        preset: one of `PRESETS`; None: quick (without names what takes long is at smoke); ``tour``, without names: the
            tour and the devices alone.

    Returns:
        (notebook, preset); a notebook holds only those of its artefacts that were asked for.

    Raises:
        InputError: for an unknown name or preset.
    """
    known = (*PRESETS, *(() if names else (TOUR_PRESET,)))
    if preset is not None and preset not in known:
        raise unknown(f"preset of {', '.join(names)}" if names else "preset", preset, known)
    makers = NOTEBOOKS | {a: n for n in NOTEBOOKS.values() for a in n.artefacts}
    for name in names:
        if name not in makers:
            raise unknown("artefact", name, makers)
    wanted = names or (SHORT if preset == TOUR_PRESET else tuple(NOTEBOOKS))
    at = "quick" if preset in (None, TOUR_PRESET) else preset
    other = EVERY if preset is None and not names else {}
    chosen: dict[str, Notebook] = {}
    for name in wanted:
        whole = makers[name]
        held = chosen.get(whole.name)
        asked = set(whole.artefacts) if name in NOTEBOOKS else {name} | set(held.artefacts if held else ())
        chosen[whole.name] = part(whole, asked | set(held.artefacts if held else ()))
    pairs = [(notebook, other.get(name, at)) for name, notebook in chosen.items()]
    return sorted(pairs, key=lambda pair: pair[0].seconds[pair[1]])


def part(notebook: Notebook, artefacts: set[str]) -> Notebook:
    """Return a notebook with some of its artefacts, and their share of its time (by their number)."""
    kept = tuple(a for a in notebook.artefacts if a in artefacts)
    if len(kept) == len(notebook.artefacts):
        return notebook
    share = max(1, len(kept)) / len(notebook.artefacts)
    seconds = {preset: max(share * s, min(s, START)) for preset, s in notebook.seconds.items()}
    studied = tuple(name for name in notebook.studied if name in kept or name == notebook.name)
    return replace(notebook, artefacts=kept, seconds=seconds, studied=studied)


def execute(
    chosen: Sequence[tuple[Notebook, str]], target: Path | None = None, on: str = "cpu", workers: int = 1
) -> list[Path]:
    """Run the studies that notebooks show, then the notebooks through papermill; render each to HTML.

    Args:
        chosen: from `choose`; a notebook that holds some of its artefacts only computes those, and reads the others.
        target: where executed notebooks go; None: results/notebooks/ of the project.
        on: where studies compute, ``cpu`` or ``cuda``.
        workers: processes that compute studies; 1: this one.

    Returns:
        The executed notebooks.

    Raises:
        InputError: without papermill, or outside a checkout with its notebooks.
    """
    try:
        import nbformat
        import papermill

        from nvlib.papers.notebook_html import page
    except ImportError:
        raise InputError(
            "papermill, nbconvert or latex2mathml is not installed; pip install -e '.[notebooks]' (or make setup)"
        ) from None

    root = project_root()
    if root is None or not (root / "notebooks").is_dir():
        raise InputError("no notebooks/ beside the package; run this in a clone of the project, after make setup")
    target = target or root / "results" / "notebooks"
    target.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # a warning of the kernel's debugger, for nobody
    work = [missing(notebook.studied, preset) * notebook.seconds[preset] for notebook, preset in chosen]
    own = [START if notebook.studied else max(START, notebook.seconds[preset]) for notebook, preset in chosen]
    total = sum(work) + sum(own)
    print(f"{len(chosen)} notebooks, about {clock(total)} on two CPU cores")
    made: list[Path] = []
    with bars.on_terminal("{task.fields[at]}") as shown:
        bar = shown.add_task("notebooks", total=total, at="")
        for seconds, alone, (notebook, preset) in zip(work, own, chosen, strict=True):
            began, out = time.monotonic(), target / f"{notebook.name}-{preset}.ipynb"
            before = shown.tasks[bar].completed
            shown.update(bar, at=f"{notebook.name} ({preset})")

            def advance(share: float, before: float = before, seconds: float = seconds) -> None:
                shown.update(bar, completed=max(shown.tasks[bar].completed, before + share * seconds))

            compute(notebook.studied, preset, on=on, progress=advance, workers=workers)
            advance(1.0)
            papermill.execute_notebook(
                root / "notebooks" / f"{notebook.name}.ipynb", out, parameters=_parameters(notebook, preset),
                cwd=root / "notebooks", kernel_name="python3", extra_arguments=["--IPKernelApp.log_level=50"],
                progress_bar=False,
                store_widget_state=False,  # megabytes, and a page with it would ask the network for what draws it
            )
            out.with_suffix(".html").write_text(page(nbformat.read(out, as_version=4), notebook.name, root))
            nbformat.write(_moved(nbformat.read(out, as_version=4), os.path.relpath(root, target)), out)
            shown.update(bar, advance=alone)
            print(f"{notebook.name} ({preset}): {clock(time.monotonic() - began)}")
            made.append(out)
    return made


def summary(made: Sequence[Path]) -> str:
    """Return what a person opens next: the pages that were made, and how many claims came out how."""
    lines = ["pages:", *(f"  {path.with_suffix('.html')}" for path in made)]
    written = (project_root() or Path()) / "results" / "claims.csv"
    if written.is_file():
        table = pd.read_csv(written)
        held = ", ".join(f"{count} {verdict}" for verdict, count in Counter(table[table.main].verdict).most_common())
        lines.append(f"claims: {table.main.sum()} artefacts by their main claim, {held}")
        lines.append(f"        {len(table)} claims in {written}")
    return "\n".join(lines)


def _parameters(notebook: Notebook, preset: str) -> dict[str, Any]:
    """Return what papermill injects: the preset, and where only some artefacts were asked for, which."""
    whole = NOTEBOOKS[notebook.name]
    some = notebook.artefacts != whole.artefacts and whole.studied  # others have nothing to choose from
    return {"preset": preset, **({"artefacts": list(notebook.artefacts)} if some else {})}


def _moved(book: Any, root: str) -> Any:
    """Let links that go up from notebooks/ to the project find it from where the executed notebook lies."""
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", f"]({root}/")
    return book


def clock(seconds: float) -> str:
    """Write a duration as a person would."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"
