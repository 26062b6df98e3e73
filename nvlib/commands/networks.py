"""models: the networks there are, and whether one of one's own can be put on arrays and takes a data set's images."""

from __future__ import annotations

import traceback
from typing import cast

from cyclopts import App

from nvlib.commands.options import Dataset

app = App(name="models")


@app.default
@app.command(name="list")
def list_() -> int:
    """List the networks, those of installed plug-ins among them; check one of your own, a function in a Python file.

    Examples:
        python -m nvlib models                                (list is the default)
        python -m nvlib models list
        python -m nvlib models check mine.py:small
        python -m nvlib study --network mine.py:small --method none gaussian --sigma-d 0.1
    """
    import pandas as pd

    from nvlib import catalogue, plugins
    from nvlib.commands.format import columns

    plugins.installed()
    print(columns(pd.DataFrame({"network": list(catalogue.NETWORKS), "label": list(catalogue.NETWORKS.values())})))
    return 0


@app.command
def check(network: str, /, *, dataset: Dataset = "mnist") -> int:
    """Build a network, run it on two images, and say what lies on arrays.

    Examples:
        python -m nvlib models check mine.py:small            small(classes=10, in_channels=1) in mine.py

    Args:
        network: FILE.py:FUNCTION, whose function makes the network, or a name.
        dataset: whose images it is to take.
    """
    from nvlib import mapping, plugins
    from nvlib.commands.format import columns
    from nvlib.models import own
    from nvlib.studies import Study

    try:
        study = Study(network=network, dataset=dataset, methods=("none",), images=64)
        loaded = study.data()
        model = study.template(loaded.classes, loaded.shape[0])
    except plugins.Broken as error:
        traceback.print_exception(error.__cause__)
        raise
    table = mapping(model, bits=cast(int, model.bits))
    size, held = model.input_size, model.activation_bits
    activations = f"of {held} bits" if held else "not quantised"
    images = f"scaled to {size} x {size}" if size else "as they are"
    print(f"{own.label(study.network)}: {model.bits}-bit weights, activations {activations}, images {images}; takes "
          f"those of {loaded.name}")  # fmt: skip
    print(columns(table.astype({"bits": object}).fillna({"bits": "-"})))
    return 0
