"""Which epoch's weights a member gives back: the last, the best on validation data, or where it stopped early.

A member stops for itself: what it holds stays while the others train on, so it is what it would be alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nvlib.errors import InputError, unknown, whole
from nvlib.records import later

if TYPE_CHECKING:
    from nvlib.methods.training_state import TrainingState

SELECT = ("last", "best")


@dataclass(frozen=True)
class Selection:
    """Which epoch is a training's result, when it stops early, and what it starts from, as a recipe's record has it.

    Attributes:
        select: ``last`` or ``best``.
        patience: epochs without a better noisy validation accuracy after which it stops; None: it does not.
        target: noisy validation accuracy in percent at which it stops; None: it does not.
        start: hash of the training whose weights it starts from; None: fresh ones.
    """

    select: str = later("last")
    patience: int | None = later(None)
    target: float | None = later(None)
    start: str | None = later(None)


class CheckpointSelection:
    """The weights that members hold, by their noisy validation accuracy so far.

    Args:
        select: ``last`` or ``best``.
        patience: epochs without a better accuracy after which a member stops; None: it does not.
        target: accuracy in percent at which a member stops; None: it does not.
        members: how many.
    """

    def __init__(self, select: str, patience: int | None, target: float | None, members: int) -> None:
        if select not in SELECT:
            raise unknown("epoch to select", select, SELECT)
        patience = None if patience is None else whole("patience", patience, 1, otherwise=" epoch, or None")
        if target is not None and not 0 < target <= 100:
            raise InputError(f"target={target!r} is not usable; expected a validation accuracy in percent, or None")
        self.select, self.patience, self.target = select, patience, target
        self.score = np.full(members, -np.inf)
        self.best = np.zeros(members, dtype=int)  # epoch of that score, from 1
        self.epoch = np.zeros(members, dtype=int)  # epoch of the weights held
        self.stopped = np.zeros(members, dtype=bool)
        self.weights: dict[str, Tensor] = {}

    @property
    def used(self) -> bool:
        """Return whether anything but the last epoch can be the result."""
        return self.select == "best" or self.patience is not None or self.target is not None

    def look(self, run: TrainingState, noisy: np.ndarray) -> None:
        """Take in an epoch: its result rows and their noisy validation accuracy."""
        now = run.epoch + 1
        better = ~self.stopped & (noisy > self.score)
        self.score, self.best = np.where(better, noisy, self.score), np.where(better, now, self.best)
        taken = better if self.select == "best" else ~self.stopped
        self.epoch = np.where(taken, now, self.epoch)
        if not self.used:
            return
        if not self.weights:
            self.weights = {name: tensor.detach()[run.result].clone() for name, tensor in run.weights.items()}
        for member in np.flatnonzero(taken):
            for name, tensor in run.weights.items():
                self.weights[name][member] = tensor.detach()[run.result[member]]
        if self.patience is not None:
            self.stopped |= now - self.best >= self.patience
        if self.target is not None:
            self.stopped |= noisy >= self.target

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps, by name; nothing where the last epoch is the result."""
        if not self.used:
            return {}
        numbers = {name: torch.from_numpy(getattr(self, name).copy()) for name in _NUMBERS}
        held = {f"held/{name}": tensor.clone() for name, tensor in self.weights.items()}
        return {f"selection/{name}": tensor for name, tensor in numbers.items()} | held

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        if not self.used:
            return
        if "selection/score" not in state:
            raise InputError("the checkpoint was made without select, patience or target; go on as it was begun")
        for name in _NUMBERS:
            setattr(self, name, state[f"selection/{name}"].numpy().copy())
        self.weights = {k.removeprefix("held/"): v.clone() for k, v in state.items() if k.startswith("held/")}


_NUMBERS = ("score", "best", "epoch", "stopped")
