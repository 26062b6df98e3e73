"""Launches: the same bits whoever works, and what is seen of them from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest

from nvlib import InputError, launch, locks, methods, store, studies
from nvlib.launch import job, lead, slurm
from nvlib.launch.job import Launch, Status, last_line, new
from nvlib.launch.progress import Show
from nvlib.methods import Recipe
from nvlib.store import Store
from nvlib.studies import Study

SMALL = Study(
    "lenet3", methods=("none", "gaussian"), sigma_d=(0.1, 0.2), epochs=2, chips=4, images=64,
    recipe=Recipe(batch_size=32),
)  # fmt: skip
LONG = replace(SMALL, methods=("gaussian",), sigma_d=(0.1,), epochs=5000)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The small study, launched in this process."""
    where = Store(tmp_path_factory.mktemp("here") / "runs", None)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nvlib.launch.worker.OFTEN", 0.0)  # every step is seen
        return where, launch.run(SMALL, where=where, threads=1, progress=seen.append), seen


def alike(one, two):
    one, two = (
        t.astype(dict.fromkeys(t.select_dtypes("category"), str)).sort_values(["run", "chip"], ignore_index=True)
        for t in (one, two)
    )
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def locked(runs):
    """Which names somebody holds."""
    return [path.name for path in (runs / locks.FOLDER).iterdir() if locks.held(runs, path.name)]


def until(met, seconds=120):
    began = time.monotonic()
    while not (found := met()):
        assert time.monotonic() - began < seconds, "waited in vain"
        time.sleep(0.1)
    return found


def test_a_launch_here_is_a_study_run(here, tmp_path):
    where, table, seen = here
    alike(table, studies.run(SMALL, Store(tmp_path, None), progress=False, threads=1))
    status = launch.status(where=where)
    assert status.state == "done" and status.finished and status.done == status.total == 3 + 4
    assert set(status.runs) == set(table.run) and status.pid == os.getpid()
    assert [s.state for s in seen][-1] == "done" and {s.state for s in seen} == {"running", "done"}
    assert [s.done for s in seen] == sorted(s.done for s in seen)
    assert any("training gaussian lenet3 on rram at sigma_d 0.2, seed 0, epoch 2 of 2" in s.what for s in seen)
    assert any(s.partial.get("epoch") for s in seen) and any(s.partial.get("chips") for s in seen)
    assert any(s.eta is not None and s.eta >= 0 for s in seen)
    home = where.runs / ".launch" / status.id
    assert Status.of(json.loads((home / "progress.json").read_text())) == status
    assert "runs are missing" in (home / "log.txt").read_text()


def test_processes_give_the_same_bits(here, tmp_path):
    where = Store(tmp_path / "runs", None)
    (tmp_path / "mine.py").write_text("print('hello')\n")  # what users' code prints is not taken for progress
    study = replace(SMALL, plugins=(str(tmp_path / "mine.py"),))
    alike(launch.run(study, "processes", 2, where=where, threads=1, progress=False), here[1])
    status = launch.status(where=where)
    assert status.executor == "processes" and [job["state"] for job in status.jobs] == ["done", "done"]
    assert "hello" in (where.runs / ".launch" / status.id / "workers" / "0.log").read_text()
    plans = [where.about(name)["plan"] for name in {*here[1].run, *here[1].training}]
    assert plans == [here[0].about(name)["plan"] for name in {*here[1].run, *here[1].training}]


def test_several_studies_in_one_launch_and_what_exists_is_not_repeated(here, monkeypatch):
    where, table, _ = here
    monkeypatch.setattr("nvlib.methods.train", None)
    more = [SMALL.record(), replace(SMALL, sigma_d=(0.2,))]
    alike(launch.run(more, where=where, threads=1, progress=False), table)
    assert launch.status(where=where).total == 3 + 4  # shared runs count once


def test_a_detached_launch_outlives_its_starter_and_is_followed(here, tmp_path):
    where = Store(tmp_path, None)
    grid = tmp_path / "grid.yaml"
    grid.write_text(json.dumps(SMALL.record()))
    code = (
        "import sys; from pathlib import Path; from nvlib import launch; from nvlib.store import Store\n"
        f"where = Store(Path({str(tmp_path)!r}), None)\n"
        f"print(launch.start({json.loads(grid.read_text())!r}, where=where, threads=1))\n"
        "assert 'torch' not in sys.modules"
    )
    id = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert launch.status(id[:12], where).state in ("waiting", "running", "done")
    seen = []
    last = launch.follow(id, where, progress=seen.append, every=0.2)
    assert last.state == "done" and last.pid != os.getpid() and seen[-1] == last
    alike(store.results(where), here[1])
    assert [s.id for s in launch.jobs(where)] == [id]
    launch.forget(id, where)
    assert launch.jobs(where) == [] and len(store.results(where))


