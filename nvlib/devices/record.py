"""One record: the levels of a K-bit cell and the standard deviation of each; the only place that converts units.

    v_d = (g_d - g_min) (2^K - 1) / (g_max - g_min)          what linear read-out sees of level d: 0 .. 2^K - 1
    s_d = c sigma_d deviation_d                              relative: c = 2^K - 1 (``full_scale``) or 1 (``level``)
    s_d = sigma_d deviation_d (2^K - 1) / (g_max - g_min)    absolute: sigma_d is a factor on the measurement

v (`Device.values`) and its standard deviation s (`Device.spread`) are in level units. Every field is checked when a
record is made, so that what is handed one need not check again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from itertools import pairwise
from numbers import Integral
from typing import Any

from nvlib.cards import bars, card
from nvlib.devices.laws import Laws
from nvlib.errors import InputError, is_number, number, unknown
from nvlib.records import later, values

REFERENCES = ("full_scale", "level")
MAX_BITS = 8  # 256 levels, more than any published cell
UNSOURCED = "assumed: no source given"
UNITS = (
    "level", "S", "mS", "uS", "nS", "pS", "A", "mA", "uA", "nA", "pA", "a.u.",
)  # of conductances, or of the currents that they are read by


def _rounded(x: float) -> float:
    """Keep 12 digits: numbers, and hashes of results, must not hang on the last bit of a platform's exp."""
    return float(f"{x:.12g}")


@dataclass(frozen=True)
class Device:
    """A kind of NVM cell: 2^K conductance levels and the standard deviation of each.

    Raises:
        InputError: where a field cannot be used, in one line.
    """

    name: str
    bits: int  # K
    levels: tuple[float, ...]  # 2^K target conductances, ascending, in `unit`
    deviation: tuple[float, ...]  # 2^K: multiples of sigma_d (relative), else standard deviations in `unit`
    unit: str  # one of `UNITS`: "level" for abstract devices, else "uS", "nA", ...
    relative: bool
    source: str = UNSOURCED
    validity: str = UNSOURCED  # range, conditions, what is assumed
    effects: Laws | None = None  # what befalls its cells after programming; no part of `numbers`
    label: str = later("")  # as figures write it; "": by its name

    def __post_init__(self) -> None:
        """Check every field and bring it to its plain type."""
        for key in ("name", "unit", "source", "validity"):
            text = getattr(self, key)
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"device {key} is {text!r}; expected a text; name the {key}")
            object.__setattr__(self, key, " ".join(text.split()))  # one line: messages, CSV headers
        if not isinstance(self.label, str):
            raise InputError(f"device label is {self.label!r}; expected a text, or none")
        object.__setattr__(self, "label", " ".join(self.label.split()))
        object.__setattr__(self, "unit", _unit(self.name, self.unit))
        object.__setattr__(self, "bits", _bits(self.name, self.bits))
        if not isinstance(self.relative, bool):
            raise InputError(
                f"device {self.name!r}: relative is {self.relative!r}; expected true (deviations are multiples of "
                "sigma_d) or false (they are in the unit of the levels)"
            )
        for key in ("levels", "deviation"):
            object.__setattr__(self, key, self._column(key))
        for below, above in pairwise(self.levels):
            if not below < above:
                raise InputError(
                    f"device {self.name!r}: level {above:g} follows {below:g}; expected ascending, distinct "
                    "conductances; sort the table"
                )
        if self.effects is not None:
            object.__setattr__(self, "effects", self._laws(self.effects))

    def _laws(self, given: Laws | Mapping[str, Any]) -> Laws:
        try:
            laws = given if isinstance(given, Laws) else Laws.from_dict(given)
        except InputError as error:
            raise InputError(f"device {self.name!r}: {error}") from None
        if laws.retention is not None and len(laws.retention.deviation[0]) != 2**self.bits:
            raise InputError(f"device {self.name!r}: retention has rows of {len(laws.retention.deviation[0])}; "
                             f"expected one number for each of its {2**self.bits} levels")  # fmt: skip
        return laws

    def _column(self, key: str) -> tuple[float, ...]:
        column, size = getattr(self, key), 2**self.bits
        if isinstance(column, str | Mapping) or not hasattr(column, "__len__"):
            raise InputError(f"device {self.name!r}: {key} is {column!r}; expected a list of {size} numbers")
        if len(column) != size:
            raise InputError(
                f"device {self.name!r}: {key} has {len(column)} entries; expected 2^bits = {size} "
                f"for bits={self.bits}; give one for each level"
            )
        for i, x in enumerate(column):
            if not is_number(x) or x < 0:
                raise InputError(
                    f"device {self.name!r}: {key}[{i}] is {x!r}; expected a finite number >= 0; correct it"
                )
        return tuple(float(x) for x in column)

    @property
    def values(self) -> tuple[float, ...]:
        """What linear read-out sees of each level, in level units: 0 for the lowest, 2^K - 1 for the top."""
        top = 2**self.bits - 1
        low, span = self.levels[0], self.levels[-1] - self.levels[0]
        # rounded, so that evenly spaced levels come out as the whole numbers they are
        return (0.0, *(_rounded((g - low) / span * top) for g in self.levels[1:-1]), float(top))

    @property
    def usual_sigma_d(self) -> float:
        """What sigma_d is where nobody says it: 0.1, or 1 of a measured device, as measured."""
        return 0.1 if self.relative else 1.0

    def _repr_html_(self) -> str:
        """Return it as a notebook shows it: its numbers, and how far each level strays."""
        rows = {"bits of a cell": self.bits, "levels": f"{self.levels[0]:g} to {self.levels[-1]:g} {self.unit}",
                "sigma_d": "is the size of the variation" if self.relative else "is a factor on what was measured",
                "source": self.source}  # fmt: skip
        spread = self.spread(self.usual_sigma_d)
        return card(f"Device {self.name}", rows, bars(spread, "how far each level strays, from the lowest to the top"))

    def spread(self, sigma_d: float | None = None, reference: str = "full_scale") -> tuple[float, ...]:
        """Return the standard deviation of each level, in level units.

        Args:
            sigma_d: size of the variation. A relative device needs it; an absolute one takes it as a factor on its
                measurement (None or 1: as measured).
            reference: what sigma_d is relative to, ``full_scale`` or ``level``; without effect on an absolute device.

        Raises:
            InputError: if sigma_d is not a finite number >= 0, or the reference is unknown.
        """
        if reference not in REFERENCES:
            raise unknown("reference", reference, REFERENCES)
        if sigma_d is None and not self.relative:
            sigma_d = 1.0
        if not is_number(sigma_d) or sigma_d < 0:
            raise InputError(
                f"sigma_d is {sigma_d!r} for device {self.name!r}; expected a finite number >= 0; give one, e.g. 0.1 "
                "(0 is no variation)"
            )
        top = 2**self.bits - 1
        if self.relative:
            factor = top if reference == "full_scale" else 1
        else:
            factor = top / (self.levels[-1] - self.levels[0])
        return tuple(factor * float(sigma_d) * d for d in self.deviation)

    def numbers(self) -> dict[str, object]:
        """Return what a result depends on, without name and wording, in plain JSON types."""
        return {k: v for k, v in self.to_dict().items() if k not in ("name", "source", "validity", "effects", "label")}

    def to_dict(self) -> dict[str, Any]:
        """Return the record in plain JSON types; `from_dict` reads it back."""
        record = {key: list(value) if isinstance(value, tuple) else value for key, value in values(self).items()
                  if key != "effects"}  # fmt: skip
        return record | ({"effects": self.effects.to_dict()} if self.effects else {})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Device:
        """Return the device of a record; source and validity may be missing.

        Raises:
            InputError: if a key is missing or unknown, or a value cannot be used.
        """
        known = [field.name for field in fields(cls)]
        for key in record:
            if key not in known:
                raise unknown("device key", key, known)
        missing = [field.name for field in fields(cls) if field.default is MISSING and field.name not in record]
        if missing:
            raise InputError(f"device has no {', '.join(missing)}; expected {', '.join(known)}; add it")
        return cls(**record)


