"""The Taylor analysis of trained models, as it ships: which models, at which size, and its tables.

    taylor         of a training: models, spectrum, predicted, chips, quantiles, layers, bits, concentration, snapshots
    derivatives    of a training: snapshots alone
    following      a training of its own, epoch by epoch: training

``python -m nvlib.papers.analyses taylor`` computes what is missing of the models in the store (two to four minutes a
model on a CPU core); what is not trained yet is left out and said to be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from nvlib import statistics
from nvlib.errors import InputError, unknown
from nvlib.papers.presets import PRESETS
from nvlib.records import Analysis
from nvlib.store import Store, results

if TYPE_CHECKING:
    from nvlib.studies.analyses import Make
    from nvlib.taylor import Size

METHODS = ("none", "gaussian", "rc", "trice")
CONTROLS = ("trice_gauss", "lc", "rt", "lt")  # snapshots only: what the mean of the noise leaves in f'
AT = 0.2  # where trainings are compared
SIGMA_D = (AT, 0.1, 0.3)  # that models were trained at
TABLES = (
    "models", "spectrum", "predicted", "chips", "quantiles", "layers", "bits", "concentration", "snapshots", "training",
)  # fmt: skip
KEYS = ("method", "train_sigma_d", "train_seed")
EPOCHS = 4  # of the trainings that are followed
COMMAND = "python -m nvlib.papers.analyses taylor"
_FOLLOWED: dict[str, dict[str, Any]] = {"trice": {"warm": 1, "tolerance": 0.05, "images": 1000, "n_train": 100}}
_CHIPS = {"sigma_d": AT, "chips": 400}  # that a model's first percentile in snapshots is of
_TRAINED: dict[str, Any] = {
    "network": "lenet", "dataset": "mnist", "device": "rram", "mapping": "differential", "epochs": 10,
}  # fmt: skip


def size(preset: str) -> Size:
    """Return how much of a model's analysis is computed at a preset; ``full`` is what ships."""
    from nvlib.taylor import Size

    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    sizes = {
        "smoke": Size(100, (0.01, 0.05, 0.2), chips=16, vectors=3, probes=4, block_probes=0, pairs=4, alone=8),
        "quick": Size(500, vectors=4, probes=4, block_probes=0, pairs=12, alone=50),
        "full": Size(),
        "paper": Size(images=10_000, chips=10_000, vectors=50, probes=32, pairs=400, alone=1000),
    }
    return sizes[preset]


def trained(
    methods: Sequence[str] = METHODS,
    sigma_d: Sequence[float] = SIGMA_D,
    seeds: Sequence[int] = (0,),
    where: Store | None = None,
) -> pd.DataFrame:
    """Return the trained models that the store has: method, train_sigma_d, train_seed, training (hash)."""
    where = where or Store()
    table = results(where, plain=True, **_TRAINED, method=list(methods), train_seed=list(seeds))
    held = table[(table.method == "none") | table.train_sigma_d.isin(list(sigma_d))]
    rows = held[[*KEYS, "training"]].drop_duplicates().astype({"method": str, "training": str})
    rows = rows[[where.training(name).mapping in (None, _TRAINED["mapping"]) for name in rows.training]]
    order = {method: place for place, method in enumerate(methods)}
    return rows.sort_values([*KEYS], key=lambda c: c.map(order) if c.name == "method" else c, ignore_index=True)


def table(
    name: str, train_sigma_d: float | None = None, train_seed: int = 0, store: Store | None = None
) -> pd.DataFrame:
    """Return one stored table of `TABLES`; InputError where there is none.

    Args:
        name: of the table.
        train_sigma_d: only models trained there, and the one without noise; None: all.
        train_seed: of those, only this training.
        store: None takes the project's own.
    """
    if name not in TABLES:
        raise unknown("table of the Taylor analysis", name, TABLES)
    store = store or Store()
    kinds = ("following",) if name == "training" else ("taylor", "derivatives") if name == "snapshots" else ("taylor",)
    held = store.analysed(kinds, name)
    if held.empty:
        raise InputError(f"no analysis with a table {name!r} is stored; compute it with: {COMMAND}")
    if train_sigma_d is None:
        return held
    return held[held.train_sigma_d.isin([0.0, train_sigma_d]) & (held.train_seed == train_seed)].reset_index(drop=True)


def one(training: str, preset: str = "full", where: Store | None = None) -> dict[str, pd.DataFrame]:
    """Analyse one trained model of the store on the first test images; its tables by name."""
    from nvlib import data, studies, taylor

    model, loaded = studies.model_of(training, where), data.load("mnist")
    tables = taylor.analyse(model, loaded.test, size=size(preset)).tables()
    return {"chips": tables.pop("samples"), **tables, "snapshots": shots(training, where)}


def shots(training: str, where: Store | None = None) -> pd.DataFrame:
    """Return f, f' and f'' of one trained model by layer, on 20,000 training images and all test images.

    Beside them kpp, kpp_low, kpp_high: its first percentile accuracy at `AT`, of the chips that the store has.
    """
    from nvlib import data, studies, taylor
    from nvlib.data import Split

    model, loaded = studies.model_of(training, where), data.load("mnist")
    parts = {"train": Split(loaded.train.x[:20_000], loaded.train.y[:20_000]), "test": loaded.test}
    taken = [taylor.snapshot(model, part).assign(split=name) for name, part in parts.items()]
    return pd.concat(taken, ignore_index=True).assign(**kpp(training, where))


