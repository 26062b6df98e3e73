"""A launch on disk: what was asked for, how far it is, what went wrong.

    runs/.launch/<id>/launch.json     the studies and how they are run          log.txt      plain lines
                      progress.json   `Status`, replaced whole                  failed/<run> what ended in an error
                      workers/<k>.log of its processes                          cancel       somebody wants it to end
                      tasks.json, slurm.json, workers/<k>.json, slurm/          of a job array
                      plugins/        copies of files of one's own

Nothing here needs torch, so that a page can list and follow launches.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from nvlib import plugins
from nvlib.clock import in_words
from nvlib.errors import InputError, unknown
from nvlib.provenance import now
from nvlib.store import Store, atomic_write, write_json

FOLDER = ".launch"
SAME = 2.0  # seconds; clocks are set, and numbers of dead processes given to new ones, but not so soon
ENDED = ("done", "failed", "cancelled", "lost")
STATES = ("waiting", "queued", "running", *ENDED)


class Failed(RuntimeError):
    """Some runs of a launch failed; the message says how many, why the first did, and where the log is."""


@dataclass(frozen=True)
class Status:
    """How far a launch is.

    Attributes:
        id: its name; `name` is what its starter called it.
        executor: ``here``, ``processes`` or ``slurm``.
        state: one of `STATES`; lost: its process is gone without a word, e.g. killed (go on with `resume`).
        done, total: runs of its studies, trainings and evaluations; done has a fraction for those under way.
        what: what is being done, in a line.
        eta: seconds left, a guess; None where there is nothing to guess from.
        started, updated: UTC.
        pid, born, host: the process that leads it.
        log: path of its log.
        error: why it failed, in a line.
        jobs: a process or job each: job, state, what, done, total, last (the last line of its log), pid.
        partial: the latest numbers, e.g. epoch, loss, clean, noisy; or chips, accuracy.
        runs: hashes of its evaluations, to read what there is: ``nvlib.results(run=status.runs)``.
    """

    id: str
    name: str = ""
    executor: str = "here"
    state: str = "waiting"
    done: float = 0.0
    total: int = 0
    what: str = ""
    eta: float | None = None
    started: str = ""
    updated: str = ""
    pid: int | None = None
    born: float | None = None
    host: str = ""
    log: str = ""
    error: str = ""
    jobs: tuple[Mapping[str, Any], ...] = ()
    partial: Mapping[str, Any] = field(default_factory=dict)
    runs: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.state in ENDED

    def line(self) -> str:
        """Return it in a line."""
        left = f", about {in_words(self.eta)} left" if self.eta is not None and not self.finished else ""
        said = self.error or (self.what if not self.finished else "")
        name, why = f"  ({self.name})" if self.name else "", f": {said}" if said else ""
        return f"{self.id}{name}  {self.state:<9} {self.done:.1f} of {self.total} runs{left}{why}"

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Status:
        """Return the status in a progress.json."""
        known = {f.name for f in fields(cls)}
        held: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
        return cls(**held)


@dataclass(frozen=True)
class Launch:
    """A launch's folder."""

    home: Path

    @property
    def id(self) -> str:
        """Return its name."""
        return self.home.name

    @property
    def runs(self) -> Path:
        """Return where the results lie."""
        return self.home.parent.parent

    @property
    def log(self) -> Path:
        """Return the path of its log."""
        return self.home / "log.txt"

    def read(self, name: str) -> Any:
        """Return a JSON file of it; None if it is not there."""
        try:
            return json.loads((self.home / name).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:
            raise InputError(f"{self.home / name} is damaged; remove the folder and launch its study again") from None

    def write(self, name: str, value: object) -> None:
        """Write a JSON file of it, whole."""
        write_json(self.home / name, value)

    def asked(self) -> dict[str, Any]:
        """Return what was asked for."""
        held = self.read("launch.json")
        if held is None:
            raise InputError(f"no launch {self.id} in {self.home.parent}")
        return held

    def store(self) -> Store:
        """Return the store that it works on."""
        shipped = self.asked()["shipped"]
        return Store(self.runs, Path(shipped) if shipped else None)

    def status(self) -> Status:
        """Return what its progress.json says."""
        held = self.read("progress.json")
        asked = self.asked()
        return Status.of(held) if held else Status(self.id, asked["name"], asked["executor"], log=str(self.log))

    def note(self, status: Status) -> None:
        """Replace its progress.json."""
        self.write("progress.json", asdict(status) | {"updated": now()})

    def say(self, line: str) -> None:
        """Add a line to its log."""
        with self.log.open("a") as file:
            file.write(f"{now()}  {line}\n")

    # -- cancelling --------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Ask for its end."""
        (self.home / "cancel").touch()

    def cancelled(self) -> bool:
        """Whether somebody asked for its end."""
        return (self.home / "cancel").exists()

    # -- failures ----------------------------------------------------------------------------------------------------

    def fail(self, run: str, what: str, error: str) -> None:
        """Note that a run ended in an error."""
        self.write(f"failed/{run}.json", {"what": what, "error": error, "time": now()})

    def failed(self, run: str) -> bool:
        """Whether a run ended in an error."""
        return (self.home / "failed" / f"{run}.json").exists()

    def failures(self) -> list[dict[str, Any]]:
        """Return all errors, the first one first."""
        held = [json.loads(path.read_text()) for path in sorted(self.home.glob("failed/*.json"))]
        return sorted(held, key=lambda failure: failure["time"])


def new(
    runs: Path, studies: Sequence[Mapping[str, Any]], executor: str, name: str | None, options: Mapping[str, Any]
) -> Launch:
    """Make a launch's folder, named by the microsecond: names sort by when launches were asked for."""
    while True:
        id = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
        launch = Launch(runs / FOLDER / id)
        with suppress(FileExistsError):  # another process's
            launch.home.mkdir(parents=True)
            break
    launch.write("launch.json", {
        "id": id, "name": name or "", "executor": executor, "created": now(),
        "studies": [_with_files(launch.home, study) for study in studies], **options,
    })  # fmt: skip
    launch.note(Status(id, name or "", executor, started=now(), log=str(launch.log), **process()))
    return launch


def _put(content: bytes, file: str | Path) -> None:
    Path(file).write_bytes(content)


def _with_files(home: Path, study: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a study whose plug-ins and their imports are copies in the launch's folder: edits change nothing."""
    copies = []
    for path in map(Path, study.get("plugins", ())):
        if not path.is_file():
            copies.append(str(path))  # the study says so when it is read
            continue
        source = plugins.read(path.resolve())
        copy = home / "plugins" / source.sha256[:16] / path.name
        atomic_write(copy, partial(_put, path.read_bytes()))
        for relative, text in source.texts.items():
            atomic_write(copy.parent / relative, partial(_put, text.encode()))
        copies.append(str(copy.absolute()))
    return {**study, "plugins": copies} if copies else study


def process() -> dict[str, Any]:
    """Return what a status says of this process."""
    return {"pid": os.getpid(), "born": birth(os.getpid()), "host": socket.gethostname()}


def birth(pid: int) -> float | None:
    """Return when a process was started, in seconds of the epoch; None if it does not run."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def alive(status: Status) -> bool | None:
    """Return whether the process that leads a launch runs; None if it is another machine's, which one cannot know."""
    if status.host != socket.gethostname():
        return None
    born = None if status.pid is None else birth(status.pid)
    return born is not None and (status.born is None or abs(born - status.born) < SAME)


def find(id: str, runs: Path) -> Launch:
    """Return the launch whose id begins so, or the newest that its starter called so; ``last``: the newest of all.

    Raises:
        InputError: if there is none, or several.
    """
    known = names(runs)
    if id == "last" and known:
        return Launch(runs / FOLDER / known[-1])
    found = [name for name in known if name.startswith(id)]
    if not found:
        found = [name for name in known if Launch(runs / FOLDER / name).asked()["name"] == id][-1:]
        id = found[0] if found else id
    if len(found) > 1 and id not in found:
        raise InputError(f"{len(found)} launches begin with {id!r}: {', '.join(found[:4])}; give more of it")
    if not found:
        raise unknown("launch", id, [*known, "last"])
    return Launch(runs / FOLDER / (id if id in found else found[0]))


def names(runs: Path) -> list[str]:
    """Return the launches there are, the oldest first."""
    folder = runs / FOLDER
    return sorted(p.parent.name for p in folder.glob("*/launch.json")) if folder.is_dir() else []


# what SLURM and submitit add to the end of every log, whatever happened before
_FAREWELL = re.compile(r"submitit |srun: (error: .* (Exited with|Terminated)|Force Term|got SIG|forcing|Job step)")


def last_line(path: Path | None) -> str:
    """Return the last line of a log that says something; "" if there is none."""
    if path is None:
        return ""
    try:
        with path.open("rb") as file:  # the end is enough of a long one
            size = file.seek(0, 2)
            file.seek(max(0, size - 8192))
            lines = file.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
    except OSError:
        return ""
    said = [line.strip() for line in reversed(lines) if line.strip()]
    return next((line for line in said if not _FAREWELL.match(line)), said[0] if said else "")
