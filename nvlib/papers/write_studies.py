"""Write the files of the studies of large networks, with the sigma_d that a ladder of Gauss models chooses.

    python -m nvlib.papers.write_studies                        studies/nft-fig3-vgg8-mnist.toml, ...; hours
    python -m nvlib study studies/nft-fig3-vgg8-mnist.toml      what is missing of one

Both go on where they were interrupted. A file that is there stays as it is: `nvlib.papers.operating_points` has the
rule, and is followed once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from nvlib.errors import InputError
from nvlib.papers.computation import MissingData, resolved, run_studies
from nvlib.papers.operating_points import climb, write, written
from nvlib.papers.presets import Entry
from nvlib.papers.registry import entries
from nvlib.store import Store

ARTEFACTS = ("nft-fig3", "trice-fig5a", "trice-fig5b")  # whose studies others share


def main(words: Sequence[str] | None = None) -> int:
    """Climb the ladders of the artefacts' studies side by side, and write each file as soon as its curve has fallen."""
    parser = argparse.ArgumentParser(prog="python -m nvlib.papers.write_studies", description=__doc__.split("\n")[0])
    parser.add_argument("artefacts", nargs="*", default=ARTEFACTS, help=f"(default: {' '.join(ARTEFACTS)})")
    parser.add_argument("--preset", default="full", help="(default: full)")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each (default: 2)")
    given, where = parser.parse_args(words), Store()
    wanted: dict[str, Entry] = {}
    for artefact in given.artefacts:
        for entry in entries(artefact, given.preset):
            name = entry.get("operating_points", ("",))[0]
            if not name or written(name):
                continue
            try:
                wanted[name] = resolved(entry)
            except MissingData as error:
                print(f"{artefact}: left out, {error}")
    for name, held in climb(wanted, where, lambda studies: run_studies(studies, where, workers=given.workers)):
        print(write(name, wanted[name], held), flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
