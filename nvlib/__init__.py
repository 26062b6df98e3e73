"""nvlib: how neural networks behave on compute-in-memory chips whose devices stray, and what makes them robust.

Names are resolved when first used, so that `nvlib.store`, `nvlib.figures` and the dashboard start without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = {
    "Crossbar": "nvlib.crossbar",
    "program": "nvlib.crossbar",
    "mapping": "nvlib.crossbar",
    "forward": "nvlib.population",
    "stack": "nvlib.population",
    "calibrate": "nvlib.calibration",
    "monte_carlo": "nvlib.evaluate",
    "stages": "nvlib.by_stage",
    "sweep": "nvlib.sweeps",
    "Samples": "nvlib.samples",
    "Interrupted": "nvlib.samples",
    "train": "nvlib.methods",
    "METHODS": "nvlib.methods",
    "Recipe": "nvlib.methods",
    "DEPLOYMENTS": "nvlib.deploy",
    "build": "nvlib.models",
    "MODELS": "nvlib.models",
    "load": "nvlib.data",
    "Study": "nvlib.studies",
    "run": "nvlib.studies",
    "results": "nvlib.store",
    "Estimate": "nvlib.statistics",
    "InputError": "nvlib.errors",
}

__all__ = [
    "Crossbar", "program", "mapping", "calibrate", "forward", "stack", "monte_carlo", "Samples", "Interrupted",
    "stages", "sweep", "train", "METHODS", "Recipe", "DEPLOYMENTS", "build", "MODELS", "load", "Study", "run",
    "results", "Estimate", "InputError", "anova", "array", "catalogue", "circuits", "crossbar", "data", "deploy",
    "devices", "effects", "errors", "evaluate", "explore", "figures", "hardware", "launch", "methods", "models",
    "noise", "papers", "philox", "plugins", "population", "precision", "provenance", "records", "rounding",
    "sequential", "statistics", "store", "studies", "summary", "taylor",
]  # fmt: skip

if TYPE_CHECKING:
    from nvlib.by_stage import stages
    from nvlib.calibration import calibrate
    from nvlib.crossbar import Crossbar, mapping, program
    from nvlib.data import load
    from nvlib.deploy import DEPLOYMENTS
    from nvlib.errors import InputError
    from nvlib.evaluate import monte_carlo
    from nvlib.methods import METHODS, Recipe, train
    from nvlib.models import MODELS, build
    from nvlib.population import forward, stack
    from nvlib.samples import Interrupted, Samples
    from nvlib.statistics import Estimate
    from nvlib.store import results
    from nvlib.studies import Study, run
    from nvlib.sweeps import sweep


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in __all__:
        return importlib.import_module(f"nvlib.{name}")
    raise AttributeError(f"module 'nvlib' has no attribute {name!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
