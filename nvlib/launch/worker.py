"""A process that does tasks of a launch: all of them with others, or its share of a job array."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nvlib import population
from nvlib.errors import InputError
from nvlib.launch.folder import Launch
from nvlib.models.own import Broken
from nvlib.provenance import now
from nvlib.store import DiskFull
from nvlib.studies.grid import Study
from nvlib.studies.tasks import Desk, Task
from nvlib.studies.work import carry_out

OFTEN = 0.5  # seconds between writes of how far it is


class Cancelled(SystemExit):
    """Somebody asked for the launch's end."""


class Worker:
    """Does tasks and says how far it is: in workers/<k>.json, and in lines for a log.

    Args:
        launch: whose tasks.
        job: its number.
        work: the tasks, each with its desk.
        parent: a process without which it should not go on.
    """

    def __init__(
        self, launch: Launch, job: int, work: Sequence[tuple[Desk, Task]], parent: int | None = None
    ) -> None:
        self.launch, self.job, self.work, self.parent = launch, job, work, parent
        self.total = sum(len(task.names) for _, task in self.work)
        self.amounts = {(desk, task): 0 for desk, task in self.work}
        self.state, self.what, self.partial, self.written = "running", "", {}, 0.0
        self.current: Task | None = None
        self.began = time.time()

    def __call__(self, wait: bool = True) -> bool:
        """Do what can be done; returns whether all of it is there now."""
        population.usable(self.launch.asked()["on"])
        self.write()
        try:
            left = carry_out(self.work, self.tell, wait=wait, failed=self.failed)
        except BaseException as end:
            self.state = "stopped" if isinstance(end, SystemExit | KeyboardInterrupt) else "failed"
            self.write()
            raise
        self.state = "failed" if left else "done"
        self.what, self.current = "", None
        self.write()
        if left:
            self.say(f"{len(left)} tasks are left")
        return not left

    def tell(self, desk: Desk, task: Task, n: int, latest: Mapping[str, Any]) -> None:
        """Take in progress, and stop where that is wanted."""
        if self.launch.cancelled():
            raise Cancelled("cancelled")
        if self.parent is not None and os.getppid() != self.parent:
            raise Cancelled("the process that led this one is gone")
        if (desk, task) in self.amounts:
            self.amounts[desk, task] += n
        if latest:
            self.current, self.what = task, describe(desk, task, latest)
            self.partial = {key: value for key, value in latest.items() if key != "begun"}
            self.say(self.what)
        if time.time() - self.written > OFTEN:
            self.write()

    def failed(self, desk: Desk, task: Task, error: Exception | None) -> bool:
        """Note an error of a task, or say whether there was one."""
        if error is None:
            return self.launch.failed(task.name)
        if isinstance(error, DiskFull):  # it would befall every task
            return False
        said = str(error).strip().splitlines() or [""]
        line = said[0] if isinstance(error, InputError) else f"{type(error).__name__}: {said[0]}"
        self.launch.fail(task.name, describe(desk, task, {}), line)
        self.say(f"failed: {line}{traced(error)}")
        return True

    def say(self, line: str) -> None:
        """Write a line of the log."""
        print(f"{now()}  {line}", flush=True)

    def write(self) -> None:
        """Say how far it is."""
        done = 0.0
        for (_, task), n in self.amounts.items():
            done += len(task.names) * (min(1.0, n / task.amount) if task.amount else 1.0)
        self.written = time.time()
        self.launch.write(f"workers/{self.job}.json", {
            "job": self.job, "state": self.state, "what": self.what, "done": round(done, 3), "total": self.total,
            "partial": self.partial, "pid": os.getpid(), "seconds": round(self.written - self.began, 1),
            "current": {"name": self.current.name, "fraction": self.fraction()} if self.current else None,
        })  # fmt: skip

    def fraction(self) -> float:
        """Return how much of the current task is done."""
        amount = max((n for (_, task), n in self.amounts.items() if task == self.current), default=0)
        return min(1.0, amount / self.current.amount) if self.current.amount else 0.0


def traced(error: Exception) -> str:
    """Return for a log where an error came from; nothing of bad input, whose line says all, but of a user's code."""
    cause = error.__cause__ if isinstance(error, Broken) else None if isinstance(error, InputError) else error
    return "" if cause is None else "\n" + "".join(traceback.format_exception(cause)).rstrip()


def desks_and_tasks(launch: Launch) -> list[tuple[Desk, Task]]:
    """Return the tasks of a launch, each with its study's desk.

    Raises:
        InputError: if this machine has other data or another version, so that the runs have other names.
    """
    asked, held, where = launch.asked(), launch.read("tasks.json"), launch.store()
    desks = [Desk(Study.of(study), where, asked["on"]) for study in asked["studies"]]
    found = []
    for index, values in held["tasks"]:
        desk, task = desks[index], Task.of(values)
        if any(name not in (desk.trainings if task.kind == "training" else desk.evaluations) for name in task.names):
            raise InputError(
                f"run {task.name[:12]} of launch {launch.id} is none of its study's here; "
                "expected the data and the version of nvlib that it was launched with"
            )
        found.append((desk, task))
    return found


def describe(desk: Desk, task: Task, latest: Mapping[str, Any]) -> str:
    """Return what a task is, and how far, in words."""
    if task.kind == "training":
        held = [desk.trainings[name] for name in task.names]
        first = held[0]
        sizes = _several(t.sigma_d for t in held)
        at = "" if first.device is None else f" on {first.device['name']} at sigma_d {sizes}"
        far = f", epoch {latest['epoch']} of {latest['epochs']}: loss {latest['loss']:.3f}, validation " \
              f"{latest['noisy']:.1f} %" if "epoch" in latest else ""  # fmt: skip
        return f"training {first.method} {first.network}{at}, seed {_several(t.seed for t in held)}{far}"
    evaluation = desk.evaluations[task.name]
    training = desk.trainings[evaluation.training]
    deployed = f" with {evaluation.deployment['name']}" if evaluation.deployment else ""
    far = f", chip {latest['chips']} of {desk.study.chips}: accuracy {latest['accuracy']:.1f} %" \
        if "chips" in latest else ""  # fmt: skip
    return (
        f"evaluating {training.method} {training.network}{deployed} on {evaluation.device['name']} at sigma_d "
        f"{evaluation.sigma_d:g}, seed {training.seed}{far}"
    )


def _several(values: Any) -> str:
    return ", ".join(f"{value:g}" for value in dict.fromkeys(values))


def main(home: str, job: str, parent: str) -> int:
    """Work until nothing is left: what ``python -m nvlib.launch work`` does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is finished is stored on the way out
    launch = Launch(Path(home))
    try:
        return 0 if Worker(launch, int(job), desks_and_tasks(launch), int(parent))() else 1
    except InputError as error:
        print(f"{traced(error).lstrip()}\nerror: {error}".lstrip(), flush=True)
        return 2
