"""Which of the store's chips answer for an artefact: settings in order of preference, the largest study of the first.

    Protocol  where to look: columns of the store's table. ``substitute`` says what stands in for the paper's network
              or data set; a claim measured there holds in direction at best.
    Evidence  a store read once, with what the table does not hold of a training: its parameters and its images

Rows of different sizes (epochs, training images, test images, width) or precisions are never mixed: of those that have
all methods asked for, the size with most training (epochs x images) answers, then most test images, then most chips.
A picture, which needs only some of its methods, shows the size that has most of them at most sigma_d before that: a
long study that is begun does not displace a shorter one that is whole. Nothing is chosen by its accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nvlib.store import Store, results

# all that the papers know
UNDER = {"range": "max", "train_range": "max", "clipping": "none", "effects": "", "train_effects": "", "periphery": ""}
_SIZE = ["network", "epochs", "train_images", "images", "bits", "activation_bits", "precision", "train_precision"]


@dataclass(frozen=True)
class Protocol:
    """Where an artefact's numbers are looked for.

    Attributes:
        where: column = value, or several values, of `nvlib.results`; ``start`` is ``pretrained`` where training
            went on from a model trained without noise, and "" (from scratch) unless given.
        substitute: what stands in for the paper's network or data set; empty where it is the paper's.
        parameters: of methods, by name, as the paper has them: a training with others does not answer unless asked for.
    """

    where: Mapping[str, Any]
    substitute: str = ""
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass
class Evidence:
    """A store read once.

    Attributes:
        store: which; the project's own, shipped results and local runs, unless given.
        held: `nvlib.results` of it, where they were read already; None reads them.
        table: all its chips without deployment, with the columns ``parameters``, ``train_images`` and ``start``.
        deployed: those with one, likewise.
        answers: rows of the claims table that were made of it, by artefact (`nvlib.papers.claims_table` keeps them).
    """

    store: Store = field(default_factory=Store)
    held: InitVar[pd.DataFrame | None] = None
    table: pd.DataFrame = field(init=False, repr=False)
    deployed: pd.DataFrame = field(init=False, repr=False)
    answers: dict[str, list[dict[str, object]]] = field(default_factory=dict, init=False, repr=False)
    _places: dict[tuple[str, frozenset[Any]], NDArray[np.bool_]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self, held: pd.DataFrame | None) -> None:
        """Read it."""
        table = results(self.store) if held is None else held
        records = {name: self.store.training(name) for name in table.training.unique()}
        known = {
            name: (record.parameters, record.images, "pretrained" if record.recipe.get("start") else "")
            for name, record in records.items()
        }
        for place, column in enumerate(("parameters", "train_images", "start")):
            table = table.assign(**{column: [known[t][place] for t in table.training]})
        table = table[np.logical_and.reduce([(table[column] == value).to_numpy() for column, value in UNDER.items()])]
        deployed = (table.deployment != "").to_numpy()
        self.table, self.deployed = table[~deployed], table[deployed]

    def select(
        self,
        settings: Sequence[Protocol],
        methods: Sequence[str],
        parameters: Mapping[str, Mapping[str, Any]] | None = None,
        sigma_d: float | Sequence[float] | None = None,
        need: int | None = None,
        zero: bool = False,
        runs: int = 1,
    ) -> tuple[pd.DataFrame, Protocol] | None:
        """Return the rows that answer for these methods, all of one size, and the setting they are of.

        Args:
            settings: in order of preference.
            methods: which must be there, at one sigma_d at least.
            parameters: of methods, by name, over the settings' own.
            sigma_d: only these.
            need: only so many of the methods, from the first on, must be there; None: all.
            zero: whether sigma_d = 0 is wanted too.
            runs: of more than one: the largest sigma_d alone at which each of them has so many trainings.

        Returns:
            None where no setting has them all.
        """
        for setting in settings:
            rows = self.under(setting, **({} if sigma_d is None else {"sigma_d": sigma_d}))
            rows = rows[rows.method.isin(list(methods)) & (rows.sigma_d >= 0 if zero else rows.sigma_d > 0)]
            if rows.empty:
                continue
            wanted = {m: {**setting.parameters.get(m, {}), **(parameters or {}).get(m, {})} for m in methods}
            rows = rows[rows.training.isin([t for t, m, p in _trainings(rows) if _fits(p, wanted[m])])]
            sizes = {}
            for size, part in rows.groupby(_SIZE, observed=True):
                if at := _complete(part, methods[:need], runs):
                    sizes[size] = part if runs == 1 else part[part.sigma_d == max(at)]
            if sizes:
                whole = need is None or need == len(methods)
                best = max(sizes.values(), key=_size if whole else lambda part: (_cells(part), *_size(part)))
                return _one_training_each(best), setting
        return None

    def under(self, setting: Protocol, **where: Any) -> pd.DataFrame:
        """Return all rows of a setting, whatever their size and parameters; ``where`` narrows it further."""
        held = np.ones(len(self.table), dtype=bool)
        for column, value in {"start": "", **setting.where, **where}.items():
            held &= self._at(column, frozenset(value if isinstance(value, list | tuple | set) else [value]))
            if not held.any():  # most settings have no rows
                break
        return self.table[held]

    def _at(self, column: str, values: frozenset[Any]) -> NDArray[np.bool_]:
        """Return where a column has one of these values; the claims ask for few of them hundreds of times."""
        if (column, values) not in self._places:
            self._places[column, values] = self.table[column].isin(list(values)).to_numpy()
        return self._places[column, values]

    def manual(self, settings: Sequence[Protocol], sigma_d: float = 0.25) -> dict[str, float] | None:
        """Return ratio and th of the RC-Manual training with the best noisy validation accuracy in a grid, if any."""
        for setting in settings:
            rows = self.under(setting, method="rc_manual", sigma_d=sigma_d)
            last = [(self.store.history(t), p) for t, _, p in _trainings(rows)]
            scored = [(float(history["noisy"].iloc[-1]), p) for history, p in last if len(history)]
            if scored:
                best = max(scored, key=lambda pair: pair[0])[1]
                return {"ratio": best["ratio"], "th": best["th"]}
        return None

    def trace(self, training: str) -> pd.DataFrame:
        """Return what a training's search tried (`Store.trace`)."""
        return self.store.trace(training)


