r"""CorrectNet's training part, as TRICE's Table I uses it: layers kept from amplifying what strays.

    loss = CrossEntropy(M(w, x), GT) + beta sum_layers || W W^T - lambda^2 I ||_F^2

W is a layer's weight as a matrix, outputs x rest, transposed where that makes W W^T smaller (m x m, with W: m x n,
m <= n). Where the second term is zero all singular values of W are lambda, and so is its norm. A chip's layer is
W + E with E the cells' deviations, of size d a weight. Its norm exceeds W's by at most ||E||, and a Gaussian matrix
has mean norm at most d (sqrt(m) + sqrt(n)) and deviation at most d (Gordon; concentration of Lipschitz functions), so

    mean + 3 deviations of ||W + E||  <=  lambda + d (sqrt(m) + sqrt(n) + 3).

d follows the scale of W (it is a multiple of max|W|): with rho = ||W||_F / sqrt(m), the root mean square of W's
singular values, d is lambda d / rho once these are lambda. The bound is at most 1 for

    lambda  =  min( lam,  1 / (1 + (d / rho) (sqrt(m) + sqrt(n) + 3)) ),

which is lam without variation and falls as it grows; d / rho is taken from the present weights, a constant to
gradients.
Source: Eldebiky et al., "CorrectNet", DATE 2023; as a baseline Yan et al., ICCAD 2023, IV-B and Table I.

Symbols
    beta     weight of the second term; several values: a search on validation data
    lam      lambda, the norm a layer should have without variation, at most 1; several values: a search
    d        root mean square over a layer's weights of the deviation of `nvlib.crossbar` at sigma_d

Deviations from the paper: its second part (error compensation, placed by reinforcement learning) is left out, as
TRICE compares training methods. There noise is log-normal and multiplies weights, and lambda falls with the mean plus
three deviations of that factor; here it adds to them, and the bound above is its counterpart. beta = 5e-4, lambda = 1
are where to start. The norm is that of the matrix, which for convolutions is not the norm of the operator. The first
term sees quantised weights; the second the clean ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from nvlib.crossbar import scale_and_digits
from nvlib.errors import InputError
from nvlib.methods.search import Searched

if TYPE_CHECKING:
    from nvlib.methods.training_state import Batch, TrainingState


@dataclass(frozen=True)
class CorrectNet(Searched):
    """Cross-entropy and a term that holds every layer's singular values at lambda."""

    beta: float | tuple[float, ...] = 5e-4
    lam: float | tuple[float, ...] = 1.0
    search_chips: int = 20
    name: ClassVar[str] = "correctnet"
    axes: ClassVar[tuple[str, ...]] = ("beta", "lam")

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if not all(0 < point["lam"] <= 1 for point in self.grid):
            raise InputError(f"lam={self.lam!r} is not usable; expected a norm above 0, at most 1")

    def loss(self, run: TrainingState, batch: Batch) -> Tensor:
        """Return cross-entropy plus beta times the regulariser, (members,)."""
        loss = run.cross_entropy(run.forward(run.noisy(None), batch.x), batch.y)
        beta, lam = self.value("beta", run), self.value("lam", run)
        return loss + beta * sum(regulariser(matrix(run.clean(name)), lowered(run, name, lam)) for name in run.arrays)


def matrix(w: Tensor) -> Tensor:
    """Return stacked weights as matrices (members, m, n), m <= n: outputs x rest, or its transpose."""
    flat = w.flatten(2) if w.ndim > 2 else w.unsqueeze(1)
    return flat if flat.shape[1] <= flat.shape[2] else flat.mT


def regulariser(w: Tensor, lam: Tensor) -> Tensor:
    """Return || W W^T - lambda^2 I ||_F^2 of each member, (members,)."""
    identity = torch.eye(w.shape[1], dtype=w.dtype, device=w.device)
    return (w @ w.mT - lam.square()[:, None, None] * identity).square().sum((1, 2))


@torch.no_grad()
def lowered(run: TrainingState, name: str, lam: Tensor) -> Tensor:
    """Return the lambda of a layer at the present weights, (members,)."""
    w = run.clean(name)
    _, m, n = matrix(w).shape
    scale, digits = scale_and_digits(w, run.crossbar)
    _, deviation = run.crossbar.tables
    spread = torch.as_tensor(deviation, dtype=w.dtype, device=w.device)[digits.clamp(0, len(deviation) - 1)]
    if scale.numel() > len(scale):  # of each channel its own
        scale, spread = torch.ones_like(scale[:, :1]), scale * spread
    d = scale.flatten() * run.sigma_d * spread.flatten(1).square().mean(1).sqrt()
    rho = w.flatten(1).norm(dim=1) / math.sqrt(m)
    return torch.minimum(lam, 1 / (1 + d / rho * (math.sqrt(m) + math.sqrt(n) + 3)))
