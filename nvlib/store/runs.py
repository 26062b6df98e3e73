"""The store itself: a directory for each record, written whole, checked as it is read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from nvlib.errors import InputError
from nvlib.provenance import environment, now
from nvlib.records import Analysis, Evaluation, Training, digest, values
from nvlib.store import checksums, formats, shipped, table
from nvlib.store.files import atomic_write, write_json
from nvlib.store.locations import local_runs, shipped_results

if TYPE_CHECKING:
    from torch import Tensor

NAME = re.compile(r"[0-9a-f]{64}")
SAMPLES = re.compile(r"samples-\d+-\d+\.parquet")
T = TypeVar("T")


@dataclass(frozen=True)
class Store:
    """Results on disk: local runs, and the shipped ones (read only)."""

    runs: Path = field(default_factory=lambda: local_runs())
    shipped: Path | None = field(default_factory=lambda: shipped_results())

    def __post_init__(self) -> None:
        """Take paths as text too."""
        object.__setattr__(self, "runs", Path(self.runs))
        object.__setattr__(self, "shipped", None if self.shipped is None else Path(self.shipped))

    # -- writing -----------------------------------------------------------------------------------------------------

    def open(self, record: Training | Evaluation | Analysis, seconds: float | None = None) -> Path:
        """Return the directory of a record, made whole (record and environment) if it is not there."""
        home = self.runs / digest(record)
        if not (home / "record.json").exists():
            _write(home / "environment.json", environment(seconds))
            _write(home / "record.json", values(record))
        return home

    def save_training(
        self,
        record: Training,
        weights: Mapping[str, Tensor],
        history: pd.DataFrame,
        seconds: float,
        trace: pd.DataFrame | None = None,
        plan: Mapping[str, Any] | None = None,
        network: Mapping[str, Any] | None = None,
        code: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write a finished training; DONE comes last.

        ``plan``: threads, and who trained beside it. ``network``: of a user's own, its file (`nvlib.models.own.facts`).
        ``code``: files of methods and effects of one's own (`nvlib.plugins.texts`).
        """
        home = self.open(record, seconds)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        _write(home / "weights.safetensors", partial(formats.write_tensors, tensors))
        _write(home / "history.parquet", history)
        if trace is not None and len(trace):
            _write(home / "trace.parquet", trace)
        if plan is not None:
            _write(home / "plan.json", plan)
        if network is not None:
            _write(home / "network.json", network)
        if code is not None:
            _write(home / "code.json", code)
        _write(home / "DONE", {"seconds": round(seconds, 1), "finished": now()})
        return home

    def append(self, record: Evaluation, block: pd.DataFrame, plan: Mapping[str, Any] | None = None) -> Path:
        """Add a block of samples (columns chip, accuracy, loss, ekl; of deployed chips more), in one piece."""
        home = self.open(record)
        if plan is not None and not (home / "plan.json").exists():
            _write(home / "plan.json", plan)
        _write(home / f"samples-{block.chip.min():08d}-{block.chip.max():08d}.parquet", block)
        return home

    def note(self, record: Training | Evaluation, what: str, values: Mapping[str, Any]) -> None:
        """Write something that `about` gives again beside a run."""
        _write(self.open(record) / f"{what}.json", values)

    def save_tables(
        self, record: Analysis, tables: Mapping[str, pd.DataFrame], seconds: float,
        plan: Mapping[str, Any] | None = None,
    ) -> Path:  # fmt: skip
        """Write an analysis' tables, by name; DONE, which names them, comes last."""
        home = self.open(record, seconds)
        for name, rows in tables.items():
            _write(home / f"{name}.parquet", rows)
        if plan is not None:
            _write(home / "plan.json", plan)
        _write(home / "DONE", {"seconds": round(seconds, 1), "finished": now(), "tables": list(tables)})
        return home

    def restore(self, held: Iterable[Training | Evaluation | Analysis]) -> None:
        """Write the records again of runs that have lost theirs: a run's name says which record it had."""
        for record in held:
            name = digest(record)
            if (self.runs / name).is_dir() and self.record(name) is None:
                self.open(record)

    # -- reading -----------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the hashes of the local runs."""
        return sorted(p.name for p in self.runs.iterdir() if NAME.fullmatch(p.name)) if self.runs.is_dir() else []

    def record(self, name: str) -> dict[str, Any] | None:
        """Return the record of a local run; None if there is none, or if it is damaged (it is set aside then).

        Raises:
            InputError: for one that a newer version wrote.
        """
        return self._held(name, "record.json", partial(checksums.record_of, self.runs / name))

    def find(self, start: str, kind: str | None = None) -> tuple[str, dict[str, Any]]:
        """Return the hash that begins with ``start``, and its record, local or shipped.

        Args:
            start: the first digits of a hash, at least 4.
            kind: ``training``, ``evaluation`` or ``analysis``; None: any.

        Raises:
            InputError: if there is none, or more than one.
        """
        ships = self.shipped_records()
        if not re.fullmatch("[0-9a-f]{4,64}", start):
            raise InputError(f"{start!r} is not a run; expected at least 4 of its hash's hexadecimal digits")
        found = {}
        for name in {n for n in (*self.names(), *ships) if n.startswith(start)}:
            record = self.record(name) or ships.get(name, {}).get("record")
            if record and kind in (None, record["kind"]):
                found[name] = record
        if len(found) != 1:
            held = f"several {kind or 'run'}s" if found else f"no {kind or 'run'}"
            few = ", ".join(name[:12] for name in sorted(found)[:4])
            said = f" ({few}{', ...' if len(found) > 4 else ''}); give more digits" if found else ""
            option = "--trainings" if kind == "training" else "--runs"
            where = f" in {self.runs} or in the shipped results; see: python -m nvlib results list {option}"
            raise InputError(f"{held} begin{'' if found else 's'} with {start[:16]!r}{said or where}")
        return next(iter(found.items()))

    def weights(self, training: Training | str) -> dict[str, Tensor] | None:
        """Return a training's weights, local or shipped; None if there are none."""
        from safetensors.torch import load

        name, checked = _named(training), lambda data: load(formats.checked(data))
        held = self._held(name, "weights.safetensors", checked) if (self.runs / name / "DONE").exists() else None
        if held is not None:
            return held
        path = shipped.weights(self.shipped, name)
        return load(path.read_bytes()) if path else None

    def has_weights(self, name: str) -> bool:
        """Whether a training's weights are there, local or shipped; they are not read."""
        home = self.runs / name
        local = (home / "DONE").exists() and (home / "weights.safetensors").exists()
        return local or shipped.weights(self.shipped, name) is not None

    def training(self, name: str) -> Training:
        """Return the record of a training by its hash; InputError if there is none."""
        record = self.record(name) or self.shipped_records().get(name, {}).get("record")
        if record is None or record["kind"] != "training":
            raise InputError(f"no training {name[:12]} in {self.runs} or in the shipped results; run its study first")
        return Training(**record)

    def trace(self, training: Training | str) -> pd.DataFrame:
        """Return what a training's search tried, a row an epoch and candidate; empty if it did not search."""
        return self._rows(_named(training), "trace")

    def history(self, training: Training | str) -> pd.DataFrame:
        """Return a training's loss and validation accuracies, a row an epoch; empty if there is none."""
        return self._rows(_named(training), "history")

    def about(self, name: str) -> dict[str, Any]:
        """Return what is noted beside a run; those there are.

        environment, plan; of a training done (its time) and network (the file of a user's own); code (the files
        of methods, deployments and effects of one's own); of an evaluation in
        less than float32 rounding (what that changes).
        """
        noted = ("environment", "plan", "network", "code", "rounding")
        parts = {part: self._held(name, f"{part}.json", json.loads) for part in noted}
        with suppress(OSError, ValueError):  # that DONE is there says enough: it is never set aside alone
            parts["done"] = json.loads((self.runs / name / "DONE").read_text())
        ships = self.shipped_records().get(name, {})
        ships = {part: ships[part] for part in (*noted, "done") if part in ships}
        return ships | {part: held for part, held in parts.items() if held is not None}

    def tables(self, analysis: Analysis | str) -> dict[str, pd.DataFrame] | None:
        """Return an analysis' tables by name, local or shipped; None if it is not finished, or one is damaged."""
        name = _named(analysis)
        done = self._held(name, "DONE", json.loads)
        if done is not None:
            found = {which: self._held(name, f"{which}.parquet", formats.table) for which in done["tables"]}
            if all(rows is not None for rows in found.values()):
                return found
            (self.runs / name / "DONE").unlink(missing_ok=True)  # it is made again
        return shipped.analysis_tables(self.shipped, name)

    def analysed(
        self, analysis: str | Sequence[str], which: str, parameters: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return one table of all finished analyses of some kinds whose parameters hold these, below each other.

        Shipped ones come in the order they ship in; empty where there is none.
        """
        kinds = [analysis] if isinstance(analysis, str) else analysis
        names = [name for kind in kinds for name in self.analyses(kind, parameters)]
        parts = shipped.analysed(self.shipped, which, set(names))
        for name in [name for name in names if name not in self.shipped_records()]:
            rows = (self.tables(name) or {}).get(which)
            parts += [] if rows is None else [rows]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def analyses(self, analysis: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Analysis]:
        """Return the finished analyses of a kind whose parameters hold these, by hash.

        Shipped ones come first, local ones as they were finished.
        """
        wanted = json.loads(json.dumps(parameters or {}))
        ships = {name: entry["record"] for name, entry in self.shipped_records().items()}
        done = {name: self.runs / name / "DONE" for name in self.names()}
        finished = sorted((path.stat().st_mtime_ns, name) for name, path in done.items() if path.exists())
        here = {name: self.record(name) for _, name in finished}
        return {
            name: Analysis(**{**record, "of": tuple(record["of"])})
            for name, record in {**ships, **{n: r for n, r in here.items() if r and n not in ships}}.items()
            if record["kind"] == "analysis" and record["analysis"] == analysis
            and all(record["parameters"].get(key) == value for key, value in wanted.items())
        }  # fmt: skip

    def samples(self, evaluation: Evaluation | str) -> pd.DataFrame:
        """Return the chips an evaluation has so far: chip, accuracy, loss, ekl, in order, each once.

        Deployed chips have the columns of `DEPLOYED` and ``deployment_parameters`` as well.
        """
        name, columns = _named(evaluation), ["chip", "accuracy", "loss", "ekl"]
        parts = [table.shipped_samples(path, name, columns) for path in shipped.tables(self.shipped, {name})]
        parts = [part for part in (*parts, *self._blocks(name)) if len(part)]
        if not parts:
            return pd.DataFrame({c: pd.Series(dtype="int64" if c == "chip" else "float64") for c in columns})
        return pd.concat(parts).drop_duplicates("chip").sort_values("chip", ignore_index=True)

    def plan(self, evaluation: Evaluation) -> dict[str, Any] | None:
        """Return the plan under which an evaluation was begun, which going on should reuse."""
        return self._held(digest(evaluation), "plan.json", json.loads)

    def table(self, runs: Set[str] | None = None) -> pd.DataFrame:
        """Return the shipped samples, one row a chip; strings as categories; ``runs``: of these, and maybe others."""
        return table.read_shipped(shipped.tables(self.shipped, runs))

    def local(self, runs: Set[str] | None = None) -> pd.DataFrame:
        """Return the samples of local runs, one row a chip; strings as categories; ``runs``: of these alone."""
        records = {name: self.record(name) for name in self.names() if runs is None or name in runs}
        parts, ships = [], None
        for name, record in list(records.items()):
            if record is None or record["kind"] != "evaluation":
                continue
            if record["training"] not in records:
                records[record["training"]] = self.record(record["training"])
            training = records[record["training"]]
            if training is None:
                ships = self.shipped_records() if ships is None else ships
                training = ships.get(record["training"], {}).get("record")
            if training:
                said = table.describe(name, training, record)
                parts += [(said, block) for block in self._blocks(name) if len(block)]
        return table.assembled(parts)

    def shipped_records(self) -> dict[str, dict[str, Any]]:
        """Return what ships of each run, by its hash: record, `about`, history, trace; those there are."""
        return shipped.records(self.shipped)

    def _blocks(self, name: str) -> Iterator[pd.DataFrame]:
        """Yield the blocks of chips of a local run, in order."""
        home = self.runs / name
        files = sorted(p.name for p in home.iterdir() if SAMPLES.fullmatch(p.name)) if home.is_dir() else []
        known = checksums.listed(home) if files else {}
        held = (self._held(name, file, formats.table, known) for file in files)
        return (block for block in held if block is not None)

    def _rows(self, name: str, what: str) -> pd.DataFrame:
        held = self._held(name, f"{what}.parquet", formats.table)
        return pd.DataFrame(self.shipped_records().get(name, {}).get(what, {})) if held is None else held

    def _held(
        self, name: str, file: str, parse: Callable[[bytes], T], known: Mapping[str, set[str]] | None = None
    ) -> T | None:
        """Return what a file of a local run holds; None if it is not there, or damaged (it is set aside then)."""
        home = self.runs / name
        try:
            return checksums.read(home, file, parse, known)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except checksums.Damage as why:
            self.set_aside(home / file, why)
            return None

    def set_aside(self, path: Path, why: object) -> None:
        """Move a damaged file of a local run out of it, with a warning; a training without weights is not finished."""
        checksums.set_aside(self.runs, path, why)
        if path.name == "weights.safetensors" and not path.exists():
            (path.parent / "DONE").unlink(missing_ok=True)


def _write(path: Path, value: pd.DataFrame | Mapping[str, Any] | Callable[[str], object]) -> None:
    """Write a file of a run, whole: a table, plain values, or what the call writes."""
    if (path.parent / checksums.SUMS).exists():  # of an older version
        checksums.forget(path.parent, path.name)
    if isinstance(value, pd.DataFrame):
        atomic_write(path, partial(formats.write_table, value, index=False))
    elif callable(value):
        atomic_write(path, value)
    else:
        write_json(path, value)


def _named(record: Training | Evaluation | Analysis | str) -> str:
    return record if isinstance(record, str) else digest(record)
