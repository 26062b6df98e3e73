"""Gaussian noise injection training: TRICE Algorithm 1 (NoiseTrain) with the device's own Gaussian.

    dw_i ~ Dist,   loss = CrossEntropy(M(w + dw_i, x), GT),   w <- w - alpha d loss / d(w + dw_i)

Source: Yan et al., ICCAD 2023, Algorithm 1; used as the baseline "Gauss" in all four papers.

Symbols: dw_i = s c sigma_d sqrt(...) z, the deviation of the weight on its cells (`nvlib.crossbar`), z ~ N(0, 1), a
fresh draw a batch; alpha the learning rate. Deviations from the paper: the weights are also quantised in the forward
pass, with gradients straight through; the update is the recipe's optimiser, not plain gradient descent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from nvlib.noise import Gaussian

if TYPE_CHECKING:
    from nvlib.methods.training_state import Batch, TrainingState


@dataclass(frozen=True)
class GaussianInjection:
    """Gaussian noise of the target device's size, drawn anew for each batch."""

    name: ClassVar[str] = "gaussian"

    def loss(self, run: TrainingState, batch: Batch) -> Tensor:
        """Return the cross-entropy of the strayed weights, (members,)."""
        noisy = run.noisy(Gaussian())  # l. 4
        outs = run.forward(noisy, batch.x)  # l. 5
        return run.cross_entropy(outs, batch.y)  # l. 5; the shared loop does l. 6
