"""The training loop that all methods share: a population of trainings as one, an epoch at a time.

Member p has its own seed and sigma_d; its initial weights, the order of its images and its noise are functions of its
seed alone, so it trains to the same weights whoever trains beside it. Losses of members are summed, never averaged,
and gradients never clipped by a global norm, so that members do not mix; a member whose loss or weights stop being
finite is recorded as diverged and disturbs no other. Noise and order are addressed by (seed, step), so a checkpoint
needs only weights and optimiser state to go on to the same numbers.

A method says what its loss is, and may say more: ``cost``, how many rows a training takes in the population and what
a step and an epoch take beside the usual; ``begin(run, training)``, what it adds to a run; ``after_epoch(run,
validation)``, what it does with the rows then.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Protocol, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from nvlib import clock, copies, functional, modules, noise_coverage, philox, population, probe
from nvlib.conditions import LEFT_OUT, Conditions, Crossbar, as_crossbar
from nvlib.crossbar import array_weights
from nvlib.data import Dataset, Split
from nvlib.devices import Device
from nvlib.errors import InputError, unknown, whole
from nvlib.evaluate import as_split, score
from nvlib.methods import resumption
from nvlib.methods.checkpoint_selection import CheckpointSelection
from nvlib.methods.cost import cost_of
from nvlib.methods.recipe import Recipe, descend
from nvlib.methods.starts import models_of, resting
from nvlib.methods.training_state import Batch, TrainingState
from nvlib.native import layers
from nvlib.precision import check as check_precision
from nvlib.precision import products
from nvlib.steps import hooked, hooks_of, refusal, training_way


class Method(Protocol):
    """A training method: a frozen dataclass of parameters with a name and a loss."""

    __dataclass_fields__: ClassVar[dict[str, Field]]

    @property
    def name(self) -> str:
        """Its name in `nvlib.methods.METHODS`."""
        ...

    def loss(self, run: TrainingState, batch: Batch) -> Tensor:
        """Return each member's loss, (members,), differentiable in ``run.weights``."""
        ...


@dataclass(frozen=True)
class Epoch:
    """What an epoch left: yielded after its last update, one entry a member.

    Attributes:
        epoch: 1, 2, ...; the last record has ``epoch == epochs``, unless all members stopped early.
        epochs: how many there will be at most.
        loss: mean training loss in nats, (members,).
        clean: validation accuracy of the quantised weights in percent, (members,).
        noisy: mean validation accuracy over a few chips in percent, (members,).
        diverged: which members' loss or weights stopped being finite, (members,) bool.
        seconds: duration of training this epoch, without validation.
        state: weights and optimiser state by name: what `train` needs to go on.
        trace: what a searching method found this epoch, a row a candidate.
        stopped: which members have stopped early, (members,) bool.
        held: the epoch whose weights `weights` gives, (members,).
        way: how steps were run.
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
    trace: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    stopped: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool), repr=False)
    held: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int), repr=False)
    way: str = "loop"

    def weights(self, member: int = 0) -> dict[str, Tensor]:
        """Return a member's clean parameters and buffers by name: this epoch's, or those selection holds."""
        return result(self.state, member)

    def model(self, member: int = 0) -> nn.Module:
        """Return a member as a module of its own, in evaluation mode."""
        module = modules.copied(self.template)
        own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        with torch.no_grad():
            for name, tensor in self.weights(member).items():  # a tied tensor once
                own[name].copy_(tensor)
        return modules.switched(module)


class Epochs(Iterator[Epoch]):
    """A training under way, as `train` returns it: it trains as its epochs are asked for, the last holds the models."""

    def __init__(self, epochs: Generator[Epoch, None, None]) -> None:
        """Take what trains an epoch each time that one is asked for."""
        self._epochs = epochs

    def __next__(self) -> Epoch:
        """Train an epoch and return its record."""
        return next(self._epochs)

    def close(self) -> None:
        """End the training."""
        self._epochs.close()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"train returns an iterator of epochs, which has no {name!r}; "
                             "expected its last one: *_, last = nvlib.train(...); last.model()")  # fmt: skip


def result(state: Mapping[str, Tensor], member: int = 0) -> dict[str, Tensor]:
    """Return the weights of a member from a record's ``state`` (or a checkpoint of it)."""
    held = any(name.startswith("held/") for name in state)
    prefix, row = ("held/", member) if held else ("weights/", member)
    if not held and "result" in state:
        row = int(state["result"][member])
    return {name.removeprefix(prefix): tensor[row] for name, tensor in state.items() if name.startswith(prefix)}


def order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the order in which a member of this seed sees n images in an epoch; a function of its arguments only."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64))).permutation(n)


