"""Every artefact of the four papers, by its short name: `ARTEFACTS`; a row stays until it works."""

from __future__ import annotations

from nvlib.errors import unknown
from nvlib.reproduce.nft import NFT, OVF
from nvlib.reproduce.record import Artefact
from nvlib.reproduce.trice import TRICE
from nvlib.reproduce.tsb import TSB

ARTEFACTS: dict[str, Artefact] = {a.name: a for a in (*TRICE, *NFT, *OVF, *TSB)}


def artefact(name: str) -> Artefact:
    """Return an artefact by its short name; InputError for an unknown one."""
    if name not in ARTEFACTS:
        raise unknown("artefact", name, ARTEFACTS)
    return ARTEFACTS[name]
