"""What befalls a device's cells after programming, as numbers: drift, read noise, retention, and where cells stop.

They stand beside a device, in its TOML too, and are no part of `Device.numbers`: a result depends on them only where an
effect (`nvlib.effects`) uses them.

    [effects]
    limits = [0.0, 25.0]                  # conductances, in the device's unit, at which a cell stops
    [effects.drift]                       # fields of `Drift`; likewise read_noise, retention
    t_0 = 20.0
    ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from itertools import pairwise
from typing import Any

from nvlib.errors import InputError, is_number, unknown
from nvlib.records import later, values

SCALES = ("log", "linear")


@dataclass(frozen=True)
class Drift:
    """Decay g (t / t_0)^-nu, nu = |N(mean, deviation^2)| of each cell; x = g / g_max of what it was meant for.

    Mean and deviation are clip(a ln x + b, low, high); beyond an edge, x >= edge, the polynomial c0 + c1 x + c2 x^2 ...
    """

    t_0: float  # s
    mean: tuple[float, float, float, float]  # a, b, low, high
    deviation: tuple[float, float, float, float]
    source: str
    mean_above: tuple[float, ...] = later(())  # edge, c0, c1, ...
    deviation_above: tuple[float, ...] = later(())

    def __post_init__(self) -> None:
        """Refuse what is no drift."""
        _positive("drift", "t_0", self.t_0)
        for key in ("mean", "deviation"):
            _numbers("drift", self, key, 4)
            _numbers("drift", self, f"{key}_above", None)


@dataclass(frozen=True)
class ReadNoise:
    """Deviation g Q sqrt(ln((t + t_r) / 2 t_r)), Q = min(q / max(x^p, floor), cap), x = g / g_max as programmed."""

    t_r: float  # s
    q: float
    p: float
    floor: float
    cap: float
    source: str
    t_0: float = 20.0  # s, when it was programmed; t runs from then

    def __post_init__(self) -> None:
        """Refuse what is no read noise."""
        for key in ("t_r", "q", "p", "floor", "cap", "t_0"):
            _positive("read_noise", key, getattr(self, key))


@dataclass(frozen=True)
class LogReadNoise:
    """Deviation g Q sqrt(ln((t + t_r) / 2 t_r)), Q = clip(a ln x + b, low, high); for x >= edge a polynomial of x."""

    t_r: float  # s
    t_0: float  # s
    q: tuple[float, float, float, float]  # a, b, low, high
    source: str
    q_above: tuple[float, ...] = ()  # edge, c0, c1, ...

    def __post_init__(self) -> None:
        """Refuse what is no read noise."""
        _positive("read_noise", "t_r", self.t_r)
        _positive("read_noise", "t_0", self.t_0)
        _numbers("read_noise", self, "q", 4)
        _numbers("read_noise", self, "q_above", None)


@dataclass(frozen=True)
class SaturatingReadNoise:
    """Deviation a (1 - exp(-g / b)), in the unit of the device, whatever the time."""

    a: float
    b: float
    source: str

    def __post_init__(self) -> None:
        """Refuse what is no read noise."""
        _positive("read_noise", "a", self.a)
        _positive("read_noise", "b", self.b)


@dataclass(frozen=True)
class Retention:
    """Total deviation of each level from its target at measured times, and how far its mean has moved.

    Attributes:
        times: s, ascending.
        deviation: a row a time of one number a level, in the device's unit: it replaces that of programming.
        mean: likewise, what is added to each level.
        source: where it is published.
        scale: of time between the measured ones: ``log`` or ``linear``.
    """

    times: tuple[float, ...]
    deviation: tuple[tuple[float, ...], ...]
    mean: tuple[tuple[float, ...], ...]
    source: str
    scale: str = "log"

    def __post_init__(self) -> None:
        """Refuse what is no table of times and levels."""
        _numbers("retention", self, "times", None)
        if self.scale not in SCALES:
            raise unknown("scale of retention's times", self.scale, SCALES)
        if len(self.times) < 2 or any(b <= a for a, b in pairwise(self.times)) or self.times[0] < 0 or (
            self.scale == "log" and self.times[0] == 0
        ):  # fmt: skip
            raise InputError(f"retention times {self.times!r}: expected at least two, ascending, from 0 s on (above it "
                             "where scale is log)")  # fmt: skip
        for key in ("deviation", "mean"):
            rows = getattr(self, key)
            if not isinstance(rows, list | tuple) or len(rows) != len(self.times):
                raise InputError(f"retention {key} is {rows!r}; expected a row for each of the {len(self.times)} times")
            object.__setattr__(self, key, tuple(_row("retention", key, row, None) for row in rows))
            if len({len(row) for row in getattr(self, key)}) != 1:
                raise InputError(f"retention {key} has rows of different lengths; expected one number a level")


AnyReadNoise = ReadNoise | LogReadNoise | SaturatingReadNoise
READ_NOISES = (ReadNoise, LogReadNoise, SaturatingReadNoise)


@dataclass(frozen=True)
class Laws:
    """What is known of a device beyond programming; each None where nothing is.

    ``limits`` are the conductances at which its cells stop, in its unit: (0.0, top).
    """

    drift: Drift | None = None
    read_noise: ReadNoise | LogReadNoise | SaturatingReadNoise | None = None
    retention: Retention | None = None
    limits: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Refuse what the device cannot have."""
        kinds = {"drift": (Drift,), "read_noise": READ_NOISES, "retention": (Retention,)}
        for key, known in kinds.items():
            if (held := getattr(self, key)) is not None and not isinstance(held, known):
                raise InputError(f"effects.{key} is {held!r}; expected {' or '.join(k.__name__ for k in known)}")
        if self.limits is not None:
            object.__setattr__(self, "limits", _row("effects", "limits", self.limits, 2))
            if not self.limits[0] < self.limits[1]:
                raise InputError(f"effects.limits is {list(self.limits)}; expected the lower one first")

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Laws:
        """Return the laws of a table, as in a TOML file.

        Raises:
            InputError: if a key is missing or unknown, or a value cannot be used.
        """
        if not isinstance(record, Mapping):
            raise InputError(f"effects is {record!r}; expected a table: [effects.drift], ...")
        known = [f.name for f in fields(cls)]
        for key in record:
            if key not in known:
                raise unknown("effect of a device", key, known)
        made: dict[str, tuple[type, ...]] = {"drift": (Drift,), "read_noise": READ_NOISES, "retention": (Retention,)}
        held: dict[str, Any] = {key: _made(key, value, made[key]) if key in made else value
                                for key, value in record.items()}  # fmt: skip
        return cls(**held)

    def to_dict(self) -> dict[str, Any]:
        """Return them in plain JSON types; `from_dict` reads them back."""
        return {key: _listed(held) for key, held in values(self).items() if held is not None}


