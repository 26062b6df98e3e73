"""What a training by a method takes, as the method itself states it: a property ``cost`` that returns a `Cost`.

The loop takes the number of rows from it; plans, forecasts and the order of tasks take the rest. A method that says
nothing has one row, one forward pass a step, and scores nothing after an epoch.

>>> from nvlib import methods
>>> methods.get("trice", n_train=100).cost
Cost(rows=3, forwards=1, chips=100, images=None, epochs=40)
>>> methods.cost_of(methods.get("gaussian"))
Cost(rows=1, forwards=1, chips=0, images=None, epochs=None)
"""

from __future__ import annotations

from dataclasses import dataclass

from nvlib.errors import InputError, whole


@dataclass(frozen=True)
class Cost:
    """What one training takes beside a plain step.

    Attributes:
        rows: rows it begins with in the population, its candidates.
        forwards: forward passes of a step, each differentiated.
        chips: on which every candidate is scored after an epoch; 0: on none.
        images: of the validation images that these chips see, the first so many; None: all.
        epochs: after which one row is left and none is scored, at the latest; None: never.
    """

    rows: int = 1
    forwards: int = 1
    chips: int = 0
    images: int | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        for name, least in (("rows", 1), ("forwards", 1), ("chips", 0)):
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        for name, least in (("images", 1), ("epochs", 0)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, whole(name, getattr(self, name), least))

    def searching(self, first: int, last: int) -> int:
        """Return in how many of the epochs ``first`` .. ``last`` - 1 (from 0) candidates are trained."""
        return max(0, min(last, last if self.epochs is None else self.epochs) - first)


def cost_of(method: object) -> Cost:
    """Return what a method says that a training by it takes; the plain `Cost` of one that says nothing.

    Raises:
        InputError: if its ``cost`` is no `Cost`.
    """
    stated = getattr(method, "cost", Cost())
    if not isinstance(stated, Cost):
        raise InputError(f"the cost of {type(method).__name__} is of type {type(stated).__name__}; expected a property "
                         "that returns nvlib.methods.Cost(rows, forwards, chips, images)")  # fmt: skip
    return stated
