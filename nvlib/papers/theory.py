"""The Taylor analysis of trained models, as it ships: which models, at which size, and where its tables lie.

    results/taylor/{models,spectrum,predicted,chips,quantiles,layers,bits,concentration,snapshots,training}.parquet
                   environment.json

``python -m nvlib.papers.theory`` adds what they lack from the models in the store (two to four minutes a model on a
CPU core), or with ``--again`` computes all of it; what is not trained yet is left out and said to be.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from nvlib import statistics
from nvlib.errors import InputError, unknown
from nvlib.papers.presets import PRESETS
from nvlib.provenance import environment
from nvlib.store import Store, results, shipped_results, write_json, write_whole

if TYPE_CHECKING:
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
_TRAINED = {"network": "lenet", "dataset": "mnist", "device": "rram", "mapping": "differential", "epochs": 10}


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
    table = results(where, **_TRAINED, method=list(methods), train_seed=list(seeds))
    held = table[(table.method == "none") | table.train_sigma_d.isin(list(sigma_d))]
    rows = held[[*KEYS, "training"]].drop_duplicates().astype({"method": str, "training": str})
    rows = rows[[where.training(name).mapping in (None, _TRAINED["mapping"]) for name in rows.training]]
    order = {method: place for place, method in enumerate(methods)}
    return rows.sort_values([*KEYS], key=lambda c: c.map(order) if c.name == "method" else c, ignore_index=True)


def table(name: str, train_sigma_d: float | None = None, train_seed: int = 0) -> pd.DataFrame:
    """Return one shipped table of `TABLES`; InputError where it does not ship.

    Args:
        name: of the table.
        train_sigma_d: only models trained there, and the one without noise; None: all.
        train_seed: of those, only this training.
    """
    if name not in TABLES:
        raise unknown("table of the Taylor analysis", name, TABLES)
    path = (shipped_results() or Path("results")) / "taylor" / f"{name}.parquet"
    if not path.is_file():
        raise InputError(f"no {path}; compute it with: python -m nvlib.papers.theory")
    held = pd.read_parquet(path)
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
    protocol = {"device": "rram", "mapping": "differential", "chip_seed": 0, "images": 10_000, "deployment": ""}
    chips = results(where, training=training, sigma_d=AT, **protocol)
    if chips.empty:
        return dict.fromkeys(("kpp", "kpp_low", "kpp_high"), math.nan)
    found = statistics.kpp(chips.drop_duplicates("chip").accuracy, 1)
    limits = (math.nan if limit is None else limit for limit in (found.low, found.high))
    return dict(zip(("kpp", "kpp_low", "kpp_high"), (found.value, *limits), strict=True))


def followed(method: str, sigma_d: float = 0.2, seed: int = 0, epochs: int = EPOCHS) -> Iterator[pd.DataFrame]:
    """Follow a training of LeNet on MNIST as `nvlib.taylor.follow`; TRICE's search scaled to its epochs."""
    from nvlib import data, methods, taylor

    scaled: dict[str, dict[str, Any]] = {"trice": {"warm": 1, "tolerance": 0.05, "images": 1000, "n_train": 100}}
    chosen = methods.get(method, **scaled.get(method, {}))
    yield from taylor.follow(chosen, data.load("mnist"), sigma_d=sigma_d, epochs=epochs, seed=seed)


def write(
    target: Path | None = None,
    methods: Sequence[str] = METHODS,
    sigma_d: Sequence[float] = SIGMA_D,
    seeds: Sequence[int] = (0,),
    where: Store | None = None,
    again: bool = False,
) -> Path:
    """Compute what the tables lack of the models in the store, and write them after each; prints what is done.

    Args:
        target: folder of the tables; None: results/taylor.
        methods: to analyse, and to follow in training.
        sigma_d: that models were trained at.
        seeds: of the trainings to analyse.
        where: the store.
        again: compute everything, whatever the tables hold.
    """
    target = target or (shipped_results() or Path("results")) / "taylor"
    tables = {} if again else {n: pd.read_parquet(path) for n in TABLES if (path := target / f"{n}.parquet").is_file()}

    def lacking(rows: pd.DataFrame, name: str) -> pd.DataFrame:
        return rows[~rows.training.isin(tables[name].training)] if name in tables else rows

    def add(what: str, make: Callable[[], dict[str, pd.DataFrame]]) -> None:
        print(what, flush=True)
        began = time.monotonic()
        for name, part in make().items():
            tables[name] = pd.concat([tables[name], part], ignore_index=True) if name in tables else part
        save(tables, target, {what: time.monotonic() - began})

    found = trained(methods, sigma_d, seeds, where)
    for row in lacking(found, "models").itertuples(index=False):
        add(_called(row), partial(_marked, partial(one, row.training, where=where), row))
    for row in lacking(trained((*methods, *CONTROLS), [AT], (0, 1, 2), where), "snapshots").itertuples(index=False):
        add(f"{_called(row)}, derivatives alone", partial(_marked, partial(_shots, row.training, where), row))
    for method in methods:
        if "training" not in tables or method not in set(tables["training"].method):
            add(f"following {method}", lambda m=method: {"training": pd.concat(followed(m), ignore_index=True)})
    wanted = {(m, 0.0 if m == "none" else s, seed) for m in methods for s in sigma_d for seed in seeds}
    if missing := wanted - set(found[list(KEYS)].itertuples(index=False, name=None)):
        print(f"not trained in the store, left out: {sorted(missing)}")
    return target


def _called(row: Any) -> str:
    return f"{row.method}, trained at {row.train_sigma_d:g}, seed {row.train_seed}"


def _marked(make: Callable[[], dict[str, pd.DataFrame]], row: Any) -> dict[str, pd.DataFrame]:
    """Make tables and say whose they are."""
    return {name: part.assign(**row._asdict()) for name, part in make().items()}


def _shots(training: str, where: Store | None) -> dict[str, pd.DataFrame]:
    return {"snapshots": shots(training, where)}


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


def save(tables: dict[str, pd.DataFrame], target: Path, made: dict[str, float]) -> Path:
    """Write tables in single precision, and where what was ``made`` (what: seconds) was computed."""
    exact = ("sigma_d", "train_sigma_d", "k")  # compared as they are written
    for name, held in tables.items():
        wide = [c for c in held.select_dtypes("float64").columns if c not in exact]
        small = held.astype(dict.fromkeys(wide, "float32"))
        write_whole(
            target / f"{name}.parquet", lambda path, t=small: t.to_parquet(path, index=False, compression="zstd")
        )
    log = target / "environment.json"
    known = json.loads(log.read_text()) if log.is_file() else {}
    write_json(log, known | {what: environment(seconds) for what, seconds in made.items()})
    return target


if __name__ == "__main__":
    try:
        print(write(again="--again" in sys.argv[1:]))
    except InputError as error:
        sys.exit(f"error: {error}")
