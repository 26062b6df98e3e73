"""Seconds that a piece of work takes: by the wall, or of this process alone while `of_process` holds.

What else a machine does lengthens the first and not the second; a table that compares costs wants the second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_OF_PROCESS: ContextVar[bool] = ContextVar("of_process", default=False)


def seconds() -> float:
    """Return the time of the clock in use; differences count, its zero is nowhere in particular."""
    return time.process_time() if _OF_PROCESS.get() else time.perf_counter()


@contextmanager
def of_process() -> Iterator[None]:
    """Let seconds be those of this process for a while."""
    token = _OF_PROCESS.set(True)
    try:
        yield
    finally:
        _OF_PROCESS.reset(token)
