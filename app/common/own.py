"""A reader's own device, from a file or a table of its levels.

What a reader gives is data: the file's name serves for its ending alone, the bytes are read by `nvlib.devices.load` in
a folder of their own that is removed at once, and what is shown of a device's texts is stripped of markup.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from nvlib import devices
from nvlib.devices import Device
from nvlib.errors import InputError

MOST = 64 * 1024  # bytes of a device file: 256 levels take 10 KB


def read(name: str, content: bytes) -> Device:
    """Return the device in a file that a reader gave.

    Raises:
        InputError: in one line that names the file.
    """
    suffix = Path(name).suffix.lower()
    shown = plain(Path(name).name) or "the file"
    if suffix not in (".toml", ".csv"):
        raise InputError(f"{shown} ends in {plain(suffix)!r}; expected .toml or .csv; save the device as one of them")
    if len(content) > MOST:
        raise InputError(f"{shown} has {len(content):,} bytes; expected a device of at most {MOST:,}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"device{suffix}"
        path.write_bytes(content)
        try:
            return cleaned(devices.load(path))
        except InputError as error:
            raise InputError(str(error).replace(str(path), shown)) from None


def made(fields: Mapping[str, Any], table: pd.DataFrame) -> Device:
    """Return the device of a table of levels (conductance, deviation) and the other fields.

    Raises:
        InputError: for what makes no device.
    """
    rows = table[["conductance", "deviation"]].dropna(how="all")
    size = len(rows)
    if size < 2 or size & (size - 1):
        raise InputError(f"table has {size} rows; expected 2^bits: 2, 4, 8, ...; give one for each level")
    columns = {key: rows[column].tolist() for key, column in (("levels", "conductance"), ("deviation", "deviation"))}
    device = cleaned(Device(bits=size.bit_length() - 1, **columns, **fields))
    if device.name in devices.names() and devices.get(device.name).numbers() != device.numbers():
        raise InputError(f"name {device.name!r} is a built-in device's, with other numbers; choose a name of its own")
    return device


def written(device: Device, suffix: str) -> bytes:
    """Return a device as the bytes of a ``.toml`` or ``.csv`` file."""
    with tempfile.TemporaryDirectory() as folder:
        return devices.save(device, Path(folder) / f"device{suffix}").read_bytes()


def cleaned(device: Device) -> Device:
    """Return the device with texts that hold no markup; its numbers are untouched."""
    texts: dict[str, Any] = {key: plain(getattr(device, key)) or "not said" for key in ("unit", "source", "validity")}
    name = plain(device.name)[:60]
    if not name:
        raise InputError("the device's name has no letter or digit; expected a short name, e.g. my_cell")
    return replace(device, name=name, label=plain(device.label), **texts)


def plain(text: str) -> str:
    """Return a text without anything that a page or a figure would read as markup."""
    return " ".join(re.sub(r"[^\w .,;:()+/%=^'-]", "", text).split())[:300]
