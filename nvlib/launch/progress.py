"""How far a launch is, for whoever looks: a bar on a terminal, plain lines in a log, calls for a program."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nvlib.clock import in_words
from nvlib.launch.job import Status

if TYPE_CHECKING:
    from rich.progress import Progress


class Show:
    """Takes in each status and shows what is new of it."""

    def __init__(self, progress: bool | Callable[[Status], None]) -> None:
        self.call = progress if callable(progress) else None
        self.shown = progress is True
        self.terminal = self.shown and sys.stderr.isatty()
        self.bar: Progress | None = None
        self.jobs: dict[object, str] = {}
        self.last = ""

    def __call__(self, status: Status) -> None:
        """Show a status."""
        if self.call:
            self.call(status)
        if not self.shown:
            return
        for job in status.jobs:
            if self.jobs.get(job["job"]) != job["state"] and status.executor != "here":
                self.jobs[job["job"]] = job["state"]
                self.say(f"job {job['job']}: {job['state']}{_why(job)}")
        if self.terminal and status.total:
            if self.bar is None:
                from nvlib import bars

                self.bar = bars.on_terminal("{task.completed:.1f} of {task.total:g} runs, {task.fields[what]}")
                self.bar.add_task(status.name or status.id, total=status.total, what="")
                self.bar.start()
            left = "" if status.eta is None else f"about {in_words(status.eta)} left, "
            self.bar.update(self.bar.task_ids[0], completed=status.done, what=f"{left}{status.what}"[:100])
        elif not self.terminal:
            line = f"{status.state}, {int(status.done)} of {status.total} runs" if status.total else status.what
            if line and line != self.last and not status.finished:
                self.last = line
                self.say(line)
        if status.finished:
            self.say(status.line())

    def say(self, line: str) -> None:
        """Write a line, above the bar where there is one."""
        if self.bar is not None:
            self.bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> Show:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()


def _why(job: Mapping[str, Any]) -> str:
    return f": {job['last']}" if job["last"] and job["state"] not in ("running", "queued", "done") else ""
