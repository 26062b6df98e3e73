"""Computing while the reader waits: some chips of a stored model on any device. torch is imported here, when asked.

One at a time in this server: several readers take turns, so that none of them slows all others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from common.empty_state import missing
from common.query import Query
from common.stored import stored
from nvlib import devices
from nvlib.devices import Device
from nvlib.errors import InputError
from nvlib.explore import select
from nvlib.explore.select import labels as labels
from nvlib.explore.select import near as near

if TYPE_CHECKING:
    from torch import nn

    from nvlib.data import Dataset
    from nvlib.taylor import Cut

CHIPS = (50, 100, 200, 300)
IMAGES = (250, 1000, 2500)
CUT_IMAGES = 250
SWEPT_IMAGES = 1000
SHARES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
WAIT = 60  # seconds that a reader waits for a turn
_TURN = threading.Lock()


def trained(query: Query) -> pd.DataFrame:
    """Return the stored trainings of a query's network, data set, methods and mapping, whatever their device."""
    return select.trainings(stored(), query)


def models(query: Query) -> pd.DataFrame:
    """Return the stored trainings whose chips a page can compute; where there is none, offer one and end the page.

    Raises:
        InputError: for a device of one's own.
    """
    if query.device not in devices.names():
        raise InputError("the numbers of this device are not built in; choose another in the sidebar")
    found = trained(query)
    if found.empty:
        missing(query, pd.DataFrame(columns=["method"]))
        st.stop()
    return found


def deviations(training: str, device: Device, sigma_d: float, query: Query) -> pd.DataFrame:
    """Return how far the weights of each layer of a stored model stray: `nvlib.crossbar.deviations`."""
    from nvlib.crossbar import deviations

    return deviations(model_of(training), device, sigma_d, reference=query.reference, mapping=query.mapping)


def saturating(training: str, span: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return how the weights of a stored model are spread, and what a range saturates of each layer."""
    from nvlib.explore import saturation

    return saturation.spread(model_of(training)), saturation.saturation(model_of(training), span)


def scored(
    training: str, device: Device, sigma_d: float, query: Query, chips: int, images: int,
    progress: Callable[[int, int], object],
) -> pd.DataFrame:  # fmt: skip
    """Score chips of a stored model on a device, and return them as a tidy frame."""
    from nvlib.explore.live import frames

    about = trained(query).loc[training].to_dict() | {
        "sigma_d": float(sigma_d), "network": query.network, "dataset": query.dataset, "device": device.name,
        "reference": query.reference, "mapping": query.mapping, "images": images,
        "range": query.range, "effects": query.effects, "periphery": query.periphery,
    }  # fmt: skip
    for df in frames(model_of(training), data_of(query.dataset, images), device, about, chips=chips):
        progress(len(df), chips)
    return df


def trained_as(row: pd.Series) -> str | None:
    """Return the stored training that a row of the Taylor analysis is of; None if it is not there."""
    table = stored()
    where = {"network": "lenet", "dataset": "mnist", "mapping": "differential", "epochs": 10}  # of `theory`
    where |= {column: row[column] for column in ("method", "train_sigma_d", "train_seed")}
    keep = pd.Series(True, index=table.index)
    for column, value in where.items():
        keep &= table[column] == value
    found = table.loc[keep, "training"]
    return str(found.iloc[0]) if len(found) else None


def verified(training: str, device: Device, sigma_d: float, query: Query, chips: int) -> pd.DataFrame:
    """Return accuracy, pulses and energy (J) of chips of a stored model at several verified shares.

    They are `nvlib.deploy.swim.sweep`'s; each pulse on a verified cell is followed by a reading.
    """
    from nvlib import hardware
    from nvlib.deploy import swim

    table = swim.sweep(
        model_of(training), data_of(query.dataset, SWEPT_IMAGES), device, sigma_d, index=range(chips),
        fractions=SHARES, reference=query.reference, mapping=query.mapping,
        method=swim.Swim(estimate="sampled", images=250, process=False),  # seconds; drawing each pulse takes minutes
    )  # fmt: skip
    reads = table["pulses"] - (table["cells"] - table["verified"])
    return table.assign(energy=hardware.written_energy(table["pulses"], reads.where(table["verified"] > 0, 0)))


def cut(training: str, layer: str) -> Cut:
    """Return the loss along the weight of a layer that adds most to the mean loss, true and expanded.

    f'' d^2 / 2, d the weight's deviation, is what a weight adds; the cut goes three deviations at sigma_d = 0.2 far.
    """
    from nvlib import taylor
    from nvlib.data import Split

    test = data_of("mnist", CUT_IMAGES).test
    loss = taylor.Loss(taylor.point(model_of(training), "rram"), Split(test.x, test.y))
    first, second = loss.gradient()[layer].flatten(), taylor.diagonal(loss).values[layer].flatten()
    place = int((second * loss.point.deviation[layer].flatten().double() ** 2).argmax())
    return taylor.cut(loss, layer, place, float(first[place]), float(second[place]), reach=0.6)


@st.cache_resource(max_entries=8, show_spinner=False)
def model_of(training: str) -> nn.Module:
    """Return a stored model; it is never written to."""
    from nvlib.studies import model_of

    return model_of(training)


@st.cache_resource(max_entries=4, show_spinner=False)
def data_of(dataset: str, images: int) -> Dataset:
    """Return the first images of each split of a data set, at the size that its networks take."""
    from nvlib import data

    return data.load(dataset, limit=images)


@contextmanager
def turn() -> Iterator[None]:
    """Wait for a turn to compute.

    Raises:
        InputError: if it does not come.
    """
    if not _TURN.acquire(timeout=WAIT):
        raise InputError(f"others are computing on this server for {WAIT} s already; try again in a moment")
    try:
        yield
    finally:
        _TURN.release()


def code(training: str, device: Device, last: str) -> str:
    """Return the Python that does the same in a notebook; ``last`` goes on from ``model`` and ``device``."""
    known = device.name in devices.names()
    made = repr(device.name) if known else "nvlib.devices.load('device.toml')  # downloaded here"
    return (
        "import nvlib\nfrom nvlib import crossbar, figures, studies\n\n"
        f"model = studies.model_of({training!r})\ndevice = {made}\n{last}"
    )
