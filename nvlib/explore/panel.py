"""The playground of the notebook `07_explore`: widgets for a choice, and the chips that answer it, stored or live.

    panel = explore.Panel(preset="smoke")       the widgets are `panel.controls`, by name
    panel                                       as a cell's last line: the playground

Each change of a widget looks the choice up again and draws it. The button scores chips of stored models block by block
in a thread; the kernel stays free, so that the figures fill and the stop button is heard meanwhile. Figures are shown
as plotly's own MIME type, which JupyterLab draws without a network and without a copy of plotly in the notebook.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pandas as pd

from nvlib import devices, figures
from nvlib.devices import Device
from nvlib.errors import InputError, unknown
from nvlib.explore import html, live, select, widgets
from nvlib.explore.code_text import code
from nvlib.explore.live import NOW, SIZES, Answer, Live
from nvlib.explore.query import Query
from nvlib.store import Store, results


class Panel:
    """A choice by widgets, with its distribution, its curve over sigma_d and its numbers.

    Args:
        query: where the widgets stand at first.
        preset: how many chips on how many images the button scores at first: see `SIZES`.
        own: devices of one's own, beside those built in.
        store: where results and models lie; None: the usual one.

    Attributes:
        controls: the widgets by name.
        answer: what there is for the choice (`nvlib.explore.Answer`).
        rows: the chips that the distribution shows.
        scored: the chips scored so far in this panel, by what was asked for (its ``chips`` left at 0).

    Raises:
        InputError: for an unknown preset, or without ipywidgets.
    """

    answer: Answer

    def __init__(
        self, query: Query | None = None, *, preset: str = "smoke", own: Sequence[Device] = (),
        store: Store | None = None,
    ) -> None:  # fmt: skip
        if preset not in SIZES:
            raise unknown("preset", preset, SIZES)
        self._store = store or Store()
        self._table = results(self._store)
        self._own = {device.name: device for device in own}
        self.scored: dict[Live, pd.DataFrame] = {}
        self.rows = self._table.iloc[:0]
        self._stopped, self._busy, self._quiet = False, False, False
        self.parts = widgets.build(query or Query(), self._table, list(self._own), *SIZES[preset])
        self.controls, self.box = self.parts.choice, self.parts.box
        for control in self.controls.values():
            control.observe(self._changed, "value")
        self.parts.start.on_click(self._start)
        self.parts.stop.on_click(lambda _: self.stop())
        self._changed()

    # -- the choice --------------------------------------------------------------------------------------------------

    @property
    def query(self) -> Query:
        """Return the choice as the widgets stand."""
        c = {name: control.value for name, control in self.controls.items()}
        network, dataset = c["network"]
        return Query(
            network, dataset, c["device"], c["sigma_d"], c["reference"] if self._relative() else Query.reference,
            c["mapping"], tuple(c["method"]), c["protocol"], c["trained"] if c["protocol"] == "swept" else None,
            k=c["k"],
        )  # fmt: skip

    @property
    def plan(self) -> dict[str, Live]:
        """Return what the button scores: method -> chips of one stored model.

        Where only some methods have stored chips on as many images, the others alone.
        """
        chips, images, bits = self.controls["chips"].value, self.controls["images"].value, self._bits()
        query, rows = self.answer.query, self.answer.rows
        held = set(rows["method"][rows["images"] == images]) if self.answer.lacking else set()
        device = self._own.get(query.device, query.device)
        return {
            method: Live(training, device, query.sigma_d, query.reference, query.mapping, bits, chips, images)
            for method, training in self.answer.models.items() if method not in held
        }  # fmt: skip

    def _bits(self) -> int | None:
        return self.controls["bits"].value or None

    def _relative(self) -> bool:
        name = self.controls["device"].value
        known = self._own.get(name) or (devices.get(name) if name in devices.names() else None)
        return known.relative if known else True

    def _changed(self, change: Any = None) -> None:
        """Look the choice up and draw it; what a widget cannot mean any more is set first."""
        if self._quiet:
            return
        self._quiet = True
        try:
            widgets.fit(self.controls, self._relative())
            self.answer = live.answer(self.query, self._table, self._bits(), self._store)
            if change is None or change["owner"] is not self.controls["show"]:
                now = bool(self.plan) and self._now(self._live(), set(self.plan))
                self.controls["show"].value = NOW if now and (self.answer.lacking or self._busy) else "stored"
        finally:
            self._quiet = False
        self._ready()
        self.draw()

    def _now(self, table: pd.DataFrame, methods: set[str]) -> bool:
        """Whether a table has chips of these methods, scored now, at the sigma_d that is chosen."""
        at = table[table["sigma_d"] == self.answer.query.sigma_d]
        return bool(methods & set(at["method"][at["origin"] == NOW]))

    # -- live chips --------------------------------------------------------------------------------------------------

    async def simulate(self) -> None:
        """Score the chips of `plan`, drawing them as they come; stopped or failed, what is finished stays."""
        if self._busy:
            return
        self._busy, self._stopped = True, False
        plan, began, loop = self.plan, time.monotonic(), asyncio.get_running_loop()
        total, before = sum(one.chips for one in plan.values()), 0
        self._count(0, total, 0)
        self._show(NOW)
        self._ready()
        try:
            with ThreadPoolExecutor(1) as thread:
                for one in plan.values():
                    tables = await loop.run_in_executor(thread, live.score, one, self._store)
                    table = self.rows.iloc[:0]
                    while table is not None and not self._stopped:
                        if (table := await loop.run_in_executor(thread, next, tables, None)) is not None:
                            self.scored[replace(one, chips=0)] = table
                            self._count(before + len(table), total, time.monotonic() - began)
                            self.draw()
                    before += one.chips
        except Exception as error:  # nobody waits for this task: what is not said here is said nowhere
            self.parts.said.value = html.paragraphs([str(error)])
            if not isinstance(error, InputError):
                raise
        finally:
            self._busy = False
            self._ready()

    def stop(self) -> None:
        """Stop after the block under way; its chips are kept."""
        self._stopped = True

    def _start(self, _: object = None) -> None:
        """Run `simulate` in the kernel's loop; where none runs, here and now."""
        try:
            self.task = asyncio.get_running_loop().create_task(self.simulate())
        except RuntimeError:
            asyncio.run(self.simulate())

    # -- what is shown -----------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draw the choice from what is stored, or from what was scored now, as the switch stands."""
        query = self.answer.query
        curve = self._live() if self.controls["show"].value == NOW else self.answer.curve
        self.rows = curve[curve["sigma_d"] == query.sigma_d]
        notes = self._notes()
        try:
            drawn = figures.accuracy_distribution(self.rows, query.k) if len(self.rows) else None
            along = figures.percentile_curves(curve, query.k) if curve["sigma_d"].nunique() > 1 else None
            self.parts.numbers.value = html.numbers(self.rows, query.k) if len(self.rows) else ""
        except InputError as error:
            drawn = along = None
            notes = [str(error)]
        self.parts.distribution.outputs, self.parts.curve.outputs = html.outputs(drawn), html.outputs(along)
        self.parts.said.value = html.paragraphs(notes)
        self.parts.ran.value = html.program(self._code())

    def _live(self) -> pd.DataFrame:
        """Return the chips scored now for this choice at every sigma_d, and stored ones that compare with them."""
        bits, images = self._bits(), self.controls["images"].value
        parts = [t for one, t in self.scored.items() if (one.bits, one.images) == (bits, images)]
        if not parts:
            return self._table.iloc[:0]
        query = replace(self.answer.query, setting=None)
        mine = select.of_protocol(select.selected(pd.concat(parts, ignore_index=True), query), query)
        stored = self.answer.curve
        for column in ("images", "bits", "activation_bits"):
            stored = stored[stored[column].isin(set(mine[column]))]
        cells = pd.MultiIndex.from_frame(mine[["method", "sigma_d"]])
        stored = stored[~pd.MultiIndex.from_frame(stored[["method", "sigma_d"]]).isin(cells)]
        return pd.concat([stored.astype({"origin": object}), mine], ignore_index=True) if len(stored) else mine

    def _notes(self) -> list[str]:
        """Return what must be said: what is shown, what has no stored result, and why something cannot be scored."""
        answer, now = self.answer, self.controls["show"].value == NOW
        if not answer.query.method:
            return ["Choose at least one training method (Ctrl or Cmd for several)."]
        notes = list(answer.why.values()) if now or answer.lacking else []
        lacking = [figures.style(m).label for m in answer.lacking if m in answer.models]
        scored = self.rows[self.rows["origin"] == NOW]
        if now and len(scored):
            notes.insert(0, f"Scored now, not stored: chips 0 to {scored['chip'].max()} of seed 0, each on the first "
                            f"{scored['images'].max():,} test images, of one training a method.")  # fmt: skip
        elif now:
            notes.insert(0, "Nothing was scored for this choice yet: press the button.")
        elif lacking:
            notes.insert(0, f"No stored result for {', '.join(lacking)}: press the button to score chips now.")
        return notes

    def _code(self) -> str:
        """Return the Python that gives the chips on show."""
        query = self.answer.query
        stored = self.rows[self.rows["origin"] != NOW]
        call = f"figures.accuracy_distribution(df, k={query.k:g})"
        parts = [code(stored, query, call)] if len(stored) else []
        done = self.rows[self.rows["origin"] == NOW].groupby("method", observed=True).size()
        lines = [one.code(query.dataset, int(done[m])) for m, one in self.plan.items() if m in done]
        return "\n\n".join([*parts, *(["import nvlib"] if lines else []), *lines])

    def text(self) -> str:
        """Return the numbers on show as plain text, for where widgets cannot be drawn."""
        first = "A playground of widgets: run this notebook in JupyterLab to move them. At first it shows"
        numbers = html.as_text(self.rows, self.answer.query.k) if len(self.rows) else "nothing"
        return "\n".join([first, numbers, *self._notes()])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return self.box._repr_mimebundle_() | {"text/plain": self.text()}

    def _show(self, which: str) -> None:
        self._quiet = True
        self.controls["show"].value = which
        self._quiet = False
        self.draw()

    def _ready(self) -> None:
        names = ", ".join(figures.style(m).label for m in self.plan)
        start, chips = self.parts.start, self.controls["chips"].value
        start.description = f"Score {chips:,} chips now: {names}" if names else "No stored model to score"
        start.disabled, self.parts.stop.disabled = self._busy or not names, not self._busy

    def _count(self, done: int, total: int, seconds: float) -> None:
        bar, left = self.parts.bar, seconds * (total - done) / max(done, 1)
        bar.max, bar.value = total, done
        rest = f", about {left:.0f} s left" if 0 < done < total else ""
        self.parts.counted.value = f"{done:,} of {total:,} chips{rest}"
