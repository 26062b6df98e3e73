"""Launches from outside: start one, see how far it is, follow, cancel, go on with it. No torch until one runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvlib import locks
from nvlib.errors import InputError, unknown, whole
from nvlib.launch import slurm
from nvlib.launch.job import FOLDER, Failed, Launch, Status, alive, birth, find, names, new, process
from nvlib.launch.progress import Show
from nvlib.launch.slurm import Cluster
from nvlib.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from nvlib.studies import Study

    One = Study | Mapping[str, Any] | str | Path
    Asked = One | Sequence[One]

EXECUTORS = ("here", "processes", "slurm")
LIMIT = 2  # detached launches that run at once; $NVLIB_JOBS says otherwise
LOST = 120.0  # seconds without a sign of life after which another machine's launch counts as lost


def run(
    study: Asked,
    executor: str = "here",
    workers: int | None = None,
    *,
    where: Store | None = None,
    on: str = "cpu",
    pack: int | str = "auto",
    threads: int | None = None,
    cluster: Cluster | Mapping[str, Any] | None = None,
    follow: bool = True,
    progress: bool | Callable[[Status], None] = True,
    name: str | None = None,
) -> pd.DataFrame:
    """Run what is missing of one or several studies and return their samples.

    The same study under the same plan gives the same bits with each executor; the plan holds the threads, so give
    ``threads`` where results of several machines should agree to the last bit.

    Args:
        study: a study, its plain values, the path of its file; or several of these.
        executor: ``here``: this process; ``processes``: spawned ones on this machine; ``slurm``: a job array.
        workers: processes, or jobs of the array; None: one a core, or one a training.
        where: the store; None takes the project's own.
        on: ``cpu`` or ``cuda``.
        pack: most trainings to run as one population; ``auto``: one on a CPU, several on CUDA.
        threads: of each process; None shares the cores evenly (a cluster's job has its cpus).
        cluster: what is asked of SLURM for a job.
        follow: whether to wait for a cluster's jobs; else what there is already is returned.
        progress: True for a bar on a terminal and plain lines in a log; or a function called with each `Status`.
        name: what to call it.

    Returns:
        The tidy table of `nvlib.results`, the studies' rows.

    Raises:
        InputError: for a study or options that cannot be used.
        Failed: if some runs failed; the others are stored.
    """
    from nvlib.launch.lead import lead

    studies = [_study(each) for each in _several(study)]
    for each in studies if executor != "here" else ():
        each.travels()
    launch = asked_for(studies, executor, workers, where, on, pack, threads, cluster, name)
    with Show(progress) as show:
        status = lead(launch, show, studies)
        if executor == "slurm" and follow:
            try:
                status = _until_ended(launch, show, 1.0)
            except KeyboardInterrupt:
                print(f"the jobs go on; follow them: python -m nvlib jobs follow {launch.id}", file=sys.stderr)
                raise
    if status.state == "failed":
        raise Failed(status.error)
    return _table(launch, status)


def start(study: Asked, executor: str = "here", workers: int | None = None, **options: Any) -> str:
    """Start a launch of its own, which outlives this process, and return its id.

    It waits for its turn where `LIMIT` others run. Arguments as of `run`, without ``follow`` and ``progress``; a study
    as plain values is checked by the launch itself, so that nothing here needs torch: what is wrong with it is the
    error of its status.
    """
    for each in _several(study):
        if not isinstance(each, Mapping):
            _study(each).travels()
    launch = asked_for(study, executor, workers, **options)
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1"}
    launch.note(replace(launch.status(), pid=None))  # not this process's any more
    with launch.log.open("a") as log:
        job = subprocess.Popen(
            [sys.executable, "-m", "nvlib.launch", "lead", str(launch.home)], stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, start_new_session=True, env=environment,
        )
    held = launch.status()
    if held.pid is None:  # it has not said so itself yet
        launch.note(replace(held, pid=job.pid, born=birth(job.pid)))
    return launch.id


def status(id: str = "last", where: Store | None = None) -> Status:
    """Return how far a launch is.

    Args:
        id: its name or how that begins; ``last``: the newest.
        where: the store it was launched on.

    Raises:
        InputError: if there is no such launch, or a cluster does not answer.
    """
    return _status(find(id, _runs(where)))


def jobs(where: Store | None = None) -> list[Status]:
    """Return all launches, the newest first; clusters are not asked."""
    runs = _runs(where)
    return [_status(Launch(runs / FOLDER / name), ask=False) for name in reversed(names(runs))]


def follow(
    id: str = "last",
    where: Store | None = None,
    *,
    every: float = 1.0,
    progress: bool | Callable[[Status], None] = True,
) -> Status:
    """Show how far a launch is until it ends, from any process; returns its last status."""
    with Show(progress) as show:
        return _until_ended(find(id, _runs(where)), show, every)


def cancel(id: str = "last", where: Store | None = None) -> Status:
    """Ask a launch to end; what is finished stays, and so do checkpoints. Returns its status, which may lag."""
    launch = find(id, _runs(where))
    launch.cancel()
    slurm.stop(launch)
    return _status(launch)


def resume(id: str = "last", where: Store | None = None) -> str:
    """Launch what is missing of an earlier launch's studies, the same way; returns the new one's id."""
    launch = find(id, _runs(where))
    asked = launch.asked()
    options = {key: asked[key] for key in ("workers", "on", "pack", "threads", "name")}
    if asked["executor"] == "slurm":
        options["cluster"] = asked["cluster"]
    return start(asked["studies"], asked["executor"], where=launch.store(), **options)


def forget(id: str, where: Store | None = None) -> None:
    """Remove a launch's folder, never results.

    Raises:
        InputError: while it runs.
    """
    launch = find(id, _runs(where))
    if not _status(launch).finished:
        raise InputError(f"launch {launch.id} has not ended; cancel it first")
    shutil.rmtree(launch.home)


def main(home: str) -> int:
    """Lead a launch, once it is its turn: what ``python -m nvlib.launch lead`` does."""
    launch = Launch(Path(home))
    turn = turn_of(launch)
    if turn is None:
        return 0
    from nvlib.launch.lead import lead
    from nvlib.launch.worker import traced

    with turn:
        try:
            said = Show(True)
            lead(launch, said)
        except (InputError, Failed) as error:
            trace = "" if isinstance(error, Failed) else traced(error)  # of a failed run it is there already
            print(f"{trace.lstrip()}\nerror: {error}".lstrip(), flush=True)
            return 2
    return 0


def turn_of(launch: Launch) -> ExitStack | None:
    """Wait until fewer than `LIMIT` launches run, and return what ends its turn; None if it was cancelled before."""
    while True:
        if launch.cancelled():
            launch.note(replace(launch.status(), state="cancelled", what=""))
            return None
        limit = int(os.environ.get("NVLIB_JOBS", LIMIT))
        turn = next(filter(None, (locks.take(launch.home.parent, [f"turn-{i}"]) for i in range(limit))), None)
        if turn is not None:
            return turn
        launch.note(replace(launch.status(), state="waiting", what=f"{limit} others run", **process()))
        time.sleep(1.0)


# -- inside ----------------------------------------------------------------------------------------------------------


def _study(study: One) -> Study:
    from nvlib.studies import read  # and torch with it

    return read(study)


def _several(study: Asked) -> list[Any]:
    """Return the studies asked for, one or several."""
    several = list(study) if isinstance(study, Sequence) and not isinstance(study, str) else [study]
    if not several:
        raise InputError("no study to launch; expected at least one")
    return several


def asked_for(
    study: Asked, executor: str, workers: int | None, where: Store | None = None, on: str = "cpu",
    pack: int | str = "auto", threads: int | None = None, cluster: Cluster | Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Launch:  # fmt: skip
    """Check what is asked for and make its folder."""
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    if cluster is not None and executor != "slurm":
        raise InputError(f"options of a cluster do not go with executor {executor!r}; expected executor='slurm'")
    for what, count in (("workers", workers), ("threads", threads)):
        if count is not None:
            whole(what, count, 1, otherwise=", or None")
    where, options, cores = where or Store(), slurm.options(cluster), _cores()
    records = [dict(each) if isinstance(each, Mapping) else _study(each).record() for each in _several(study)]
    if executor == "slurm":
        options |= {"jobs": workers or options["jobs"]}
        threads = threads or options["cpus"]
    elif executor == "processes":
        workers = workers or cores
        threads = threads or max(1, cores // workers)
    given = {
        "workers": workers, "on": on, "pack": pack, "threads": threads, "cluster": options,
        "shipped": str(where.shipped) if where.shipped else None, "cwd": os.getcwd(),
    }  # fmt: skip
    return new(where.runs.absolute(), records, executor, name, given)


def _cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _runs(where: Store | None) -> Path:
    return (where or Store()).runs.absolute()


def _status(launch: Launch, ask: bool = True) -> Status:
    """Return a launch's status; lost if its process is gone, a cluster's as its queue and its jobs say."""
    held = launch.status()
    if held.finished:
        return held
    if held.executor == "slurm" and held.pid is None:
        if not ask:
            return held
        fresh = slurm.refreshed(launch, held)
        if fresh != held:
            launch.note(fresh)
        return fresh
    known = alive(held) if held.pid else True
    if known is None:
        known = time.time() - (launch.home / "progress.json").stat().st_mtime < LOST
    if known:
        return held
    held = launch.status()  # its last words may have come just now
    return held if held.finished else replace(held, state="lost", what="", eta=None, error="its process is gone")


def _until_ended(launch: Launch, show: Callable[[Status], None], every: float) -> Status:
    while True:
        status = _status(launch)
        show(status)
        if status.finished:
            return status
        time.sleep(every)


def _table(launch: Launch, status: Status) -> pd.DataFrame:
    """Return the studies' samples, at most as many chips as a study asks for."""
    from nvlib.store import results

    table = results(launch.store(), run=list(status.runs))
    most = max(study.get("chips", 400) for study in launch.asked()["studies"])
    return table[table.chip < most].reset_index(drop=True)
