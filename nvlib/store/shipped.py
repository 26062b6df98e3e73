"""Results that ship with the project: read, compared with their checksums once a process, and written.

A folder a study:

    results/<study>/records.json     what is known of each run by its hash: record, environment, plan, history, trace
                    samples.parquet  the chips of all its evaluations
                    weights/<hash>.safetensors
                    SHA256SUMS
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvlib.errors import InputError
from nvlib.records import Evaluation, digest
from nvlib.store import checksums, table
from nvlib.store.files import write_json, write_whole

if TYPE_CHECKING:
    from nvlib.store.runs import Store


def tables(folder: Path | None) -> list[Path]:
    """Return the tables of samples."""
    return [_sound(path) for path in sorted(folder.glob("*/samples.parquet"))] if folder else []


def records(folder: Path | None) -> dict[str, dict[str, Any]]:
    """Return what ships of each run, by its hash."""
    paths = sorted(folder.glob("*/records.json")) if folder else []
    held = [_parsed(_sound(path), path.stat().st_mtime_ns) for path in paths]
    return {name: entry for found in held for name, entry in found.items()}


def weights(folder: Path | None, name: str) -> Path | None:
    """Return where a training's weights are; None if they do not ship."""
    path = min(folder.glob(f"*/weights/{name}.safetensors"), default=None) if folder else None
    return _sound(path) if path else None


def compact(store: Store, target: Path, evaluations: Iterable[Evaluation], with_weights: bool = True) -> Path:
    """Write evaluations and their trainings as one folder to ship: samples, records with provenance, weights.

    Chips that ship already and those that were added here go together.

    Raises:
        InputError: for an evaluation without samples, or a damaged file.
    """
    from nvlib.store.runs import results

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
            write_whole(target / "weights" / f"{name}.safetensors", partial(shutil.copyfile, there))
    write_json(target / "records.json", found)
    write_whole(target / "samples.parquet", lambda path: rows.to_parquet(path, index=False, compression="zstd"))
    sealed = [target / "records.json", target / "samples.parquet", *sorted(target.glob("weights/*.safetensors"))]
    checksums.write(target, {p.relative_to(target).as_posix(): {checksums.of(p)} for p in sealed})
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
    from nvlib.store.verify import examined

    for finding in examined(home):
        if finding.state in ("damaged", "missing"):
            raise InputError(f"{finding}; run its study again, then compact")


def _sound(path: Path) -> Path:
    """Return the path of a shipped file that is what was shipped; InputError if it is not."""
    if path.is_file():
        stat = path.stat()
        _compared(path, stat.st_mtime_ns, stat.st_size)
    return path


@lru_cache(maxsize=16)
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
