"""The claims table: every claim of the four papers, ours with its interval, the protocol, and a verdict.

`claims_table` has a row a claim; `claims` is the form of docs/claims.md, a row an artefact with its main claim, after
the block that sets TRICE's Table I and our percentiles side by side. Both read shipped results alone unless told
otherwise, so that anyone who has the project gets the same table.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pandas as pd

from nvlib.catalogue import METHODS
from nvlib.errors import InputError, unknown
from nvlib.papers.artefact import Artefact, Claim, other_convention
from nvlib.papers.measures import Finding
from nvlib.papers.open_choices import outcome
from nvlib.papers.printed_numbers import beside
from nvlib.papers.registry import ARTEFACTS, artefact
from nvlib.papers.rules import FAILS, MISSING, judge
from nvlib.papers.select import Evidence, Protocol
from nvlib.store import Store, atomic_write, project_root

COLUMNS = (
    "artefact", "paper", "notebook", "main", "claim", "said_by", "rule", "printed", "ours", "low", "high", "unit", "at",
    "n", "verdict", "protocol", "substitute", "note",
)  # fmt: skip


def shipped() -> Store:
    """Return the store of shipped results alone."""
    return Store(runs=Path(os.devnull))


def claims_table(
    results: Evidence | None = None, names: list[str] | None = None, paper: str | None = None
) -> pd.DataFrame:
    """Return every claim with what was measured for it, one row each; columns `COLUMNS`.

    A claim that was also computed under the other convention (`differential` against `signed`) has a row for that too.

    Args:
        results: a store, read; None: the shipped ones.
        names: of artefacts; None: all.
        paper: only those of one, ``TRICE``, say.

    Raises:
        InputError: for an unknown artefact or paper.
    """
    if paper is not None and paper not in (known := {a.paper for a in ARTEFACTS.values()}):
        raise unknown("paper", paper, sorted(known))
    results = results or Evidence(shipped())
    chosen = [artefact(name) for name in names] if names else list(ARTEFACTS.values())
    rows = [row for a in chosen if paper in (None, a.paper) for row in _rows(a, results)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(a: Artefact, results: Evidence) -> list[dict[str, object]]:
    """Return the rows of an artefact; the evidence keeps them, for a notebook says each before it lists them all."""
    if a.name not in results.answers:
        results.answers[a.name] = _measured(a, results)
    return results.answers[a.name]


def _measured(a: Artefact, results: Evidence) -> list[dict[str, object]]:
    made = []
    for i, claim in enumerate(a.claims):
        measure = claim.measure
        found = measure(results, claim.settings or a.settings) if measure else None
        made.append(_row(a, claim, found, i == 0, results.store))
        conventions = tuple(s for s in a.settings if "mapping" in s.where)
        if measure is None or found is None or not conventions or claim.settings:
            continue
        other = measure(results, tuple(map(other_convention, conventions)))
        if other is not None and other.protocol != found.protocol:
            made.append(_row(a, claim, other))
    return made


def _row(
    a: Artefact, claim: Claim, found: Finding | None, main: bool = False, store: Store | None = None
) -> dict[str, object]:
    e = found.estimate if found else None
    printed = found.paper if found and found.paper is not None else claim.printed
    verdict = judge(claim.rule, e, printed, found.substitute if found else "")
    notes = [found.substitute, found.estimate.note] if found else [a.lacking]
    low, high = e.interval if e and e.interval else (math.inf, -math.inf)
    if claim.rule == "gain" and low <= 0 < high < (printed or 0):
        notes.append("so large a gain is excluded, whether there is any is not decided")
    if found and found.substitute and judge(claim.rule, e, printed) == FAILS:
        notes.append("does not hold on what stands in for the paper's")
    if main and verdict == FAILS:
        notes.append(outcome(a.name, store))
    return {
        "artefact": a.name, "paper": a.paper, "notebook": a.notebook, "main": main, "claim": claim.statement,
        "said_by": "this project" if claim.control else a.paper, "rule": claim.rule, "printed": printed,
        "ours": e.value if e else None, "low": e.low if e else None, "high": e.high if e else None, "unit": claim.unit,
        "at": found.at if found else "", "n": e.n if e else None, "verdict": verdict,
        "protocol": found.protocol if found else "", "substitute": found.substitute if found else "",
        "note": "; ".join(filter(None, notes)),
    }  # fmt: skip


def say(name: str, results: Evidence | None = None) -> str:
    """Return in sentences what came out for an artefact, a line a claim: paper's number, ours, verdict."""
    return "\n".join(_said(row) for row in claims_table(results, [name]).itertuples())


def _said(row: Any) -> str:
    paper = f" (printed: {row.printed:g} {row.unit})" if pd.notna(row.printed) else ""
    mark = " [our control]" if row.said_by == "this project" else ""
    if pd.isna(row.ours):
        return f"{row.claim}{paper}{mark}: {MISSING}" + (f"; needs {row.note}" if row.note else "")
    ours = "; ".join(filter(None, [f"ours {_value(row)} {row.unit}", row.at, row.note]))
    return f"{row.claim}{paper}{mark}: {ours}: {row.verdict.upper()}"


def _value(row: Any) -> str:
    digits = 4 if row.unit in ("nats", "sigma_t") or abs(row.ours) < 0.1 else 1 if abs(row.ours) >= 10 else 2
    exact = pd.isna(row.low) or row.low == row.high
    limits = "" if exact else f" [{row.low:.{digits}f}, {row.high:.{digits}f}]"
    return f"{row.ours:.{digits}f}{limits}"


