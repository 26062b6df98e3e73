"""Who runs a study: this process, processes of this machine, or a cluster; and how far it is, from anywhere.

    run       a study to its end: here, by N spawned processes, or as a SLURM job array
    start     the same as a launch of its own, which outlives its starter; status, jobs, follow, cancel, resume

Every executor has the same function do the tasks (`nvlib.studies`) under the plan that is fixed before, so samples are
the same bits; every one may be killed at any moment and started again. How far it is is told by a call, through a pipe
from a spawned process, and written to a file by who is detached. This package needs no torch to be looked at.

    job       a launch on disk, and its status
    progress  a bar on a terminal, plain lines in a log
    run       what is said above
    lead      leading a launch to its end
    worker    who does tasks, and tells how far it is
    warm      one process that answers question after question
    slurm     SLURM, through submitit

>>> from nvlib import launch
>>> launch.EXECUTORS
('here', 'processes', 'slurm')
"""

from nvlib.launch.job import Failed, Status
from nvlib.launch.run import EXECUTORS, cancel, follow, forget, jobs, resume, run, start, status
from nvlib.launch.slurm import Cluster

__all__ = [
    "run", "start", "status", "jobs", "follow", "cancel", "resume", "forget", "Status", "Cluster", "Failed",
    "EXECUTORS",
]  # fmt: skip
