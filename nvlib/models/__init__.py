"""Networks: the papers', and a user's own.

    networks   LeNet, LeNet-3, VGG-8, ResNet-18 as plain modules, and the quantiser of their activations
    own        a network of one's own, named as a Python file and a function in it
    factory    making it, and what it must be
    registry   `MODELS`, and `build`, by name

Names are resolved when first used, so that `nvlib.models.own` needs no torch.

>>> from nvlib import models
>>> list(models.MODELS)
['lenet', 'lenet5', 'lenet3', 'vgg8', 'vgg8_tsb', 'resnet18']
>>> models.build("lenet", seed=0).bits
4
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_HOME = {
    **dict.fromkeys(
        ("ActivationQuantiser", "Network", "LeNet", "LeNet3", "VGG8", "BasicBlock", "ResNet18"), "networks"
    ),
    **dict.fromkeys(("MODELS", "build", "named"), "registry"),
}

__all__ = [
    "MODELS", "build", "named", "ActivationQuantiser", "Network", "LeNet", "LeNet3", "VGG8", "BasicBlock", "ResNet18",
    "own",
]  # fmt: skip

if TYPE_CHECKING:
    from nvlib.models import own
    from nvlib.models.networks import VGG8, ActivationQuantiser, BasicBlock, LeNet, LeNet3, Network, ResNet18
    from nvlib.models.registry import MODELS, build, named


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(f"nvlib.models.{_HOME[name]}"), name)
    if name == "own":
        return importlib.import_module("nvlib.models.own")
    raise AttributeError(f"module 'nvlib.models' has no attribute {name!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return list(__all__)
