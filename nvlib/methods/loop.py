"""The training loop that all methods share: a population of trainings as one, an epoch at a time.

Member p has its own seed and sigma_d; its initial weights, the order of its images and its noise are functions of its
seed alone, so it trains to the same weights whoever trains beside it. Losses of members are summed, never averaged,
and gradients never clipped by a global norm, so that members do not mix; a member whose loss or weights stop being
finite is recorded as diverged and disturbs no other. Noise and order are addressed by (seed, step), so a checkpoint
needs only weights and optimiser state to go on to the same numbers.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nvlib import models, philox, population
from nvlib.crossbar import array_weights, check, read_back, tables, weight_bits
from nvlib.data import Dataset, Split
from nvlib.devices import Device
from nvlib.errors import InputError, unknown
from nvlib.evaluate import as_split, score
from nvlib.noise import Gaussian

OPTIMISERS = ("adam", "sgd")
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class Recipe:
    """How weights are updated: optimiser, learning rate and its schedule over all steps, images a batch."""

    optimiser: str = "adam"
    lr: float = 1e-3
    schedule: str = "cosine"
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        if self.optimiser not in OPTIMISERS:
            raise unknown("optimiser", self.optimiser, OPTIMISERS)
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise InputError(f"lr={self.lr!r} is not usable; expected a positive number")
        if self.batch_size < 1:
            raise InputError(f"batch_size={self.batch_size!r} is not usable; expected at least 1")

    def build(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """Return the optimiser of stacked parameters (element-wise, so a member is as alone)."""
        if self.optimiser == "adam":
            return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step."""
        return self.lr * (0.5 * (1 + math.cos(math.pi * step / steps)) if self.schedule == "cosine" else 1.0)


@dataclass(frozen=True)
class Batch:
    """Images (members, batch, channels, height, width) and labels (members, batch), each member its own."""

    x: Tensor
    y: Tensor


class Method(Protocol):
    """A training method: a frozen dataclass of parameters with a name and a loss."""

    name: str

    def loss(self, run: Run, batch: Batch) -> Tensor:
        """Return each member's loss, (members,), differentiable in ``run.weights``."""
        ...


