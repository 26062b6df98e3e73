"""What a paper, an artefact, a claim and a notebook are; one record holds all that is known of an artefact.

Claims, their measures and their rules (`nvlib.papers.rules`) are fixed here before a result is looked at. An
artefact's verdict is that of its first claim, the paper's main one; the others are rows of `claims_table` beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nvlib.papers.drawing import Drawing
from nvlib.papers.measures import Measure
from nvlib.papers.presets import Entry
from nvlib.papers.select import Protocol

Studies = Callable[[str], list[Entry]]


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper that a number can bear out.

    Attributes:
        statement: the sentence, short.
        rule: of `nvlib.papers.rules`.
        measure: what measures it; None where the code for it is still to come.
        printed: the number printed; None where there is none.
        unit: of both.
        control: whether no paper says it: a control that we put beside theirs.
        settings: where its numbers are looked for, if not where the artefact's are: one panel of several.
    """

    statement: str
    rule: str
    measure: Measure | None = None
    printed: float | None = None
    unit: str = "points"
    control: bool = False
    settings: tuple[Protocol, ...] = ()


@dataclass(frozen=True)
class Variant:
    """One row of a paper's ablation: the method, what is set otherwise, and the number printed for it."""

    label: str
    method: str
    parameters: Mapping[str, Any]
    printed: float | None = None
    start: str = ""  # pretrained: trained on from a model without noise
    share: float | None = None  # of the epochs from scratch that were added to it; 0: the pretrained model itself
    on_vgg8: Mapping[str, Any] | None = None  # what is set there for the same: it has four kinds of blocks, not five


@dataclass(frozen=True)
class Artefact:
    """A figure, table or sentence of a paper.

    Attributes:
        name: its short name, e.g. ``trice-table1``.
        what: what it shows.
        claims: the main one first.
        notebook: which one makes it.
        settings: where its numbers are looked for, the paper's protocol first.
        studies: preset -> arguments of the studies behind it, in the order they are to be run; None where it is exact,
            counted, or made of another's.
        figures: as its notebook draws them, the main one first.
        variants: rows of an ablation, the paper's beside ours.
        options: of ``reproduce``, and after a semicolon what else is needed, where it was not computed yet.
        needs: what that is, in full, where ``reproduce`` does not compute it.
        made_of: the artefact whose studies give its chips, where it has none.
    """

    name: str
    what: str
    claims: tuple[Claim, ...]
    notebook: str
    settings: tuple[Protocol, ...] = ()
    studies: Studies | None = None
    figures: tuple[Drawing, ...] = ()
    variants: tuple[Variant, ...] = ()
    options: str = ""
    needs: str = ""
    made_of: str = ""

    @property
    def paper(self) -> str:
        """Return the paper's short name."""
        return self.name.partition("-")[0].upper()

    @property
    def lacking(self) -> str:
        """Return what has to be computed for it where nothing is there; empty where nothing can be."""
        return self.needs or (f"reproduce {self.name} {self.options}" if self.options else "")

    @property
    def command(self) -> str:
        """Return what computes it, as large as two cores do in minutes; empty where it needs nothing."""
        if self.needs.startswith("python "):
            return self.needs
        if self.made_of or self.options or self.studies:
            return f"python -m nvlib reproduce {self.made_of or self.name} --preset quick"
        return ""


@dataclass(frozen=True)
class Notebook:
    """A notebook, the artefacts it makes, and about how many seconds that takes at each preset.

    ``seconds`` are for two CPU cores and an empty store: measured for smoke, estimated from measured parts for the
    rest. ``studies`` are those of a notebook that shows no artefact.
    """

    name: str
    seconds: Mapping[str, float]
    artefacts: tuple[str, ...] = ()
    studies: Studies | None = None
    studied: tuple[str, ...] = ()  # what of it has studies of its own; filled in by the registry


@dataclass(frozen=True)
class Paper:
    """A paper: how it is cited, what it shows, and the notebook that shows it here."""

    name: str
    bibtex: str
    artefacts: tuple[Artefact, ...]
    notebook: Notebook


def other_convention(setting: Protocol) -> Protocol:
    """Return a setting under the other mapping: what `sigma_d` means is left open by the papers (`nvlib.crossbar`)."""
    mapping = {"differential": "signed", "signed": "differential"}[setting.where["mapping"]]
    return replace(setting, where={**setting.where, "mapping": mapping})
