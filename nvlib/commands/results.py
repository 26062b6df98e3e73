"""results: what is stored, shipped and local: list, show, compare, verify, export, compact, remove."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from cyclopts import App

from nvlib import statistics
from nvlib import store as stored
from nvlib.catalogue import METHODS
from nvlib.commands import tables
from nvlib.commands.format import columns, estimate
from nvlib.commands.options import FILTERS, Flag, Hash, K, option, options, several_of, taking
from nvlib.errors import InputError, unknown
from nvlib.records import Evaluation
from nvlib.store import Store, results
from nvlib.store.table import CONDITIONS, LATER, empty

app = App(name="results")
SCORES = ("run", "training", "chip", "accuracy", "loss", "ekl", *stored.DEPLOYED)  # what no filter is of
KINDS = {"i": int, "f": float}
SAID = {
    "network": "vgg8 x0.25: at a quarter of its width",
    "train_sigma_d": "what trainings were for",
    "seed": "of trainings",
    "chip_seed": "the family of chips",
    "protocol": "matched: tested at the sigma_d of the training; or swept",
    "images": "test images that chips were scored on",
    "origin": "yours or shipped",
    "deployment": "what was done to each chip; none: nothing",
    "effects": "what befell chips, as its text; none: nothing",
    "periphery": "what is round the arrays, as its text; none: nothing",
    "range": "of the chips' weights, e.g. max, deviations:2.5",
    "clipping": "of weights in training; none: not cut",
}
EMPTY = {column for column, usual in LATER.items() if usual == ""}  # of which a shell says none
PLAIN = option("plain", bool, "only chips as programmed, of weights trained as usual: what is not asked for of "
               f"{', '.join(CONDITIONS)} is as without a word", FILTERS)  # fmt: skip


def _filters() -> dict[str, Any]:
    """Return a filter for each column of the table, of its type; ``--seed`` is the training's."""
    kinds = {column: KINDS.get(kind.kind, str) for column, kind in empty().dtypes.items() if column not in SCORES}
    words = {column: "seed" if column == "train_seed" else column for column in kinds}
    return {"plain": PLAIN} | {column: option(words[column], several_of(kind), SAID.get(words[column]), FILTERS)
                               for column, kind in kinds.items()}  # fmt: skip


def _meant(where: dict[str, Any]) -> dict[str, Any]:
    """Return filters as `nvlib.results` takes them: what a shell calls none is empty there; plain is said in full."""
    usual = {column: (LATER[column],) for column in CONDITIONS} if where.pop("plain", False) else {}
    given = {column: tuple("" if column in EMPTY and value == "none" else value for value in values)
             for column, values in where.items()}  # fmt: skip
    return usual | given


Filters = options(_filters())


@app.default
@app.command(name="list")
@taking(Filters)
def list_(*, k: K = 1, runs: Flag = False, trainings: Flag = False, **where: Any) -> int:
    """Print mean and KPP of what is stored, shipped and local, with 95 % intervals.

    Examples:
        python -m nvlib results --method gaussian --sigma-d 0.2      (list is the default)
        python -m nvlib results --method none gaussian --sigma-d 0.2 --k 5
        python -m nvlib results list --runs --origin yours
        python -m nvlib results list --trainings
        python -m nvlib results ACTION --help

    Args:
        runs: a line an evaluation instead, with its hash.
        trainings: a line a training instead, with its hash.
    """
    if runs and trainings:
        raise InputError("--runs and --trainings are two tables; give one of them")
    store, where = Store(), _meant(where)
    if trainings:
        return tables.trainings(store, where)
    table = results(store, **where)
    if table.empty:
        print(tables.nothing(store, where))
    elif runs:
        print(columns(tables.runs(table)))
    else:
        tables.say(table, k, store)
    return 0


@app.command
def show(hash: Hash, /, *, k: K = 1) -> int:
    """Print a run in full: what it is, where it was computed, its files, what came out.

    Examples:
        python -m nvlib results show 84bc201f
    """
    store = Store()
    name, record = store.find(hash)
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
            if part == "code":
                print(f"  {key:<15} {value['sha256']}\n{tables.source(value['text'])}")
            else:
                print(f"  {key:<15} {said}" if (part, key) != ("network", "source") else tables.source(said))
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
            print("evaluations\n" + columns(tables.runs(trained)))
        return 0
    rows = store.samples(name)
    if len(rows):
        print(f"samples\n  {'chips':<15} {len(rows)}")
        print(f"  {'mean':<15} {estimate(statistics.mean(rows.accuracy), ' %')}")
        print(f"  {f'KPP({k:g})':<15} {estimate(statistics.kpp(rows.accuracy, k), ' %')}")
        print(f"  {'worst':<15} {rows.accuracy.min():.2f} %")
    return 0


@app.command
@taking(Filters)
def compare(a: str, b: str, /, *, of: str | None = None, k: K = 1, **where: Any) -> int:
    """Print how far A lies above B on the same chips, with 95 % intervals.

    Examples:
        python -m nvlib results compare ovf irs --network lenet --device rram --protocol matched --epochs 10
        python -m nvlib results compare 22f16d79 48ca8ce9 --of mean

      Of methods only chips as programmed count, of weights trained as usual, unless a filter says otherwise.

    Args:
        a: a method, or the hash of an evaluation.
        b: what A is compared with, of the same kind.
        of: kpp, mean (points of accuracy) or ekl (nats) (default: all of two runs, else kpp).
    """
    store = Store()
    if of is not None and of not in tables.STATISTICS:
        raise unknown("statistic to compare by", of, tables.STATISTICS)
    where = _meant({"plain": True, **where})
    table = results(store, **where)
    methods = set(table["method"])
    if table.empty and {a, b} & METHODS.keys():
        raise InputError(tables.nothing(store, where))
    if {a, b} <= methods:
        return tables.compare_methods(table, a, b, of or "kpp", k)
    if {a, b} & methods:
        other = b if a in methods else a
        raise InputError(f"{a!r} and {b!r} are not two methods with results, nor two runs; of methods "
                         f"there are: {', '.join(sorted(methods))} ({other!r} is not one)")  # fmt: skip
    return tables.compare_runs(store, a, b, of, k)


