"""Questions answered one after another by one process that stays warm: however many ask, nothing is mixed."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from nvlib import InputError, launch, locks
from nvlib.launch import warm
from nvlib.launch.job import FOLDER
from nvlib.store import Store, results
from nvlib.studies import Study, run

SMALL = {"network": "lenet3", "methods": ["none"], "images": 40, "epochs": 1, "chips": 3, "ranges": ["max"]}


@pytest.fixture
def where(tmp_path, monkeypatch):
    monkeypatch.setenv("NVLIB_WARM", "6")
    monkeypatch.delenv("NVLIB_JOBS", raising=False)
    store = Store(tmp_path / "runs", None)
    yield store
    folder = store.runs / FOLDER
    for home in folder.glob("*/progress.json") if folder.is_dir() else ():
        (home.parent / "cancel").touch()
    until = time.monotonic() + 30
    while locks.held(folder, warm.LOCK) and time.monotonic() < until:
        time.sleep(0.1)


def ended(ids, where, seconds=200):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        held = [launch.status(id, where) for id in ids]
        if all(status.finished for status in held):
            return held
        time.sleep(0.2)
    raise AssertionError([status.line() for status in held])


@pytest.mark.slow
def test_ten_readers_ask_at_once_and_one_process_answers_each(where):
    """Different devices and sigma_d: one line, one process, no error, every answer the one that was asked for."""
    asked = [SMALL | {"devices": [device], "sigma_d": [sigma_d]} for device, sizes in
             (("rram", (0.1, 0.2, 0.3, 0.4)), ("fefet1", (0.1, 0.2, 0.3)), ("pcm", (0.5, 1.0, 2.0)))
             for sigma_d in sizes]  # fmt: skip
    with ThreadPoolExecutor(10) as readers:
        ids = list(readers.map(lambda study: warm.ask([study], f"answer {json.dumps(study)}", where), asked))
    held = ended(ids, where)
    assert {status.state for status in held} == {"done"}, [status.line() for status in held]
    assert len({status.pid for status in held}) == 1 and os.getpid() not in {status.pid for status in held}
    again, = ended([warm.ask([asked[0] | {"sigma_d": [0.15]}], "again", where)], where)
    assert again.pid == held[0].pid  # still warm
    for study, status in zip(asked, held, strict=True):
        rows = results(where, run=list(status.runs))
        assert set(rows["device"]) == set(study["devices"]) and set(rows["sigma_d"]) == set(study["sigma_d"])
        assert len(rows) == 3
    alone = run(Study.of(asked[4]), Store(where.runs.parent / "alone", None), progress=False)
    same = results(where, run=list(held[4].runs))
    assert same["accuracy"].tolist() == alone["accuracy"].tolist()


def test_a_process_that_is_ready_answers_the_first_question(where):
    warm.ready(where)
    until = time.monotonic() + 60
    while not locks.held(where.runs / FOLDER, warm.LOCK) and time.monotonic() < until:
        time.sleep(0.05)
    warm.ready(where)  # nobody else is started
    (status,) = ended([warm.ask([SMALL], "one", where)], where)
    assert status.state == "done" and not (where.runs / FOLDER / "answers.log").read_text()


def test_where_none_is_to_wait_each_question_starts_one(where, monkeypatch):
    monkeypatch.setenv("NVLIB_WARM", "0")
    warm.ready(where)
    assert not (where.runs / FOLDER).exists()
    (status,) = ended([warm.ask([SMALL], "one", where)], where)
    assert status.state == "done"


@pytest.mark.slow
def test_a_bad_question_and_a_stopped_one_leave_the_line_going(where):
    bad = warm.ask([SMALL | {"sigma_d": [-1.0]}], "bad", where)
    stopped = warm.ask([SMALL | {"epochs": 400}], "stopped", where)
    good = warm.ask([SMALL], "good", where)
    launch.cancel(stopped, where)
    states = [status.state for status in ended([bad, stopped, good], where)]
    assert states == ["failed", "cancelled", "done"] and "sigma_d" in launch.status(bad, where).error


@pytest.mark.slow
def test_what_waits_is_served_when_the_server_was_killed(where):
    first = warm.ask([SMALL | {"epochs": 2000}], "first", where)
    until = time.monotonic() + 60
    while launch.status(first, where).pid is None and time.monotonic() < until:
        time.sleep(0.1)
    second = warm.ask([SMALL], "second", where)
    os.kill(launch.status(first, where).pid, signal.SIGKILL)
    while launch.status(first, where).state != "lost":
        time.sleep(0.1)
    until = time.monotonic() + 120
    while not launch.status(second, where).finished and time.monotonic() < until:
        warm.tend(where)  # again and again, as a page that follows does: a dying process holds its lock to the last
        time.sleep(0.5)
    assert launch.status(second, where).state == "done"


def test_asking_needs_no_torch_and_plug_ins_are_refused(where):
    code = "import sys; from nvlib.launch import warm; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(InputError, match="plug-ins"):
        warm.ask([SMALL | {"plugins": ["mine.py"]}], "own", where)
