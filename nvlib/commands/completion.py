"""completion: a script that lets a shell complete commands, options and names."""

from __future__ import annotations

import argparse
from functools import partial

from nvlib.errors import InputError

SHELLS = ("bash", "zsh", "tcsh")


def add(command: object, root: argparse.ArgumentParser) -> None:
    """Add the command; ``root`` is the parser to complete."""
    sub = command(
        "completion", partial(_completion, root), "print a script that completes the command nvlib in a shell",
        "  python -m nvlib completion bash > ~/.local/share/bash-completion/completions/nvlib\n"
        "  python -m nvlib completion zsh > ~/.zfunc/_nvlib          (a folder of your $fpath)",
    )  # fmt: skip
    sub.add_argument("shell", help=", ".join(SHELLS))


def _completion(root: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if options.shell not in SHELLS:
        raise InputError(f"shell {options.shell!r} is not known; expected one of: {', '.join(SHELLS)}")
    try:
        import shtab
    except ImportError:
        raise InputError("shtab is not installed; pip install -e '.[completion]'") from None
    _name(root)
    print(shtab.complete(root, options.shell))
    return 0


def _name(parser: argparse.ArgumentParser) -> None:
    """Let options complete to the names that the library has."""
    import shtab

    from nvlib import devices
    from nvlib.data import NAMES
    from nvlib.methods import METHODS
    from nvlib.models import MODELS

    known = {"network": MODELS, "dataset": NAMES, "method": METHODS, "device": devices.names()}
    files = {"file", "target", "write", "csv"}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                _name(sub)
        elif action.dest in known:
            action.choices = list(known[action.dest])
        elif action.dest in files and action.type is not float:
            action.complete = shtab.FILE
