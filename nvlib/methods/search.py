"""A search over a method's few values: each value a candidate, all of them one population, chosen on validation data.

NFT 4.2: "the optimal value of the negative feedback coefficient can always be found in {1e-1, 1e-2, 1e-3, 1e-4}. As
such, a four-step search is sufficient." Here the four trainings are rows of one population. After each epoch every
candidate's mean accuracy on ``search_chips`` chips, on validation images, decides which one is the result so far.
The chips of the search are not those of the reported validation accuracy, which the choice therefore does not flatter.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from nvlib import statistics
from nvlib.errors import InputError, is_number
from nvlib.methods.cost import Cost

if TYPE_CHECKING:
    from nvlib.data import Split
    from nvlib.methods.training_state import TrainingState

BETAS = (1e-1, 1e-2, 1e-3, 1e-4)  # NFT 4.2


class Searched:
    """A method whose ``axes`` take one value, or several to search over: their product is its candidates."""

    axes: ClassVar[tuple[str, ...]] = ("beta",)
    search_chips: int

    def __post_init__(self) -> None:
        """Check the values; several are kept as a tuple."""
        for axis in self.axes:
            given = getattr(self, axis)
            values = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
            if not values or not all(is_number(v) and v >= 0 for v in values):
                raise InputError(f"{axis}={given!r} is not usable; expected a number >= 0, or several to search over")
            object.__setattr__(self, axis, values if isinstance(given, Sequence) else given)
        if self.search_chips < 2:
            raise InputError(f"search_chips={self.search_chips!r} is not usable; expected at least 2")

    @property
    def grid(self) -> list[dict[str, float]]:
        """Return the candidates, each by the names of the axes."""
        held = [getattr(self, axis) for axis in self.axes]
        several = [v if isinstance(v, tuple) else (v,) for v in held]
        return [dict(zip(self.axes, values, strict=True)) for values in product(*several)]

    @property
    def cost(self) -> Cost:
        """Return what a training takes: a row a candidate, and the chips that choose among several."""
        rows = len(self.grid)
        return Cost(rows, chips=self.search_chips if rows > 1 else 0)

    def value(self, axis: str, run: TrainingState) -> Tensor:
        """Return each row's value of an axis, (members,)."""
        grid = self.grid
        values = [grid[row % len(grid)][axis] for row in range(len(run.owner))]
        return torch.tensor(values, dtype=run.sigma_d.dtype, device=run.sigma_d.device)

    def after_epoch(self, run: TrainingState, validation: Split) -> list[dict[str, Any]]:
        """Let the candidate with the highest mean accuracy be the result so far; returns the trace."""
        grid = self.grid
        trace: list[dict[str, Any]] = []
        if len(grid) == 1:
            return trace
        chips = range(run.epoch * self.search_chips, (run.epoch + 1) * self.search_chips)
        found = [statistics.mean(row) for row in run.accuracies(validation, chips)]
        for training in range(len(run.result)):
            rows = run.rows(training)
            run.result[training] = max(rows, key=lambda row: found[row].value)  # a tie: the first
            for candidate, row in enumerate(rows):
                e = found[row]
                scores = {"accuracy": e.value, "low": e.low, "high": e.high, "chips": e.n}
                chosen = row == run.result[training]
                trace.append({"training": training, "candidate": str(candidate), **grid[candidate], **scores,
                              "chosen": chosen})  # fmt: skip
        return trace
