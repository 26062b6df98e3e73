"""Runs that are no longer wanted: out of the way in one step, then deleted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from nvlib.errors import InputError
from nvlib.store.runs import Store


def dependents(store: Store, names: Iterable[str]) -> list[str]:
    """Return the runs themselves, the evaluations of those that are trainings, and analyses of these.

    Raises:
        InputError: for a run that is not local.
    """
    names, here = set(names), store.names()
    if lacking := sorted(names - set(here)):
        raise InputError(f"run {lacking[0][:12]} is not in {store.runs}; shipped results are not removed from here")
    records = {name: store.record(name) for name in here}
    grown = names | {n for n, r in records.items() if r and r.get("training") in names}
    return sorted(grown | {n for n, r in records.items() if r and grown & set(r.get("of", ()))})


def remove(store: Store, names: Iterable[str]) -> int:
    """Delete local runs; returns how many.

    A run is renamed before it is deleted, so that a kill leaves it whole or gone, and what a kill left is deleted too.
    """
    names = list(names)
    for name in names:
        (store.runs / name).rename(store.runs / f".removed-{name}-{os.getpid()}")
    for rest in store.runs.glob(".removed-*"):
        shutil.rmtree(rest, ignore_errors=True)
    return len(names)
