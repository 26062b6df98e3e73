"""What a study lacks, as tasks that one process does each, and the plan that each is done under.

The plan is fixed before anything runs and recorded with the results: threads, the kind of machine, which trainings run
as one population (their pack), how many chips and images at a time and by which way. Whoever does a task, in whatever
process, does it under that plan, so the samples are the same bits. What was begun goes on under the plan it was begun
with.

Packing: trainings that differ in sigma_d and seed alone can run as one population. On CUDA, where one small network
leaves most of the device idle, vmap runs the members at once. On a CPU they run one after another all the same: a pack
of 4 LeNets took 0.75 to 1.05 of the time of 4 alone, which does not pay for epochs that are four times as long to lose
and for work that no other process can share. So ``auto`` packs on CUDA alone, as many as half its free memory holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from nvlib import methods, modules, population
from nvlib.data import Dataset
from nvlib.errors import InputError, whole
from nvlib.precision import check as check_precision
from nvlib.records import Evaluation, Training, canonical, digest
from nvlib.store import Store
from nvlib.studies import checkpoint
from nvlib.studies.study import Study

PACK = 16  # at most so many trainings as one population; a checkpoint holds them all
_UNSEEN = 8 << 30  # bytes that a GPU is taken to have free where it cannot be asked


@dataclass(frozen=True)
class Task:
    """A piece of work for one process: a pack of trainings, or the chips that an evaluation lacks.

    Attributes:
        kind: ``training`` or ``evaluation``.
        names: hashes of the pack's trainings, or of the evaluation.
        amount: epochs (of all members), or chips lacking.
        plan: under which it is done.
    """

    kind: str
    names: tuple[str, ...]
    amount: int
    plan: Mapping[str, Any] = field(compare=False)

    @property
    def name(self) -> str:
        """Return the hash it is known by."""
        return self.names[0]

    def record(self) -> dict[str, Any]:
        """Return it in plain JSON values."""
        return {"kind": self.kind, "names": list(self.names), "amount": self.amount, "plan": dict(self.plan)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Task:
        """Return the task of plain values."""
        return cls(values["kind"], tuple(values["names"]), values["amount"], values["plan"])


class Desk:
    """A study being worked on: its data, its records by hash, and the store that what it makes goes to.

    Args:
        study: what is worked on.
        where: the store.
        on: where to compute.
        of: a stored training; the study's evaluations are of its model, whatever trained it.
        loaded: the data, where it is at hand.

    Raises:
        InputError: if ``on`` is no place to compute.
    """

    def __init__(
        self, study: Study, where: Store, on: str | torch.device = "cpu", of: Training | None = None,
        loaded: Dataset | None = None,
    ) -> None:  # fmt: skip
        population.place_of(on)
        self.study, self.where, self.on, self.of = study, where, on, of
        if loaded is not None:
            self.loaded = loaded
        self._chips: dict[str, tuple[object, frozenset[int]]] = {}

    @cached_property
    def loaded(self) -> Dataset:
        """Return the data set."""
        return self.study.data()

    @cached_property
    def evaluations(self) -> dict[str, Evaluation]:
        """Return the evaluations by hash, in order of the axes."""
        return {digest(e): e for _, e in self._pairs}

    @cached_property
    def trainings(self) -> dict[str, Training]:
        """Return the trainings by hash, in order of the axes."""
        return {digest(t): t for t, _ in self._pairs}

    @cached_property
    def _pairs(self) -> list[tuple[Training, Evaluation]]:
        pairs = self.study.pairs(self.loaded)
        return pairs if self.of is None else [(self.of, replace(e, training=digest(self.of))) for _, e in pairs]

    def forget(self) -> None:
        """Let the images go; they are loaded again where they are needed."""
        self.__dict__.pop("loaded", None)

    # -- what there is -----------------------------------------------------------------------------------------------

    def chips(self, name: str) -> frozenset[int]:
        """Return which chips an evaluation has; reads its files again only where there are others than before."""
        home = self.where.runs / name
        files = frozenset(p.name for p in home.glob("samples-*.parquet")) if home.is_dir() else frozenset()
        known, chips = self._chips.get(name, (None, frozenset()))
        if known != files:
            chips = frozenset(self.where.samples(name).chip.tolist())
            self._chips[name] = files, chips
        return chips

    def lacking(self, name: str) -> list[int]:
        """Return the chips that an evaluation lacks, in order."""
        have = self.chips(name)
        return [i for i in range(self.study.chips) if i not in have]

    def trained(self, name: str) -> bool:
        """Whether a training's weights are there, to all appearance."""
        if (self.where.runs / name / "DONE").exists():
            return True
        shipped = self.where.shipped
        return shipped is not None and any(shipped.glob(f"*/weights/{name}.safetensors"))

    def done(self, task: Task) -> bool:
        """Whether all that a task should make is there."""
        if task.kind == "training":
            return all(self.trained(name) for name in task.names)
        return not self.lacking(task.name)

    def ready(self, task: Task) -> bool:
        """Whether a task has what it needs."""
        return task.kind == "training" or self.trained(self.evaluations[task.name].training)


