"""A figure of an artefact: what is read for it, who draws it, and the code of both.

Drawing.picture      it, of the largest results that the store has; None where it has none
of_chips, of_block, of_variants, of_table    the kinds that several artefacts share
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from nvlib import figures, summary
from nvlib.errors import InputError
from nvlib.papers import onchip
from nvlib.papers.ablations import variants
from nvlib.papers.deployment_tables import ablated, ablation
from nvlib.papers.evidence import rows
from nvlib.papers.measures import protocol
from nvlib.papers.presets import has_studies
from nvlib.papers.registry import artefact
from nvlib.papers.select import Evidence
from nvlib.store.table import COLUMNS

if TYPE_CHECKING:
    import plotly.graph_objects as go

STUDY = "from nvlib import figures, papers\n\nresults = papers.Evidence()\n"
SHIPS = "from nvlib import figures, papers\n\n"


@dataclass(frozen=True)
class Picture:
    """A figure, with what it is of.

    Attributes:
        fig: the figure.
        table: its numbers.
        chips: the rows of `nvlib.results` that it is of; empty where it is of none.
        note: where its numbers come from.
    """

    fig: go.Figure
    table: pd.DataFrame
    chips: pd.DataFrame
    note: str


def _protocol(held: pd.DataFrame) -> str:
    """Say how chips were trained and scored; of a table of several settings what `variants` says."""
    return protocol(held) if "run" in held else str(held.attrs.get("origin", ""))


@dataclass(frozen=True)
class Drawing:
    """One figure of an artefact.

    Attributes:
        title: what it shows, in a word or two.
        read: what is drawn, from a store that was read; empty, or InputError, where there is nothing.
        draw: the figure of that.
        code: Python that does both.
        command: what computes it where there is nothing; empty where it needs nothing.
        numbers: the table under the figure; None: what was read.
        note: where its numbers come from.
    """

    title: str
    read: Callable[[Evidence], pd.DataFrame]
    draw: Callable[[pd.DataFrame], go.Figure]
    code: str
    command: str = ""
    numbers: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    note: Callable[[pd.DataFrame], str] = _protocol

    def picture(self, results: Evidence | None = None) -> Picture | None:
        """Return it, of a store that was read (None: the project's own); None where there is nothing to draw."""
        try:
            held = self.read(results or Evidence())
        except InputError:  # a table that does not ship
            return None
        if held.empty or ("ours" in held and held["ours"].isna().all()):
            return None
        table = self.numbers(held) if self.numbers else held
        chips = held[[c for c in COLUMNS if c in held]] if "run" in held else pd.DataFrame()
        return Picture(self.draw(held), table, chips, self.note(held))


def drawing(
    title: str, name: str, read: Callable[[Evidence], pd.DataFrame], source: str, figure: str, *,
    start: str = STUDY, command: str | None = None, options: Mapping[str, Any] | None = None, **more: Any,
) -> Drawing:  # fmt: skip
    """Return what a function of `nvlib.figures` draws of what is read; ``source`` is the code of the reading."""
    options = options or {}
    return Drawing(
        title, read, lambda held: getattr(figures, figure)(held, **options),
        f"{start}figures.{figure}({source}{_written(options)})",
        computed_by(name) if command is None else command, **more,
    )  # fmt: skip


def _written(options: Mapping[str, Any]) -> str:
    return "".join(f", {key}={value!r}" for key, value in options.items())


def computed_by(name: str) -> str:
    """Return what computes an artefact's chips in minutes; empty where it needs none."""
    made = has_studies(name) or artefact(name).needs.startswith("reproduce ")
    return f"python -m nvlib reproduce {name} --preset quick" if made else ""


def of_chips(
    title: str, name: str, methods: tuple[str, ...], figure: str, select: Mapping[str, Any] | None = None,
    **options: Any,
) -> Drawing:  # fmt: skip
    """Return a figure of the chips that `nvlib.papers.rows` selects."""
    select = select or {}

    def numbers(held: pd.DataFrame) -> pd.DataFrame:
        if figure == "difference_curves":
            return summary.differences(held, **options).drop(columns="each")  # a tuple a row
        return summary.results_table(held, options.get("k", 1))

    return drawing(
        title, name, lambda results: rows(name, methods, results, **select),
        f"papers.rows({name!r}, {methods!r}, results{_written(select)})", figure, options=options, numbers=numbers,
    )  # fmt: skip


def of_block(name: str, of: str) -> Drawing:
    """Return TSB's accuracy by one parameter of its block; what ships was timed on a busy machine."""
    printed = None if of == "init" else name  # no accuracies are printed for initialisations
    return drawing(
        f"By {of}", name, lambda results: ablated(of, results, artefact(name).settings),
        f"papers.ablated({of!r}, results, papers.artefact({name!r}).settings)", "tsb_ablation",
        options={"of": of, "seconds": False}, numbers=lambda held: ablation(held, of, printed),
    )  # fmt: skip


def of_variants(name: str, title: str) -> Drawing:
    """Return an ablation of NFT's, the paper's rows beside ours."""
    return drawing("Beside the paper's", name, lambda results: variants(name, results),
                    f"papers.variants({name!r}, results)", "beside_printed", options={"title": title})  # fmt: skip


def of_table(title: str, name: str, draw: Callable[[pd.DataFrame], go.Figure], code: str) -> Drawing:
    """Return a figure of a table of `nvlib.papers.onchip`."""
    size = onchip.SIZES["full"][name]
    return Drawing(
        title, lambda results: onchip.table(name), draw, f"{SHIPS}table = papers.onchip.table({name!r})\n{code}",
        f"python -m nvlib.papers.making {name}",
        note=lambda held: f"n = {size.chips} chips, one training of {size.epochs} epochs · {made_by(name)}",
    )  # fmt: skip


def made_by(name: str) -> str:
    """Say what makes a table of `nvlib.papers.onchip`, and where the one that ships was made."""
    made = onchip.provenance(name)
    where = f", commit {made['commit']}, {made['written'][:10]}" if made else ""
    return f"shipped, `python -m nvlib.papers.making {name}`{where}"
