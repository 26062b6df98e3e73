"""Tables of what is stored, and comparisons on the same chips, as `results` prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from nvlib import statistics
from nvlib.commands import format
from nvlib.errors import InputError
from nvlib.store import COLUMNS, Store, results
from nvlib.store.table import LATER, of_training

STATISTICS = ("kpp", "mean", "ekl")


def matching(store: Store, where: Mapping[str, Any]) -> pd.DataFrame:
    """Return the samples that filters choose; InputError says what there is if there is none."""
    table = results(store, **where)
    if table.empty:
        raise InputError(nothing(store, where))
    return table


def nothing(store: Store, where: Mapping[str, Any]) -> str:
    """Return why nothing matches: which filter alone has no result, and what there is."""
    table = results(store)
    if table.empty:
        return "no results match; nothing is stored, see: python -m nvlib study --help"
    for column, values in where.items():
        if not table[column].isin(values).any():
            held = ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in sorted(table[column].unique()))
            return f"no results match; stored for {column}: {held or '-'}"
    return "no results match all of these at once; see: python -m nvlib results"


def records(store: Store, trainings: list[str]) -> dict[str, dict]:
    """Return the records of trainings, local or shipped, by hash."""
    shipped = store.shipped_records()
    found = {name: store.record(name) or shipped.get(name, {}).get("record") for name in trainings}
    return {name: record for name, record in found.items() if record}


def say(table: pd.DataFrame, k: float, store: Store | None = None) -> None:
    """Print the statistics of a table of samples."""
    held = records(store or Store(), table["training"].unique().tolist())
    print(format.summary(table, k, held))


def runs(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row an evaluation."""
    words = ["run", "training", "network", "dataset", "method", "device", "deployment"]
    keys = [*words[:6], "sigma_d", "train_seed", "epochs", "deployment"]
    found = table.astype(dict.fromkeys(words, str)).groupby(keys)
    found = found.agg(chips=("chip", "size"), mean=("accuracy", "mean"), origin=("origin", _origins)).reset_index()
    found = found.sort_values(["network", "dataset", "device", "method", "sigma_d", "train_seed"])
    for column in ("run", "training"):
        found[column] = found[column].str[:12]
    found["sigma_d"] = found["sigma_d"].map("{:g}".format)
    found["mean"] = found["mean"].map("{:.2f}".format)
    found = found.rename(columns={"train_seed": "seed"})
    return found if found["deployment"].any() else found.drop(columns="deployment")


def _origins(values: pd.Series) -> str:
    return "+".join(sorted(set(values)))


def trainings(store: Store, where: Mapping[str, Any]) -> int:
    """Print a row a training, local or shipped, whether or not it was evaluated."""
    shipped, rows = store.shipped_records(), []
    for name in sorted({*store.names(), *shipped}):
        record = store.record(name) or shipped.get(name, {}).get("record")
        if record is None or record["kind"] != "training":
            continue
        local = (store.runs / name / "DONE").exists()
        said = {
            **of_training(record), "bits": record["bits"], "device": (record["device"] or {}).get("name", "-"),
            "reference": record["reference"] or "-", "mapping": record["mapping"] or "-",
            "origin": "yours" if local else "shipped" if name in shipped else "unfinished",
        }  # fmt: skip
        if other := [column for column in where if column not in said]:
            raise InputError(f"a training has no {', '.join(other)}; filter by --train-sigma-d and what else it has")
        if all(said[column] in values for column, values in where.items()):
            history = store.history(name)
            noisy = f"{history['noisy'].iloc[-1]:.2f}" if len(history) else "-"
            rows.append({"training": name[:12], **said, "noisy validation": noisy})
    if not rows:
        print("no trainings match")
        return 0
    found = pd.DataFrame(rows).drop(columns=["bits", "activation_bits", "reference", "mapping"])
    found = found.drop(columns=[c for c, usual in LATER.items() if c in found and (found[c] == usual).all()])
    found = found[sorted(found, key=lambda c: COLUMNS.index(c) if c in COLUMNS else len(COLUMNS))]
    found["train_sigma_d"] = found["train_sigma_d"].map("{:g}".format)
    order = ["network", "dataset", "method", "device", "train_sigma_d", "train_seed"]
    print(format.columns(found.sort_values(order).rename(columns={"train_seed": "seed"})))
    return 0


