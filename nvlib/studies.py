"""What to run: a grid of trainings and evaluations, and the plain executor that runs what is missing.

    Study = networks' one shape x methods x devices x sigma_d x training seeds

``matched``: a model is tested at the sigma_d it was trained at (TRICE's Table I). ``swept``: models trained at
``train_sigma_d`` are tested at every sigma_d. Everything already in the store is skipped; a training
checkpoints by epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from nvlib import data, devices, methods, models, store
from nvlib.crossbar import tables
from nvlib.data import Dataset
from nvlib.errors import InputError
from nvlib.evaluate import blocks
from nvlib.methods import Recipe
from nvlib.methods.keep import Held
from nvlib.population import Plan
from nvlib.records import Evaluation, Training, digest
from nvlib.store import Store

BLOCK = 100  # chips a file
SECONDS = 30.0  # or as many as this


@dataclass(frozen=True)
class Study:
    """A grid of runs. Sequences are its axes; the rest is shared.

    ``bits`` and ``activation_bits`` None take the network's own; ``images`` limits each split (None: all).
    """

    network: str = "lenet"
    dataset: str = "mnist"
    methods: tuple[str, ...] = ("none", "gaussian")
    devices: tuple[str, ...] = ("rram",)
    sigma_d: tuple[float, ...] = (0.1,)
    seeds: tuple[int, ...] = (0,)
    train_sigma_d: tuple[float, ...] | None = None  # None: matched
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of methods, by name
    width: float = 1.0
    reference: str = "full_scale"
    mapping: str = "differential"
    bits: int | None = None
    activation_bits: int | None = None
    epochs: int = 10
    recipe: Recipe = field(default_factory=Recipe)
    select: str = "last"  # which epoch is the result, and when to stop early: see `nvlib.train`
    patience: int | None = None
    target: float | None = None
    images: int | None = None
    chips: int = 400
    chip_seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an empty axis and anything that could not run, before anything runs."""
        for axis in ("methods", "devices", "sigma_d", "seeds"):
            if not getattr(self, axis):
                raise InputError(f"{axis} of the study is empty; expected at least one value")
        if self.chips < 1 or self.epochs < 1:
            raise InputError(f"chips={self.chips}, epochs={self.epochs} cannot run; expected at least 1 of each")
        Held(self.select, self.patience, self.target, 1)  # checks them
        bits = self.template().bits
        for name in self.methods:
            methods.get(name, **self.parameters.get(name, {}))
        for name in self.devices:
            device = devices.get(name)
            tables(device, bits, self.reference, self.mapping)
            for sigma_d in (*self.sigma_d, *(self.train_sigma_d or ())):
                device.spread(sigma_d, self.reference)

    def template(self, classes: int = 10, channels: int | None = None, seed: int | None = None) -> models.Network:
        """Return the network with fresh weights."""
        return models.build(
            self.network, classes=classes, width=self.width, bits=self.bits, activation_bits=self.activation_bits,
            in_channels=channels, seed=seed,
        )

    def data(self) -> Dataset:
        """Load the data set, at the size the network takes."""
        loaded = data.load(self.dataset, limit=self.images)
        size = self.template().input_size
        return loaded if size in (None, loaded.shape[-1]) else data.resize(loaded, size)

    def pairs(self, loaded: Dataset) -> list[tuple[Training, Evaluation]]:
        """Return every evaluation with its training, in order of the axes."""
        found = {}
        for method in self.methods:
            for name in self.devices:
                for sigma_d in self.sigma_d:
                    trained_at = (sigma_d,) if self.train_sigma_d is None else self.train_sigma_d
                    for at in trained_at:
                        for seed in self.seeds:
                            training = self._training(method, name, at, seed, loaded)
                            evaluation = self._evaluation(training, name, sigma_d, loaded)
                            found[digest(evaluation)] = (training, evaluation)
        return list(found.values())

    def _training(self, method: str, device: str, sigma_d: float, seed: int, loaded: Dataset) -> Training:
        network, quiet = self.template(), method == "none"
        return Training(
            network=self.network,
            width=self.width,
            dataset=loaded.name,
            fingerprint=loaded.fingerprint,
            images=len(loaded.train),
            method=method,
            parameters=asdict(methods.get(method, **self.parameters.get(method, {}))),
            device=None if quiet else numbers_of(device),
            sigma_d=0.0 if quiet else float(sigma_d),
            reference=None if quiet else self.reference,
            mapping=None if quiet else self.mapping,
            bits=network.bits,
            activation_bits=network.activation_bits,
            epochs=self.epochs,
            recipe=self.recipe.record() | self._selection(),
            seed=seed,
        )

    def _selection(self) -> dict[str, Any]:
        """Return how the result is selected, as a record has it: only what is not the default."""
        chosen = {"select": self.select, "patience": self.patience, "target": self.target}
        return {name: value for name, value in chosen.items() if value not in (None, "last")}

    def _evaluation(self, training: Training, device: str, sigma_d: float, loaded: Dataset) -> Evaluation:
        return Evaluation(
            training=digest(training),
            device=numbers_of(device),
            sigma_d=float(sigma_d),
            reference=self.reference,
            mapping=self.mapping,
            bits=training.bits,
            images=len(loaded.test),
            deployment=None,
            seed=self.chip_seed,
        )


