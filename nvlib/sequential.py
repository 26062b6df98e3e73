r"""How many chips are enough: intervals that stay valid however often one looks, and how wide they will be.

Adding chips until an interval is narrow, and looking after each, looks many times; a 95 % interval misses somewhere
along the way more often than one time in twenty. Here chips are counted in advance into looks, each at most 25 % more
chips than the one before, up to a cap:

    n_i = first (cap / first)^(i / m),    i = 0..m.

Every look uses one level a, the largest with which all looks together hold what was asked:

    P(some look's interval misses) <= 1 - confidence,        whatever rule decides at which look to stop.

*KPP.* The values at or below the true percentile are counted by a random walk B_n with Binomial increments, whatever
the distribution of accuracies, and look i misses exactly when B leaves [l_i, u_i - 1], the ranks of its order-statistic
interval. The chance to stay inside at all looks is summed exactly: convolve, cut, repeat. Ties only help. Looks with
too few chips for an interval cannot miss and cost nothing, so a cap that one look can do with is enough.

*Mean.* The same with z_i = sqrt(n_i) (x_bar_i - mu) / sigma, a Gaussian walk with correlations sqrt(n_i / n_j), summed
by quadrature (Armitage, McPherson and Rowe 1969; a constant level is Pocock's boundary). The level is then used with t.
As any t interval it wants means that are nearly normal: a first look at 100 chips for accuracies of skewness 0.8 (a
trained LeNet's), at 1000 for a long tail (skewness 3.7: all looks held the mean 92.5 times in 100 from 100 chips, 94.4
from 400, 94.7 from 1000).

Levels that were spent by a union bound, such as alpha 6 / (pi i)^2 at look i, hold too, but looks share most of their
chips and so miss together: from 400 to 20,000 chips (19 looks) a 95 % interval is here 1.41 times as wide as one
look's for the mean, 1.34 for the first percentile; shared out equally it is 1.54, by the series 2.0 at the last look.

>>> from nvlib import sequential
>>> sequential.looks(400, 1000)
(400, 480, 577, 693, 833, 1000)
>>> round(sequential.level(sequential.looks(400, 1000), 0.95, k=1), 3)  # of each look
0.97
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtri

from nvlib import statistics
from nvlib.errors import InputError, unknown
from nvlib.statistics import Estimate

GROWTH = 1.25  # chips of a look over those of the one before; 1.1 to 1.5 cost about the same in the end
STATISTICS = ("kpp", "mean")


@dataclass(frozen=True)
class Until:
    """Look at growing numbers of chips until half the interval's width is at most ``half_width``.

    Attributes:
        half_width: (high - low) / 2 to reach, in the unit of the sample: the papers' "+-".
        of: ``kpp`` or ``mean``.
        k: percentile of the KPP.
        confidence: chance that the intervals of all looks hold the truth.
        first: chips at the first look.
        cap: chips at the last look.
    """

    half_width: float
    of: str = "kpp"
    k: float = 1
    confidence: float = 0.95
    first: int = 1000
    cap: int = 20_000

    def __post_init__(self) -> None:
        """Refuse what can never be met, before any chip is computed."""
        if self.of not in STATISTICS:
            raise unknown("statistic to wait for", self.of, STATISTICS)
        if not (isinstance(self.half_width, Real) and 0 < self.half_width < math.inf):
            raise InputError(f"until={self.half_width!r} is not usable; expected half an interval's width, e.g. 0.5")
        for name in ("k", "confidence"):
            if isinstance(value := getattr(self, name), str):
                raise InputError(f"{name}={value!r} is a text; expected a number")
        enough = statistics.needed(self.k, self.confidence)  # checks k and confidence
        if self.cap < self.first:
            raise InputError(f"max_chips={self.cap} is below the first look at chips={self.first}; expected as many")
        if self.of == "kpp" and self.cap < enough:
            raise InputError(
                f"max_chips={self.cap} can give no interval at k={self.k:g}; expected at least {enough}, or of='mean'"
            )

    @property
    def looks(self) -> tuple[int, ...]:
        """Return the numbers of chips at which to look, ascending."""
        return looks(self.first, self.cap)

    @property
    def level(self) -> float:
        """Return the confidence of each look alone."""
        return level(self.looks, self.confidence, self.k if self.of == "kpp" else None)

    def estimate(self, x: ArrayLike) -> Estimate:
        """Return the statistic of ``x`` (chips,), as many as at one of the looks, with the interval of that look."""
        x = np.asarray(x)
        if len(x) not in self.looks:
            raise InputError(f"{len(x)} values are at none of the looks {self.looks}; expected as many as at one")
        found = statistics.mean(x, self.level) if self.of == "mean" else statistics.kpp(x, self.k, self.level)
        look = 1 + self.looks.index(len(x))
        notes = [found.note] if found.note else []
        notes.append(f"look {look} of {len(self.looks)}, valid at {100 * self.confidence:g} % for all of them")
        if len(x) == self.cap and not self.met(found):
            reached = "no interval" if found.interval is None else f"+-{_half(found.interval):.3g}"
            notes.append(f"stopped at the cap of {self.cap} chips with {reached}, asked +-{self.half_width:g}")
        return replace(found, note="; ".join(notes))

    def met(self, estimate: Estimate) -> bool:
        """Return whether an interval is as narrow as asked."""
        return estimate.interval is not None and _half(estimate.interval) <= self.half_width


def _half(interval: tuple[float, float]) -> float:
    return (interval[1] - interval[0]) / 2


def looks(first: int, cap: int) -> tuple[int, ...]:
    """Return numbers of chips from ``first`` to ``cap``, each at most about `GROWTH` times the one before."""
    if first == cap:
        return (first,)
    steps = math.ceil(math.log(cap / first) / math.log(GROWTH))
    return tuple(sorted({round(first * (cap / first) ** (i / steps)) for i in range(steps + 1)}))


@lru_cache(maxsize=256)
def level(looks: tuple[int, ...], confidence: float, k: float | None = None) -> float:
    """Return the confidence each look needs alone, so that all hold together with chance ``confidence``.

    Args:
        looks: numbers of chips, ascending.
        confidence: of all looks together.
        k: percentile, for KPP; None for a mean.
    """
    total = 1 - confidence
    missed = _normal_walk(looks) if k is None else _binomial_walk(looks, k)
    if len(looks) == 1 or missed(total) <= total:
        return confidence
    low, high = total / len(looks), total  # the union bound holds; a level that falls lets no look miss more often
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if missed(middle) <= total else (low, middle)
    return 1 - low


def _binomial_walk(looks: tuple[int, ...], k: float) -> Callable[[float], float]:
    """Return the chance that some look at level 1 - a misses the k-th percentile, as a function of a."""
    below = [statistics.counts(n, k) for n in looks]
    steps = []
    for before, n in pairwise((0, *looks)):
        reached = np.append(statistics.counts(n - before, k), 1)
        chance = np.diff(reached, prepend=0)
        start, stop = np.searchsorted(reached, (1e-15, 1 - 1e-15))  # what is cut away counts as missed
        steps.append((int(start), chance[start : stop + 1]))

    def missed(a: float) -> float:
        inside, start = np.ones(1), 0  # chances of B = start, start + 1, ...
        for n, cdf, (offset, chance) in zip(looks, below, steps, strict=True):
            inside, start = np.convolve(inside, chance), start + offset
            if n >= statistics.needed(k, 1 - a):  # fewer have no interval, which cannot miss
                lower, upper = statistics.ranks(cdf, a / 2)
                inside, start = inside[max(0, lower - start) : max(0, upper - start)], max(start, lower)
        return 1 - float(inside.sum())

    return missed


def _normal_walk(looks: tuple[int, ...]) -> Callable[[float], float]:
    """Return the chance that some look at level 1 - a misses the mean, as a function of a."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    # A correlation nearer 1 than 0.995 is beyond these nodes; taking less of it only widens (Slepian's inequality).
    correlations = [min(math.sqrt(before / n), 0.995) for before, n in pairwise(looks)]

    def missed(a: float) -> float:
        edge = ndtri(1 - a / 2)
        z, w = edge * nodes, edge * weights
        density = _normal(z)
        for r in correlations:
            step = math.sqrt(1 - r * r)
            density = _normal((z[:, None] - r * z) / step) / step @ (w * density)
        return 1 - float(w @ density)

    return missed


