"""Every artefact of the four papers, by its short name: `ARTEFACTS`; a row stays until it works."""

from __future__ import annotations

from nvlib.errors import unknown
from nvlib.papers.artefact import Artefact
from nvlib.papers.nft import NFT, OVF
from nvlib.papers.trice import TRICE
from nvlib.papers.tsb import TSB

ARTEFACTS: dict[str, Artefact] = {a.name: a for a in (*TRICE, *NFT, *OVF, *TSB)}


def artefact(name: str) -> Artefact:
    """Return an artefact by its short name; InputError for an unknown one."""
    if name not in ARTEFACTS:
        raise unknown("artefact", name, ARTEFACTS)
    return ARTEFACTS[name]
