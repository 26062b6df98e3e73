"""Read noise: what is read of a cell differs from what it holds, each time that it is read.

    a law      as the device's data has it: PCM's 1/f noise, accumulated since programming (Joshi et al. 2020),
               |g| Q sqrt(ln((t + t_0 + t_r) / 2 t_r));  the Hermes chip's;  SONOS' a (1 - exp(-g / b))
    relative   a share of |g|
    additive   a share of the cell's full scale, g_max - g_min

One reading serves ``images`` images, then weights are read anew: reading r of chip i is the same whatever the batches
that an evaluation is run in. `nvlib.program` gives reading 0. Nothing stops a reading at 0: put ``limits`` behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from nvlib import devices
from nvlib.devices import Device
from nvlib.effects.protocol import Programmed
from nvlib.effects.values import checked, text
from nvlib.errors import InputError, unknown, whole
from nvlib.records import values


@dataclass(frozen=True)
class ReadNoise:
    """Read noise of a device's own law, of another's by name, relative or additive.

    Attributes:
        time: s after programming; None: that of the drift before it, 0 where there is none.
        law: whose (`nvlib.devices.READ_NOISE`); None: the device's own, unless a share is given.
        relative: deviation as a share of what is held.
        additive: deviation as a share of the cell's full scale.
        images: that one reading serves.
    """

    time: float | None = None
    law: str | None = None
    relative: float = 0.0
    additive: float = 0.0
    images: int = 500
    name: ClassVar[str] = "read"

    def __post_init__(self) -> None:
        """Refuse what reads nothing."""
        for key in ("time", "relative", "additive"):
            checked(self, key, what=" (seconds)" if key == "time" else "")
        object.__setattr__(self, "images", whole("read: images", self.images, 1))
        if self.law is not None and self.law not in devices.READ_NOISE:
            raise unknown("law of read noise", self.law, devices.READ_NOISE)
        if self.law is not None and self._given:
            raise InputError(f"read: law={self.law} and a share are both given; expected one of them")

    @property
    def _given(self) -> bool:
        return bool(self.relative or self.additive)

    def __str__(self) -> str:
        """Return it as text."""
        return text(self)

    def on(self, device: Device) -> ReadNoise:
        """Return it; InputError for a device that has no law where none is given."""
        self.law_of(device)
        return self

    def after(self, time: float | None) -> ReadNoise:
        """Return it with the time of what came before, where it has none of its own."""
        return self if self.time is not None or time is None else replace(self, time=time)

    def law_of(self, device: Device) -> devices.AnyReadNoise | None:
        """Return the numbers it uses on a device; None where shares are given."""
        if self._given:
            return None
        own = device.effects.read_noise if device.effects else None
        found = own if self.law is None else devices.READ_NOISE[self.law]
        if found is None:
            raise InputError(f"read: device {device.name!r} has no law of its own; expected law= one of "
                             f"{', '.join(devices.READ_NOISE)}, relative=0.01 or additive=0.01")  # fmt: skip
        return found

    def numbers(self, device: Device) -> dict[str, object]:
        """Return all that it depends on."""
        law = self.law_of(device)
        held: dict[str, object] = {"name": self.name, "images": self.images}
        if law is None:
            return {**held, "relative": self.relative, "additive": self.additive}
        held |= {key: value for key, value in values(law).items() if key != "source"}
        return held if isinstance(law, devices.SaturatingReadNoise) else {**held, "time": self.time or 0.0}

    def befall(self, v: Tensor, cells: Programmed) -> Tensor:
        """Return what is read of cells."""
        return cells.normal(f"read/{cells.read}").mul_(self.deviation(v, cells)).add_(v)

    def deviation(self, v: Tensor, cells: Programmed) -> Tensor:
        """Return the standard deviation of each cell's reading, in level units."""
        law, held = self.law_of(cells.device), (v + cells.offset).abs_()  # conductances, in level units
        unit = cells.top / (cells.device.levels[-1] - cells.device.levels[0])
        if law is None:
            if not self.additive:
                return held.mul_(self.relative)
            return held.mul_(self.relative).square_().add_((self.additive * cells.top) ** 2).sqrt_()
        if isinstance(law, devices.SaturatingReadNoise):
            return held.mul_(-1 / (law.b * unit)).expm1_().mul_(-law.a * unit)
        t = (self.time or 0.0) + law.t_0
        held.mul_(math.sqrt(math.log((t + law.t_r) / (2 * law.t_r))))
        share = (cells.programmed + cells.offset).mul_(1 / (unit * cells.device.levels[-1])).clamp_(min=0)
        return held.mul_(quotient(law, share))


def quotient(law: devices.ReadNoise | devices.LogReadNoise, x: Tensor) -> Tensor:
    """Return Q of x = g / g_max as programmed."""
    if isinstance(law, devices.ReadNoise):
        return x.pow(law.p).clamp_(min=law.floor).reciprocal_().mul_(law.q).clamp_(max=law.cap)
    a, b, low, high = law.q
    below = (a * x.clamp(min=1e-7).log() + b).clamp(low, high)
    if not law.q_above:
        return below
    edge, *c = law.q_above
    return torch.where(x < edge, below, sum(each * x**i for i, each in enumerate(c)))
