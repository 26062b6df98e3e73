"""Nothing finished is lost or wrong: kills in training, in evaluation and while a result is written, and two at once.

Children come from a server that has imported the library once, so that a kill costs a second and not an import.
"""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from nvlib import InputError, locks, methods, store, studies
from nvlib.methods import Recipe
from nvlib.records import digest
from nvlib.studies import Study, checkpoint

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["nvlib.studies", "nvlib.launch.lead"])

SMALL = Study(
    "lenet3", methods=("none", "gaussian"), sigma_d=(0.1, 0.2), epochs=3, chips=20, images=64,
    recipe=Recipe(batch_size=32),
)  # fmt: skip
GRID = replace(
    SMALL, methods=("gaussian",), devices=("rram", "fefet1"), sigma_d=tuple(i / 20 for i in range(1, 11)),
    seeds=(0, 1, 2, 3, 4), epochs=2, chips=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the small study gives when nothing happens to it."""
    return studies.run(SMALL, store.Store(tmp_path_factory.mktemp("whole") / "runs", None), progress=False, threads=1)


def alike(one, two):
    one, two = (
        t.astype(dict.fromkeys(t.select_dtypes("category"), str)).sort_values(["run", "chip"], ignore_index=True)
        for t in (one, two)
    )
    pd.testing.assert_frame_equal(one, two, check_exact=True)


# -- children --------------------------------------------------------------------------------------------------------


def counted(owner, name, at, log=None):
    """Kill this process at the so manieth call of a function; note each call."""
    kept, calls = getattr(owner, name), 0

    def call(*args, **kwargs):
        nonlocal calls
        calls += 1
        if log is not None:
            with open(log, "a") as file:
                file.write(f"{name}\n")
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return kept(*args, **kwargs)

    setattr(owner, name, call)


def doomed(study, runs, where, at):
    """Run a study until it is killed."""
    import torch

    from nvlib import evaluate
    from nvlib.store import files
    from nvlib.studies import perform as work

    torch.set_num_threads(1)
    work.BLOCK = 2
    owner, name = {
        "training": (methods.Recipe, "images"),  # of every batch
        "evaluation": (evaluate, "score"),
        "write": (os, "fsync"),  # written, and not yet renamed
        "renamed": (files, "_flush"),  # renamed just now
    }[where]
    counted(owner, name, at)
    studies.run(study, store.Store(runs, None), progress=False, threads=1)


def noting(study, runs, log):
    """Run a study and note each training and block."""
    import torch

    from nvlib.studies import perform as work

    torch.set_num_threads(1)
    for name in ("train", "evaluate"):
        kept = getattr(work, name)

        def call(desk, task, count, kept=kept):
            with open(log, "a") as file:
                file.write(f"{task.name}\n")
            time.sleep(0.2)  # so that the other one comes by
            kept(desk, task, count)

        setattr(work, name, call)
    studies.run(study, store.Store(runs, None), progress=False, threads=1)


def child(target, *args):
    process = CONTEXT.Process(target=target, args=args)
    process.start()
    return process


def ended(process):
    process.join(300)
    return process.exitcode


# -- kills -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "at"),
    [("training", 1), pytest.param("training", 6, marks=pytest.mark.slow), ("evaluation", 2),
     pytest.param("evaluation", 5, marks=pytest.mark.slow)],
)  # fmt: skip
def test_killed_in_the_middle_it_ends_with_the_same_samples(where, at, undisturbed, tmp_path):
    assert ended(child(doomed, SMALL, tmp_path, where, at)) == -signal.SIGKILL
    alike(studies.run(SMALL, store.Store(tmp_path, None), progress=False, threads=1), undisturbed)
    assert not list(tmp_path.glob(".*checkpoint*"))


@pytest.mark.parametrize(
    ("where", "calls"), [pytest.param("write", (10, 40), marks=pytest.mark.slow), ("renamed", (6, 16))]
)
def test_killed_at_one_write_after_another_it_ends_with_the_same_samples(where, calls, undisturbed, tmp_path):
    """Every restart gets a little further than the last; what is under a final name is whole at any time."""
    rng, kills, code = random.Random(0), 0, None
    while code != 0:
        code = ended(child(doomed, SMALL, tmp_path, where, rng.randint(*calls)))
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
        assert kills < 60
        found = {finding.state for finding in store.verify(store.Store(tmp_path, None))}
        assert found <= {"sound", "unfinished", "missing"}  # listed first, then named: so one may miss its name
    assert kills >= 2
    alike(studies.run(SMALL, store.Store(tmp_path, None), progress=False, threads=1), undisturbed)
    assert not list(tmp_path.rglob("*.part"))


def test_a_damaged_checkpoint_is_set_aside(undisturbed, tmp_path):
    assert ended(child(doomed, SMALL, tmp_path, "training", 6)) == -signal.SIGKILL
    (path,) = tmp_path.glob(f".*{checkpoint.SUFFIX}")
    data = bytearray(path.read_bytes())
    data[-3] ^= 1  # one bit of one weight
    path.write_bytes(data)
    studies.estimate(SMALL, store.Store(tmp_path, None), calibrate=False)
    assert path.read_bytes() == data  # a forecast looks and touches nothing
    with pytest.warns(store.Damaged, match="starts afresh"):
        table = studies.run(SMALL, store.Store(tmp_path, None), progress=False, threads=1)
    alike(table, undisturbed)
    path.write_bytes(data[:100])
    with pytest.warns(store.Damaged, match="damaged"):
        assert checkpoint.load(path, mend=True) is None


@pytest.mark.parametrize("damage", ["weights.safetensors", "samples"])
def test_damaged_results_are_computed_again(damage, undisturbed, tmp_path):
    where = store.Store(tmp_path, None)
    studies.run(SMALL, where, progress=False, threads=1)
    path = next(tmp_path.glob(f"*/{damage}*"))
    path.write_bytes(path.read_bytes()[:-9])
    more = replace(SMALL, chips=21)  # needs the weights again
    with pytest.warns(store.Damaged):
        table = studies.run(more, where, progress=False, threads=1)
    alike(table[table.chip < 20].reset_index(drop=True), undisturbed)


def test_weights_lost_while_a_study_runs_are_trained_again(undisturbed, tmp_path):
    where = store.Store(tmp_path, None)
    studies.run(replace(SMALL, chips=1), where, progress=False, threads=1)
    desk = studies.plan.Desk(SMALL, where)
    tasks = studies.plan.plan(desk, threads=1)
    name = desk.evaluations[tasks[0].name].training
    (where.runs / name / "weights.safetensors").write_bytes(b"")
    with pytest.warns(store.Damaged):
        left = studies.runner.run_tasks([(desk, task) for task in tasks], lambda *_: None)
    assert not left
    alike(studies.runner.table(desk), undisturbed)


def test_an_error_of_one_run_stops_a_study_and_not_a_launch(tmp_path, monkeypatch):
    from nvlib import launch

    kept = methods.train

    def breaks(*args, seed, **kwargs):
        if seed == [1]:
            raise ValueError("no such luck\nwith a second line")
        return kept(*args, seed=seed, **kwargs)

    monkeypatch.setattr(methods, "train", breaks)
    study, where = replace(SMALL, seeds=(0, 1, 2), sigma_d=(0.1,), methods=("gaussian",)), store.Store(tmp_path, None)
    with pytest.raises(ValueError, match="no such luck"):
        studies.run(study, where, progress=False)
    with pytest.raises(launch.Failed, match="seed 1 failed: ValueError: no such luck"):
        launch.run(study, where=where, progress=False)
    status = launch.status(where=where)
    assert (status.state, status.done, status.total) == ("failed", 4, 6)
    assert set(store.results(where).train_seed) == {0, 2}
    assert not any(locks.held(tmp_path, path.name) for path in (tmp_path / locks.FOLDER).iterdir())


# -- two at once -----------------------------------------------------------------------------------------------------


def test_two_processes_asked_for_the_same_study_share_it(undisturbed, tmp_path):
    log = tmp_path / "log"
    both = [child(noting, SMALL, tmp_path / "runs", log) for _ in range(2)]
    assert [ended(process) for process in both] == [0, 0]
    done = Counter(log.read_text().split())
    names = {digest(r) for pair in SMALL.pairs(SMALL.data()) for r in pair}
    assert set(done) == names and set(done.values()) == {1}  # each run by one of them
    alike(store.results(store.Store(tmp_path / "runs", None)), undisturbed)


def test_what_a_killed_process_was_at_is_taken_over(undisturbed, tmp_path):
    first = child(doomed, SMALL, tmp_path, "training", 5)
    second = child(noting, SMALL, tmp_path, tmp_path / "log")
    assert ended(first) == -signal.SIGKILL and ended(second) == 0
    alike(store.results(store.Store(tmp_path, None)), undisturbed)


# -- the grid --------------------------------------------------------------------------------------------------------

SCRIPT = """
    import sys
    from pathlib import Path
    from nvlib import launch
    from nvlib.store import Store
    launch.run(sys.argv[2], "processes", 2, where=Store(Path(sys.argv[1]), None), threads=1, progress=False)
"""


def finished(desk):
    """How many runs of a study are whole."""
    return sum(map(desk.trained, desk.trainings)) + sum(not desk.lacking(name) for name in desk.evaluations)


def killed_grid(study, kills, tmp_path):
    """Run a grid on two processes, kill all of them so often at random, let it end; returns its table and a report."""
    script, grid, runs = tmp_path / "grid.py", tmp_path / "grid.yaml", tmp_path / "runs"
    script.write_text(textwrap.dedent(SCRIPT))
    grid.write_text(json.dumps(study.record()))  # JSON is YAML
    rng, report = random.Random(1), []
    desk = studies.plan.Desk(study, store.Store(runs, None))
    total = len(desk.trainings) + len(desk.evaluations)
    marks = sorted(rng.uniform(0.02, 0.95) * total for _ in range(kills))
    while True:
        process = subprocess.Popen([sys.executable, script, runs, grid], start_new_session=True)
        mark = marks[len(report)] if len(report) < kills else None
        while process.poll() is None:
            if mark is not None and runs.exists() and (there := finished(desk)) >= mark:
                time.sleep(rng.uniform(0, 1))
                os.killpg(process.pid, signal.SIGKILL)  # the leader and both workers
                report.append(there)
                break
            time.sleep(0.2)
        process.wait()
        assert finished(desk) >= (report[-1] if report else 0)  # nothing finished is lost
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
    return store.results(store.Store(runs, None)), report


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_grid_of_200_runs_killed_ten_times_ends_complete_and_the_same(tmp_path):
    whole = studies.run(GRID, store.Store(tmp_path / "whole", None), progress=False, threads=1)
    assert whole.run.nunique() + whole.training.nunique() == 200
    table, report = killed_grid(GRID, 10, tmp_path)
    assert len(report) == 10
    alike(table, whole)
    found = Counter(finding.state for finding in store.verify(store.Store(tmp_path / "runs", None)))
    print(f"killed at {report} of 200 runs; files afterwards: {dict(found)}")
    assert not found["damaged"] and not found["missing"]


def test_a_full_disk_says_so_and_loses_nothing(tmp_path, monkeypatch, undisturbed):
    where = store.Store(tmp_path, None)
    kept, calls = pd.DataFrame.to_parquet, 0

    def full(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls > 4:
            raise OSError(28, "No space left on device")
        return kept(*args, **kwargs)

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(store.DiskFull):
        studies.run(SMALL, where, progress=False, threads=1)
    monkeypatch.undo()
    some = len(store.results(where))
    assert 0 < some < len(undisturbed)
    alike(studies.run(SMALL, where, progress=False, threads=1), undisturbed)


def test_a_launch_with_other_data_is_refused(tmp_path):
    from nvlib.launch.job import new
    from nvlib.launch.worker import desks_and_tasks

    where = store.Store(tmp_path, None)
    launch = new(where.runs, [SMALL.record()], "here", None, {"on": "cpu", "shipped": None})
    manifest = [(0, {"kind": "training", "names": ["0" * 64], "amount": 1, "plan": {}})]
    with pytest.raises(InputError, match="the data and the version"):
        desks_and_tasks(launch, manifest)
