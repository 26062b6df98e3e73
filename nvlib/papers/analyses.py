"""The analyses that ship, by the folder they ship in: carried out by the store's own ways, and written to be shipped.

    python -m nvlib.papers.analyses                     what is missing of all
    python -m nvlib.papers.analyses taylor tsb-text     of these
    python -m nvlib.papers.analyses taylor --ship       and writes results/taylor

What was interrupted goes on with the first analysis that is not finished.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nvlib.errors import InputError, unknown
from nvlib.papers.deployment_analyses import SIZES, TABLES
from nvlib.store import Store, compact_analyses, project_root

if TYPE_CHECKING:
    from nvlib.records import Analysis
    from nvlib.studies.analyses import Make

FOLDERS = ("taylor", *TABLES.values(), "trice-open", "training-length")


def planned(folder: str, where: Store | None = None) -> list[tuple[Analysis, Make]]:
    """Return the analyses of a folder, each with what makes it; InputError for an unknown folder."""
    from nvlib.papers import deployment_analysis_runs, open_choices, theory, training_length

    if folder not in FOLDERS:
        raise unknown("folder of analyses", folder, FOLDERS)
    if folder == "taylor":
        return theory.planned(where=where)
    if folder == "training-length":
        return training_length.planned(where)
    if folder == "trice-open":
        return [one for name in open_choices.CHOICES for one in open_choices.planned(name)]
    name = next(name for name, held in TABLES.items() if held == folder)
    return deployment_analysis_runs.planned(name, SIZES["full"][name])


def main(words: Sequence[str] | None = None) -> int:
    """Carry out what is missing of some folders' analyses, and write them to be shipped if asked to."""
    from nvlib.studies.analyses import run

    parser = argparse.ArgumentParser(prog="python -m nvlib.papers.analyses", description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="*", help=f"(default: {' '.join(FOLDERS)})")
    parser.add_argument("--ship", action="store_true", help="write results/FOLDER")
    given = parser.parse_args(words)
    where = Store()
    for folder in given.folders or FOLDERS:
        wanted = planned(folder, where)
        run(wanted, where)
        print(f"{folder}: {len(wanted)} analyses")
        if given.ship:
            root = project_root()
            if root is None:
                raise InputError("no results/ beside the package; run this in a clone of the project")
            print(compact_analyses(where, root / "results" / folder, [record for record, _ in wanted]))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
