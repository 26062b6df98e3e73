"""A choice as studies that answer it: chips of stored models, or trainings like the stored ones and their chips.

What is asked for is plain values, so that a page needs no torch to ask; what exists of it is never computed again, so a
study whose training is stored costs its chips alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from nvlib import catalogue, plugins
from nvlib.explore import select
from nvlib.explore.query import Query
from nvlib.records import Training
from nvlib.store import Store

CHIPS = 400  # a first percentile has an interval from 368 on
EPOCHS = 10
_RECIPE = ("optimiser", "lr", "schedule", "batch_size", "momentum", "weight_decay", "augment", "clip")
_SELECT = ("select", "patience", "target", "start")


@dataclass(frozen=True)
class Ask:
    """What would answer a choice.

    Attributes:
        studies: plain values of `nvlib.Study`.
        trainings: how many of its trainings are not stored, or without their weights.
        seconds: what they took where alike ones were trained, together; None where none was.
        chips: of each evaluation.
    """

    studies: tuple[dict[str, Any], ...]
    trainings: int
    seconds: float | None
    chips: int


def ask(
    query: Query,
    methods: Sequence[str],
    table: pd.DataFrame,
    *,
    chips: int = CHIPS,
    deployments: Sequence[str | None] = (None,),
    store: Store | None = None,
) -> Ask:
    """Return the studies that answer a choice for some methods.

    A matched training is like the stored ones of its method: their epochs, parameters and recipe, on the choice's own
    device and sigma_d. A swept one is a stored model. The chip without variation comes with the others.

    Args:
        query: the choice.
        methods: those without chips.
        table: from `nvlib.store.results`.
        chips: of each evaluation.
        deployments: what is done to chips before they are scored.
        store: where records lie; None: the usual one.
    """
    store = store or Store()
    studies, lacking, seconds = [], 0, []
    for method in methods:
        like, name = _like(method, query, table, store)
        values = _study(method, query, like, chips, deployments)
        matched = method != "none" and query.protocol != "swept"
        if like is None or (matched and not _is(like, query)) or not store.has_weights(name):
            lacking += 1
            held = store.history(name) if name else pd.DataFrame()
            seconds.append(float(held["seconds"].sum()) if len(held) and "seconds" in held else None)
        studies.append(values)
    known = [spent for spent in seconds if spent is not None]
    total = sum(known) if len(known) == len(seconds) else None
    return Ask(tuple(_together(studies)), lacking, total, chips)


def deployed(
    query: Query,
    method: str,
    table: pd.DataFrame,
    deployments: Sequence[str],
    *,
    chips: int,
    store: Store | None = None,
) -> Ask:
    """Return the studies of chips before and after each deployment method, and of the ideal accuracy beside them.

    A deployment method is set as it is in most stored chips of the network; by default where there are none.

    Args:
        query: the choice.
        method: the training method.
        table: from `nvlib.store.results`.
        deployments: what is done, each to the same chips as programmed.
        chips: of each deployment method.
        store: where records lie; None: the usual one.
    """
    found = ask(query, (method,), table, chips=chips, deployments=deployments, store=store)
    same = table[(table["network"] == query.network) & (table["dataset"] == query.dataset)]
    settings = {}
    for name in deployments:
        used = same.loc[same["deployment"] == name, "deployment_parameters"].astype(str)
        if len(used) and (text := used.value_counts().idxmax()):
            settings[name] = json.loads(text)
    studies = [{**study, "sigma_d": [query.sigma_d], "deployment_parameters": settings} for study in found.studies]
    ideal = select.selected(table, replace(query, method=("none",)))
    if ideal[ideal["sigma_d"] == 0].empty:
        clean = ask(replace(query, sigma_d=0.0), ("none",), table, chips=1, store=store)
        return together([clean, replace(found, studies=tuple(studies))])
    return replace(found, studies=tuple(studies))


def aged(
    training: str, query: Query, effects: Sequence[str], *, peripheries: Sequence[str] | None = None,
    chips: int = CHIPS, store: Store | None = None,
) -> Ask:  # fmt: skip
    """Return the study that scores chips of a stored training on a query's device under several effects, each alone.

    Args:
        training: its hash.
        query: device, sigma_d, reference, mapping, range, periphery.
        effects: what befalls the chips, as texts; "" is nothing.
        peripheries: each of them in place of the query's; "" is exact products.
        chips: of each evaluation.
        store: where records lie; None: the usual one.
    """
    store = store or Store()
    like = store.training(training)
    own = replace(query, protocol="swept", train_sigma_d=like.sigma_d, setting=None)
    study = _study(like.method, own, like, chips, (None,)) | {"sigma_d": [query.sigma_d], "effects": list(effects)}
    study["images"] = like.images  # of training: one of fewer is another
    if peripheries is not None:
        study["peripheries"] = list(peripheries)
    if store.has_weights(training):
        return Ask((study,), 0, 0.0, chips)
    history = store.history(training)
    return Ask((study,), 1, float(history["seconds"].sum()) if "seconds" in history else None, chips)


def together(asked: Sequence[Ask]) -> Ask:
    """Return several as one, of as many chips as any has."""
    seconds = [one.seconds for one in asked]
    total = None if None in seconds else sum(filter(None, seconds))
    studies = tuple(study for one in asked for study in one.studies)
    return Ask(studies, sum(one.trainings for one in asked), total, max(one.chips for one in asked))


def _like(method: str, query: Query, table: pd.DataFrame, store: Store) -> tuple[Training | None, str]:
    """Return the stored training that a method's would be like, or is, and its hash.

    First by epochs (those shown, or ten), then by device and sigma_d (of training; swept: sigma_d first) and seed.
    """
    found = select.trainings(table, replace(query, method=(method,), setting=None), mapping=False)
    if found.empty:
        return None, ""
    at = query.train_sigma_d if query.protocol == "swept" else query.sigma_d
    epochs = query.setting[0] if query.setting else EPOCHS
    listed = list(catalogue.DEVICES)
    records = {name: store.training(name) for name in found.index}
    records = {name: r for name, r in records.items() if not r.recipe.get("start")} or records

    def distance(name: str) -> tuple[Any, ...]:
        r = records[name]
        device = (r.device or {}).get("name", query.device)
        off, other = abs(r.sigma_d - (at or 0)) if method != "none" else 0, device != query.device
        first = (off, other) if query.protocol == "swept" else (other, off)  # the model itself, or one like it
        place = listed.index(device) if device in listed else len(listed)
        return (r.epochs != epochs, *first, r.range != "max", not store.has_weights(name), r.seed, place, name)

    best = min(records, key=distance)
    return records[best], best


def _is(like: Training, query: Query) -> bool:
    """Whether a stored training is the matched one itself."""
    return (like.device or {}).get("name") == query.device and like.sigma_d == query.sigma_d and like.range == "max"


def _study(
    method: str, query: Query, like: Training | None, chips: int, deployments: Sequence[str | None]
) -> dict[str, Any]:
    network, _, width = query.network.partition(" x")
    values: dict[str, Any] = {
        "network": network, "width": float(width or 1), "dataset": query.dataset, "methods": [method],
        "devices": [query.device], "sigma_d": sorted({0.0, query.sigma_d}), "train_sigma_d": [query.sigma_d],
        "reference": query.reference, "mapping": query.mapping,
        "ranges": [query.range], "train_range": "max", "effects": [query.effects], "peripheries": [query.periphery],
        "chips": chips, "epochs": EPOCHS, "seeds": [0], "deployments": list(deployments),
    }  # fmt: skip
    if files := plugins.needed(network, method, *deployments):
        values["plugins"] = files
    if query.protocol == "swept" and method != "none":
        values["train_sigma_d"] = [query.train_sigma_d if query.train_sigma_d is not None else query.sigma_d]
    if like is not None:
        recipe = dict(like.recipe)
        values |= {"epochs": like.epochs, "seeds": [like.seed], "bits": like.bits, "precision": like.precision,
                   "activation_bits": like.activation_bits, "parameters": {method: dict(like.parameters)},
                   "recipe": {key: recipe[key] for key in _RECIPE if key in recipe},
                   **{key: recipe[key] for key in _SELECT if key in recipe}}  # fmt: skip
        if query.protocol == "swept" and method != "none":
            values["train_device"] = (like.device or {}).get("name")
        if query.setting and query.setting[-1] < 10_000:
            values["images"] = query.setting[-1]
    return values


def _together(studies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return studies with those in one that differ in methods and their parameters alone."""
    held: dict[str, dict[str, Any]] = {}
    for study in studies:
        key = repr({k: v for k, v in study.items() if k not in ("methods", "parameters")})
        one = held.setdefault(key, {**study, "methods": [], "parameters": {}})
        one["methods"] = [*one["methods"], *study["methods"]]
        one["parameters"] = {**one["parameters"], **study.get("parameters", {})}
    return list(held.values())
