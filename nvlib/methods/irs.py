"""Intermediate representation snapshots: what a network's blocks hold, classified, subtracted (NFT Algorithm 2).

    O_total = a_b O_backbone - a_f beta sum_n gamma_n Out_n,   a_b = a_f = 1 / (N + 1),   gamma_n = 10^(1 - n)
    loss = CrossEntropy(O_total, y),   w <- w - alpha d loss / dw   for backbone and classifiers

Out_n is a small classifier on what the n-th layer of ``layers`` puts out: average pool, two fully connected layers.
The classifiers stray as the backbone does, are trained with it, and are removed: the result is the bare backbone.
Source: Qin et al., "Negative Feedback Training", Algorithm 2, Eqs. 1-3, Sec. 3.3.

Symbols
    layers    modules, by name, whose outputs are classified; None: the end of each kind of convolution block
    n         N, how many of them, from the input on; None: all but the last (VGG-8: 3, ResNet-18: 4, LeNet: 1)
    beta      coefficient of the negative feedback; several values: a search on validation data (NFT 4.2)
    reverse   gamma_n = 10^(n - N), so that the deepest counts most (an ablation)
    noisy     whether the classifiers' weights stray (without: an ablation); they are quantised either way
    hidden    units of a classifier's first layer

The pool's output is p x p with p the largest for which channels * p^2 <= 2304, and no larger than the map itself: 6,
4, 3 for VGG-8, 6, 6, 4, 3 (and 2) for ResNet-18 give the 2048 to 2304 features of the authors' code. LeNet's first
block has 6 channels of 14 x 14, taken whole: 1176 features.

Deviations from the paper: with ``n`` below the number of blocks the first ones are taken (the paper does not say
which); between a classifier's two layers stands a ReLU, and it starts as `nn.Linear` does (neither is said);
``beta`` is 1e-2 by default, their value for VGG-8 on MNIST. Weights are quantised, gradients straight through, and
the recipe's optimiser makes the update.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

import torch
from torch import Tensor, nn

from nvlib import models, philox
from nvlib.errors import InputError
from nvlib.methods.search import Searched
from nvlib.modules import switched
from nvlib.noise import Gaussian

if TYPE_CHECKING:
    from nvlib.data import Split
    from nvlib.methods.training_state import Batch, TrainingState

FEATURES = 2304  # at most, after pooling


@dataclass(frozen=True)
class IntermediateSnapshots(Searched):
    """Classifiers of intermediate representations as negative feedback, attached from outside and removed."""

    layers: tuple[str, ...] | None = None
    n: int | None = None
    beta: float | tuple[float, ...] = 1e-2
    reverse: bool = False
    noisy: bool = True
    hidden: int = 512
    search_chips: int = 20
    name: ClassVar[str] = "irs"

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
        if (self.n is not None and self.n < 1) or self.hidden < 1:
            raise InputError(f"n={self.n!r}, hidden={self.hidden!r} are not usable; expected at least 1 of each")

    def begin(self, run: TrainingState, training: Split) -> None:
        """Attach the classifiers, each row's from its seed."""
        names = self.layers or blocks(run.model)[: self.n or -1]
        if self.n is not None and self.n != len(names):
            raise InputError(f"n={self.n} snapshots do not fit the {len(names)} layers {', '.join(names)}")
        run.attached = Snapshots(run.model, names, training.x[:1], self.hidden).to(training.x)
        for name, like in run.attached.classifiers.named_parameters():
            fan_in = cast(nn.Linear, run.attached.classifiers.get_submodule(name.rpartition(".")[0])).in_features
            u = philox.uniform(run.seeds, 0, f"irs/{name}", like.numel(), like.device)
            drawn = ((2 * u - 1) / math.sqrt(fan_in)).to(like.dtype)
            run.extra[name] = drawn.view(-1, *like.shape).requires_grad_()

    def loss(self, run: TrainingState, batch: Batch) -> Tensor:
        """Return the cross-entropy of the combined output, (members,)."""
        weights = {f"backbone.{k}": w for k, w in run.noisy(Gaussian()).items()}  # l. 3
        heads = {f"irs/{name}": w for name, w in run.extra.items()}
        arrays = {name: w for name, w in heads.items() if name.endswith("weight")}
        heads |= run.perturbed(arrays, Gaussian() if self.noisy else None)
        weights |= {k.replace("irs/", "classifiers.", 1): w for k, w in heads.items()}
        outs = run.forward(weights, batch.x, run.attached)  # l. 4, 5: (members, 1 + N, batch, classes)
        n = torch.arange(1, outs.shape[1], dtype=outs.dtype, device=outs.device)
        gamma = 10.0 ** (n - len(n) if self.reverse else 1 - n)
        feedback = torch.einsum("n,mnbc->mbc", gamma, outs[:, 1:])  # l. 6
        beta = self.value("beta", run)[:, None, None]
        total = (outs[:, 0] - beta * feedback) / (len(n) + 1)  # l. 7
        return run.cross_entropy(total, batch.y)  # l. 8; the shared loop does l. 9, 10


