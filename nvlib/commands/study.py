"""study: a grid of runs from a file or from options; what is missing is computed, here, on processes, or by SLURM."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nvlib import plugins
from nvlib.commands import options as shared
from nvlib.commands.parser import DROP, Parser, given
from nvlib.errors import InputError, unknown

if TYPE_CHECKING:
    from nvlib.studies import Study

AXES = {"method": "methods", "device": "devices", "sigma_d": "sigma_d", "seeds": "seeds",
        "train_sigma_d": "train_sigma_d", "range": "ranges",
        "effects": "effects", "periphery": "peripheries"}  # fmt: skip
SCALARS = (*shared.SHAPE, *shared.SELECTION, "train_range", "train_effects", "chips", "chip_seed", "chip_precision",
           "plugins")  # fmt: skip
CLUSTER = ("partition", "gpus", "cpus", "memory_gb", "minutes", "at_once", "account", "qos", "constraint", "setup")
ENDED = ("failed", "cancelled", "lost")  # launches that left something undone

EXAMPLES = """\
  python -m nvlib study --method none gaussian --sigma-d 0.1 0.2 --epochs 3 --chips 200
  python -m nvlib study --method trice rc --set th=2 --set trice.warm=3 --sigma-d 0.2 --recipe preset
  python -m nvlib study --method gaussian --deploy none tsb --deploy-set tsb.epochs=3
  python -m nvlib study grid.toml --dry-run             how many runs, how many exist, time and memory
  python -m nvlib study grid.toml --executor processes --workers 4
  python -m nvlib study grid.toml --executor slurm --gpus 1 --minutes 120 --workers 20

