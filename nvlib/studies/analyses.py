"""Analyses of stored runs, carried out as runs are: what is finished is skipped, one process does each, whole or not.

    wanted = [(Analysis("early-stops", (), parameters), make)]      make: (record, store) -> tables by name
    run(wanted)                                                     their tables, in order

Another process that wants the same waits for it (`nvlib.locks`). An analysis is one piece of work: what was
interrupted begins again with the first that is not finished, so a large one is asked for in parts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch

from nvlib.errors import InputError
from nvlib.records import Analysis, digest
from nvlib.store import Store
from nvlib.studies.perform import Lost, Tell
from nvlib.studies.plan import Task, running
from nvlib.studies.runner import Bars, run_tasks

Make = Callable[[Analysis, Store], Mapping[str, pd.DataFrame]]


class Desk:
    """Analyses being worked on: each record with what makes its tables, by hash, and the store they go to."""

    on = "cpu"

    def __init__(self, wanted: Sequence[tuple[Analysis, Make]], where: Store) -> None:
        self.where = where
        self.wanted = {digest(record): (record, make) for record, make in wanted}

    def done(self, task: Task) -> bool:
        """Whether an analysis' tables are there."""
        return self.where.tables(task.name) is not None

    def ready(self, task: Task) -> bool:
        """Whether an analysis has what it needs: it is planned when that is there."""
        return True

    def carry_out(self, task: Task, tell: Tell) -> None:
        """Make an analysis' tables and store them."""
        record, make = self.wanted[task.name]
        tell(self, task, 0, {"begun": True})
        began = time.monotonic()
        try:
            with running(task.plan["threads"]):
                tables = make(record, self.where)
        except Lost as lost:
            raise InputError(str(lost)) from None
        self.where.save_tables(record, tables, time.monotonic() - began, task.plan)
        tell(self, task, 1, {})


def run(
    wanted: Sequence[tuple[Analysis, Make]], where: Store | None = None, *, progress: bool = True
) -> list[dict[str, pd.DataFrame]]:
    """Carry out what is missing of some analyses and return the tables of all, in order.

    Args:
        wanted: records, each with what makes its tables.
        where: the store; None takes the project's own.
        progress: whether to show a bar.

    Raises:
        InputError: for one that is of a training whose weights are lost.
    """
    where = where or Store()
    desk = Desk(wanted, where)
    where.restore([record for record, _ in desk.wanted.values()])
    plan = {"threads": torch.get_num_threads(), "device": desk.on}
    tasks = [Task("analysis", (name,), 1, plan) for name in desk.wanted]
    tasks = [task for task in tasks if not desk.done(task)]
    with Bars(tasks, progress) as bars:
        run_tasks([(desk, task) for task in tasks], bars.tell)
    return [where.tables(name) or {} for name in desk.wanted]
