"""A reader's choice, and the names that it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nvlib import catalogue
from nvlib.image_sets import IMAGE_SETS

NETWORKS, DATASETS, METHODS = catalogue.NETWORKS, IMAGE_SETS, catalogue.METHODS  # with those of plug-ins run here
FIRST = ("none", "gaussian")  # methods shown before anything is chosen: those that ship for every sigma_d
RELATIVE = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)  # sigma_d of a device without own deviations
MEASURED = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # factors on a measured one
RANGES = ("max", "deviations:4", "deviations:3", "deviations:2.5", "deviations:2", "deviations:1.5", "max/channel",
          "deviations:2.5/channel")  # fmt: skip
CONDITIONS = ("network", "dataset", "device", "reference", "mapping", "range", "effects", "periphery")  # of chips
# what else tells two trainings or tests apart
SETTING = ("epochs", "bits", "activation_bits", "train_range", "clipping", "train_effects", "images")


@dataclass(frozen=True)
class Query:
    """Everything that decides what is shown."""

    network: str = "lenet"
    dataset: str = "mnist"
    device: str = "rram"
    sigma_d: float = 0.2
    reference: str = "full_scale"
    mapping: str = "differential"
    method: tuple[str, ...] = FIRST
    protocol: str = "matched"
    train_sigma_d: float | None = None  # of swept models
    setting: tuple[Any, ...] | None = None  # values of SETTING; None where nothing is stored
    k: float = 1.0
    range: str = "max"  # what the largest level of a chip stands for
    effects: str = ""  # what befalls chips after programming
    periphery: str = ""  # tiles, converters and wires round them
