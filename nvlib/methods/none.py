"""Training without noise: ordinary, quantisation-aware training, the papers' baseline "w/o noise".

    loss = CrossEntropy(M(Q(w), x), GT),   Q: quantisation to M bits, gradients straight through.

The weights are quantised as on a chip without variation, so that what is measured later is the variation alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

if TYPE_CHECKING:
    from nvlib.methods.training_state import Batch, TrainingState


@dataclass(frozen=True)
class NoNoise:
    """No noise injected; the result does not depend on the device or sigma_d."""

    name: ClassVar[str] = "none"

    def loss(self, run: TrainingState, batch: Batch) -> Tensor:
        """Return the cross-entropy of the quantised weights, (members,)."""
        return run.cross_entropy(run.forward(run.noisy(None), batch.x), batch.y)