def plan(desk: Desk, pack: int | str = "auto", threads: int | None = None) -> list[Task]:
    """Return what a study lacks, each training followed by its evaluations, and fix the plans.

    Args:
        desk: the study.
        pack: most trainings to run as one population; ``auto``: one on a CPU, up to `PACK` on CUDA.
        threads: of each process; None takes those that torch has here.

    Raises:
        InputError: for a pack or a number of threads that cannot be used.
    """
    pack = pack if pack == "auto" else whole("pack", pack, 1, otherwise=", or 'auto'")
    threads = None if threads is None else whole("threads", threads, 1, otherwise=", or None")
    kind, threads = torch.device(desk.on).type, threads or torch.get_num_threads()
    size = pack if isinstance(pack, int) else PACK if kind == "cuda" else 1
    fitting = kind == "cuda" and pack == "auto"
    check_precision(desk.study.precision, desk.on)
    desk.where.restore([*desk.trainings.values(), *desk.evaluations.values()])  # records that were damaged
    wanted = [name for name in desk.evaluations if desk.lacking(name)]
    needed = dict.fromkeys(desk.evaluations[name].training for name in wanted)
    missing = [name for name in needed if desk.where.weights(name) is None]  # reads them: damaged ones are missing
    found: list[Task] = []
    packs = {pack[0]: pack for pack in _packs(desk, missing, size, fitting)}
    members = {name for pack in packs.values() for name in pack[1:]}
    with running(threads):
        if any(evaluation.deployment is None for evaluation in desk.evaluations.values()):
            precision_of_chips(desk)  # refuses what was scored in another
        for training in needed:
            if training in members:
                continue
            pack = packs.get(training, (training,))
            if training in packs:
                epochs = sum(desk.trainings[name].epochs for name in pack)
                found.append(Task("training", pack, epochs, training_plan(desk, pack, threads)))
            for name in wanted:
                if desk.evaluations[name].training in pack:
                    lacking = len(desk.lacking(name))
                    found.append(Task("evaluation", (name,), lacking, evaluation_plan(desk, name, lacking, threads)))
    return found


def training_plan(desk: Desk, pack: Sequence[str], threads: int) -> dict[str, Any]:
    """Return the plan of a pack: the one it was begun under, or one made now."""
    begun = checkpoint.load(checkpoint.place(desk.where.runs, pack))
    if begun is not None:
        return begun.plan | {"device": torch.device(desk.on).type}
    return {
        "threads": threads, "device": torch.device(desk.on).type, "pack": list(pack), "search": _search(desk, pack),
    }  # fmt: skip


def evaluation_plan(desk: Desk, name: str, count: int, threads: int) -> dict[str, Any]:
    """Return the plan of an evaluation: the one it was begun under, or one made now, measured once a study.

    Raises:
        InputError: if evaluations of the study would differ in precision, or the hardware has not the one asked for.
    """
    kind, evaluation = torch.device(desk.on).type, desk.evaluations[name]
    recorded = desk.where.plan(evaluation)
    if recorded is not None and recorded.get("device") == kind:
        return recorded
    if evaluation.deployment is not None:
        return {"threads": threads, "device": kind}
    precision = precision_of_chips(desk)
    if _elsewhere(desk):
        return {"threads": threads, "device": kind, "precision": precision}
    return asdict(population.in_precision(_fresh(desk, 1 if evaluation.sigma_d == 0 else count), precision))


def precision_of_chips(desk: Desk) -> str:
    """Return the one precision of all evaluations of a study: what some were begun in, else what is asked for and pays.

    Raises:
        InputError: if some were begun in another than is asked for, or the hardware has not the one asked for.
    """
    if "_precision" not in desk.__dict__:
        desk.__dict__["_precision"] = _chosen(desk)
    return desk.__dict__["_precision"]


