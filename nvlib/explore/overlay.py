"""Settings laid over each other: a method's results with other epochs, ranges or parameters beside those of a query.

A variant is a stored setting of a method that differs from what a query shows of it. `laid` gives the rows of both as
one table in which each is a method of its own, numbered and named by what differs: ``gaussian ① range max``,
``gaussian ② range deviations:2``. Its chips are the same chips, so differences stay paired.

>>> from nvlib import explore, store
>>> ships, query = store.results(network="lenet", origin="shipped"), explore.Query(method=("gaussian",))
>>> "Gauss, range deviations:2" in explore.beside(ships, query)
True
>>> table = explore.laid(ships, query, ["Gauss, range deviations:2"], sigma_d=0.2)
>>> sorted(table["method"].unique())
['gaussian ① range max', 'gaussian ② range deviations:2']
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from nvlib import figures
from nvlib.catalogue import MARKS
from nvlib.errors import InputError, unknown
from nvlib.explore import select
from nvlib.explore.query import SETTING, Query
from nvlib.store import Store

CHIPS = ("range", "effects", "periphery")  # conditions of chips that may differ, beside SETTING
FIELDS = (*SETTING, *CHIPS)
MOST = len(MARKS) - 1
_WORDS = {"start": "started from model", "lr": "learning rate", "batch_size": "images a batch"}


@dataclass(frozen=True)
class Variant:
    """A stored setting of a method.

    Attributes:
        query: what shows it: one method, its setting, range, effects, periphery.
        parameters: of the method and its recipe, plain values.
        trainings: their hashes.
        label: what it is, where it differs from what the query it was found for shows.
    """

    query: Query
    parameters: Mapping[str, Any]
    trainings: frozenset[str]
    label: str = ""

    @property
    def method(self) -> str:
        """Return its method."""
        return self.query.method[0]

    def said(self) -> dict[str, str]:
        """Return all that may differ, in words."""
        held = dict(zip(SETTING, self.query.setting or (), strict=False)) | {f: getattr(self.query, f) for f in CHIPS}
        words = {
            "epochs": f"{held['epochs']} epochs", "clipping": f"clipped to {held['clipping']}",
            "train_range": f"trained for range {held['train_range']}", "range": f"range {held['range']}",
            "train_effects": f"trained under {held['train_effects'] or 'no effect'}",
            "effects": held["effects"] or "no effect", "periphery": held["periphery"] or "exact products",
            "bits": f"{held['bits']}-bit weights", "activation_bits": f"{held['activation_bits']}-bit activations",
            "images": f"{held['images']:,} test images",
        }  # fmt: skip
        given = {key: value for key, value in self.parameters.items() if value is not None}
        return words | {f"parameter {key}": f"{_WORDS.get(key, key)} {_text(value)}" for key, value in given.items()}


def beside(table: pd.DataFrame, query: Query, store: Store | None = None) -> dict[str, Variant]:
    """Return the stored settings of a query's methods at its sigma_d that it does not show itself, by label.

    Args:
        table: from `nvlib.store.results`.
        query: the choice; without a setting the one with most chips times images is taken.
        store: where records lie; None: the usual one.
    """
    base, others = _sorted_out(table, _whole(table, query), store or Store())
    found: dict[str, Variant] = {}
    for variant in others:
        known = base.get(variant.method) or _first(others, variant.method)
        alike = [*([known] if variant.method in base else []), *(v for v in others if v.method == variant.method)]
        told = ", ".join(_differs(variant, known, alike))
        label = f"{figures.style(variant.method).label}, {told or 'other trainings'}"
        found.setdefault(label, replace(variant, label=label))
    return found


def laid(
    table: pd.DataFrame, query: Query, labels: Sequence[str], store: Store | None = None, *, clean: bool = False,
    **where: Any,
) -> pd.DataFrame:  # fmt: skip
    """Return the rows that a query shows and those of variants, each as a method of its own.

    Args:
        table: from `nvlib.store.results`.
        query: the choice.
        labels: of `beside`.
        store: where records lie; None: the usual one.
        clean: the tests without variation of the models that are shown at the query's sigma_d, instead.
        **where: column=value, as `nvlib.explore.select.chips` takes them.

    Raises:
        InputError: for a label that is none, or too many.
    """
    store, query = store or Store(), _whole(table, query)
    known = beside(table, query, store)
    for label in labels:
        if label not in known:
            raise unknown("setting to lay beside", label, known)
    if len(labels) > MOST:
        raise InputError(f"{len(labels)} settings do not fit beside each other; expected at most {MOST}")
    base, _ = _sorted_out(table, query, store) if labels else ({}, [])
    rows = [_rows(table, query, clean, where, store).astype({"method": object})]
    for method in dict.fromkeys(known[label].method for label in labels):
        shown = [base.get(method), *(known[label] for label in labels if known[label].method == method)]
        held = [variant for variant in shown if variant is not None]
        keys = _keys(held)
        start = 0 if shown[0] is not None else 1
        for place, variant in enumerate(held, start):
            name = " ".join([method, MARKS[place], ", ".join(variant.said()[k] for k in keys if k in variant.said())])
            if place == 0:
                rows[0]["method"] = rows[0]["method"].where(rows[0]["method"] != method, name)
                continue
            part = table[table["training"].isin(variant.trainings)]
            rows.append(_rows(part, variant.query, clean, where, store).assign(method=name))
    return pd.concat(rows, ignore_index=True) if labels else rows[0]


def _whole(table: pd.DataFrame, query: Query) -> Query:
    """Return a query with the setting that is shown where it says none: the one with most chips."""
    held = select.settings(table, query) if query.setting is None else []
    return replace(query, setting=held[0]) if held else query


def _rows(table: pd.DataFrame, query: Query, clean: bool, where: Mapping[str, Any], store: Store) -> pd.DataFrame:
    if not clean:
        return select.chips(table, query, store, **where)
    shown, held = select.chips(table, query, store, sigma_d=query.sigma_d), select.selected(table, query)
    return held[(held["sigma_d"] == 0) & held["training"].isin(shown["training"])]


def _sorted_out(table: pd.DataFrame, query: Query, store: Store) -> tuple[dict[str, Variant], list[Variant]]:
    """Return what a query shows of each method, and all other stored settings of its methods at its sigma_d."""
    keep = (table["deployment"] == "") & table["method"].isin(query.method)
    for column in ("network", "dataset", "device", "reference", "mapping"):
        keep &= table[column] == getattr(query, column)
    rows = select.of_protocol(table[keep], query)
    shown, at = select.chips(rows, query, store), rows[rows["sigma_d"] == query.sigma_d]
    here = set(at[["method", "training", *FIELDS]].drop_duplicates().itertuples(index=False, name=None))
    trainings = rows[["method", "training", *FIELDS]].drop_duplicates().astype({"method": object, "training": object})
    groups: dict[tuple[Any, ...], set[str]] = {}
    there: set[tuple[Any, ...]] = set()
    for row in trainings.itertuples(index=False):
        parameters = json.dumps(select.manner(row.training, store), sort_keys=True)
        key = (row.method, *row[2:], parameters)
        groups.setdefault(key, set()).add(row.training)
        if tuple(row) in here:
            there.add(key)
    base: dict[str, Variant] = {}
    others: list[Variant] = []
    on_show = set(shown["training"])
    for key in sorted(there, key=lambda key: tuple(map(str, key))):
        (method, *values, parameters), names = key, groups[key]
        setting, chips = tuple(values[: len(SETTING)]), dict(zip(CHIPS, values[len(SETTING):], strict=True))
        one = replace(query, method=(method,), setting=setting, **chips)
        variant = Variant(one, json.loads(parameters), frozenset(names))
        same = setting == query.setting and all(getattr(query, f) == v for f, v in chips.items())
        if same and names & on_show:
            base[method] = variant
        else:
            others.append(variant)
    return base, others


def _first(others: Sequence[Variant], method: str) -> Variant:
    return next(v for v in others if v.method == method)


def _differs(variant: Variant, known: Variant, alike: Sequence[Variant]) -> list[str]:
    """Return in words where a variant is not as another; of parameters all that differ among those of its method."""
    mine, its = variant.said(), known.said()
    keys = [key for key, text in mine.items() if its.get(key) != text]
    if any(key.startswith("parameter") for key in keys) or variant is known:
        keys += [key for key in _keys(alike) if key in mine and key.startswith("parameter") and key not in keys]
    return [mine[key] for key in mine if key in keys] or ([mine["epochs"]] if variant is known else [])


def _keys(held: Sequence[Variant]) -> list[str]:
    """Return what differs among variants."""
    said = [variant.said() for variant in held]
    every = list(dict.fromkeys(key for one in said for key in one))
    return [key for key in every if len({one.get(key) for one in said}) > 1] or ["epochs"]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