def _made(key: str, record: Mapping[str, Any], kinds: tuple[type, ...]) -> object:
    """Return the law whose fields a table has."""
    if isinstance(record, kinds):
        return record
    if not isinstance(record, Mapping):
        raise InputError(f"effects.{key} is {record!r}; expected a table of numbers")
    held = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    for kind in kinds:
        needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
        if needed <= set(held) <= {f.name for f in fields(kind)}:
            return kind(**held)
    said = " or ".join(", ".join(f.name for f in fields(kind)) for kind in kinds)
    raise InputError(f"effects.{key} has {', '.join(held) or 'nothing'}; expected {said}")


def _listed(value: object) -> Any:
    if isinstance(value, Mapping):
        return {key: _listed(held) for key, held in value.items()}
    return [_listed(held) for held in value] if isinstance(value, tuple | list) else value


def _positive(law: str, key: str, value: object) -> None:
    if not is_number(value) or value <= 0:
        raise InputError(f"{law} {key} is {value!r}; expected a finite number above 0")


def _numbers(law: str, record: object, key: str, size: int | None) -> None:
    object.__setattr__(record, key, _row(law, key, getattr(record, key), size))


def _row(law: str, key: str, row: object, size: int | None) -> tuple[float, ...]:
    if not isinstance(row, list | tuple) or not all(map(is_number, row)) or size not in (None, len(row)):
        raise InputError(f"{law} {key} is {row!r}; expected {size or 'a list of'} finite numbers")
    return tuple(float(x) for x in row)


