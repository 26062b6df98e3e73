"""The cells beneath a weight: what each holds, how far it strays, and how a chip's deviation divides among them.

`nvlib.program` draws one Gaussian a weight, D = s sum_i delta_i, because nothing more is needed as long as nobody
looks at a cell. Verification does. Cell i of a weight (digit j of the chain that holds it, or of the idle chain of
``differential``) strays by delta_i ~ N(0, v_i), v_i = 4^(jK) spread_d^2, in units of the weight's step s. Given the
sum, the cells of the *same* chip are drawn exactly by conditioning independent ones on it:

    delta_i = e_i + (v_i / V) (D / s - sum_k e_k),   e_i ~ N(0, v_i),   V = sum_k v_k.

So cells exist for those who ask, and they add up to the chip that everybody else meets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nvlib import philox
from nvlib.crossbar import Crossbar, scale_and_digits


@dataclass(frozen=True)
class Cells:
    """The cells of one tensor: (weights, cells of a weight), the holding chain's slices first, then the idle one's.

    Attributes:
        step: s, the weight of a deviation of one level in the lowest slice, float64: (), or (weights, 1) where each
            channel has its own range.
        weight: 2^(jK) of each cell, (cells,).
        spread: deviation of each cell in level units at the device's sigma_d, float64.
    """

    step: Tensor
    weight: Tensor
    spread: Tensor

    @property
    def deviation(self) -> Tensor:
        """Return each cell's standard deviation in units of ``step``."""
        return self.spread * self.weight

    def draw(self, total: Tensor, seed: int, index: range, name: str) -> Tensor:
        """Divide each weight's deviation among its cells: the cells of these very chips.

        Args:
            total: deviations in units of ``step``, (chips, weights).
            seed: the family of draws.
            index: which chips.
            name: of the tensor.

        Returns:
            Deviations in units of ``step``, (chips, weights, cells), that add up to ``total``.
        """
        deviation = self.deviation
        g = philox.normal(seed, index, f"cells/{name}", deviation.numel(), total.device)
        free = g.view(len(index), *deviation.shape) * deviation
        variance = deviation**2
        whole = variance.sum(-1, keepdim=True)
        share = torch.where(whole > 0, variance / whole, 0.0)
        return free + share * (total - free.sum(-1)).unsqueeze(-1)


def cells_of(w: Tensor, crossbar: Crossbar) -> Cells:
    """Return the cells of one clean tensor (its own shape, no leading axis)."""
    s, n = scale_and_digits(w.detach().unsqueeze(0), crossbar)
    k = crossbar.device.bits
    slices = torch.arange(crossbar.bits // k, device=w.device)
    digits = (n.reshape(-1, 1) >> (slices * k)) % 2**k
    each = crossbar.device.spread(crossbar.sigma_d, crossbar.reference)
    spread = torch.tensor(each, dtype=torch.float64, device=w.device)
    held = spread[digits]
    weight = 2.0 ** (slices * k).double()
    if crossbar.mapping == "differential":
        held = torch.cat([held, spread[0].expand_as(held)], 1)
        weight = torch.cat([weight, weight])
    s = s.double()
    step = s.reshape(()) if s.numel() == 1 else s.expand(1, *w.shape).reshape(-1, 1)
    return Cells(step, weight, held)
