"""Where cells stop: no conductance is below 0, and none above what a device says.

The Gaussian of programming knows no bounds. `Limits` cuts what cells hold at that place of the order: before drift as
IBM aihwkit has it (g_p = max(0, ...)), behind read noise for what is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from nvlib.devices import Device
from nvlib.effects.protocol import Programmed
from nvlib.effects.values import checked, text
from nvlib.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Cells stop at two conductances, in the device's unit.

    Attributes:
        low: None: the device's own, else 0.
        high: None: the device's own, else none.
    """

    low: float | None = None
    high: float | None = None
    name: ClassVar[str] = "limits"

    def __post_init__(self) -> None:
        """Refuse what is no range."""
        checked(self, "low")
        checked(self, "high")
        if self.high is not None and (self.low or 0.0) >= self.high:
            raise InputError(f"limits: low={self.low or 0.0:g} is not below high={self.high:g}; expected conductances")

    def __str__(self) -> str:
        """Return it as text."""
        return text(self)

    def bounds(self, device: Device) -> tuple[float, float | None]:
        """Return the conductances at which cells of a device stop."""
        low, high = (device.effects.limits if device.effects else None) or (0.0, None)
        return low if self.low is None else self.low, high if self.high is None else self.high

    def numbers(self, device: Device) -> dict[str, object]:
        """Return all that it depends on."""
        low, high = self.bounds(device)
        return {"name": self.name, "low": low, "high": high}

    def befall(self, v: Tensor, cells: Programmed) -> Tensor:
        """Cut what cells hold."""
        low, high = self.bounds(cells.device)
        unit = cells.top / (cells.device.levels[-1] - cells.device.levels[0])
        return v.clamp(low * unit - cells.offset, None if high is None else high * unit - cells.offset)