def _chosen(desk: Desk) -> str:
    study, ships = desk.study, desk.where.shipped_records()
    begun: dict[str, str] = {}
    for name, evaluation in desk.evaluations.items():
        held = desk.where.plan(evaluation) or ships.get(name, {}).get("plan")
        if held is not None and desk.chips(name):
            begun.setdefault(held.get("precision", "float32"), name)
    asked = study.chip_precision or ("float32" if any(study.deployments) else study.precision)
    free = study.chip_precision is None and asked != "float32"  # whichever pays
    wrong = [word for word in begun if word != asked and not (free and len(begun) == 1)]
    if wrong:
        raise InputError(f"evaluation {begun[wrong[0]][:12]} of the study was begun in {wrong[0]}, not in {asked}, and "
                         f"what is compared is of one precision; ask for chip_precision={wrong[0]!r}, or remove it: "
                         f"python -m nvlib results remove {begun[wrong[0]][:12]}")  # fmt: skip
    word = check_precision(next(iter(begun), asked), desk.on)
    if begun or not free or _elsewhere(desk):
        return word
    model = desk.study.template(desk.loaded.classes, desk.loaded.shape[0], 0).to(desk.on)
    return population.plan(model, desk.loaded.test.x.to(desk.on), study.chips, precision=word).precision


@contextmanager
def running(threads: int) -> Iterator[None]:
    """Let torch use so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fresh(desk: Desk, count: int) -> population.Plan:
    """Choose how to run chips of the study's network; measured once a desk."""
    held = desk.__dict__.setdefault("_plans", {})
    key = count, torch.get_num_threads()
    if key not in held:
        model = desk.study.template(desk.loaded.classes, desk.loaded.shape[0], 0).to(desk.on)
        held[key] = population.plan(model, desk.loaded.test.x.to(desk.on), count)
    return held[key]


def _search(desk: Desk, pack: Sequence[str]) -> list[Any] | None:
    """Choose how a method that scores candidates on validation chips runs them; None for one that does not."""
    training = desk.trainings[pack[0]]
    method = methods.get(training.method, **training.parameters)
    cost = methods.cost_of(method)
    if not cost.chips or _elsewhere(desk):
        return None
    images = desk.loaded.validation.x[: cost.images].to(desk.on)
    model = desk.study.template(desk.loaded.classes, desk.loaded.shape[0], 0).to(desk.on)
    chosen = population.plan(model, images, len(pack) * cost.rows * cost.chips, precision=training.precision)
    return [chosen.members, chosen.images, chosen.how]


def _elsewhere(desk: Desk) -> bool:
    """Whether a study is for a GPU that this machine, a login node, does not have: jobs choose how they run chips."""
    return torch.device(desk.on).type == "cuda" and not torch.cuda.is_available()


def _packs(desk: Desk, missing: Sequence[str], size: int, fitting: bool) -> list[tuple[str, ...]]:
    """Group trainings that share all but sigma_d and seed; those begun together stay together."""
    left, found = dict.fromkeys(missing), []
    for begun in checkpoint.find(desk.where.runs):
        if all(name in left for name in begun):
            found.append(begun)
            for name in begun:
                del left[name]
    alike: dict[str, list[str]] = {}
    for name in left:
        if checkpoint.place(desk.where.runs, [name]).exists():
            found.append((name,))
            continue
        alike.setdefault(canonical(_shared(desk.trainings[name])), []).append(name)
    for group in alike.values():
        if fitting:
            size = min(PACK, _most(desk, desk.trainings[group[0]]))
        found += [tuple(group[i : i + size]) for i in range(0, len(group), size)]
    return found


def _most(desk: Desk, training: Training) -> int:
    """Return how many trainings half of a GPU's free memory holds: activations, their gradients, weights, noise."""
    model = desk.study.template(desk.loaded.classes, desk.loaded.shape[0], 0)
    method = methods.get(training.method, **training.parameters)
    cost = methods.cost_of(method)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in modules.state(model).values())
    batch = training.recipe["batch_size"] * population.activation_bytes(model, desk.loaded.test.x[:1])
    free = torch.cuda.mem_get_info(desk.on)[0] if torch.cuda.is_available() else _UNSEEN
    return max(1, free // 2 // (cost.rows * cost.forwards * (3 * batch + 12 * weights)))


def _shared(training: Training) -> Training:
    """Return a training without what members of a pack may differ in."""
    return replace(training, sigma_d=0.0, seed=0)
