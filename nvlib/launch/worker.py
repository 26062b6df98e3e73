"""Who does tasks of a launch, here, in a process of its own or as a job of a cluster, and tells how far it is."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nvlib import population
from nvlib.errors import InputError
from nvlib.launch.job import Launch
from nvlib.plugins import Broken
from nvlib.provenance import now
from nvlib.store import DiskFull
from nvlib.studies.plan import Desk, Task
from nvlib.studies.runner import run_tasks
from nvlib.studies.study import Study

OFTEN = 0.5  # seconds between words of how far it is


class Cancelled(SystemExit):
    """Somebody asked for the launch's end."""


class Worker:
    """Does tasks of a launch.

    Args:
        launch: whose tasks; where errors are noted.
        work: the tasks, each with its desk.
        tell: called with how far it is, at most every `OFTEN` seconds and at its end: a dict of ``state``, ``what``,
            ``done`` and ``total`` (runs), ``partial`` (the latest numbers), ``shares`` (of each task, what is done of
            it) and ``pid``.
        say: takes a line for a log.
        parent: a process without which it should not go on.
    """

    def __init__(
        self, launch: Launch, work: Sequence[tuple[Desk, Task]], tell: Callable[[dict[str, Any]], None],
        say: Callable[[str], None], parent: int | None = None,
    ) -> None:  # fmt: skip
        self.launch, self.work, self.tell, self.say, self.parent = launch, work, tell, say, parent
        self.amounts = {(desk, task): 0 for desk, task in work}
        self.said: dict[str, Any] = {"state": "running", "what": "", "partial": {}}
        self.told = 0.0

    def __call__(self, wait: bool = True) -> bool:
        """Do what can be done; returns whether all of it is there now."""
        population.usable(self.launch.asked()["on"])
        self.report()
        try:
            left = run_tasks(self.work, self.advance, wait=wait, failed=self.failed)
        except BaseException as end:
            self.report(state="stopped" if isinstance(end, SystemExit | KeyboardInterrupt) else "failed")
            raise
        self.report(state="failed" if left else "done", what="")
        if left:
            self.say(f"{len(left)} tasks are left")
        return not left

    def advance(self, desk: Desk, task: Task, n: int, latest: Mapping[str, Any]) -> None:
        """Take in progress, and stop where that is wanted."""
        if self.launch.cancelled():
            raise Cancelled("cancelled")
        if self.parent is not None and os.getppid() != self.parent:
            raise Cancelled("the process that led this one is gone")
        if (desk, task) in self.amounts:
            self.amounts[desk, task] += n
        if latest:
            partial = {key: value for key, value in latest.items() if key != "begun"}
            self.said |= {"what": describe(desk, task, latest), "partial": partial}
            self.say(self.said["what"])
        if time.monotonic() - self.told > OFTEN:
            self.report()

    def report(self, **changes: Any) -> None:
        """Tell how far it is."""
        shares = [min(1.0, n / task.amount) if task.amount else 1.0 for (_, task), n in self.amounts.items()]
        runs = [len(task.names) for _, task in self.amounts]
        self.said |= changes
        self.told = time.monotonic()
        self.tell({
            **self.said, "shares": [round(share, 4) for share in shares], "total": sum(runs), "pid": os.getpid(),
            "done": round(sum(n * share for n, share in zip(runs, shares, strict=True)), 3),
        })  # fmt: skip

    def failed(self, desk: Desk, task: Task, error: Exception | None) -> bool:
        """Note an error of a task, or say whether there was one."""
        if error is None:
            return self.launch.failed(task.name)
        if isinstance(error, DiskFull):  # it would befall every task
            return False
        line = first_line(error)
        self.launch.fail(task.name, describe(desk, task, {}), line)
        self.say(f"failed: {line}{traced(error)}")
        return True


def first_line(error: Exception) -> str:
    """Return an error in a line."""
    said = str(error).strip().splitlines() or [""]
    return said[0] if isinstance(error, InputError) else f"{type(error).__name__}: {said[0]}"


def traced(error: Exception) -> str:
    """Return for a log where an error came from; nothing of bad input, whose line says all, but of a user's code."""
    cause = error.__cause__ if isinstance(error, Broken) else None if isinstance(error, InputError) else error
    return "" if cause is None else "\n" + "".join(traceback.format_exception(cause)).rstrip()


def printed(line: str) -> None:
    """Write a line to the log that this process' output is."""
    print(f"{now()}  {line}", flush=True)


def desks_and_tasks(launch: Launch, manifest: Sequence[tuple[int, Mapping[str, Any]]]) -> list[tuple[Desk, Task]]:
    """Return the tasks of a launch, each with its study's desk, from a study's number and plain values.

    Raises:
        InputError: if this machine has other data or another version, so that the runs have other names.
    """
    asked, where = launch.asked(), launch.store()
    desks = [Desk(Study.of(study), where, asked["on"]) for study in asked["studies"]]
    found = []
    for index, values in manifest:
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


def main(home: str) -> int:
    """Do the tasks on standard input, and tell on standard output: what ``python -m nvlib.launch work`` does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is finished is stored on the way out
    told, launch, parent = os.fdopen(os.dup(1), "w"), Launch(Path(home)), os.getppid()
    os.dup2(2, 1)  # whatever else is printed goes to the log
    try:
        work = desks_and_tasks(launch, json.load(sys.stdin))
        return 0 if Worker(launch, work, lambda said: print(json.dumps(said), file=told, flush=True), printed,
                           parent)() else 1  # fmt: skip
    except BrokenPipeError:
        return 1  # nobody listens any more
    except InputError as error:
        print(f"{traced(error).lstrip()}\nerror: {error}".lstrip(), flush=True)
        return 2
