"""Jobs: studies asked for by a form, forecast in a process of their own, launched, followed, cancelled.

A form offers choices and numbers within limits; no path, command or name that a reader types reaches the file system.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from common import plugged
from nvlib import launch
from nvlib.errors import InputError
from nvlib.image_sets import IMAGE_SETS
from nvlib.launch.run import LIMIT
from nvlib.store import local_runs, project_root

APP = Path(__file__).resolve().parents[1]
PATIENCE = 180  # seconds for a forecast
TAIL = 6000  # bytes of a log that are shown
MARKS = {
    "waiting": ("waiting for its turn", "gray"), "queued": ("queued", "gray"), "running": ("running", "blue"),
    "done": ("done", "green"), "failed": ("failed", "red"), "cancelled": ("cancelled", "orange"),
    "lost": ("its process is gone", "red"),
}  # fmt: skip


def forecast(record: str) -> dict[str, Any]:
    """Return what of a study is missing and what it takes: text, seconds, missing, record.

    Args:
        record: the study's record as JSON.

    Raises:
        InputError: for a study that cannot run, or where no forecast could be made.
    """
    return _forecast(record, plugged.versions())


@st.cache_data(ttl=300, max_entries=50, show_spinner="Estimating time and memory")
def _forecast(record: str, versions: tuple[str, ...]) -> dict[str, Any]:
    """Return the same; asked anew where files of the reader's own were edited."""
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "PYTHONPATH": str(project_root() or "")}
    try:
        done = subprocess.run(
            [sys.executable, str(APP / "forecast.py")], input=record, capture_output=True, text=True,
            timeout=PATIENCE, env=environment, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InputError(f"no forecast after {PATIENCE} s; ask for fewer runs, or wait for an idle machine") from None
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise InputError(f"the forecast failed: {why}; see: python -m nvlib study --dry-run") from None
    if "error" in answer:
        raise InputError(answer["error"])
    return answer


def folders() -> dict[str, str]:
    """Return the image folders that lie beside the data sets ($NVLIB_DATA, else ./data): name -> path.

    One is a folder with a sub-folder of files for each of at least two classes, and no known data set's.
    """
    home = Path(os.environ.get("NVLIB_DATA") or "data").expanduser()
    if not home.is_dir():
        return {}
    known = {place.partition("/")[0] for one in IMAGE_SETS.values() for place in one.places}
    found = [p for p in sorted(home.iterdir()) if p.is_dir() and p.name not in known and not p.name.startswith(".")]
    return {f"folder {p.name}": str(p) for p in found if sum(child.is_dir() for child in p.iterdir()) > 1}


def start(record: Mapping[str, Any], name: str) -> str:
    """Launch a study as a job of its own, and return its id."""
    return launch.start(record, "here", name=name)


def listed() -> list[launch.Status]:
    """Return all jobs, the newest first."""
    return launch.jobs()


def log(status: launch.Status) -> str:
    """Return the end of a job's log."""
    path = Path(status.log)
    if not status.log or not path.resolve().is_relative_to(local_runs().resolve()):
        return ""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def latest(status: launch.Status) -> str:
    """Return a job's latest numbers as text."""
    units = {"loss": " nats", "clean": " %", "noisy": " %", "accuracy": " %"}
    held = {k: v for k, v in status.partial.items() if isinstance(v, int | float) and k not in ("seconds", "diverged")}
    return " · ".join(f"{key} {value:.4g}{units.get(key, '')}" for key, value in held.items())


def most() -> int:
    """Return how many jobs run at once."""
    return int(os.environ.get("NVLIB_JOBS", LIMIT))