def claims(results: Evidence | None = None) -> str:
    """Return what results (None: those that ship) say beside what the papers print, as Markdown for docs/claims.md."""
    results = results or Evidence(shipped())
    return f"{_table1(results)}\n\n{_verdicts(claims_table(results))}"


_EPOCHS = 100  # of the paper
_TABLE1 = {"network": "lenet", "device": "rram", "mapping": "differential", "bits": 4, "images": 10_000,
           "dataset": "mnist", "protocol": "matched", "reference": "full_scale"}  # fmt: skip


def _table1(results: Evidence) -> str:
    """Return Table I as the paper runs it, as far as that is computed, and by shorter trainings over all sigma_d."""
    found = results.select([Protocol(_TABLE1)], ("gaussian", "none"), need=1, zero=True)  # the one of most sigma_d
    if found is None:
        raise InputError("there are no results of TRICE's Table I; run studies/ first")
    asked = results.under(Protocol(_TABLE1), epochs=_EPOCHS)
    parts = [] if asked.empty else [_as_printed(beside("trice-table1", asked))]
    return "\n\n".join([*parts, _over_sigma(beside("trice-table1", found[0]))])


def _as_printed(both: pd.DataFrame) -> str:
    """Return the rows of the paper's own length of training, a line a method and sigma_d."""
    lines = [
        "TRICE's Table I by the paper's own protocol, as far as it is computed: first-percentile accuracy (%) of LeNet "
        f"on MNIST, RRAM, matched, {_EPOCHS} epochs, in brackets the 95 % interval over chips, averaged over "
        "trainings; `full_scale`, `differential`. The paper's are means over 5 trainings of 10,000 chips each.",
        "", "| sigma_d | method | paper | ours | trainings | chips each |", "|---|---|--:|--:|--:|--:|",
    ]  # fmt: skip
    for row in both.sort_values(["sigma_d", "paper"]).itertuples():
        cells = [f"{row.sigma_d:g}", METHODS.get(row.method, row.method), f"{row.paper:.2f}",
                 f"{row.ours:.1f} [{row.low:.1f}, {row.high:.1f}]", f"{row.seeds}", f"{row.chips / row.seeds:,.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _over_sigma(both: pd.DataFrame) -> str:
    """Return the table over all sigma_d."""
    epochs, chips = both.attrs["epochs"], int(both.chips.max() / both.seeds.max())
    lines = [
        f"The same by {both.seeds.max()} trainings of {epochs} epochs, {chips} chips each:",
        "",
        "| sigma_d | w/o noise, paper | ours | Gauss, paper | ours |",
        "|---|---|---|---|---|",
    ]
    for sigma_d, part in both.groupby("sigma_d"):
        cells = [f"{sigma_d:g}"]
        for method in ("none", "gaussian"):
            row = part[part.method == method].iloc[0]
            cells += [f"{row.paper:.2f}", f"{row.ours:.1f} [{row.low:.1f}, {row.high:.1f}]"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _verdicts(table: pd.DataFrame) -> str:
    main = table[table.main]
    counts = main.verdict.value_counts()
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    lines = [
        f"Every artefact of the four papers with its main claim ({said}); all {len(table)} claims with their "
        "protocols are in `results/claims.csv`. Models are tested at the `sigma_d` they were trained for, relative to "
        "the full scale. Differences are paired by chip and training; brackets are 95 % intervals over trainings, or "
        "over chips where there is one. What stands in for a paper's network or data set is marked, and holds in "
        "direction at best; the rules of the verdicts were fixed before the results were looked at "
        "(`nvlib/papers/rules.py`, with what was changed since).",
        "",
        "| artefact | the paper | ours | protocol | verdict |",
        "|---|---|---|---|---|",
    ]
    for row in main.itertuples():
        made = Path(project_root() or ".", "notebooks", f"{row.notebook}.ipynb").is_file()
        link = f"[{row.artefact}](../notebooks/{row.notebook}.ipynb)" if made else row.artefact
        printed = f" {row.printed:g} {row.unit}" if pd.notna(row.printed) else ""
        ours = "" if pd.isna(row.ours) else f"{_value(row)} {row.unit}" + (f", {row.at}" if row.at else "")
        cells = (link, f"{row.claim}{':' if printed else ''}{printed}", ours, _short(row), row.verdict)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _short(row: Any) -> str:
    """Return a protocol without what is the same in the whole table; what is needed where there is none yet."""
    if pd.isna(row.ours):
        command, *more = row.note.split("; ")
        said = f"`{command}`" if command.startswith("reproduce") else command
        return "; ".join([f"needs {said}", *more])
    short = row.protocol.replace("matched, full_scale, ", "").replace(" on 55,000 images", "")
    return short.replace(" each on 10,000 images", " each") + (" (stands in)" if row.substitute else "")


def write_claims(path: str | os.PathLike[str] | None = None, results: Evidence | None = None) -> Path:
    """Write `claims_table` of results (None: those that ship) as CSV; path None: results/claims.csv of the project."""
    target = Path(path) if path else (project_root() or Path()) / "results" / "claims.csv"
    table = claims_table(results).round({"ours": 4, "low": 4, "high": 4})
    atomic_write(target, lambda aside: table.to_csv(aside, index=False, lineterminator="\n"))
    return target
