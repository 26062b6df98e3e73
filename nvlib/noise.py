"""Training-noise laws: what noise injection adds to a weight, in units of sigma_t.

Each law is a Gaussian z ~ N(0, 1) cut on one side at th > 0 deviations (TRICE Eq. 10 and Fig. 3; the noise
itself is sigma_t times this; phi and Phi are the density and the distribution function of z):

    RC   min(z, th)        the mass above  th sits at  th        E = th Phi(-th) - phi(th)
    LC   max(z, -th)       the mass below -th sits at -th        E = phi(th) - th Phi(-th)
    RT   z given z <=  th  no mass above  th                     E = -phi(th) / Phi(th)
    LT   z given z >= -th  no mass below -th                     E =  phi(th) / Phi(th)

    Var, censored    Phi(th) - th phi(th) + th^2 Phi(-th) - E^2
    Var, truncated   1 - th phi(th) / Phi(th) - E^2

A law turns uniform random numbers into noise through its quantile function, z = F^-1(u): one counter-based
stream of u serves every law, and laws compared on the same u are compared on the same luck.
At th = 2, RC has mean -0.0085 and deviation 0.980: nearly Gaussian. RT has mean -0.055.

>>> from nvlib import noise
>>> round(noise.RightCensored(th=1.0).mean(), 3)  # negative: what lies above th sits at th
-0.083
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from nvlib.errors import InputError, is_number, unknown

if TYPE_CHECKING:
    from torch import Tensor


def _phi(x: ArrayLike) -> np.ndarray:
    return np.exp(-np.square(x) / 2) / math.sqrt(2 * math.pi)


def _ndtri(p: Tensor) -> Tensor:
    """Phi^-1, finite always: rounding can carry p in (0, 1) onto 0 or 1, where it is infinite."""
    import torch  # here alone: densities and moments are drawn without it

    info = torch.finfo(p.dtype)
    return torch.special.ndtri(p.clamp(info.tiny, 1 - info.eps / 2))


def _threshold(th: object) -> float:
    if not is_number(th) or not 0 < th <= sys.float_info.max:
        raise InputError(f"th is {th!r}; expected a finite number > 0, in deviations; try th=2")
    return float(th)


def _right_censored(th: float) -> tuple[float, float]:
    """Mean and variance of min(z, th)."""
    mean = th * ndtr(-th) - _phi(th)
    return float(mean), float(ndtr(th) - th * _phi(th) + th**2 * ndtr(-th) - mean**2)


def _right_truncated(th: float) -> tuple[float, float]:
    """Mean and variance of z given z <= th."""
    hazard = _phi(th) / ndtr(th)
    return float(-hazard), float(1 - th * hazard - hazard**2)


@dataclass(frozen=True)
class Gaussian:
    """z ~ N(0, 1): what the devices themselves do (TRICE Algorithm 1)."""

    name: ClassVar[str] = "gaussian"

    def quantile(self, u: Tensor) -> Tensor:
        """Return noise of the shape and dtype of u, uniform in (0, 1)."""
        return _ndtri(u)

    @property
    def transform(self) -> tuple[float, float, float, float]:
        """(a, b, low, high): `quantile` is clamp(Phi^-1(a u + b), low, high), for compiled code."""
        return 1.0, 0.0, -math.inf, math.inf

    def mean(self) -> float:
        """Return E z."""
        return 0.0

    def variance(self) -> float:
        """Return Var z."""
        return 1.0

    def density(self, x: ArrayLike) -> np.ndarray:
        """Return the density at x."""
        return np.asarray(_phi(np.asarray(x, dtype=float)))

    def atom(self) -> tuple[float, float] | None:
        """Return position and mass of the censored part: None, nothing is censored."""
        return None


@dataclass(frozen=True)
class RightCensored:
    """min(z, th): the mass above th sits at th (TRICE Eq. 10)."""

    th: float  # in deviations
    name: ClassVar[str] = "rc"

    def __post_init__(self) -> None:
        """Check th."""
        object.__setattr__(self, "th", _threshold(self.th))

    def quantile(self, u: Tensor) -> Tensor:
        """Return noise of the shape and dtype of u, uniform in (0, 1)."""
        return _ndtri(u).clamp(max=self.th)

    @property
    def transform(self) -> tuple[float, float, float, float]:
        """(a, b, low, high): `quantile` is clamp(Phi^-1(a u + b), low, high)."""
        return 1.0, 0.0, -math.inf, self.th

    def mean(self) -> float:
        """Return the mean: below zero, the point of the law (TRICE III-D)."""
        return _right_censored(self.th)[0]

    def variance(self) -> float:
        """Return the variance, atom included."""
        return _right_censored(self.th)[1]

    def density(self, x: ArrayLike) -> np.ndarray:
        """Return the density of the continuous part at x; with the atom's mass it integrates to 1."""
        x = np.asarray(x, dtype=float)
        return np.where(x < self.th, _phi(x), 0.0)

    def atom(self) -> tuple[float, float] | None:
        """Return position and mass of the censored part."""
        return self.th, float(ndtr(-self.th))


