"""Who runs a study: this process, processes of this machine, or a cluster; and how far it is, from anywhere.

    run       a study to its end: here, by N spawned processes, or as a SLURM job array
    start     the same as a launch of its own, which outlives its starter; status, jobs, follow, cancel, resume

Every executor does the tasks of one manifest (`nvlib.studies.tasks`) under the plan it fixed, so samples are the same
bits; every one may be killed at any moment and started again. This package needs no torch to be looked at.

    folder    a launch on disk, and its status
    show      a bar on a terminal, plain lines in a log
    jobs      what is said above
    lead      leading a launch to its end
    worker    a process that does tasks
    cluster   SLURM, through submitit

>>> from nvlib import launch
>>> launch.EXECUTORS
('here', 'processes', 'slurm')
"""

from nvlib.launch.cluster import Cluster
from nvlib.launch.folder import Failed, Status
from nvlib.launch.jobs import EXECUTORS, cancel, follow, forget, jobs, resume, run, start, status

__all__ = [
    "run", "start", "status", "jobs", "follow", "cancel", "resume", "forget", "Status", "Cluster", "Failed",
    "EXECUTORS",
]  # fmt: skip