@app.command
def verify(*, set_aside: Flag = False, seal: Flag = False) -> int:
    """Compare every stored file with its checksum; 1 if one is damaged or missing.

    Examples:
        python -m nvlib results verify
        python -m nvlib results verify --set-aside; python -m nvlib study grid.toml     computes it again

    Args:
        set_aside: move damaged files to .damaged/, to be computed again.
        seal: list checksums of shipped files that have none.
    """
    store, bad = Store(), 0
    found: Counter[str] = Counter()
    if seal:
        print(f"listed the checksums of {stored.seal(store)} files that had none")
    for finding in stored.verify(store):
        found[finding.state] += 1
        if finding.state in ("damaged", "missing", "newer"):
            print(finding)
            bad += 1
        if finding.state == "damaged" and set_aside:
            if store.runs in finding.path.parents:
                store.set_aside(finding.path, finding.why)
            else:
                print("  it ships with the project and is not moved; restore it, e.g. with git checkout")
    print(f"{sum(found.values())} files: " + (", ".join(f"{n} {state}" for state, n in sorted(found.items())) or "-"))
    if found["unlisted"]:
        print("unlisted files ship without a checksum and can be read; --seal lists their checksums as they are now")
    return 1 if bad else 0


@app.command
@taking(Filters)
def export(file: Path, /, *, table: Flag = False, k: K = 1, **where: Any) -> int:
    """Write results to a file, a row a chip.

    Examples:
        python -m nvlib results export chips.parquet --method none gaussian
        python -m nvlib results export table.csv --table --sigma-d 0.2

    Args:
        file: ends in .csv or .parquet.
        table: statistics, a row a method and sigma_d, instead of chips.
    """
    if file.suffix not in (".csv", ".parquet"):
        raise InputError(f"{file} is not a file to export to; expected a name that ends in .csv or .parquet")
    found = tables.matching(Store(), _meant(where))
    if table:
        from nvlib.summary import results_table

        found = results_table(found, k=k)
    write = found.to_csv if file.suffix == ".csv" else found.to_parquet
    stored.atomic_write(file, lambda path: write(path, index=False))
    print(f"{len(found)} rows in {file}")
    return 0


@app.command
@taking(Filters)
def compact(target: Path, /, *, no_weights: Flag = False, replace: Flag = False, **where: Any) -> int:
    """Write runs as one folder to ship: samples, records, weights, checksums.

    Examples:
        python -m nvlib results compact results/lenet-mnist --network lenet --dataset mnist

    Args:
        target: the folder; what it holds already is kept only if it matches.
        no_weights: leave the weights out.
        replace: even if TARGET holds runs that do not match.
    """
    store = Store()
    table = tables.matching(store, _meant(where))
    names = sorted(table["run"].unique())
    shipped = store.shipped_records()
    held = [store.record(name) or shipped[name]["record"] for name in names]
    there = target / "records.json"
    if there.is_file() and not replace:
        kept = set(names) | {record["training"] for record in held}
        lost = sorted(set(json.loads(there.read_text())) - kept)
        if lost:
            raise InputError(f"{target} holds {len(lost)} runs that do not match, e.g. {lost[0][:12]}; widen the "
                             "filters, choose another folder, or --replace them")  # fmt: skip
    stored.compact(store, target, [Evaluation(**record) for record in held], not no_weights)
    size = sum(p.stat().st_size for p in target.rglob("*") if p.is_file())
    print(f"{len(names)} evaluations, {len(table)} chips, {size / 1e6:.1f} MB in {target}")
    return 0


@app.command
@taking(Filters)
def remove(*hash: Hash, yes: Flag = False, **where: Any) -> int:
    """Delete local runs; with a training go its evaluations.

    Examples:
        python -m nvlib results remove 84bc201f
        python -m nvlib results remove --method trice --yes

    Args:
        yes: do not ask.
    """
    from nvlib import locks

    store = Store()
    if not hash and not where:
        raise InputError("nothing to remove; give hashes, or filters such as --method trice")
    names = [store.find(start)[0] for start in hash]
    if where:
        here = set(store.names())
        names += [name for name in results(store, **_meant(where))["run"].unique() if name in here]
    names = stored.dependents(store, names)
    if not names:
        raise InputError("no local run matches; see: python -m nvlib results list --runs --origin yours")
    if busy := [name for name in names if locks.held(store.runs, name)]:
        raise InputError(f"run {busy[0][:12]} is being computed; wait for it, or cancel its job first")
    kinds = Counter((store.record(name) or {}).get("kind", "damaged run") for name in names)
    what = ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in sorted(kinds.items()))
    print(f"{what} in {store.runs}: {', '.join(name[:12] for name in names[:8])}{', ...' if len(names) > 8 else ''}")
    if not yes:
        if not sys.stdin.isatty():
            raise InputError("removing needs a yes; answer on a terminal, or give --yes")
        if input("delete? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was deleted")
            return 1
    print(f"deleted {stored.remove(store, names)} runs")
    return 0
