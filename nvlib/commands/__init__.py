"""The commands of ``python -m nvlib``: functions, whose signatures are their options and whose docstrings their help.

    info      doctor, devices, data, app, completion      run_one     train, evaluate
    networks  models                                      study       study
    results   results and its actions                     jobs        jobs and its actions
    papers    reproduce, claims
    options   options that are fields of a study, a recipe, a cluster's job
    parameters  of methods, as words                      format      results on a terminal

A command of one's own is a function that returns its exit code, and a line in `COMMANDS`; an action of a group is a
function under ``@app.command``. Nothing is imported before it is asked for, and nothing at the head of these files
needs torch, so that results, devices and help are there at once.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Sequence
from functools import cache
from inspect import BoundArguments
from typing import Any, get_args

from cyclopts import App, CoercionError, CycloptsError, Parameter, Token, convert, exceptions

from nvlib.errors import InputError, unknown

HELP = "Neural networks on compute-in-memory chips whose devices stray."
EXAMPLES = """\
examples:
  python -m nvlib doctor
  python -m nvlib study --method none gaussian --sigma-d 0.1 0.2 --epochs 3 --chips 200
  python -m nvlib study grid.toml --dry-run
  python -m nvlib train --network mine.py:small --sigma-d 0.2    a network of your own
  python -m nvlib results --method gaussian
  python -m nvlib reproduce --preset quick
  python -m nvlib COMMAND --help

exit codes:
  0  done      1  a check failed, or something could not be finished
  2  bad input, said in one line      130  interrupted; what was finished is kept"""
COMMANDS = {
    "doctor": "info:doctor", "devices": "info:devices", "data": "info:data", "app": "info:app",
    "models": "networks:app", "train": "run_one:train", "evaluate": "run_one:evaluate", "study": "study:study",
    "jobs": "jobs:app", "results": "results:app", "reproduce": "papers:reproduce", "claims": "papers:claims",
    "completion": "info:completion",
}  # fmt: skip
GROUPS = {
    "models": "List the networks, and check one of your own, a function in a Python file.",
    "jobs": "List, follow, cancel and resume launches of studies.",
    "results": "List, show, compare, verify, export, compact and remove what is stored.",
}
EXPECTED = {int: "a whole number", float: "a number", bool: "nothing after it"}


@cache
def root() -> App:
    """Return the command line; its commands are not yet imported."""
    top = App(
        name="nvlib", help=HELP, help_format="plaintext", version_flags=(), end_of_options_delimiter="--",
        default_parameter=Parameter(negative=(), consume_multiple=1, converter=_exact),
    )  # fmt: skip
    for number, (name, place) in enumerate(COMMANDS.items()):
        top.command(f"{__name__}.{place}", name=name, help=GROUPS.get(name), sort_key=number)
    return top


def parse(words: Sequence[str]) -> tuple[Callable[..., Any], BoundArguments]:
    """Return the function that words on a command line mean, and what it is called with.

    Raises:
        InputError: for words that mean nothing, with what was expected and where it says so.
    """
    if not words:
        raise InputError("the following arguments are required: COMMAND; see: python -m nvlib --help")
    try:
        command, bound, _ = root().parse_args(list(words), print_error=False, exit_on_error=False)
    except CycloptsError as error:
        chain = " ".join(["python -m nvlib", *(error.command_chain or ())])
        raise InputError(f"{_said(error)}; see: {chain} --help") from None
    return command, bound


def run(words: Sequence[str]) -> int:
    """Do what words on a command line say; returns the exit code."""
    command, bound = parse(words)
    if command != root().help_print:
        return command(*bound.args, **bound.kwargs)
    chain, apps, _ = root().parse_commands(bound.args[0])
    if not chain:
        for name in COMMANDS.keys() - GROUPS.keys():
            root()[name]  # imported, for the first line of its docstring
    command(*bound.args, **bound.kwargs)
    last = apps[-1].default_command
    print(f"\n{examples(last, chain) if chain and last else EXAMPLES}")
    raise SystemExit(0)


def examples(command: Callable[..., Any], chain: Sequence[str]) -> str:
    """Return what stands under ``Examples`` in a command's docstring, line by line as it is, else its name alone."""
    found = re.search(r"^Examples:\n((?:[ ]+.*\n|\n)+)", (inspect.getdoc(command) or "") + "\n", re.M)
    lines = re.sub(r"^  ", "", found[1].rstrip(), flags=re.M) if found else f"  python -m nvlib {' '.join(chain)}"
    return f"examples:\n{lines}"


def _exact(kind: Any, tokens: Sequence[Token]) -> Any:
    """Return words as a type has them; a whole number is digits alone, where cyclopts would round 1.5 to 2."""
    for token in tokens:
        if int in (kind, *get_args(kind)) and not re.fullmatch(r"[-+]?\d+", token.value):
            raise CoercionError(token=token, target_type=int)
    return convert(kind, tokens)


def _said(error: CycloptsError) -> str:
    """Return what is wrong with words on a command line, in one line."""
    argument, token, known = error.argument, getattr(error, "token", None), _words(error.command_chain or ())
    name = (token and token.keyword) or (argument and argument.name) or ""
    match error:
        case exceptions.UnknownCommandError() | exceptions.UnusedCliTokensError() if known:
            said = str(unknown("command", (error.unused_tokens or [""])[0], known))
            return f"invalid choice: {said.removeprefix('unknown command ')}"
        case exceptions.UnknownOptionError() if token is not None:
            word = token.keyword or token.value
            options = [name for option in error.argument_collection for name in option.names]
            near = difflib.get_close_matches(word.partition("=")[0], options, n=1)
            return f"unrecognized arguments: {word}" + (f" (did you mean {near[0]}?)" if near else "")
        case exceptions.UnusedCliTokensError():
            return f"unrecognized arguments: {' '.join(error.unused_tokens or ())}"
        case exceptions.MissingArgumentError() if argument is not None and argument.field_info.is_positional:
            return f"the following arguments are required: {name.lstrip('-').lower()}"
        case exceptions.MissingArgumentError():
            return f"argument {error.keyword or name}: expected a value"
        case exceptions.CoercionError() if token is not None:
            kind = getattr(error.target_type, "__name__", "")
            expected = f"; expected {EXPECTED[error.target_type]}" if error.target_type in EXPECTED else ""
            return f"argument {name}: invalid {kind} value: {token.value!r}{expected}"
        case exceptions.RepeatArgumentError():
            return f"argument {name}: given twice"
    return " ".join(str(error).split()).rstrip(".")


def _words(chain: Sequence[str]) -> list[str]:
    """Return the commands that may follow those of a chain."""
    _, apps, _ = root().parse_commands(list(chain))
    return [word for word in apps[-1] if not word.startswith("-")]
