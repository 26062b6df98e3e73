r"""The law of a quadratic form in Gaussians:  Q = m + sum_j ( beta_j y_j + lambda_j y_j^2 / 2 ) + R,  y_j ~ N(0, 1).

With A symmetric, Q = m + b^T z + z^T A z / 2 is that sum in the eigenbasis of A. Its cumulants are

    kappa_1 = m + tr(A)/2,   kappa_r = (r-1)!/2 tr(A^r) + r!/2 b^T A^(r-2) b   (r >= 2)

so variance = |b|^2 + tr(A^2)/2 and skewness = (tr(A^3) + 3 b^T A b) / variance^(3/2). R collects the many small terms:
a shifted gamma with their variance and third cumulant (a Gaussian where that is zero), so that mean, variance and
skewness of Q are exact whatever number of terms is spelt out. The distribution function follows from the
characteristic function

    ln phi(t) = i t m + sum_j [ -ln(1 - i t lambda_j)/2 - t^2 beta_j^2 / (2 (1 - i t lambda_j)) ] + ln phi_R(t)
    P(Q <= x) = 1/2 - sum_k Im[ phi(t_k) e^(-i t_k x) ] / (pi (k + 1/2)),   t_k = (k + 1/2) step

(Gil-Pelaez; Imhof 1961; the midpoint sum is Davies', Biometrika 1973). lambda may be of either sign, or zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from nvlib.errors import InputError

_REACH = 50.0  # deviations from the mean beyond which no mass is looked for: exp(-35) of a single chi-square
_POINTS = 1 << 16
_SMALL = 1e-12  # of the characteristic function, where its sum may end


@dataclass(frozen=True, eq=False)
class Quadratic:
    """Q = shift + sum_j (beta_j y_j + lam_j y_j^2 / 2) + R, in nats where it is a loss.

    Attributes:
        shift: m.
        lam: (terms,) second-order coefficients.
        beta: (terms,) first-order ones.
        variance_rest: variance of R, which has mean zero.
        third_rest: third cumulant of R.
    """

    shift: float
    lam: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    beta: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    variance_rest: float = 0.0
    third_rest: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no law."""
        for name in ("lam", "beta"):
            object.__setattr__(self, name, np.atleast_1d(np.asarray(getattr(self, name), dtype=float)))
        if self.lam.shape != self.beta.shape or self.lam.ndim != 1:
            raise InputError(f"{self.lam.shape} eigenvalues and {self.beta.shape} slopes; expected two equal vectors")
        numbers = [self.shift, self.variance_rest, self.third_rest, *self.lam, *self.beta]
        if not np.isfinite(numbers).all() or self.variance_rest < 0:
            raise InputError("a quadratic form has finite coefficients and a rest of variance >= 0; expected those")
        if self.cumulants()[1] <= 0:
            raise InputError("the quadratic form is constant; expected some variation: sigma_d > 0 and a slope")

    @classmethod
    def of_terms(cls, shift: float, lam: ArrayLike, beta: ArrayLike, keep: int = 256) -> Quadratic:
        """Return the law of independent terms: the ``keep`` largest as they are, the others in one rest."""
        lam, beta = np.asarray(lam, float), np.asarray(beta, float)
        weight = lam**2 / 2 + beta**2
        order = np.argsort(-weight, kind="stable")
        first, rest = order[:keep], order[keep:]
        third = float(np.sum(lam[rest] ** 3 + 3 * lam[rest] * beta[rest] ** 2))
        return cls(shift + float(lam[rest].sum()) / 2, lam[first], beta[first], float(weight[rest].sum()), third)

    @classmethod
    def of_traces(
        cls, mean: float, lam: ArrayLike, beta: ArrayLike, first: float, square: float, cube: float, bent: float
    ) -> Quadratic:
        """Return the law from A's leading eigenvalues and what all of A adds up to.

        Args:
            mean: m + tr(A)/2.
            lam: leading eigenvalues of A.
            beta: b along their vectors.
            first: |b|^2.
            square: tr(A^2).
            cube: tr(A^3).
            bent: b^T A b.
        """
        lam, beta = np.asarray(lam, float), np.asarray(beta, float)
        rest = first - float(beta @ beta) + max(0.0, square - float(lam @ lam)) / 2
        third = cube - float((lam**3).sum()) + 3 * (bent - float(lam @ beta**2))
        return cls(mean - float(lam.sum()) / 2, lam, beta, max(0.0, rest), third)

    def cumulants(self) -> tuple[float, float, float]:
        """Return mean, variance and third cumulant."""
        return (
            self.shift + float(self.lam.sum()) / 2,
            float((self.beta**2).sum() + (self.lam**2).sum() / 2) + self.variance_rest,
            float((self.lam**3).sum() + 3 * (self.lam * self.beta**2).sum()) + self.third_rest,
        )

    @property
    def mean(self) -> float:
        """Expected value."""
        return self.cumulants()[0]

    @property
    def deviation(self) -> float:
        """Standard deviation."""
        return math.sqrt(self.cumulants()[1])

    @property
    def skewness(self) -> float:
        """Third cumulant over the cube of the deviation."""
        return self.cumulants()[2] / self.deviation**3

    def log_characteristic(self, t: np.ndarray) -> NDArray[np.complex128]:
        """Return ln E exp(i t (Q - mean)) for frequencies t (n,)."""
        out = np.zeros(len(t), dtype=complex)
        for lam, beta in zip(self.lam, self.beta, strict=True):
            bent = 1 - 1j * t * lam
            out += -np.log(bent) / 2 - t**2 * beta**2 / (2 * bent) - 1j * t * lam / 2
        v, third = self.variance_rest, self.third_rest
        if v and abs(third) > 1e-9 * v**1.5:
            scale = third / (2 * v)  # gamma of shape v / scale^2, about its mean
            out += -(v / scale**2) * (np.log(1 - 1j * t * scale) + 1j * t * scale)
        elif v:
            out += -(t**2) * v / 2
        return out

    @cached_property
    def _sum(self) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        """Frequencies of the standardised form, and phi / (pi (k + 1/2)) there, until phi is spent."""
        step, held, points = math.pi / _REACH, [], []
        for start in range(0, _POINTS, 512):
            t = (np.arange(start, start + 512) + 0.5) * step
            phi = np.exp(self.log_characteristic(t / self.deviation))
            points.append(t)
            held.append(phi / (np.pi * (np.arange(start, start + 512) + 0.5)))
            if np.abs(phi[-1]) < _SMALL:
                break
        return np.concatenate(points), np.concatenate(held)

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return P(Q <= x)."""
        t, phi = self._sum
        u = (np.atleast_1d(np.asarray(x, float)) - self.mean) / self.deviation
        below = np.array([0.5 - np.imag(phi * np.exp(-1j * t * each)).sum() for each in u.ravel()])
        below = np.where(np.abs(u.ravel()) < _REACH, below, u.ravel() > 0)
        return np.clip(below, 0, 1).reshape(np.shape(x))

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        """Return the values that Q stays below with probability p, 0 < p < 1."""
        p = np.asarray(p, float)
        if not ((p > 0) & (p < 1)).all():
            raise InputError(f"probability {p} is out of range; expected values between 0 and 1, both excluded")
        t, phi = self._sum

        def excess(level: float) -> Callable[[float], float]:
            return lambda u: 0.5 - float(np.imag(phi * np.exp(-1j * t * u)).sum()) - level

        found = []
        for level in p.ravel():
            reach = 2.0
            while excess(level)(reach) < 0 or excess(level)(-reach) > 0:
                reach = min(2 * reach, 0.98 * _REACH)
                if reach > 0.97 * _REACH:
                    break
            found.append(brentq(excess(level), -reach, reach, xtol=1e-10))
        return self.mean + self.deviation * np.array(found).reshape(p.shape)
