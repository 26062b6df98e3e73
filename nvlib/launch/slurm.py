"""A launch as a SLURM job array, through submitit: each job does its share of the tasks of the manifest.

A job's share is whole trainings with their evaluations, so that no job waits for another; of what is trained already,
evaluations spread freely. What a job is asked to stop by:

    USR1    the time limit is near, or the cluster preempts with a signal of one's own: what is finished is stored,
            the job goes back to the queue and then on from its checkpoints (at most ``requeues`` times for time)
    TERM    a preemption without such a signal: as above; or somebody's scancel: what is finished is stored, and it ends

Completion is read from the results, never from SLURM's accounting, which a small cluster may lack. What is missing at
the end is what a second submission of the same study submits.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvlib.declarations import ClusterFields
from nvlib.errors import InputError, unknown
from nvlib.launch.job import Launch, Status, last_line

if TYPE_CHECKING:
    from nvlib.studies.plan import Desk, Task

SIGNAL = "USR1"
MOST = 1000  # elements of an array; SLURM's own default allows 1001
ENDED = {"CANCELLED", "FAILED", "TIMEOUT", "COMPLETED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}


@dataclass(frozen=True)
class Cluster(ClusterFields):
    """What is asked of SLURM for each job of the array: `nvlib.declarations.ClusterFields`, checked."""

    def __post_init__(self) -> None:
        """Refuse what no cluster can give."""
        for name in ("cpus", "minutes", "at_once"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)!r} of the cluster is not usable; expected at least 1")
        if self.gpus < 0 or (self.jobs is not None and self.jobs < 1):
            raise InputError(f"gpus={self.gpus}, jobs={self.jobs} of the cluster; expected gpus >= 0 and jobs >= 1")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Cluster:
        """Return the options of plain values; InputError for an unknown one."""
        for name in values:
            if name not in cls.__dataclass_fields__:
                raise unknown("option of the cluster", name, cls.__dataclass_fields__)
        held: dict[str, Any] = {key: tuple(v) if key == "setup" else v for key, v in values.items()}
        return cls(**held)

    def parameters(self, name: str) -> dict[str, Any]:
        """Return them as submitit's SlurmExecutor has them."""
        given = {
            "job_name": name, "partition": self.partition, "account": self.account, "qos": self.qos,
            "constraint": self.constraint, "time": self.minutes, "cpus_per_task": self.cpus,
            "mem": f"{round(self.memory_gb * 1024)}M" if self.memory_gb else None,
            "gpus_per_node": self.gpus or None, "setup": list(self.setup) or None,
        }  # fmt: skip
        always = {
            "array_parallelism": self.at_once, "signal_delay_s": self.warning, "stderr_to_stdout": True,
            "additional_parameters": {"requeue": True, **self.extra},
        }  # fmt: skip
        return {key: value for key, value in given.items() if value is not None} | always


