"""The notebooks: which artefacts each makes, about how long it takes, and what to run of them.

``seconds`` are for two CPU cores and an empty store: measured for smoke, estimated from measured parts for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nvlib.errors import unknown
from nvlib.papers.presets import PRESETS, has_studies


@dataclass(frozen=True)
class Notebook:
    """A notebook, the artefacts it makes, and about how long that takes at each preset."""

    name: str
    artefacts: tuple[str, ...]
    seconds: dict[str, float]

    @property
    def studied(self) -> tuple[str, ...]:
        """Return what of it has studies of its own."""
        own = (self.name,) if has_studies(self.name) else ()
        return (*own, *(a for a in self.artefacts if has_studies(a) and not own))


NOTEBOOKS = {
    n.name: n
    for n in (
        Notebook("00_tour", ("tour",), {"smoke": 20, "quick": 120, "full": 3600, "paper": 9e6}),
        Notebook("01_devices", ("trice-fig3", "trice-fig7"), dict.fromkeys(PRESETS, 10.0)),
        Notebook(
            "02_kpp_taylor", ("trice-eq6", "trice-3c"), {"smoke": 25, "quick": 30, "full": 400, "paper": 3e5},
        ),
        Notebook(
            "03_trice",
            ("trice-fig2", "trice-table1", "trice-fig4", "trice-fig8", "trice-fig6a", "trice-fig6b", "trice-fig5a",
             "trice-fig5b", "trice-n", "trice-text"),
            {"smoke": 40, "quick": 1560, "full": 1.2e5, "paper": 3e7},
        ),
        Notebook(
            "04_nft",
            ("nft-fig3", "nft-fig4", "nft-convergence", "nft-table1", "nft-reverse-gamma", "nft-reverse-sigma",
             "nft-classifier-noise", "nft-table2", "nft-n"),
            {"smoke": 40, "quick": 600, "full": 7e4, "paper": 3e8},
        ),
        Notebook(
            "05_ovf", ("ovf-fig3", "ovf-fig4", "ovf-convergence"),
            {"smoke": 20, "quick": 540, "full": 3e4, "paper": 1e8},
        ),
        Notebook(
            "06_tsb",
            ("tsb-fig3", "tsb-fig4", "tsb-table1", "tsb-table2", "tsb-depth", "tsb-layers", "tsb-init", "tsb-share",
             "tsb-text"),
            {"smoke": 30, "quick": 60, "full": 40, "paper": 40},
        ),
        Notebook("07_explore", ("explore",), {"smoke": 25, "quick": 180, "full": 900, "paper": 2e4}),
    )
}  # fmt: skip
START = 15.0  # seconds of a notebook that runs nothing
SHORT = ("00_tour", "01_devices")  # at quick: what `make reproduce` runs by itself


def choose(names: Sequence[str] = (), preset: str | None = None) -> list[tuple[Notebook, str]]:
    """Return what to run, cheapest first.

    Args:
        names: artefacts or notebooks; none: the short list, or with a preset every notebook.
        preset: one of `PRESETS`; None: quick.

    Returns:
        (notebook, preset); a notebook holds only those of its artefacts that were asked for.

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
    chosen: dict[str, Notebook] = {}
    for name in wanted:
        whole = makers[name]
        held = chosen.get(whole.name)
        asked = set(whole.artefacts) if name in NOTEBOOKS else {name} | set(held.artefacts if held else ())
        chosen[whole.name] = part(whole, asked | set(held.artefacts if held else ()))
    return sorted(((notebook, at) for notebook in chosen.values()), key=lambda pair: pair[0].seconds[at])


def part(notebook: Notebook, artefacts: set[str]) -> Notebook:
    """Return a notebook with some of its artefacts, and their share of its time (by their number)."""
    kept = tuple(a for a in notebook.artefacts if a in artefacts)
    if len(kept) == len(notebook.artefacts):
        return notebook
    share = max(1, len(kept)) / len(notebook.artefacts)
    seconds = {preset: max(share * s, min(s, START)) for preset, s in notebook.seconds.items()}
    return Notebook(notebook.name, kept, seconds)
