"""How long what is missing of a study will take, and how much memory, before anything of it runs.

A training's speed is that of stored trainings of the same network, method, data size and batch on this processor, else
that of a short one on a few images (seconds); an evaluation's is measured on one chip, a deployment's on one as well.
Both scale with images, epochs and chips. Expect them to be right to a factor of 1.5: what shares the machine counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pandas as pd
import torch

from nvlib import methods, modules, population, provenance
from nvlib.clock import in_words
from nvlib.data import Dataset, Split
from nvlib.evaluate import blocks
from nvlib.modules import switched
from nvlib.population import Plan
from nvlib.records import Training, digest, values
from nvlib.steps import training_way
from nvlib.store import Store
from nvlib.studies.plan import Desk, Task, plan, running
from nvlib.studies.study import Study, crossbar_of, device_of, effects_of

FEW = 512  # images of a short measurement
VALIDATED = 5  # forward passes over the validation images after an epoch
PROCESS = 750 << 20  # bytes of a process whose data and network are tiny, as measured
LOADING = 1.5  # of the images' own bytes, while they are read and scaled


@dataclass(frozen=True)
class Forecast:
    """What of a study exists, and what the rest will take.

    Attributes:
        trainings, evaluations: runs in the grid, and how many of them are done.
        epochs, chips: missing.
        seconds: of one process doing all of it; None where no speed is known.
        wall: the same shared by ``workers``.
        memory: bytes of one process.
        basis: where the speeds come from.
        workers: how many share the work.
        trainings_idle: those that are not done and need not be: all chips of their evaluations are there.
        rows: a row a method and deployment: runs, missing, seconds.
    """

    trainings: int
    trainings_done: int
    evaluations: int
    evaluations_done: int
    epochs: int
    chips: int
    seconds: float | None
    wall: float | None
    memory: int
    basis: str
    workers: int = 1
    trainings_idle: int = 0
    rows: pd.DataFrame = field(default_factory=pd.DataFrame, compare=False, repr=False)

    def text(self) -> str:
        """Return it in a few lines."""
        time_ = "unknown" if self.seconds is None else in_words(self.seconds)
        shared, idle = "", f" and {self.trainings_idle} need not, for all their chips do" if self.trainings_idle else ""
        if self.workers > 1 and self.seconds and self.wall is not None:
            shared = f", {in_words(self.wall)} with {self.workers} processes"
        return "\n".join([
            f"trainings    {self.trainings}, of which {self.trainings_done} exist{idle}; {self.epochs} epochs to go",
            f"evaluations  {self.evaluations}, of which {self.evaluations_done} exist; {self.chips} chips to go",
            f"time         {time_}{shared} ({self.basis})",
            f"memory       {self.memory / 2**30:.1f} GiB a process"
            + (f", {self.workers * self.memory / 2**30:.1f} GiB in all" if self.workers > 1 else ""),
        ])  # fmt: skip


def estimate(
    study: Study,
    where: Store | None = None,
    *,
    on: str | torch.device = "cpu",
    threads: int | None = None,
    workers: int = 1,
    calibrate: bool = True,
) -> Forecast:
    """Say what of a study is missing and what that takes; nothing is trained, evaluated or written.

    Args:
        study: what would be run.
        where: the store; None takes the project's own.
        on: where it would compute.
        threads: of each process; None takes torch's.
        workers: processes that would share the work.
        calibrate: whether to measure what stored results do not tell.
    """
    desk = Desk(study, where or Store(), on)
    threads = threads or torch.get_num_threads()
    tasks = plan(desk, 1, threads)
    speeds = _Speeds(desk, calibrate and not (torch.device(on).type == "cuda" and not torch.cuda.is_available()))
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    with running(threads):
        for task in tasks:
            method, deployment = _of(desk, task)
            row = rows.setdefault((method, deployment), {"missing": 0, "seconds": 0.0, "longest": 0.0})
            row["missing"] += 1
            seconds = speeds.seconds(desk, task)
            row["seconds"] = None if seconds is None or row["seconds"] is None else row["seconds"] + seconds
            row["longest"] = max(row["longest"], seconds or 0.0)
    table = pd.DataFrame([{"method": m, "deployment": d, **row} for (m, d), row in rows.items()])
    known = [row["seconds"] for row in rows.values()]
    seconds = None if None in known else sum(known)
    longest = max((row["longest"] for row in rows.values()), default=0.0)
    trainings = [t for t in desk.trainings if desk.trained(t)]
    lacking = {name: desk.lacking(name) for name in desk.evaluations}
    begun = {name for task in tasks if task.kind == "training" for name in task.names}
    return Forecast(
        trainings=len(desk.trainings),
        trainings_done=len(trainings),
        evaluations=len(lacking),
        evaluations_done=sum(not chips for chips in lacking.values()),
        epochs=sum(task.amount for task in tasks if task.kind == "training"),
        chips=sum(map(len, lacking.values())),
        seconds=seconds,
        wall=None if seconds is None else max(seconds / workers, longest),
        memory=memory(desk, tasks),
        basis=speeds.basis(),
        workers=workers,
        trainings_idle=len(desk.trainings) - len({*trainings, *begun}),
        rows=table,
    )


def memory(desk: Desk, tasks: list[Task]) -> int:
    """Estimate the bytes that a process holds at most: itself, the data, a training's rows or a block of chips."""
    x = [getattr(desk.loaded, part).x for part in ("train", "validation", "test")]
    images = sum(t.numel() * t.element_size() for t in x) * (2 if desk.on != "cpu" else 1)
    model = desk.study.template(desk.loaded.classes, desk.loaded.shape[0], 0)
    weights = sum(t.numel() * t.element_size() for t in modules.state(model).values())
    each, most = population.activation_bytes(model, x[2][:1]), 0
    for task in tasks:
        if task.kind == "training":
            training = desk.trainings[task.name]
            cost = methods.cost_of(methods.get(training.method, **training.parameters))
            rows, forwards = cost.rows * len(task.names), cost.forwards
            # weights, gradients, two slots of Adam, noise in float64 with its uniform numbers; a checkpoint's copy
            held = rows * weights * (4 + 4 * forwards + 3)
            most = max(most, held + rows * forwards * training.recipe["batch_size"] * each * 2)
        else:
            count = task.plan.get("members", 16)
            most = max(most, count * weights * 5 + task.plan.get("images", 256) * each * 2)
    return PROCESS + int(LOADING * images) + most


