"""One task done: a training from its last checkpoint on, an evaluation from its last block, each under its plan."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, asdict, fields
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor, nn

from nvlib import effects, methods, models, plugins, population
from nvlib.data import Split
from nvlib.errors import InputError
from nvlib.evaluate import blocks
from nvlib.models import own
from nvlib.modules import switched
from nvlib.population import Plan
from nvlib.precision import check as check_precision
from nvlib.records import Evaluation, Training, digest
from nvlib.rounding import rounding
from nvlib.samples import Samples
from nvlib.store import Store
from nvlib.studies import checkpoint
from nvlib.studies.checkpoint import Checkpoint
from nvlib.studies.plan import Desk, Task, running
from nvlib.studies.study import crossbar_of, device_of, effects_of

BLOCK = 100  # chips a file
SECONDS = 30.0  # or as many as this; a fresh evaluation's first after FIRST, then twice as long each time
FIRST = 0.25
FEW = 8  # chips that generated code, which runs each by itself, is given first: somebody may be watching

Tell = Callable[[Any, Task, int, Mapping[str, Any]], None]  # of a desk: so many epochs or chips more, latest numbers


class Analyst(Protocol):
    """A desk of analyses (`nvlib.studies.analyses`), each of which it carries out by itself."""

    where: Store

    def done(self, task: Task) -> bool:
        """Whether an analysis' tables are there."""
        ...

    def ready(self, task: Task) -> bool:
        """Whether an analysis has what it needs."""
        ...

    def carry_out(self, task: Task, tell: Tell) -> None:
        """Make an analysis' tables and store them."""
        ...


class Lost(InputError):
    """A training's weights are not there, or not any more."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no weights for training {name[:12]}; run its study first")
        self.name = name


def model_of(training: Training | str, where: Store | None = None) -> nn.Module:
    """Return the trained network of a record (or of its hash), in evaluation mode.

    Raises:
        InputError: if the store does not have it, or if it is of a network of one's own whose file was not named here.
    """
    where = where or Store()
    record = where.training(training) if isinstance(training, str) else training
    weights = where.weights(record)
    if weights is None:
        raise Lost(digest(record))
    shape: dict[str, Any] = {"width": record.width, "bits": record.bits, "activation_bits": record.activation_bits}
    decided = where.about(digest(record)).get("network") if own.is_own(record.network) else None
    if decided:  # by the data set
        classes, channels = decided["classes"], decided["in_channels"]
    else:
        matrices = [name for name, w in models.build(record.network, **shape).named_parameters() if w.ndim > 1]
        channels, classes = weights[matrices[0]].shape[1], weights[matrices[-1]].shape[0]
    model = models.build(record.network, classes=classes, in_channels=channels, **shape)
    _fill(model, weights, digest(record))
    return switched(model)


def _fill(model: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Give a model the parameters and buffers that a training left, each once though it may be tied."""
    held = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    if {n: t.shape for n, t in held.items()} != {n: t.shape for n, t in weights.items()}:
        raise InputError(f"the weights of training {name[:12]} do not fit {type(model).__name__}: it has other layers, "
                         "or its factory does not make the same network each time")  # fmt: skip
    with torch.no_grad():
        for key, tensor in weights.items():
            held[key].copy_(tensor)


# -- training --------------------------------------------------------------------------------------------------------


