"""Tasks carried out, each by one process; a study in this process, with a bar for a person or calls for a program.

Whoever works on a study, this process, spawned ones or a cluster's jobs, carries out its tasks by `run_tasks`. Several
may be given the same tasks: each takes the first that is ready and that nobody is at work on (`nvlib.locks`), so they
share the work without being told how; where all that is left is in other hands, one waits for it or leaves it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from nvlib import locks, population, store
from nvlib.data import Dataset
from nvlib.records import Training
from nvlib.store import Store
from nvlib.studies import perform
from nvlib.studies.files import read
from nvlib.studies.perform import Analyst, Lost, Tell
from nvlib.studies.plan import Desk, Task, plan
from nvlib.studies.study import Study

POLL = 0.5  # seconds between looks at work in other hands
Failed = Callable[[Any, Task, Exception | None], bool]
UNITS = {"training": "epoch", "evaluation": "chip", "analysis": "table"}


def run_tasks(
    work: Sequence[tuple[Desk | Analyst, Task]], tell: Tell, *, wait: bool = True, failed: Failed | None = None
) -> list[Task]:
    """Do tasks until none is left that this process can do.

    Args:
        work: tasks, each with its study's desk, in the order in which they are wanted.
        tell: is told of progress, and of what others finished.
        wait: whether to wait for tasks that other processes are doing, and take them over if those die.
        failed: called with a task and its error, notes it; called with None, says whether that task has failed, here
            or elsewhere. Without it errors are raised.

    Returns:
        The tasks that others are doing, that failed, or that need something that failed.
    """
    left, given_up = list(work), []
    told: dict[tuple[Desk | Analyst, Task], int] = {}

    def count(desk: Desk | Analyst, task: Task, n: int, latest: Mapping[str, Any]) -> None:
        told[desk, task] = told.get((desk, task), 0) + n
        tell(desk, task, n, latest)

    while left:
        held = None
        for item in list(left):
            desk, task = item
            if desk.done(task):
                left.remove(item)
                count(desk, task, task.amount - told.get(item, 0), {})
            elif failed and failed(desk, task, None):
                left.remove(item)
                given_up.append(task)
            elif desk.ready(task) and (held := locks.take(desk.where.runs, task.names)):
                break
        if held is None:  # all that is ready is in other hands
            if not (wait and any(desk.ready(task) for desk, task in left)):
                break
            time.sleep(POLL)
            continue
        with held:
            try:
                if not desk.done(task):  # somebody may have finished it just before
                    if isinstance(desk, Desk):
                        (perform.train if task.kind == "training" else perform.evaluate)(desk, task, count)
                    else:
                        desk.carry_out(task, count)
                for name in task.names:
                    store.remove_partial(desk.where.runs / name)
            except Lost as lost:  # its weights turned out to be damaged: train again
                if not any(lost.name in t.names for _, t in left):
                    plan = {"threads": task.plan["threads"], "device": task.plan["device"], "search": None}
                    left.insert(0, (desk, Task("training", (lost.name,), 0, plan)))
            except Exception as error:
                if failed is None or not failed(desk, task, error):
                    raise
    return given_up + [task for _, task in left]


def run(
    study: Study | Mapping[str, Any] | str | PathLike[str],
    where: Store | None = None,
    *,
    on: str | torch.device = "cpu",
    progress: bool | Callable[[str, float, float], None] = True,
    pack: int | str = "auto",
    threads: int | None = None,
    of: Training | None = None,
    loaded: Dataset | None = None,
) -> pd.DataFrame:
    """Run what is missing of a study and return all its samples.

    Another process may run the same study, or one that shares runs with it: each run is done by one of them.

    Args:
        study: what to run: a study, its values by name, or its file.
        where: the store; None takes the project's own.
        on: where to compute, ``cpu`` or ``cuda``.
        progress: True for bars with the time left; or a function called with (what, done, total).
        pack: most trainings to run as one population; ``auto``: one on a CPU, several on CUDA.
        threads: of torch; None leaves them as they are. What was begun goes on with as many as it was begun with.
        of: a stored training; the study's evaluations are of its model, whatever trained it, and nothing is trained.
        loaded: the data, where it is at hand.

    Returns:
        The tidy table of `store.results`, the study's rows, at most ``study.chips`` chips an evaluation.

    Example:
        >>> import nvlib, pathlib, tempfile
        >>> store = nvlib.store.Store(pathlib.Path(tempfile.mkdtemp()))
        >>> study = nvlib.Study("lenet3", methods=("none",), epochs=1, images=50, chips=3)
        >>> len(nvlib.run(study, store, progress=False))
        3
    """
    population.usable(on)
    desk = Desk(read(study), where or Store(), on, of, loaded)
    tasks = plan(desk, pack, threads)
    with Bars(tasks, progress) as bars:
        run_tasks([(desk, task) for task in tasks], bars.tell)
    return table(desk)


def table(desk: Desk) -> pd.DataFrame:
    """Return the samples of a desk's study so far."""
    found = store.results(desk.where, run=list(desk.evaluations))
    return found[found.chip < desk.study.chips].reset_index(drop=True)


class Bars:
    """A bar for trainings and one for evaluations."""

    def __init__(self, tasks: list[Task], progress: bool | Callable[[str, float, float], None]) -> None:
        self.call = progress if callable(progress) else None
        self.total = {kind: sum(task.amount for task in tasks if task.kind == kind) for kind in UNITS}
        self.done = dict.fromkeys(UNITS, 0)
        self.bars = {
            kind: tqdm(total=total, unit=UNITS[kind], desc=kind, smoothing=0.05,
                       disable=not (progress is True and total))
            for kind, total in self.total.items()
        }  # fmt: skip

    def tell(self, _: Desk, task: Task, n: int, __: Mapping[str, Any]) -> None:
        """Advance by so many epochs or chips."""
        self.done[task.kind] += n
        self.bars[task.kind].update(n)
        if self.call:
            self.call(task.kind, self.done[task.kind], self.total[task.kind])

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in self.bars.values():
            bar.close()
