"""Devices as data: the conductance levels of an NVM cell, and how far each one strays.

A K-bit cell has 2^K target conductances g_0 < g_1 < ... (``levels``). Programmed to level d it holds

    g_d + dg,   dg ~ N(0, deviation_d^2)              (independent between cells)

and linear read-out sees it in level units, with g_min at 0 and g_max at 2^K - 1:

    v_d = (g_d - g_min) (2^K - 1) / (g_max - g_min).

How large dg is comes in two kinds:

    relative   deviation_d = r_d sigma_d: r is the profile over levels (TRICE Eqs. 15-17), sigma_d a free
               number, relative to the cell's full scale (``full_scale``, c = 2^K - 1) or to one level
               (``level``, c = 1);
    absolute   deviation_d as measured, in the unit of the levels; sigma_d is a factor on the measurement.

Both end as standard deviations in level units, `Device.spread`; only there and in `Device.values` are units
converted. Every number has a source, or its ``validity`` says ``assumed``.
"""

from __future__ import annotations

import csv
import json
import math
import re
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from pathlib import Path

from nvlib.errors import InputError, unknown

REFERENCES = ("full_scale", "level")
MAX_BITS = 8  # 256 levels, more than any published cell
UNSOURCED = "assumed: no source given"


def _finite(x: object) -> bool:
    return isinstance(x, Real) and not isinstance(x, bool) and abs(x) <= sys.float_info.max  # false for nan


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
    unit: str  # "level" for abstract devices, else "uS", "nA", ...
    relative: bool
    source: str = UNSOURCED
    validity: str = UNSOURCED  # range, conditions, what is assumed

    def __post_init__(self) -> None:
        """Check every field and bring it to its plain type."""
        for key in ("name", "unit", "source", "validity"):
            text = getattr(self, key)
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"device {key} is {text!r}; expected a text; name the {key}")
            object.__setattr__(self, key, " ".join(text.split()))  # one line: messages, CSV headers
        object.__setattr__(self, "bits", _bits(self.name, self.bits))
        if not isinstance(self.relative, bool):
            raise InputError(
                f"device {self.name!r}: relative is {self.relative!r}; expected true (deviations are "
                "multiples of sigma_d) or false (they are in the unit of the levels)"
            )
        for key in ("levels", "deviation"):
            object.__setattr__(self, key, self._column(key))
        for below, above in zip(self.levels, self.levels[1:], strict=False):
            if not below < above:
                raise InputError(
                    f"device {self.name!r}: level {above:g} follows {below:g}; expected ascending, distinct "
                    "conductances; sort the table"
                )

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
            if not _finite(x) or x < 0:
                raise InputError(
                    f"device {self.name!r}: {key}[{i}] is {x!r}; expected a finite number >= 0; correct it"
                )
        return tuple(float(x) for x in column)

    @property
    def values(self) -> tuple[float, ...]:
        """What linear read-out sees of each level, in level units: 0 for the lowest, 2^K - 1 for the top."""
        top = 2**self.bits - 1
        low, span = self.levels[0], self.levels[-1] - self.levels[0]
        # Rounded, so that evenly spaced levels come out as the whole numbers they are.
        return (0.0, *(_rounded((g - low) / span * top) for g in self.levels[1:-1]), float(top))

    def spread(self, sigma_d: float | None = None, reference: str = "full_scale") -> tuple[float, ...]:
        """Return the standard deviation of each level, in level units.

        Args:
            sigma_d: size of the variation. A relative device needs it; an absolute one takes it as a factor
                on its measurement (None or 1: as measured).
            reference: what sigma_d is relative to, ``full_scale`` or ``level``; without effect on an absolute
                device.

        Raises:
            InputError: if sigma_d is not a finite number >= 0, or the reference is unknown.
        """
        if reference not in REFERENCES:
            raise unknown("reference", reference, REFERENCES)
        if sigma_d is None and not self.relative:
            sigma_d = 1.0
        if not _finite(sigma_d) or sigma_d < 0:
            raise InputError(
                f"sigma_d is {sigma_d!r} for device {self.name!r}; expected a finite number >= 0; "
                "give one, e.g. 0.1 (0 is no variation)"
            )
        top = 2**self.bits - 1
        if self.relative:
            factor = top if reference == "full_scale" else 1
        else:
            factor = top / (self.levels[-1] - self.levels[0])
        return tuple(factor * float(sigma_d) * d for d in self.deviation)

    def numbers(self) -> dict[str, object]:
        """Return what a result depends on, without name and wording, in plain JSON types."""
        return {k: v for k, v in self.to_dict().items() if k not in ("name", "source", "validity")}

    def to_dict(self) -> dict[str, object]:
        """Return the record in plain JSON types; `from_dict` reads it back."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in record.items()}

    @classmethod
    def from_dict(cls, record: Mapping[str, object]) -> Device:
        """Return the device of a record; source and validity may be missing.

        Raises:
            InputError: if a key is missing or unknown, or a value cannot be used.
        """
        known = [field.name for field in fields(cls)]
        for key in record:
            if key not in known:
                raise unknown("device key", key, known)
        missing = [key for key in known[:-2] if key not in record]
        if missing:
            raise InputError(f"device has no {', '.join(missing)}; expected {', '.join(known)}; add it")
        return cls(**record)


def _bits(name: str, bits: object) -> int:
    if isinstance(bits, bool) or not isinstance(bits, Integral) or not 1 <= bits <= MAX_BITS:
        raise InputError(
            f"device {name!r}: bits is {bits!r}; expected a whole number from 1 to {MAX_BITS}; "
            "give the bits stored in one cell"
        )
    return int(bits)


# -- measured devices: a published fit of deviation against conductance, tabulated on levels ---------------


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
    top = 2 ** _bits(name, bits) - 1
    levels = [g_min + (g_max - g_min) * i / top for i in range(top)] + [g_max]
    return Device(name, bits, levels, [_rounded(sigma(g)) for g in levels], unit, False, source, validity)


def pcm_deviation(g: float) -> float:
    """PCM programming deviation, g in uS (Joshi et al. 2020, aihwkit's fit)."""
    x = g / 25.0
    return 0.26348 + 1.9650 * x - 1.1731 * x**2


def wan_deviation(g: float) -> float:
    """RRAM deviation 1 s after programming, g in uS (Wan et al. 2022, aihwkit's fit)."""
    x = g / 40.0
    return 0.348 + 16.030 * x - 43.853 * x**2 + 45.393 * x**3 - 16.815 * x**4


def wan_deviation_crosssim(g: float) -> float:
    """RRAM deviation 1 s after programming, g in uS (Wan et al. 2022, CrossSim's fit)."""
    return 1.053 + 2.374e-1 * g - 1.167e-2 * g**2 + 1.536e-4 * g**3


def milo_deviation(g: float) -> float:
    """RRAM deviation after program-verify, g in uS (Milo et al. 2021, CrossSim's fit)."""
    return 4.782321 - 0.009107 * g


def sonos_deviation(current: float) -> float:
    """SONOS deviation on day 0, read current in nA (Agrawal et al. 2022, CrossSim's fit)."""
    return -19.887 * math.expm1(-current / 176.31)


@dataclass(frozen=True)
class Drift:
    """Decay g (t / t_0)^-nu, nu ~ N(mean, deviation^2), each clip(a ln x + b, low, high), x = g / g_max."""

    t_0: float  # s
    mean: tuple[float, float, float, float]  # a, b, low, high
    deviation: tuple[float, float, float, float]
    source: str


@dataclass(frozen=True)
class ReadNoise:
    """Deviation g Q sqrt(ln((t + t_r) / 2 t_r)), Q = min(q / max(x^p, floor), cap), x = g / g_max."""

    t_r: float  # s
    q: float
    p: float
    floor: float
    cap: float
    source: str


_JOSHI = "Joshi et al., Nature Communications 11, 2473 (2020), as in IBM aihwkit (PCMLikeNoiseModel)"
# What befalls a cell after it was written: documented here, of no effect on programming.
DRIFT = {"pcm": Drift(20.0, (-0.0155, 0.0244, 0.049, 0.1), (-0.0125, -0.0059, 0.008, 0.045), _JOSHI)}
READ_NOISE = {"pcm": ReadNoise(250e-9, 0.0088, 0.65, 1e-3, 0.2, _JOSHI)}


# -- the registry ------------------------------------------------------------------------------------------

_TRICE = "Yan et al., ICCAD 2023 (TRICE), Eqs. 15-17"
_NFT = "Qin et al., arXiv 2305.14561 (NFT), the authors' public configuration"
_WAN = "Wan et al., Nature 608, 504 (2022), Extended Data Fig. 3, 1 s after programming"
_EVEN = "four evenly spaced levels assumed; Gaussian, where a real cell stops at g = 0"


def _abstract(name: str, profile: Sequence[float], source: str, validity: str) -> Device:
    return Device(name, 2, (0, 1, 2, 3), profile, "level", True, source, validity)


def _nft(name: str, s: float) -> Device:
    """Profile 1 s s 1 over its root mean square, the middle levels holding 40 % of the weights (NFT)."""
    rms = math.sqrt(0.4 * s**2 + 0.6)
    validity = f"abstract; 1 {s} {s} 1 / sqrt(0.4 * {s}^2 + 0.6), so that sigma_d is the rms over the weights"
    return _abstract(name, (1 / rms, s / rms, s / rms, 1 / rms), _NFT, validity)


_OUTER = "abstract, four levels; not normalised: sigma_d is that of the outer levels"
_DEVICES = (
    _abstract("rram", (1, 1, 1, 1), _TRICE, "abstract, four levels; uniform: every level strays alike"),
    _abstract("fefet1", (1, 4, 4, 1), _TRICE, _OUTER),
    _abstract("fefet2", (1, 2, 2, 1), _TRICE, _OUTER),
    _nft("nft_rram4", 4),
    _nft("nft_fefet2", 2),
    _nft("nft_fefet6", 6),
    tabulate(
        "pcm",
        pcm_deviation,
        0.25,
        25.0,
        source=_JOSHI,
        validity="0.25-25 uS, the on/off ratio of 100 that CrossSim suggests; CrossSim's own fit is within "
        f"0.03 uS; programming only (drift and read noise: DRIFT, READ_NOISE); {_EVEN}",
    ),
    tabulate(
        "rram_wan2022",
        wan_deviation,
        1.0,
        40.0,
        source=f"{_WAN}, as fitted in IBM aihwkit (ReRamWan2022NoiseModel)",
        validity="up to 40 uS; g_min = 1 uS assumed; near g = 0 CrossSim's fit of the same data differs, "
        f"1.05 uS against 0.35 here (rram_wan2022_crosssim); {_EVEN}",
    ),
    tabulate(
        "rram_wan2022_crosssim",
        wan_deviation_crosssim,
        1.0,
        39.26,
        source=f"{_WAN}, as fitted in CrossSim (RRAMWan)",
        validity="up to 39.26 uS; g_min = 1 uS assumed; near g = 0 aihwkit's fit of the same data differs, "
        f"0.35 uS against 1.05 here (rram_wan2022); {_EVEN}",
    ),
    tabulate(
        "rram_milo2021",
        milo_deviation,
        50.0,
        225.0,
        source="Milo et al., IRPS 2021, Fig. 4 (IGVVA-100 programming), as fitted in CrossSim (RRAMMilo)",
        validity=f"50-225 uS; no drift data; {_EVEN}",
    ),
    tabulate(
        "sonos",
        sonos_deviation,
        1.6e-4,
        1600.0,
        unit="nA",
        source="Agrawal et al., IEDM 2022, 21.7, Fig. 10a, day 0, as fitted in CrossSim (SONOS)",
        validity="read current up to 1600 nA, the on/off ratio of 1e7 that CrossSim suggests; fit rounded to "
        f"5 digits; programming only; {_EVEN}",
    ),
)
_REGISTRY = {device.name: device for device in _DEVICES}


def names() -> list[str]:
    """Return the names of the built-in devices."""
    return list(_REGISTRY)


def get(device: str | Path | Device) -> Device:
    """Return a device by name, by the path of its .toml or .csv file, or as it is.

    Raises:
        InputError: if the name is unknown or the file cannot be used.
    """
    if isinstance(device, Device):
        return device
    if isinstance(device, Path) or str(device).lower().endswith((".toml", ".csv")):
        return load(device)
    if not isinstance(device, str) or device not in _REGISTRY:
        raise InputError(f"{unknown('device', device, names())}; or the path of a .toml or .csv file")
    return _REGISTRY[device]


# -- a user's device ---------------------------------------------------------------------------------------

_COLUMNS = ["level", "conductance", "deviation"]


def load(path: str | Path) -> Device:
    """Return the device of a TOML or CSV file.

    TOML has the fields of `Device` as keys; ``name`` (else the file's name), ``source`` and ``validity`` may
    be left out. CSV has the columns level, conductance, deviation, one row a level from 0 up; header lines
    ``# key: value`` give the other fields (left out: unit uS, relative false).

    Raises:
        InputError: if the file is missing, of another kind, holds no usable device, or gives a built-in
            device's name to other numbers (its results would be taken for that device's).
    """
    path = Path(path)
    kind = _kind(path)
    if not path.is_file():
        raise InputError(f"device file {str(path)!r} is missing; expected a {kind} file; check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
        record = tomllib.loads(text) if kind == ".toml" else _from_csv(text)
        device = Device.from_dict({"name": path.stem, **record})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, csv.Error) as error:
        why = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read: {why}; expected {kind} text in UTF-8; correct it") from None
    known = _REGISTRY.get(device.name)
    if known is not None and known.numbers() != device.numbers():
        raise InputError(
            f"{path}: name {device.name!r} is a built-in device's, with other numbers; expected a name of "
            "its own; choose one"
        )
    return device


def save(device: str | Device, path: str | Path) -> Path:
    """Write a device as TOML or CSV, for `load` to read back equal: a template for your own.

    Raises:
        InputError: if the device is unknown or the path ends in neither .toml nor .csv.
    """
    path, record = Path(path), get(device).to_dict()
    if _kind(path) == ".toml":  # JSON of such plain values is TOML too
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in record.items()]
    else:
        table = enumerate(zip(record.pop("levels"), record.pop("deviation"), strict=True))
        lines = [f"# {key}: {v if isinstance(v, str) else json.dumps(v)}" for key, v in record.items()]
        lines += [",".join(_COLUMNS), *(f"{i},{g!r},{d!r}" for i, (g, d) in table)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _kind(path: Path) -> str:
    if (kind := path.suffix.lower()) not in (".toml", ".csv"):
        raise InputError(f"device file {str(path)!r} ends in {kind!r}; expected .toml or .csv; use one")
    return kind


def _from_csv(text: str) -> dict[str, object]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    record: dict[str, object] = {"unit": "uS", "relative": False}
    for line in lines:
        # "# key: value" is a field; other comments (a sentence, "# https://...") are the user's own.
        if match := re.match(r"#\s*(\w+)\s*:(?!//)\s*(.*)", line):
            key, value = match.groups()
            record[key] = _parsed(value) if key in ("bits", "relative") else value
    rows = list(csv.reader((line for line in lines if not line.startswith("#")), skipinitialspace=True))
    rows = [[cell.strip() for cell in row] for row in rows]
    if not rows or rows[0] != _COLUMNS:
        head = ",".join(rows[0]) if rows else "missing"
        raise InputError(f"header row is {head}; expected {','.join(_COLUMNS)}; name the columns so")
    for i, row in enumerate(rows[1:]):
        if len(row) != len(_COLUMNS) or row[0] != str(i):
            raise InputError(
                f"row {','.join(row)} stands where level {i} should; expected {i},conductance,deviation; "
                "list the levels from 0 up, each once"
            )
    size = len(rows) - 1
    if size < 2 or size & (size - 1):
        raise InputError(f"table has {size} rows; expected 2^bits: 2, 4, 8, ...; give one for each level")
    record.setdefault("bits", size.bit_length() - 1)
    levels, deviation = zip(*((_parsed(row[1]), _parsed(row[2])) for row in rows[1:]), strict=True)
    return {**record, "levels": levels, "deviation": deviation}


def _parsed(text: str) -> str | bool | int | float:
    """Return the number or truth value a cell stands for; other text as it is, for `Device` to refuse."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text