def train(desk: Desk, task: Task, count: Tell) -> None:
    """Train a pack from its last checkpoint on; the checkpoint goes when all members are stored."""
    study, where = desk.study, desk.where
    path, held = _begun(desk, task)
    records = [desk.trainings[name] for name in held.plan["pack"]]
    first, network = records[0], None
    if own.is_own(first.network):
        network = own.facts(first.network, desk.loaded.classes, desk.loaded.shape[0])
    met = map(type, effects.chain(study.train_effects))
    code = plugins.texts(methods.METHODS[first.method], *met)
    count(desk, task, sum(map(len, held.history)), {"begun": True})
    with running(held.plan["threads"]):
        for epoch in methods.train(
            methods.get(first.method, **first.parameters),
            lambda seed: (switched(model_of(study.start, where), training=True) if study.start
                          else study.template(desk.loaded.classes, desk.loaded.shape[0], seed)),
            desk.loaded,
            device_of(first.device, (*study.devices, study.train_device or study.devices[0])) if first.device
            else study.devices[0],
            [record.sigma_d for record in records],
            seed=[record.seed for record in records],
            epochs=first.epochs,
            recipe=study.recipe,
            reference=study.reference,
            mapping=study.mapping,
            range=first.range,
            effects=effects_of(first),
            select=study.select,
            patience=study.patience,
            target=study.target,
            on=desk.on,
            resume=held.state or None,
            search=held.plan["search"],
            precision=first.precision,
        ):
            for member, history in enumerate(held.history):
                history.append(
                    {
                        "epoch": epoch.epoch,
                        "loss": float(epoch.loss[member]),
                        "clean": float(epoch.clean[member]),
                        "noisy": float(epoch.noisy[member]),
                        "diverged": bool(epoch.diverged[member]),
                        "seconds": epoch.seconds / len(records),
                    }
                )
            held.plan["way"] = epoch.way
            held.state, held.spent = epoch.state, held.spent + epoch.seconds
            held.trace += epoch.trace
            held.save(path)
            count(desk, task, len(records), {"epochs": epoch.epochs, **held.history[0][-1]})
        for member, record in enumerate(records):
            if not desk.trained(digest(record)):
                where.save_training(
                    record, methods.result(held.state, member), pd.DataFrame(held.history[member]),
                    held.spent / len(records), _trace(held, member), held.plan, network, code,
                )  # fmt: skip
    checkpoint.remove(path)


def _begun(desk: Desk, task: Task) -> tuple[Any, Checkpoint]:
    """Return where a pack's checkpoint lies, and the checkpoint; an empty one for what was not begun."""
    packs = [task.names, tuple(name for name in task.names if not desk.trained(name))]  # others may have done some
    for pack in dict.fromkeys(packs):
        path = checkpoint.place(desk.where.runs, pack)
        if (held := checkpoint.load(path, mend=True)) is not None:
            return path, held
    return path, Checkpoint({}, [[] for _ in pack], [], {**task.plan, "pack": list(pack)})


def _trace(held: Checkpoint, member: int) -> pd.DataFrame:
    """Return a member's part of the search's trace, as if it had been alone."""
    rows = [row for row in held.trace if row.get("training", 0) == member]
    return pd.DataFrame([row | {"training": 0} if "training" in row else row for row in rows])


# -- evaluation ------------------------------------------------------------------------------------------------------


def evaluate(desk: Desk, task: Task, count: Tell) -> None:
    """Add the chips an evaluation lacks, a block at a time, under the plan it was begun with."""
    evaluation, where = desk.evaluations[task.name], desk.where
    model = model_of(desk.trainings[evaluation.training], where)
    recorded = where.plan(evaluation)
    plan = recorded if recorded and recorded.get("device") == torch.device(desk.on).type else task.plan
    lacking = desk.lacking(task.name)
    held: list[Any] = []
    began, have, patience = time.monotonic(), desk.study.chips - len(lacking), FIRST
    count(desk, task, 0, {"begun": True})
    if evaluation.deployment is None:
        with running(plan["threads"]):
            plan = _prepared(desk, evaluation, model, plan, begun=len(lacking) < desk.study.chips)

    befalls = [type(effect) for held in evaluation.effects for effect in effects.chain(held["effect"])]
    remedy = [type(desk.study.deployment(evaluation.deployment["name"]))] if evaluation.deployment else []
    if kept := plugins.texts(*befalls, *remedy):
        where.note(evaluation, "code", kept)

    def flush() -> None:
        nonlocal held, began
        if held:
            rows = pd.concat([_frame(part, desk, evaluation) for part in held], ignore_index=True)
            where.append(evaluation, rows, asdict(held[0].plan) if held[0].plan else dict(plan))
        held, began = [], time.monotonic()

    try:
        with running(plan["threads"]):
            for index in _ranges(lacking, FEW if plan.get("how") == "native" else None):
                for part in _parts(desk, evaluation, model, index, plan):
                    held.append(part)
                    have += len(part)
                    if sum(map(len, held)) >= BLOCK or time.monotonic() - began > patience:
                        flush()
                        patience = min(SECONDS, 2 * patience)
                    count(desk, task, len(part), {"chips": have, "accuracy": float(part.accuracy.mean())})
                flush()
    except BaseException:  # a signal to end among them: what is finished stays
        with suppress(OSError):
            flush()
        raise


