"""A process that answers one question after another and stays warm for a while: the second needs no import, no compile.

    ask     a launch for the queue, seen to by whoever serves, or by a process that is started for it
    ready   has such a process wait for the first question
    serve   leads what waits, the oldest first, and ends when nobody asked for `IDLE` seconds

One process a store serves: it holds the lock ``answers``. So however many ask at once, one does the work and the others
wait in line; each launch has its own folder, studies and status, and ends as any other does. It counts as one of the
launches that run at once (`nvlib.launch.run.LIMIT`). Nothing here needs torch before a question is answered.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nvlib import locks
from nvlib.errors import InputError
from nvlib.launch.job import FOLDER, Failed, Launch
from nvlib.launch.run import asked_for, turn_of
from nvlib.store import Store

LOCK = "answers"
WAITING = "waiting"  # a launch's file of that name says that it is in line
IDLE = 300.0  # seconds that a process waits for the next question; $NVLIB_WARM says otherwise, and 0 that none waits
EVERY = 0.1  # seconds between looks at the line


def ask(studies: Sequence[Mapping[str, Any]], name: str, where: Store | None = None) -> str:
    """Put studies in line and return their launch's id; it is followed, cancelled and found as any other.

    Args:
        studies: plain values of `nvlib.Study`, without plug-ins: these stay in the process that loads them.
        name: what to call it.
        where: the store; None takes the project's own.

    Raises:
        InputError: for a study with plug-ins.
    """
    if any(study.get("plugins") for study in studies):
        raise InputError("a study with plug-ins is answered by a process of its own; expected nvlib.launch.start")
    launch = asked_for(list(studies), "here", None, where=where, name=name)
    launch.note(replace(launch.status(), state="waiting", what="waiting in line", pid=None, born=None))
    (launch.home / WAITING).touch()
    tend(where)
    return launch.id


def tend(where: Store | None = None) -> None:
    """See that somebody serves what waits in line; nothing is started where somebody does, or nothing waits."""
    runs = (where or Store()).runs.absolute()
    if _line(runs):
        _started(runs)


def ready(where: Store | None = None) -> None:
    """Have a process serve that waits for a question, so that the first one needs no import either."""
    if _idle():
        _started((where or Store()).runs.absolute())


def _idle() -> float:
    return float(os.environ.get("NVLIB_WARM", IDLE))


def _started(runs: Path) -> None:
    """Start a process that serves a store, unless one does."""
    if locks.held(runs / FOLDER, LOCK):
        return
    (runs / FOLDER).mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1"}
    with (runs / FOLDER / "answers.log").open("a") as log:
        subprocess.Popen(
            [sys.executable, "-m", "nvlib.launch", "serve", str(runs)], stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, start_new_session=True, env=environment,
        )  # fmt: skip


def serve(runs: str) -> int:
    """Lead what waits in line until nobody asks: what ``python -m nvlib.launch serve`` does."""
    home, idle = Path(runs), _idle()
    while True:
        serving = locks.take(home / FOLDER, [LOCK])
        if serving is None:
            return 0
        with serving:
            from nvlib.launch.lead import lead  # torch, before anybody asks

            _rehearse()
            until = time.monotonic() + idle
            while (line := _line(home)) or time.monotonic() < until:
                if not line:
                    time.sleep(EVERY)
                    continue
                _lead(line[0], lead)
                until = time.monotonic() + idle
        if not _line(home):  # who asked while the lock was still held is in line
            return 0


def _rehearse() -> None:
    """Plan chips of a small network once: what torch and the compiler load at their first use is loaded then."""
    from nvlib import data, models, population

    population.plan(models.build("lenet").eval(), data.load("mnist", limit=16).test.x, 1)


def _line(runs: Path) -> list[Launch]:
    """Return the launches that wait, the oldest first."""
    return [Launch(path.parent) for path in sorted((runs / FOLDER).glob(f"*/{WAITING}"))]


def _lead(launch: Launch, lead: Callable[[Launch], Any]) -> None:
    """Lead a launch once it is its turn; how it ended is its status."""
    turn = turn_of(launch)
    (launch.home / WAITING).unlink(missing_ok=True)
    if turn is None:
        return
    with turn:
        try:
            lead(launch)
        except (InputError, Failed) as error:
            launch.say(f"error: {error}")
        except Exception:  # the status says so; whoever is next in line has nothing to do with it
            launch.say(traceback.format_exc())
