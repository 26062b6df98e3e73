"""One training, or one evaluation of a stored model, done as a study does them: locked, checkpointed, in blocks."""

from __future__ import annotations

from typing import Any

import torch

from nvlib import bars
from nvlib.errors import InputError
from nvlib.records import Evaluation
from nvlib.store import Store
from nvlib.studies import Study, model_of, run
from nvlib.studies.plan import Desk, Task, training_plan
from nvlib.studies.runner import UNITS, Bars, run_tasks


def train(study: Study, where: Store, on: str, threads: int | None, progress: bool) -> str:
    """Train the one model of a study if it is not there, and return its hash."""
    desk = Desk(study, where, on)
    (name,) = desk.trainings
    if where.weights(name) is None:
        held = training_plan(desk, (name,), threads or torch.get_num_threads())
        task = Task("training", (name,), study.epochs, held)
        with bars.counted(UNITS, progress) as tell, Bars([task], tell) as told:
            run_tasks([(desk, task)], told.tell)
    return name


class Model:
    """A stored model, and the data that its chips are scored on.

    Args:
        name: hash of its training.
        where: the store.
        dataset: path of an image folder that has moved; None: where it was.

    Raises:
        InputError: without its weights, or with other data than it was trained on.
    """

    def __init__(self, name: str, where: Store, dataset: str | None = None) -> None:
        self.training, self.where = where.training(name), where
        if where.weights(name) is None:
            raise InputError(f"no weights for training {name[:12]}; run its study first")
        # every split is limited by as many images as were trained on, or none is
        for images in (self.training.images, None):
            self.shape: dict[str, Any] = {
                "network": self.training.network, "dataset": dataset or self.training.dataset, "methods": ("none",),
                "width": self.training.width, "bits": self.training.bits, "images": images,
                "activation_bits": self.training.activation_bits,
            }  # fmt: skip
            self.loaded = Study.of(self.shape).data()
            if self.loaded.fingerprint == self.training.fingerprint:
                return
        raise InputError(
            f"{self.shape['dataset']} is not the data that training {name[:12]} saw: its fingerprint is "
            f"{self.loaded.fingerprint[:12]}, expected {self.training.fingerprint[:12]}; its folder: --dataset PATH"
        )

    def calibrated(self, device: str, sigma_d: float, k: float, **conditions: Any) -> str:
        """Return the weight range that gives the best KPP on validation images (`nvlib.calibrate`)."""
        from nvlib.calibration import calibrate

        model = model_of(self.training, self.where)
        return calibrate(model, self.loaded, device, sigma_d, bits=self.training.bits, k=k, **conditions).range

    def evaluate(self, chips: int, on: str, threads: int | None, progress: bool, **values: Any) -> Evaluation:
        """Bring an evaluation to at least so many chips and return its record.

        Args:
            chips: how many.
            on: where to compute.
            threads: of torch; None leaves them.
            progress: whether to show a bar.
            **values: of the study of one that it is, as `Study.of` takes them: devices, sigma_d, reference, ...
        """
        study = Study.of({**self.shape, **values, "chips": chips})
        with bars.counted(UNITS, progress) as tell:
            run(study, self.where, on=on, progress=tell, threads=threads, of=self.training, loaded=self.loaded)
        (evaluation,) = Desk(study, self.where, on, self.training, self.loaded).evaluations.values()
        return evaluation
