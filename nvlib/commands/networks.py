"""models: networks of one's own, from a Python file: adopt, list, show, check, remove."""

from __future__ import annotations

import sys

from cyclopts import App

from nvlib.commands.options import Dataset
from nvlib.errors import InputError

app = App(name="models")


@app.default
@app.command(name="list")
def list_() -> int:
    """List your networks, the latest first.

    Examples:
        python -m nvlib models                                (list is the default)
        python -m nvlib models list
        python -m nvlib models add mine.py:small
        python -m nvlib models check own:mine
        python -m nvlib study --network own:mine --method none gaussian --sigma-d 0.1
    """
    import pandas as pd

    from nvlib.commands.format import columns
    from nvlib.models import own

    held = own.adopted()
    if not held:
        print("no networks of your own; add one with: python -m nvlib models add FILE:FACTORY")
        return 0
    print(columns(pd.DataFrame({
        "network": [one.network for one in held], "added": [one.adopted[:16].replace("T", " ") for one in held],
        "file": [str(own.place(one)) for one in held],
    })))  # fmt: skip
    return 0


@app.command
def add(file: str | None = None, /, *, name: str | None = None, run: str | None = None) -> int:
    """Agree to run a Python file, and print its network's name.

    Examples:
        python -m nvlib models add mine.py:small          small(classes=10, in_channels=1) in mine.py makes it
        python -m nvlib train --network own:mine --sigma-d 0.2 --epochs 3
        python -m nvlib train --network $(python -m nvlib models add mine.py:small)
        python -m nvlib models add --run 84bc201f         the file that a run kept, e.g. a colleague's: read it first

      Adding a file is the consent to run it with your rights, when its network is trained or evaluated. It is copied
      to $NVLIB_MODELS, else ~/.local/share/nvlib/models, and known by its content: a changed file is another network.

    Args:
        file: the file, and after a colon the function that makes the network (default: the only one there is).
        name: what to call it (default: as the file).
        run: hash of a training: take the file that it kept.
    """
    from nvlib.models import own

    if (file is None) == (run is None):
        raise InputError("give a file, FILE:FACTORY, or --run HASH; see: python -m nvlib models add --help")
    if run is None:
        path, colon, factory = file.rpartition(":")
        found = own.adopt(path if colon else file, factory if colon else None, name)
    else:
        from nvlib.store import Store

        store = Store()
        run, _ = store.find(run, "training")
        content, factory, kept = own.kept(store.about(run).get("network"), run)
        found = own.adopt(content, factory, name or kept)
    print(f"{own.place(found)} will run with your rights when {found.network} is trained or evaluated; withdraw: "
          f"python -m nvlib models remove {found.network}", file=sys.stderr)  # fmt: skip
    print(found.network)
    return 0


@app.command
def show(network: str, /) -> int:
    """Print the file of a network.

    Examples:
        python -m nvlib models show own:mine

    Args:
        network: own:NAME, or in full as list shows it.
    """
    from nvlib.models import own, syntax

    found = own.find(network)
    content = own.source(found)
    print(f"{found.network}\n  sha256  {found.sha256}\n  file    {own.place(found)}\n")
    print(syntax.text_of(content).rstrip())
    return 0


@app.command
def check(network: str, /, *, dataset: Dataset = "mnist") -> int:
    """Build a network, run it on two images, and say what lies on arrays.

    Examples:
        python -m nvlib models check own:mine

    Args:
        network: own:NAME, or in full as list shows it.
        dataset: whose images it is to take.
    """
    import traceback

    from nvlib import mapping
    from nvlib.commands.format import columns
    from nvlib.models import own
    from nvlib.studies import Study

    try:
        own.find(network)  # of one's own, no other
        study = Study(network=network, dataset=dataset, methods=("none",), images=64)
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
    print(columns(table.astype({"bits": object}).fillna({"bits": "-"})))
    return 0


@app.command
def remove(network: str, /) -> int:
    """Withdraw the consent to run a file; runs and their results stay.

    Examples:
        python -m nvlib models remove own:mine

    Args:
        network: own:NAME, or in full as list shows it.
    """
    from nvlib.models import own

    found = own.withdraw(network)
    print(f"removed {found.network} and its file; runs of it stay, and keep its text")
    return 0
