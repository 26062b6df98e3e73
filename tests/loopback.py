"""A real SLURM on this machine alone: slurmctld and slurmd on loopback, configured, started and stopped by a test."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

NEEDED = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
HINT = "no SLURM on this machine; as root: apt-get install slurm-wlm"

CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
AuthInfo=cred_expire=2
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=100000,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=20
MinJobAge=300
InactiveLimit=0
SlurmdTimeout=300
SlurmctldTimeout=300
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=8000 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=high Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10
"""


def missing():
    """Return the programs that are not there."""
    return [tool for tool in NEEDED if shutil.which(tool, path=_path()) is None]


@contextmanager
def slurm(home, cpus=2):
    """Run a cluster of one node for a while; yields the environment that its commands need."""
    for folder in ("state", "spool"):
        (home / folder).mkdir(parents=True)
    host = socket.gethostname().split(".")[0]
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    conf = CONF.format(home=home, host=host, user=user, cpus=cpus, controller=_port(), daemon=_port())
    (home / "slurm.conf").write_text(conf)
    environment = {"SLURM_CONF": str(home / "slurm.conf"), "PATH": _path()}
    full = os.environ | environment
    daemons = []
    try:
        for command in (["slurmctld", "-D", "-i"], ["slurmd", "-D"]):
            log = (home / f"{command[0]}.out").open("w")
            daemons.append(subprocess.Popen(command, env=full, stdout=log, stderr=log, start_new_session=True))
        _wait_until_idle(full, daemons, home)
        yield environment
    finally:
        subprocess.run(["scancel", "--user", user], env=full, capture_output=True, check=False)
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _wait_until_idle(environment, daemons, home, seconds=90):
    until = time.monotonic() + seconds
    out = ""
    while time.monotonic() < until:
        if any(daemon.poll() is not None for daemon in daemons):
            break
        command = ["sinfo", "-h", "-o", "%T"]
        asked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        out = asked.stdout + asked.stderr
        if "idle" in asked.stdout:
            return
        time.sleep(0.3)
    logs = "".join(p.read_text()[-2000:] for p in sorted(home.glob("*.log")) + sorted(home.glob("*.out")))
    raise RuntimeError(f"SLURM did not come up: {out}\n{logs}")


def _port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _path():
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