def run(
    study: Study,
    where: Store | None = None,
    *,
    on: str | torch.device = "cpu",
    progress: bool | Callable[[str, float, float], None] = True,
) -> pd.DataFrame:
    """Run what is missing of a study and return all its samples.

    Args:
        study: what to run.
        where: the store; None takes the project's own.
        on: where to compute, ``cpu`` or ``cuda``.
        progress: True for bars with the time left; or a function called with (what, done, total).

    Returns:
        The tidy table of `store.results`, the study's rows, at most ``study.chips`` chips an evaluation.
    """
    where = where or Store()
    loaded = study.data()
    pairs = study.pairs(loaded)
    trainings = {digest(t): t for t, _ in pairs}
    missing = [t for t in trainings.values() if where.weights(t) is None and _short(where, study, t, pairs)]
    total = sum(t.epochs for t in missing)
    with _Bar("training", total, "epoch", progress) as bar:
        for training in missing:
            _train(study, training, loaded, where, on, bar)
    todo = [(t, e, study.chips - len(where.samples(e))) for t, e in pairs]
    with _Bar("evaluation", sum(max(0, n) for _, _, n in todo), "chip", progress) as bar:
        for training, evaluation, n in todo:
            if n > 0:
                _evaluate(study, training, evaluation, loaded, where, on, bar)
    table = store.results(where, run=[digest(e) for _, e in pairs])
    return table[table.chip < study.chips].reset_index(drop=True)


def numbers_of(device: str) -> dict[str, Any]:
    """Return what of a device goes into a record: its name and its numbers."""
    device = devices.get(device)
    return {"name": device.name, **device.numbers()}


def device_of(record: Mapping[str, Any]) -> devices.Device:
    """Return the device that a record holds."""
    return devices.Device.from_dict(record)


def _short(where: Store, study: Study, training: Training, pairs: list[tuple[Training, Evaluation]]) -> bool:
    """Whether some evaluation of a training lacks chips, so that its weights are needed."""
    own = [e for t, e in pairs if t == training]
    return any(len(where.samples(e)) < study.chips for e in own)


def _train(
    study: Study, training: Training, loaded: Dataset, where: Store, on: str | torch.device, bar: _Bar
) -> None:
    """Train one member from its last checkpoint on; the checkpoint goes when the run is whole."""
    aside = where.runs / f".{digest(training)}.checkpoint.safetensors"
    history, trace, resume, spent = [], [], None, 0.0
    traced = aside.with_suffix(".trace.parquet")
    if aside.exists():
        resume = load_file(aside)
        history = pd.read_parquet(aside.with_suffix(".parquet")).to_dict("records")
        history = history[: int(resume["epoch"])]
        if traced.exists():
            found = pd.read_parquet(traced)
            trace = found[found.epoch <= int(resume["epoch"])].to_dict("records")
        spent = sum(row["seconds"] for row in history)
        bar.update(len(history))
    run_of = methods.train(
        methods.get(training.method, **training.parameters),
        lambda seed: study.template(loaded.classes, loaded.shape[0], seed),
        loaded,
        device_of(training.device) if training.device else study.devices[0],
        training.sigma_d,
        seed=training.seed,
        epochs=training.epochs,
        recipe=study.recipe,
        reference=study.reference,
        mapping=study.mapping,
        select=study.select,
        patience=study.patience,
        target=study.target,
        on=on,
        resume=resume,
    )
    for epoch in run_of:
        history.append(
            {
                "epoch": epoch.epoch,
                "loss": float(epoch.loss[0]),
                "clean": float(epoch.clean[0]),
                "noisy": float(epoch.noisy[0]),
                "diverged": bool(epoch.diverged[0]),
                "seconds": epoch.seconds,
            }
        )
        spent += epoch.seconds
        trace += epoch.trace
        if trace:
            store.write_whole(traced, pd.DataFrame(trace).to_parquet)
        store.write_whole(aside.with_suffix(".parquet"), pd.DataFrame(history).to_parquet)
        store.write_whole(aside, lambda path, state=epoch.state: save_file(state, path))
        bar.update(1)
    bar.update(training.epochs - len(history))  # stopped early
    where.save_training(
        training, methods.result(load_file(aside)), pd.DataFrame(history), spent, pd.DataFrame(trace)
    )
    aside.unlink()
    aside.with_suffix(".parquet").unlink()
    traced.unlink(missing_ok=True)


