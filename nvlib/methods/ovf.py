"""Oriented variational forwards: louder forwards of the same weights, subtracted (NFT and OVF, Algorithm 1).

    O_total = a_b O_backbone - a_f beta sum_n gamma_n Out_n,   a_b = a_f = 1 / (N + 1),   gamma_n = 10^(n - N)
    loss = CrossEntropy(O_total, y),   w <- w - alpha d loss / dw

The backbone's forward strays by sigma_d, the n-th other by sigma_d + n step; the loudest counts most.
Source: Qin et al., "Negative Feedback Training" and "Sustainable Deployment", Algorithm 1, Eqs. 1-3, Sec. 3.2.

Symbols
    n         N, how many louder forwards (3 in the paper; 0 is Gaussian noise injection)
    step      Delta sigma_d between them, 0.05; negative: quieter ones, down to sigma = 0 (an ablation)
    beta      coefficient of the negative feedback; several values: a search on validation data (NFT 4.2)
    reverse   gamma_n = 10^(1 - n), so that the loudest counts least (an ablation)

Deviations from the paper: all N + 1 forwards are differentiated, as its authors' code does; line 13 of the listing
names only w + dw_i. BatchNorm's running statistics follow the backbone's forward. ``beta`` is 1e-3 by default, their
value for VGG-8. Weights are quantised, gradients straight through, and the recipe's optimiser makes the update.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from nvlib.errors import whole_field
from nvlib.methods.cost import Cost
from nvlib.methods.search import Searched
from nvlib.noise import Gaussian

if TYPE_CHECKING:
    from nvlib.methods.training_state import Batch, TrainingState


@dataclass(frozen=True)
class OrientedVariationalForwards(Searched):
    """N louder forwards of the backbone as negative feedback; all of them one population."""

    n: int = 3
    step: float = 0.05
    beta: float | tuple[float, ...] = 1e-3
    reverse: bool = False
    search_chips: int = 20
    name: ClassVar[str] = "ovf"

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        whole_field(self, "n", 0)

    @property
    def cost(self) -> Cost:
        """Return what a training takes: a forward pass more for each louder one."""
        return replace(super().cost, forwards=1 + self.n)

    def loss(self, run: TrainingState, batch: Batch) -> Tensor:
        """Return the cross-entropy of the combined output, (members,)."""
        several = [run.noisy(Gaussian())]  # l. 3: the backbone's draw is that of Gaussian noise injection
        for n in range(1, self.n + 1):  # l. 5
            sigma = (run.sigma_d + n * self.step).clamp(min=0)  # l. 6
            several.append(run.noisy(Gaussian(), sigma, stream=f"ovf{n}"))  # l. 7
        outs = run.forwards(several, batch.x)  # l. 4, 8: (N + 1, members, batch, classes)
        feedback = torch.einsum("n,nmbc->mbc", self.gamma(outs), outs[1:])  # l. 9
        beta = self.value("beta", run)[:, None, None]
        total = (outs[0] - beta * feedback) / (self.n + 1)  # l. 10
        return run.cross_entropy(total, batch.y)  # l. 11, Eq. 3; the shared loop does l. 12, 13

    def gamma(self, like: Tensor) -> Tensor:
        """Return the decay factors, (N,)."""
        n = torch.arange(1, self.n + 1, dtype=like.dtype, device=like.device)
        return 10.0 ** (1 - n if self.reverse else n - self.n)
