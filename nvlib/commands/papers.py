"""reproduce, claims: the papers' artefacts, and what ours says beside what they print."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nvlib.errors import InputError

BEGIN, END = "<!-- claims: begin -->\n", "<!-- claims: end -->"


def add(command: object) -> None:
    """Add the commands."""
    sub = command(
        "reproduce", _reproduce, "run the notebooks that make the papers' artefacts",
        "  python -m nvlib reproduce                           every notebook, minutes on two CPU cores\n"
        "  python -m nvlib reproduce --preset tour             the tour and the devices, two minutes\n"
        "  python -m nvlib reproduce trice-table1 --preset full\n"
        "  python -m nvlib reproduce --preset smoke            all of them, to see that everything works",
    )  # fmt: skip
    sub.add_argument("names", nargs="*", help="artefacts or notebooks (default: every notebook)")
    sub.add_argument("--preset", help="smoke, quick, full or paper; tour, without names")
    sub.add_argument("--on", default="cpu", help="cpu (default) or cuda")
    sub.add_argument("--workers", type=int, help="processes that train (default: one a core; 1 on cuda)")
    sub = command(
        "claims", _claims, "print what the shipped results say beside what the papers print",
        "  python -m nvlib claims\n  python -m nvlib claims --write docs/claims.md\n"
        "  python -m nvlib claims --csv results/claims.csv",
    )  # fmt: skip
    sub.add_argument("--write", metavar="FILE", help="put it between the claims marks of a file, e.g. docs/claims.md")
    sub.add_argument("--csv", metavar="FILE", help="write all claims as CSV, e.g. results/claims.csv")


def _reproduce(options: argparse.Namespace) -> int:
    from nvlib import papers

    workers = options.workers
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if options.on == "cpu" and hasattr(os, "sched_getaffinity") else 1
    if workers < 1:
        raise InputError(f"workers={workers}: expected at least 1 process")
    made = papers.execute(papers.choose(options.names, options.preset), on=options.on, workers=workers)
    print(papers.summary(made))
    return 0


def _claims(options: argparse.Namespace) -> int:
    from nvlib import papers

    if options.csv:
        print(f"wrote {papers.write_claims(options.csv)}")
        return 0
    text = papers.claims()
    if options.write is None:
        print(text)
        return 0
    path = Path(options.write)
    page = path.read_text() if path.is_file() else ""
    if BEGIN not in page or END not in page:
        raise InputError(f"{path} has no lines {BEGIN.strip()} and {END} to write between; add them")
    path.write_text(page[: page.index(BEGIN)] + BEGIN + text + "\n" + page[page.index(END) :])
    return 0
