"""Retraining the last layer, or the last layers, of a programmed chip, on the frozen noise of all the others.

Once a chip is programmed and read, the errors of its weights are known. The layers named are trained again on features
that carry the other layers' errors, starting from the clean weights; then they are written again:

    injection   with noise of their own in training, drawn anew for each batch; written anew, with fresh deviations
    on_chip     their deviations stay those of the chip, are known, and are trained around (nothing is redrawn)

Source: Yao et al., "Fully hardware-implemented memristor convolutional neural network", Nature 577, 2020; as baselines
in Qin et al., TSB, Sec. 4.4 (2) and (3), "using either noise-injection training or on-chip training". Its lists:
LeNet-3: the last fully connected layer and the last convolution; VGG-8: the last two fully connected layers; ResNet-18:
the last fully connected layer and the last basic block.

Deviations from the papers: TSB says neither which of the two ways its figures show nor whether what is written again is
verified: by default injection, without. Digital parameters of the layers (biases, normalisation) are trained with them;
normalisation's statistics stay frozen everywhere. ``on_chip`` is the hopeful limit of on-chip training: a real write
strays each time. The features before the first retrained layer are computed once for each chip and kept
(`nvlib.deploy.feature_cache`), so images are not augmented.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from nvlib import clock, functional, models, modules, philox, population
from nvlib.crossbar import read_back
from nvlib.deploy import feature_cache
from nvlib.deploy.block import known
from nvlib.deploy.context import Context, Outcome, Stage, Trained, finish
from nvlib.deploy.finetune import Schedule, tune
from nvlib.deploy.verify_model import Verification, check_verification
from nvlib.errors import InputError, unknown, whole
from nvlib.methods.recipe import Recipe

MODES = ("injection", "on_chip")


@dataclass(frozen=True)
class _Retraining(Trained):
    """What both methods share.

    Attributes:
        layers: names of the layers (all parameters beneath each); None: those of the network.
        mode: ``injection`` or ``on_chip``.
        sigma: what verified cells are left with, where the layers are verified when written again; None: they are not.
        epochs: passes over the images.
        images: of the training split; None: all.
        lr, batch_size, schedule, optimiser: of the recipe.
        redraws: how often the layers are written for the scores, which are means over them.
    """

    layers: tuple[str, ...] | None = None
    mode: str = "injection"
    sigma: float | None = None
    epochs: int = 10
    images: int | None = 10_000
    lr: float = 1e-3
    batch_size: int = 128
    schedule: str = "cosine"
    optimiser: str = "adam"
    redraws: int = 5

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
        if self.mode not in MODES:
            raise unknown("mode of retraining", self.mode, MODES)
        check_verification(self.sigma, None, 1)
        check_redraws(self.redraws)
        if self.mode == "on_chip" and self.sigma is not None:
            raise InputError("sigma has no meaning on_chip, where deviations stay the chip's; leave it out")
        self.training()

    def training(self) -> Schedule:
        """Return how much is trained, and by which recipe."""
        recipe = Recipe(self.optimiser, self.lr, self.schedule, self.batch_size)
        return Schedule(self.epochs, self.images, recipe)

    def named(self, model: nn.Module, x: Tensor) -> tuple[str, ...]:
        """Return the layers to train again, ``x`` being some images; InputError where they are not known."""
        raise NotImplementedError

    def chips_at_once(self, context: Context) -> int:
        """Return how many chips' features fit in memory."""
        cut = self._cut(context)
        return feature_cache.room(cut, self.training().count(len(context.train.y)), context.train.x)

    def _names(self, context: Context) -> list[str]:
        model, x = context.model, context.train.x[:2]
        layers = self.layers or self.named(model, x)
        known(model, layers)
        beneath, first = tuple(f"{layer}." for layer in layers), modules.aliases(model)
        every = model.named_parameters(remove_duplicate=False)  # a tied tensor is trained by its first name
        names = list(dict.fromkeys(first[name] for name, _ in every if name.startswith(beneath)))
        if not names:
            raise InputError(f"layers {', '.join(layers)} have no parameters; name layers that can be trained")
        return names

    def _cut(self, context: Context) -> feature_cache.Cut:
        return feature_cache.cut(context.model, context.train.x, self._names(context))

    def stages(self, context: Context, index: range, chips: Mapping[str, Tensor]) -> Iterator[Stage]:
        """Train a block of chips; yields after each epoch."""
        schedule, names = self.training(), self._names(context)
        n, parameters = schedule.count(len(context.train.y)), dict(context.model.named_parameters())
        began = clock.seconds()
        cut = self._cut(context)
        x, shared = cut.border(chips, context.train.x[:n]), cut.shared(chips)
        prepared = clock.seconds() - began
        trained = {name: parameters[name].detach().expand(len(index), *parameters[name].shape).clone().requires_grad_()
                   for name in names}  # fmt: skip
        arrays = [name for name in names if name in context.arrays]
        rest = feature_cache.known(cut.tail, {name: w for name, w in chips.items() if name not in names})

        address = modules.address(context.model)

        def perturbed(stream: str) -> dict[str, Tensor]:
            held = dict(trained)
            for name in arrays:
                w, sigma = trained[name], context.sigma_d if self.sigma is None else min(self.sigma, context.sigma_d)
                here = f"program/{address(name)}" if self.mode == "on_chip" else f"retrain/{stream}/{address(name)}"
                z = philox.normal(context.seed, index, here, w[0].numel(), w.device).to(w.dtype).view_as(w)
                held[name] = read_back(w, context.crossbar, z, sigma)
            return held

        def logits(step: int, take: Tensor) -> Tensor:
            weights = rest | perturbed(f"train/{step}")
            return population.forward(cut.tail, weights, x[take] if shared else x[:, take], per_member=not shared)

        @torch.no_grad()
        def held(draw: int) -> tuple[nn.Module, dict[str, Tensor]]:
            return context.model, dict(chips) | {k: w.detach() for k, w in perturbed(f"write/{draw}").items()}

        for tuned in tune(trained, logits, context.train.y[:n], schedule, context.seed, prepared):
            yield Stage(tuned, held, {name: trained[name].detach() for name in arrays})

    @property
    def sets(self) -> int:
        """Return how many weight sets are scored for a chip."""
        return 1 + self.redraws

    def left(self, context: Context, index: range, chips: Mapping[str, Tensor]) -> Outcome:
        """Train, write and score a block of chips."""
        *_, last = self.stages(context, index, chips)
        draws = 1 if self.mode == "on_chip" or context.sigma_d == 0 else self.redraws
        written = context.count(sum(w[0].numel() for w in last.arrays.values()))
        verified, pulses = 0, np.full(len(index), float(context.cells + written))
        if self.sigma is not None:
            how = Verification.of(context.crossbar, sigma=self.sigma, process=False)
            verified, pulses = written, context.cells + how.written(context, last.arrays)
        return finish(context, last, draws, verified=verified, pulses=pulses)