def test_cancelled_lost_and_resumed(tmp_path):
    where = Store(tmp_path, None)
    id = launch.start(LONG, where=where, threads=1)
    until(lambda: launch.status(id, where).partial.get("epoch", 0) >= 2)
    with pytest.raises(InputError, match="not ended"):
        launch.forget(id, where)
    launch.cancel(id, where)
    assert launch.follow(id, where, progress=False).state == "cancelled"
    assert list(tmp_path.glob(".*checkpoint*")) and not any(locked(tmp_path))

    again = launch.resume(id, where)
    first = until(lambda: (s := launch.status(again, where)).partial.get("epoch") and s)
    assert first.partial["epoch"] > 2  # from the checkpoint on
    os.kill(first.pid, signal.SIGKILL)
    status = launch.follow(again, where, progress=False)
    assert status.state == "lost" and status.finished and "gone" in status.error


@pytest.mark.slow
def test_a_worker_without_its_leader_stops(tmp_path):
    where = Store(tmp_path, None)
    id = launch.start(LONG, "processes", 1, where=where, threads=1)
    until(lambda: launch.status(id, where).partial.get("epoch", 0) >= 1)
    worker = launch.status(id, where).jobs[0]["pid"]
    os.kill(launch.status(id, where).pid, signal.SIGKILL)
    until(lambda: job.birth(worker) is None)


@pytest.mark.slow
def test_a_killed_worker_is_told_of_and_its_work_is_taken_over(tmp_path):
    study, where, hit = replace(SMALL, methods=("gaussian",), epochs=40), Store(tmp_path / "killed", None), []

    def kill(status):  # the first seen at work, whichever began first: its training lasts for many looks
        for worker in () if hit else status.jobs:
            if "epoch" in worker["what"]:
                os.kill(worker["pid"], signal.SIGKILL)
                return hit.append(worker["job"])

    table = launch.run(study, "processes", 2, where=where, threads=1, progress=kill)
    jobs = launch.status(where=where).jobs
    assert len(hit) == 1 and jobs[hit[0]]["state"] == "killed by signal 9" and jobs[1 - hit[0]]["state"] == "done"
    alike(table, launch.run(study, where=Store(tmp_path / "undisturbed", None), threads=1, progress=False))


@pytest.mark.slow
def test_only_so_many_run_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("NVLIB_JOBS", "1")
    where = Store(tmp_path, None)
    first = launch.start(LONG, where=where, threads=1, name="first")
    until(lambda: launch.status(first, where).state == "running")
    second = launch.start(SMALL, where=where, threads=1)
    until(lambda: "1 others run" in launch.status(second, where).what)
    assert launch.status(second, where).state == "waiting"
    launch.cancel(first, where)
    assert launch.follow(second, where, progress=False).state == "done"


@pytest.mark.parametrize(
    ("study", "options", "said"),
    [
        (SMALL, {"executor": "cloud"}, "unknown executor 'cloud'"), (SMALL, {"workers": 0}, "workers=0"),
        (SMALL, {"cluster": {"gpus": 1}}, "executor='slurm'"), ([], {}, "no study"), ("x.toml", {}, "no study at"),
        (SMALL, {"executor": "slurm", "cluster": {"gpu": 1}}, "did you mean 'gpus'"),
        (SMALL, {"executor": "slurm", "cluster": {"cpus": 0}}, "cpus=0"),
        ({"epoch": 1}, {}, "did you mean 'epochs'"), (SMALL, {"pack": 0}, "pack=0"),
        (SMALL, {"threads": 0, "executor": "processes"}, "threads=0"),
    ],
)  # fmt: skip
def test_what_cannot_be_launched(study, options, said, tmp_path):
    with pytest.raises(InputError, match=said) as error:
        launch.run(study, **options, where=Store(tmp_path, None), progress=False)
    assert "\n" not in str(error.value)


def test_a_wrong_study_is_the_error_of_a_detached_launch(tmp_path):
    where = Store(tmp_path, None)
    id = launch.start({"methods": ["gausian"]}, where=where)
    status = launch.follow(id, where, progress=False)
    assert status.state == "failed" and "did you mean 'gaussian'" in status.error


def test_no_slurm_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="login node"):
        launch.run(SMALL, "slurm", where=Store(tmp_path, None), progress=False)


