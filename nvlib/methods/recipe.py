"""Recipes: how weights are updated and images are varied, and the published ones of each network.

Crop and flip: an image of size S is padded by 4 on each side, cut out again at a random place and mirrored half of the
time. The luck is addressed by (seed, step), so a member of a population sees what it would see alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nvlib import philox, ranges
from nvlib.declarations import RecipeFields
from nvlib.errors import InputError, number, of_kind, unknown, whole
from nvlib.native import layers
from nvlib.native.passes import passes
from nvlib.records import values
from nvlib.steps import backward

OPTIMISERS = ("adam", "sgd")
SCHEDULES = ("cosine", "constant")
AUGMENTATIONS = ("none", "crop-flip")
# Published clipping of weights in training: Joshi et al., Nature Communications 11, 2473 (2020), of ResNet-32 for PCM;
# aihwkit's `WeightClipType.LAYER_GAUSSIAN` at its default, as in Rasch et al., Nature Communications 14, 5282 (2023)
CLIPS = {"joshi2020": "deviations:2", "aihwkit": "deviations:2.5"}
PAD = 4  # pixels on each side before a crop


@dataclass(frozen=True)
class Recipe(RecipeFields):
    """How weights are updated: optimiser, learning rate and its schedule over all steps, images a batch.

    Its fields are those of `nvlib.declarations.RecipeFields`. ``augment`` varies the training images: ``none``, or
    ``crop-flip`` for colour images. ``clip`` cuts the weights on arrays after each update, each tensor to its range
    then: ``none``, a text of `nvlib.ranges` such as ``deviations:2.5``, or a name of `CLIPS`.

    Example:
        >>> import nvlib
        >>> nvlib.Recipe(lr=1e-2, batch_size=32).lr
        0.01
    """

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        if self.optimiser not in OPTIMISERS:
            raise unknown("optimiser", self.optimiser, OPTIMISERS)
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if self.augment not in AUGMENTATIONS:
            raise unknown("augmentation", self.augment, AUGMENTATIONS)
        if self.clip != "none":
            object.__setattr__(self, "clip", str(ranges.get(CLIPS.get(self.clip, self.clip))))
        number("lr", self.lr, above=True)
        whole("batch_size", self.batch_size, 1)
        number("momentum", self.momentum, 0, 1)
        number("weight_decay", self.weight_decay)

    @classmethod
    def of(cls, value: Recipe | Mapping[str, Any] | None) -> Recipe:
        """Return a recipe, one of plain values, or the usual one for None.

        Raises:
            InputError: for an unknown key, or a value of a wrong kind.
        """
        if value is None or isinstance(value, Recipe):
            return value or cls()
        if not isinstance(value, Mapping):
            raise InputError(f"recipe={value!r} is not usable; expected nvlib.Recipe(...), or a table such as "
                             "lr = 1e-3")  # fmt: skip
        known, held = asdict(cls()), {}
        for name, item in value.items():
            if name not in known:
                raise unknown("key of a recipe", name, known)
            held[name] = of_kind(f"recipe.{name}", item, type(known[name]))
        return cls(**held)

    def build(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """Return the optimiser of stacked parameters (element-wise, so a member is as alone)."""
        # fused: one pass over all state; it rounds a vector's last elements otherwise, so not in float64, where members
        # of a population are compared with the same alone
        fused = all(p.dtype == torch.float32 for p in parameters)
        if self.optimiser == "adam":
            return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=fused)
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay,
                               fused=fused)  # fmt: skip

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step."""
        return self.lr * (0.5 * (1 + math.cos(math.pi * step / steps)) if self.schedule == "cosine" else 1.0)

    def images(self, x: Tensor, seeds: Sequence[int], step: int) -> Tensor:
        """Return a batch (members, batch, channels, height, width) as the members see it at a step."""
        return x if self.augment == "none" else crop_and_flip(x, seeds, step)

    @torch.no_grad()
    def clipped(self, weights: Sequence[Tensor]) -> None:
        """Cut stacked weights (members, ...), each tensor of a member to its own range, in place."""
        if self.clip != "none":
            span = ranges.get(self.clip)
            for w in weights:
                r = span.of(w)
                w.copy_(torch.maximum(torch.minimum(w, r), -r))

    def record(self) -> dict[str, Any]:
        """Return what of the recipe goes into a record."""
        return values(self)


