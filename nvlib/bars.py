"""Bars of long work on a terminal, by rich; where nobody looks, nothing.

>>> from nvlib import bars
>>> with bars.on_terminal("{task.completed:g} of {task.total:g} chips") as shown:
...     task = shown.add_task("chips", total=10)
...     shown.update(task, advance=10)
"""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column


def on_terminal(*said: str, left: bool = False) -> Progress:
    """Return bars for standard error, off where that is no terminal.

    Args:
        *said: what stands behind a bar, templates of rich's ``task``.
        left: whether the time that is left stands there too.
    """
    console, rest = Console(stderr=True), Column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns = [TextColumn("{task.description}", markup=False), BarColumn(20), TaskProgressColumn()]
    columns += [TimeRemainingColumn()] if left else []
    columns += [TextColumn(text, markup=False, table_column=rest) for text in said]
    return Progress(*columns, console=console, disable=not console.is_terminal, refresh_per_second=4, expand=True)
