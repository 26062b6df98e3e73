"""results list, show: what is stored, and one run in full."""

from __future__ import annotations

import argparse
import json

import pandas as pd

from nvlib import statistics
from nvlib.commands import text
from nvlib.commands.parser import DROP, Parser, given
from nvlib.errors import InputError
from nvlib.store import Store, results

WORDS = ("network", "dataset", "method", "device", "reference", "mapping", "protocol", "deployment", "origin",
         "precision", "train_precision", "range", "train_range", "clipping", "effects",
         "periphery")  # fmt: skip
NUMBERS = {
    "sigma_d": float, "train_sigma_d": float, "seed": int, "epochs": int, "bits": int, "images": int, "chip_seed": int,
}  # fmt: skip
TESTED = ("sigma_d", "protocol", "deployment", "images", "chip_seed", "precision", "range", "effects",
          "periphery")  # of an evaluation alone
COLUMN = {"seed": "train_seed"}


def add(command: object) -> None:
    """Add the actions."""
    sub: Parser = command(
        "list", _list, "print mean and KPP of what is stored, shipped and local, with 95 % intervals",
        "  python -m nvlib results\n  python -m nvlib results --method none gaussian --sigma-d 0.2 --k 5\n"
        "  python -m nvlib results list --runs --origin yours\n  python -m nvlib results list --trainings",
    )  # fmt: skip
    add_filters(sub)
    sub.add_argument("--k", type=float, default=1, help="percentile, in percent (default: 1)")
    kind = sub.add_mutually_exclusive_group()
    kind.add_argument("--runs", action="store_true", help="a line an evaluation instead, with its hash")
    kind.add_argument("--trainings", action="store_true", help="a line a training instead, with its hash")
    sub = command(
        "show", _show, "print a run in full: what it is, where it was computed, its files, what came out",
        "  python -m nvlib results show 84bc201f",
    )  # fmt: skip
    sub.add_argument("hash", help="of a run, or its first digits")
    sub.add_argument("--k", type=float, default=1, help="percentile, in percent (default: 1)")


def add_filters(sub: Parser, without: str = "") -> None:
    """Add options that choose among results; each takes several values."""
    group = sub.add_argument_group("which results")
    for name in WORDS:
        if name != without:
            group.add_argument(f"--{name.replace('_', '-')}", nargs="+", default=DROP, metavar="NAME")
    for name, kind in NUMBERS.items():
        group.add_argument(f"--{name.replace('_', '-')}", nargs="+", type=kind, default=DROP, metavar="N")


def filters(options: argparse.Namespace) -> dict[str, list]:
    """Return what was chosen, by column of the results."""
    return {COLUMN.get(name, name): value for name, value in given(options, (*WORDS, *NUMBERS)).items()}


def nothing(store: Store, where: dict[str, list]) -> str:
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
    print(text.summary(table, k, held))


def _list(options: argparse.Namespace) -> int:
    store, where = Store(), filters(options)
    if options.trainings:
        return _trainings(store, where)
    table = results(store, **where)
    if table.empty:
        print(nothing(store, where))
    elif options.runs:
        print(text.columns(_runs(table)))
    else:
        say(table, options.k, store)
    return 0


def _runs(table: pd.DataFrame) -> pd.DataFrame:
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


def _trainings(store: Store, where: dict[str, list]) -> int:
    """Print a row a training, local or shipped, whether or not it was evaluated."""
    shipped, rows = store.shipped_records(), []
    for name in sorted({*store.names(), *shipped}):
        record = store.record(name) or shipped.get(name, {}).get("record")
        if record is None or record["kind"] != "training":
            continue
        local = (store.runs / name / "DONE").exists()
        said = {
            "network": record["network"] if record["width"] == 1 else f"{record['network']} x{record['width']:g}",
            "dataset": record["dataset"], "method": record["method"], "epochs": record["epochs"],
            "device": (record["device"] or {}).get("name", "-"), "train_sigma_d": record["sigma_d"],
            "train_seed": record["seed"], "bits": record["bits"], "reference": record["reference"] or "-",
            "mapping": record["mapping"] or "-", "train_precision": record.get("precision", "float32"),
            "train_range": record.get("range", "max"), "clipping": record["recipe"].get("clip", "none"),
            "origin": "yours" if local else "shipped" if name in shipped else "unfinished",
        }  # fmt: skip
        if set(TESTED) & set(where):
            raise InputError(f"a training has no {', '.join(TESTED)}; filter by --train-sigma-d and what else it has")
        if all(said[column] in values for column, values in where.items()):
            history = store.history(name)
            noisy = f"{history['noisy'].iloc[-1]:.2f}" if len(history) else "-"
            rows.append({"training": name[:12], **said, "noisy validation": noisy})
    if not rows:
        print("no trainings match")
        return 0
    found = pd.DataFrame(rows).drop(columns=["bits", "reference", "mapping"])
    usual = {"train_precision": "float32", "train_range": "max", "clipping": "none"}
    found = found.drop(columns=[column for column, value in usual.items() if (found[column] == value).all()])
    found["train_sigma_d"] = found["train_sigma_d"].map("{:g}".format)
    order = ["network", "dataset", "method", "device", "train_sigma_d", "train_seed"]
    print(text.columns(found.sort_values(order).rename(columns={"train_seed": "seed"})))
    return 0


def _text(source: str) -> str:
    """Return a file's text below its key, with nothing in it that a terminal would obey."""
    lines = (line if line.isprintable() else ascii(line)[1:-1] for line in source.expandtabs(4).split("\n"))
    return "  source\n" + "\n".join(f"    {line}".rstrip() for line in lines).rstrip()


def _show(options: argparse.Namespace) -> int:
    store = Store()
    name, record = store.find(options.hash)
    home = store.runs / name
    print(f"{record['kind']} {name}")
    print(f"  where  {home if home.is_dir() else 'shipped'}")
    for key, value in record.items():
        if key not in ("kind", "version"):
            print(f"  {key:<15} {value if isinstance(value, str) else json.dumps(value)}")
    for part, held in store.about(name).items():
        print(f"{part}")
        for key, value in held.items():
            said = value if isinstance(value, str) else json.dumps(value)
            print(f"  {key:<15} {said}" if (part, key) != ("network", "source") else _text(said))
    if home.is_dir():
        print("files")
        for path in sorted(p for p in home.iterdir() if p.is_file()):
            print(f"  {path.stat().st_size:>12,}  {path.name}")
    if record["kind"] == "training":
        history = store.history(name)
        if len(history):
            print(f"history\n{history.to_string(index=False, float_format='{:.4g}'.format)}")
        trained = results(store, training=name)
        if len(trained):
            print("evaluations\n" + text.columns(_runs(trained)))
        return 0
    rows = store.samples(name)
    if len(rows):
        print(f"samples\n  {'chips':<15} {len(rows)}")
        print(f"  {'mean':<15} {text.estimate(statistics.mean(rows.accuracy), ' %')}")
        print(f"  {f'KPP({options.k:g})':<15} {text.estimate(statistics.kpp(rows.accuracy, options.k), ' %')}")
        print(f"  {'worst':<15} {rows.accuracy.min():.2f} %")
    return 0
