"""Tidy DataFrame in, plotly figure out: every decision about how a result looks is made here.

A tidy frame has one row per chip (columns: see `nvlib.store.results`). The columns method, sigma_d and accuracy
suffice; what else is there goes into the subtitle. Three rules hold for every figure:

* A method keeps its colour (Okabe-Ito, safe for colour-blind readers), dash and marker everywhere.
* A percentile of several trainings is the mean of the percentiles of each; its interval is the mean of theirs.
  It speaks of the chips, for these trainings; how trainings differ is seen in the faint dots.
* Where there are too few chips for an interval (`nvlib.statistics.needed`), no line or band is drawn.

The numbers are those of `nvlib.summary`. Each file imports only from those before it; from `layout` on they need
plotly, and are imported when first used:

    names                  how what has a name is written, and a method's colour, dash and marker
    layout                 the template, titles and subtitles
    distributions          figures of chip accuracies: distribution, curves, fan, ecdf
    compare                methods beside a baseline on the same chips
    rankings               which method comes first at each sigma_d
    layer_chart            how far the weights of each layer stray
    stages                 where the accuracy goes, stage by stage
    device                 figures of what chips are made of: levels of a device, laws of the training noise
    hardware               energy, latency and area of layers and designs
    search_traces          figures of a training's search
    mean_chart             mean accuracy and EKL against sigma_d
    ranges                 percentile by weight range
    training_length        percentile by length of training
    noise_grids            percentile by size and threshold of the training noise
    claims                 printed numbers beside ours, verdicts, trainings that fail to converge
    deploy                 programmed chips: accuracy distance, write-verify, SWIM
    tsb                    TSB's ablations and training cost
    taylor, taylor_shares  theory against chips: one weight, all weights, layers, training
    taylor_map             shares of layers and slices at once
    export                 still pictures

>>> from nvlib import figures
>>> figures.style("trice").label
'TRICE'
>>> type(figures.device_levels("fefet2", 0.1)).__name__
'Figure'
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

_HOME = {
    "accuracy_distribution": "distributions",
    "percentile_curves": "distributions",
    "fan": "distributions",
    "FAN": "distributions",
    "ecdf": "distributions",
    "device_levels": "device",
    "noise_laws": "device",
    "difference_curves": "compare",
    "layer_deviations": "layer_chart",
    "weights_and_range": "layer_chart",
    "waterfall": "stages",
    "setting_curves": "settings",
    "ranks": "rankings",
    "ranking": "rankings",
    "search_trace": "search_traces",
    "beside_printed": "claims",
    "verdicts": "claims",
    "converging": "claims",
    "range_curves": "ranges",
    "length_curves": "training_length",
    "mean_curves": "mean_chart",
    "mean_panels": "mean_chart",
    "noise_grid": "noise_grids",
    "hardware_layers": "hardware",
    "hardware_designs": "hardware",
    "accuracy_distance": "deploy",
    "selective_verify": "deploy",
    "tsb_ablation": "tsb",
    "training_cost": "tsb",
    "tsb_causes": "tsb",
    "tsb_learning": "tsb",
    "deployment_style": "deploy",
    "one_weight": "taylor",
    "slope_effect": "taylor",
    "loss_cut": "taylor",
    "loss_percentiles": "taylor",
    "loss_quantiles": "taylor",
    "chip_losses": "taylor",
    "variance_shares": "taylor_shares",
    "loss_and_accuracy": "taylor_shares",
    "derivatives_by_epoch": "taylor_shares",
    "share_map": "taylor_map",
    "share_table": "taylor_map",
    "to_png": "export",
    "picture": "export",
    "lacking": "export",
    "sigma_title": "layout",
    "detach_title": "layout",
    "TEMPLATE": "layout",
}

__all__ = [
    "accuracy_distribution", "percentile_curves", "fan", "FAN", "ecdf",
    "hardware_layers", "hardware_designs", "beside_printed", "verdicts", "converging", "mean_curves",
    "range_curves", "length_curves",
    "mean_panels", "noise_grid",
    "difference_curves", "ranks", "ranking", "device_levels", "noise_laws", "search_trace", "to_png", "picture",
    "lacking", "share_map", "share_table", "sigma_title", "detach_title", "layer_deviations", "waterfall",
    "weights_and_range",
    "setting_curves",
    "one_weight", "slope_effect", "loss_cut", "loss_percentiles", "loss_quantiles",
    "chip_losses", "variance_shares", "loss_and_accuracy", "derivatives_by_epoch",
    "accuracy_distance", "selective_verify", "tsb_ablation", "training_cost",
    "tsb_causes",
    "tsb_learning",
    "deployment_style", "TEMPLATE", "Style", "STYLES", "style", "name", "ordinal", "BLUE", "SKY", "GREEN", "ORANGE",
    "VERMILLION", "PURPLE", "GREY",
]  # fmt: skip

if TYPE_CHECKING:
    from nvlib.figures.claims import beside_printed, converging, verdicts
    from nvlib.figures.compare import difference_curves
    from nvlib.figures.deploy import (
        accuracy_distance,
        deployment_style,
        selective_verify,
    )
    from nvlib.figures.device import device_levels, noise_laws
    from nvlib.figures.distributions import FAN, accuracy_distribution, ecdf, fan, percentile_curves
    from nvlib.figures.export import lacking, picture, to_png
    from nvlib.figures.hardware import hardware_designs, hardware_layers
    from nvlib.figures.layer_chart import layer_deviations, weights_and_range
    from nvlib.figures.layout import TEMPLATE, detach_title, sigma_title
    from nvlib.figures.mean_chart import mean_curves, mean_panels
    from nvlib.figures.noise_grids import noise_grid
    from nvlib.figures.ranges import range_curves
    from nvlib.figures.rankings import ranking, ranks
    from nvlib.figures.search_traces import search_trace
    from nvlib.figures.settings import setting_curves
    from nvlib.figures.stages import waterfall
    from nvlib.figures.taylor import chip_losses, loss_cut, loss_percentiles, loss_quantiles, one_weight, slope_effect
    from nvlib.figures.taylor_map import share_map, share_table
    from nvlib.figures.taylor_shares import derivatives_by_epoch, loss_and_accuracy, variance_shares
    from nvlib.figures.training_length import length_curves
    from nvlib.figures.tsb import training_cost, tsb_ablation, tsb_causes, tsb_learning


def __getattr__(key: str) -> object:
    if key in _HOME:
        return getattr(importlib.import_module(f"nvlib.figures.{_HOME[key]}"), key)
    raise AttributeError(f"module 'nvlib.figures' has no attribute {key!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
