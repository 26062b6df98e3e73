"""The papers' artefacts: which notebook makes each, at which size, and the executor that runs them.

A notebook chooses a study and shows it; ``preset`` decides the study's size. smoke: seconds, to see that everything
works. quick: real MNIST, two CPU cores, minutes. full: one GPU, or what ships. paper: the paper's protocol to the
letter. `execute` runs the studies in this process, where their progress shows and a kill loses nothing, then executes
the notebook on them through papermill.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from nvlib.errors import InputError, unknown
from nvlib.store import Store, project_root, results

if TYPE_CHECKING:
    from nvlib.studies import Study

PRESETS = ("smoke", "quick", "full", "paper")

# The tour's study is TRICE's Table I, its first and third columns; what a preset shrinks stands here and nowhere else.
TOUR = {
    "smoke": {
        "sigma_d": (0.0, 0.2),
        "seeds": (0,),
        "epochs": 3,
        "recipe": {"lr": 3e-3, "batch_size": 32},  # many small steps, so that a thousand images teach it something
        "chips": 20,
        "images": 1000,
    },
    "quick": {"sigma_d": (0.0, 0.1, 0.2), "seeds": (0,), "epochs": 3, "chips": 400},
    "full": {"sigma_d": (0.0, 0.1, 0.2, 0.3, 0.4), "seeds": (0, 1, 2), "epochs": 10, "chips": 400},
    "paper": {
        "sigma_d": (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4),
        "seeds": (0, 1, 2, 3, 4),
        "epochs": 100,
        "chips": 10_000,
    },
}


@dataclass(frozen=True)
class Notebook:
    """A notebook, the artefacts it makes, its study at each preset, and about how long that takes.

    ``seconds`` are for two CPU cores and an empty store: measured for smoke and quick, scaled from those for the rest.
    """

    name: str
    artefacts: tuple[str, ...]
    seconds: dict[str, float]
    studies: dict[str, dict[str, object]] = field(default_factory=dict)


NOTEBOOKS = {
    n.name: n
    for n in (
        Notebook("00_tour", ("tour", "trice-fig2"), {"smoke": 20, "quick": 240, "full": 3600, "paper": 9e6}, TOUR),
        Notebook("01_devices", ("trice-fig3", "trice-fig7"), dict.fromkeys(PRESETS, 10.0)),
    )
}
SHORT = ("00_tour", "01_devices")  # at quick: what `make reproduce` runs by itself


def study(notebook: str, preset: str) -> Study:
    """Return the study of a notebook at a preset.

    Raises:
        InputError: for an unknown notebook or preset.
    """
    from nvlib.methods import Recipe
    from nvlib.studies import Study

    if notebook not in NOTEBOOKS:
        raise unknown("notebook", notebook, NOTEBOOKS)
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    values = dict(NOTEBOOKS[notebook].studies[preset])
    return Study(**{**values, "recipe": Recipe(**values.get("recipe", {}))})


def published(artefact: str) -> pd.DataFrame:
    """Return the numbers a paper prints for an artefact: method, sigma_d, metric, value in percent, source.

    Raises:
        InputError: for an artefact without printed numbers.
    """
    table = pd.read_csv(Path(__file__).with_name("_data") / "published.csv")
    if artefact not in set(table.artefact):
        raise unknown("artefact with published numbers", artefact, set(table.artefact))
    return table[table.artefact == artefact].drop(columns="artefact").reset_index(drop=True)


def beside(artefact: str, table: pd.DataFrame, k: float = 1) -> pd.DataFrame:
    """Set a paper's numbers and ours side by side.

    Args:
        artefact: e.g. ``trice-table1``.
        table: samples (`nvlib.results`) under the artefact's protocol.
        k: percentile of both, in percent.

    Returns:
        One row a method and sigma_d that both have: paper, ours, low, high (KPP in percent), chips, seeds.
    """
    from nvlib.figures import results_table

    ours = results_table(table, k=k).rename(columns={"kpp": "ours", "kpp_low": "low", "kpp_high": "high", "n": "chips"})
    paper = published(artefact).rename(columns={"value": "paper"})
    both = paper[paper.metric == f"kpp{k:g}"].merge(ours, on=["method", "sigma_d"])
    both.attrs["epochs"] = ours.epochs.iloc[0]
    return both[["method", "sigma_d", "paper", "ours", "low", "high", "chips", "seeds"]]


def claims() -> str:
    """Return the table of what the shipped results say beside what the papers print, as Markdown."""
    protocol = {"network": "lenet", "device": "rram", "mapping": "differential", "protocol": "matched"}
    both = beside("trice-table1", results(Store(runs=Path(os.devnull)), **protocol))
    epochs, chips = both.attrs["epochs"], int(both.chips.max() / both.seeds.max())
    lines = [
        "TRICE's Table I, first-percentile accuracy (%) of LeNet on MNIST, RRAM, matched. Paper: 100 epochs, "
        f"5 trainings, 10,000 chips. Ours: {epochs} epochs, {both.seeds.max()} trainings, {chips} chips each, in "
        "brackets the 95 % interval over chips, averaged over trainings; `full_scale`, `differential`.",
        "",
        "| sigma_d | w/o noise, paper | ours | Gauss, paper | ours |",
        "|---|---|---|---|---|",
    ]
    for sigma_d, rows in both.groupby("sigma_d"):
        cells = [f"{sigma_d:g}"]
        for method in ("none", "gaussian"):
            row = rows[rows.method == method].iloc[0]
            cells += [f"{row.paper:.2f}", f"{row.ours:.1f} [{row.low:.1f}, {row.high:.1f}]"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def choose(names: Sequence[str] = (), preset: str | None = None) -> list[tuple[Notebook, str]]:
    """Return what to run, cheapest first.

    Args:
        names: artefacts or notebooks; none: the short list, or with a preset every notebook.
        preset: one of `PRESETS`; None: quick.

    Raises:
        InputError: for an unknown name or preset.
    """
    if preset is not None and preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    makers = NOTEBOOKS | {a: n for n in NOTEBOOKS.values() for a in n.artefacts}
    for name in names:
        if name not in makers:
            raise unknown("artefact", name, makers)
    wanted = names or (SHORT if preset is None else tuple(NOTEBOOKS))
    at = preset or "quick"
    chosen = {makers[name].name: makers[name] for name in wanted}
    return sorted(((notebook, at) for notebook in chosen.values()), key=lambda pair: pair[0].seconds[at])


def execute(chosen: Sequence[tuple[Notebook, str]], target: Path | None = None, on: str = "cpu") -> list[Path]:
    """Run the studies that notebooks show, then the notebooks through papermill; render each to HTML.

    Args:
        chosen: from `choose`.
        target: where executed notebooks go; None: results/notebooks/ of the project.
        on: where studies compute, ``cpu`` or ``cuda``.

    Returns:
        The executed notebooks.

    Raises:
        InputError: without papermill, or outside a checkout with its notebooks.
    """
    try:
        import nbformat
        import papermill
        from nbconvert import HTMLExporter
    except ImportError:
        raise InputError("papermill is not installed; pip install -e '.[notebooks]' (or make setup)") from None
    from nvlib.studies import run

    root = project_root()
    if root is None or not (root / "notebooks").is_dir():
        raise InputError("no notebooks/ beside the package; run this in a clone of the project, after make setup")
    target = target or root / "results" / "notebooks"
    target.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # a warning of the kernel's debugger, for nobody
    total = sum(n.seconds[preset] for n, preset in chosen)
    print(f"{len(chosen)} notebooks, about {clock(total)} on two CPU cores if nothing is stored yet")
    made = []
    for i, (notebook, preset) in enumerate(chosen, 1):
        began, out = time.monotonic(), target / f"{notebook.name}-{preset}.ipynb"
        about = clock(notebook.seconds[preset])
        print(f"[{i}/{len(chosen)}] {notebook.name} ({preset}, about {about}): {', '.join(notebook.artefacts)}")
        if preset in notebook.studies:
            run(study(notebook.name, preset), Store(), on=on)
        papermill.execute_notebook(
            root / "notebooks" / f"{notebook.name}.ipynb", out, parameters={"preset": preset},
            cwd=root / "notebooks", kernel_name="python3", extra_arguments=["--IPKernelApp.log_level=40"],
        )
        book = _drawn(nbformat.read(out, as_version=4))
        where = {"metadata": {"name": notebook.name, "path": str(root)}}  # of the pictures to embed
        page, _ = HTMLExporter(embed_images=True).from_notebook_node(book, where)
        out.with_suffix(".html").write_text(page)
        print(f"      {clock(time.monotonic() - began)}, open {out.with_suffix('.html')}")
        made.append(out)
    return made


def _drawn(book: Any) -> Any:
    """Give plotly's outputs the HTML form that a page needs, with the script itself once, for use offline.

    Links to pictures, which are relative to notebooks/, become relative to the project.
    """
    from plotly import io

    first = True
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", "](")
        for output in cell.get("outputs", []):
            spec = output.get("data", {}).get("application/vnd.plotly.v1+json")
            if spec:
                figure = {key: spec[key] for key in ("data", "layout")}
                output.data["text/html"] = io.to_html(figure, include_plotlyjs=first, full_html=False)
                first = False
    return book


def clock(seconds: float) -> str:
    """Write a duration as a person would."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"