A file holds what the options say, in TOML or YAML; options change it:
  method and device are lists there: methods, devices; then sigma_d, seeds, epochs, chips, ..., [parameters.trice],
  [recipe], deployments, [deployment_parameters.tsb]"""


def add(command: object) -> None:
    """Add the command."""
    sub: Parser = command(
        "study", _study, "train and evaluate what is missing of a grid, and print its table", EXAMPLES
    )
    sub.add_argument("file", nargs="?", metavar="FILE", help="the grid, .toml or .yaml (default: what the options say)")
    sub.add_argument("--dry-run", action="store_true", help="only say how many runs, how many exist, time and memory")
    sub.add_argument("--k", type=float, default=1, help="percentile of the table, in percent (default: 1)")
    group = sub.add_argument_group("the grid's axes")
    group.add_argument("--method", nargs="+", default=DROP, help="(default: none gaussian)")
    group.add_argument("--device", nargs="+", default=DROP, help="names, or paths of .toml or .csv files (rram)")
    group.add_argument("--sigma-d", nargs="+", type=float, default=DROP, help="size of the variation (0.1)")
    group.add_argument("--seeds", nargs="+", type=int, default=DROP, help="of trainings (0)")
    group.add_argument("--train-sigma-d", nargs="+", type=float, default=DROP, help="sweep: train at these "
                       "(default: at what is tested)")  # fmt: skip
    group.add_argument("--range", nargs="+", default=DROP, help="what the largest level stands for: max (default), "
                       "deviations:2.5, percentile:99.5; /channel behind it: of each column")  # fmt: skip
    group.add_argument("--effects", nargs="+", default=DROP, help="what befalls programmed chips: none (default), "
                       "drift:time=3600, 'stuck:chen2015 + read:relative=0.01', ...")  # fmt: skip
    group.add_argument("--periphery", nargs="+", default=DROP, help="round the arrays: none (default), isaac, "
                       "rows=64,adc_bits=6, ...")  # fmt: skip
    group.add_argument("--train-effects", default=DROP, help="that noisy forwards in training meet (none)")
    group.add_argument("--train-range", default=DROP, help="of forwards in training (default: that of the chips)")
    group.add_argument("--chips", type=int, default=DROP, help="of each evaluation (default: 400)")
    group.add_argument("--chip-seed", type=int, default=DROP, help="the family of chips (default: 0)")
    group.add_argument("--chip-precision", default=DROP, help="of evaluations (default: that of the trainings, where "
                       "it pays)")  # fmt: skip
    shared.add_shape(sub)
    shared.add_method(sub)
    sub.add_argument("--plugin", dest="plugins", action="append", default=DROP, metavar="FILE.py", help="a file that "
                     "registers methods of your own, nvlib.METHODS[...] = ...; may be given again")  # fmt: skip
    shared.add_deployment(sub, several=True)
    shared.add_machine(sub)
    sub.set_defaults(on=None)
    group = sub.add_argument_group("who computes it")
    group.add_argument("--executor", help="here (default), processes or slurm")
    group.add_argument("--workers", type=int, help="processes, or jobs of the array; alone it means processes")
    group.add_argument("--pack", type=_pack, default="auto", help="trainings as one population: a number, or auto")
    group.add_argument("--detach", action="store_true", help="as a job of its own: see python -m nvlib jobs")
    group.add_argument("--name", help="of the job")
    group.add_argument("--no-follow", action="store_true", help="slurm: submit and return")
    for name, kind, text in (
        ("partition", str, "of the cluster"), ("gpus", int, "of a job (0)"), ("cpus", int, "of a job (1)"),
        ("memory-gb", float, "of a job (4)"), ("minutes", int, "of a job, after which it is requeued (60)"),
        ("at-once", int, "most jobs at a time (256)"),
        ("account", str, "to charge"), ("qos", str, "quality of service"), ("constraint", str, "on the nodes"),
    ):  # fmt: skip
        group.add_argument(f"--{name}", type=kind, default=DROP, help=f"slurm: {text}")
    group.add_argument("--setup", action="append", default=DROP, metavar="LINE", help="slurm: a line for the shell "
                       "before Python, e.g. 'module load cuda'; may be given again")  # fmt: skip


def grid(options: argparse.Namespace) -> Study:
    """Return the study that a file and options describe."""
    from nvlib.studies import Study, load

    base = load(options.file) if options.file else Study()
    values: dict[str, Any] = given(options, SCALARS)
    values |= {"plugins": tuple(values["plugins"])} if "plugins" in values else {}
    for path in values.get("plugins", ()):
        plugins.load(path)
    values |= {AXES[name]: tuple(value) for name, value in given(options, AXES).items()}
    values |= shared.deployments(options)
    methods = values.get("methods", base.methods)
    network, dataset = values.get("network", base.network), values.get("dataset", base.dataset)
    values |= shared.recipe(options, network, dataset, base.recipe if options.file else None)
    for name, found in (("parameters", shared.method_parameters(options, methods)),
                        ("deployment_parameters", values.get("deployment_parameters", {}))):  # fmt: skip
        held = getattr(base, name, {})
        values[name] = {key: {**held.get(key, {}), **found.get(key, {})} for key in {*held, *found}}
    return replace(base, **values)


def _pack(text: str) -> int | str:
    return text if text == "auto" else int(text)


def _study(options: argparse.Namespace) -> int:
    from nvlib import data, launch, studies
    from nvlib.commands.listing import say

    executor = options.executor or ("processes" if options.workers else "here")
    if executor not in launch.EXECUTORS:
        raise unknown("executor", executor, launch.EXECUTORS)
    asked = given(options, CLUSTER)
    if asked and executor != "slurm":
        raise InputError(f"--{next(iter(asked)).replace('_', '-')} is for --executor slurm; add it, or leave this out")
    study, on = grid(options), options.on or ("cuda" if asked.get("gpus") else "cpu")
    data.load(study.dataset, limit=1)  # says what is wrong with it before anything is launched
    if options.dry_run:
        print(studies.estimate(study, on=on, threads=options.threads, workers=options.workers or 1).text())
        return 0
    how: dict[str, Any] = {"on": on, "threads": options.threads, "pack": options.pack, "name": options.name}
    if executor == "slurm":
        how["cluster"] = launch.Cluster(**asked | ({"setup": tuple(asked["setup"])} if "setup" in asked else {}))
    if options.detach:
        job = launch.start(study, executor, options.workers, **how)
        print(f"job {job}; python -m nvlib jobs follow {job}")
        return 0
    table = launch.run(study, executor, options.workers, follow=not options.no_follow, **how)
    if options.no_follow and executor == "slurm":
        print("submitted; python -m nvlib jobs follow last")
        return 0
    if len(table):
        say(table, options.k)
    held = next((job for job in launch.jobs() if executor == "slurm" or job.pid == os.getpid()), None)
    return 1 if held is not None and held.state in ENDED else 0
