"""Tables that ship and are made piece by piece: what was interrupted goes on where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from nvlib.provenance import environment
from nvlib.store import write_json, write_whole


def read(target: Path) -> pd.DataFrame | None:
    """Return what there is of a table; None for nothing."""
    return pd.read_parquet(target) if target.is_file() else None


def grow(target: Path, pieces: Iterable[tuple[str, pd.DataFrame]]) -> Path:
    """Append named pieces to a table; each is written, beside where it was computed, before the next is begun.

    Args:
        target: a Parquet file; environment.json beside it tells where each piece was computed.
        pieces: name and rows, computed as they are asked for.
    """
    table, log, began = read(target), target.parent / "environment.json", time.monotonic()
    for name, part in pieces:
        table = part if table is None else pd.concat([table, part], ignore_index=True)
        write_whole(target, lambda path, rows=table: rows.to_parquet(path, index=False, compression="zstd"))
        known = json.loads(log.read_text()) if log.is_file() else {}
        write_json(log, known | {name: environment(time.monotonic() - began)})
        began = time.monotonic()
    return target