def _evaluate(
    study: Study, training: Training, evaluation: Evaluation, loaded: Dataset, where: Store, on: str, bar: _Bar
) -> None:
    """Add the chips an evaluation lacks, a block at a time, under the plan it was begun with."""
    model = model_of(training, where)
    plan = where.plan(evaluation)
    have = set(where.samples(evaluation).chip)
    missing = [i for i in range(study.chips) if i not in have]
    held, began = [], time.monotonic()
    for start, stop in _ranges(missing):
        for part in blocks(
            model, loaded, device_of(evaluation.device), evaluation.sigma_d, index=range(start, stop),
            seed=evaluation.seed, bits=evaluation.bits, reference=evaluation.reference, mapping=evaluation.mapping,
            on=on, plan=Plan(**plan) if plan else None,
        ):
            plan = plan or asdict(part.plan)
            held.append(part)
            bar.update(len(part))
            if sum(map(len, held)) >= BLOCK or time.monotonic() - began > SECONDS:
                _flush(where, evaluation, held, plan)
                held, began = [], time.monotonic()
        _flush(where, evaluation, held, plan)
        held = []


def model_of(training: Training | str, where: Store | None = None) -> models.Network:
    """Return the trained network of a record (or of its hash), in evaluation mode.

    Raises:
        InputError: if the store does not have it.
    """
    where = where or Store()
    record = where.training(training) if isinstance(training, str) else training
    weights = where.weights(record)
    if weights is None:
        raise InputError(f"no weights for training {digest(record)[:12]}; run its study first")
    shape = {"width": record.width, "bits": record.bits, "activation_bits": record.activation_bits}
    matrices = [name for name, w in models.build(record.network, **shape).named_parameters() if w.ndim > 1]
    channels, classes = weights[matrices[0]].shape[1], weights[matrices[-1]].shape[0]  # what the data set decided
    model = models.build(record.network, classes=classes, in_channels=channels, **shape)
    model.load_state_dict(weights)
    return model.eval()


def _flush(where: Store, evaluation: Evaluation, held: list, plan: Mapping[str, Any] | None) -> None:
    if held:
        columns = {"chip": "index", "accuracy": "accuracy", "loss": "loss", "ekl": "ekl"}
        rows = [pd.DataFrame({c: getattr(part, a) for c, a in columns.items()}) for part in held]
        where.append(evaluation, pd.concat(rows, ignore_index=True), plan)


def _ranges(indices: list[int]) -> list[tuple[int, int]]:
    """Return the runs of consecutive numbers in a sorted list, as half-open ranges."""
    runs: list[tuple[int, int]] = []
    for i in indices:
        if runs and runs[-1][1] == i:
            runs[-1] = (runs[-1][0], i + 1)
        else:
            runs.append((i, i + 1))
    return runs


class _Bar:
    """One progress bar for a person, or calls for a program."""

    def __init__(self, what: str, total: int, unit: str, progress: bool | Callable[[str, float, float], None]) -> None:
        self.what, self.total, self.done = what, total, 0
        self.call = progress if callable(progress) else None
        shown = progress is True and total > 0
        self.bar = tqdm(total=total, unit=unit, desc=what, disable=not shown, smoothing=0.05)

    def update(self, n: int) -> None:
        self.done += n
        self.bar.update(n)
        if self.call:
            self.call(self.what, self.done, self.total)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

