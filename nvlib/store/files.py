"""Files are written whole or not at all: beside their place, flushed to the disk, renamed.

So a kill or a full disk loses what was being written and nothing else, and no half file has a final name.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from nvlib.errors import InputError

UNFINISHED = ".part"  # how the name ends of what is being written, or was when it was cut off
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room: on the disk, of the user, for a file of this size


class DiskFull(OSError):
    """There was no room for a file; what is there already is whole."""


def write_json(path: Path, value: object) -> None:
    """Write JSON in one piece."""
    text = json.dumps(value, indent=1, sort_keys=True) + "\n"
    atomic_write(path, lambda target: Path(target).write_text(text))


def atomic_write(path: Path, write: Callable[[str], object]) -> None:
    """Call ``write`` with a path aside, flush it to the disk, and rename it into place.

    Args:
        path: the final name.
        write: writes the file it is given the path of.

    Raises:
        InputError: if it is a folder.
        DiskFull: no room; an earlier file of that name is as it was.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected the path of a file to write")
    aside = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(str(aside))
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
        _flush(path.parent)
    except Exception as error:
        if not _no_room(error):
            raise
        raise DiskFull(
            errno.ENOSPC,
            f"No space left on the disk of {path.parent}: {path.name} was not written, what is there is whole; "
            "free some space and give the same command again",
        ) from None
    finally:
        aside.unlink(missing_ok=True)


def remove_partial(folder: Path, name: str = "*") -> None:
    """Delete what kills left of files half written; only for who alone writes them, by a lock.

    Args:
        folder: where they lie; it may be missing.
        name: of the file; as it stands, any.
    """
    for path in folder.glob(f".{name}.*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    """Flush a folder, so that a rename in it outlives a power cut; not every file system offers that."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def _no_room(error: Exception) -> bool:
    """Whether a write failed for want of room; safetensors says so in its text alone."""
    if isinstance(error, OSError):
        return error.errno in FULL
    found = re.search(r"\(os error (\d+)\)", str(error))
    return found is not None and int(found[1]) in FULL