def train(
    method: Method | str,
    model: str | nn.Module | Callable[[int], nn.Module],
    data: Dataset,
    crossbar: Crossbar | Device | str | None = None,
    sigma_d: float | Sequence[float | None] | None = LEFT_OUT,
    *,
    seed: int | Sequence[int] = 0,
    epochs: int = 10,
    recipe: Recipe | None = None,
    select: str = "last",
    patience: int | None = None,
    target: float | None = None,
    validation_chips: int = 4,
    on: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    precision: str = "float32",
    resume: Mapping[str, Tensor] | None = None,
    search: tuple[int, int, str] | None = None,
    how: str | None = None,
    **conditions: Unpack[Conditions],
) -> Epochs:
    """Train a population by a method; returns its epochs one by one, the last of which holds the models.

    Nothing is selected on test data. The last epoch's weights are the result, or with ``select="best"`` those of the
    epoch with the highest noisy validation accuracy.

    Args:
        method: a name of `METHODS`, or a method with its parameters.
        model: a network's name, a function seed -> module, or a module (its weights are where all members start).
            Modules of several seeds differ in parameters and buffers alone.
            Frozen parameters (``requires_grad=False``) stay as they are, and so do the statistics of BatchNorm whose
            parameters are frozen, or of parts that alone are in evaluation mode.
        data: train and validation splits are used.
        crossbar: the chips to train for: the conditions, or a device's name, record or path (None: RRAM), with
            ``sigma_d`` and ``conditions`` beside it.
        sigma_d: size of the variation (left out: the crossbar's, 0.1); several make a population (one a member).
        seed: of initial weights, order and noise; several make a population. Lengths of sigma_d and seed must agree.
        epochs: how many passes over the training images.
        recipe: optimiser, schedule and augmentation; `nvlib.methods.preset` has the published ones.
        select: ``last``, or ``best``: the epoch with the highest noisy validation accuracy.
        patience: a member stops after so many epochs without a better noisy validation accuracy; None: never.
        target: a member stops once its noisy validation accuracy reaches this, in percent (TSB's first stage).
        validation_chips: chips of the noisy validation accuracy after each epoch.
        on: where to compute, ``cpu`` or ``cuda``.
        dtype: of weights and images.
        precision: of products, forwards and backwards: ``float32``, ``bf16`` or, on CUDA, ``tf32``; see
            `nvlib.precision`. Weights, noise, optimiser and statistics are of ``dtype`` all the same.
        resume: an earlier record's ``state``; training goes on after its epoch to the same numbers. It is
            of a training by the same method, crossbar, seeds, recipe and images.
        search: how a searching method scores its candidates: chips and images at a time, and the way; None measures.
        how: the way that steps are run (`nvlib.forward`), kept in checkpoints; None measures which is fastest. Ways
            agree to training noise; going on needs the way that was begun with.
        **conditions: other fields of `nvlib.Crossbar`: ``bits``, ``reference``, ``mapping``, ``range``, ...

    Returns:
        An iterator of `Epoch` records.

    Raises:
        InputError: for values that cannot be used; raised at the call, not at the first epoch.

    Example:
        >>> import nvlib
        >>> mnist = nvlib.load("mnist", limit=100)
        >>> *_, last = nvlib.train("gaussian", "lenet3", mnist, "rram", sigma_d=0.2, epochs=1)
        >>> last.epoch, last.loss.shape, type(last.model()).__name__
        (1, (1,), 'LeNet3')
    """
    from nvlib.methods import get

    population.usable(on)
    method, recipe, epochs = get(method), Recipe.of(recipe), whole("epochs", epochs, 1)
    several = list(sigma_d) if isinstance(sigma_d, Sequence | np.ndarray) else None
    alone = LEFT_OUT if isinstance(sigma_d, Sequence | np.ndarray) else sigma_d
    crossbar = as_crossbar(crossbar, alone, **conditions)
    crossbar.only_programming("training", effects=True)
    given = [crossbar.sigma_d] if several is None else several
    validation_chips = whole("validation_chips", validation_chips, 0)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InputError(f"dtype={dtype!r} is not usable; expected one of floats, e.g. torch.float32")
    seeds = list(seed) if isinstance(seed, Sequence | np.ndarray) else [seed]
    count = max(len(given), len(seeds))
    if {len(given), len(seeds)} - {1, count} or not (given and seeds):
        raise InputError(f"{len(given)} values of sigma_d and {len(seeds)} seeds do not pair; expected equal lengths")
    seeds = [philox.check_seed(s) for s in seeds * (count // len(seeds))]
    sigmas = [crossbar.at(s).sigma_d for s in given * (count // len(given))]  # checks them
    fresh = models_of(model, seeds)
    template, known = fresh[0], hooks_of([modules.bare(model)] * count if isinstance(model, nn.Module) else fresh)
    crossbar = crossbar.on(template)
    if not isinstance(data, Dataset):
        raise InputError(f"data of type {type(data).__name__} cannot be trained on; expected a Dataset with its three "
                         "splits: nvlib.load, or nvlib.data.Dataset of splits of one's own")  # fmt: skip
    parts = [as_split(data, part) for part in ("train", "validation")]
    held = CheckpointSelection(select, patience, target, count)
    if how is not None and how not in population.WAYS:
        raise unknown("way to run a population", how, population.WAYS)

    if check_precision(precision, on) != "float32" and dtype != torch.float32:
        raise InputError(f"precision={precision!r} is for weights of float32, not {dtype}; leave one of them out")

    candidates = cost_of(method).rows
    owner = [training for training in range(count) for _ in range(candidates)]
    rows = population.stack([fresh[training] for training in owner])
    weights = {k: v.to(on, dtype if v.is_floating_point() else v.dtype) for k, v in rows.items()}
    for name, parameter in template.named_parameters():
        weights[name].requires_grad_(parameter.requires_grad)
    if not any(tensor.requires_grad for tensor in weights.values()):
        raise InputError(f"all parameters of {type(template).__name__} are frozen; expected some with requires_grad")
    _of_one_name(template, arrays := array_weights(template), weights)
    run = TrainingState(
        model=modules.in_dtype(template, dtype, on),
        weights=weights,
        arrays=arrays,
        crossbar=crossbar,
        sigma_d=torch.tensor([sigmas[training] for training in owner], dtype=dtype, device=on),
        sigmas=[sigmas[training] for training in owner],
        seeds=[seeds[training] for training in owner],
        owner=owner,
        result=[training * candidates for training in range(count)],
        diverged=torch.zeros(len(owner), dtype=torch.bool, device=on),
        candidates=candidates,
        resting=resting(template),
        precision=precision,
        compiled=torch.device(on).type == "cpu" and dtype == torch.float32 and layers.wanted(template),
        address=modules.address(template),
        hooks=known,
        of=resumption.digests(method, crossbar, sigmas, seeds, recipe, data),
    )
    training, validation = (
        Split(s.x.to(on, dtype if s.x.is_floating_point() else s.x.dtype), s.y.to(on)) for s in parts
    )
    if recipe.augment != "none" and training.x.ndim != 4:
        raise InputError(f"augment={recipe.augment!r} varies images (n, channels, height, width), and the training "
                         f"data have shape {tuple(training.x.shape)}; leave it out")  # fmt: skip
    probe.inspect(run.model, training, validation)
    loudest = replace(crossbar, sigma_d=max(sigmas))
    noise_coverage.watch(run.model, copies.private(run.model), training.x, loudest)
    if probe.remembers(run.model, training.x, run.resting):
        warnings.warn(
            f"{type(template).__name__} computes in training with more than its weights, buffers and torch's random "
            "numbers (an attribute that counts or averages, a generator of its own, numpy's random numbers): trainings "
            "of one call share it, and it is lost in a checkpoint; make it a buffer, draw by torch.rand",
            stacklevel=2,
        )
    if hasattr(method, "begin"):
        method.begin(run, training)
    if search is not None:
        if not isinstance(search, Sequence) or len(search) != 3 or search[2] not in population.WAYS:
            raise InputError(f"search={search!r} is not usable; expected chips, images at a time and a way, one of "
                             f"{', '.join(population.WAYS)}")  # fmt: skip
        run.memory["plan"] = torch.tensor([*search[:2], population.WAYS.index(search[2])])
    if recipe.clip != "none" and (made := [name for name in run.arrays if name not in run.weights]):
        raise InputError(f"clip={recipe.clip!r} cannot cut {made[0]}, which a parametrisation makes; leave clip out")
    run.optimiser = recipe.build(list(run.parameters().values()))
    done = 0
    if resume is not None:
        resumption.check(resume, run.of)
        done = run.restore(resume)
        held.restore(resume)
    _choose_way(run, training, recipe, epochs - done, how)
    return Epochs(_epochs(method, run, training, validation, recipe, range(done, epochs), held, validation_chips))


def _of_one_name(model: nn.Module, arrays: Sequence[str], weights: Mapping[str, Tensor]) -> None:
    """Refuse a weight of a layer that comes first as the original of another's, under that one's name."""
    made = modules.parametrised(model)
    if lost := [name for name in arrays if name not in weights and name not in made]:
        raise InputError(f"{lost[0]} of {type(model).__name__} is what the weight of a layer before it is made of, too "
                         "(pruned, parametrised), which training does not know; expected the other order, or "
                         "parametrisations removed")  # fmt: skip


def _choose_way(run: TrainingState, training: Split, recipe: Recipe, epochs: int, asked: str | None) -> None:
    """Fix the way that steps are run: the one that was begun with, the one asked for, or the fastest."""
    begun = population.WAYS[int(run.memory["way"])] if "way" in run.memory else None
    if begun and asked not in (None, begun):
        raise InputError(f"how={asked!r} does not go on with a training begun by {begun!r}; leave it out")
    if modules.parametrised(run.model):  # noise is laid on what is made of the trained tensors
        asked = "loop"
    run.model.train()
    size = min(recipe.batch_size, len(training.y))
    few = training.x[:size].expand(len(run.seeds), size, *training.x.shape[1:])
    steps = epochs * (len(training.y) // size)
    with layers.allowed(run.compiled):
        chosen = begun or asked
        run.way = chosen or training_way(run.model, run.weights, few, steps, run.precision)
    if run.way == "native" and (reason := refusal(run.model, run.weights, few)):
        if begun:
            raise InputError(f"this training was begun by generated code, and there is none here ({reason}); go on "
                             "where there is, or begin anew")  # fmt: skip
        run.way = "loop"
    run.memory["way"] = torch.tensor(population.WAYS.index(run.way))


def _epochs(
    method: Method,
    run: TrainingState,
    training: Split,
    validation: Split,
    recipe: Recipe,
    epochs: range,
    held: CheckpointSelection,
    validation_chips: int,
) -> Generator[Epoch, None, None]:
    n, size = len(training.y), min(recipe.batch_size, len(training.y))
    batches = n // size  # a last, smaller batch is left out; another order an epoch lets every image in
    for run.epoch in epochs:
        if held.stopped.all():
            return
        began = clock.seconds()
        run.loss = torch.zeros(len(run.seeds), device=training.x.device)
        orders = torch.from_numpy(np.stack([order(s, run.epoch, n) for s in run.seeds])).to(training.x.device)
        run.model.train()
        for name in run.resting:
            run.model.get_submodule(name).training = False
        taken = training.x.new_empty(0)  # rows may have become fewer
        for b in range(batches):
            run.step = run.epoch * batches + b
            take = orders[:, b * size : (b + 1) * size]
            # into the same memory each step; indexing takes twice as long
            taken = torch.index_select(training.x, 0, take.flatten(), out=taken)
            x, y = taken.unflatten(0, take.shape), training.y.index_select(0, take.flatten()).view(take.shape)
            batch = Batch(recipe.images(x, run.seeds, run.step), y)
            with products(run.precision, training.x.device):
                losses = method.loss(run, batch)
                descend(recipe, run.updater, losses, run.step, epochs.stop * batches,
                        partial(hooked, run.weights, run.hooks, run.owner) if run.hooks else None)  # fmt: skip
            recipe.clipped([run.weights[name] for name in run.arrays if name in run.weights])
            run.loss += losses.detach()
        seconds = clock.seconds() - began
        parameters = run.parameters().values()
        whole = (torch.isfinite(w.detach()).reshape(len(w), w[0].numel()).all(1) for w in parameters)
        finite = torch.stack(list(whole)).all(0)
        run.diverged = run.diverged | ~(finite & torch.isfinite(run.loss))
        trace = method.after_epoch(run, validation) if hasattr(method, "after_epoch") else None
        clean, noisy = _validate(run, validation, validation_chips)
        held.look(run, noisy)
        yield Epoch(
            epoch=run.epoch + 1,
            epochs=epochs.stop,
            loss=(run.loss / batches)[run.result].cpu().numpy(),
            clean=clean,
            noisy=noisy,
            diverged=run.diverged[run.result].cpu().numpy(),
            seconds=seconds,
            state=run.state(run.epoch + 1) | held.state(),
            template=run.model,
            trace=tuple({"epoch": run.epoch + 1, **row} for row in trace or ()),
            stopped=held.stopped.copy(),
            held=held.epoch.copy(),
            way=run.way,
        )


def _validate(run: TrainingState, validation: Split, chips: int) -> tuple[np.ndarray, np.ndarray]:
    """Score the results on validation data: quantised, and the mean over a few chips of the target device."""

    def results(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return weights if run.candidates == 1 else {name: tensor[run.result] for name, tensor in weights.items()}

    with torch.no_grad(), functional.evaluating(run.model):
        way = "native" if run.way == "native" else population.way(run.model, validation.x)
        images = population.plan(run.model, validation.x, len(run.result), how=way).images
        how = images, way, run.precision
        clean = score(run.model, results(run.noisy(None)), validation, *how)[0]
        chips = chips if (run.sigma_d > 0).any() or run.crossbar.effects else 0
        noisy = [score(run.model, results(run.chip(i)), validation, *how)[0] for i in range(chips)]
    return clean.numpy(), (torch.stack(noisy).mean(0) if noisy else clean).numpy()
