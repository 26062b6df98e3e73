"""Training methods, one a file, each its paper's algorithm; `METHODS` names them, `train` runs them.

A method is a frozen dataclass of its parameters with one function, ``loss(run, batch) -> (members,)``: what to do
with the clean weights and a batch. `nvlib.methods.loop` does the rest for a whole population of trainings:

    training_state        the population: perturbing, running, scoring and copying rows; checkpoints
    starts                a module for each seed, and what of it rests in training
    resumption            what a training is of: whether a checkpoint is of the same one
    recipe                optimiser, schedule, augmentation, and the published recipes of each network
    cost                  what a training takes, as each method states it: rows, forward passes, chips of a search
    checkpoint_selection  which epoch's weights are the result; early stopping
    search                several values of a method's parameter as one population, chosen on validation data

>>> from nvlib import methods
>>> list(methods.METHODS)[:4]
['none', 'gaussian', 'correctnet', 'rc']
>>> methods.METHODS["rc"](th=2.0).th
2.0
"""

from nvlib import catalogue, plugins
from nvlib.errors import InputError, unknown
from nvlib.fields import made
from nvlib.methods.cost import Cost, cost_of
from nvlib.methods.loop import Epoch, Method, result, train
from nvlib.methods.recipe import RECIPES, Recipe, preset
from nvlib.methods.search import BETAS
from nvlib.methods.training_state import Batch, TrainingState

METHODS: dict[str, type] = catalogue.classes("methods")
globals().update({method.__name__: method for method in METHODS.values()})

__all__ = [
    "METHODS", "RECIPES", "BETAS", "Batch", "Cost", "Epoch", "Method", "Recipe", "TrainingState", "cost_of", "get",
    "preset", "result", "train",
    *(method.__name__ for method in METHODS.values()),
]  # fmt: skip


def get(method: str | Method, **parameters: object) -> Method:
    """Return a method by its name and parameters; a method itself is returned as it is.

    Raises:
        InputError: for an unknown name, or a parameter that the method does not have.
    """
    if not isinstance(method, str):
        if not callable(getattr(method, "loss", None)):
            raise InputError(f"method={method!r} is none; expected a name of nvlib.methods.METHODS, or one with `loss`")
        return method
    if method not in METHODS:
        plugins.installed()
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    return made(METHODS[method], method, parameters)
