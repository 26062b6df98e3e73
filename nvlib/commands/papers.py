"""reproduce, claims: the papers' artefacts, and what ours says beside what they print."""

from __future__ import annotations

import os
from pathlib import Path

from nvlib.commands.options import On
from nvlib.errors import InputError

BEGIN, END = "<!-- claims: begin -->\n", "<!-- claims: end -->"


def reproduce(*names: str, preset: str | None = None, on: On = "cpu", workers: int | None = None,
              to: Path | None = None) -> int:  # fmt: skip
    """Run the notebooks that make the papers' artefacts, and write them as pages.

    Examples:
        python -m nvlib reproduce                           every notebook, minutes on two CPU cores
        python -m nvlib reproduce --preset tour             the tour and the devices, two minutes
        python -m nvlib reproduce trice-table1 --preset full
        python -m nvlib reproduce --preset smoke            all of them, to see that everything works
        python -m nvlib reproduce 01_devices --to pages     its page in pages/

    Args:
        names: artefacts or notebooks (default: every notebook).
        preset: smoke, quick, full or paper; tour, without names.
        workers: processes that train (default: one a core; 1 on cuda).
        to: folder of the pages (default: results/notebooks/ of the project; runs lie where NVLIB_RUNS says).
    """
    from nvlib import papers

    if workers is None:
        workers = len(os.sched_getaffinity(0)) if on == "cpu" and hasattr(os, "sched_getaffinity") else 1
    if workers < 1:
        raise InputError(f"workers={workers}: expected at least 1 process")
    made = papers.execute(papers.choose(names, preset), to, on=on, workers=workers)
    print(papers.summary(made))
    return 0


def claims(*, write: Path | None = None, csv: Path | None = None) -> int:
    """Print what the shipped results say beside what the papers print.

    Examples:
        python -m nvlib claims
        python -m nvlib claims --write docs/claims.md
        python -m nvlib claims --csv results/claims.csv

    Args:
        write: put it between the claims marks of a file, e.g. docs/claims.md.
        csv: write all claims as CSV, e.g. results/claims.csv.
    """
    from nvlib import papers
    from nvlib.papers.tables import shipped

    page = write.read_text() if write is not None and write.is_file() else ""
    if write is not None and (BEGIN not in page or END not in page):  # before claims are judged, which takes a while
        raise InputError(f"{write} has no lines {BEGIN.strip()} and {END} to write between; add them")
    held = papers.Evidence(shipped())
    if csv:
        print(f"wrote {papers.write_claims(csv, held)}")
    text = papers.claims(held) if write or not csv else ""
    if write is None:
        print(text, end="\n" if text else "")
        return 0
    write.write_text(page[: page.index(BEGIN)] + BEGIN + text + "\n" + page[page.index(END) :])
    return 0