def _trainings(rows: pd.DataFrame) -> list[tuple[str, str, Mapping[str, Any]]]:
    once = rows.drop_duplicates("training")
    return list(zip(once.training, once.method.astype(str), once.parameters, strict=True))


def _fits(parameters: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(parameters.get(name) == value for name, value in wanted.items())


def _complete(part: pd.DataFrame, methods: Sequence[str], runs: int) -> list[float]:
    """Return at which sigma_d all methods meet, each with so many trainings."""
    seeds = part.groupby(["sigma_d", "method"], observed=True)["train_seed"].nunique()
    seeds = seeds[seeds >= runs]
    return [at for at, held in seeds.groupby(level=0) if set(methods) <= set(held.index.get_level_values(1))]


def _size(part: pd.DataFrame) -> tuple[float, ...]:
    first = part.iloc[0]
    return first.epochs * first.train_images, first.images, len(part)


def _cells(part: pd.DataFrame) -> int:
    return part.groupby(["method", "sigma_d"], observed=True).ngroups


def _one_training_each(part: pd.DataFrame) -> pd.DataFrame:
    """Keep one training a method, sigma_d and seed (several differ in a searched beta, say): most chips, first hash."""
    cell = ["method", "sigma_d", "train_seed"]
    count = part.groupby([*cell, "training"], observed=True).size().rename("n").reset_index()
    count = count.sort_values(["n", "training"], ascending=[False, True]).drop_duplicates(cell)
    return part.merge(count[[*cell, "training"]], on=[*cell, "training"]).reset_index(drop=True)
