"""Where results live: a directory for each record (`nvlib.records`), whole or absent.

    runs/<hash>/record.json  environment.json  plan.json (evaluations)      what it is, where and how it was computed
               history.parquet  weights.safetensors  DONE                   of a training
               trace.parquet                                                of one that searched: its candidates
               samples-<first>-<last>.parquet                               of an evaluation, a file a block of chips

Every file is written beside its place and renamed, so that a kill loses at most the block under way and leaves no half
file under a final name. Results that ship with the project lie compacted in results/<study>/. Nothing here needs torch
but reading and writing weights, and no pickle is ever loaded.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from nvlib.errors import InputError
from nvlib.provenance import environment, now
from nvlib.records import VERSION, Evaluation, Training, digest

if TYPE_CHECKING:
    from torch import Tensor

COLUMNS = [
    "run", "training", "network", "dataset", "method", "device", "sigma_d", "train_sigma_d", "reference", "mapping",
    "bits", "activation_bits", "epochs", "train_seed", "chip_seed", "chip", "accuracy", "loss", "ekl", "protocol",
    "images", "origin",
]  # fmt: skip
_CATEGORIES = [
    "run", "training", "network", "dataset", "method", "device", "reference", "mapping", "protocol", "origin",
]  # fmt: skip


@dataclass(frozen=True)
class Store:
    """Results on disk: local runs, and the shipped ones (read only)."""

    runs: Path = field(default_factory=lambda: local_runs())
    shipped: Path | None = field(default_factory=lambda: shipped_results())

    # -- writing -----------------------------------------------------------------------------------------------------

    def open(self, record: Training | Evaluation, seconds: float | None = None) -> Path:
        """Return the directory of a record, made whole (record and environment) if it is not there."""
        home = self.runs / digest(record)
        if not (home / "record.json").exists():
            home.mkdir(parents=True, exist_ok=True)
            write_json(home / "environment.json", environment(seconds))
            write_json(home / "record.json", asdict(record))
        return home

    def save_training(
        self,
        record: Training,
        weights: Mapping[str, Tensor],
        history: pd.DataFrame,
        seconds: float,
        trace: pd.DataFrame | None = None,
    ) -> Path:
        """Write a finished training; DONE comes last."""
        from safetensors.torch import save_file

        home = self.open(record, seconds)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        write_whole(home / "weights.safetensors", lambda path: save_file(tensors, path))
        write_whole(home / "history.parquet", history.to_parquet)
        if trace is not None and len(trace):
            write_whole(home / "trace.parquet", trace.to_parquet)
        write_json(home / "DONE", {"seconds": round(seconds, 1), "finished": now()})
        return home

    def append(self, record: Evaluation, block: pd.DataFrame, plan: Mapping[str, Any] | None = None) -> Path:
        """Add a block of samples (columns chip, accuracy, loss, ekl), in one piece."""
        home = self.open(record)
        if plan is not None and not (home / "plan.json").exists():
            write_json(home / "plan.json", plan)
        name = f"samples-{block.chip.min():08d}-{block.chip.max():08d}.parquet"
        write_whole(home / name, lambda path: block.to_parquet(path, index=False))
        return home

    # -- reading -----------------------------------------------------------------------------------------------------

    def weights(self, training: Training | str) -> dict[str, Tensor] | None:
        """Return a training's weights, local or shipped; None if there are none."""
        from safetensors.torch import load_file

        name = training if isinstance(training, str) else digest(training)
        places = [self.runs / name / "weights.safetensors"] if (self.runs / name / "DONE").exists() else []
        if self.shipped:
            places += sorted(self.shipped.glob(f"*/weights/{name}.safetensors"))
        return load_file(places[0]) if places else None

    def training(self, name: str) -> Training:
        """Return the record of a training by its hash; InputError if there is none."""
        record = _record(self.runs / name) or self._shipped_records().get(name)
        if record is None or record["kind"] != "training":
            raise InputError(f"no training {name[:12]} in {self.runs} or in the shipped results; run its study first")
        return Training(**record)

    def trace(self, training: Training | str) -> pd.DataFrame:
        """Return what a training's search tried, a row an epoch and candidate; empty if it did not search."""
        name = training if isinstance(training, str) else digest(training)
        path = self.runs / name / "trace.parquet"
        if path.exists():
            return pd.read_parquet(path)
        shipped = sorted(self.shipped.glob("*/records.json")) if self.shipped else []
        held = (json.loads(p.read_text()).get(name, {}).get("trace") for p in shipped)
        return pd.DataFrame(next(filter(None, held), {}))

    def samples(self, evaluation: Evaluation | str) -> pd.DataFrame:
        """Return the chips an evaluation has so far: chip, accuracy, loss, ekl, in order, each once."""
        name = evaluation if isinstance(evaluation, str) else digest(evaluation)
        columns = ["chip", "accuracy", "loss", "ekl"]
        parts = [pd.read_parquet(p, columns=columns, filters=[("run", "==", name)]) for p in self._tables()]
        parts += [pd.read_parquet(path) for path in sorted((self.runs / name).glob("samples-*.parquet"))]
        parts = [part for part in parts if len(part)]
        if not parts:
            return pd.DataFrame({c: pd.Series(dtype="int64" if c == "chip" else "float64") for c in columns})
        return pd.concat(parts).drop_duplicates("chip").sort_values("chip", ignore_index=True)

    def plan(self, evaluation: Evaluation) -> dict[str, Any] | None:
        """Return the plan under which an evaluation was begun, which going on should reuse."""
        path = self.runs / digest(evaluation) / "plan.json"
        return json.loads(path.read_text()) if path.exists() else None

    def table(self) -> pd.DataFrame:
        """Return the shipped samples, one row a chip; strings as categories."""
        return _joined([_read_table(p) for p in self._tables()])

    def _tables(self) -> list[Path]:
        return sorted(self.shipped.glob("*/samples.parquet")) if self.shipped else []

    def local(self) -> pd.DataFrame:
        """Return the samples of local runs, one row a chip."""
        parts = []
        for home in sorted(self.runs.iterdir()) if self.runs.is_dir() else []:
            record = _record(home)
            if record is None or record["kind"] != "evaluation":
                continue
            training = _record(self.runs / record["training"]) or self._shipped_records().get(record["training"])
            blocks = [pd.read_parquet(path) for path in sorted(home.glob("samples-*.parquet"))]
            if training and blocks:
                parts.append(describe(home.name, training, record, pd.concat(blocks).drop_duplicates("chip")))
        return pd.concat(parts, ignore_index=True) if parts else _empty()

    def _shipped_records(self) -> dict[str, dict[str, Any]]:
        paths = sorted(self.shipped.glob("*/records.json")) if self.shipped else []
        return {name: entry["record"] for p in paths for name, entry in json.loads(p.read_text()).items()}

    # -- shipping ----------------------------------------------------------------------------------------------------

    def compact(self, target: Path, evaluations: Iterable[Evaluation], weights: bool = True) -> Path:
        """Write evaluations and their trainings as one folder to ship: samples, records with provenance, weights."""
        names = [digest(e) for e in evaluations]
        everything = self.local()
        table = everything[everything.run.isin(names)].sort_values(["run", "chip"], ignore_index=True)
        if lacking := len(set(names)) - table.run.nunique():
            raise InputError(f"{lacking} evaluations have no samples; run the study first")
        table["origin"] = pd.Categorical(["shipped"] * len(table))
        records = {}
        for name in sorted(set(names) | set(table.training)):
            home = self.runs / name
            parts = {stem: json.loads((home / f"{stem}.json").read_text()) for stem in ("record", "environment")}
            for extra in ("plan.json", "DONE"):
                if (home / extra).exists():
                    parts[extra.removesuffix(".json").lower()] = json.loads((home / extra).read_text())
            if (home / "history.parquet").exists():
                parts["history"] = pd.read_parquet(home / "history.parquet").round(4).to_dict("list")
            if (home / "trace.parquet").exists():
                rows = pd.read_parquet(home / "trace.parquet").round(6)
                parts["trace"] = rows.astype(object).where(rows.notna(), None).to_dict("list")
            records[name] = parts
            if weights and (home / "weights.safetensors").exists():
                write_whole(
                    target / "weights" / f"{name}.safetensors", partial(shutil.copyfile, home / "weights.safetensors")
                )
        target.mkdir(parents=True, exist_ok=True)
        write_json(target / "records.json", records)
        write_whole(target / "samples.parquet", lambda path: table.to_parquet(path, index=False, compression="zstd"))
        return target


