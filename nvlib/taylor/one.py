r"""One weight that strays: the percentile of the loss by TRICE's Eq. 6 as printed and put right, exact, and simulated.

    f(w + dw) ~ f0 + f1 dw + f2 dw^2 / 2,   dw ~ N(0, sigma^2)                                    (TRICE Eq. 2)

q is the share of chips whose loss may exceed the percentile (0.01 for k = 1).

printed     f0 - f1^2 / (2 f2) + f2 pi q^2 sigma^2 / 4                                            (TRICE Eq. 6)
corrected   the same with 1 - q for q, which is what Eqs. 3 to 5 give: 1 - q is the probability between the roots, and
            the first-order distribution function 1/2 + w / (sigma sqrt(2 pi)) makes that their distance over
            sigma sqrt(2 pi). It holds near zero; at the percentiles of interest it is far off.
exact       with a = |f1 / (f2 sigma)|, the quadratic is f2 sigma^2 / 2 times a noncentral chi-square of one degree of
            freedom and noncentrality a^2, less f1^2 / (2 f2). Written so that nothing cancels as f2 -> 0:

                f0 + |f1| sigma u + f2 sigma^2 u^2 / 2,    Phi(u) - Phi(-u - 2 a) = 1 - q         (f2 >= 0)
                f0 - |f1| sigma u + f2 sigma^2 u^2 / 2,    Phi(u) - Phi(-u - 2 a) = q             (f2 < 0)

Which way |f1| moves the percentile: by Eq. 6, printed or corrected, always down, by -|f1| / f2. By the exact law

    d loss_q / d|f1| = sigma (u phi(u) - v phi(v)) / (phi(u) + phi(v)),   v = u + 2 a             (f2 > 0)

and x phi(x) falls beyond x = 1: the percentile *rises* with |f1| at every q <= 2 Phi(-1) = 0.317. It falls only for
milder percentiles and small |f1|. At k = 1 a larger slope is worse, the opposite of TRICE's third requirement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from nvlib import philox, statistics
from nvlib.errors import InputError, unknown
from nvlib.statistics import Estimate
from nvlib.taylor.loss import Loss

LAWS = ("printed", "corrected", "exact")


def percentile(
    f1: ArrayLike, f2: ArrayLike, sigma: ArrayLike, q: ArrayLike = 0.01, f0: ArrayLike = 0.0, law: str = "exact"
) -> NDArray[np.float64]:
    """Return the loss that a share q of chips exceed; arguments broadcast.

    Args:
        f1: first derivative of the loss in the weight.
        f2: second derivative. ``printed`` and ``corrected`` need f2 > 0 and give NaN elsewhere.
        sigma: standard deviation of the weight, >= 0.
        q: share of chips above, 0 < q < 1.
        f0: loss of the weight as programmed.
        law: one of `LAWS`.
    """
    f1, f2, sigma, q, f0 = np.broadcast_arrays(*(np.asarray(v, float) for v in (f1, f2, sigma, q, f0)))
    if not ((q > 0) & (q < 1)).all() or not (sigma >= 0).all():
        raise InputError("q must lie between 0 and 1 and sigma be at least 0; expected e.g. q=0.01, sigma=0.1")
    if law not in LAWS:
        raise unknown("law of one weight", law, LAWS)
    if law != "exact":
        share = q if law == "printed" else 1 - q
        with np.errstate(divide="ignore", invalid="ignore"):
            value = f0 - f1**2 / (2 * f2) + f2 * np.pi * share**2 * sigma**2 / 4
        return np.where(f2 > 0, value, np.nan)
    up = f2 >= 0
    u = _root(f1, f2, sigma, np.where(up, 1 - q, q))
    return f0 + np.where(up, 1, -1) * np.abs(f1) * sigma * u + f2 * sigma**2 * u**2 / 2


def slope_effect(
    f1: ArrayLike, f2: ArrayLike, sigma: ArrayLike, q: ArrayLike = 0.01, law: str = "exact"
) -> NDArray[np.float64]:
    """Return d percentile / d|f1|, for f2 > 0: positive where a larger slope makes the worst chips worse."""
    f1, f2, sigma, q = np.broadcast_arrays(*(np.asarray(v, float) for v in (f1, f2, sigma, q)))
    if not (f2 > 0).all():
        raise InputError("the effect of the slope is given for f2 > 0; expected a positive second derivative")
    if law in ("printed", "corrected"):
        return -np.abs(f1) / f2
    if law != "exact":
        raise unknown("law of one weight", law, LAWS)
    u = _root(f1, f2, sigma, 1 - q)
    v = u + 2 * np.abs(f1) / (f2 * sigma)
    near, far = np.exp(-(u**2) / 2), np.exp(-(v**2) / 2)
    return sigma * (u * near - v * far) / (near + far)


def _root(f1: NDArray, f2: NDArray, sigma: NDArray, p: NDArray) -> NDArray[np.float64]:
    """Solve Phi(u) - Phi(-u - 2 a) = p for u > -a, a = |f1 / (f2 sigma)|, by bisection."""
    with np.errstate(divide="ignore", invalid="ignore"):
        a = np.abs(f1) / (np.abs(f2) * sigma)
    a = np.where(np.isnan(a), 0.0, np.minimum(a, 1e12))  # no slope and no spread: central; no curvature: far away
    low, high = np.maximum(-a, -40.0), np.broadcast_to(ndtri((1 + p) / 2), a.shape)
    for _ in range(80):
        middle = (low + high) / 2
        below = ndtr(middle) - ndtr(-middle - 2 * a) < p
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def simulate(
    f1: float, f2: float, sigma: float, q: float = 0.01, f0: float = 0.0, *, draws: int = 100_000, seed: int = 0,
    index: int = 0,
) -> Estimate:  # fmt: skip
    """Return the percentile of simulated draws of the quadratic, with its distribution-free interval.

    Draws of another ``index`` of a seed are others, as chips are.
    """
    dw = sigma * philox.normal(seed, index, "taylor/one", draws)[0].numpy()
    return upper(f0 + f1 * dw + f2 * dw**2 / 2, q)


def compare(
    f1: ArrayLike, f2: float, sigma: float, q: float = 0.01, f0: float = 0.0, *, draws: int = 100_000, every: int = 8
) -> pd.DataFrame:
    """Return the percentile by every law as the slope grows: f1, law, value, low, high (simulation's interval).

    Each slope is simulated by draws of its own, so that chance does not push all of them to one side of the law.

    Args:
        f1: slopes, ascending.
        f2: second derivative, > 0.
        sigma: deviation of the weight.
        q: share of chips above.
        f0: loss of the weight as programmed.
        draws: of each simulation.
        every: simulate at each so manieth slope only.
    """
    slopes = np.atleast_1d(np.asarray(f1, float))
    rows = [
        pd.DataFrame({"f1": slopes, "law": law, "value": percentile(slopes, f2, sigma, q, f0, law)}) for law in LAWS
    ]
    seen = [simulate(slope, f2, sigma, q, f0, draws=draws, index=i) for i, slope in enumerate(slopes[::every])]
    limits = {c: [getattr(e, c) for e in seen] for c in ("value", "low", "high")}
    rows.append(pd.DataFrame({"f1": slopes[::every], "law": "simulated", **limits}))
    return pd.concat(rows, ignore_index=True).assign(f2=f2, sigma=sigma, q=q, f0=f0)


def upper(losses: ArrayLike, q: float) -> Estimate:
    """Return the loss that a share q of the chips exceed, with its interval: the KPP of the loss, at k = 100 q."""
    found = statistics.kpp(-np.asarray(losses, float), round(100 * q, 10))
    low, high = (None if limit is None else -limit for limit in (found.high, found.low))
    return Estimate(-found.value, low, high, found.n, found.note)


@dataclass(frozen=True, eq=False)
class Cut:
    """The loss along one weight, true and expanded.

    Attributes:
        name, place: which weight, its tensor and flat index.
        sigma: its deviation at sigma_d = 1, in units of the weight.
        f0, f1, f2: loss and derivatives where the weight is as programmed.
        table: dw, true, taylor (nats), by dw.
        low, high: the largest interval about 0 in which the two differ by at most ``tolerance`` nats, as far as looked.
        tolerance: of the agreement, in nats.
    """

    name: str
    place: int
    sigma: float
    f0: float
    f1: float
    f2: float
    table: pd.DataFrame
    low: float
    high: float
    tolerance: float


def cut(
    loss: Loss, name: str, place: int, f1: float, f2: float, *, reach: float, points: int = 41, tolerance: float = 0.001
) -> Cut:
    """Return the true loss beside its second-order expansion, along one weight.

    Args:
        loss: where.
        name: the tensor.
        place: flat index of the weight in it.
        f1: first derivative there (`Loss.gradient`).
        f2: second derivative there (`diagonal`).
        reach: how far to go either way, in deviations of the weight at sigma_d = 1 (so 3 sigma_d is three deviations).
        points: evaluations of the loss, odd so that 0 is among them.
        tolerance: largest difference that counts as agreement, in nats.
    """
    if name not in loss.point.centre:
        raise unknown("layer on arrays", name, loss.point.centre)
    w = loss.point.centre[name]
    if not 0 <= place < w.numel() or points < 3 or points % 2 == 0 or not (math.isfinite(reach) and reach > 0):
        raise InputError(
            f"place={place}, points={points}, reach={reach} do not cut; expected a weight, odd points >= 3"
        )
    sigma = float(loss.point.deviation[name].view(-1)[place])
    steps, true = np.linspace(-1, 1, points) * reach * sigma, []
    for step in steps:
        moved = w.clone()
        moved.view(-1)[place] += torch.tensor(step, dtype=w.dtype)
        true.append(loss.value({name: moved}))
    f0 = true[points // 2]
    table = pd.DataFrame({"dw": steps, "true": true, "taylor": f0 + f1 * steps + f2 * steps**2 / 2})
    close = (np.abs(table.true - table.taylor) <= tolerance).to_numpy()
    left, right = close[: points // 2][::-1], close[points // 2 + 1 :]
    low, high = steps[points // 2 - _run(left)], steps[points // 2 + _run(right)]
    return Cut(name, place, sigma, f0, f1, f2, table, float(low), float(high), tolerance)


def _run(held: NDArray[np.bool_]) -> int:
    """Return how many of the first entries are true without a gap."""
    return len(held) if held.all() else int(np.argmin(held))
