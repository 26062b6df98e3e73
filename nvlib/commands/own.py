"""models: networks of one's own, from a Python file: adopt, list, show, check, remove."""

from __future__ import annotations

import argparse
import sys

import pandas as pd

from nvlib.commands import text
from nvlib.commands.parser import Parser
from nvlib.errors import InputError
from nvlib.models import own, syntax

ADD = """\
  python -m nvlib models add mine.py:small              small(classes=10, in_channels=1) in mine.py makes the network
  python -m nvlib train --network own:mine --sigma-d 0.2 --epochs 3
  python -m nvlib train --network $(python -m nvlib models add mine.py:small)
  python -m nvlib models add --run 84bc201f             the file that a run kept, e.g. a colleague's: read it first

Adding a file is the consent to run it with your rights, when its network is trained or evaluated. It is copied to
$NVLIB_MODELS, else ~/.local/share/nvlib/models, and known by its content: a changed file is another network."""


def add(command: object) -> None:
    """Add the command and its actions."""
    from nvlib.commands import adder

    sub: Parser = command(
        "models", None, "list networks of your own and add some, each from a Python file with a factory",
        "  python -m nvlib models                                (list is the default)\n"
        "  python -m nvlib models add mine.py:small\n  python -m nvlib models check own:mine\n"
        "  python -m nvlib study --network own:mine --method none gaussian --sigma-d 0.1",
    )  # fmt: skip
    action = adder(sub.add_subparsers(required=True, metavar="ACTION"))
    action("list", _list, "list your networks, the latest first", "  python -m nvlib models list")
    one: Parser = action("add", _add, "agree to run a Python file, and print its network's name", ADD)
    one.add_argument("file", nargs="?", metavar="FILE[:FACTORY]", help="the file, and the function that makes the "
                     "network (default: the only one there is)")  # fmt: skip
    one.add_argument("--name", help="what to call it (default: as the file)")
    one.add_argument("--run", metavar="HASH", help="of a training: take the file that it kept")
    for name, run, said in (
        ("show", _show, "print the file of a network"),
        ("check", _check, "build a network, run it on two images, and say what lies on arrays"),
        ("remove", _remove, "withdraw the consent to run a file; runs and their results stay"),
    ):
        one = action(name, run, said, f"  python -m nvlib models {name} own:mine")
        one.add_argument("network", metavar="NETWORK", help="own:NAME, or in full as list shows it")
        if name == "check":
            one.add_argument("--dataset", default="mnist", help="whose images it is to take (default: mnist)")


def _list(_: argparse.Namespace) -> int:
    held = own.adopted()
    if not held:
        print("no networks of your own; add one with: python -m nvlib models add FILE:FACTORY")
        return 0
    print(text.columns(pd.DataFrame({
        "network": [one.network for one in held], "added": [one.adopted[:16].replace("T", " ") for one in held],
        "file": [str(own.place(one)) for one in held],
    })))  # fmt: skip
    return 0


def _add(options: argparse.Namespace) -> int:
    if (options.file is None) == (options.run is None):
        raise InputError("give a file, FILE:FACTORY, or --run HASH; see: python -m nvlib models add --help")
    if options.run is None:
        path, colon, factory = options.file.rpartition(":")
        found = own.adopt(path if colon else options.file, factory if colon else None, options.name)
    else:
        from nvlib.store import Store

        store = Store()
        run, _ = store.find(options.run, "training")
        content, factory, name = own.kept(store.about(run).get("network"), run)
        found = own.adopt(content, factory, options.name or name)
    print(f"{own.place(found)} will run with your rights when {found.network} is trained or evaluated; withdraw: "
          f"python -m nvlib models remove {found.network}", file=sys.stderr)  # fmt: skip
    print(found.network)
    return 0


def _show(options: argparse.Namespace) -> int:
    found = own.find(options.network)
    content = own.source(found)
    print(f"{found.network}\n  sha256  {found.sha256}\n  file    {own.place(found)}\n")
    print(syntax.text_of(content).rstrip())
    return 0


def _check(options: argparse.Namespace) -> int:
    import traceback

    from nvlib import mapping
    from nvlib.studies import Study

    try:
        own.find(options.network)  # of one's own, no other
        study = Study(network=options.network, dataset=options.dataset, methods=("none",), images=64)
        loaded = study.data()
        model = study.template(loaded.classes, loaded.shape[0])
    except own.Broken as error:
        traceback.print_exception(error.__cause__)
        raise
    table = mapping(model, bits=model.bits)
    size, held = model.input_size, model.activation_bits
    activations = f"of {held} bits" if held else "not quantised"
    images = f"scaled to {size} x {size}" if size else "as they are"
    print(f"{study.network}: {model.bits}-bit weights, activations {activations}, images {images}; takes those of "
          f"{loaded.name}")  # fmt: skip
    print(text.columns(table.astype({"bits": object}).fillna({"bits": "-"})))
    return 0


def _remove(options: argparse.Namespace) -> int:
    found = own.withdraw(options.network)
    print(f"removed {found.network} and its file; runs of it stay, and keep its text")
    return 0
