"""TRICE: right-censored noise whose size is searched while training (TRICE Algorithm 3), and its control.

Three candidates are trained with sigma_t at the quartiles of a bracket [start, end]. After every epoch from ``warm``
on, each one's KPP is measured, the bracket closes round the best, whose weights the other two take over. Once the
bracket is narrower than 1e-4 one model is trained on at sigma_t = start.
Source: Yan et al., ICCAD 2023, Algorithms 2 and 3, III-E; setting of IV-B.

Symbols
    start, end   the first bracket, in units of sigma_d (paper: 0 and 2)
    th           where the law is cut, in deviations (paper: 2)
    warm         epochs before the first KPP (paper: 5)
    n_train      N_train, chips of a KPP (paper: 300; an interval at k = 1 needs 368 chips)
    k            percentile, in percent (paper: q = k / 100 = 0.01)
    images       how many validation images a KPP is measured on; None: all
    tolerance    width at which the bracket is closed (paper: 1e-4, in units of sigma)
    law          rc, or another of `nvlib.noise`; ``gaussian`` is the control that tells the search from the censoring

The run's trace says for every epoch and candidate: sigma_t, KPP with its interval, the bracket, and which won.

Deviations from the paper: KPP is taken on validation data, never on what is reported. The three candidates start
from the same weights, see the same batches and the same luck of noise (scaled by their sigma_t), and a KPP's chips
are the same for the three and new each epoch, so that they differ by sigma_t alone. Taking over weights includes
buffers and the optimiser's state. If the epochs end before the bracket closes (that takes 13 to 31 of them after
``warm``), the middle candidate is the result. Weights are quantised, gradients straight through, and the recipe's
optimiser makes the update.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from nvlib import noise, statistics
from nvlib.data import Split
from nvlib.errors import InputError, unknown
from nvlib.methods.cost import Cost
from nvlib.methods.training_state import SPACES
from nvlib.statistics import Estimate

if TYPE_CHECKING:
    from nvlib.methods.training_state import Batch, TrainingState

CANDIDATES = ("left", "mid", "right")


@dataclass(frozen=True)
class Trice:
    """Right-censored noise injection with an adaptive search of sigma_t."""

    start: float = 0.0
    end: float = 2.0
    th: float = 2.0
    warm: int = 5
    n_train: int = 300
    k: float = 1
    images: int | None = None
    tolerance: float = 1e-4
    space: str = "weight"
    law: str = "rc"
    name: ClassVar[str] = "trice"

    def __post_init__(self) -> None:
        """Refuse what cannot be searched."""
        noise.get(self.law, self.cut)
        statistics.kpp([0.0], self.k)  # checks k
        if self.space not in SPACES:
            raise unknown("space of the noise", self.space, SPACES)
        if not 0 <= self.start <= self.end < np.inf:
            raise InputError(f"the bracket [{self.start!r}, {self.end!r}] is not usable; expected 0 <= start <= end")
        if self.images is not None and self.images < 1:
            raise InputError(f"images={self.images!r} is not usable; expected at least 1 validation image, or None")
        if self.warm < 0 or self.n_train < 1 or not self.tolerance > 0:
            raise InputError(
                f"warm={self.warm!r}, n_train={self.n_train!r}, tolerance={self.tolerance!r} cannot be used; "
                "expected warm >= 0, n_train >= 1, tolerance > 0"
            )

    @property
    def cost(self) -> Cost:
        """Return what a training takes: three models until the bracket closes, each scored on the chips of a KPP.

        A bracket keeps three quarters of its width at most.
        """
        closings = np.log(max(1.0, (self.end - self.start) / self.tolerance)) / np.log(4 / 3)
        return Cost(len(CANDIDATES), chips=self.n_train, images=self.images, epochs=self.warm + int(np.ceil(closings)))

    @property
    def cut(self) -> float | None:
        """Return th; None for a law that is not cut."""
        return None if self.law == "gaussian" else self.th

    def begin(self, run: TrainingState, training: Split) -> None:
        """Open the brackets."""
        sigma_d = torch.tensor([run.sigmas[run.rows(t)[0]] for t in range(len(run.result))], dtype=torch.float64)
        run.memory["bracket"] = torch.stack([self.start * sigma_d, self.end * sigma_d], 1)  # l. 1
        run.result = [run.rows(t)[1] for t in range(len(run.result))]  # l. 2: three models a training
        self.merge(run)

    def loss(self, run: TrainingState, batch: Batch) -> Tensor:
        """Return the cross-entropy under noise of each candidate's size, (members,)."""
        sigma_t = self.sigma_t(run).to(run.sigma_d)
        noisy = run.noisy(noise.get(self.law, self.cut), sigma_t, space=self.space)
        return run.cross_entropy(run.forward(noisy, batch.x), batch.y)  # l. 6, or l. 12-14: NoiseTrain

    def sigma_t(self, run: TrainingState) -> Tensor:
        """Return the size of each row's noise, (members,): the quartiles, or start where the bracket is closed."""
        found = torch.empty(len(run.owner), dtype=torch.float64)
        for training, (start, end) in enumerate(run.memory["bracket"].tolist()):
            rows = run.rows(training)
            found[rows] = torch.tensor(quartiles(start, end) if len(rows) > 1 else [start], dtype=torch.float64)
        return found

    def after_epoch(self, run: TrainingState, validation: Split) -> list[dict[str, Any]]:
        """Measure the candidates and narrow the brackets; returns the trace."""
        sigma_t, trace, bracket = self.sigma_t(run).tolist(), [], run.memory["bracket"]
        opened = [t for t in range(len(run.result)) if len(run.rows(t)) > 1]
        rows = [row for t in opened for row in run.rows(t)]
        found: dict[int, Estimate] = {}
        if rows and run.epoch >= self.warm:  # l. 15
            found = dict(zip(rows, self.kpp(run, validation, rows), strict=True))  # l. 17-19
        for training, (start, end) in enumerate(bracket.tolist()):
            mine, best = run.rows(training), 0
            if mine[0] in found:
                start_, end_, best = narrow(start, end, [found[row].value for row in mine])  # l. 20-27
                bracket[training] = torch.tensor([start_, end_], dtype=torch.float64)
                for row in mine:
                    if row != mine[best]:
                        run.copy(mine[best], row)
            for i, row in enumerate(mine):
                e = found.get(row, Estimate(np.nan, None, None, 0))
                place = CANDIDATES[i] if len(mine) > 1 else "merged"
                trace.append({"training": training, "candidate": place, "sigma_t": sigma_t[row], "kpp": e.value,
                              "low": e.low, "high": e.high, "chips": e.n, "start": start, "end": end,
                              "chosen": row in found and i == best})  # fmt: skip
        self.merge(run)
        return trace

    def kpp(self, run: TrainingState, validation: Split, rows: list[int]) -> list[Estimate]:
        """Return the KPP of rows on this epoch's chips (Algorithm 2)."""
        chips = range(run.epoch * self.n_train, (run.epoch + 1) * self.n_train)
        validation = Split(validation.x[: self.images], validation.y[: self.images])
        return [statistics.kpp(accuracy, self.k) for accuracy in run.accuracies(validation, chips, rows)]

    def merge(self, run: TrainingState) -> None:
        """Keep one row, w_1, of each training whose bracket is closed."""
        closed = [end - start < self.tolerance for start, end in run.memory["bracket"].tolist()]  # l. 4
        rows = [row for t, done in enumerate(closed) for row in (run.rows(t)[:1] if done else run.rows(t))]
        if len(rows) < len(run.owner):
            run.keep(rows)


@dataclass(frozen=True)
class TriceGauss(Trice):
    """The control: the same search with plain Gaussian noise."""

    law: str = "gaussian"
    name: ClassVar[str] = "trice_gauss"


def quartiles(start: float, end: float) -> list[float]:
    """Return left, mid and right of a bracket (Algorithm 3, l. 9-11)."""
    return [start + i * (end - start) / 4 for i in (1, 2, 3)]


def narrow(start: float, end: float, perf: list[float]) -> tuple[float, float, int]:
    """Close a bracket round the best of left, mid, right (Algorithm 3, l. 21-27); returns it and the best's place."""
    left, _, right = quartiles(start, end)
    if max(perf) == perf[1]:  # l. 21
        return left, right, 1
    if max(perf) == perf[0]:  # l. 23
        return start, right, 0
    return left, end, 2  # l. 25