@dataclass(frozen=True)
class LeftCensored:
    """max(z, -th): the mass below -th sits at -th; the mirror image of `RightCensored`."""

    th: float  # in deviations
    name: ClassVar[str] = "lc"

    def __post_init__(self) -> None:
        """Check th."""
        object.__setattr__(self, "th", _threshold(self.th))

    def quantile(self, u: Tensor) -> Tensor:
        """Return noise of the shape and dtype of u, uniform in (0, 1)."""
        return _ndtri(u).clamp(min=-self.th)

    @property
    def transform(self) -> tuple[float, float, float, float]:
        """(a, b, low, high): `quantile` is clamp(Phi^-1(a u + b), low, high)."""
        return 1.0, 0.0, -self.th, math.inf

    def mean(self) -> float:
        """Return the mean: above zero."""
        return -_right_censored(self.th)[0]

    def variance(self) -> float:
        """Return the variance, atom included."""
        return _right_censored(self.th)[1]

    def density(self, x: ArrayLike) -> np.ndarray:
        """Return the density of the continuous part at x; with the atom's mass it integrates to 1."""
        x = np.asarray(x, dtype=float)
        return np.where(x > -self.th, _phi(x), 0.0)

    def atom(self) -> tuple[float, float] | None:
        """Return position and mass of the censored part."""
        return -self.th, float(ndtr(-self.th))


@dataclass(frozen=True)
class RightTruncated:
    """z given z <= th: values above th never occur."""

    th: float  # in deviations
    name: ClassVar[str] = "rt"

    def __post_init__(self) -> None:
        """Check th."""
        object.__setattr__(self, "th", _threshold(self.th))

    def quantile(self, u: Tensor) -> Tensor:
        """Return noise of the shape and dtype of u, uniform in (0, 1)."""
        # The clamp takes off what rounding of Phi^-1 may put above th.
        return _ndtri(u * float(ndtr(self.th))).clamp(max=self.th)

    @property
    def transform(self) -> tuple[float, float, float, float]:
        """(a, b, low, high): `quantile` is clamp(Phi^-1(a u + b), low, high)."""
        return float(ndtr(self.th)), 0.0, -math.inf, self.th

    def mean(self) -> float:
        """Return the mean: below zero."""
        return _right_truncated(self.th)[0]

    def variance(self) -> float:
        """Return the variance."""
        return _right_truncated(self.th)[1]

    def density(self, x: ArrayLike) -> np.ndarray:
        """Return the density at x."""
        x = np.asarray(x, dtype=float)
        return np.where(x <= self.th, _phi(x) / ndtr(self.th), 0.0)

    def atom(self) -> tuple[float, float] | None:
        """Return position and mass of the censored part: None, nothing is censored."""
        return None


@dataclass(frozen=True)
class LeftTruncated:
    """z given z >= -th: values below -th never occur; the mirror image of `RightTruncated`."""

    th: float  # in deviations
    name: ClassVar[str] = "lt"

    def __post_init__(self) -> None:
        """Check th."""
        object.__setattr__(self, "th", _threshold(self.th))

    def quantile(self, u: Tensor) -> Tensor:
        """Return noise of the shape and dtype of u, uniform in (0, 1)."""
        below = float(ndtr(-self.th))
        return _ndtri(below + u * (1 - below)).clamp(min=-self.th)

    @property
    def transform(self) -> tuple[float, float, float, float]:
        """(a, b, low, high): `quantile` is clamp(Phi^-1(a u + b), low, high)."""
        below = float(ndtr(-self.th))
        return 1 - below, below, -self.th, math.inf

    def mean(self) -> float:
        """Return the mean: above zero."""
        return -_right_truncated(self.th)[0]

    def variance(self) -> float:
        """Return the variance."""
        return _right_truncated(self.th)[1]

    def density(self, x: ArrayLike) -> np.ndarray:
        """Return the density at x."""
        x = np.asarray(x, dtype=float)
        return np.where(x >= -self.th, _phi(x) / ndtr(self.th), 0.0)

    def atom(self) -> tuple[float, float] | None:
        """Return position and mass of the censored part: None, nothing is censored."""
        return None


Law = Gaussian | RightCensored | LeftCensored | RightTruncated | LeftTruncated
Cut = RightCensored | LeftCensored | RightTruncated | LeftTruncated
_CUT: dict[str, type[Cut]] = {
    law.name: law for law in (RightCensored, LeftCensored, RightTruncated, LeftTruncated)
}  # fmt: skip
LAWS: dict[str, type[Law]] = {Gaussian.name: Gaussian, **_CUT}


def get(name: str, th: float | None = None) -> Law:
    """Return a law by name.

    Args:
        name: gaussian, rc, lc, rt or lt.
        th: where the law is cut, in deviations; all but gaussian need it, gaussian takes none.

    Raises:
        InputError: if the name is unknown, or th is not a finite number > 0.
    """
    if not isinstance(name, str) or name not in LAWS:
        raise unknown("noise law", name, LAWS)
    if name == "gaussian":
        if th is not None:
            raise InputError(f"th is {th!r} for gaussian, which is not cut; expected none; leave it out")
        return Gaussian()
    return _CUT[name](_threshold(th))
