"""What a method works with: a population of clean weights in rows, and the ways to stray, run, score and copy them.

A training is one row, or several where a method trains candidates (TRICE's three, a search's four): rows of one
training share its seed and so its initial weights, the order of its images and the luck of its noise, and differ in
what the method makes of them. ``owner`` says whose training a row is, ``result`` which row is a training's result.
Noise is addressed by (seed, step), so a checkpoint needs weights, optimiser state and the method's few numbers only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nvlib import functional, modules, philox, population
from nvlib.cells import Chips
from nvlib.crossbar import Crossbar, lookup, read_back
from nvlib.data import Split
from nvlib.errors import InputError, unknown
from nvlib.evaluate import score
from nvlib.native import layers
from nvlib.native.entropy import cross_entropy
from nvlib.native.perturb import Draw, perturb
from nvlib.noise import Law
from nvlib.precision import PRECISIONS
from nvlib.ranges import Max
from nvlib.steps import stepper

SPACES = ("weight", "conductance")


@dataclass(frozen=True)
class Batch:
    """Images (members, batch, channels, height, width) and labels (members, batch), each member its own."""

    x: Tensor
    y: Tensor


@dataclass
class TrainingState:
    """The clean stacked weights of all rows (here also: members), and what is done with them.

    ``extra`` holds parameters that a method trains beside the network's and that are no part of the result;
    ``memory`` numbers of a method, kept in checkpoints.
    """

    model: nn.Module
    weights: dict[str, Tensor]  # parameters (leaves) and buffers, (members, ...)
    arrays: list[str]
    crossbar: Crossbar  # with its bits; sigma_d is the members'
    sigma_d: Tensor  # (members,), in the dtype of the weights
    sigmas: list[float]  # the same, as given
    seeds: list[int]
    owner: list[int]
    result: list[int]
    diverged: Tensor  # (members,) bool
    candidates: int = 1  # rows a training began with
    way: str = "loop"  # how members are run: `population.forward`'s way; ``native`` also draws in compiled code
    extra: dict[str, Tensor] = field(default_factory=dict)
    precision: str = "float32"  # of the forwards and backwards
    compiled: bool = False  # whether a loop takes BatchNorm, ReLU, pooling and noise from compiled code
    resting: tuple[str, ...] = ()  # parts of the model that stay in evaluation mode in training
    attached: nn.Module | None = None  # what a method runs in training in place of the bare model
    memory: dict[str, Tensor] = field(default_factory=dict)
    address: Callable[[str], str] = str  # from a tensor's name to what its noise is addressed by
    hooks: dict[str, list[list[Callable[[Tensor], Tensor | None]]]] = field(default_factory=dict)  # a training's own
    of: Tensor | None = None  # digests of what a training is of (`nvlib.methods.resumption`)
    optimiser: torch.optim.Optimizer | None = None
    step: int = 0
    passes: tuple[int, int] = (-1, 0)  # the step, and how many forward passes it has had
    epoch: int = 0  # from 0
    loss: Tensor | None = None  # summed over the epoch, (members,)
    steppers: dict[Hashable, Callable[..., Tensor]] = field(default_factory=dict, repr=False)

    @property
    def updater(self) -> torch.optim.Optimizer:
        """Return the optimiser, which a training has from its first step on."""
        if self.optimiser is None:
            raise RuntimeError("the training has not begun: it has no optimiser")
        return self.optimiser

    # -- straying ----------------------------------------------------------------------------------------------------

    def noisy(
        self,
        law: Law | None,
        sigma: Tensor | float | None = None,
        stream: str = "noise",
        *,
        space: str = "weight",
    ) -> dict[str, Tensor]:
        """Return weights quantised and strayed by the device's deviation times a fresh draw of a law.

        Args:
            law: a noise law (`nvlib.noise`); None: quantised only.
            sigma: sigma_t in place of sigma_d; a number or (members,).
            stream: names the draw; different streams of a step are independent.
            space: ``weight``: the law is added to w whatever its sign; ``conductance``: to |w|, so that a law's right
                is where conductance grows.

        Returns:
            All tensors of the population; those on arrays replaced, with gradients straight through to the clean.
        """
        clean = {name: self.clean(name) for name in self.arrays}
        return self.weights | self.perturbed(clean, law, sigma, stream, space)

    def clean(self, name: str, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return a stacked tensor on arrays without noise; a parametrised one made from what is trained."""
        weights = self.weights if weights is None else weights
        return weights[name] if name in weights else modules.effective(self.model, name, weights)

    def perturbed(
        self,
        clean: Mapping[str, Tensor],
        law: Law | None,
        sigma: Tensor | float | None = None,
        stream: str = "noise",
        space: str = "weight",
    ) -> dict[str, Tensor]:
        """Return stacked tensors, by name, as `noisy` has them; also of weights that are not the network's own."""
        if space not in SPACES:
            raise unknown("space of the noise", space, SPACES)
        whole = self.crossbar.range == Max() and not self.crossbar.effects  # what the compiled pass knows
        fast = (self.way == "native" or self.compiled) and whole
        if fast and (law is None or hasattr(law, "transform")):
            held = self._compiled(clean, law, sigma, stream, space)
            return dict(zip(clean, _StraightThrough.apply(held, *clean.values()), strict=True)) if clean else {}
        return {name: self._perturb(name, w, law, sigma, stream, space) for name, w in clean.items()}

    def _perturb(
        self, name: str, w: Tensor, law: Law | None, sigma: Tensor | float | None, stream: str, space: str
    ) -> Tensor:
        """Return one stacked tensor strayed by PyTorch's operations."""
        z, here = None, f"train/{stream}/{self.address(name)}"
        if law is not None:
            u = philox.uniform(self.seeds, self.step, here, w[0].numel(), w.device)
            z = law.quantile(u).to(w.dtype).view_as(w)
            z = torch.where(w.detach() < 0, -z, z) if space == "conductance" else z
        sigma = self.sigma_d if sigma is None else sigma
        held = self._read(w, sigma, z)
        return held if z is None else self._aged(held, w, z, sigma, self.seeds, self.step, here)

    def _aged(
        self, held: Tensor, w: Tensor, z: Tensor, sigma: Tensor | float, seed: int | list[int], index: int | range,
        name: str,
    ) -> Tensor:  # fmt: skip
        """Return programmed weights as the crossbar's effects leave them, with the same gradients."""
        if not self.crossbar.effects:
            return held
        with torch.no_grad():
            cells = Chips(held, w, self.crossbar, z, seed=seed, index=index, name=name, sigma_d=sigma, once=True)
            moved = cells.weights() - held
        return held + moved

    def _compiled(
        self, clean: Mapping[str, Tensor], law: Law | None, sigma: Tensor | float | None, stream: str, space: str
    ) -> list[Tensor]:
        """Return what straying does to the values, by compiled code."""
        sigma = self.sigma_d if sigma is None else torch.as_tensor(sigma)
        sizes = sigma.expand(len(self.sigma_d)).tolist()
        held = []
        for name, w in clean.items():
            address = f"train/{stream}/{self.address(name)}"
            draw = None if law is None else Draw(self.seeds, self.step, address, law.transform, space == "conductance")
            tables = lookup(self.crossbar, w.dtype, w.device)
            held.append(perturb(w.detach().contiguous(), self.crossbar.weight_bits, *tables, sizes, draw))
        return held

    def chip(self, index: int) -> dict[str, Tensor]:
        """Return all members programmed on validation chip ``index``: the same deviations for each."""
        out = dict(self.weights)
        for name in self.arrays:
            w, here = self.clean(name), f"validate/{self.address(name)}"
            z = philox.normal(0, index, here, w[0].numel(), w.device).to(w.dtype).view(1, *w.shape[1:])
            held = self._read(w, self.sigma_d, z)
            out[name] = self._aged(held, w, z, self.sigma_d, [0] * len(held), index, here)
        return out

    def _read(self, w: Tensor, sigma: Tensor | float, z: Tensor | None) -> Tensor:
        return read_back(w, self.crossbar, z, sigma)

    # -- running -----------------------------------------------------------------------------------------------------

    def forward(self, weights: Mapping[str, Tensor], x: Tensor, model: nn.Module | None = None) -> Tensor:
        """Run the members on their own inputs in the run's precision: (members, batch, classes)."""
        module = self.model if model is None else model
        key = id(module), len(x), tuple(x.shape[1:]), torch.is_grad_enabled()
        if key not in self.steppers:
            self.steppers[key] = stepper(module, weights, x, self.way, self.precision)
        if self.way == "native":  # draws nothing
            return self.steppers[key](weights, x)
        with layers.allowed(self.compiled):
            return self.steppers[key](weights, x, seeds=self._drawing(len(x)))

    def _drawing(self, count: int) -> list[int]:
        """Return the seeds of what rows draw in a forward pass (dropout): by a row's seed, step, pass, weight set."""
        self.passes = (self.step, self.passes[1] + 1 if self.passes[0] == self.step else 0)
        rows = (f"{self.seeds[row % len(self.seeds)]}/{row // len(self.seeds)}" for row in range(count))
        address = f"train/dropout/{self.step}/{self.passes[1]}"
        digests = (hashlib.blake2b(f"{address}/{row}".encode(), digest_size=8).digest() for row in rows)
        return [int.from_bytes(digest) for digest in digests]

    def forwards(self, several: Sequence[Mapping[str, Tensor]], x: Tensor) -> Tensor:
        """Run several weight sets of each member as one population: (sets, members, batch, classes).

        Buffers that change (BatchNorm's statistics) follow the first set, as if it had run alone.
        """
        sets, count = len(several), len(x)
        stacked = {name: torch.cat([weights[name] for weights in several]) for name in several[0]}
        outs = self.forward(stacked, x.repeat(sets, *[1] * (x.ndim - 1)))
        with torch.no_grad():
            for name, _ in self.model.named_buffers():
                self.weights[name].copy_(stacked[name][:count])
        return outs.unflatten(0, (sets, count))

    def cross_entropy(self, outs: Tensor, y: Tensor) -> Tensor:
        """Return each member's mean cross-entropy, (members,), of (members, batch, classes)."""
        if outs.ndim != 3 or outs.shape[:2] != y.shape:
            raise InputError(f"{type(self.model).__name__} gives outputs of shape {tuple(outs.shape[1:])} in training "
                             f"for {y.shape[1]} images; expected logits ({y.shape[1]}, classes)")  # fmt: skip
        if self.way == "native" and outs.dtype == torch.float32 and outs.ndim == 3:
            return _CrossEntropy.apply(outs, y)
        nll = nn.functional.cross_entropy(outs.flatten(0, 1), y.flatten(), reduction="none")
        return nll.view(len(y), -1).mean(1)

    @torch.no_grad()
    def accuracies(self, data: Split, chips: range, rows: Sequence[int] | None = None) -> np.ndarray:
        """Score rows (None: all) on many chips of the target device: accuracy in percent, (rows, chips).

        Rows of one training meet the same chips, so that candidates are compared on the same luck; other trainings
        meet others. How they are run is chosen once and kept in ``memory``.
        """
        rows = range(len(self.seeds)) if rows is None else rows
        if "plan" not in self.memory:
            plan = population.plan(self.model, data.x, len(rows) * len(chips), precision=self.precision)
            self.memory["plan"] = torch.tensor([plan.members, plan.images, population.WAYS.index(plan.how)])
        at_once, images, how = self.memory["plan"].tolist()
        found = np.empty((len(rows), len(chips)))
        for seed in dict.fromkeys(self.seeds[row] for row in rows):
            alike = [i for i, row in enumerate(rows) if self.seeds[row] == seed]
            for start in range(0, len(chips), at_once):
                part = chips[start : start + at_once]
                with functional.evaluating(self.model):
                    z = {name: self._deviates(seed, part, name) for name in self.arrays}
                for i in alike:
                    with functional.evaluating(self.model):
                        held = self._programmed(rows[i], z, seed, part)
                    scores = score(self.model, held, data, images, population.WAYS[how], self.precision)[0].numpy()
                    found[i, start : start + len(part)] = scores
        return found

    def _deviates(self, seed: int, chips: range, name: str) -> Tensor:
        """Return the standardised deviations of a tensor on chips of a search, (chips, ...)."""
        w, here = self.clean(name), f"search/{self.address(name)}"
        return philox.normal(seed, chips, here, w[0].numel(), w.device).to(w.dtype).view(-1, *w.shape[1:])

    def _programmed(self, row: int, z: Mapping[str, Tensor], seed: int, chips: range) -> dict[str, Tensor]:
        """Return a row's weights on the chips of ``z``, (chips, ...)."""
        count, sigma = len(next(iter(z.values()))), self.sigma_d[row]
        own = {name: tensor.detach()[row : row + 1] for name, tensor in self.weights.items()}
        held = {name: tensor.expand(count, *tensor.shape[1:]) for name, tensor in own.items()}
        for name in self.arrays:
            w = self.clean(name, own)
            here, read = f"search/{self.address(name)}", self._read(w, sigma, z[name])
            held[name] = self._aged(read, w, z[name], sigma, seed, chips, here)
        return held

    # -- rows --------------------------------------------------------------------------------------------------------

    def parameters(self) -> dict[str, Tensor]:
        """Return what is trained, by name: the network's parameters, then the extra ones as ``extra/...``."""
        own = {name: self.weights[name] for name, _ in self.model.named_parameters()}
        return own | {f"extra/{name}": tensor for name, tensor in self.extra.items()}

    @torch.no_grad()
    def copy(self, source: int, target: int) -> None:
        """Make a row another's twin: weights, buffers, optimiser state and what is known of it."""
        for tensor in (*self.weights.values(), *self.extra.values(), *self._slots(), self.diverged, self.loss):
            if tensor is not None:
                tensor[target] = tensor[source]

    @torch.no_grad()
    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only; every training keeps its result, or the first of its rows."""
        old, index = self.parameters(), torch.tensor(rows, device=self.sigma_d.device)
        states = {name: self.optimiser.state.get(tensor, {}) for name, tensor in old.items()} if self.optimiser else {}
        for holder in (self.weights, self.extra):
            for name, tensor in holder.items():
                holder[name] = tensor.detach()[index].requires_grad_(tensor.requires_grad)
        new = self.parameters()
        if self.optimiser:
            self.optimiser.state.clear()
            self.optimiser.param_groups[0]["params"] = list(new.values())
            for name, slots in states.items():
                kept = {key: v[index] if _rowed(v, old[name]) else v for key, v in slots.items()}
                self.optimiser.state[new[name]] = kept
        self.sigma_d, self.diverged = self.sigma_d[index], self.diverged[index]
        self.loss = None if self.loss is None else self.loss[index]
        self.seeds, self.sigmas = [self.seeds[r] for r in rows], [self.sigmas[r] for r in rows]
        owner = [self.owner[r] for r in rows]
        place = {row: i for i, row in enumerate(rows)}
        self.result = [place.get(row, owner.index(t)) for t, row in enumerate(self.result)]
        self.owner = owner

    def rows(self, training: int) -> list[int]:
        """Return the rows of a training, in the order of its candidates."""
        return [row for row, owner in enumerate(self.owner) if owner == training]

    def _slots(self) -> list[Tensor]:
        """Return the tensors of the optimiser's state that have a row a member."""
        state = self.optimiser.state if self.optimiser else {}
        return [v for p in self.parameters().values() for v in state.get(p, {}).values() if _rowed(v, p)]

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def state(self, epoch: int) -> dict[str, Tensor]:
        """Flatten weights, optimiser state and memory to named tensors (copies)."""
        state = {f"weights/{k}": v.detach().clone() for k, v in self.weights.items()}
        for name, tensor in self.parameters().items():
            for key, value in self.updater.state[tensor].items():
                if isinstance(value, Tensor):
                    state[f"optimiser/{key}/{name}"] = value.detach().clone()
        state |= {f"extra/{k}": v.detach().clone() for k, v in self.extra.items()}
        state |= {f"memory/{k}": v.clone() for k, v in self.memory.items()}
        if self.candidates > 1:
            state |= {"owner": torch.tensor(self.owner), "result": torch.tensor(self.result)}
        if self.diverged.any():
            state["diverged"] = self.diverged.clone()
        if self.precision != "float32":
            state["precision"] = torch.tensor(PRECISIONS.index(self.precision))
        if self.compiled:
            state["compiled"] = torch.tensor(1)
        if self.of is not None:
            state["of"] = self.of
        return state | {"epoch": torch.tensor(epoch)}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> int:
        """Put a flattened state back; returns how many epochs it has behind it."""
        if (begun := PRECISIONS[int(state.get("precision", 0))]) != self.precision:
            raise InputError(f"the checkpoint was trained in {begun}; go on with precision={begun!r}, or start afresh")
        begun = bool(state.get("compiled", 0))
        if begun and not self.compiled:
            raise InputError("the checkpoint was trained by compiled layers, which are not to be had here (see: python "
                             "-m nvlib doctor); go on on a machine with a C++ compiler, or start afresh")  # fmt: skip
        self.compiled = begun  # the same numbers as if it had not been interrupted
        if "owner" in state and (owner := state["owner"].tolist()) != self.owner:
            rows = [self.rows(t)[: owner.count(t)] for t in range(len(self.result))]
            self.keep([row for part in rows for row in part])
        for kind, holder in (("weights", self.weights), ("extra", self.extra)):
            for name, tensor in holder.items():
                saved = state.get(f"{kind}/{name}")
                if saved is None or saved.shape != tensor.shape:
                    raise InputError(f"the checkpoint does not hold {name} as this population has it; start afresh")
                if saved.dtype != tensor.dtype:
                    raise InputError(f"the checkpoint holds {name} in {saved.dtype}, not in {tensor.dtype}; go on with "
                                     f"dtype={saved.dtype}, or start afresh")  # fmt: skip
                tensor.copy_(saved)
        parameters = self.parameters()
        for key, value in state.items():
            if key.startswith("optimiser/"):
                _, slot, name = key.split("/", 2)
                parameter = parameters[name]
                value = value.to(parameter.device) if _rowed(value, parameter) else value
                self.updater.state[parameter][slot] = value.clone()
            elif key.startswith("memory/"):
                self.memory[key.removeprefix("memory/")] = value.clone()
        if "result" in state:
            self.result = state["result"].tolist()
        if "diverged" in state:
            self.diverged = state["diverged"].to(self.diverged.device)
        return int(state["epoch"])


class _CrossEntropy(torch.autograd.Function):
    """The compiled loss as one node of the graph."""

    @staticmethod
    def forward(ctx: Any, outs: Tensor, y: Tensor) -> Tensor:
        loss, ctx.slope = cross_entropy(outs.contiguous(), y.contiguous())
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return ctx.slope * g[:, None, None], None


class _StraightThrough(torch.autograd.Function):
    """The first tensors' values with the others' gradients; in one node, which costs as much as a layer does."""

    @staticmethod
    def forward(ctx: Any, held: list[Tensor], *clean: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(held)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, *slopes


def _rowed(value: object, parameter: Tensor) -> bool:
    """Whether a slot of the optimiser's state has a row a member (Adam's count of steps has none)."""
    return isinstance(value, Tensor) and value.shape == parameter.shape
