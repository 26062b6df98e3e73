"""Retention: what is known of a device's cells at measured times, in place of how they were programmed.

The rows of a device's table (`nvlib.devices.Retention`) are *total* deviations from the target and shifts of the mean.
So a cell keeps its luck z = (v - level) / spread of programming and holds

    level + mean(t) + sigma_d deviation(t) z

with sigma_d the factor on the measurement. Between measured times numbers are interpolated, in log t (RRAM, Wan et al.
2022: 1 s, 1 day, 2 days) or in t (SONOS, Agrawal et al. 2022: 0 to 5 days, as its fit says); beyond them it is refused.
That deviations fall from one day to two at some levels of Wan's table is scatter of the measurement.
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
from nvlib.errors import InputError
from nvlib.records import values


@dataclass(frozen=True)
class Retention:
    """The device's cells at a time, with the luck that they were programmed with.

    Attributes:
        time: s after programming, within the measured times.
    """

    time: float
    name: ClassVar[str] = "retention"
    first: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what is no time."""
        checked(self, "time", what=" (seconds)")
        if self.time is None:
            raise InputError("retention: time is missing; expected seconds after programming, e.g. time=86400")

    def __str__(self) -> str:
        """Return it as text."""
        return text(self)

    def law_of(self, device: Device) -> devices.Retention:
        """Return the table of a device; InputError where there is none, or the time is beyond it."""
        law = device.effects.retention if device.effects else None
        if law is None:
            known = [n for n in devices.names() if (d := devices.get(n).effects) and d.retention]
            raise InputError(f"retention: device {device.name!r} has no measured times; expected {' or '.join(known)}, "
                             "or [effects.retention] in its file")  # fmt: skip
        if not law.times[0] <= self.time <= law.times[-1]:
            raise InputError(f"retention: time={self.time:g} is beyond what was measured of {device.name}; expected "
                             f"{law.times[0]:g} to {law.times[-1]:g} s")  # fmt: skip
        return law

    def on(self, device: Device) -> Retention:
        """Return it; InputError for a device or a time without numbers."""
        self.law_of(device)
        return self

    def numbers(self, device: Device) -> dict[str, object]:
        """Return all that it depends on."""
        law = values(self.law_of(device))
        law.pop("source")
        return {"name": self.name, "time": self.time, **law}

    def befall(self, v: Tensor, cells: Programmed) -> Tensor:
        """Give cells their deviation at the time."""
        spread, mean = at(self.law_of(cells.device), cells.device, self.time)
        luck = torch.where(cells.spread > 0, (v - cells.level) / cells.spread, 0.0)
        return cells.level + cells.per_level(mean) + cells.sigma_d * cells.per_level(spread) * luck


@lru_cache(maxsize=256)
def at(law: devices.Retention, device: Device, time: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return deviation and shift of the mean of each level at a time, in level units."""
    scale = np.log if law.scale == "log" else np.asarray
    place, known = scale(time), scale(np.array(law.times))
    unit = (2**device.bits - 1) / (device.levels[-1] - device.levels[0])
    rows = (np.array(law.deviation).T, np.array(law.mean).T)
    spread, mean = (tuple(unit * float(np.interp(place, known, row)) for row in columns) for columns in rows)
    return spread, mean
