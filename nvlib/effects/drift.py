"""Drift: conductance decays as a power of time, each cell with an exponent of its own, drawn once.

    g(t) = g ((t + t_0) / t_0)^-nu,    nu = |mu + sd N(0, 1)|       t: seconds after programming, t_0 of the law

mu and sd follow from what the cell was meant for, x = g / g_max (`nvlib.devices.Drift`): PCM's from Joshi et al. 2020
(t_0 = 20 s), or the Hermes chip's (Le Gallo et al. 2023, 300 s). With L = ln((t + t_0) / t_0) the mean factor is
exp(-mu L + sd^2 L^2 / 2) as long as nu is hardly ever folded. A chip at one hour and at one day has the same exponents.

A cell that is stuck before it drifts keeps the exponent of the level that it was meant for; put ``stuck`` behind for
cells that are pinned. A negative conductance, which the Gaussian of programming allows, decays as a positive one does;
upstream (IBM aihwkit) cuts at 0 before: put ``limits`` first for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nvlib import devices
from nvlib.devices import Device
from nvlib.effects.protocol import Programmed
from nvlib.effects.values import checked, text
from nvlib.errors import InputError, unknown
from nvlib.records import values


@dataclass(frozen=True)
class Drift:
    """Drift of a device's own law, of another's by name, or of a given exponent.

    Attributes:
        time: s after programming.
        law: whose exponents (`nvlib.devices.DRIFT`), in shares of the device's g_max; None: the device's own.
        nu: mean of the exponents, in place of a law.
        spread: their standard deviation, beside ``nu``.
        t_0: s, beside ``nu``.
    """

    time: float = 0.0
    law: str | None = None
    nu: float | None = None
    spread: float = 0.0
    t_0: float = 20.0
    name: ClassVar[str] = "drift"

    def __post_init__(self) -> None:
        """Refuse what cannot drift."""
        for key in ("time", "nu", "spread"):
            checked(self, key, what=" (seconds)" if key == "time" else "")
        checked(self, "t_0", 1e-12, what=" (seconds)")
        if self.law is not None and self.law not in devices.DRIFT:
            raise unknown("law of drift", self.law, devices.DRIFT)
        if self.nu is None and (self.spread or self.t_0 != 20.0):
            raise InputError("drift: spread and t_0 go with nu; expected nu=0.05,spread=0.01, or a law and neither")
        if self.nu is not None and self.law is not None:
            raise InputError(f"drift: law={self.law} and nu={self.nu:g} are both given; expected one of them")

    def __str__(self) -> str:
        """Return it as text."""
        return text(self)

    def on(self, device: Device) -> Drift:
        """Return it; InputError for a device that has no law where none is given."""
        self.law_of(device)
        return self

    def law_of(self, device: Device) -> devices.Drift:
        """Return the numbers it uses on a device."""
        if self.nu is not None:
            still = (0.0, self.nu, self.nu, self.nu), (0.0, self.spread, self.spread, self.spread)
            return devices.Drift(self.t_0, *still, "given")
        own = device.effects.drift if device.effects else None
        found = own if self.law is None else devices.DRIFT[self.law]
        if found is None:
            raise InputError(f"drift: device {device.name!r} has no law of its own; expected law= one of "
                             f"{', '.join(devices.DRIFT)}, or nu=0.05 (or [effects.drift] in its file)")  # fmt: skip
        return found

    def numbers(self, device: Device) -> dict[str, object]:
        """Return all that it depends on."""
        law = values(self.law_of(device))
        law.pop("source")
        return {"name": self.name, "time": self.time, **law}

    def befall(self, v: Tensor, cells: Programmed) -> Tensor:
        """Let cells decay."""
        if self.time == 0:
            return v
        law = self.law_of(cells.device)
        mean, spread = exponents(law, cells.device)
        decay = float(np.log1p(self.time / law.t_0))
        if not any(spread):
            factor = torch.exp(-decay * cells.per_level(mean))
            return (v + cells.offset) * factor - cells.offset
        nu = cells.normal("drift").mul_(cells.per_level(spread)).add_(cells.per_level(mean)).abs_()
        return nu.mul_(-decay).exp_().mul_(v + cells.offset).sub_(cells.offset)


@lru_cache(maxsize=64)
def exponents(law: devices.Drift, device: Device) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of the exponents of each level."""
    x = np.array(device.levels) / device.levels[-1]
    return (tuple(fitted(x, law.mean, law.mean_above).tolist()),
            tuple(fitted(x, law.deviation, law.deviation_above).tolist()))  # fmt: skip


def fitted(x: np.ndarray, fit: tuple[float, ...], above: tuple[float, ...] = ()) -> np.ndarray:
    """Return clip(a ln x + b, low, high), and from an edge on the polynomial c0 + c1 x + ..."""
    a, b, low, high = fit
    below = np.clip(a * np.log(np.maximum(x, 1e-7)) + b, low, high)
    if not above:
        return below
    edge, *c = above
    return np.where(x < edge, below, np.polynomial.polynomial.polyval(x, c))
