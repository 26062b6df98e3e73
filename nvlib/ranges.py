"""The weight range R: what the largest level stands for, and beyond which weights saturate.

    s = R / (2^M - 1),   n = round(min(|w|, R) / s)

A cell's deviation is relative to its full scale, so R decides how far *every* weight strays: with R = max|W|, which all
four papers take, one outlier sets the deviation of a whole tensor. A smaller R saturates a few weights and quietens all
others. R is never above max|W|, so that the top level is always in use; and it is a scale, so R(a W) = a R(W).

    max             max|W|
    deviations:n    n root mean squares of W (about 0, where the levels start; of zero-mean weights: n deviations)
    percentile:p    the smallest |w| that p % of the weights do not exceed

Each is of the whole tensor, or with ``/channel`` of each output channel (a column's scale: digital, one factor for each
of its sums). Written as text, ``deviations:2.5/channel``, they stand in commands, study files and records.
Sources: Joshi et al., Nature Communications 11, 2473 (2020), and Rasch et al., Nature Communications 14, 5282 (2023),
clip to 2 to 3 deviations; CrossSim calibrates a percentile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from nvlib.errors import InputError, unknown

PER = ("tensor", "channel")


@runtime_checkable
class WeightRange(Protocol):
    """What the largest level stands for: a frozen dataclass that `check_range` of the tests accepts."""

    @property
    def per(self) -> str:
        """What it is of: ``tensor`` or ``channel``."""
        ...

    def of(self, w: Tensor) -> Tensor:
        """Return R of stacked weights (members, ...), >= 0, shaped to broadcast over them; without derivatives."""
        ...


@dataclass(frozen=True)
class Max:
    """R = max|W|, as in the four papers."""

    per: str = "tensor"

    def __post_init__(self) -> None:
        """Refuse what R cannot be of."""
        _check_per(self.per)

    def __str__(self) -> str:
        """Return it as text."""
        return "max" + _suffix(self.per)

    def of(self, w: Tensor) -> Tensor:
        """Return R."""
        flat = _flat(w.detach().abs(), self.per)
        return _shaped(flat.amax(-1), w)


@dataclass(frozen=True)
class Deviations:
    """R = n sqrt(mean W^2), at most max|W|."""

    n: float
    per: str = "tensor"

    def __post_init__(self) -> None:
        """Refuse what is no range."""
        _check_per(self.per)
        _check_number("deviations", self.n, math.inf, "a number of deviations above 0, e.g. 2.5")

    def __str__(self) -> str:
        """Return it as text."""
        return f"deviations:{float(self.n):.12g}" + _suffix(self.per)

    def of(self, w: Tensor) -> Tensor:
        """Return R."""
        flat = _flat(w.detach().abs(), self.per)
        return _shaped(torch.minimum(self.n * flat.square().mean(-1).sqrt(), flat.amax(-1)), w)


@dataclass(frozen=True)
class Percentile:
    """R = the p-th percentile of |W|, its value at place ceil(p n / 100) in order."""

    p: float
    per: str = "tensor"

    def __post_init__(self) -> None:
        """Refuse what is no range."""
        _check_per(self.per)
        _check_number("percentile", self.p, 100, "a percentile of |w| above 0, at most 100, e.g. 99.5")

    def __str__(self) -> str:
        """Return it as text."""
        return f"percentile:{float(self.p):.12g}" + _suffix(self.per)

    def of(self, w: Tensor) -> Tensor:
        """Return R; of weights that are mostly 0 their maximum."""
        flat = _flat(w.detach().abs(), self.per)
        place = max(1, math.ceil(self.p * flat.shape[-1] / 100 - 1e-9))
        r = flat.kthvalue(place, -1).values
        return _shaped(torch.where(r > 0, r, flat.amax(-1)), w)


KINDS = {"max": Max, "deviations": Deviations, "percentile": Percentile}


def get(given: str | WeightRange) -> WeightRange:
    """Return a range from its text; a range itself as it is.

    Raises:
        InputError: for a text that names none, or a number that cannot be used.
    """
    if not isinstance(given, str):
        if not isinstance(given, WeightRange):
            raise InputError(f"range={given!r} is no weight range; expected a text such as 'deviations:2.5', or "
                             "one of nvlib.ranges")  # fmt: skip
        return given
    text, slash, per = given.strip().partition("/")
    name, colon, number = text.partition(":")
    if name not in KINDS:
        raise InputError(f"{unknown('weight range', name, KINDS)}; e.g. 'max', 'deviations:2.5', 'percentile:99.5'")
    if bool(colon) != (name != "max") or (slash and not per):
        raise InputError(f"range={given!r} is not usable; expected max, deviations:2.5 or percentile:99.5, with "
                         "/channel behind it for one of each output channel")  # fmt: skip
    if name == "max":
        return Max(per or "tensor")
    try:
        value = float(number)
    except ValueError:
        raise InputError(f"range={given!r} is not usable; expected a number after {name}:") from None
    return KINDS[name](value, per or "tensor")


def _flat(w: Tensor, per: str) -> Tensor:
    """Return (members, weights), or (members, channels, weights of one)."""
    return w.flatten(2) if per == "channel" and w.ndim > 2 else w.unsqueeze(-1) if per == "channel" else w.flatten(1)


def _shaped(r: Tensor, w: Tensor) -> Tensor:
    return r.reshape(*r.shape, *[1] * (w.ndim - r.ndim))


def _suffix(per: str) -> str:
    return "" if per == "tensor" else f"/{per}"


def _check_per(per: str) -> None:
    if per not in PER:
        raise unknown("part that a weight range is of", per, PER)


def _check_number(name: str, value: float, most: float, words: str) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not 0 < value <= most:
        raise InputError(f"{name}:{value!r} is not usable as a weight range; expected {words}")