def results(store: Store | None = None, **where: object) -> pd.DataFrame:
    """Return all samples, shipped and local, that match, as one tidy table: one row a chip.

    Args:
        store: where to look; None takes `local_runs` and the shipped results.
        **where: column = value, or a collection of values, e.g. ``method=["none", "gaussian"], sigma_d=0.2``.

    Returns:
        A frame with the columns `COLUMNS`; accuracies in percent. Empty if nothing matches.

    Raises:
        InputError: for a column that does not exist.
    """
    store = store or Store()
    table = _joined([store.table(), store.local()])
    table = table.drop_duplicates(["run", "chip"])  # chips of shipped runs that were also computed here
    for column, value in where.items():
        if column not in table:
            raise InputError(f"results have no column {column!r}; expected one of: {', '.join(COLUMNS)}")
        wanted = list(value) if isinstance(value, list | tuple | set | range) else [value]
        table = table[table[column].isin(wanted)]
    table = table.reset_index(drop=True)
    return table.assign(**{c: table[c].cat.remove_unused_categories() for c in _CATEGORIES})


def describe(run: str, training: Mapping[str, Any], evaluation: Mapping[str, Any], block: pd.DataFrame) -> pd.DataFrame:
    """Return a block of samples with the columns that say what it is, in the order of `COLUMNS`."""
    matched = training["method"] == "none" or (
        training["sigma_d"] == evaluation["sigma_d"] and training["device"] == evaluation["device"]
    )
    return block.assign(
        run=run,
        training=evaluation["training"],
        network=training["network"] if training["width"] == 1 else f"{training['network']} x{training['width']:g}",
        dataset=training["dataset"],
        method=training["method"],
        device=evaluation["device"]["name"],
        sigma_d=float(evaluation["sigma_d"]),
        train_sigma_d=float(training["sigma_d"]),
        reference=evaluation["reference"],
        mapping=evaluation["mapping"],
        bits=evaluation["bits"],
        activation_bits=training["activation_bits"],
        epochs=training["epochs"],
        train_seed=training["seed"],
        chip_seed=evaluation["seed"],
        images=evaluation["images"],
        protocol="matched" if matched else "swept",
        origin="yours",
    )[COLUMNS]