class Snapshots(nn.Module):
    """A backbone and classifiers of what some of its layers put out; the backbone itself is not changed.

    Args:
        backbone: any module.
        names: of its layers.
        x: images (1, ...), to learn the layers' shapes from.
        hidden: units of a classifier's first layer.
    """

    def __init__(self, backbone: nn.Module, names: tuple[str, ...], x: Tensor, hidden: int) -> None:
        super().__init__()
        self.backbone, self.names = backbone, names
        known = dict(backbone.named_modules())
        if missing := [name for name in names if name not in known]:
            listed = ", ".join(name for name in known if name)
            raise InputError(f"{type(backbone).__name__} has no layer {missing[0]!r} to take a snapshot of; "
                             f"it has {listed}")  # fmt: skip
        mode = backbone.training
        with torch.no_grad():
            out, taken = self._watched(x, switched(backbone))
        backbone.train(mode)
        self.classifiers = nn.ModuleList(Classifier(t.shape[1:], hidden, out.shape[-1]) for t in taken)

    def forward(self, x: Tensor) -> Tensor:
        """Return (1 + N, batch, classes): the backbone's logits, then the classifiers'."""
        out, taken = self._watched(x, self.backbone)
        return torch.stack([out, *(head(t) for head, t in zip(self.classifiers, taken, strict=True))])

    def _watched(self, x: Tensor, backbone: nn.Module) -> tuple[Tensor, list[Tensor]]:
        """Run the backbone and return its logits and what the layers put out; no hook stays behind."""
        taken: dict[str, Tensor] = {}

        def take(name: str, _: nn.Module, __: object, out: Tensor) -> None:
            taken[name] = out

        hooks = [backbone.get_submodule(name).register_forward_hook(partial(take, name)) for name in self.names]
        try:
            out = backbone(x)
        finally:
            for hook in hooks:
                hook.remove()
        if silent := [name for name in self.names if name not in taken]:
            raise InputError(f"layer {silent[0]} of {type(backbone).__name__} did not run; choose one that does")
        return out, [taken[name] for name in self.names]


class Classifier(nn.Module):
    """Average pool to p x p, and two fully connected layers; (batch, *shape) to (batch, classes)."""

    def __init__(self, shape: torch.Size, hidden: int, classes: int) -> None:
        super().__init__()
        self.pool = None
        features = math.prod(shape)
        if len(shape) == 3:
            self.pool = max(1, min(math.isqrt(FEATURES // shape[0]), *shape[1:]))
            features = shape[0] * self.pool**2
        self.fc1 = nn.Linear(features, hidden)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes)."""
        if self.pool is not None:
            x = nn.functional.adaptive_avg_pool2d(x, self.pool)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


def blocks(model: nn.Module) -> tuple[str, ...]:
    """Return the last layer of each kind of convolution block of a network of `nvlib.models`, from the input on.

    Raises:
        InputError: for a network whose blocks are not known.
    """
    if isinstance(model, models.LeNet | models.LeNet3):
        return ("quant1", "quant2")
    if isinstance(model, models.VGG8):
        wide = [getattr(model, f"conv{i}").out_channels for i in range(1, 7)]
        return tuple(f"quant{i + 1}" for i in range(6) if i == 5 or wide[i] != wide[i + 1])
    if isinstance(model, models.ResNet18):
        return ("quant1", "layer1", "layer2", "layer3", "layer4")
    raise InputError(
        f"irs does not know the blocks of {type(model).__name__}; name the layers to take snapshots of: "
        "layers=('conv1', ...), from model.named_modules()"
    )
