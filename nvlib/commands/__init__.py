"""The commands of ``python -m nvlib``, a file a group. Each reads its options, calls the library and prints.

    parser      what all share: one-line errors, typed parameters       options   what several commands take
    text        results on a terminal
    machine     doctor, devices, data, app                          training    train, evaluate
    own         models                                              study       study
    jobs        jobs
    listing     results: list, show                                 comparing   compare
    keeping     verify, export, compact, remove                     papers      reproduce, claims
    completion

Nothing here imports torch before a command needs it, so that results, devices and help are there at once.
"""

from __future__ import annotations

from collections.abc import Callable

from nvlib.commands import comparing, completion, jobs, keeping, listing, machine, own, papers, study, training
from nvlib.commands.parser import Parser

EPILOG = """examples:
  python -m nvlib doctor
  python -m nvlib study --method none gaussian --sigma-d 0.1 0.2 --epochs 3 --chips 200
  python -m nvlib study grid.toml --dry-run
  python -m nvlib models add mine.py:small               a network of your own
  python -m nvlib results --method gaussian
  python -m nvlib reproduce --preset quick
  python -m nvlib COMMAND --help

exit codes:
  0  done      1  a check failed, or something could not be finished
  2  bad input, said in one line      130  interrupted; what was finished is kept
"""


def root() -> Parser:
    """Return the parser of all commands; each sets ``command`` to what runs it."""
    top = Parser(
        prog="nvlib", description="Neural networks on compute-in-memory chips whose devices stray.", epilog=EPILOG
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    add = adder(commands)
    for group in (machine, own, training, study, jobs):
        group.add(add)
    actions = add(
        "results", None, "list, show, compare, verify, export, compact and remove what is stored",
        "  python -m nvlib results --method gaussian --sigma-d 0.2      (list is the default)\n"
        "  python -m nvlib results list --runs\n  python -m nvlib results ACTION --help",
    ).add_subparsers(required=True, metavar="ACTION")  # fmt: skip
    for group in (listing, comparing, keeping):
        group.add(adder(actions))
    papers.add(add)
    completion.add(add, top)
    return top


def adder(commands: object) -> Callable[..., Parser]:
    """Return what adds a command: its name, what runs it, what it does in a line, examples."""

    def command(name: str, run: Callable | None, text: str, examples: str) -> Parser:
        sub = commands.add_parser(name, help=text.replace("%", "%%"), description=text[0].upper() + text[1:] + ".",
                                  epilog=f"examples:\n{examples}")  # fmt: skip
        if run:
            sub.set_defaults(command=run)
        return sub

    return command
