"""What an artefact is: a figure, table or sentence of a paper, its claims, and how each is measured and judged.

Claims, their measures and their rules (`nvlib.papers.rules`) are fixed here before a result is looked at. An
artefact's verdict is that of its first claim, the paper's main one; the others are rows of `claims_table` beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from nvlib.papers.measures import Measure
from nvlib.papers.select import Protocol


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper that a number can bear out.

    Attributes:
        says: the sentence, short.
        rule: of `nvlib.papers.rules`.
        measure: what measures it; None where the code for it is still to come.
        paper: the number printed; None where there is none.
        unit: of both.
        ours: whether no paper says it: a control that we put beside theirs.
    """

    says: str
    rule: str
    measure: Measure | None = None
    paper: float | None = None
    unit: str = "points"
    ours: bool = False


@dataclass(frozen=True)
class Artefact:
    """A figure, table or sentence of a paper.

    Attributes:
        name: its short name, e.g. ``trice-table1``.
        what: what it shows.
        claims: the main one first.
        notebook: which one makes it.
        settings: where its numbers are looked for, the paper's protocol first.
        needs: what has to be computed for it where nothing is there.
    """

    name: str
    what: str
    claims: tuple[Claim, ...]
    notebook: str
    settings: tuple[Protocol, ...] = ()
    needs: str = ""

    @property
    def paper(self) -> str:
        """Return the paper's short name."""
        return self.name.partition("-")[0].upper()


def other_convention(setting: Protocol) -> Protocol:
    """Return a setting under the other mapping: what `sigma_d` means is left open by the papers (`nvlib.crossbar`)."""
    mapping = {"differential": "signed", "signed": "differential"}[setting.where["mapping"]]
    return Protocol({**setting.where, "mapping": mapping}, setting.substitute)