def _normal(z: np.ndarray) -> np.ndarray:
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def chips_for(
    accuracy: ArrayLike,
    half_width: float,
    k: float = 1,
    confidence: float = 0.95,
    *,
    most: int = 1_000_000,
    studies: int = 2000,
    seed: int = 0,
) -> int:
    """Return how many chips, fixed in advance, give the KPP an interval of +-``half_width`` in half of all studies.

    Chips are drawn from the empirical distribution of ``accuracy``. A study of n needs only the two order statistics of
    its limits, x_(l) and x_(u), and those lie at the quantiles U_(l) ~ Beta(l, n - l + 1) and, given it,
    (U_(u) - U_(l)) / (1 - U_(l)) ~ Beta(u - l, n - u + 1). Ranks are whole numbers: the answer is good to a few
    percent.

    Args:
        accuracy: of many chips of one model; its own tail must be known: 10,000 for k = 1, say.
        half_width: (high - low) / 2, in the unit of ``accuracy``.
        k: percentile.
        confidence: of the interval.
        most: where to give up.
        studies: how many studies of each size are drawn.
        seed: of the draws.

    Raises:
        InputError: for too few accuracies to have an interval themselves, or where ``most`` chips are not enough.
    """
    given = statistics.kpp(accuracy, k, confidence)
    if given.low is None:
        raise InputError(f"accuracy holds {given.note}; expected many more, for its tail to be known")
    Until(half_width)  # checks it
    sample = np.asarray(accuracy)
    first, second = np.random.default_rng(seed).random((2, studies))  # the same luck at every n: smooth in n

    def typical(n: int) -> float:
        lower, upper = statistics.ranks(statistics.counts(n, k), (1 - confidence) / 2)
        low = betaincinv(lower, n - lower + 1, first)
        high = low + (1 - low) * (betaincinv(upper - lower, n - upper + 1, second) if upper > lower else 0)
        limits = np.quantile(sample, [low, high], method="inverted_cdf")
        return float(np.median(limits[1] - limits[0])) / 2

    low, high = statistics.needed(k, confidence) - 1, statistics.needed(k, confidence)
    while typical(high) > half_width:
        low, high = high, 2 * high
        if low >= most:
            raise InputError(f"half_width={half_width:g} takes more than {most} chips at k={k:g}; expected a wider one")
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        low, high = (middle, high) if typical(middle) > half_width else (low, middle)
    return high
