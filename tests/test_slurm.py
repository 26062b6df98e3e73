"""A real SLURM on loopback: an array, a killed job, preemption, requeueing, and the same bits in the end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import loopback
import pandas as pd
import pytest

import nvlib
from nvlib import InputError, launch
from nvlib.launch import Cluster
from nvlib.methods import Recipe
from nvlib.store import Store
from nvlib.studies import Study

pytestmark = pytest.mark.slurm

# long enough to be met in the middle: some ten seconds of generated code
STUDY = Study(
    "lenet3", methods=("gaussian",), sigma_d=(0.2,), epochs=240, chips=4, images=96, recipe=Recipe(batch_size=32)
)
FOUR = [replace(STUDY, seeds=(seed,)) for seed in range(4)]
SMALL = Cluster(cpus=1, memory_gb=1.5, minutes=10, warning=5)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """SLURM, up for the tests of this file."""
    if lacking := loopback.missing():
        if os.environ.get("NVLIB_SLURM") == "required":
            pytest.fail(f"{loopback.HINT} (missing: {', '.join(lacking)})")
        pytest.skip(loopback.HINT)
    with loopback.slurm(tmp_path_factory.mktemp("slurm")) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The four studies, run in this process."""
    where = Store(tmp_path_factory.mktemp("here") / "runs", None)
    return launch.run(FOUR, where=where, threads=1, progress=False)


def until(met, seconds=240):
    """Wait until something holds."""
    began = time.monotonic()
    while not (found := met()):
        assert time.monotonic() - began < seconds, "waited in vain"
        time.sleep(0.1)
    return found


def home(where, id):
    return where.runs / ".launch" / id


def in_the_middle(where, id, job):
    """Return what a job says of itself once it is a few epochs into its training."""

    def met():
        path = home(where, id) / "workers" / f"{job}.json"
        said = json.loads(path.read_text()) if path.exists() else {}
        return said if said.get("partial", {}).get("epoch", 0) >= 3 else None

    return until(met)


def submitted(studies, where, **changes):
    launch.run(studies, "slurm", where=where, cluster=replace(SMALL, **changes), follow=False, progress=False)
    return launch.status(where=where)


def alike(one, two):
    one, two = (
        t.astype(dict.fromkeys(t.select_dtypes("category"), str)).sort_values(["run", "chip"], ignore_index=True)
        for t in (one, two)
    )
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def hurry(jobs):
    """Let requeued jobs start now: SLURM holds them back for minutes, until the old credential has expired."""

    def running():
        for job in jobs:
            subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], capture_output=True, check=False)
        return all(launch.slurm.states(jobs).get(job, "gone") not in ("PENDING", "COMPLETING") for job in jobs)

    until(running)


def test_an_array_with_a_killed_job_is_completed_by_a_second_submission(cluster, undisturbed, tmp_path):
    where = Store(tmp_path / "runs", None)
    status = submitted(FOUR, where)
    assert status.executor == "slurm" and len(status.jobs) == 4 and status.total == 8 and not status.finished
    assert {job["state"] for job in status.jobs} <= {"queued", "running"}
    os.kill(in_the_middle(where, status.id, 1)["pid"], signal.SIGKILL)
    ended = launch.follow(status.id, where, progress=False)
    assert ended.state == "failed" and "1 of 4 jobs" in ended.error
    assert [job["state"] for job in ended.jobs] == ["done", "failed", "done", "done"]
    assert ended.jobs[1]["last"] and 6 < ended.done < 7  # a part of its training, not its evaluation
    table = launch.run(FOUR, "slurm", where=where, cluster=SMALL, progress=False)
    again = launch.status(where=where)
    assert again.id != ended.id and again.state == "done" and len(again.jobs) == 1 and again.done == again.total == 8
    alike(table, undisturbed)
    assert not list(where.runs.glob(".*checkpoint*"))


def test_jobs_find_a_network_of_ones_own(cluster, tmp_path):
    marker = tmp_path / "marker"
    text = f"open({str(marker)!r}, 'a').write('x')\nfrom torch import nn\ndef make():\n    " \
           "return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"  # fmt: skip
    (tmp_path / "mine.py").write_text(text)
    study = Study(f"{tmp_path}/mine.py:make", methods=("none",), epochs=1, chips=2, images=64)
    table = launch.run(study, "slurm", where=Store(tmp_path / "runs", None), cluster=SMALL, progress=False)
    assert len(table) == 2 and set(table.network) == {study.network}
    assert marker.read_text() == "xx"  # here, and in the job