def _prepared(
    desk: Desk, evaluation: Evaluation, model: nn.Module, plan: Mapping[str, Any], begun: bool
) -> Mapping[str, Any]:
    """Return a plan in full: a job that was planned elsewhere chooses how it runs chips, on a machine with the GPU.

    What a precision shorter than float32 changes is measured before the first chip, and kept beside the evaluation.

    Raises:
        InputError: if it changes accuracies by more than `nvlib.rounding.TOLERANCE`, or the hardware has it not.
    """
    split = Split(desk.loaded.test.x.to(desk.on), desk.loaded.test.y.to(desk.on))
    precision = check_precision(plan.get("precision", "float32"), desk.on)
    model = model.to(desk.on)
    if "how" not in plan:
        count = 1 if evaluation.sigma_d == 0 else desk.study.chips
        plan = asdict(population.in_precision(population.plan(model, split.x, count), precision))
    if precision != "float32" and not begun:
        met = rounding(
            model, split, Plan(**plan), crossbar_of(evaluation, desk.study.devices), seed=evaluation.seed,
        )  # fmt: skip
        if not met.allowed:
            raise InputError(f"evaluation {digest(evaluation)[:12]}: {met.text()}; ask for chip_precision='float32'")
        desk.where.note(evaluation, "rounding", asdict(met))
    return plan


def _parts(
    desk: Desk, evaluation: Evaluation, model: nn.Module, index: range, plan: Mapping[str, Any]
) -> Iterator[Any]:
    """Yield scored blocks of chips, as programmed or deployed."""
    crossbar = crossbar_of(evaluation, desk.study.devices)
    options: dict[str, Any] = {"index": index, "seed": evaluation.seed, "on": desk.on}
    if evaluation.deployment is None:
        return blocks(model, desk.loaded, crossbar, plan=Plan(**plan), **options)
    method = desk.study.deployment(evaluation.deployment["name"])
    return method.apply(model, desk.loaded, crossbar, **options)


def _frame(part: Any, desk: Desk, evaluation: Evaluation) -> pd.DataFrame:
    """Return a block as the store has it; deployed ones say which parameters are not the default."""
    if isinstance(part, Samples):
        frame = pd.DataFrame({"chip": part.index, "accuracy": part.accuracy, "loss": part.loss, "ekl": part.ekl})
        word = part.plan.precision if part.plan else "float32"
        return frame if word == "float32" else frame.assign(precision=word)
    name = (evaluation.deployment or {})["name"]
    return part.frame().assign(deployment_parameters=_changed(desk.study.deployment(name)))


def _changed(method: Any) -> str:
    """Return a method's parameters that are not the default, as canonical JSON; "" if all are."""
    found = {}
    for f in fields(method):
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if (value := getattr(method, f.name)) != default:
            found[f.name] = value
    return json.dumps(found, sort_keys=True, separators=(",", ":")) if found else ""


def _ranges(indices: Sequence[int], first: int | None = None) -> list[range]:
    """Return the runs of consecutive numbers in a sorted list, the first one begun by so many of its own."""
    runs: list[range] = []
    for i in indices:
        if runs and runs[-1].stop == i:
            runs[-1] = range(runs[-1].start, i + 1)
        else:
            runs.append(range(i, i + 1))
    return [runs[0][:first], runs[0][first:], *runs[1:]] if first and runs and len(runs[0]) > first else runs
