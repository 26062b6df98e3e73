"""results verify, export, compact, remove: what is stored, kept whole, handed on, tidied up."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from nvlib import store as stored
from nvlib.commands.listing import add_filters, filters, nothing
from nvlib.commands.parser import Parser
from nvlib.errors import InputError
from nvlib.store import Store, results


def add(command: object) -> None:
    """Add the actions."""
    sub: Parser = command(
        "verify", _verify, "compare every stored file with its checksum; 1 if one is damaged or missing",
        "  python -m nvlib results verify\n"
        "  python -m nvlib results verify --set-aside; python -m nvlib study grid.toml     computes it again",
    )  # fmt: skip
    sub.add_argument("--set-aside", action="store_true", help="move damaged files to .damaged/, to be computed again")
    sub.add_argument("--seal", action="store_true", help="list checksums of shipped files that have none")
    sub = command(
        "export", _export, "write results to a file, a row a chip",
        "  python -m nvlib results export chips.parquet --method none gaussian\n"
        "  python -m nvlib results export table.csv --table --sigma-d 0.2",
    )  # fmt: skip
    sub.add_argument("target", metavar="FILE", help="ends in .csv or .parquet")
    sub.add_argument("--table", action="store_true", help="statistics, a row a method and sigma_d, instead of chips")
    sub.add_argument("--k", type=float, default=1, help="percentile of the statistics (default: 1)")
    add_filters(sub)
    sub = command(
        "compact", _compact, "write runs as one folder to ship: samples, records, weights, checksums",
        "  python -m nvlib results compact results/lenet-mnist --network lenet --dataset mnist",
    )  # fmt: skip
    sub.add_argument("target", metavar="TARGET", help="the folder; what it holds already is kept only if it matches")
    sub.add_argument("--no-weights", action="store_true", help="leave the weights out")
    sub.add_argument("--replace", action="store_true", help="even if TARGET holds runs that do not match")
    add_filters(sub)
    sub = command(
        "remove", _remove, "delete local runs; with a training go its evaluations",
        "  python -m nvlib results remove 84bc201f\n  python -m nvlib results remove --method trice --yes",
    )  # fmt: skip
    sub.add_argument("hash", nargs="*", help="of runs, or their first digits")
    sub.add_argument("--yes", action="store_true", help="do not ask")
    add_filters(sub)


def _verify(options: argparse.Namespace) -> int:
    store, found, bad = Store(), Counter(), 0
    if options.seal:
        print(f"listed the checksums of {stored.seal(store)} files that had none")
    for finding in stored.verify(store):
        found[finding.state] += 1
        if finding.state in ("damaged", "missing", "newer"):
            print(finding)
            bad += 1
        if finding.state == "damaged" and options.set_aside:
            if store.runs in finding.path.parents:
                store.set_aside(finding.path, finding.why)
            else:
                print("  it ships with the project and is not moved; restore it, e.g. with git checkout")
    print(f"{sum(found.values())} files: " + (", ".join(f"{n} {state}" for state, n in sorted(found.items())) or "-"))
    if found["unlisted"]:
        print("unlisted files ship without a checksum and can be read; --seal lists their checksums as they are now")
    return 1 if bad else 0


def _export(options: argparse.Namespace) -> int:
    target, store, where = Path(options.target), Store(), filters(options)
    if target.suffix not in (".csv", ".parquet"):
        raise InputError(f"{target} is not a file to export to; expected a name that ends in .csv or .parquet")
    table = results(store, **where)
    if table.empty:
        raise InputError(nothing(store, where))
    if options.table:
        from nvlib.summary import results_table

        table = results_table(table, k=options.k)
    write = table.to_csv if target.suffix == ".csv" else table.to_parquet
    stored.write_whole(target, lambda path: write(path, index=False))
    print(f"{len(table)} rows in {target}")
    return 0


def _compact(options: argparse.Namespace) -> int:
    from nvlib.records import Evaluation

    store, where, target = Store(), filters(options), Path(options.target)
    table = results(store, **where)
    if table.empty:
        raise InputError(nothing(store, where))
    names = sorted(table["run"].unique())
    shipped = store.shipped_records()
    held = [store.record(name) or shipped[name]["record"] for name in names]
    there = target / "records.json"
    if there.is_file() and not options.replace:
        kept = set(names) | {record["training"] for record in held}
        lost = sorted(set(json.loads(there.read_text())) - kept)
        if lost:
            raise InputError(f"{target} holds {len(lost)} runs that do not match, e.g. {lost[0][:12]}; widen the "
                             "filters, choose another folder, or --replace them")  # fmt: skip
    stored.compact(store, target, [Evaluation(**record) for record in held], not options.no_weights)
    size = sum(p.stat().st_size for p in target.rglob("*") if p.is_file())
    print(f"{len(names)} evaluations, {len(table)} chips, {size / 1e6:.1f} MB in {target}")
    return 0


def _remove(options: argparse.Namespace) -> int:
    from nvlib import locks

    store, where = Store(), filters(options)
    if not options.hash and not where:
        raise InputError("nothing to remove; give hashes, or filters such as --method trice")
    names = [store.find(start)[0] for start in options.hash]
    if where:
        here = set(store.names())
        names += [name for name in results(store, **where)["run"].unique() if name in here]
    names = stored.dependents(store, names)
    if not names:
        raise InputError("no local run matches; see: python -m nvlib results list --runs --origin yours")
    if busy := [name for name in names if locks.held(store.runs, name)]:
        raise InputError(f"run {busy[0][:12]} is being computed; wait for it, or cancel its job first")
    kinds = Counter((store.record(name) or {}).get("kind", "damaged run") for name in names)
    what = ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in sorted(kinds.items()))
    print(f"{what} in {store.runs}: {', '.join(name[:12] for name in names[:8])}{', ...' if len(names) > 8 else ''}")
    if not options.yes:
        if not sys.stdin.isatty():
            raise InputError("removing needs a yes; answer on a terminal, or give --yes")
        if input("delete? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was deleted")
            return 1
    print(f"deleted {stored.remove(store, names)} runs")
    return 0
