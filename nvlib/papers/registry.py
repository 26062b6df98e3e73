"""The papers, and what follows from their records: artefacts by name, notebooks with what they make, studies.

A fifth paper is a file with its `Paper`, its printed numbers, a notebook, and its name in `PAPERS`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nvlib.errors import unknown
from nvlib.papers.artefact import Artefact, Entry, Notebook, Paper
from nvlib.papers.drawing import Drawing
from nvlib.papers.nft import NFT
from nvlib.papers.notebooks import LIBRARY
from nvlib.papers.ovf import OVF
from nvlib.papers.presets import PRESETS, as_study
from nvlib.papers.trice import TRICE
from nvlib.papers.tsb import TSB

if TYPE_CHECKING:
    from nvlib.studies import Study

PAPERS: tuple[Paper, ...] = (TRICE, NFT, OVF, TSB)
ARTEFACTS: dict[str, Artefact] = {a.name: a for paper in PAPERS for a in paper.artefacts}


def _notebook(book: Notebook) -> Notebook:
    """Return a notebook with the artefacts it makes, and which of them have studies."""
    made = book.artefacts or tuple(a.name for a in ARTEFACTS.values() if a.notebook == book.name)
    own = (book.name,) if book.studies else ()
    return replace(book, artefacts=made, studied=own or tuple(n for n in made if n in ARTEFACTS and has_studies(n)))


def has_studies(name: str) -> bool:
    """Whether an artefact is made of studies; others are exact, counted, or made from another one's."""
    return name in ARTEFACTS and ARTEFACTS[name].studies is not None


NOTEBOOKS: dict[str, Notebook] = {
    book.name: _notebook(book) for book in sorted((*LIBRARY, *(p.notebook for p in PAPERS)), key=lambda b: b.name)
}


def artefact(name: str) -> Artefact:
    """Return an artefact by its short name; InputError for an unknown one."""
    if name not in ARTEFACTS:
        raise unknown("artefact", name, ARTEFACTS)
    return ARTEFACTS[name]


def drawings(name: str) -> dict[str, Drawing]:
    """Return what there is to draw of an artefact, by title, the main one first; InputError for an unknown one."""
    return {one.title: one for one in artefact(name).figures}


def entries(name: str, preset: str) -> list[Entry]:
    """Return the studies of an artefact (or of a notebook that has its own) at a preset, in the order they are run.

    Raises:
        InputError: for an unknown artefact, or preset.
    """
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    known = {n.name: n.studies for n in NOTEBOOKS.values() if n.studies}
    known |= {a.name: a.studies for a in ARTEFACTS.values() if a.studies}
    if name not in known:
        raise unknown("artefact with studies", name, known)
    return known[name](preset)


def study(name: str, preset: str) -> Study:
    """Return the first study of a notebook or an artefact at a preset.

    Raises:
        InputError: for an unknown name or preset.
    """
    return as_study(entries(name, preset)[0])
