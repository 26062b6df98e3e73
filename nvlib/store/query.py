"""What the store has, asked for by column: one tidy table of all samples, shipped and local."""

from __future__ import annotations

from typing import Any

import pandas as pd

from nvlib.errors import InputError, instance
from nvlib.store import table
from nvlib.store.runs import Store


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
        InputError: for a column that does not exist.

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
    for column, value in {**usual, **where}.items():
        if column not in rows:
            raise InputError(f"results have no column {column!r}; expected one of: {', '.join(table.COLUMNS)}")
        wanted = list(value) if isinstance(value, list | tuple | set | range) else [value]
        rows = rows[rows[column].isin(wanted)]
    return table.trimmed(rows.reset_index(drop=True))
