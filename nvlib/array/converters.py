"""DACs and ADCs: uniform quantisers over a fixed range, and how that range is found.

    midtread, 0 .. hi      2^b codes      y -> round(clip(y q, 0, 2^b - 1)) / q              q = (2^b - 1) / hi
    midtread, -hi .. hi    2^b - 1 codes  y -> round(clip(y q, -n, n)) / q, n = 2^(b-1) - 1  q = n / hi
    midrise,  lo .. hi     2^b codes      y -> round((clip(y, lo, hi) - lo) q) / q + lo      q = (2^b - 1) / (hi - lo)

Ties round to even. Midrise is CrossSim's QuantizerADC; over -hi .. hi it has no zero. A busy converter adds noise of
variance step^2 / 12.

Ranges are found on values that a layer met in calibration and then stay: a range of the batch would make an image's
result depend on those beside it. Sources: CrossSim 3.2, applications/dnn/calibration.py; aihwkit 1.1 (``out_bound``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

_KEPT = 400_000  # values of a layer and slice that percentiles are taken of
_COVERED = 99.99  # percentile of sums that a slice's range holds, CrossSim's


@dataclass(frozen=True)
class Converter:
    """A uniform quantiser: its full scale, whether it takes negative values, bits and codes."""

    full: float
    signed: bool
    bits: int
    codes: str = "midtread"

    @property
    def low(self) -> float:
        """Return the lowest value."""
        return -self.full if self.signed else 0.0

    @property
    def limits(self) -> tuple[float, float]:
        """Return the lowest and highest code, counted from ``low`` where there is no code of zero."""
        if self.signed and self.codes == "midtread":
            return -(2.0 ** (self.bits - 1) - 1), 2.0 ** (self.bits - 1) - 1
        return 0.0, 2.0**self.bits - 1

    @property
    def gain(self) -> float:
        """Return q, codes a unit."""
        least, most = self.limits
        return (most - least) / (self.full - self.low)

    @property
    def step(self) -> float:
        """Return 1 / q."""
        return 1 / self.gain

    @property
    def zero(self) -> float:
        """Return the value of code 0: 0, or ``low``."""
        return self.low if self.signed and self.codes == "midrise" else 0.0

    def code_(self, y: Tensor) -> Tensor:
        """Return the codes of values, which are overwritten."""
        if self.zero:
            y = y.sub_(self.zero)
        if self.gain != 1:
            y = y.mul_(self.gain)
        return torch.clamp(y.round_(), *self.limits)  # in place, vmap has none

    def __call__(self, y: Tensor) -> Tensor:
        """Return values as they are after conversion."""
        return self.code_(y.clone()) / self.gain + self.zero


@dataclass
class Seen:
    """Magnitudes that came by in calibration: the largest, whether any were negative, and an even selection of them."""

    batches: int
    largest: float = 0.0
    negative: bool = False
    kept: list[Tensor] = field(default_factory=list)

    def add(self, y: Tensor) -> None:
        """Take note of values."""
        if y.numel() == 0:
            return
        y = y.detach()
        self.negative |= bool((y < 0).any())
        size = y.abs().flatten()
        self.largest = max(self.largest, float(size.max()))
        self.kept.append(size[:: max(1, size.numel() * self.batches // _KEPT)].double().cpu())

    def percentile(self, p: float) -> float:
        """Return the value at place ceil(p n / 100) in order; at 100 the largest of all."""
        if p == 100 or not self.kept:
            return self.largest
        size = torch.cat(self.kept)
        return float(size.kthvalue(max(1, math.ceil(p * len(size) / 100 - 1e-9))).values)

    def closest(self, signed: bool, bits: int, codes: str = "midtread") -> float:
        """Return the full scale whose quantiser changes the values least, in sum |y - Q(y)|, among percentiles.

        The search is CrossSim's: Nelder and Mead's over e, percentile 100 (1 - 10^e), from e = -4.
        """
        size = np.sort(torch.cat(self.kept).numpy()) if self.kept else np.zeros(1)
        if not size[-1] > 0:
            return self.largest
        few = torch.from_numpy(size[:: max(1, len(size) // 50_000)].copy())

        def full(e: float) -> float:
            return float(np.quantile(size, min(1.0, max(0.0, 1 - 10.0**e)))) or float(size[-1])

        def off(e: np.ndarray) -> float:
            return float((few - Converter(full(e[0]), signed, bits, codes)(few)).abs().sum())

        return full(minimize(off, np.array([-4.0]), method="Nelder-Mead", options={"maxiter": 60}).x[0])


def input_range(text: str, seen: Seen, bits: int | None) -> float:
    """Return what the largest input code of a layer stands for, by `Periphery.input_range`; above 0."""
    if text == "calibrated" and bits is not None:
        found = seen.closest(seen.negative, bits)
    elif text in ("max", "calibrated"):
        found = seen.largest
    elif text.startswith("percentile:"):
        found = seen.percentile(float(text.partition(":")[2]))
    else:
        found = float(text)
    return found or seen.largest or 1.0


def sum_range(text: str, seen: Seen, *, bits: int, signed: bool, codes: str, rows: int, full_cell: float,
              sliced: bool, unit: bool) -> float:  # fmt: skip
    """Return the full scale of an ADC in steps of the sum, by `Periphery.adc_range`; above 0.

    Args:
        text: the range.
        seen: sums of this slice in calibration.
        bits: of the ADC.
        signed: whether sums may be negative.
        codes: ``midtread`` or ``midrise``.
        rows: of the layer's largest tile.
        full_cell: a full cell, in steps.
        sliced: whether a weight has several slices.
        unit: whether sums are whole numbers of steps (inputs are codes), but for noise.
    """
    bound = rows * full_cell
    codes_up = Converter(1.0, signed, bits, codes).limits[1]
    if signed and codes == "midrise":
        codes_up = (2.0**bits - 1) / 2
    if text == "granular":
        return codes_up
    if text == "bound":
        return max(bound, codes_up) if unit else bound
    if text == "calibrated" and sliced:
        reach = seen.percentile(_COVERED)
        return bound * 2.0 ** -math.floor(math.log2(bound / reach)) if 0 < reach < bound else bound
    if text == "calibrated":
        found = seen.closest(signed, bits, codes)
    elif text.startswith("percentile:"):
        found = seen.percentile(float(text.partition(":")[2]))
    else:
        found = float(text) * full_cell
    return found or bound
