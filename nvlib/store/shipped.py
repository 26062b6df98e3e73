"""Results that ship with the project: read, and compared with their checksums once a process; `shipping` writes them.

A folder a study:

    results/<study>/records.json     what is known of each run by its hash: record, environment, plan, history, trace
                    samples.parquet  the chips of all its evaluations
                    <table>.parquet  of all its analyses that have one of that name; its column ``run`` says whose
                    weights/<hash>.safetensors
                    SHA256SUMS
"""

from __future__ import annotations

import json
from collections.abc import Set
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from nvlib.errors import InputError
from nvlib.store import checksums, formats


def tables(folder: Path | None, runs: Set[str] | None = None) -> list[Path]:
    """Return the tables of samples; ``runs``: only those in which there are some of these."""
    paths = [_sound(path) for path in sorted(folder.glob("*/samples.parquet"))] if folder else []
    return [p for p in paths if runs is None or not _runs(p, p.stat().st_mtime_ns).isdisjoint(runs)]


@lru_cache(maxsize=1024)
def _runs(path: Path, _: int) -> frozenset[str]:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path, read_dictionary=["run"]) as file:
        return frozenset(file.read(["run"]).column("run").unique().to_pylist())


def records(folder: Path | None) -> dict[str, dict[str, Any]]:
    """Return what ships of each run, by its hash."""
    paths = sorted(folder.glob("*/records.json")) if folder else []
    held = [_parsed(_sound(path), path.stat().st_mtime_ns) for path in paths]
    return {name: entry for found in held for name, entry in found.items()}


def weights(folder: Path | None, name: str) -> Path | None:
    """Return where a training's weights are; None if they do not ship."""
    path = min(folder.glob(f"*/weights/{name}.safetensors"), default=None) if folder else None
    return _sound(path) if path else None


def analysis_tables(folder: Path | None, name: str) -> dict[str, pd.DataFrame] | None:
    """Return the tables of an analysis that ships, by name; None if it does not."""
    for path in sorted(folder.glob("*/records.json")) if folder else []:
        entry = _parsed(_sound(path), path.stat().st_mtime_ns).get(name)
        if entry is not None and "tables" in entry:
            return {which: _rows(path.parent / f"{which}.parquet", name) for which in entry["tables"]}
    return None


def analysed(folder: Path | None, which: str, names: set[str]) -> list[pd.DataFrame]:
    """Return the rows of one table that are of these analyses, in the order they ship in, a frame a folder."""
    found = []
    for path in sorted(folder.glob(f"*/{which}.parquet")) if folder and names else []:
        whole = _whole(_sound(path), path.stat().st_mtime_ns)
        if "run" in whole and len(rows := whole[whole["run"].isin(names)]):
            found.append(rows.drop(columns="run").reset_index(drop=True))
    return found


def _rows(path: Path, name: str) -> pd.DataFrame:
    whole = _whole(_sound(path), path.stat().st_mtime_ns)
    return whole[whole["run"] == name].drop(columns="run").reset_index(drop=True)


@lru_cache(maxsize=256)
def _whole(path: Path, _: int) -> pd.DataFrame:
    return formats.table(path.read_bytes())


def _sound(path: Path) -> Path:
    """Return the path of a shipped file that is what was shipped; InputError if it is not."""
    if path.is_file():
        stat = path.stat()
        _compared(path, stat.st_mtime_ns, stat.st_size)
    return path


@lru_cache(maxsize=1024)  # more than there are folders: all of them are read, one after another
def _parsed(path: Path, _: int) -> dict[str, dict[str, Any]]:
    return json.loads(path.read_text())


@lru_cache(maxsize=4096)
def _compared(path: Path, *_: int) -> None:
    folder = path.parent.parent if path.parent.name == "weights" else path.parent
    expected = checksums.listed(folder).get(path.relative_to(folder).as_posix())
    if expected and checksums.of(path) not in expected:
        raise InputError(
            f"{path} is damaged (its checksum is not the one in {checksums.SUMS}); restore it, e.g. git checkout -- "
            f"{path.name} in its folder"
        )
