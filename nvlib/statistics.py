r"""Mean, percentile and paired differences of Monte-Carlo samples, each with its interval.

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
the chips' own luck cancels:  d_i = a_i - b_i, then the interval of the mean of d. The difference of two KPPs is not
the KPP of a difference: there the chips are drawn anew with replacement, both methods' scores together, and the
middle of the resampled differences is the interval (percentile bootstrap). Few chips lie in a tail: where one method's
chips scatter much more than the other's, this held its 95 % only 91 times in 100 (400 chips, k = 1). The bias-corrected
and the basic bootstrap fall shorter (92 and 80 where this had 93), and BCa's acceleration, a jackknife's, is
inconsistent for percentiles. So instead of k n / 100 those ranks are resampled that make the bootstrap of a single
sample repeat its order-statistic interval:

    r_low  = max{ r : P(Bin(n, l / n) >= r) >= alpha_l },
    r_high = 1 + max{ r : P(Bin(n, (u - 1) / n) >= r) >= 1 - alpha_u },
    low = alpha_l-quantile of a*_(r_low) - b*_(r_high),   high = (1 - alpha_u)-quantile of a*_(r_high) - b*_(r_low).

So it held 95 to 97 times in 100 where one method scatters, 98 or 99 where both do alike (k = 1, 400 to 1000 chips).

Intervals that stay valid while chips are added: `nvlib.sequential`. Several training runs: `nvlib.anova`.

>>> from nvlib import statistics
>>> print(statistics.kpp(range(1000), k=1))
10.00 [3.00, 17.00], n = 1000
>>> print(statistics.paired([90.0, 91.0, 92.5], [89.0, 90.5, 91.0]))
1.00 [-0.24, 2.24], n = 3
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrc, stdtrit

from nvlib.errors import InputError, whole


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence limits; a limit is ``None`` where the sample is too small to give one.

    Attributes:
        value: the estimate, in the unit of the sample.
        low: lower confidence limit, or None.
        high: upper confidence limit, or None.
        n: number of values it rests on.
        note: what a reader must know, e.g. ``"too few chips: 368 needed ..."``; empty if nothing.

    Example:
        >>> import nvlib
        >>> print(nvlib.Estimate(96.21, 95.8, 96.55, 400))
        96.21 [95.80, 96.55], n = 400
    """

    value: float
    low: float | None
    high: float | None
    n: int
    note: str = ""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return both limits, or None where one is missing."""
        return None if self.low is None or self.high is None else (self.low, self.high)

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
    a, b = _pair(a, b)
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
    lower, upper = ranks(counts(n, k), (1 - confidence) / (1 if side == "lower" else 2))
    if side == "lower":
        return Estimate(value, float(x[lower - 1]), None, n, f"lower limit at {100 * confidence:g} %")
    return Estimate(value, float(x[lower - 1]), float(x[upper - 1]), n)


def kpp_difference(
    a: ArrayLike, b: ArrayLike, k: float = 1, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Return KPP(a) - KPP(b) with its bootstrap interval; entry i of both, (chips,), is the same chip.

    Args:
        a: one value per chip, all finite.
        b: the same chips under another method.
        k: percentile, 0 < k < 100.
        confidence: coverage of the interval, at least.
        resamples: how many times the chips are drawn anew.
        seed: of the resampling; the same seed gives the same interval.

    Raises:
        InputError: different lengths, k outside (0, 100), or values that are not finite.
    """
    enough, a, b = needed(k, confidence), *_pair(a, b)
    resamples = whole("resamples", resamples, 100)
    if np.isnan(a).any() or np.isnan(b).any():
        raise InputError("some values are NaN; a percentile needs all of them")
    n, place = len(a), index(k, len(a))
    value = float(np.partition(a, place)[place] - np.partition(b, place)[place])
    if n < enough:
        note = f"too few chips: {enough} needed for a {100 * confidence:g} % interval at k = {k:g}, {n} given"
        return Estimate(value, None, None, n, note)
    alpha, r = (1 - confidence) / 2, np.arange(1, n + 1)
    lower, upper = ranks(counts(n, k), alpha)
    places = [
        int((bdtrc(r - 1, n, lower / n) >= alpha).sum()) - 1,  # r_low, from zero
        int((bdtrc(r - 1, n, (upper - 1) / n) >= 1 - alpha).sum()),  # r_high, from zero
    ]
    rng, rows, lows, highs = np.random.default_rng(seed), max(1, 4_000_000 // n), [], []  # rows: bounds the memory
    for start in range(0, resamples, rows):
        chips = rng.integers(0, n, (min(rows, resamples - start), n))
        a_low, a_high = _drawn(a, chips, places)
        b_low, b_high = _drawn(b, chips, places)
        lows.append(a_low - b_high)
        highs.append(a_high - b_low)
    low, high = np.quantile(np.concatenate(lows), alpha), np.quantile(np.concatenate(highs), 1 - alpha)
    return Estimate(value, float(low), float(high), n)


def _drawn(x: NDArray[np.float64], chips: NDArray[np.int64], places: list[int]) -> NDArray[np.float64]:
    """Return which values of x, (n,), lie in these places (from zero) among each row's of chips, (places, rows).

    A percentile lies low, so the lowest ranks are counted, in a third of the time that ordering takes.
    """
    n, rows, last, order = len(x), len(chips), max(places), np.argsort(x)
    below = last + 40 + 8 * math.isqrt(last + 1)  # so many ranks hold more than ``last`` of n draws, nearly surely
    if below < n // 2:
        rank = np.empty(n, dtype=np.int32)
        rank[order] = np.arange(n)
        ranks = rank[chips]
        low = ranks < below
        cells = np.repeat(np.arange(0, rows * below, below), low.sum(axis=1)) + ranks[low]
        count = np.bincount(cells, minlength=rows * below).reshape(rows, below).cumsum(axis=1)
        if (count[:, -1] > last).all():
            return x[order[[(count > place).argmax(axis=1) for place in places]]]
    return np.partition(x[chips], places, axis=1)[:, places].T


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


def counts(n: int, k: float) -> NDArray[np.float64]:
    """Return P(B <= i) for i = 0..n-1, with B ~ Binomial(n, k / 100) of n values at or below their percentile."""
    return bdtr(np.arange(n), n, float(_share(k)))


def ranks(below: NDArray[np.float64], alpha: float) -> tuple[int, int]:
    """Return the ranks (1..n) of the limits that each miss the percentile with chance alpha at most, from `counts`.

    There must be enough chips for both (`needed`); at exactly that number rounding may ask for rank 0 or n + 1.
    """
    lower = int(np.searchsorted(below, alpha, side="right"))
    upper = int(np.searchsorted(below, 1 - alpha, side="left")) + 1
    return max(1, lower), min(len(below), upper)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two vectors of one length."""
    a, b = _vector(a, "a"), _vector(b, "b")
    if len(a) != len(b):
        raise InputError(f"paired samples have {len(a)} and {len(b)} values; expected the same chips in both")
    return a, b


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
    try:
        x = np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}={x!r} holds more than numbers; expected a vector of them, one per chip") from None
    if x.ndim != 1 or not x.size:
        raise InputError(f"{name} has shape {x.shape}; expected a vector of at least one value, one per chip")
    if np.isinf(x).any():
        raise InputError(f"{name} holds {int(np.isinf(x).sum())} infinite values; expected finite ones")
    return x
