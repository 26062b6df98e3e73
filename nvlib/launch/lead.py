"""Leading a launch: fix the plan, have the tasks done by this process, spawned ones or a cluster, say how far it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from nvlib import methods
from nvlib.errors import InputError
from nvlib.launch.folder import Failed, Launch, Status, last_line, process
from nvlib.launch.worker import Cancelled, Worker
from nvlib.provenance import now
from nvlib.studies.grid import Study
from nvlib.studies.tasks import Desk, Task, plan

EVERY = 0.5  # seconds between looks at workers
GRACE = 20.0  # seconds that workers have to store what they finished


def lead(launch: Launch, told: Callable[[Status], None] | None = None) -> Status:
    """Run a launch to its end in this process, and say how far it is in its progress.json.

    Args:
        launch: what was asked for.
        told: is called with the status as it changes.

    Returns:
        The last status. Of a cluster's launch: that its jobs are queued.
    """
    asked = launch.asked()
    leader = Leader(launch, told or (lambda _: None))
    leader.note(state="running", what="planning", **process())
    try:
        with _terminable():
            desks, tasks = prepare(launch)
            leader.begin(desks, tasks)
            {"here": _here, "processes": _processes, "slurm": _slurm}[asked["executor"]](leader, asked)
    except Cancelled:
        leader.note(state="cancelled", what="", eta=None)
    except (KeyboardInterrupt, SystemExit):
        leader.note(state="cancelled", what="", eta=None, error="interrupted; what was finished is kept")
        raise
    except Exception as error:
        said = str(error).strip().splitlines() or [""]
        line = said[0] if isinstance(error, InputError | Failed) else f"{type(error).__name__}: {said[0]}"
        leader.note(state="failed", what="", eta=None, error=line)
        raise
    else:
        if asked["executor"] != "slurm":
            leader.note(state="done", what="", eta=None, done=float(leader.status.total))
    return leader.status


def prepare(launch: Launch) -> tuple[list[Desk], list[tuple[Desk, Task]]]:
    """Find what is missing and fix the plan that all workers follow: tasks.json."""
    asked = launch.asked()
    where = launch.store()
    desks = [Desk(Study.of(study), where, asked["on"]) for study in asked["studies"]]
    tasks, seen = [], set()
    for desk in desks:
        for task in plan(desk, asked["pack"], asked["threads"]):
            if task not in seen:  # studies may share runs
                seen.add(task)
                tasks.append((desk, task))
    launch.write("tasks.json", {
        "tasks": [[desks.index(desk), task.record()] for desk, task in tasks],
        "costs": [cost(desk, task) for desk, task in tasks],
        "total": len({name for desk in desks for name in (*desk.trainings, *desk.evaluations)}),
        "runs": list(dict.fromkeys(name for desk in desks for name in desk.evaluations)),
    })  # fmt: skip
    return desks, tasks


def cost(desk: Desk, task: Task) -> float:
    """Return roughly how many forward passes of an image a task takes; backward counts as two."""
    if task.kind == "evaluation":
        evaluation = desk.evaluations[task.name]
        return evaluation.images * (1 if evaluation.sigma_d == 0 else task.amount)
    training = desk.trainings[task.name]
    stated = methods.cost_of(methods.get(training.method, **training.parameters))
    return 3 * stated.rows * stated.forwards * training.images * task.amount


class Leader:
    """Keeps a launch's status: in progress.json, and told to whoever asked."""

    def __init__(self, launch: Launch, told: Callable[[Status], None]) -> None:
        self.launch, self.told, self.status = launch, told, launch.status()
        self.began, self.left, self.costs, self.ready = time.monotonic(), [], {}, 0.0

    def begin(self, desks: list[Desk], tasks: list[tuple[Desk, Task]]) -> None:
        """Take in what is to be done."""
        held = self.launch.read("tasks.json")
        self.left, self.work = list(tasks), list(tasks)
        self.costs = dict(zip(tasks, held["costs"], strict=True))
        missing = sum(len(task.names) for _, task in tasks)
        self.before = held["total"] - missing
        self.began = time.monotonic()
        self.launch.say(f"{missing} of {held['total']} runs are missing, in {len(tasks)} tasks")
        self.note(total=held["total"], done=float(self.before), runs=tuple(held["runs"]), what="starting")

    def look(self, jobs: list[dict[str, Any]]) -> None:
        """Take in how far workers are, and write it."""
        self.left = [item for item in self.left if not item[0].done(item[1])]
        current = {job["current"]["name"]: job["current"]["fraction"] for job in jobs if job.get("current")}
        left = [(item, 1 - current.get(item[1].name, 0.0)) for item in self.left]
        runs = sum(len(task.names) * share for (_, task), share in left)
        ahead = sum(self.costs[item] * share for item, share in left)
        total = sum(self.costs.values())
        spent = time.monotonic() - self.began
        active = [job for job in jobs if job["state"] == "running" and job["what"]]
        self.note(
            done=round(self.status.total - runs, 3), eta=spent * ahead / (total - ahead) if total > ahead else None,
            what=active[0]["what"] if active else self.status.what, partial=active[0]["partial"] if active else {},
            jobs=tuple({k: job.get(k, "") for k in ("job", "state", "what", "done", "total", "last")} for job in jobs),
        )  # fmt: skip

    def note(self, **changes: Any) -> None:
        """Write a change of the status."""
        self.status = replace(self.status, **changes, updated=now())
        self.launch.note(self.status)
        self.told(self.status)