def test_names_of_launches(tmp_path):
    with pytest.raises(InputError, match="unknown launch 'last'"):
        launch.status(where=Store(tmp_path, None))
    runs = tmp_path
    ids = [new(runs, [], "here", None, {"on": "cpu", "shipped": None}).id for _ in range(2)]
    assert launch.status(ids[0], Store(runs, None)).id == ids[0]
    with pytest.raises(InputError, match="2 launches begin with '20'"):
        launch.status("20", Store(runs, None))
    called = [new(runs, [], "here", "night", {"on": "cpu", "shipped": None}).id for _ in range(2)]
    newest = launch.status("night", Store(runs, None))
    assert newest.id == called[-1] and "(night)" in newest.line()
    with pytest.raises(InputError, match="unknown launch 'nigh'"):
        launch.status("nigh", Store(runs, None))


def test_launches_of_one_second_are_in_order(tmp_path):
    ids = [new(tmp_path, [], "here", None, {"on": "cpu", "shipped": None}).id for _ in range(20)]
    assert ids == sorted(set(ids))
    assert [each.id for each in launch.jobs(Store(tmp_path, None))] == ids[::-1]


def test_shares_of_an_array_are_whole_trainings(here):
    where, _, _ = here
    study = replace(SMALL, seeds=(3, 4), train_sigma_d=(0.1,))
    desk = studies.plan.Desk(study, Store(where.runs / "none", None))
    tasks = [(desk, task) for task in studies.plan.plan(desk, threads=1)]

    for most in (1, 3, 100):
        shares = slurm.share(tasks, [1.0] * len(tasks), most)
        assert sorted(i for share in shares for i in share) == list(range(len(tasks)))
        assert len(shares) == min(most, 4)  # two methods, two seeds
        for share in shares:
            trained = {name for i in share for name in tasks[i][1].names if tasks[i][1].kind == "training"}
            needed = {desk.evaluations[tasks[i][1].name].training for i in share if tasks[i][1].kind == "evaluation"}
            assert needed == trained
            assert share == sorted(share)  # a training comes before its evaluations


def test_every_method_has_a_cost(tmp_path):
    quick = {name: {"n_train": 4, "images": 32} for name in ("trice", "trice_gauss")}
    study = replace(SMALL, methods=tuple(methods.METHODS), sigma_d=(0.1,), parameters=quick)
    desk = studies.plan.Desk(study, Store(tmp_path, None))
    tasks = [task for task in studies.plan.plan(desk, threads=1) if task.kind == "training"]
    costs = {desk.trainings[task.name].method: lead.cost(desk, task) for task in tasks}
    assert costs == {name: costs["none"] * {"trice": 3, "trice_gauss": 3, "ovf": 4}.get(name, 1) for name in costs}
    assert set(costs) == set(methods.METHODS)
    most = {desk.trainings[task.name].method: studies.plan._most(desk, desk.trainings[task.name]) for task in tasks}
    assert most["irs"] == most["none"] > most["trice"] > most["ovf"] >= 1


def test_the_last_line_of_a_log(tmp_path):
    path = tmp_path / "log"
    assert last_line(path) == last_line(None) == ""
    path.write_text("one\nValueError: two\nsrun: error: node1: task 0: Exited with exit code 1\n\n")
    assert last_line(path) == "ValueError: two"
    path.write_text("50%\r100%\r\n")
    assert last_line(path) == "100%"


def test_plain_lines_where_there_is_no_terminal(capsys):
    with Show(True) as show:
        show(Status("id", state="running", what="planning"))
        for done in (0, 0.5, 1, 2):
            show(Status("id", state="running", done=done, total=2, what="training"))
        job = {"job": "7_1", "state": "failed", "last": "OOM", "what": "", "done": 0, "total": 1}
        show(Status("id", executor="slurm", state="failed", done=2, total=2, error="why", jobs=(job,)))
    assert capsys.readouterr().err.splitlines() == [
        "planning", "running, 0 of 2 runs", "running, 1 of 2 runs", "running, 2 of 2 runs", "job 7_1: failed: OOM",
        "id  failed    2.0 of 2 runs: why",
    ]  # fmt: skip


def test_a_bar_on_a_terminal_with_lines_above_it(capsys, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # what rich goes by
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Show(True) as show:
        for done in (0, 1.5, 2):
            job = {"job": "7_1", "state": "running" if done < 2 else "done", "last": ""}
            show(Status("id", name="night", executor="slurm", done=done, total=2, what="training", jobs=(job,)))
    said = capsys.readouterr().err
    assert "night" in said and "2.0 of 2 runs, training" in said
    assert "job 7_1: running\n" in said and "job 7_1: done\n" in said


def test_a_folder_that_is_damaged_or_none(tmp_path):
    held = Launch(tmp_path / ".launch" / "x")
    with pytest.raises(InputError, match="no launch x"):
        held.asked()
    (held.home).mkdir(parents=True)
    (held.home / "launch.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        held.asked()
