"""Leading a launch: fix the plan, have the tasks done by this process, spawned ones or a cluster, say how far it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from nvlib import methods
from nvlib.launch.job import Failed, Launch, Status, last_line, process
from nvlib.launch.worker import Cancelled, Worker, first_line
from nvlib.provenance import now
from nvlib.studies.plan import Desk, Task, plan
from nvlib.studies.study import Study

EVERY = 0.5  # seconds between looks at workers
GRACE = 20.0  # seconds that workers have to store what they finished


def lead(
    launch: Launch, told: Callable[[Status], None] | None = None, studies: Sequence[Study] | None = None
) -> Status:
    """Run a launch to its end in this process, and say how far it is: to ``told``, and in its progress.json.

    Args:
        launch: what was asked for.
        told: is called with the status as it changes.
        studies: those of the launch, where they are at hand.

    Returns:
        The last status. Of a cluster's launch: that its jobs are queued.
    """
    leader = Leader(launch, told or (lambda _: None))
    leader.note(state="running", what="planning", **process())
    try:
        with _terminable():
            leader.begin(studies or [Study.of(study) for study in launch.asked()["studies"]])
            {"here": _here, "processes": _processes, "slurm": _slurm}[leader.status.executor](leader)
    except Cancelled:
        leader.note(state="cancelled", what="", eta=None)
    except (KeyboardInterrupt, SystemExit):
        leader.note(state="cancelled", what="", eta=None, error="interrupted; what was finished is kept")
        raise
    except Exception as error:
        line = str(error) if isinstance(error, Failed) else first_line(error)
        leader.note(state="failed", what="", eta=None, error=line)
        raise
    return leader.status


def cost(desk: Desk, task: Task) -> float:
    """Return roughly how many forward passes of an image a task takes; backward counts as two."""
    if task.kind == "evaluation":
        evaluation = desk.evaluations[task.name]
        return evaluation.images * (1 if evaluation.sigma_d == 0 else task.amount)
    training = desk.trainings[task.name]
    stated = methods.cost_of(methods.get(training.method, **training.parameters))
    return 3 * stated.rows * stated.forwards * training.images * task.amount


class Leader:
    """A launch's tasks, and its status: in progress.json, and told to whoever asked."""

    def __init__(self, launch: Launch, told: Callable[[Status], None]) -> None:
        self.launch, self.told, self.status = launch, told, launch.status()

    def begin(self, studies: Sequence[Study]) -> None:
        """Find what is missing, and fix the plan that all workers follow."""
        asked, where = self.launch.asked(), self.launch.store()
        self.desks = [Desk(study, where, asked["on"]) for study in studies]
        self.work: list[tuple[Desk, Task]] = []
        for desk in self.desks:
            known = {task for _, task in self.work}  # studies may share runs
            self.work += [(desk, task) for task in plan(desk, asked["pack"], asked["threads"]) if task not in known]
        self.costs = [cost(desk, task) for desk, task in self.work]
        self.shares, self.began = [0.0] * len(self.work), time.monotonic()
        total = len({name for desk in self.desks for name in (*desk.trainings, *desk.evaluations)})
        runs = tuple(dict.fromkeys(name for desk in self.desks for name in desk.evaluations))
        missing = sum(len(task.names) for _, task in self.work)
        self.launch.say(f"{missing} of {total} runs are missing, in {len(self.work)} tasks")
        self.note(total=total, done=float(total - missing), runs=runs, what="starting")

    def manifest(self) -> list[tuple[int, dict[str, Any]]]:
        """Return the tasks in plain values, each with the number of its study."""
        return [(self.desks.index(desk), task.record()) for desk, task in self.work]

    def look(self, jobs: Sequence[dict[str, Any]]) -> None:
        """Take in how far workers are."""
        told = [job["shares"] for job in jobs if job.get("shares")]
        self.shares = [max(shares) for shares in zip(self.shares, *told, strict=True)]
        left = sum(len(task.names) * (1 - share) for (_, task), share in zip(self.work, self.shares, strict=True))
        ahead = sum(cost * (1 - share) for cost, share in zip(self.costs, self.shares, strict=True))
        spent, total = time.monotonic() - self.began, sum(self.costs)
        active = [job for job in jobs if job["state"] == "running" and job["what"]]
        shown = ("job", "state", "what", "done", "total", "last", "pid")
        self.note(
            done=round(self.status.total - left, 3), eta=spent * ahead / (total - ahead) if total > ahead else None,
            what=active[0]["what"] if active else self.status.what, partial=active[0]["partial"] if active else {},
            jobs=tuple({key: job.get(key, "") for key in shown} for job in jobs),
        )  # fmt: skip

    def note(self, **changes: Any) -> None:
        """Change the status."""
        self.status = replace(self.status, **changes, updated=now())
        self.launch.note(self.status)
        self.told(self.status)

    def end(self, jobs: Sequence[dict[str, Any]] = ()) -> None:
        """Note that all is done; Failed, with what is missing and why, if it is not."""
        if all(desk.done(task) for desk, task in self.work):
            return self.note(state="done", what="", eta=None, done=float(self.status.total))
        if self.launch.cancelled():
            raise Cancelled("cancelled")
        if failures := self.launch.failures():
            others = f" and {len(failures) - 1} others" if len(failures) > 1 else ""
            why, log = f"{failures[0]['what']}{others} failed: {failures[0]['error']}", self.launch.log.parent
            raise Failed(f"{why} (log: {log})")
        ends = [f"{job['state']}, {job['last']!r}" for job in jobs if job["state"] != "done"]
        logs = self.launch.home / "workers"
        raise Failed(f"runs are left and no process is: {'; '.join(ends[:2])} (logs: {logs})")