def _here(leader: Leader, _: dict[str, Any]) -> None:
    """Do the tasks in this process."""

    class Here(Worker):
        def write(self) -> None:
            super().write()
            leader.look([leader.launch.read("workers/0.json")])

        def say(self, line: str) -> None:
            leader.launch.say(line)

    whole = Here(leader.launch, 0, leader.work)()
    leader.look([leader.launch.read("workers/0.json")])
    if not whole:
        raise _failed(leader.launch)


def _processes(leader: Leader, asked: dict[str, Any]) -> None:
    """Spawn workers, each with its share of the cores, and wait for them."""
    launch, count = leader.launch, min(asked["workers"], max(1, len(leader.left)))
    for desk in {desk for desk, _ in leader.work}:
        desk.__dict__.pop("loaded", None)  # this process needs the images no more
    (launch.home / "workers").mkdir(exist_ok=True)
    environment = os.environ | {
        "OMP_NUM_THREADS": str(asked["threads"]), "MKL_NUM_THREADS": str(asked["threads"]),
        "OMP_WAIT_POLICY": "passive",
    }  # fmt: skip
    workers: list[subprocess.Popen] = []
    try:
        for k in range(count if leader.left else 0):
            with (launch.home / "workers" / f"{k}.log").open("a") as log:
                command = [sys.executable, "-m", "nvlib.launch", "work", str(launch.home), str(k), str(os.getpid())]
                workers.append(
                    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
                )
        while any(worker.poll() is None for worker in workers):
            leader.look([_job(launch, k, worker) for k, worker in enumerate(workers)])
            if launch.cancelled():
                raise Cancelled("cancelled")
            time.sleep(EVERY)
    finally:
        _end(workers)
    leader.look([_job(launch, k, worker) for k, worker in enumerate(workers)])
    if launch.cancelled():
        raise Cancelled("cancelled")
    if leader.left:
        raise _failed(launch, [_job(launch, k, worker) for k, worker in enumerate(workers)])


def _job(launch: Launch, k: int, worker: subprocess.Popen) -> dict[str, Any]:
    """Return how far a worker is; a dead one that did not say so has failed."""
    held = launch.read(f"workers/{k}.json") or {"state": "running", "what": "", "done": 0, "total": 0, "partial": {}}
    if held.get("pid") not in (None, worker.pid):  # of an earlier launch of this folder
        held = {"state": "running", "what": "", "done": 0, "total": 0, "partial": {}}
    if worker.poll() is not None:
        held["current"] = None
        if held["state"] == "running":
            held["state"] = f"killed by signal {-worker.returncode}" if worker.returncode < 0 else "failed"
    return {**held, "job": k, "last": last_line(launch.home / "workers" / f"{k}.log")}


def _failed(launch: Launch, jobs: list[dict[str, Any]] = ()) -> Failed:
    """Return the error that says what is missing and why."""
    failures = launch.failures()
    if failures:
        others = f" and {len(failures) - 1} others" if len(failures) > 1 else ""
        return Failed(f"{failures[0]['what']}{others} failed: {failures[0]['error']} (log: {launch.log.parent})")
    ends = [f"{job['state']}, {job['last']!r}" for job in jobs if job["state"] != "done"]
    return Failed(f"runs are left and no process is: {'; '.join(ends[:2])} (logs: {launch.home / 'workers'})")


def _end(workers: list[subprocess.Popen]) -> None:
    """End workers, first with a request to store what they finished."""
    for worker in workers:
        if worker.poll() is None:
            worker.terminate()
    until = time.monotonic() + GRACE
    for worker in workers:
        try:
            worker.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def _slurm(leader: Leader, asked: dict[str, Any]) -> None:
    """Submit the tasks as a job array."""
    from nvlib.launch import cluster

    jobs = cluster.submit(leader.launch, leader.work, list(leader.costs.values()), asked)
    if jobs:
        leader.note(state="queued", what=f"SLURM job {jobs[0].split('_')[0]}", pid=None, born=None)
    else:
        leader.note(state="done", what="", done=float(leader.status.total))


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end this process as an interruption does, so that what is finished is stored."""
    try:
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
