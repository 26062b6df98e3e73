"""What is done to one programmed chip, one method a file; `DEPLOYMENTS` names them (`nvlib.catalogue`).

A deployment method is a frozen dataclass of plain parameters with one entry point, ``apply(model, data, crossbar,
index=range, ...)``, which yields `Deployed` blocks: accuracies of the same chips with and without the procedure,
cells, verified cells, pulses, training images and seconds. Any training's model can be deployed by any of them.

    deployed       the record that all of them give
    finetune       training a few tensors of many chips at once
    context        the chips of one call, programmed, deployed block by block, and scored
    feature_cache  a network cut before the first layer that is trained
    block          TSB's block and how it is attached from outside
    sensitivity    the diagonal of the loss's second derivative
    verify_model   write-verify's closed form and process
    cost           training cost and early stops (TSB Fig. 4)

The methods are `write_verify`, `swim`, `batchnorm_recalibration`, `compensate`, `last_layers`, `tsb`.

>>> from nvlib import deploy
>>> list(deploy.DEPLOYMENTS)
['write_verify', 'swim', 'normalise', 'compensate', 'last_layer', 'last_layers', 'tsb']
>>> deploy.get("swim", fraction=0.2).fraction
0.2
"""

from typing import Any

from nvlib import catalogue, plugins
from nvlib.deploy.deployed import Deployed
from nvlib.errors import InputError, unknown
from nvlib.fields import made

DEPLOYMENTS: dict[str, type] = catalogue.classes("deployments")
globals().update({method.__name__: method for method in DEPLOYMENTS.values()})

__all__ = ["DEPLOYMENTS", "Deployed", "get", *(method.__name__ for method in DEPLOYMENTS.values())]


def get(deployment: object, **parameters: Any) -> Any:
    """Return a deployment method by its name and parameters; a method itself is returned as it is.

    Raises:
        InputError: for an unknown name, or a parameter that the method does not have.
    """
    if not isinstance(deployment, str):
        if not callable(getattr(deployment, "procedure", None)):
            raise InputError(f"deployment={deployment!r} is none; expected a name of nvlib.deploy.DEPLOYMENTS, or one "
                             "with `procedure`")  # fmt: skip
        return deployment
    if deployment not in DEPLOYMENTS:
        plugins.installed()
    if deployment not in DEPLOYMENTS:
        raise unknown("deployment method", deployment, DEPLOYMENTS)
    return made(DEPLOYMENTS[deployment], deployment, parameters)
