r"""Several training runs, each on many chips: what varies between runs, and what between chips.

One-way analysis of variance with random effects:  x_rc = mu + run_r + chip_rc.  With R runs of n_r chips, N chips in
all, the runs' means m_r and their grand mean m (weighted by chips):

    within  = sum_rc (x_rc - m_r)^2 / (N - R)
    between = (sum_r n_r (m_r - m)^2 / (R - 1) - within) / n_0,      n_0 = (N - sum_r n_r^2 / N) / (R - 1),

both unbiased. `between` can come out negative where runs hardly differ; it is then clipped at zero, which is said.
More chips narrow what is known of these runs; only more runs narrow what is known of the method: the interval of the
mean is over runs, with R - 1 degrees of freedom.

A run's KPP has no chips to average over. Its variance over runs, less the mean sampling variance of one run's KPP, is
what the trainings themselves contribute. That sampling variance is the bootstrap's, in closed form (Maritz and Jarrett
1978): with j = floor(k n / 100) + 1, a resample's KPP is the i-th smallest value with the chance that a
Beta(j, n - j + 1) lies in [(i - 1) / n, i / n].

Runs count as independent even where they met the same chips: there one draw strays different weights.

>>> from nvlib import anova
>>> found = anova.between_runs([[90.0, 92.0, 91.0], [94.0, 95.0, 96.0]])
>>> print(f"{found.between:.2f} between trainings, {found.within:.2f} within")
7.67 between trainings, 1.00 within
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc

from nvlib import statistics
from nvlib.errors import InputError
from nvlib.statistics import Estimate


@dataclass(frozen=True)
class BetweenRuns:
    """Mean and KPP over training runs, their variance (square of the sample's unit) taken apart.

    Attributes:
        mean: mean over runs of their means, with the t interval over runs (n counts runs).
        between: variance between runs of the true means; NaN where undefined.
        within: variance between chips within a run; NaN where undefined.
        kpp: mean over runs of their KPPs, with the t interval over runs.
        kpp_between: variance between runs of the true KPPs; NaN where undefined.
        kpp_within: sampling variance of one run's KPP, from its finite number of chips; NaN where undefined.
        each: every run's KPP, with its own interval over chips.
        note: what is undefined or clipped at zero, and why; empty if nothing.
    """

    mean: Estimate
    between: float
    within: float
    kpp: Estimate
    kpp_between: float
    kpp_within: float
    each: tuple[Estimate, ...]
    note: str = ""


def between_runs(runs: Sequence[ArrayLike], k: float = 1, confidence: float = 0.95) -> BetweenRuns:
    """Return mean and KPP over training runs, with what varies between runs and between chips apart.

    Args:
        runs: one vector (chips,) a run, all finite; lengths may differ.
        k: percentile, 0 < k < 100.
        confidence: of every interval.

    Raises:
        InputError: for no runs, values that are not finite, or k outside (0, 100).
    """
    if not len(runs):
        raise InputError("there are no runs; expected at least one, each a vector of one value per chip")
    each = tuple(statistics.kpp(run, k, confidence) for run in runs)  # refuses what is not finite
    x = [np.asarray(run, dtype=np.float64) for run in runs]
    means, sizes, count = np.array([run.mean() for run in x]), np.array([len(run) for run in x]), len(x)
    total, notes = sizes.sum(), []
    within = between = kpp_within = kpp_between = math.nan
    if total > count:
        within = sum(((run - mean) ** 2).sum() for run, mean in zip(x, means, strict=True)) / (total - count)
    else:
        notes.append("too few chips: 2 needed in a run for a variance")
    if all(estimate.low is not None for estimate in each):
        kpp_within = np.mean([_kpp_variance(run, k) for run in x])
    else:
        notes.append(f"too few chips: {statistics.needed(k, confidence)} needed in every run for a variance of its KPP")
    if count > 1:
        spread = (sizes * (means - sizes @ means / total) ** 2).sum() / (count - 1)
        between = (spread - within) * (count - 1) / (total - sizes @ sizes / total)
        kpp_between = np.var([estimate.value for estimate in each], ddof=1) - kpp_within
    else:
        notes.append("too few runs: 2 needed for a variance between them")
    for what, variance in (("means", between), ("KPPs", kpp_between)):
        if variance < 0:
            notes.append(f"variance between the runs' {what} came out at {variance:.3g}: clipped at zero")
    return BetweenRuns(
        mean=_over_runs(means, confidence),
        between=float(np.maximum(between, 0)),  # NaN stays NaN
        within=float(within),
        kpp=_over_runs([estimate.value for estimate in each], confidence),
        kpp_between=float(np.maximum(kpp_between, 0)),
        kpp_within=float(kpp_within),
        each=each,
        note="; ".join(notes),
    )


def _over_runs(values: ArrayLike, confidence: float) -> Estimate:
    """Return the t interval over runs, in words of runs."""
    estimate = statistics.mean(values, confidence)
    return replace(estimate, note=estimate.note.replace("chips", "runs") or "n counts runs")


def _kpp_variance(x: NDArray[np.float64], k: float) -> float:
    """Return the bootstrap variance of the KPP of ``x``."""
    n, place = len(x), statistics.index(k, len(x))
    chance = np.diff(betainc(place + 1, n - place, np.arange(n + 1) / n))
    x = np.sort(x) - x.mean()  # centred: nothing large cancels below
    return float(chance @ x**2 - (chance @ x) ** 2)
