"""Who is at work on what, so that two processes that are asked for the same run do not both do it.

    runs/.claims/<name>     who holds it: host, process, when that process was born, SLURM job

A claim is made in one step (a file that must not exist yet) and touched every `BEAT` seconds. It is stale, and taken
over, when its process is gone: on the same machine that is known at once, so a kill -9 blocks nobody; of another
machine when it was not touched for `STALE` seconds by the file server's clock; and when it is of the asker's own SLURM
job, which then was requeued. A claim saves work and decides nothing: results are written whole and are the same
whoever writes them, so two processes that both believed to hold one would lose time, never samples.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

FOLDER = ".claims"
BEAT = 15.0  # seconds between touches
WRITTEN = 5.0  # seconds that writing a claim may take
STALE = 120.0  # seconds without one after which another machine's claim counts as left behind


class Claims:
    """Names that this process holds, all or none of those it asked for; released at the end of a ``with``."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths, self.me = list(paths), me()
        self._ended = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def release(self) -> None:
        """Give them back."""
        self._ended.set()
        for path in self.paths:
            if _read(path) == self.me:  # it may have been taken over while this process was suspended
                path.unlink(missing_ok=True)
        self.paths = []

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            for path in self.paths:
                with contextlib.suppress(OSError):
                    os.utime(path)

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def take(runs: Path, names: Sequence[str]) -> Claims | None:
    """Claim names, all or none.

    Args:
        runs: where results lie.
        names: of runs.

    Returns:
        What is held; None if a living process holds one of them.
    """
    folder = runs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    for name in sorted(names):
        if not _make(folder / name):
            for path in made:
                path.unlink(missing_ok=True)
            return None
        made.append(folder / name)
    return Claims(made)


def held(runs: Path, name: str) -> dict[str, Any] | None:
    """Return who holds a name: host, pid, born, job; None if nobody alive does."""
    path = runs / FOLDER / name
    claim = _read(path)
    return claim if claim is not None and _alive(path, claim) else None


def alive(host: str, pid: int, born: int | None) -> bool | None:
    """Return whether a process still runs; None if it is another machine's, which one cannot know."""
    if host != here():
        return None
    if born is not None:
        return birth(pid) == born
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@lru_cache
def here() -> str:
    """Return what names this machine since it was started, and the space its process numbers are of."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text()[:8])
        parts.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return "/".join(parts)


def birth(pid: int) -> int | None:
    """Return when a process was started, in ticks since the machine was; None if it does not run (or no /proc)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def me() -> dict[str, Any]:
    """Return what a claim says of this process."""
    pid = os.getpid()
    return {"host": here(), "pid": pid, "born": birth(pid), "job": os.environ.get("SLURM_JOB_ID")}


def _make(path: Path) -> bool:
    """Make a claim if there is none, or if it is stale."""
    for _ in range(3):
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            claim = _read(path)
            if claim is not None:
                if _alive(path, claim):
                    return False
                _clear(path, claim)
            continue
        with os.fdopen(handle, "w") as file:
            file.write(json.dumps(me()))
        return True
    return False


def _clear(path: Path, claim: dict[str, Any]) -> None:
    """Remove a stale claim, unless somebody has just taken it over; one at a time on this machine."""
    with _alone(path.parent):
        if _read(path) == claim:
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    """Return a claim; {} while it is being written, None if there is none."""
    try:
        text = path.read_text()
    except OSError:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return {}


def _alive(path: Path, claim: dict[str, Any]) -> bool:
    """Whether a claim's process still works."""
    job = os.environ.get("SLURM_JOB_ID")
    if claim:
        known = alive(claim["host"], claim["pid"], claim["born"])
        if known is not None:
            return known
        if job is not None and claim.get("job") == job:  # this job's own, from before it was requeued
            return False
    try:
        return _now(path.parent) - path.stat().st_mtime < (STALE if claim else WRITTEN)
    except OSError:  # released meanwhile
        return False


def _now(folder: Path) -> float:
    """Return the time by the clock that stamps a folder's files, which may be a server's."""
    path = folder / f".now-{socket.gethostname()}-{os.getpid()}"
    path.touch()
    try:
        return path.stat().st_mtime
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine out, where the system offers that."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / ".lock").open("w") as file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
