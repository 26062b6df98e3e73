"""What the store holds for a choice, and chips of a stored model scored now where it holds nothing.

Chip i of seed 0 is the same chip here as in every stored result (`nvlib.philox`), so chips scored now meet those of the
store, and methods meet one another. `score` yields the table of all chips so far after each block: a progress bar, a
figure that fills, and a stop that keeps what is finished are all a loop over it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nvlib import devices, figures, statistics
from nvlib.devices import Device
from nvlib.errors import InputError
from nvlib.explore import code_text, select
from nvlib.explore.query import Query
from nvlib.records import values
from nvlib.store import Store, describe

if TYPE_CHECKING:
    from torch import nn

    from nvlib.data import Dataset

SIZES = {"smoke": (30, 250), "quick": (400, 1000), "full": (400, 10_000), "paper": (10_000, 10_000)}
NOW = "live"  # the origin of chips scored now; those of the store are ``shipped`` or ``yours``


@dataclass(frozen=True)
class Live:
    """Chips of one stored model, to be scored now.

    Attributes:
        training: hash of the training whose weights are programmed.
        device: its name, or a record of one's own.
        sigma_d: size of the variation.
        reference: what sigma_d is relative to.
        mapping: of weights on arrays.
        bits: of a weight on cells; None: what the model was built for.
        chips: how many, from the first on.
        images: of the test split, from the first on.
        range: what the largest level stands for (`nvlib.ranges`).
        effects: what befalls them after programming, e.g. ``stuck:chen2015 + drift:time=3600`` (`nvlib.effects`).
        periphery: tiles, converters and wires (`nvlib.array`).
    """

    training: str
    device: str | Device
    sigma_d: float
    reference: str = "full_scale"
    mapping: str = "differential"
    bits: int | None = None
    chips: int = 100
    images: int = 1000
    range: str = "max"
    effects: str = ""
    periphery: str = ""

    def code(self, dataset: str, done: int | None = None) -> str:
        """Return the Python that scores the same chips (or the first ``done``), for another cell or a script."""
        device = self.device if isinstance(self.device, str) else self.device.name
        more = {"bits": (self.bits, None), "reference": (self.reference, "full_scale"),
                "mapping": (self.mapping, "differential"), "range": (self.range, "max"),
                "effects": (tuple(self.effects.split(" + ")) if self.effects else (), ()),
                "periphery": (self.periphery, "")}  # fmt: skip
        text = "".join(f", {name}={value!r}" for name, (value, usual) in more.items() if value != usual)
        return (
            f"model = nvlib.studies.model_of({self.training!r})\n"
            f"nvlib.monte_carlo(model, nvlib.load({dataset!r}, limit={self.images}), {device!r}, {self.sigma_d:g}, "
            f"chips={self.chips if done is None else done}{text})"
        )


@dataclass(frozen=True)
class Answer:
    """What there is for a choice.

    Attributes:
        query: the choice, with the setting (epochs, bits, images) that was taken.
        rows: stored chips at its sigma_d; empty where there are none.
        curve: those of every sigma_d.
        models: method -> hash of the model whose chips can be scored now.
        why: method -> one line on why none can; of methods without stored chips and without a model.
    """

    query: Query
    rows: pd.DataFrame
    curve: pd.DataFrame
    models: Mapping[str, str]
    why: Mapping[str, str]

    @property
    def lacking(self) -> tuple[str, ...]:
        """Return the chosen methods without stored chips."""
        held = set(self.rows["method"])
        return tuple(m for m in self.query.method if m not in held)


def answer(query: Query, table: pd.DataFrame, bits: int | None = None, store: Store | None = None) -> Answer:
    """Look a choice up: its stored chips, and for each method the model whose chips can be scored instead.

    Args:
        query: the choice; without a setting the one with most chips times images is taken.
        table: from `nvlib.store.results`.
        bits: of a weight on cells; None: what each model was built for.
        store: where models lie; None: the usual one.
    """
    if query.setting is None:
        held = [s for s in select.settings(table, query) if bits in (None, s[1])]
        query = replace(query, setting=held[0] if held else None)
    none = table.iloc[:0]
    curve = select.chips(table, query) if query.setting else none
    rows = curve[curve["sigma_d"] == query.sigma_d]
    models, why = {}, {}
    for method in query.method:
        try:
            models[method] = _model(method, query, table, set(curve["training"]), store or Store())
        except InputError as error:
            why[method] = str(error)
    return Answer(query, rows, curve, models, why)


def _model(method: str, query: Query, table: pd.DataFrame, on_show: set[str], store: Store) -> str:
    """Return the training whose chips answer for a method: matched or swept as asked, if possible of the same arrays.

    Of several one whose chips are on show, then the one that was trained most.

    Raises:
        InputError: one line on why there is none.
    """
    label, place = figures.style(method).label, f"{figures.name(query.network)} on {figures.name(query.dataset)}"
    found = select.trainings(table, replace(query, method=(method,), setting=None), mapping=False)
    if found.empty:
        raise InputError(f"{label}: no model of {place} is stored; train one: {code_text.command(query, [method])}")
    if method != "none":
        at = query.train_sigma_d if query.protocol == "swept" else query.sigma_d
        sizes = ", ".join(f"{s:g}" for s in sorted(found["train_sigma_d"].unique()))
        found = found[found["train_sigma_d"] == at]
        if found.empty and at is None:
            raise InputError(f"{label}: choose the sigma_d of its training; stored are {sizes}")
        if found.empty:
            raise InputError(
                f"{label}: no stored model was trained at sigma_d = {at:g}, only at {sizes}; choose one of these (or "
                f"'swept' and one of these), or train it: {code_text.command(query, [method])}"
            )
    records = {name: store.training(name) for name in found.index}
    if method != "none" and query.protocol != "swept":
        records = {n: r for n, r in records.items() if (r.device or {}).get("name") == query.device}
        if not records:
            raise InputError(
                f"{label}: no stored model was trained for {figures.name(query.device)}; choose 'swept' to program one "
                f"that was trained for another device, or train it: {code_text.command(query, [method])}"
            )

    def rank(name: str) -> tuple[Any, ...]:
        record = records[name]
        elsewhere, work = record.mapping not in (None, query.mapping), record.epochs * record.images
        return elsewhere, name not in on_show, -work, record.seed, name

    return min(records, key=rank)


def score(live: Live, store: Store | None = None) -> Iterator[pd.DataFrame]:
    """Score chips of a stored model, and yield the tidy table of all so far after each block.

    Whoever stops asking keeps the last table. Rows are those of `nvlib.store.results`, their origin ``live``.

    Raises:
        InputError: for a combination that cannot be programmed, or a model that is not there.
    """
    from nvlib import crossbar, effects, ranges, studies

    store = store or Store()
    record = store.training(live.training)
    device = devices.get(live.device)
    bits = record.bits if live.bits is None else live.bits
    crossbar.tables(device, bits, live.reference, live.mapping)  # what cannot be programmed is said before any reading
    model, images = studies.model_of(live.training, store), _images(record.dataset, live.images)
    befalls = effects.text(effects.on(device, effects.chain(live.effects)))
    evaluation = {
        "training": live.training, "device": studies.numbers_of(device), "sigma_d": live.sigma_d, "bits": bits,
        "reference": live.reference, "mapping": live.mapping, "images": len(images.test.y), "deployment": None,
        "seed": 0, "range": str(ranges.get(live.range)), "effects": [{"effect": text} for text in befalls],
        "periphery": live.periphery,
    }  # fmt: skip
    about = describe("", values(record), evaluation) | {"origin": NOW}
    return frames(model, images, device, about, chips=live.chips)


@lru_cache(maxsize=2)
def _images(dataset: str, limit: int) -> Dataset:
    """Return the first images of each split; read once for the many small runs of a session."""
    from nvlib import data

    return data.load(dataset, limit=limit)


def variants(base: Live, changes: Mapping[str, Mapping[str, Any]], store: Store | None = None) -> pd.DataFrame:
    """Return how chips of one model do when one thing at a time is changed: a row a change.

    Args:
        base: what is changed.
        changes: name of a row -> fields of `Live`, e.g. ``{"one chain": {"mapping": "signed"}}``.
        store: where models lie; None: the usual one.

    Returns:
        change, mean with its 95 % interval (low, high) and worst accuracy of a chip (percent), chips, images.
    """
    rows = []
    for name, fields in changes.items():
        *_, table = score(replace(base, **fields), store)
        mean = statistics.mean(table["accuracy"])
        about = {"worst": table["accuracy"].min(), "chips": len(table), "images": table["images"].max()}
        rows.append({"change": name, "mean": mean.value, "low": mean.low, "high": mean.high, **about})
    return pd.DataFrame(rows).astype({"low": float, "high": float})


def frames(
    model: nn.Module, images: Dataset, device: Device, about: Mapping[str, Any], *, chips: int
) -> Iterator[pd.DataFrame]:  # fmt: skip
    """Score chips 0, 1, ... of seed 0 of a model, and yield the tidy table of all so far after each block.

    Args:
        model: with the weights as trained.
        images: whose test split is scored.
        device: what it is programmed on.
        about: the columns that are alike for all rows; its sigma_d, bits, reference, mapping and range are programmed.
        chips: how many.
    """
    from nvlib import effects, evaluate

    held: list[evaluate.Samples] = []
    program = {name: about[name] for name in ("bits", "reference", "mapping", "range")}
    program |= {"effects": effects.chain(about["effects"]), "periphery": about["periphery"] or None}
    for block in evaluate.blocks(model, images, device, about["sigma_d"], index=range(chips), **program):
        held.append(block)
        columns = ("index", "accuracy", "loss", "ekl")
        index, *scores = (np.concatenate([getattr(b, c) for b in held]) for c in columns)
        yield pd.DataFrame({**about, "chip": index, **dict(zip(columns[1:], scores, strict=True))})
