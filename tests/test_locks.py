"""Locks: one holder at a time, none of the dead, whatever became of them."""

import errno
import multiprocessing
import os
import signal
import time

from nvlib import locks

CONTEXT = multiprocessing.get_context("spawn")


def hold(runs, ready):
    """Lock a name and wait to be killed."""
    with locks.take(runs, ["run"]):
        ready.set()
        time.sleep(60)


def contend(runs, log, names):
    """Do what nobody else does of some work, and note it."""
    left = list(names)
    while left:
        for name in list(left):
            if (runs / f"{name}.done").exists():
                left.remove(name)
            elif held := locks.take(runs, [name]):
                with held:
                    if not (runs / f"{name}.done").exists():
                        with log.open("a") as file:
                            file.write(f"{name}\n")
                        (runs / f"{name}.done").touch()


def test_one_holder_at_a_time(tmp_path):
    assert not locks.held(tmp_path, "a")
    with locks.take(tmp_path, ["a", "b"]):
        assert locks.take(tmp_path, ["a"]) is None
        assert locks.take(tmp_path, ["b", "c"]) is None  # all or none
        assert locks.held(tmp_path, "a") and not locks.held(tmp_path, "c")
    assert not locks.held(tmp_path, "a")
    with locks.take(tmp_path, ["a"]):
        assert locks.held(tmp_path, "a")


def test_a_killed_holder_blocks_nobody(tmp_path):
    ready = CONTEXT.Event()
    process = CONTEXT.Process(target=hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(60)
    assert locks.take(tmp_path, ["run"]) is None and locks.held(tmp_path, "run")
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with locks.take(tmp_path, ["run"]):
        assert locks.held(tmp_path, "run")


def test_an_error_gives_all_back(tmp_path):
    try:
        with locks.take(tmp_path, ["a", "b"]):
            raise ValueError
    except ValueError:
        pass
    assert not locks.held(tmp_path, "a") and not locks.held(tmp_path, "b")


def test_without_locks_work_goes_on(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locks.take(tmp_path, ["a"]):
        pass


def test_several_processes_share_work_without_being_told_how(tmp_path):
    log, names = tmp_path / "log", [f"n{i}" for i in range(150)]
    processes = [CONTEXT.Process(target=contend, args=(tmp_path, log, names)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert sorted(log.read_text().split()) == sorted(names)