def _of(desk: Desk, task: Task) -> tuple[str, str]:
    """Return a task's method and deployment."""
    if task.kind == "training":
        return desk.trainings[task.name].method, ""
    evaluation = desk.evaluations[task.name]
    return desk.trainings[evaluation.training].method, (evaluation.deployment or {}).get("name", "")


class _Speeds:
    """Seconds an image of each kind of work: remembered where the store knows them, measured where not."""

    def __init__(self, desk: Desk, calibrate: bool) -> None:
        self.calibrate = calibrate
        self.held: dict[str, float | None] = {}
        self.stored = _stored(desk)
        self.used: set[str] = set()

    def basis(self) -> str:
        """Return where the speeds came from."""
        return " and ".join(sorted(self.used)) or "nothing to do"

    def seconds(self, desk: Desk, task: Task) -> float | None:
        """Return how long a task will take; None if that is not known."""
        if task.kind == "training":
            training = desk.trainings[task.name]
            each, validation = self._training(desk, training), self._validation(desk, training)
            search = self._search(desk, task, training)
            if each is None or validation is None or search is None:
                return None
            cost = methods.cost_of(methods.get(training.method, **training.parameters))
            members = len(task.names)  # who count their epochs together
            epochs = members * cost.searching(training.epochs - task.amount // members, training.epochs)
            alone = 1 if _key(values(training)) in self.stored else cost.rows  # what is stored has both kinds of epochs
            found = VALIDATED * validation * len(desk.loaded.validation) * task.amount
            steps = each * training.images * (epochs + (task.amount - epochs) / alone)
            return steps + found + search * searched(desk, training) * epochs
        each = self._evaluation(desk, task)
        return None if each is None else each * len(desk.loaded.test) * task.amount

    def _training(self, desk: Desk, training: Training) -> float | None:
        key = _key(values(training))
        if key in self.stored:
            self.used.add("stored trainings on this processor")
            return self.stored[key]
        if key not in self.held:
            self.held[key] = _train_a_little(desk, training) if self.calibrate else None
        self.used.add("measured on a few images" if self.calibrate else "not every speed is known")
        return self.held[key]

    def _validation(self, desk: Desk, training: Training) -> float | None:
        """Return the seconds an image of scoring one chip the plain way, as validation does."""
        if "validation" not in self.held:
            kind = torch.device(desk.on).type
            how = Plan(1, FEW, "loop", torch.get_num_threads(), kind, training.precision)
            name = next(n for n, e in desk.evaluations.items() if e.training == digest(training))
            task = Task("evaluation", (name,), 1, asdict(how))
            self.held["validation"] = _evaluate_a_little(desk, task, False) if self.calibrate else None
        return self.held["validation"]

    def _search(self, desk: Desk, task: Task, training: Training) -> float | None:
        """Return the seconds an image of scoring a chip of a search, as its plan has it; 0 for no search."""
        if (held := task.plan.get("search")) is None:
            return 0.0
        key = f"search {held}"
        if key not in self.held:
            kind = torch.device(desk.on).type
            plan = Plan(held[0], held[1], held[2], torch.get_num_threads(), kind, training.precision)
            name = next(n for n, e in desk.evaluations.items() if e.training == digest(training))
            like = Task("evaluation", (name,), held[0], asdict(plan))
            self.held[key] = _evaluate_a_little(desk, like, False) if self.calibrate else None
        return self.held[key]

    def _evaluation(self, desk: Desk, task: Task) -> float | None:
        evaluation = desk.evaluations[task.name]
        key = json.dumps([evaluation.deployment, evaluation.sigma_d == 0], sort_keys=True)
        if key not in self.held:
            self.held[key] = _evaluate_a_little(desk, task) if self.calibrate else None
        self.used.add("measured on a few images" if self.calibrate else "not every speed is known")
        # at sigma_d = 0 all chips are one
        spent = self.held[key]
        return spent if evaluation.sigma_d or spent is None else spent / task.amount


def searched(desk: Desk, training: Training) -> int:
    """Return on how many images a method scores its candidates after an epoch, chips counted each."""
    cost = methods.cost_of(methods.get(training.method, **training.parameters))
    return cost.rows * cost.chips * len(desk.loaded.validation.y[: cost.images])


def _key(training: Mapping[str, Any]) -> str:
    """Return what decides a training's speed, for comparison."""
    names = ("network", "width", "method", "parameters", "bits", "activation_bits", "images")
    held = [training[n] for n in names] + [training["recipe"].get("batch_size"), training.get("precision", "float32")]
    return json.dumps(held, sort_keys=True)


def _stored(desk: Desk) -> dict[str, float]:
    """Return seconds an image of the trainings that were done on this processor, by `_key`."""
    if torch.device(desk.on).type != "cpu":
        return {}
    found: dict[str, list[float]] = {}
    mine = provenance.processor()
    for name in desk.where.names():
        record = desk.where.record(name)
        if record is None or record["kind"] != "training" or record["network"] != desk.study.network:
            continue
        about, history = desk.where.about(name), desk.where.history(name)
        if "done" in about and about.get("environment", {}).get("processor") == mine and len(history):
            found.setdefault(_key(record), []).append(history.seconds.median() / record["images"])
    return {key: float(pd.Series(values).median()) for key, values in found.items()}


def _train_a_little(desk: Desk, training: Training) -> float:
    """Return the seconds an image and epoch of a short training, the way a whole one runs; the second epoch of two."""
    study, size = desk.study, training.recipe["batch_size"]
    few = _some(desk.loaded, max(FEW, 2 * size))
    method = methods.get(training.method, **training.parameters)
    model, steps = study.template(few.classes, few.shape[0], training.seed), training.images // size
    model = switched(model.to(desk.on), training=True)
    x, weights = few.train.x[None, :size].to(desk.on), population.stack([model])
    for name, parameter in model.named_parameters():
        weights[name].requires_grad_(parameter.requires_grad)
    how = training_way(model, weights, x, training.epochs * steps, training.precision)
    *_, last = methods.train(
        method, lambda seed: study.template(few.classes, few.shape[0], seed), few,
        device_of(training.device, study.devices) if training.device else study.devices[0], training.sigma_d,
        seed=training.seed, epochs=2, recipe=study.recipe, reference=study.reference, mapping=study.mapping,
        range=training.range, effects=effects_of(training), validation_chips=1, on=desk.on,
        precision=training.precision, how=how,
    )  # fmt: skip
    size = min(size, len(few.train))
    return last.seconds / (len(few.train) // size * size)


def _evaluate_a_little(desk: Desk, task: Task, deployed: bool = True) -> float:
    """Return the seconds an image and chip of a short evaluation, under the task's plan."""
    evaluation, few = desk.evaluations[task.name], _some(desk.loaded, 2 * FEW)
    training = desk.trainings[evaluation.training]
    model = switched(desk.study.template(few.classes, few.shape[0], training.seed))
    crossbar = crossbar_of(evaluation, desk.study.devices)
    deployment = evaluation.deployment
    if deployment is None or not deployed:
        held = Plan(**task.plan)
        chips = 1 if held.how == "loop" else min(task.amount, held.members)

        def work() -> None:
            list(blocks(model, few, crossbar, index=range(chips), plan=held, on=desk.on))
    else:
        chips = 1

        def work() -> None:
            method = desk.study.deployment(deployment["name"])
            list(method.apply(model, few, crossbar, index=range(1), on=desk.on))

    spent = []
    for _ in range(2):  # the first pays for what is done once
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return min(spent) / chips / len(few.test)


def _some(loaded: Dataset, images: int) -> Dataset:
    """Return the first images of each split."""
    train, validation, test = (
        Split(s.x[:images], s.y[:images]) for s in (loaded.train, loaded.validation, loaded.test)
    )
    return replace(loaded, train=train, validation=validation, test=test)
