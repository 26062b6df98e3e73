"""Training a few tensors of many chips at once, an epoch at a time.

Every chip has its own copy of what is trained, on its own frozen noise; all chips see the images in one order, which
depends on the seed and the epoch only. Losses of chips are summed and the optimiser works element by element, so a
chip learns what it would learn alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from nvlib import clock
from nvlib.errors import whole_field
from nvlib.methods.loop import order
from nvlib.methods.recipe import Recipe, descend


@dataclass(frozen=True)
class Schedule:
    """How the trained tensors of a chip are updated: a recipe, and on how much.

    Attributes:
        epochs: passes over the images.
        images: of the training split, the first so many (it is shuffled already); None: all.
        recipe: optimiser, learning rate, schedule, images a batch; no augmentation, for what is frozen is kept.
    """

    epochs: int
    images: int | None
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        for name in ("epochs", "images"):
            whole_field(self, name, 1, optional=True)

    def count(self, available: int) -> int:
        """Return how many images are used of those there are."""
        return available if self.images is None else min(self.images, available)


@dataclass(frozen=True)
class Tuned:
    """What an epoch left: yielded after its last update."""

    epoch: int
    loss: np.ndarray  # mean training loss, (chips,)
    passes: int  # images run forward and backward for each chip so far
    seconds: float  # so far, of the block


def tune(
    trained: Mapping[str, Tensor],
    logits: Callable[[int, Tensor], Tensor],
    y: Tensor,
    schedule: Schedule,
    seed: int,
    spent: float = 0.0,
) -> Iterator[Tuned]:
    """Train stacked tensors (chips, ...), leaves, in place.

    Args:
        trained: name -> (chips, ...), requiring gradients.
        logits: (step, which images) -> (chips, batch, classes).
        y: labels of the images used.
        schedule: epochs and recipe.
        seed: of the order.
        spent: seconds that preparing took.

    Yields:
        `Tuned`, after each epoch.
    """
    recipe, n = schedule.recipe, len(y)
    size = min(recipe.batch_size, n)
    batches = n // size  # a last, smaller batch is left out; another order an epoch lets every image in
    optimiser = recipe.build(list(trained.values()))
    for epoch in range(schedule.epochs):
        began = clock.seconds()
        total = torch.zeros((), device=y.device)
        shuffled = torch.from_numpy(order(seed, epoch, n)).to(y.device)
        for batch in range(batches):
            step = epoch * batches + batch
            take = shuffled[batch * size : (batch + 1) * size]
            outs = logits(step, take)
            labels = y[take].expand(len(outs), -1)
            nll = nn.functional.cross_entropy(outs.flatten(0, 1), labels.flatten(), reduction="none")
            losses = nll.view(labels.shape).mean(1)
            descend(recipe, optimiser, losses, step, schedule.epochs * batches)
            total = total + losses.detach()
        spent += clock.seconds() - began
        yield Tuned(epoch + 1, (total / batches).cpu().numpy(), (epoch + 1) * batches * size, spent)
