"""Bars of long work on a terminal, by rich; where nobody looks, nothing.

>>> from nvlib import bars
>>> with bars.on_terminal("{task.completed:g} of {task.total:g} chips") as shown:
...     task = shown.add_task("chips", total=10)
...     shown.update(task, advance=10)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column


def on_terminal(*said: str, left: bool = False) -> Progress:
    """Return bars for standard error, off where that is no terminal.

    Args:
        *said: what stands behind a bar, templates of rich's ``task``.
        left: whether the time that is left stands there too.
    """
    console, rest = Console(stderr=True), Column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns: list[ProgressColumn] = [TimeRemainingColumn()] if left else []
    columns += [TextColumn(text, markup=False, table_column=rest) for text in said]
    first = (TextColumn("{task.description}", markup=False), BarColumn(20), TaskProgressColumn())
    off = not console.is_terminal
    return Progress(*first, *columns, console=console, disable=off, refresh_per_second=4, expand=True)


@contextmanager
def counted(
    units: Mapping[str, str], shown: bool = True
) -> Iterator[Callable[[str, float, float], None] | Literal[False]]:
    """Give what `nvlib.run` calls with (kind, done, total), a bar a kind; False where nothing is to be shown.

    Args:
        units: what is counted of each kind, e.g. ``{"training": "epoch"}``.
        shown: whether anything is to be.
    """
    with on_terminal("{task.completed:g} of {task.total:g} {task.fields[unit]}s", left=True) as bars:
        held: dict[str, TaskID] = {}

        def tell(kind: str, done: float, total: float) -> None:
            if kind not in held:
                held[kind] = bars.add_task(kind, total=total, unit=units[kind])
            bars.update(held[kind], completed=done)

        yield tell if shown else False
