"""A device by its name or from a file, so that a user's own serves wherever a published one does.

The built-in ones are files too, nvlib/_data/devices/*.toml, in the order of lists: to add one is to add its file. A
TOML file has the fields of `Device` as keys. A CSV file is a table, a row a level, below the other fields:

    # name: my cell
    # unit: uS
    level,conductance,deviation
    0,1.0,0.3
    1,20.0,0.5

What befalls its cells after programming (`nvlib.devices.laws`) stands in tables [effects.drift], ... of the TOML, and
in CSV as JSON behind ``# effects:``.
"""

from __future__ import annotations

import csv
import json
import re
import tomllib
from functools import cache
from os import PathLike
from pathlib import Path

from nvlib.devices.record import Device
from nvlib.errors import InputError, instance, unknown

_COLUMNS = ["level", "conductance", "deviation"]
_BUILT_IN = Path(__file__).parents[1] / "_data" / "devices"


@cache
def _registry() -> dict[str, Device]:
    """Return the built-in devices by name."""
    return {device.name: device for device in map(_read, sorted(_BUILT_IN.glob("*.toml")))}


def names() -> list[str]:
    """Return the names of the built-in devices."""
    return list(_registry())


def get(device: str | Path | Device) -> Device:
    """Return a device by name, by the path of its .toml or .csv file, or as it is.

    Raises:
        InputError: if the name is unknown or the file cannot be used.
    """
    if isinstance(device, Device):
        return device
    if isinstance(device, Path) or str(device).lower().endswith((".toml", ".csv")):
        return load(device)
    if not isinstance(device, str) or device not in _registry():
        raise InputError(f"{unknown('device', device, names())}; or the path of a .toml or .csv file")
    return _registry()[device]


def counted_alike(name: str, *given: str | Path | Device) -> None:
    """Refuse devices that would take one sigma_d, which was left out, and count it differently.

    Args:
        name: of what was left out, as whoever reads the error would write it.
        *given: the devices.

    Raises:
        InputError: naming two that differ.
    """
    first, *others = map(get, given)
    for device in others:
        if device.relative != first.relative:
            way = "a fraction of full scale" if device.relative else "a factor on its measurement"
            usual = ", ".join(f"{each.usual_sigma_d:g} of {each.name}" for each in (first, device))
            raise InputError(f"{name} is left out, and {device.name} counts it as {way}, unlike {first.name}; "
                             f"expected {name} (usual: {usual}), or devices that count it alike")  # fmt: skip


def load(path: str | Path) -> Device:
    """Return the device of a TOML or CSV file.

    ``name`` (else the file's name), ``source`` and ``validity`` may be left out; in CSV, whose rows go from level 0
    up, also ``bits`` (as many as the rows), ``unit`` (uS) and ``relative`` (false).

    Raises:
        InputError: if the file is missing, of another kind, holds no usable device, or gives a built-in device's name
            to other numbers (its results would be taken for that device's).
    """
    device = _read(Path(instance("path", path, str | PathLike, "the path of a .toml or .csv file")))
    known = _registry().get(device.name)
    if known is not None and known.numbers() != device.numbers():
        raise InputError(
            f"{path}: name {device.name!r} is a built-in device's, with other numbers; expected a name of its own; "
            "choose one"
        )
    return device


def _read(path: Path) -> Device:
    """Return the device of a file, built in or a user's."""
    kind = _kind(path)
    if not path.is_file():
        raise InputError(f"device file {str(path)!r} is missing; expected a {kind} file; check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
        record = tomllib.loads(text) if kind == ".toml" else _from_csv(text)
        return Device.from_dict({"name": path.stem, **record})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, csv.Error) as error:
        why = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read: {why}; expected {kind} text in UTF-8; correct it") from None


def save(device: str | Device, path: str | Path) -> Path:
    """Write a device as TOML or CSV, for `load` to read back equal: a template for your own.

    Raises:
        InputError: if the device is unknown or the path ends in neither .toml nor .csv.
    """
    path, record = Path(path), get(device).to_dict()
    if _kind(path) == ".toml":  # JSON of such plain values is TOML too
        laws = record.pop("effects", {})
        lines = _toml(record)
        if plain := {key: v for key, v in laws.items() if not isinstance(v, dict)}:
            lines += ["", "[effects]", *_toml(plain)]
        for key, law in laws.items():
            lines += ["", f"[effects.{key}]", *_toml(law)] if isinstance(law, dict) else []
    else:
        table = enumerate(zip(record.pop("levels"), record.pop("deviation"), strict=True))
        lines = [f"# {key}: {v if isinstance(v, str) else json.dumps(v)}" for key, v in record.items()]
        lines += [",".join(_COLUMNS), *(f"{i},{g!r},{d!r}" for i, (g, d) in table)]
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; expected a file in a folder that is "
                         "there") from None  # fmt: skip
    return path


def _toml(record: dict[str, object]) -> list[str]:
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in record.items()]


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
            record[key] = _laws(value) if key == "effects" else _parsed(value) if key in ("bits", "relative") else value
    table = csv.reader((line for line in lines if not line.startswith("#")), skipinitialspace=True)
    rows = [[cell.strip() for cell in row] for row in table]
    if not rows or rows[0] != _COLUMNS:
        head = ",".join(rows[0]) if rows else "missing"
        raise InputError(f"header row is {head}; expected {','.join(_COLUMNS)}; name the columns so")
    for i, row in enumerate(rows[1:]):
        if len(row) != len(_COLUMNS) or row[0] != str(i):
            raise InputError(
                f"row {','.join(row)} stands where level {i} should; expected {i},conductance,deviation; list the "
                "levels from 0 up, each once"
            )
    size = len(rows) - 1
    if size < 2 or size & (size - 1):
        raise InputError(f"table has {size} rows; expected 2^bits: 2, 4, 8, ...; give one for each level")
    record.setdefault("bits", size.bit_length() - 1)
    levels, deviation = zip(*((_parsed(row[1]), _parsed(row[2])) for row in rows[1:]), strict=True)
    return {**record, "levels": levels, "deviation": deviation}


def _laws(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise InputError(f"effects is {text[:60]!r}; expected JSON, as `devices.save` writes it") from None


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
