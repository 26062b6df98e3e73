"""Writing results that ship: evaluations with their trainings, or analyses, as one folder (`nvlib.store.shipped`)."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from nvlib.errors import InputError
from nvlib.records import Analysis, Evaluation, digest
from nvlib.store import checksums, table
from nvlib.store.files import atomic_write, write_json
from nvlib.store.query import results
from nvlib.store.runs import Store
from nvlib.store.shipped import records, weights
from nvlib.store.verify import examined


def compact(store: Store, target: Path, evaluations: Iterable[Evaluation], with_weights: bool = True) -> Path:
    """Write evaluations and their trainings as one folder to ship: samples, records with provenance, weights.

    Chips that ship already and those that were added here go together.

    Raises:
        InputError: for an evaluation without samples, or a damaged file.
    """
    names, held, found = {digest(e) for e in evaluations}, records(store.shipped), {}
    rows = results(store, run=names).sort_values(["run", "chip"], ignore_index=True)
    if lacking := len(names) - rows.run.nunique():
        raise InputError(f"{lacking} evaluations have no samples; run the study first")
    rows = table.trimmed(rows.assign(origin="shipped"))
    for name in sorted(names | set(rows.training)):
        home = store.runs / name
        _refuse_damage(home)
        found[name] = _entry(store, name) if (home / "record.json").exists() else held[name]
        there = home / "weights.safetensors"
        there = there if there.exists() else weights(store.shipped, name)
        if with_weights and there:
            atomic_write(target / "weights" / f"{name}.safetensors", partial(shutil.copyfile, there))
    write_json(target / "records.json", found)
    atomic_write(target / "samples.parquet", lambda path: rows.to_parquet(path, index=False, compression="zstd"))
    return _sealed(target)


def compact_analyses(store: Store, target: Path, analyses: Iterable[Analysis]) -> Path:
    """Write analyses as one folder to ship: a file a table, the rows of each analysis in the order given.

    Raises:
        InputError: for an analysis that is not finished, or a damaged file.
    """
    held, found = records(store.shipped), {}
    parts: dict[str, list[pd.DataFrame]] = {}
    for analysis in analyses:
        name = digest(analysis)
        home = store.runs / name
        _refuse_damage(home)
        tables = store.tables(name)
        if tables is None:
            raise InputError(f"analysis {name[:12]} ({analysis.analysis}) is not finished; run it first")
        local = (home / "record.json").exists()
        found[name] = ({"record": store.record(name), **store.about(name)} if local else held[name]) | {
            "tables": list(tables)
        }
        for which, rows in tables.items():
            parts.setdefault(which, []).append(rows.assign(run=name))
    write_json(target / "records.json", found)
    for which, rows in parts.items():
        whole = pd.concat(rows, ignore_index=True).astype({"run": "category"})
        atomic_write(target / f"{which}.parquet", partial(whole.to_parquet, index=False, compression="zstd"))
    return _sealed(target)


def _sealed(target: Path) -> Path:
    """List the checksums of all that a folder ships."""
    files = [*target.glob("*.json"), *target.glob("*.parquet"), *target.glob("weights/*.safetensors")]
    checksums.write(target, {p.relative_to(target).as_posix(): {checksums.of(p)} for p in files})
    return target


def _entry(store: Store, name: str) -> dict[str, Any]:
    """Return what of a local run goes into records.json."""
    parts = {"record": store.record(name), **store.about(name)}
    if len(history := store.history(name)):
        parts["history"] = history.round(4).to_dict("list")
    if len(trace := store.trace(name)):
        trace = trace.round(6)
        parts["trace"] = trace.astype(object).where(trace.notna(), None).to_dict("list")
    return parts


def _refuse_damage(home: Path) -> None:
    """Refuse a run with damage: what ships should be all there is."""
    for finding in examined(home):
        if finding.state in ("damaged", "missing"):
            raise InputError(f"{finding}; run its study again, then compact")