def _unit(name: str, unit: str) -> str:
    unit = unit.replace("\u00b5", "u").replace("\u03bc", "u")  # the micro sign, the Greek letter
    if unit.lower().endswith(("ohm", "ohms", "\u03c9")):  # the last is a small omega
        raise InputError(
            f"device {name!r}: unit {unit!r} is one of resistance; expected conductances: give 1 / R as level and "
            "sigma_R / R^2 as deviation, in S (or mS of kOhm, uS of MOhm), from the smallest conductance up"
        )
    if unit not in UNITS:
        raise unknown(f"unit of device {name!r}", unit, UNITS)
    return unit


def _bits(name: str, bits: object) -> int:
    if isinstance(bits, bool) or not isinstance(bits, Integral) or not 1 <= int(bits) <= MAX_BITS:
        raise InputError(
            f"device {name!r}: bits is {bits!r}; expected a whole number from 1 to {MAX_BITS}; "
            "give the bits stored in one cell"
        )
    return int(bits)


def tabulate(
    name: str,
    sigma: Callable[[float], float],
    g_min: float,
    g_max: float,
    *,
    bits: int = 2,
    unit: str = "uS",
    source: str = UNSOURCED,
    validity: str = UNSOURCED,
) -> Device:
    """Return an absolute device: a deviation formula on 2^bits evenly spaced levels from g_min to g_max.

    Args:
        name: of the device.
        sigma: conductance -> standard deviation, both in `unit`.
        g_min: lowest level.
        g_max: highest level.
        bits: K.
        unit: of the conductances.
        source: where the formula is published.
        validity: its range and conditions, and what is assumed.

    Raises:
        InputError: as `Device` does.
    """

    def rounded(x: Any) -> Any:
        return _rounded(x) if is_number(x) else x  # which the record refuses

    top = 2 ** _bits(name, bits) - 1
    g_min, g_max = number("g_min", g_min), number("g_max", g_max)
    levels = [g_min + (g_max - g_min) * i / top for i in range(top)] + [g_max]
    return Device(name, bits, tuple(levels), tuple(map(rounded, map(sigma, levels))), unit, False, source, validity)
