"""Claims: one holder at a time, none of the dead, whatever became of them."""

import json
import multiprocessing
import os
import signal
import time

import pytest

from nvlib import claims

CONTEXT = multiprocessing.get_context("spawn")


def hold(runs, ready):
    """Claim a name and wait to be killed."""
    claims.take(runs, ["run"])
    ready.set()
    time.sleep(60)


def contend(runs, log, names):
    """Do what nobody else does of some work, and note it."""
    left = list(names)
    while left:
        for name in list(left):
            if (runs / f"{name}.done").exists():
                left.remove(name)
            elif held := claims.take(runs, [name]):
                with held:
                    if not (runs / f"{name}.done").exists():
                        with log.open("a") as file:
                            file.write(f"{name}\n")
                        (runs / f"{name}.done").touch()


def other(path, **changes):
    """Make a claim look like another process's."""
    path.write_text(json.dumps({**claims.me(), **changes}))


def test_one_holder_at_a_time(tmp_path):
    with claims.take(tmp_path, ["a", "b"]) as held:
        assert claims.take(tmp_path, ["a"]) is None
        assert claims.take(tmp_path, ["b", "c"]) is None  # all or none
        assert claims.held(tmp_path, "c") is None
        assert claims.held(tmp_path, "a")["pid"] == os.getpid()
        assert len(held.paths) == 2
    assert claims.held(tmp_path, "a") is None
    with claims.take(tmp_path, ["a"]):
        pass
    assert not [p for p in (tmp_path / claims.FOLDER).iterdir() if p.name != ".lock"]


def test_a_killed_holder_blocks_nobody(tmp_path):
    ready = CONTEXT.Event()
    process = CONTEXT.Process(target=hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(60)
    assert claims.take(tmp_path, ["run"]) is None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with claims.take(tmp_path, ["run"]):
        assert claims.held(tmp_path, "run")["pid"] == os.getpid()


def test_a_number_used_again_is_not_the_process(tmp_path):
    """The kernel gives numbers of dead processes to new ones; their births differ."""
    claims.take(tmp_path, ["run"]).release()
    other(tmp_path / claims.FOLDER / "run", born=1)
    assert claims.held(tmp_path, "run") is None


def test_another_machines_claim_holds_while_it_is_touched(tmp_path):
    claims.take(tmp_path, ["run"]).release()
    path = tmp_path / claims.FOLDER / "run"
    other(path, host="elsewhere")
    assert claims.take(tmp_path, ["run"]) is None
    os.utime(path, (time.time() - claims.STALE - 1,) * 2)
    with claims.take(tmp_path, ["run"]) as held:
        other(path, host="elsewhere")  # it woke up and took it back: not ours to remove
        held.release()
    assert path.exists()


def test_a_claim_is_touched_while_the_work_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT", 0.05)
    with claims.take(tmp_path, ["run"]):
        path = tmp_path / claims.FOLDER / "run"
        os.utime(path, (0, 0))
        until = time.monotonic() + 20
        while path.stat().st_mtime < 1 and time.monotonic() < until:
            time.sleep(0.05)
        assert path.stat().st_mtime > time.time() - 60


def test_a_requeued_jobs_own_claim_is_its_own(tmp_path, monkeypatch):
    claims.take(tmp_path, ["run"]).release()
    path = tmp_path / claims.FOLDER / "run"
    other(path, host="another node", job="17")
    monkeypatch.setenv("SLURM_JOB_ID", "18")
    assert claims.take(tmp_path, ["run"]) is None
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert claims.take(tmp_path, ["run"]) is not None


@pytest.mark.parametrize("text", ["", '{"host": "x'])
def test_a_claim_cut_off_while_it_was_written(tmp_path, text):
    claims.take(tmp_path, ["run"]).release()
    path = tmp_path / claims.FOLDER / "run"
    path.write_text(text)
    assert claims.take(tmp_path, ["run"]) is None  # it may be being written
    os.utime(path, (time.time() - claims.WRITTEN - 1,) * 2)
    assert claims.take(tmp_path, ["run"]) is not None


def test_several_processes_share_work_without_being_told_how(tmp_path):
    log, names = tmp_path / "log", [f"n{i}" for i in range(150)]
    processes = [CONTEXT.Process(target=contend, args=(tmp_path, log, names)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert sorted(log.read_text().split()) == sorted(names)
