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

import numpy as np
import torch
from torch import Tensor

from nvlib import philox
from nvlib.crossbar import scale_and_digits
from nvlib.devices import Device


@dataclass(frozen=True)
class Cells:
    """The cells of one tensor: (weights, cells of a weight), the holding chain's slices first, then the idle one's.

    Attributes:
        step: s, the weight of a deviation of one level in the lowest slice.
        weight: 2^(jK) of each cell, (cells,).
        spread: deviation of each cell in level units at the device's sigma_d, float64.
    """

    step: float
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


def cells_of(w: Tensor, device: Device, sigma_d: float, *, bits: int, reference: str, mapping: str) -> Cells:
    """Return the cells of one clean tensor (its own shape, no leading axis)."""
    s, n = scale_and_digits(w.detach().unsqueeze(0), bits)
    k = device.bits
    slices = torch.arange(bits // k, device=w.device)
    digits = (n.reshape(-1, 1) >> (slices * k)) % 2**k
    spread = torch.tensor(device.spread(sigma_d, reference), dtype=torch.float64, device=w.device)
    held = spread[digits]
    weight = 2.0 ** (slices * k).double()
    if mapping == "differential":
        held = torch.cat([held, spread[0].expand_as(held)], 1)
        weight = torch.cat([weight, weight])
    return Cells(float(s.reshape(-1)[0].double()), weight, held)


def count(shapes: int | np.integer, device: Device, bits: int, mapping: str) -> int:
    """Return how many cells so many weights take."""
    return int(shapes) * (bits // device.bits) * (2 if mapping == "differential" else 1)
