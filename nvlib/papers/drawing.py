"""A figure of an artefact: the call that reads what is drawn, and the call that draws it; its code is those two.

Drawing.picture      it, of the largest results that the store has; None where it has none
of_chips, of_block, of_variants, of_table    the kinds that several artefacts share
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from nvlib import summary
from nvlib.calls import Call, Given, call, program
from nvlib.errors import InputError
from nvlib.papers.measures import protocol
from nvlib.papers.select import Evidence
from nvlib.store.table import COLUMNS

if TYPE_CHECKING:
    import plotly.graph_objects as go

RESULTS, TABLE = Given("results"), Given("table")


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
        draw: the figure, of `TABLE`, or of nothing.
        read: the table that is drawn, of `RESULTS`; empty, or InputError, where there is nothing. None: it is exact.
        numbers: the table under the figure; None: what was read.
        note: where its numbers come from.
    """

    title: str
    draw: Call
    read: Call | None = None
    numbers: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    note: Callable[[pd.DataFrame], str] = _protocol

    @property
    def code(self) -> str:
        """Return the Python that draws it."""
        if self.read is None:
            return program(self.draw)
        start = [("results", call("papers.Evidence"))] if RESULTS.name in self.read.needs() else []
        return program(*start, (TABLE.name, self.read), self.draw)

    def picture(self, results: Evidence | None = None) -> Picture | None:
        """Return it, of a store that was read (None: the project's own); None where there is nothing to draw."""
        held = pd.DataFrame()
        if self.read is not None:
            try:
                held = self.read.make(results=results or Evidence())
            except InputError:  # a table that does not ship
                return None
            if held.empty or ("ours" in held and held["ours"].isna().all()):
                return None
        table = self.numbers(held) if self.numbers else held
        chips = held[[c for c in COLUMNS if c in held]] if "run" in held else pd.DataFrame()
        return Picture(self.draw.make(table=held), table, chips, self.note(held))


def of_chips(
    title: str, name: str, methods: tuple[str, ...], figure: str, select: Mapping[str, Any] | None = None,
    **options: Any,
) -> Drawing:  # fmt: skip
    """Return a figure of the chips that `nvlib.papers.rows` selects; ``figure`` is a function of `nvlib.figures`."""

    def numbers(held: pd.DataFrame) -> pd.DataFrame:
        if figure == "difference_curves":
            return summary.differences(held, **options).drop(columns="each")  # a tuple a row
        return summary.results_table(held, options.get("k", 1))

    read = call("papers.rows", name, methods, RESULTS, **(select or {}))
    return Drawing(title, call(f"figures.{figure}", TABLE, **options), read, numbers)


def of_block(name: str, of: str) -> Drawing:
    """Return TSB's accuracy by one parameter of its block; what ships was timed on a busy machine."""
    printed = None if of == "init" else name  # no accuracies are printed for initialisations
    draw, read = call("figures.tsb_ablation", TABLE, of=of, seconds=False), call("papers.ablated", of, name, RESULTS)
    return Drawing(f"By {of}", draw, read, lambda held: call("papers.ablation", held, of, printed).make())


def of_variants(name: str, title: str) -> Drawing:
    """Return an ablation of NFT's, the paper's rows beside ours."""
    draw = call("figures.beside_printed", TABLE, title=title)
    return Drawing("Beside the paper's", draw, call("papers.variants", name, RESULTS))


def of_table(title: str, name: str, draw: Call) -> Drawing:
    """Return a figure of a table of `nvlib.papers.deployment_analyses`."""

    def note(held: pd.DataFrame) -> str:
        from nvlib.papers import deployment_analyses

        size = deployment_analyses.SIZES["full"][name]
        return f"n = {size.chips} chips, one training of {size.epochs} epochs · {deployment_analyses.made_by(name)}"

    return Drawing(title, draw, call("papers.analysis_table", name), note=note)