def test_jobs_know_a_method_of_ones_own(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(nvlib.methods, "METHODS", dict(nvlib.methods.METHODS))
    path = tmp_path / "mine.py"
    path.write_text(
        "import nvlib\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n\n\n@dataclass(frozen=True)\n"
        "class Still:\n    name: ClassVar[str] = 'still'\n\n    def loss(self, run, batch):\n"
        "        return run.cross_entropy(run.forward(run.noisy(None), batch.x), batch.y)\n\n\n"
        "nvlib.METHODS['still'] = Still\n"
    )
    study = Study("lenet3", methods=("still",), sigma_d=(0.1,), epochs=1, chips=2, images=64, plugins=(str(path),))
    table = launch.run(study, "slurm", where=Store(tmp_path / "runs", None), cluster=SMALL, progress=False)
    nvlib.METHODS.pop("still", None)
    assert len(table) == 2 and set(table.method) == {"still"}


def test_a_job_asked_to_stop_goes_back_to_the_queue_and_on(cluster, undisturbed, tmp_path):
    where = Store(tmp_path / "runs", None)
    status = submitted(FOUR[:1], where)
    (job,) = status.jobs
    in_the_middle(where, status.id, 0)
    subprocess.run(["scancel", f"--signal={launch.slurm.SIGNAL}", job["job"]], check=True)
    until(lambda: "Requeued job" in log(where, status.id))
    hurry([job["job"]])
    assert launch.follow(status.id, where, progress=False).state == "done"
    assert "epoch 1 of" not in log(where, status.id).split("Requeued job")[1]  # it went on, it did not start afresh
    alike(samples(where), undisturbed[undisturbed.train_seed == 0])


def test_a_preempted_job_goes_back_to_the_queue_and_on(cluster, undisturbed, tmp_path):
    where = Store(tmp_path / "runs", None)
    status = submitted(FOUR[:2], where, partition="low")
    for job in (0, 1):
        in_the_middle(where, status.id, job)
    subprocess.run(["sbatch", "-p", "high", "-n", "2", "-o", tmp_path / "high", "--wrap", "sleep 2"], check=True)
    until(lambda: log(where, status.id).count("DUE TO JOB REQUEUE") >= 2)
    assert "SIGTERM: preempted" in log(where, status.id)  # SLURM may have requeued the other before it could ask why
    hurry([job["job"] for job in status.jobs])
    assert launch.follow(status.id, where, progress=False).state == "done"
    alike(samples(where), undisturbed[undisturbed.train_seed < 2])


def test_a_launch_is_cancelled_and_resumed(cluster, undisturbed, tmp_path):
    where = Store(tmp_path / "runs", None)
    status = submitted(FOUR[:1], where)
    in_the_middle(where, status.id, 0)
    launch.cancel(status.id, where)
    assert launch.follow(status.id, where, progress=False).state == "cancelled"
    assert list(where.runs.glob(".*checkpoint*"))
    again = launch.resume(status.id, where)
    assert launch.follow(again, where, progress=False).state == "done"
    alike(samples(where), undisturbed[undisturbed.train_seed == 0])


def test_what_slurm_refuses_is_said(cluster, tmp_path):
    where = Store(tmp_path / "runs", None)
    with pytest.raises(InputError, match="partition"):
        launch.run(FOUR[0], "slurm", where=where, cluster={"partition": "gpu"}, progress=False)
    status = launch.status(where=where)
    assert status.state == "failed" and "partition" in status.error


def test_the_walk_through_line_by_line(cluster, tmp_path):
    """docs/guides/cluster.md: every line of its sh blocks, in order."""
    text = (Path(__file__).parents[1] / "docs" / "guides" / "cluster.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    assert len(blocks) >= 7
    environment = os.environ | {
        "NVLIB_RUNS": str(tmp_path / "runs"), "NVLIB_RESULTS": str(tmp_path / "none"), "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    said = []
    for block in blocks:
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout + done.stderr)
    assert "of which 0 exist" in said[1] and "night" in "".join(said)
    table = pd.read_csv(tmp_path / "samples.csv")
    assert set(table.train_seed) == {0, 1, 2} and table.groupby("run").chip.nunique().eq(80).all()


def log(where, id):
    return "".join(path.read_text() for path in home(where, id).glob("slurm/*log*"))


def samples(where):
    return nvlib.results(where)
