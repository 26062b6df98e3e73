"""How long the dashboard's answers take, from asking to the first chips and to all, by a cold and a warm process.

    python benchmarks/answers.py [--chips 400] [--only "chips, cold"]

What is asked is what the pages ask (`nvlib.explore.ask`), answered as they have it answered (`nvlib.launch.warm`), in a
store of its own beside what ships. Cold: no process is there yet, where a page that offers has one ready. Marks, LeNet
on MNIST and two cores: first chips of a stored model within 5 s of asking, 400 within 30 s; a matched Gauss training of
ten epochs and 400 chips within 75 s. A line a question.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

from nvlib import launch
from nvlib.explore import Query, ask
from nvlib.launch import warm
from nvlib.store import Store, results

QUESTIONS = (  # name, choice, most seconds to the first chips and to all
    ("chips, cold", Query(device="sonos", sigma_d=1.25, method=("none",)), 5, 30),
    ("chips, warm", Query(device="pcm", sigma_d=0.75, method=("none",)), 5, 30),
    ("training and chips, warm", Query(device="sonos", sigma_d=1.25, method=("gaussian",)), None, 75),
)


def main() -> None:
    """Ask each question and say how long its answer took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chips", type=int, default=400)
    parser.add_argument("--only", choices=[name for name, *_ in QUESTIONS])
    given = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NVLIB_RUNS"], os.environ["NVLIB_WARM"] = folder, "20"
        store = Store()
        table = results(store)
        for name, query, first, every in QUESTIONS:
            if given.only in (None, name):
                seen, done, state = answered(query, table, store, given.chips)
                marks = f"marks: {'-' if first is None else f'{first} s'}, {every} s"
                took = f"first chips {seen:6.1f} s   {given.chips} chips {done:6.1f} s"
                print(f"{name:<26} {took}   {state}   ({marks})", flush=True)


def answered(query: Query, table: object, store: Store, chips: int) -> tuple[float, float, str]:
    """Return seconds to the first chips on show and to the end, and how it ended."""
    began = time.monotonic()
    asked = ask.ask(query, query.method, table, chips=chips, store=store)
    id, first = warm.ask(asked.studies, query.device, store), float("nan")
    while True:
        status = launch.status(id, store)
        varied = [run for run in status.runs if (store.record(run) or {}).get("sigma_d")]
        if first != first and any(len(store.samples(run)) > 1 for run in varied):
            first = time.monotonic() - began
        if status.finished:
            return first, time.monotonic() - began, status.state
        time.sleep(0.1)


if __name__ == "__main__":
    main()
