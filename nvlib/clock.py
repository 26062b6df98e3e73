"""Seconds that a piece of work takes: by the wall, or of this process alone while `of_process` holds; in words.

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


def in_words(seconds: float) -> str:
    """Write a duration as a person would.

    >>> in_words(45), in_words(600), in_words(9000)
    ('45 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
