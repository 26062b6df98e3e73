"""A chip's life as a choice: a time, the effects that are switched on, and the stored chips that show them.

An effect is switched on by its name; its numbers are the device's own where it has them, else those of PCM's law. The
stages of a life are the effects one after another, each on the same chips; without torch, from the table of results.

>>> from nvlib.explore import life
>>> life.chain("pcm", ("Drift", "Read noise"), 3600.0)
('drift:time=3600', 'read:time=3600')
>>> life.stages_of(("drift:time=3600", "read"))
['', 'drift:time=3600', 'drift:time=3600 + read']
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from nvlib import devices, summary
from nvlib.errors import unknown
from nvlib.explore.query import Query

TIMES = {"as programmed": 0.0, "1 hour": 3600.0, "1 day": 86_400.0, "1 month": 2_592_000.0, "1 year": 31_536_000.0}
STUCK = "stuck:hrs=0.0904,lrs=0.0175"  # Chen et al. 2015, as in `nvlib.effects.PRESETS`
SHARED = "common:die=0.3,chains=apart"
DEPLOYMENT = "compensate"  # of drift
BORROWED = "pcm"  # whose law a device without one of its own is given


def switches(device: str) -> dict[str, str]:
    """Return the effects that a device can be shown under, in the order of a life: name -> text, {time} in it.

    A device with measured times of its own has these in place of drift.
    """
    own = devices.get(device).effects
    found = {"Common variation": SHARED}
    if own and own.retention:
        found["Retention"] = "retention:time={time}"
    found["Stuck cells"] = STUCK
    if "Retention" not in found:
        found["Drift"] = "drift:time={time}" if own and own.drift else f"drift:time={{time}},law={BORROWED}"
    found["Read noise"] = "read" if own and own.read_noise else f"read:law={BORROWED}"
    return found


def first(device: str) -> list[str]:
    """Return the effects that are on before anybody chooses: what time does to cells, and reading them."""
    return [name for name in switches(device) if name in ("Retention", "Drift", "Read noise")]


def times(device: str) -> dict[str, float]:
    """Return the times that a device can be shown at: name -> seconds; within what was measured of it."""
    own = devices.get(device).effects
    if own and own.retention:
        low, high = own.retention.times[0], own.retention.times[-1]
        named = {_named(t): t for t in (0.0, 1.0, 3600.0, 86_400.0, *own.retention.times) if low <= t <= high}
        return dict(sorted(({"as programmed": 0.0} | named).items(), key=lambda item: item[1]))
    return TIMES


def chain(device: str, on: Sequence[str], time: float) -> tuple[str, ...]:
    """Return the effects that are on at a time as texts, in order; what time does is left out at 0.

    Raises:
        InputError: for an effect that the device cannot be shown under.
    """
    known = switches(device)
    for name in on:
        if name not in known:
            raise unknown(f"effect on {device}", name, known)
    texts = [text.format(time=f"{time:.12g}") for name, text in known.items()
             if name in on and (time or "{time}" not in text)]  # fmt: skip
    aged = any(text.startswith(("drift", "retention")) for text in texts)
    return tuple(_at(text, time) if aged and text.startswith("read") else text for text in texts)


def stages_of(effects: Sequence[str]) -> list[str]:
    """Return what chips undergo stage by stage, from as programmed on, as the column ``effects`` has it."""
    return [" + ".join(effects[:place]) for place in range(len(effects) + 1)]


def held(
    table: pd.DataFrame, training: str, query: Query, deployment: str = "", images: int | None = None
) -> pd.DataFrame:
    """Return the stored chips of a training on a device at a sigma_d, on most images, whatever befell them.

    Of several precisions those of the one that most have; the device is nvlib's own.
    """
    keep = (table["training"] == training) & (table["deployment"] == deployment) & (table["chip_seed"] == 0)
    keep &= table["device_numbers"] == ""
    for column in ("device", "sigma_d", "reference", "mapping", "range", "periphery"):
        keep &= table[column] == getattr(query, column)
    rows = table[keep & (table["images"] == (images or table.loc[keep, "images"].max()))]
    return rows[rows["precision"] == rows["precision"].value_counts().idxmax()] if len(rows) else rows


def stages(table: pd.DataFrame, training: str, query: Query, effects: Sequence[str]) -> pd.DataFrame:
    """Return the waterfall of a life from stored chips, as `nvlib.stages` gives it from the weights' stage on.

    Args:
        table: from `nvlib.store.results`.
        training: its hash.
        query: device, sigma_d, mapping, k; with a periphery, it is the last stage.
        effects: in order.

    Returns:
        Rows as of `nvlib.stages`, of the chips that all stages have; no row where a stage has none.
    """
    rows, names = shown(table, training, query, effects), stages_of(effects)
    last, parts = ["programmed", *effects], {}
    if query.periphery:
        names, last = [*names, names[-1]], [*last, f"periphery:{query.periphery}"]
    for label, name in zip(last, names, strict=True):
        through = query.periphery if label.startswith("periphery:") else ""
        part = rows[(rows["effects"] == name) & (rows["periphery"] == through)]
        parts[label] = part.set_index("chip")["accuracy"]
    chips = pd.concat(parts, axis=1, join="inner").sort_index()
    if chips.empty:
        return pd.DataFrame()
    clean = table[(table["training"] == training) & (table["sigma_d"] == 0) & (table["effects"] == "")
                  & (table["deployment"] == "") & (table["periphery"] == "")
                  & (table["images"] == rows["images"].max())]  # fmt: skip
    clean = clean[clean["range"] == query.range]
    seen: list[tuple[str, np.ndarray]] = [("weights", clean["accuracy"].to_numpy()[:1])] if len(clean) else []
    seen += [(label, chips[label].to_numpy()) for label in last]
    before, found = None, []
    for label, accuracy in seen:
        found.append({"stage": label, **summary.stage_row(accuracy, before, query.k, 0.95)})
        before = accuracy
    return pd.DataFrame(found).assign(k=query.k)


def shown(table: pd.DataFrame, training: str, query: Query, effects: Sequence[str]) -> pd.DataFrame:
    """Return the stored chips of the stages of a life, those through its periphery, if it has one, on the same images.

    Args:
        table: from `nvlib.store.results`.
        training: its hash.
        query: device, sigma_d, mapping, periphery.
        effects: in order.
    """
    befell, exact = stages_of(effects), replace(query, periphery="")
    if not query.periphery:
        rows = held(table, training, query)
        return rows[rows["effects"].isin(befell)]
    last = held(table, training, query)
    last = last[last["effects"] == befell[-1]]
    rows = held(table, training, exact, images=int(last["images"].max()) if len(last) else None)
    return pd.concat([rows[rows["effects"].isin(befell)], last])


def along(
    table: pd.DataFrame, training: str, query: Query, on: Sequence[str], deployment: str = ""
) -> pd.DataFrame:
    """Return the accuracy along time under the effects that are on: a row a time that has chips.

    Args:
        table: from `nvlib.store.results`.
        training: its hash.
        query: device, sigma_d, mapping, k.
        on: the effects that are on.
        deployment: what was done to the aged chips, e.g. ``compensate``.

    Returns:
        field, value (the time's name), seconds, mean and KPP with limits (percent), chips, k.
    """
    rows, found = held(table, training, query, deployment), []
    for name, seconds in times(query.device).items():
        chips = rows[rows["effects"] == " + ".join(chain(query.device, on, seconds))].drop_duplicates("chip")
        if len(chips):
            row = summary.stage_row(chips["accuracy"].to_numpy(), None, query.k, 0.95)
            found.append({"field": "time", "value": name, "seconds": seconds, **row})
    return pd.DataFrame(found).assign(k=query.k)


def deployed(
    table: pd.DataFrame, training: str, query: Query, on: Sequence[str], deployment: str = DEPLOYMENT
) -> pd.DataFrame:
    """Return the accuracy along time left alone and with something done to the aged chips: two rows a time.

    Both are of the same chips on the same images: what a deployed chip scored before, and after.

    Args:
        table: from `nvlib.store.results`.
        training: its hash.
        query: device, sigma_d, mapping, k.
        on: the effects that are on.
        deployment: what is done.

    Returns:
        Columns as of `along`, and ``deployment``, "" where nothing was done; empty where no chips are stored.
    """
    kept = held(table, training, query, deployment)
    alone = kept.assign(accuracy=kept["before"], deployment="")
    parts = {done: along(rows, training, query, on, done) for done, rows in (("", alone), (deployment, kept))}
    return pd.concat([part.assign(deployment=done) for done, part in parts.items()], ignore_index=True)


def lacking(table: pd.DataFrame, training: str, query: Query, on: Sequence[str], time: float) -> list[str]:
    """Return what chips must undergo for the stages at a time and for the life along all times, and is not stored.

    With a periphery, what must befall chips before their last stage.
    """
    if query.periphery:
        last = chain(query.device, on, time)
        return [] if stages(table, training, query, last).size else [" + ".join(last)]
    there = set(held(table, training, query)["effects"].unique())
    wanted = stages_of(chain(query.device, on, time))
    wanted += [" + ".join(chain(query.device, on, seconds)) for seconds in times(query.device).values()]
    return [text for text in dict.fromkeys(wanted) if text not in there]


def _at(read: str, time: float) -> str:
    """Return read noise at the time of what aged the chip before, as `nvlib.effects` writes it."""
    name, _, rest = read.partition(":")
    return f"{name}:time={time:.12g}" + (f",{rest}" if rest else "")


def _named(seconds: float) -> str:
    known = {value: name for name, value in TIMES.items()}
    days = seconds / 86_400
    return known.get(seconds) or (f"{days:g} days" if days >= 1 else f"{seconds:g} s")
