"""A file is what was written, or it is found out: by its own format, and by SHA256SUMS where its folder has one.

    <64 hex digits>  <name>         a line a file; `sha256sum -c SHA256SUMS` reads it as well

What ships is listed, and so are the runs of older versions, in which of several lines for one name any may hold. A
local run's files tell by themselves: a record by the hash that names its run, tables by Parquet's checksums of their
pages, weights by a hash within (`nvlib.store.formats`), notes by being JSON. A local file that does not hold is set
aside in .damaged/<run>-<time>/ with a warning that names it, and so is missing, which makes its study compute it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from nvlib.errors import Damaged, InputError
from nvlib.records import VERSION

SUMS = "SHA256SUMS"
ASIDE = ".damaged"
T = TypeVar("T")


class Damage(Exception):
    """A file is not what was written; the message says how one knows."""


def of(path: Path) -> str:
    """Return a file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listed(folder: Path) -> dict[str, set[str]]:
    """Return the checksums of a folder's files, by name; nothing where none were kept."""
    try:
        text = (folder / SUMS).read_text("utf-8", "replace")
    except OSError:
        return {}
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line[64:66] == "  " and len(line) > 66:
            found.setdefault(line[66:], set()).add(line[:64])
    return found


def forget(folder: Path, name: str) -> None:
    """Take a file out of its folder's SHA256SUMS: it is about to be another."""
    known = listed(folder)
    if known.pop(name, None) is not None:
        write(folder, known)


def write(folder: Path, sums: Mapping[str, set[str]]) -> None:
    """Write a folder's SHA256SUMS anew, whole or not at all."""
    lines = [f"{digest}  {name}\n" for name in sorted(sums) for digest in sorted(sums[name])]
    aside = folder / f".{SUMS}.{os.getpid()}.part"
    try:
        with aside.open("w") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(folder / SUMS)
    finally:
        aside.unlink(missing_ok=True)


def read(folder: Path, name: str, parse: Callable[[bytes], T], known: Mapping[str, set[str]] | None = None) -> T:
    """Return what a file holds, if it is what was written.

    Args:
        folder: the file's.
        name: the file's, relative to the folder.
        parse: bytes -> what they hold.
        known: `listed` of the folder, where it is at hand.

    Raises:
        Damage: its checksum is another, or it cannot be read.
        FileNotFoundError: it is not there.
    """
    try:
        data = (folder / name).read_bytes()
    except IsADirectoryError:
        raise Damage("it is a folder") from None
    expected = (listed(folder) if known is None else known).get(name, set())
    if expected and hashlib.sha256(data).hexdigest() not in expected:
        data, expected = (folder / name).read_bytes(), listed(folder).get(name, set())  # it may just be replaced
        if expected and hashlib.sha256(data).hexdigest() not in expected:
            raise Damage(f"its {len(data)} bytes do not have the checksum that {SUMS} lists")
    if expected:
        return parse(data)
    try:
        return parse(data)
    except (Damage, InputError, MemoryError):  # known, or a newer version's file, or the machine's fault
        raise
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Damage(f"it cannot be read: {said[:100]}") from None


def set_aside(runs: Path, path: Path, why: object) -> None:
    """Move a damaged file out of its run, and say so in one line."""
    where = runs / ASIDE / f"{path.parent.name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    try:
        where.mkdir(parents=True, exist_ok=True)
        path.rename(where / path.name)
    except FileNotFoundError:  # another process was quicker
        return
    except OSError as error:
        what = f"it is left out, and could not be set aside ({error.strerror})"
    else:
        what = f"set aside in {where}; its study makes it again"
    warnings.warn(f"{path} is damaged ({why}); {what}", Damaged, stacklevel=2)


def record_of(home: Path, data: bytes) -> dict[str, Any]:
    """Return the record in a file's bytes; its canonical form has the hash that names the run."""
    try:
        record = json.loads(data)
        version, kind = record["version"], record["kind"]
    except (ValueError, KeyError, TypeError):
        raise Damage("it holds no record") from None
    if version > VERSION or kind not in ("training", "evaluation", "analysis"):
        raise InputError(f"{home} was written by a newer nvlib (version {version}, kind {kind}); update nvlib")
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"))  # as `records.canonical`
    if hashlib.sha256(canonical.encode()).hexdigest() != home.name:
        raise Damage("what it holds is not what its run is named by")
    return record
