"""How far a launch is, for whoever looks: a bar on a terminal, plain lines in a log, calls for a program."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from tqdm.auto import tqdm

from nvlib.clock import in_words
from nvlib.launch.job import Status


class Show:
    """Takes in each status and shows what is new of it."""

    def __init__(self, progress: bool | Callable[[Status], None]) -> None:
        self.call = progress if callable(progress) else None
        self.shown = progress is True
        self.terminal = self.shown and sys.stderr.isatty()
        self.bar: tqdm | None = None
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
                self.bar = tqdm(total=status.total, initial=status.done, unit="run", desc=status.name or status.id,
                                bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} runs, {postfix}")
            self.bar.n = status.done
            left = "" if status.eta is None else f"about {in_words(status.eta)} left, "
            self.bar.set_postfix_str(f"{left}{status.what}"[:100])
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
            self.bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> Show:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


def _why(job: Mapping[str, Any]) -> str:
    return f": {job['last']}" if job["last"] and job["state"] not in ("running", "queued", "done") else ""