@dataclass(frozen=True)
class LastLayer(_Retraining):
    """Retrain the last layer: `_Retraining`'s parameters; ``layers=None``: the last matrix on arrays that runs."""

    name: ClassVar[str] = "last_layer"

    def named(self, model: nn.Module, x: Tensor) -> tuple[str, ...]:
        """Return the layer with weights on arrays that runs last; by the order of names where none runs by itself.

        A module that holds a matrix of its own (`array_weights`) beside such layers ends after them, wherever it uses
        it: it is no layer.
        """
        from nvlib.crossbar import array_weights

        arrays, held, ran = array_weights(model, warn=False), modules.slots(model), []
        owners = [slot.rpartition(".")[0] for name in arrays for slot in held[name]]
        layers = [owner for owner in owners if owner and (
            isinstance(model.get_submodule(owner), nn.MultiheadAttention)  # whose last part does not run by itself
            or not any(other != owner and other.startswith(f"{owner}.") for other in owners))]  # fmt: skip
        if not layers:
            name = type(model).__name__
            raise InputError(f"last_layer finds no layer in {name}: its matrices are its own parameters; expected "
                             f"layers of torch.nn within it (nn.Sequential(model) for {name} itself)")  # fmt: skip

        def note(owner: str, *_: object) -> None:
            ran.append(owner)

        hooks = [model.get_submodule(owner).register_forward_hook(partial(note, owner))
                 for owner in dict.fromkeys(layers)]  # fmt: skip
        try:
            with torch.no_grad():
                functional.call(model, {}, x.clone())
        finally:
            for hook in hooks:
                hook.remove()
        return ((ran or layers)[-1],)


@dataclass(frozen=True)
class LastLayers(_Retraining):
    """Retrain the last layers: `_Retraining`'s parameters; ``layers=None``: those that TSB 4.4 lists."""

    name: ClassVar[str] = "last_layers"

    def named(self, model: nn.Module, x: Tensor) -> tuple[str, ...]:
        """Return TSB's list (LeNet: as LeNet-3)."""
        if isinstance(model, models.LeNet3):
            return ("conv2", "fc1")
        if isinstance(model, models.LeNet):
            return ("conv2", "fc3")
        if isinstance(model, models.VGG8):
            return ("fc1", "fc2")
        if isinstance(model, models.ResNet18):
            return ("layer4.1", "fc1")
        raise InputError(
            f"last_layers does not know which layers of {type(model).__name__} to train again; name them: "
            "layers=('fc1', 'fc2', ...), from model.named_modules()"
        )


def check_redraws(redraws: int) -> None:
    """Raise InputError unless there is at least one draw."""
    whole("redraws", redraws, 1)
