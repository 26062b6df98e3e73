"""What a deployment method gives: an entry a chip, with and without the procedure, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from nvlib.population import Plan

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Deployed:
    """Chips after a procedure: one entry a chip.

    Attributes:
        index: which draws, (chips,) int.
        accuracy: with the procedure, on the test split, in percent.
        loss: mean cross-entropy in nats.
        ekl: mean -ln p_label over correct predictions in nats.
        before: accuracy of the same chip without the procedure, in percent.
        cells: cells of the chip, those that the procedure added included.
        verified: cells written with verification.
        pulses: programming pulses in all, one for a write without verification.
        passes: training images that were run forward and backward for this chip.
        seconds: time of that training.
        seed: the family of draws.
        plan: how they were run.
    """

    index: np.ndarray
    accuracy: np.ndarray
    loss: np.ndarray
    ekl: np.ndarray
    before: np.ndarray
    cells: np.ndarray
    verified: np.ndarray
    pulses: np.ndarray
    passes: np.ndarray
    seconds: np.ndarray
    seed: int = 0
    plan: Plan | None = field(default=None, compare=False)

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(self.index)

    def frame(self) -> pd.DataFrame:
        """Return a row a chip: chip, accuracy, loss, ekl, before, cells, verified, pulses, passes, seconds."""
        import pandas as pd

        return pd.DataFrame({"chip": self.index} | {name: getattr(self, name) for name in COLUMNS})

    @staticmethod
    def join(parts: list[Deployed]) -> Deployed:
        """Concatenate blocks of one family, in order; the plan is the last one's."""
        columns: dict[str, Any] = {c: np.concatenate([getattr(p, c) for p in parts]) for c in ("index", *COLUMNS)}
        return Deployed(**columns, seed=parts[0].seed, plan=parts[-1].plan)


COLUMNS = tuple(f.name for f in fields(Deployed) if f.name not in ("index", "seed", "plan"))
