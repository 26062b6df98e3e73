"""What the store has, asked for by column: one tidy table of all samples, shipped and local."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from nvlib import catalogue, image_sets
from nvlib.errors import InputError, instance
from nvlib.store import table
from nvlib.store.runs import Store

NAMES: dict[str, Iterable[str]] = {
    "network": catalogue.NETWORKS, "dataset": image_sets.IMAGE_SETS, "method": catalogue.METHODS,
    "device": catalogue.DEVICES,
}  # fmt: skip


def results(store: Store | None = None, *, plain: bool = False, **where: object) -> pd.DataFrame:
    """Return all samples, shipped and local, that match, as one tidy table: one row a chip.

    Args:
        store: where to look; None takes `local_runs` and the shipped results.
        plain: only chips as programmed, of weights trained as usual: whatever of range, train_range, clipping, effects,
            train_effects, deployment and periphery is not asked for is as without a word (``max``, ``none``, empty).
        **where: column = value, or a collection of values, e.g. ``method=["none", "gaussian"], sigma_d=0.2``.

    Returns:
        A frame with the columns `COLUMNS`; accuracies in percent. Empty if nothing matches.

    Raises:
        InputError: for a column that does not exist, or a value of another kind than the column's.

    Example:
        >>> import nvlib
        >>> ships = nvlib.results(plain=True, network="lenet", method="gaussian", sigma_d=0.2, epochs=10)
        >>> set(ships.range), set(ships.clipping), bool(ships.accuracy.max() > 95)
        ({'max'}, {'none'}, True)
    """
    store = Store() if store is None else instance("store", store, Store, "an nvlib.store.Store, or None")
    runs: Any = where.get("run")
    runs = None if runs is None else {runs} if isinstance(runs, str) else set(runs)
    rows, local = store.table(runs), store.local(runs)
    rows = table.joined([rows, local]) if len(local) else rows
    rows = rows.drop_duplicates(["run", "chip"])  # chips of shipped runs that were also computed here
    usual = {column: table.LATER[column] for column in table.CONDITIONS} if plain else {}
    held = rows
    for column, value in {**usual, **where}.items():
        if column not in rows:
            raise InputError(f"results have no column {column!r}; expected one of: {', '.join(table.COLUMNS)}")
        wanted = list(value) if isinstance(value, list | tuple | set | range) else [value]
        _usable(column, wanted, held[column])
        rows = rows[rows[column].isin(wanted)]
    return table.trimmed(rows.reset_index(drop=True))


def _usable(column: str, wanted: Sequence[object], held: pd.Series) -> None:
    """Refuse a value of another kind than a column's, and warn of a name that is nowhere but near one that is known."""
    numbers = pd.api.types.is_numeric_dtype(held.dtype)
    for value in wanted:
        if numbers == isinstance(value, str):
            raise InputError(f"{column}={value!r} matches no result; expected {'a number' if numbers else 'a text'}")
    if column not in NAMES or held.isin(wanted).any():
        return
    known = set(NAMES[column]).union(held.unique())
    for value in map(str, wanted):
        near = difflib.get_close_matches(value, known, n=1, cutoff=0.8)
        if value not in known and near:
            warnings.warn(f"no result has {column}={value!r}; did you mean {near[0]!r}?", stacklevel=3)
