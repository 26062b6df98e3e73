"""Tidy DataFrame in, plotly figure out: every decision about how a result looks is made here.

A tidy frame has one row per chip (columns: see `nvlib.store.results`). The columns method, sigma_d and accuracy
suffice; what else is there goes into the subtitle. Three rules hold for every figure:

* A method keeps its colour (Okabe-Ito, safe for colour-blind readers), dash and marker everywhere.
* A percentile of several trainings is the mean of the percentiles of each; its interval is the mean of theirs.
  It speaks of the chips, for these trainings; how trainings differ is seen in the faint dots.
* Where there are too few chips for an interval (`nvlib.statistics.needed`), no line or band is drawn.

Each file imports only from those before it. From `layout` on they need plotly, and are imported when first used:

    names     how methods, networks, data sets and devices are written, and a method's colour, dash and marker
    table     what a frame holds, and `results_table`: the numbers that every figure of chips shows
    layout    the template, titles and subtitles
    chips     figures of chip accuracies: distribution, curves, fan, ecdf
    compare   methods beside a baseline on the same chips
    device    figures of what chips are made of: levels of a device, laws of the training noise
    search    figures of a training's search
    export    still pictures
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from nvlib.figures.names import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    STYLES,
    VERMILLION,
    Style,
    name,
    ordinal,
    style,
)  # fmt: skip
from nvlib.figures.table import differences, results_table

_HOME = {
    "accuracy_distribution": "chips",
    "percentile_curves": "chips",
    "fan": "chips",
    "FAN": "chips",
    "ecdf": "chips",
    "device_levels": "device",
    "noise_laws": "device",
    "difference_curves": "compare",
    "search_trace": "search",
    "to_png": "export",
    "sigma_title": "layout",
    "detach_title": "layout",
    "TEMPLATE": "layout",
}

__all__ = [
    "results_table", "differences", "accuracy_distribution", "percentile_curves", "fan", "FAN", "ecdf",
    "difference_curves", "device_levels", "noise_laws", "search_trace", "to_png", "sigma_title", "detach_title",
    "TEMPLATE", "Style", "STYLES", "style", "name", "ordinal", "BLUE", "SKY", "GREEN", "ORANGE", "VERMILLION", "PURPLE",
    "GREY",
]  # fmt: skip

if TYPE_CHECKING:
    from nvlib.figures.chips import FAN, accuracy_distribution, ecdf, fan, percentile_curves
    from nvlib.figures.compare import difference_curves
    from nvlib.figures.device import device_levels, noise_laws
    from nvlib.figures.export import to_png
    from nvlib.figures.layout import TEMPLATE, detach_title, sigma_title
    from nvlib.figures.search import search_trace


def __getattr__(key: str) -> object:
    if key in _HOME:
        return getattr(importlib.import_module(f"nvlib.figures.{_HOME[key]}"), key)
    raise AttributeError(f"module 'nvlib.figures' has no attribute {key!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