class Job:
    """What an element of the array runs; submitit pickles it and, when the job is requeued, runs it again."""

    def __init__(self, home: str) -> None:
        self.home = home

    def __call__(self, index: int) -> bool:
        """Do a share of the tasks."""
        from nvlib.launch.worker import Worker, desks_and_tasks, printed

        signal.signal(signal.SIGTERM, _terminated)
        launch = Launch(Path(self.home))
        tasks = launch.read("tasks.json")
        work = desks_and_tasks(launch, [tasks[i] for i in launch.read("slurm.json")["shares"][index]])
        return Worker(launch, work, lambda said: launch.write(f"workers/{index}.json", said), printed)(wait=False)

    def checkpoint(self, index: int) -> Any:
        """Return what goes back to the queue: the same, which goes on from what is stored."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, index)


def submit(launch: Launch, work: Sequence[tuple[Desk, Task]], costs: Sequence[float]) -> list[str]:
    """Submit what is missing as an array.

    Args:
        launch: what was asked for; which tasks each job does is written to its slurm.json.
        work: the tasks, those of its tasks.json; at least one.
        costs: of each, in any unit.

    Returns:
        The names of the jobs.
    """
    asked = launch.asked()
    submitit, options = usable(), Cluster.of(asked["cluster"])
    shares = share(work, costs, min(options.jobs or MOST, MOST))
    folder = launch.home / "slurm"
    folder.mkdir(exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = str(options.cpus)  # sbatch hands its environment on
    executor = submitit.SlurmExecutor(folder, max_num_timeout=options.requeues)
    executor.update_parameters(**options.parameters(asked["name"] or "nvlib"))
    launch.write("slurm.json", {"shares": shares, "jobs": []})  # before any job can start
    try:
        jobs = executor.map_array(Job(str(launch.home)), range(len(shares)))
    except Exception as error:
        said = [line for line in str(error).splitlines() if "error" in line.lower()] or str(error).splitlines() or [""]
        raise InputError(f"SLURM refused the jobs: {said[-1].strip()}") from error
    launch.write("slurm.json", {"shares": shares, "jobs": [job.job_id for job in jobs]})
    launch.say(f"submitted {len(jobs)} jobs: {jobs[0].job_id.split('_')[0]}")
    return [job.job_id for job in jobs]


def share(work: Sequence[tuple[Desk, Task]], costs: Sequence[float], most: int) -> list[list[int]]:
    """Return the tasks of each job: whole trainings with their evaluations, evenly by cost."""
    units: dict[str, list[int]] = {}
    trained_by: dict[str, str] = {}
    for index, (_, task) in enumerate(work):
        if task.kind == "training":
            units[task.name] = [index]
            trained_by |= dict.fromkeys(task.names, task.name)
    for index, (desk, task) in enumerate(work):
        if task.kind == "evaluation":
            trainer = trained_by.get(desk.evaluations[task.name].training)
            units.setdefault(trainer or task.name, []).append(index)
    jobs: list[list[int]] = [[] for _ in range(min(most, len(units)))]
    loads = [0.0] * len(jobs)
    for unit in sorted(units.values(), key=lambda unit: -sum(costs[i] for i in unit)):
        lightest = min(range(len(jobs)), key=loads.__getitem__)
        loads[lightest] += sum(costs[i] for i in unit)
        jobs[lightest] += unit
    return [sorted(tasks) for tasks in jobs]


def refreshed(launch: Launch, status: Status) -> Status:
    """Return the status of a launch whose jobs were submitted, from SLURM's queue and what the jobs wrote."""
    held = launch.read("slurm.json")
    if held is None or not held["jobs"] or status.finished:
        return status
    queue, jobs = states(held["jobs"]), []
    active: dict[str, Any] = {}
    for index, job in enumerate(held["jobs"]):
        said = {"state": "", "what": "", "done": 0.0, "total": len(held["shares"][index]), "partial": {}, "pid": None}
        said |= launch.read(f"workers/{index}.json") or {}
        waits = {"PENDING": "queued", "COMPLETING": "ending", "": "failed"}  # it left the queue with work undone
        state = "done" if said["state"] == "done" else waits.get(queue.get(job, ""), "running")
        active = active or (said if state == "running" else {})
        what, last = said["what"] if state == "running" else "", last_line(_log(launch, job))
        shown = {"job": job, "state": state, "what": what, "last": last}
        jobs.append(shown | {key: said[key] for key in ("done", "total", "pid")})
    count = Counter(job["state"] for job in jobs)
    state, error = next((s for s in ("running", "ending", "queued") if count[s]), "done"), ""
    if state == "done" and count["failed"]:
        failures, first = launch.failures(), next(job for job in jobs if job["state"] == "failed")
        why = failures[0]["error"] if failures else first["last"]
        state = "cancelled" if launch.cancelled() else "failed"
        error = f"{count['failed']} of {len(jobs)} jobs did not finish; {first['job']}: {why}"
    missing = sum(job["total"] - job["done"] for job in jobs)
    words = [f"{count[s]} {s}" for s in ("queued", "running", "done", "failed") if count[s]]
    return replace(
        status, state="running" if state == "ending" else state, jobs=tuple(jobs), partial=active.get("partial", {}),
        error=error, done=round(status.total - missing, 3),
        what=", ".join(words) + (f": {active['what']}" if active.get("what") else ""),
    )  # fmt: skip


def states(jobs: Sequence[str]) -> dict[str, str]:
    """Return what SLURM's queue says of jobs; those that have left it are not there."""
    arrays = sorted({job.split("_")[0] for job in jobs})
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T", f"--jobs={','.join(arrays)}"]
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"SLURM's squeue cannot be asked ({error}); follow this launch on the cluster") from None
    if out.returncode and "Invalid job id" not in out.stderr:
        said = out.stderr.strip().splitlines() or ["no reason given"]
        raise InputError(f"SLURM does not answer: {said[-1]}; try again later")
    found = dict(line.split("|", 1) for line in out.stdout.split() if "|" in line)
    return {job: state for job, state in found.items() if state not in ENDED}


def stop(launch: Launch) -> None:
    """Cancel the jobs of a launch."""
    held = launch.read("slurm.json")
    if held and held["jobs"]:
        arrays = sorted({job.split("_")[0] for job in held["jobs"]})
        subprocess.run(["scancel", *arrays], capture_output=True, timeout=60, check=False)


def options(cluster: Cluster | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the cluster's options as plain values, checked."""
    held = cluster if isinstance(cluster, Cluster) else Cluster.of(cluster or {})
    return asdict(held)


def _log(launch: Launch, job: str) -> Path | None:
    found = sorted((launch.home / "slurm").glob(f"{job}_*log.out"))
    return found[0] if found else None


def usable() -> Any:
    """Return submitit, told to listen to `SIGNAL`; InputError with what to do where there is none, or no SLURM."""
    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = SIGNAL  # read when submitit is imported, here and in the jobs
    try:
        import submitit
        from submitit.core.job_environment import JobEnvironment
    except ImportError:
        raise InputError("submitit is not installed; pip install -e '.[cluster]' (or make setup)") from None
    JobEnvironment.USR_SIG = SIGNAL  # it may have been imported before
    for tool in ("sbatch", "srun", "squeue"):
        if shutil.which(tool) is None:
            raise InputError(f"no {tool} on this machine; expected a login node of a SLURM cluster")
    return submitit


def _terminated(*_: object) -> None:
    """End on SIGTERM; where SLURM preempts the job, put it back into the queue."""
    job = os.environ["SLURM_JOB_ID"]
    try:
        out = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, timeout=30, check=False)
        preempted = re.search(r"PreemptTime=(?!None)\S+", out.stdout) is not None
        print(f"SIGTERM: {'preempted, back to the queue' if preempted else 'ending'}", flush=True)
        if preempted:  # a cluster that requeues by itself refuses, and does
            subprocess.run(["scontrol", "requeue", job], capture_output=True, timeout=30, check=False)
    finally:
        sys.exit(143)