def project_root() -> Path | None:
    """Return the checkout that the package lies in; None where it is installed without one."""
    root = Path(__file__).resolve().parents[1]
    return root if (root / "pyproject.toml").is_file() else None


def local_runs() -> Path:
    """Return where this machine's runs lie: $NVLIB_RUNS, else runs/ of the checkout, else ./runs."""
    return Path(os.environ.get("NVLIB_RUNS") or (project_root() or Path()) / "runs")


def shipped_results() -> Path | None:
    """Return the folder of shipped results: $NVLIB_RESULTS, else results/ of the checkout; None if there is none."""
    path = Path(os.environ.get("NVLIB_RESULTS") or (project_root() or Path()) / "results")
    return path if path.is_dir() else None


def write_json(path: Path, value: object) -> None:
    """Write JSON in one piece."""
    write_whole(path, lambda target: Path(target).write_text(json.dumps(value, indent=1, sort_keys=True) + "\n"))


def write_whole(path: Path, write: Callable[[str], object]) -> None:
    """Call ``write`` with a path aside, flush it to the disk, and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(str(aside))
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _record(home: Path) -> dict[str, Any] | None:
    path = home / "record.json"
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text())
        version, kind = record["version"], record["kind"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged; expected a record; move {home} away and run its study again") from None
    if version > VERSION or kind not in ("training", "evaluation"):
        raise InputError(f"{home} was written by a newer nvlib (version {version}, kind {kind}); update nvlib")
    return record


def _read_table(path: Path) -> pd.DataFrame:
    """Read shipped samples. Strings stay as they are stored, each once and a number a row: quick to read and small."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path, read_dictionary=_CATEGORIES) as file:
        return file.read().to_pandas()


def _joined(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return tables one below the other; columns of strings become categories, in order."""
    parts = [part.astype(dict.fromkeys(_CATEGORIES, "category")) for part in parts if len(part)]
    if not parts:
        return _empty().astype(dict.fromkeys(_CATEGORIES, "category"))
    for column in _CATEGORIES:
        held = sorted(set().union(*(part[column].cat.categories for part in parts)))
        for part in parts:
            part[column] = part[column].cat.set_categories(held)
    return pd.concat(parts, ignore_index=True)


def _empty() -> pd.DataFrame:
    numbers = {f.name for f in fields(Training) if f.type in ("int", "float")}
    floats = {"sigma_d", "train_sigma_d", "accuracy", "loss", "ekl"}
    whole = (numbers | {"chip", "train_seed", "chip_seed", "images"}) - floats
    kinds = {c: "float64" if c in floats else "int64" if c in whole else "object" for c in COLUMNS}
    return pd.DataFrame({c: pd.Series(dtype=kind) for c, kind in kinds.items()})