def _here(leader: Leader) -> None:
    """Do the tasks in this process."""
    Worker(leader.launch, leader.work, lambda said: leader.look([{**said, "job": 0}]), leader.launch.say)()
    leader.end()


def _processes(leader: Leader) -> None:
    """Spawn workers, each with its share of the cores, and wait for them."""
    asked = leader.launch.asked()
    for desk in leader.desks:
        desk.forget()  # this process needs the images no more
    (leader.launch.home / "workers").mkdir(exist_ok=True)
    workers: list[Spawned] = []
    try:
        for k in range(min(asked["workers"], len(leader.work))):
            workers.append(Spawned(leader, k, asked["threads"]))
        while any(worker.process.poll() is None for worker in workers):
            leader.look([worker.far() for worker in workers])
            if leader.launch.cancelled():
                break
            time.sleep(EVERY)
    finally:
        until = time.monotonic() + GRACE
        for worker in workers:
            worker.process.terminate()  # a request to store what is finished
        for worker in workers:
            worker.end(until - time.monotonic())
    leader.look([worker.far() for worker in workers])
    leader.end([worker.far() for worker in workers])


class Spawned:
    """A process that does the tasks of a launch with others, and tells how far it is through a pipe."""

    def __init__(self, leader: Leader, k: int, threads: int) -> None:
        self.k, self.log = k, leader.launch.home / "workers" / f"{k}.log"
        self.said: dict[str, Any] = {"state": "running", "what": "", "done": 0, "total": 0, "partial": {}}
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive",
        }  # fmt: skip
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nvlib.launch", "work", str(leader.launch.home)], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, env=environment, text=True,
            )  # fmt: skip
        self.listener = threading.Thread(target=self._listen, args=(json.dumps(leader.manifest()),), daemon=True)
        self.listener.start()

    def _listen(self, manifest: str) -> None:
        pipe, lines = self.process.stdin, self.process.stdout
        assert pipe is not None and lines is not None, "both are pipes"
        try:
            with pipe:
                pipe.write(manifest)
            for line in lines:
                self.said = json.loads(line)
        except (OSError, ValueError):
            return  # it is gone; `far` says how

    def far(self) -> dict[str, Any]:
        """Return how far it is; one that is gone and did not say so has failed."""
        code = self.process.poll()
        if code is not None:
            self.listener.join(1.0)  # its last words
        said = {**self.said, "job": self.k, "last": last_line(self.log), "pid": self.process.pid}
        if code is not None and said["state"] == "running":
            said["state"] = f"killed by signal {-code}" if code < 0 else "failed"
        return said

    def end(self, grace: float) -> None:
        """Wait so many seconds for its end, then kill it."""
        try:
            self.process.wait(max(0.1, grace))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _slurm(leader: Leader) -> None:
    """Submit the tasks as a job array."""
    from nvlib.launch import slurm

    slurm.usable()
    if not leader.work:
        return leader.end()
    leader.launch.write("tasks.json", leader.manifest())
    jobs = slurm.submit(leader.launch, leader.work, leader.costs)
    leader.note(state="queued", what=f"SLURM job {jobs[0].split('_')[0]}", pid=None, born=None)


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