def source(text: str) -> str:
    """Return a file's text below its key, with nothing in it that a terminal would obey."""
    lines = (line if line.isprintable() else ascii(line)[1:-1] for line in text.expandtabs(4).split("\n"))
    return "  source\n" + "\n".join(f"    {line}".rstrip() for line in lines).rstrip()


def compare_methods(table: pd.DataFrame, a: str, b: str, of: str, k: float) -> int:
    """Print the differences of two methods, a line a sigma_d."""
    from nvlib.summary import differences

    found = differences(table[table["method"].isin([a, b])], b, of, k)
    unit = "nats" if of == "ekl" else "points"
    label = f"KPP({k:g})" if of == "kpp" else of
    print(f"{a} above {b}, {label}, {unit}, same chips and seeds")
    rows = {
        "sigma_d": found["sigma_d"].map("{:g}".format),
        "difference": found["difference"].map("{:+.2f}".format),
        "95 % over chips": [format.interval(*p) for p in zip(found["chips_low"], found["chips_high"], strict=True)],
        "95 % over trainings": [format.interval(*p) for p in zip(found["low"], found["high"], strict=True)],
        "wins": found["wins"].map("{:.0%}".format),
        "seeds": found["seeds"],
        "chips": found["chips"],
    }
    print(format.columns(pd.DataFrame(rows)))
    return 0


def compare_runs(store: Store, a: str, b: str, of: str | None, k: float) -> int:
    """Print the differences of two evaluations whose chips are the same ones."""
    (a, first), (b, second) = (store.find(start, "evaluation") for start in (a, b))
    shared = ("device", "sigma_d", "reference", "mapping", "bits", "seed", "images")
    later = {"range": "max", "effects": [], "periphery": ""}
    first, second = later | first, later | second
    if other := [key for key in (*shared, *later) if first[key] != second[key]]:
        raise InputError(f"{a[:12]} and {b[:12]} differ in {', '.join(other)}, so their chips are not the same; "
                         "compare runs that agree in these")  # fmt: skip
    trainings = records(store, [first["training"], second["training"]])
    shapes = [{(r["network"], r["width"], r["fingerprint"])} for r in trainings.values()]
    if len(trainings) == len({first["training"], second["training"]}) and len(set.union(*shapes)) > 1:
        raise InputError(f"{a[:12]} and {b[:12]} are of other networks or data sets, so their chips do not pair")
    scored = [store.about(name).get("plan", {}).get("precision", "float32") for name in (a, b)]
    trained = [r.get("precision", "float32") for r in trainings.values()]
    if len(set(scored)) > 1 or len(set(trained)) > 1:
        raise InputError(f"{a[:12]} and {b[:12]} differ in precision (scored in {', '.join(scored)}; trained in "
                         f"{', '.join(trained)}), which a difference would hold; compare runs of one")  # fmt: skip
    both = store.samples(a).merge(store.samples(b), on="chip", suffixes=("_a", "_b"))
    if both.empty:
        raise InputError(f"{a[:12]} and {b[:12]} have no chip in common; evaluate both on the same ones")
    print(f"{a[:12]} above {b[:12]}, {len(both)} chips that both have")
    known = both.dropna(subset=["ekl_a", "ekl_b"])
    found = {
        "kpp": ("KPP", lambda: statistics.kpp_difference(both.accuracy_a, both.accuracy_b, k)),
        "mean": ("mean", lambda: statistics.paired(both.accuracy_a, both.accuracy_b)),
        "ekl": ("EKL", lambda: statistics.paired(known.ekl_a, known.ekl_b)),
    }
    for one in (of,) if of else STATISTICS:
        label, difference = found[one]
        label = f"KPP({k:g})" if one == "kpp" else label
        e, digits = difference(), 4 if one == "ekl" else 2
        limits = "too few chips for an interval" if e.low is None else f"[{e.low:+.{digits}f}, {e.high:+.{digits}f}]"
        print(f"  {label:<8} {e.value:+.{digits}f} {'nats' if one == 'ekl' else 'points'}  {limits}")
    wins = (both.accuracy_a > both.accuracy_b).mean()
    print(f"  {'wins':<8} {wins:.0%} of the chips")
    return 0
