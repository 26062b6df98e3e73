"""Bars of long work on a terminal, by rich; where nobody looks, nothing.

>>> from nvlib import bars
>>> with bars.on_terminal("{task.completed:g} of {task.total:g} chips") as shown:
...     task = shown.add_task("chips", total=10)
...     shown.update(task, advance=10)
"""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


def on_terminal(*said: str, left: bool = False) -> Progress:
    """Return bars for standard error, off where that is no terminal.

    Args:
        *said: what stands behind a bar, templates of rich's ``task``.
        left: whether the time that is left stands there too.
    """
    console = Console(stderr=True)
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn()]
    columns += [TextColumn(text, markup=False) for text in said] + ([TimeRemainingColumn()] if left else [])
    return Progress(*columns, console=console, disable=not console.is_terminal, refresh_per_second=4)
