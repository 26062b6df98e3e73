"""Who is at work on what: a file lock a run, so that two processes that are asked for the same do not both do it.

    runs/.locks/<name>      empty; whoever works on the run holds the system's lock on it (filelock)

The system gives a lock back when its process ends, however it ends, so a kill -9 blocks nobody. A lock saves work and
decides nothing: results are written whole and are the same whoever writes them, so two processes that both believed to
hold one, on a file system without locks, would lose time, never samples.

>>> import pathlib, tempfile
>>> runs = pathlib.Path(tempfile.mkdtemp())
>>> with take(runs, ["a", "b"]):
...     held(runs, "a"), take(runs, ["b", "c"]) is None
(True, True)
>>> held(runs, "a")
False
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock, Timeout

FOLDER = ".locks"
NONE = (errno.ENOLCK, errno.EOPNOTSUPP)  # of a file system without locks, where work may be done twice


def take(runs: Path, names: Sequence[str]) -> ExitStack | None:
    """Lock names, all or none.

    Args:
        runs: where results lie.
        names: of runs.

    Returns:
        What gives them back at the end of its ``with``; None if a living process holds one of them.
    """
    folder = runs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as taken:
        for name in sorted(names):
            try:
                taken.enter_context(FileLock(folder / name, blocking=False))
            except Timeout:
                return None
            except OSError as error:
                if error.errno not in NONE:
                    raise
        return taken.pop_all()


def held(runs: Path, name: str) -> bool:
    """Whether a living process holds a name."""
    if not (runs / FOLDER / name).exists():
        return False
    taken = take(runs, [name])
    if taken is not None:
        taken.close()
    return taken is None
