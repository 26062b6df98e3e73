"""Normalisation's statistics taken again on the programmed chip.

Batch normalisation subtracts and divides by the mean and deviation that training found, at clean weights. On a chip the
features have others. Run some training images through it and take them again, layer after layer, each on features that
the layers before it have normalised with their new ones already:

    mu_c = mean of x_c,   v_c = variance of x_c     of each channel c, over images and positions

Normalisation is digital: no cell is written, nothing is trained, no label is read.

Source: Joshi et al., "Accurate deep neural network inference using computational phase-change memory", Nature
Communications 11, 2020 (AdaBS, there against drift). Deviation: it averages statistics over several batches; here all
images are one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nvlib import functional
from nvlib.deploy.context import Context, Deployment, Outcome, Procedure
from nvlib.errors import InputError, whole_field
from nvlib.modules import switched


@torch.no_grad()
def retaken(model: nn.Module, chips: Mapping[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """Return chips with normalisation's statistics as images ``x`` (n, ...) give them on each chip.

    Raises:
        InputError: for a model without running statistics, or fewer than two images.
    """
    model = switched(copy.deepcopy(model))
    names = []
    for place, layer in model.named_modules():
        if isinstance(layer, _BatchNorm) and layer.track_running_stats:
            layer.train()
            layer.momentum = 1.0  # of what was held before nothing stays
            names += [f"{place}.running_mean", f"{place}.running_var"]
    if not names:
        raise InputError(f"{type(model).__name__} has no batch normalisation, so no statistics to take again; choose "
                         "another deployment method")  # fmt: skip
    if len(x) < 2:
        raise InputError(f"{len(x)} images give no variance; expected at least 2")
    buffers = dict(model.named_buffers())
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for i in range(len(next(iter(chips.values())))):
        own = {name: buffer.clone() for name, buffer in buffers.items()}
        with functional.unchanged(model):
            functional.call(model, {name: w[i] for name, w in chips.items() if name not in own} | own, x.clone())
        for name in names:
            found[name].append(own[name])
    return dict(chips) | {name: torch.stack(held) for name, held in found.items()}


@dataclass(frozen=True)
class Normalise(Deployment):
    """Take normalisation's statistics again.

    Attributes:
        images: of the training split, that they are taken on; all in memory at once.
    """

    images: int = 1000
    name: ClassVar[str] = "normalise"

    def __post_init__(self) -> None:
        """Refuse a number of images that has no variance."""
        whole_field(self, "images", 2)

    sets: ClassVar[int] = 2
    effects: ClassVar[bool] = True

    def procedure(self, context: Context) -> Procedure:
        """Take the statistics of a block of chips again."""
        x = context.train.x[: self.images]

        def normalised(part: range, chips: Mapping[str, Tensor]) -> Outcome:
            return Outcome(context.score(retaken(context.model, chips, x)))

        return normalised
