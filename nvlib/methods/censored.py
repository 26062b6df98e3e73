"""Training with right-censored Gaussian noise, and its rivals: TRICE Algorithm 1 with the laws of III-D and Eq. 10.

    dw_i ~ RC-Gauss(th, sigma_t) = min(g, th sigma_t),   g ~ N(0, sigma_t)
    loss = CrossEntropy(M(w + dw_i, x), GT),   w <- w - alpha d loss / d(w + dw_i)

and left-censored (LC), right-truncated (RT), left-truncated (LT) noise in its place. The paper's aim: noise with
E[dw] != 0 raises the slope of the loss, which by its analysis raises the KPP.
Source: Yan et al., ICCAD 2023, Algorithm 1, Eq. 10, Figs. 3, 4 and 8; "RC-Manual" of Table I is RC with chosen values.

Symbols
    th        where the law is cut, in deviations of the noise (the cut sits at th sigma_t)
    sigma_t   size of the training noise, as sigma_d; None: ratio * sigma_d, the size of the target's noise at ratio 1
    dw_i      s c sigma_t sqrt(...) z: the deviation of the weight on its cells (`nvlib.crossbar`) times the cut z
    alpha     learning rate

Deviations from the paper: weights are quantised in the forward pass, gradients straight through; the recipe's
optimiser makes the update. ``space="weight"`` adds the noise to w whatever its sign, as Algorithm 1 is written;
``"conductance"`` adds it to |w|, where censoring holds back growing conductance and shrinks every weight on average.
At th = 2 the mean is -0.0085 sigma_t: RC is then nearly Gaussian.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from nvlib import noise
from nvlib.errors import InputError, unknown
from nvlib.methods.training_state import SPACES

if TYPE_CHECKING:
    from nvlib.methods.training_state import Batch, TrainingState


@dataclass(frozen=True)
class CutInjection:
    """Noise of a law that is cut at ``th`` deviations, drawn anew for each batch; the law is the class's."""

    th: float = 2.0
    sigma_t: float | None = None
    ratio: float = 1.0
    space: str = "weight"
    name: ClassVar[str] = ""
    law: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Refuse what is no noise."""
        noise.get(self.law, self.th)
        if self.space not in SPACES:
            raise unknown("space of the noise", self.space, SPACES)
        for what, value in (("sigma_t", self.sigma_t), ("ratio", self.ratio)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"{what}={value!r} is not usable; expected a number >= 0")
        if self.sigma_t is not None and self.ratio != 1.0:
            raise InputError(f"sigma_t={self.sigma_t!r} and ratio={self.ratio!r} are both given; leave one out")

    def loss(self, run: TrainingState, batch: Batch) -> Tensor:
        """Return the cross-entropy of the strayed weights, (members,)."""
        sigma_t = self.ratio * run.sigma_d if self.sigma_t is None else self.sigma_t
        noisy = run.noisy(noise.get(self.law, self.th), sigma_t, space=self.space)  # l. 4
        return run.cross_entropy(run.forward(noisy, batch.x), batch.y)  # l. 5; the shared loop does l. 6


@dataclass(frozen=True)
class RightCensoredInjection(CutInjection):
    """RC: what would exceed th sits at th."""

    name: ClassVar[str] = "rc"
    law: ClassVar[str] = "rc"


@dataclass(frozen=True)
class RightCensoredManual(CutInjection):
    """RC with chosen sigma_t (or ratio) and th, named apart so that tables hold it beside RC at sigma_t = sigma_d."""

    name: ClassVar[str] = "rc_manual"
    law: ClassVar[str] = "rc"


@dataclass(frozen=True)
class LeftCensoredInjection(CutInjection):
    """LC: what would fall below -th sits at -th."""

    name: ClassVar[str] = "lc"
    law: ClassVar[str] = "lc"


@dataclass(frozen=True)
class RightTruncatedInjection(CutInjection):
    """RT: nothing exceeds th."""

    name: ClassVar[str] = "rt"
    law: ClassVar[str] = "rt"


@dataclass(frozen=True)
class LeftTruncatedInjection(CutInjection):
    """LT: nothing falls below -th."""

    name: ClassVar[str] = "lt"
    law: ClassVar[str] = "lt"
