"""Training methods, one a file, each its paper's algorithm; `METHODS` names them, `train` runs them.

A method is a frozen dataclass of its parameters with one function, ``loss(run, batch) -> (members,)``: what to do
with the clean weights and a batch. `nvlib.methods.loop` does the rest for a whole population of trainings.
"""

from nvlib.errors import unknown
from nvlib.methods.gaussian import GaussianInjection
from nvlib.methods.loop import Batch, Epoch, Method, Recipe, Run, train
from nvlib.methods.none import NoNoise

METHODS: dict[str, type] = {"none": NoNoise, "gaussian": GaussianInjection}

__all__ = ["METHODS", "Batch", "Epoch", "Method", "Recipe", "Run", "get", "train"]


def get(method: str | Method, **parameters: object) -> Method:
    """Return a method by its name and parameters; a method itself is returned as it is.

    Raises:
        InputError: for an unknown name.
    """
    if not isinstance(method, str):
        return method
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    return METHODS[method](**parameters)
