"""The command line, ``python -m nvlib``: doctor | devices | data | study | results | claims | reproduce."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from nvlib import devices, store
from nvlib.errors import InputError

EXAMPLES = """examples:
  python -m nvlib doctor
  python -m nvlib study --method none gaussian --sigma-d 0.1 0.2 --epochs 3 --chips 200
  python -m nvlib results --method gaussian
  python -m nvlib reproduce --preset quick
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0: done, 1: a check failed, 2: bad input (one line on standard error), 130: interrupted."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: spinning threads crawl on shared cores
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept, the same command goes on from there", file=sys.stderr)
        return 130


def _doctor(_: argparse.Namespace) -> int:
    from nvlib import doctor

    return doctor.main()


def _devices(options: argparse.Namespace) -> int:
    for name in options.names or devices.names():
        device = devices.get(name)
        size = "x sigma_d" if device.relative else device.unit
        print(f"{device.name}: {device.bits} bits a cell")
        print(f"    levels     {', '.join(f'{g:g}' for g in device.levels)} {device.unit}")
        print(f"    deviation  {', '.join(f'{d:.4g}' for d in device.deviation)} {size}")
        print(f"    source     {device.source}\n    validity   {device.validity}")
    return 0


def _data(options: argparse.Namespace) -> int:
    from nvlib import data

    for name in options.names:
        loaded = data.load(name, download=options.download)
        parts = ", ".join(f"{len(getattr(loaded, part))} {part}" for part in ("train", "validation", "test"))
        print(f"{loaded.name}: {parts}; {loaded.classes} classes; fingerprint {loaded.fingerprint[:12]}")
    if not options.names:
        for name, status in data.available().items():
            print(f"{name:<16} {status}")
    return 0


def _study(options: argparse.Namespace) -> int:
    from nvlib.studies import Study, run

    study = Study(
        network=options.network, dataset=options.dataset, methods=tuple(options.method), devices=tuple(options.device),
        sigma_d=tuple(options.sigma_d), seeds=tuple(options.seeds), width=options.width, reference=options.reference,
        mapping=options.mapping, bits=options.bits, activation_bits=options.activation_bits, epochs=options.epochs,
        images=options.images, chips=options.chips, chip_seed=options.chip_seed,
        train_sigma_d=tuple(options.train_sigma_d) if options.train_sigma_d else None,
    )
    print(_summary(run(study, on=options.on), options.k))
    return 0


def _results(options: argparse.Namespace) -> int:
    columns = ("network", "dataset", "method", "device", "sigma_d")
    where = {c: getattr(options, c) for c in columns if getattr(options, c)}
    table = store.results(**where)
    print(_summary(table, options.k) if len(table) else "no results match; run: python -m nvlib study --help")
    return 0


def _summary(table: object, k: float) -> str:
    from nvlib.figures import results_table

    return results_table(table, k=k).to_string(index=False, float_format=lambda value: f"{value:.2f}")


def _claims(options: argparse.Namespace) -> int:
    from pathlib import Path

    from nvlib import reproduce

    text = reproduce.claims()
    if options.write is None:
        print(text)
        return 0
    path = Path(options.write)
    begin, end = "<!-- claims: begin -->\n", "<!-- claims: end -->"
    page = path.read_text() if path.is_file() else ""
    if begin not in page or end not in page:
        raise InputError(f"{path} has no lines {begin.strip()} and {end} to write between; add them")
    path.write_text(page[: page.index(begin)] + begin + text + "\n" + page[page.index(end) :])
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from nvlib import reproduce

    reproduce.execute(reproduce.choose(options.names, options.preset), on=options.on)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nvlib", description="Neural networks on compute-in-memory chips whose devices stray.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, call: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=call)
        return sub

    command("doctor", _doctor, "say what is installed and found, and check that the numbers come out right")
    command("devices", _devices, "show devices with their numbers and sources").add_argument("names", nargs="*")
    sub = command("data", _data, "show data sets, or load (and with --download fetch) some")
    sub.add_argument("names", nargs="*")
    sub.add_argument("--download", action="store_true", help="fetch what is not there, with an integrity check")

    sub = command("study", _study, "train and evaluate what is missing of a grid, and print its table")
    sub.add_argument("--network", default="lenet")
    sub.add_argument("--dataset", default="mnist", help="a name, or the path of an image folder")
    sub.add_argument("--method", nargs="+", default=["none", "gaussian"])
    sub.add_argument("--device", nargs="+", default=["rram"], help="names, or paths of .toml or .csv device files")
    sub.add_argument("--sigma-d", nargs="+", type=float, default=[0.1])
    sub.add_argument("--train-sigma-d", nargs="+", type=float, help="sweep: train at these (default: matched)")
    sub.add_argument("--seeds", nargs="+", type=int, default=[0], help="of trainings")
    sub.add_argument("--epochs", type=int, default=10)
    sub.add_argument("--chips", type=int, default=400)
    sub.add_argument("--chip-seed", type=int, default=0)
    sub.add_argument("--images", type=int, help="use this many images of each split (default: all)")
    sub.add_argument("--width", type=float, default=1.0)
    sub.add_argument("--bits", type=int, help="of a weight (default: the network's)")
    sub.add_argument("--activation-bits", type=int, help="0: not quantised (default: the network's)")
    sub.add_argument("--reference", default="full_scale", help="full_scale or level")
    sub.add_argument("--mapping", default="differential", help="differential or signed")
    sub.add_argument("--k", type=float, default=1, help="percentile of the table, in percent")
    sub.add_argument("--on", default="cpu", help="cpu or cuda")

    sub = command("results", _results, "print the table of what is stored, shipped and local")
    for name in ("network", "dataset", "method", "device"):
        sub.add_argument(f"--{name}", nargs="+")
    sub.add_argument("--sigma-d", nargs="+", type=float)
    sub.add_argument("--k", type=float, default=1)

    sub = command("claims", _claims, "print what the shipped results say beside what the papers print")
    sub.add_argument("--write", metavar="FILE", help="put it between the claims marks of a file, e.g. README.md")

    sub = command("reproduce", _reproduce, "run the notebooks that make the papers' artefacts")
    sub.add_argument("names", nargs="*", help="artefacts or notebooks (default: a short list)")
    sub.add_argument("--preset", help="smoke, quick, full or paper")
    sub.add_argument("--on", default="cpu", help="cpu or cuda")
    return parser


if __name__ == "__main__":
    sys.exit(main())
