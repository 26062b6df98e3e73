"""Every file of the store against its own format, and against its checksum where it has one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nvlib.errors import InputError
from nvlib.store import checksums, formats
from nvlib.store.checksums import record_of
from nvlib.store.files import UNFINISHED
from nvlib.store.runs import Store

STATES = ("sound", "unlisted", "unfinished", "newer", "missing", "damaged")


@dataclass(frozen=True)
class Finding:
    """What was found of a file: its path, one of `STATES`, and why.

    sound: what was written. unlisted: it ships without a checksum, but can be read. unfinished: a write that was cut
    off and never got its name. newer: a later version's. missing: it should be there. damaged: not what was written.
    """

    path: Path
    state: str
    why: str = ""

    def __str__(self) -> str:
        """Return it in a line."""
        return f"{self.path} is {self.state}" + (f" ({self.why})" if self.why else "")


def verify(store: Store) -> Iterator[Finding]:
    """Yield what is found of every file, local runs first, then the shipped ones. Nothing is changed."""
    for name in store.names():
        yield from examined(store.runs / name)
    for folder in _folders(store.shipped):
        yield from examined(folder, ships=True)


def _folders(shipped: Path | None) -> list[Path]:
    """Return every folder that ships: whatever has records, sums or tables."""
    names = ("records.json", checksums.SUMS, "*.parquet")
    return sorted({path.parent for name in names for path in shipped.glob(f"*/{name}")}) if shipped else []


def seal(store: Store) -> int:
    """List the checksums of shipped files that have none, as they are now; returns how many."""
    found = [f for f in verify(store) if f.state == "unlisted"]
    for finding in found:
        folder = finding.path.parent.parent if finding.path.parent.name == "weights" else finding.path.parent
        sums = {finding.path.relative_to(folder).as_posix(): {checksums.of(finding.path)}}
        checksums.write(folder, checksums.listed(folder) | sums)
    return len(found)


def examined(folder: Path, ships: bool = False) -> Iterator[Finding]:
    """Yield what is found of the files of one folder, a run's, or a study's that ships and lists its files."""
    known = checksums.listed(folder)
    there = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    for name, path in there.items():
        if name == checksums.SUMS:
            continue
        if path.name.startswith("."):
            if path.suffix == UNFINISHED:
                yield Finding(path, "unfinished")
            continue
        try:
            checksums.read(folder, name, _parse(folder, path), known)
        except FileNotFoundError:  # gone since
            continue
        except checksums.Damage as why:
            yield Finding(path, "damaged", str(why))
        except InputError as error:
            yield Finding(path, "newer", str(error))
        else:
            yield Finding(path, "unlisted" if ships and name not in known else "sound")
    for name in sorted({*known, *(["record.json"] if there and not ships else [])} - set(there)):
        yield Finding(folder / name, "missing")


def _parse(folder: Path, path: Path) -> Callable[[bytes], object]:
    """Return what reads a file of this kind, as far as it takes to see that it can be read."""
    if path.name == "record.json":
        return partial(record_of, folder)
    if path.suffix == ".json" or path.name == "DONE":
        return json.loads
    if path.suffix == ".parquet":
        return formats.table
    if path.suffix == ".safetensors":
        return formats.checked
    return len