@dataclass
class Run:
    """What a method works with: the clean stacked weights, and the ways to stray and to run them."""

    model: nn.Module
    weights: dict[str, Tensor]  # parameters (leaves) and buffers, (members, ...)
    arrays: list[str]
    device: Device
    sigma_d: Tensor  # (members,)
    seeds: list[int]
    bits: int
    reference: str
    mapping: str
    step: int = 0

    def noisy(
        self, law: Gaussian | None, sigma: Tensor | float | None = None, stream: str = "noise"
    ) -> dict[str, Tensor]:
        """Return weights quantised and strayed by the device's deviation times a fresh draw of a law.

        Args:
            law: a noise law (`nvlib.noise`); None: quantised only.
            sigma: sigma_t in place of sigma_d; a number or (members,).
            stream: names the draw; different streams of a step are independent.

        Returns:
            All tensors of the population; those on arrays replaced, with gradients straight through to the clean.
        """
        sigma = self.sigma_d if sigma is None else sigma
        out = dict(self.weights)
        for name in self.arrays:
            w, z = self.weights[name], None
            if law is not None:
                u = philox.uniform(self.seeds, self.step, f"train/{stream}/{name}", w[0].numel(), w.device)
                z = law.quantile(u).to(w.dtype).view_as(w)
            out[name] = read_back(
                w, self.device, sigma, z, bits=self.bits, reference=self.reference, mapping=self.mapping
            )
        return out

    def chip(self, index: int) -> dict[str, Tensor]:
        """Return all members programmed on validation chip ``index``: the same deviations for each."""
        out = dict(self.weights)
        for name in self.arrays:
            w = self.weights[name]
            z = philox.normal(0, index, f"validate/{name}", w[0].numel(), w.device).to(w.dtype).view(1, *w.shape[1:])
            out[name] = read_back(
                w, self.device, self.sigma_d, z, bits=self.bits, reference=self.reference, mapping=self.mapping
            )
        return out

    def forward(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Run the members on their own inputs: (members, batch, classes)."""
        return population.forward(self.model, weights, x, per_member=True)

    @staticmethod
    def cross_entropy(outs: Tensor, y: Tensor) -> Tensor:
        """Return each member's mean cross-entropy, (members,), of (members, batch, classes)."""
        nll = nn.functional.cross_entropy(outs.flatten(0, 1), y.flatten(), reduction="none")
        return nll.view(len(y), -1).mean(1)


@dataclass(frozen=True)
class Epoch:
    """What an epoch left: yielded after its last update, one entry a member.

    Attributes:
        epoch: 1, 2, ...; the last record has ``epoch == epochs``.
        epochs: how many there will be.
        loss: mean training loss in nats, (members,).
        clean: validation accuracy of the quantised weights in percent, (members,).
        noisy: mean validation accuracy over a few chips in percent, (members,).
        diverged: which members' loss or weights stopped being finite, (members,) bool.
        seconds: duration of training this epoch, without validation.
        state: weights and optimiser state by name: what `train` needs to go on.
    """

    epoch: int
    epochs: int
    loss: np.ndarray
    clean: np.ndarray
    noisy: np.ndarray
    diverged: np.ndarray
    seconds: float
    state: dict[str, Tensor] = field(repr=False)
    template: nn.Module = field(repr=False)

    def weights(self, member: int = 0) -> dict[str, Tensor]:
        """Return a member's clean parameters and buffers by name."""
        prefix = "weights/"
        return {k.removeprefix(prefix): v[member] for k, v in self.state.items() if k.startswith(prefix)}

    def model(self, member: int = 0) -> nn.Module:
        """Return a member as a module of its own, in evaluation mode."""
        module = copy.deepcopy(self.template)
        module.load_state_dict(self.weights(member), strict=True)
        return module.eval()


def order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the order in which a member of this seed sees n images in an epoch; a function of its arguments only."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64))).permutation(n)


def train(
    method: Method | str,
    model: str | nn.Module | Callable[[int], nn.Module],
    data: Dataset,
    device: str | Device = "rram",
    sigma_d: float | Sequence[float] | None = 0.1,
    *,
    seed: int | Sequence[int] = 0,
    epochs: int = 10,
    recipe: Recipe | None = None,
    bits: int | None = None,
    reference: str = "full_scale",
    mapping: str = "differential",
    validation_chips: int = 4,
    on: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    resume: Mapping[str, Tensor] | None = None,
) -> Iterator[Epoch]:
    """Train a population by a method; yields a record after each epoch, whose last holds the models.

    Nothing is selected on test data, nor on validation data: the last epoch's weights are the result.

    Args:
        method: a name of `METHODS`, or a method with its parameters.
        model: a network's name, a function seed -> module, or a module (its weights are where all members start).
        data: train and validation splits are used.
        device: a device's name, record or path.
        sigma_d: size of the variation; several make a population (one a member).
        seed: of initial weights, order and noise; several make a population. Lengths of sigma_d and seed must agree.
        epochs: how many passes over the training images.
        recipe: optimiser and schedule.
        bits: M; None takes what the model was built for.
        reference: ``full_scale`` or ``level``.
        mapping: ``differential`` or ``signed``.
        validation_chips: chips of the noisy validation accuracy after each epoch.
        on: where to compute, ``cpu`` or ``cuda``.
        dtype: of weights and images.
        resume: an earlier record's ``state``; training goes on after its epoch to the same numbers.

    Yields:
        `Epoch` records.

    Raises:
        InputError: for values that cannot be used; raised at the call, not at the first epoch.
    """
    from nvlib.methods import get

    method, recipe = get(method), recipe or Recipe()
    if epochs < 1:
        raise InputError(f"epochs={epochs!r} is not usable; expected at least 1")
    sigmas = list(sigma_d) if isinstance(sigma_d, Sequence) else [sigma_d]
    seeds = list(seed) if isinstance(seed, Sequence) else [seed]
    count = max(len(sigmas), len(seeds))
    if {len(sigmas), len(seeds)} - {1, count} or not (sigmas and seeds):
        raise InputError(f"{len(sigmas)} values of sigma_d and {len(seeds)} seeds do not pair; expected equal lengths")
    sigmas, seeds = sigmas * (count // len(sigmas)), [philox.check_seed(s) for s in seeds * (count // len(seeds))]
    checked = [check(device, s, reference) for s in sigmas]
    fresh = models_of(model, seeds)
    template = fresh[0]
    bits = weight_bits(template, bits)
    tables(checked[0][0], bits, reference, mapping)
    for part in ("train", "validation"):
        as_split(data, part)

    weights = {k: v.to(on, dtype if v.is_floating_point() else v.dtype) for k, v in population.stack(fresh).items()}
    parameters = [weights[name].requires_grad_() for name, _ in template.named_parameters()]
    run = Run(
        model=template.to(on, dtype),
        weights=weights,
        arrays=array_weights(template),
        device=checked[0][0],
        sigma_d=torch.tensor([s for _, s in checked], dtype=dtype, device=on),
        seeds=seeds,
        bits=bits,
        reference=reference,
        mapping=mapping,
    )
    splits = [Split(s.x.to(on, dtype), s.y.to(on)) for s in (data.train, data.validation)]
    return _epochs(method, run, *splits, recipe, recipe.build(parameters), epochs, validation_chips, resume)


def models_of(model: str | nn.Module | Callable[[int], nn.Module], seeds: list[int]) -> list[nn.Module]:
    """Return a module a seed: built by name or by function; a module itself is where all of them start."""
    if isinstance(model, nn.Module):
        return [copy.deepcopy(model) for _ in seeds]
    if isinstance(model, str):
        return [models.build(model, seed=s) for s in seeds]
    return [model(s) for s in seeds]


def _epochs(
    method: Method,
    run: Run,
    training: Split,
    validation: Split,
    recipe: Recipe,
    optimiser: torch.optim.Optimizer,
    epochs: int,
    validation_chips: int,
    resume: Mapping[str, Tensor] | None,
) -> Iterator[Epoch]:
    n, size = len(training.y), min(recipe.batch_size, len(training.y))
    batches = n // size  # a last, smaller batch is left out; another order an epoch lets every image in
    names = [name for name, _ in run.model.named_parameters()]
    done = _restore(resume, run, optimiser, names) if resume is not None else 0
    diverged = np.zeros(len(run.seeds), dtype=bool)
    for epoch in range(done, epochs):
        began, total = time.perf_counter(), torch.zeros(len(run.seeds), device=training.x.device)
        orders = torch.from_numpy(np.stack([order(s, epoch, n) for s in run.seeds])).to(training.x.device)
        run.model.train()
        for b in range(batches):
            run.step = epoch * batches + b
            take = orders[:, b * size : (b + 1) * size]
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(run.step, epochs * batches)
            optimiser.zero_grad(set_to_none=True)
            losses = method.loss(run, Batch(training.x[take], training.y[take]))
            losses.sum().backward()  # w <- w - alpha d loss / d(w + dw), on the clean weights
            optimiser.step()
            total += losses.detach()
        seconds = time.perf_counter() - began
        finite = torch.stack([torch.isfinite(run.weights[k].detach()).flatten(1).all(1) for k in names]).all(0)
        diverged = diverged | ~(finite & torch.isfinite(total)).cpu().numpy()
        clean, noisy = _validate(run, validation, validation_chips)
        yield Epoch(
            epoch + 1, epochs, (total / batches).cpu().numpy(), clean, noisy, diverged, seconds,
            _state(run, optimiser, names, epoch + 1), run.model,
        )


def _validate(run: Run, validation: Split, chips: int) -> tuple[np.ndarray, np.ndarray]:
    """Score the members on validation data: quantised, and the mean over a few chips of the target device."""
    with torch.no_grad():
        images = population.plan(run.model, validation.x, len(run.seeds)).images
        clean = score(run.model, run.noisy(None), validation, images)[0]
        chips = chips if (run.sigma_d > 0).any() else 0
        noisy = [score(run.model, run.chip(i), validation, images)[0] for i in range(chips)]
    return clean.numpy(), (torch.stack(noisy).mean(0) if noisy else clean).numpy()


def _state(run: Run, optimiser: torch.optim.Optimizer, names: list[str], epoch: int) -> dict[str, Tensor]:
    """Flatten weights and optimiser state to named tensors (copies)."""
    state = {f"weights/{k}": v.detach().clone() for k, v in run.weights.items()}
    for name in names:
        for key, value in optimiser.state[run.weights[name]].items():
            if isinstance(value, Tensor):
                state[f"optimiser/{key}/{name}"] = value.detach().clone()
    return state | {"epoch": torch.tensor(epoch)}


def _restore(
    state: Mapping[str, Tensor], run: Run, optimiser: torch.optim.Optimizer, names: list[str]
) -> int:
    """Put a flattened state back; returns how many epochs it has behind it."""
    with torch.no_grad():
        for name, tensor in run.weights.items():
            saved = state.get(f"weights/{name}")
            if saved is None or saved.shape != tensor.shape:
                raise InputError(f"the checkpoint does not hold {name} as this population has it; start afresh")
            tensor.copy_(saved)
    for key, value in state.items():
        if key.startswith("optimiser/"):
            _, slot, name = key.split("/", 2)
            optimiser.state[run.weights[name]][slot] = value.clone()
    return int(state["epoch"])
