"""results compare: two methods, or two runs, on the same chips."""

from __future__ import annotations

import argparse

import pandas as pd

from nvlib import statistics
from nvlib.commands import text
from nvlib.commands.listing import add_filters, filters, records
from nvlib.commands.parser import Parser
from nvlib.errors import InputError, unknown
from nvlib.store import Store, results

STATISTICS = ("kpp", "mean", "ekl")


def add(command: object) -> None:
    """Add the action."""
    sub: Parser = command(
        "compare", _compare, "print how far A lies above B on the same chips, with 95 % intervals",
        "  python -m nvlib results compare gaussian none --network lenet --device rram --protocol matched\n"
        "  python -m nvlib results compare 028d930e 07a7ec0d --of mean",
    )  # fmt: skip
    sub.add_argument("a", metavar="A", help="a method, or the hash of an evaluation")
    sub.add_argument("b", metavar="B", help="what A is compared with, of the same kind")
    sub.add_argument("--of", help="kpp, mean (points of accuracy) or ekl (nats) (default: all of two runs, else kpp)")
    sub.add_argument("--k", type=float, default=1, help="percentile, in percent (default: 1)")
    add_filters(sub, without="method")


def _compare(options: argparse.Namespace) -> int:
    store, where = Store(), filters(options)
    if options.of is not None and options.of not in STATISTICS:
        raise unknown("statistic to compare by", options.of, STATISTICS)
    usual = {"range": ["max"], "clipping": ["none"], "effects": [""], "periphery": [""]}  # unless asked for
    table = results(store, **usual | where)
    methods = set(table["method"])
    if {options.a, options.b} <= methods:
        return _methods(table, options)
    if {options.a, options.b} & methods:
        other = options.b if options.a in methods else options.a
        raise InputError(f"{options.a!r} and {options.b!r} are not two methods with results, nor two runs; of methods "
                         f"there are: {', '.join(sorted(methods))} ({other!r} is not one)")  # fmt: skip
    return _pair(store, options)


def _methods(table: pd.DataFrame, options: argparse.Namespace) -> int:
    """Print the differences of two methods, a line a sigma_d."""
    from nvlib.summary import differences

    of = options.of or "kpp"
    found = differences(table[table["method"].isin([options.a, options.b])], options.b, of, options.k)
    unit = "nats" if of == "ekl" else "points"
    label = f"KPP({options.k:g})" if of == "kpp" else of
    print(f"{options.a} above {options.b}, {label}, {unit}, same chips and seeds")
    rows = {
        "sigma_d": found["sigma_d"].map("{:g}".format),
        "difference": found["difference"].map("{:+.2f}".format),
        "95 % over chips": [text.interval(*p) for p in zip(found["chips_low"], found["chips_high"], strict=True)],
        "95 % over trainings": [text.interval(*p) for p in zip(found["low"], found["high"], strict=True)],
        "wins": found["wins"].map("{:.0%}".format),
        "seeds": found["seeds"],
        "chips": found["chips"],
    }
    print(text.columns(pd.DataFrame(rows)))
    return 0


def _pair(store: Store, options: argparse.Namespace) -> int:
    """Print the differences of two evaluations whose chips are the same ones."""
    (a, first), (b, second) = (store.find(start, "evaluation") for start in (options.a, options.b))
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
        "kpp": ("KPP", lambda: statistics.kpp_difference(both.accuracy_a, both.accuracy_b, options.k)),
        "mean": ("mean", lambda: statistics.paired(both.accuracy_a, both.accuracy_b)),
        "ekl": ("EKL", lambda: statistics.paired(known.ekl_a, known.ekl_b)),
    }
    for of in (options.of,) if options.of else STATISTICS:
        label, difference = found[of]
        label = f"KPP({options.k:g})" if of == "kpp" else label
        e, digits = difference(), 4 if of == "ekl" else 2
        limits = "too few chips for an interval" if e.low is None else f"[{e.low:+.{digits}f}, {e.high:+.{digits}f}]"
        print(f"  {label:<8} {e.value:+.{digits}f} {'nats' if of == 'ekl' else 'points'}  {limits}")
    wins = (both.accuracy_a > both.accuracy_b).mean()
    print(f"  {'wins':<8} {wins:.0%} of the chips")
    return 0