def kpp(training: str, where: Store | None = None) -> dict[str, float]:
    """Return the first percentile accuracy of a model at `AT`, and its limits; NaN where the store has no chips."""
    protocol: dict[str, Any] = {"device": "rram", "mapping": "differential", "chip_seed": 0, "images": 10_000}
    chips = results(where, plain=True, training=training, sigma_d=AT, **protocol)
    chips = chips[chips.chip < _CHIPS["chips"]]
    if chips.empty:
        return dict.fromkeys(("kpp", "kpp_low", "kpp_high"), math.nan)
    found = statistics.kpp(chips.drop_duplicates("chip").accuracy, 1)
    limits = (math.nan if limit is None else limit for limit in (found.low, found.high))
    return dict(zip(("kpp", "kpp_low", "kpp_high"), (found.value, *limits), strict=True))


def followed(method: str, sigma_d: float = 0.2, seed: int = 0, epochs: int = EPOCHS) -> Iterator[pd.DataFrame]:
    """Follow a training of LeNet on MNIST as `nvlib.taylor.follow`; TRICE's search scaled to its epochs."""
    from nvlib import data, methods, taylor

    chosen = methods.get(method, **_FOLLOWED.get(method, {}))
    yield from taylor.follow(chosen, data.load("mnist"), sigma_d=sigma_d, epochs=epochs, seed=seed)


def planned(
    methods: Sequence[str] = METHODS,
    sigma_d: Sequence[float] = SIGMA_D,
    seeds: Sequence[int] = (0,),
    where: Store | None = None,
) -> list[tuple[Analysis, Make]]:
    """Return the analyses of the models in the store, each with what makes it; prints which are not trained.

    Args:
        methods: to analyse, and to follow in training.
        sigma_d: that models were trained at.
        seeds: of the trainings to analyse.
        where: the store.
    """
    from nvlib import data

    where, fingerprint = where or Store(), data.load("mnist").fingerprint
    found = trained(methods, sigma_d, seeds, where)
    base: dict[str, Any] = {"dataset": "mnist", "fingerprint": fingerprint, "device": "rram"}
    wanted: list[tuple[Analysis, Make]] = []
    for row in found.itertuples(index=False):
        parameters = {**base, "size": asdict(size("full")), "percentile": _CHIPS}
        wanted.append((Analysis("taylor", (row.training,), parameters), partial(_marked, one, row)))
    whole = set(found.training)
    for row in trained((*methods, *CONTROLS), [AT], (0, 1, 2), where).itertuples(index=False):
        if row.training not in whole:
            record = Analysis("derivatives", (row.training,), {**base, "percentile": _CHIPS})
            wanted.append((record, partial(_marked, _shots, row)))
    for method in methods:
        parameters = {**base, "network": "lenet", "method": method, "parameters": _FOLLOWED.get(method, {}),
                      "sigma_d": AT, "epochs": EPOCHS, "seed": 0}  # fmt: skip
        wanted.append((Analysis("following", (), parameters), partial(_following, method)))
    lacking = {(m, 0.0 if m == "none" else s, seed) for m in methods for s in sigma_d for seed in seeds}
    if missing := lacking - set(found[list(KEYS)].itertuples(index=False, name=None)):
        print(f"not trained in the store, left out: {sorted(missing)}")
    return wanted


def _marked(
    make: Callable[..., dict[str, pd.DataFrame]], row: Any, record: Analysis, store: Store
) -> dict[str, pd.DataFrame]:
    """Make tables in single precision and say whose they are."""
    made = make(row.training, where=store)
    return {name: single(part.assign(**row._asdict())) for name, part in made.items()}


def _shots(training: str, where: Store | None = None) -> dict[str, pd.DataFrame]:
    return {"snapshots": shots(training, where)}


def _following(method: str, record: Analysis, store: Store) -> dict[str, pd.DataFrame]:
    return {"training": single(pd.concat(followed(method), ignore_index=True))}


def single(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table in single precision, but for what is compared as it is written."""
    exact = ("sigma_d", "train_sigma_d", "k")
    wide = [c for c in table.select_dtypes("float64").columns if c not in exact]
    return table.astype(dict.fromkeys(wide, "float32"))


def slopes(
    sigma_d: Sequence[float], factors: Sequence[float] = (0.0, 1.0, 2.0), k: float = 1, train_sigma_d: float = 0.2
) -> pd.DataFrame:
    """Return what the percentile of the loss would be with every |f'| times a factor, by the full law.

    Of the shipped models trained at ``train_sigma_d`` and without noise; columns method, train_seed, sigma_d, factor,
    percentile (nats).
    """
    from nvlib.taylor import Quadratic

    models, spectrum, rows = table("models"), table("spectrum"), []
    for one in models.itertuples():
        if one.train_sigma_d not in (0.0, train_sigma_d):
            continue
        own = spectrum[spectrum.training == one.training]
        for s in sigma_d:
            mean = one.f0 + s**2 * one.trace / 2
            for c in factors:
                law = Quadratic.of_traces(
                    mean, s**2 * own.lam, c * s * own.beta, (c * s * one.slope) ** 2, s**4 * one.square,
                    s**6 * one.cube, c**2 * s**4 * one.bent,
                )  # fmt: skip
                value = float(law.quantile(1 - k / 100))
                seed = one.train_seed
                rows.append({"method": one.method, "train_seed": seed, "sigma_d": s, "factor": c, "percentile": value})
    return pd.DataFrame(rows)
