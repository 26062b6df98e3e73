r"""Mean, percentile and paired difference of Monte-Carlo samples, each with its interval.

KPP, the k-th percentile performance (TRICE, Algorithm 2): of the n values in ascending order the one at
zero-based index floor(k n / 100), in rational arithmetic (0.29 * 100 is 28.999... in floats).

Its interval asks nothing of the distribution. Let p = k / 100 and B ~ Binomial(n, p) count the values at or
below the true percentile. The l-th smallest value is a lower limit, the u-th an upper one, with

    l = max{ i : P(B <= i - 1) <= alpha_l },      u = min{ i : P(B <= i - 1) >= 1 - alpha_u },

alpha_l = alpha_u = (1 - confidence) / 2. The smallest value of all must be able to serve as l, and the
largest as u:  n >= ln(alpha) / ln(max(p, 1 - p)),  368 chips for k = 1 at 95 % (299 for the lower limit
alone, with alpha_l = 1 - confidence). With fewer there is no interval, and none is made up. Accuracies have
ties; ties only widen the coverage.

Means:  x_bar +- t_{n-1} s / sqrt(n).  Two methods that met the same chips are compared chip by chip, so that
the chips' own luck cancels:  d_i = a_i - b_i, then the interval of the mean of d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, stdtrit

from nvlib.errors import InputError


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence limits; a limit is ``None`` where the sample is too small to give one.

    Attributes:
        value: the estimate, in the unit of the sample.
        low: lower confidence limit, or None.
        high: upper confidence limit, or None.
        n: number of values it rests on.
        note: what a reader must know, e.g. ``"too few chips: 368 needed ..."``; empty if nothing.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    note: str = ""

    def __str__(self) -> str:
        """Return e.g. ``96.21 [95.80, 96.55], n = 400``."""
        low, high = (("-" if limit is None else f"{limit:.2f}") for limit in (self.low, self.high))
        limits = "" if self.low is None and self.high is None else f" [{low}, {high}]"
        return f"{self.value:.2f}{limits}, n = {self.n}" + (f" ({self.note})" if self.note else "")


def mean(x: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Return the mean of ``x`` (chips,) with its t interval.

    NaN stands for "not defined on this chip" (EKL without a correct prediction): it is left out, and the note
    says how many. Infinite or no values at all: InputError.
    """
    _check_confidence(confidence)
    x = _vector(x, "x")
    kept = x[~np.isnan(x)]
    n, dropped = len(kept), len(x) - len(kept)
    notes = [f"{dropped} of {len(x)} not defined, left out"] if dropped else []
    if n == 0:
        return Estimate(math.nan, None, None, 0, notes[0])
    value = float(kept.mean())
    if n == 1:
        return Estimate(value, None, None, n, "; ".join([*notes, "too few chips: 2 needed for an interval"]))
    half = float(stdtrit(n - 1, (1 + confidence) / 2) * kept.std(ddof=1) / math.sqrt(n))
    return Estimate(value, value - half, value + half, n, "; ".join(notes))


def paired(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Return the mean of ``a - b`` with its t interval; entry i of both, (chips,), is the same chip.

    Raises:
        InputError: different lengths, no values, or infinite ones.
    """
    a, b = _vector(a, "a"), _vector(b, "b")
    if len(a) != len(b):
        raise InputError(f"paired samples have {len(a)} and {len(b)} values; expected the same chips in both")
    return mean(a - b, confidence)


def kpp(x: ArrayLike, k: float = 1, confidence: float = 0.95, side: str = "two") -> Estimate:
    """Return the k-th percentile performance of ``x`` (chips,) with its order-statistic interval.

    Args:
        x: one value per chip, all finite.
        k: percentile, 0 < k < 100; taken as the decimal it is written as, so 0.5 is exactly 1/200.
        confidence: coverage of the interval, at least.
        side: ``"two"``, or ``"lower"`` for the lower limit alone (fewer chips suffice; ``high`` is None).

    Raises:
        InputError: k outside (0, 100), no values, or values that are not finite.
    """
    share = _share(k)
    x = _vector(x, "x")
    if undefined := int(np.isnan(x).sum()):
        raise InputError(f"{undefined} of {len(x)} values are NaN; a percentile needs all of them")
    x, n = np.sort(x), len(x)
    value = float(x[index(k, n)])
    enough = needed(k, confidence, side)
    if n < enough:
        what = "lower limit" if side == "lower" else "interval"
        note = f"too few chips: {enough} needed for a {100 * confidence:g} % {what} at k = {k:g}, {n} given"
        return Estimate(value, None, None, n, note)
    below = bdtr(np.arange(n), n, float(share))  # P(B <= i - 1) for i = 1..n
    alpha = (1 - confidence) / (1 if side == "lower" else 2)
    low = float(x[max(0, np.searchsorted(below, alpha, side="right") - 1)])  # n = needed: rounding may say -1
    if side == "lower":
        return Estimate(value, low, None, n, f"lower limit at {100 * confidence:g} %")
    high = float(x[min(n - 1, np.searchsorted(below, 1 - alpha, side="left"))])
    return Estimate(value, low, high, n)


def index(k: float, n: int) -> int:
    """Return floor(k n / 100), the zero-based place of the k-th percentile among n ascending values."""
    return math.floor(_share(k) * n)


def needed(k: float, confidence: float = 0.95, side: str = "two") -> int:
    """Return the smallest number of chips that gives the k-th percentile an interval (368 for k = 1)."""
    share = float(_share(k))
    _check_confidence(confidence)
    if side not in ("two", "lower"):
        raise InputError(f"side is {side!r}; expected 'two' or 'lower'")
    if side == "lower":
        return math.ceil(math.log(1 - confidence) / math.log1p(-share))
    return math.ceil(math.log((1 - confidence) / 2) / math.log(max(share, 1 - share)))


def _share(k: float) -> Fraction:
    """Return k / 100 exactly, k read as the decimal number it is written as."""
    try:
        share = Fraction(str(k)) / 100
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share < 1:
        raise InputError(f"k is {k!r}; expected a percentile between 0 and 100, both excluded")
    return share


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence!r}; expected a number between 0 and 1, e.g. 0.95")


def _vector(x: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return ``x`` as a vector of doubles, none infinite; NaN is for the caller to judge."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 1 or not x.size:
        raise InputError(f"{name} has shape {x.shape}; expected a vector of at least one value, one per chip")
    if np.isinf(x).any():
        raise InputError(f"{name} holds {int(np.isinf(x).sum())} infinite values; expected finite ones")
    return x
