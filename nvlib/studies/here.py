"""Running a study in this process, with a bar for a person or calls for a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from nvlib import population, store
from nvlib.store import Store
from nvlib.studies.grid import Study
from nvlib.studies.tasks import Desk, Task, plan
from nvlib.studies.work import carry_out

UNITS = {"training": "epoch", "evaluation": "chip", "analysis": "table"}


def run(
    study: Study,
    where: Store | None = None,
    *,
    on: str | torch.device = "cpu",
    progress: bool | Callable[[str, float, float], None] = True,
    pack: int | str = "auto",
    threads: int | None = None,
) -> pd.DataFrame:
    """Run what is missing of a study and return all its samples.

    Another process may run the same study, or one that shares runs with it: each run is done by one of them.

    Args:
        study: what to run.
        where: the store; None takes the project's own.
        on: where to compute, ``cpu`` or ``cuda``.
        progress: True for bars with the time left; or a function called with (what, done, total).
        pack: most trainings to run as one population; ``auto``: one on a CPU, several on CUDA.
        threads: of torch; None leaves them as they are. What was begun goes on with as many as it was begun with.

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
    desk = Desk(study, where or Store(), on)
    tasks = plan(desk, pack, threads)
    with Bars(tasks, progress) as bars:
        carry_out([(desk, task) for task in tasks], bars.tell)
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