@torch.no_grad()
def update(optimiser: torch.optim.Optimizer) -> None:
    """Step an optimiser of `Recipe.build`, and let go of the gradients.

    Adam's fused kernel is called by itself where its state stands: the same numbers to the bit, without what
    `Adam.step` does around it, which is most of its time for a small network.
    """
    (group,) = optimiser.param_groups
    trained = [p for p in group["params"] if p.grad is not None]
    states = [optimiser.state.get(p, {}) for p in trained]
    if isinstance(optimiser, torch.optim.Adam) and group["fused"] and trained and all(states):
        means, squares, steps = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step"))
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            trained, [p.grad for p in trained], means, squares, [], steps, lr=group["lr"], beta1=group["betas"][0],
            beta2=group["betas"][1], weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False,
            maximize=False,
        )  # fmt: skip
    else:
        optimiser.step()
    for parameter in group["params"]:
        parameter.grad = None


def descend(
    recipe: Recipe, optimiser: torch.optim.Optimizer, losses: Tensor, step: int, steps: int,
    between: Callable[[], None] | None = None,
) -> None:  # fmt: skip
    """Take one step: gradients of losses, at the rate that the schedule has there, and let go of them.

    Args:
        recipe: whose schedule.
        optimiser: of `Recipe.build`.
        losses: one a member, (members,).
        step: which, from 0.
        steps: of the whole training.
        between: called when the gradients are there, before the update.

    Raises:
        InputError: where no weight has a gradient.
    """
    for group in optimiser.param_groups:
        group["lr"] = recipe.rate(step, steps)
    backward(losses)  # w <- w - alpha d loss / d(w + dw), on the clean weights
    if between is not None:
        between()
    update(optimiser)


# NFT's authors' published ones (VGG-8 for 200 epochs); for the LeNets the papers say "best practice", taken as Adam's.
RECIPES: Mapping[str, Recipe] = {
    "lenet": Recipe(),
    "lenet5": Recipe(),
    "lenet3": Recipe(),
    "vgg8": Recipe("adam", lr=1e-3, schedule="cosine", batch_size=128),
    "vgg8_tsb": Recipe("adam", lr=1e-3, schedule="cosine", batch_size=128),
    # schedule and batch size are assumed: VGG-8's
    "resnet18": Recipe("sgd", lr=1e-2, schedule="cosine", batch_size=128, momentum=0.9, weight_decay=5e-4),
}


def preset(network: str, channels: int = 1) -> Recipe:
    """Return a network's published recipe; images of three channels are cropped and flipped, as there.

    Raises:
        InputError: for an unknown network.
    """
    if network not in RECIPES:
        raise unknown("network with a recipe", network, RECIPES)
    recipe = RECIPES[network]
    return Recipe(**asdict(recipe) | {"augment": "crop-flip"}) if channels == 3 else recipe


def crop_and_flip(x: Tensor, seeds: Sequence[int], step: int) -> Tensor:
    """Crop each image at random from its zero-padded self, and mirror half of them.

    Zero is the mean colour where images are standardised. A member's luck depends on its seed and the step only.

    Args:
        x: images (members, batch, channels, height, width).
        seeds: one a member.
        step: of the training.
    """
    count, batch, channels, height, width = x.shape
    u = philox.uniform(seeds, step, "train/augment", 3 * batch, x.device).view(count * batch, 3)
    corner = (u[:, :2] * (2 * PAD + 1)).long()
    if x.device.type == "cpu" and x.dtype == torch.float32 and layers.available():
        top, left = corner.t().contiguous()
        made = passes().crop(x.flatten(0, 1).contiguous(), top, left, u[:, 2] < 0.5, PAD)
        return made.unflatten(0, (count, batch))
    rows = corner[:, :1] + torch.arange(height, device=x.device)
    columns = torch.arange(width, device=x.device).expand(count * batch, width)
    columns = corner[:, 1:] + torch.where(u[:, 2:] < 0.5, columns.flip(1), columns)
    padded = nn.functional.pad(x.flatten(0, 1), (PAD,) * 4)
    image = torch.arange(count * batch, device=x.device)[:, None, None, None]
    channel = torch.arange(channels, device=x.device)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]].view(x.shape)
