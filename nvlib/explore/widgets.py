"""The widgets of the playground: what can be chosen, the buttons, and the places for figures and text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nvlib import devices, figures
from nvlib.errors import InputError
from nvlib.explore.live import NOW
from nvlib.explore.query import MEASURED, RELATIVE, Query

K = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0)
BITS = (2, 4, 6, 8)
AS_TRAINED = 0  # bits: a list shows nothing for None
CHIPS = (20, 50, 100, 400, 1000, 10_000)
IMAGES = (250, 500, 1000, 2500, 10_000)


@dataclass(frozen=True)
class Parts:
    """The widgets: the choice by name; buttons, bar and count of live chips; texts; figures; all in a box."""

    choice: Mapping[str, Any]
    start: Any
    stop: Any
    bar: Any
    counted: Any
    said: Any
    numbers: Any
    distribution: Any
    curve: Any
    ran: Any
    box: Any


def build(query: Query, table: pd.DataFrame, own: Sequence[str], chips: int, images: int) -> Parts:
    """Return the widgets, standing as a query says.

    Args:
        query: where they stand.
        table: results, whose networks and methods can be chosen.
        own: names of devices of one's own.
        chips: how many live chips.
        images: on how many images each.

    Raises:
        InputError: without ipywidgets.
    """
    try:
        import ipywidgets as w
    except ImportError:
        raise InputError("ipywidgets is not installed; pip install 'nvlib[notebooks]' (or make setup)") from None

    def one(kind: Callable, label: str, options: Sequence, value: object, **more: Any) -> Any:
        return kind(options=list(options), value=value, description=label, style={"description_width": "84px"}, **more)

    pairs = table[["network", "dataset"]].drop_duplicates().astype(object).itertuples(index=False)
    networks = sorted({tuple(pair) for pair in pairs} | {(query.network, query.dataset)})
    held = {*table["method"].unique(), *query.method}
    methods = sorted(held, key=lambda m: (list(figures.STYLES).index(m) if m in figures.STYLES else len(held) + 99, m))
    known = dict.fromkeys([*devices.names(), *own, query.device])
    trained = sorted({s for s in table["train_sigma_d"].unique() if s > 0} | {query.train_sigma_d or 0.2})
    choice = {
        "network": one(w.Dropdown, "network", [(f"{figures.name(n)} on {figures.name(d)}", (n, d))
                                               for n, d in networks], (query.network, query.dataset)),
        "method": one(w.SelectMultiple, "trained with", [(figures.style(m).label, m) for m in methods], query.method,
                      rows=7),
        "device": one(w.Dropdown, "device", [(figures.name(n), n) for n in known], query.device),
        "sigma_d": one(w.SelectionSlider, "sigma_d", sorted({*RELATIVE, query.sigma_d}), query.sigma_d,
                       continuous_update=False),
        "k": one(w.SelectionSlider, "k (%)", sorted({*K, query.k}), query.k, continuous_update=False),
        "bits": one(w.Dropdown, "weight bits", [("as trained", AS_TRAINED), *((str(b), b) for b in BITS)], AS_TRAINED),
        "reference": one(w.ToggleButtons, "relative to", [(figures.name(r), r) for r in devices.REFERENCES],
                         query.reference),
        "mapping": one(w.ToggleButtons, "mapping", ("differential", "signed"), query.mapping),
        "protocol": one(w.ToggleButtons, "protocol", ("matched", "swept"), query.protocol),
        "trained": one(w.Dropdown, "trained at", trained, query.train_sigma_d or 0.2),
        "chips": one(w.Dropdown, "live chips", sorted({*CHIPS, chips}), chips),
        "images": one(w.Dropdown, "on images", sorted({*IMAGES, images}), images),
        "show": one(w.ToggleButtons, "show", [("stored", "stored"), ("scored now", NOW)], "stored"),
    }  # fmt: skip
    for name in ("reference", "mapping", "protocol", "show"):
        choice[name].style.button_width, choice[name].layout.width = "98px", "310px"
    for name in ("chips", "images"):
        choice[name].layout.width = "200px"
    start = w.Button(button_style="primary", icon="play", layout=w.Layout(width="auto"))
    stop = w.Button(description="Stop", icon="stop", disabled=True, layout=w.Layout(width="80px"))
    bar, counted = w.IntProgress(layout=w.Layout(width="160px")), w.Label()
    said, numbers, ran, distribution, curve = w.HTML(), w.HTML(), w.HTML(), w.Output(), w.Output()
    wrapped = w.Layout(flex_flow="row wrap", align_items="flex-start")
    columns = (("network", "method"), ("device", "sigma_d", "k", "bits"), ("reference", "mapping", "protocol"))
    choices = w.HBox([w.VBox([choice[n] for n in names]) for names in columns], layout=wrapped)
    swept = w.HBox([choice["trained"], choice["show"]], layout=wrapped)
    live = w.HBox([choice["chips"], choice["images"], start, stop, bar, counted], layout=wrapped)
    box = w.VBox([choices, swept, live, said, numbers, distribution, curve, ran])
    return Parts(choice, start, stop, bar, counted, said, numbers, distribution, curve, ran, box)


def fit(choice: Mapping[str, Any], relative: bool) -> None:
    """Give sigma_d the values of the device: sizes of the variation, or factors on a measured one."""
    slider, grid = choice["sigma_d"], sorted(RELATIVE if relative else MEASURED)
    if not set(grid) <= set(slider.options):
        slider.options, slider.value = grid, 0.2 if relative else 1.0
    choice["reference"].disabled = not relative
    choice["trained"].disabled = choice["protocol"].value == "matched"
