"""study: a grid of runs from a file or from options; what is missing is computed, here, on processes, or by SLURM."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from nvlib.commands import options
from nvlib.commands.options import HOW, TRAINED, DeploySets, Flag, K, Kind, Sets, Threads, Workers, fields_of
from nvlib.declarations import ClusterFields, RecipeFields, StudyFields
from nvlib.errors import InputError, unknown, whole

if TYPE_CHECKING:
    from nvlib.studies import Study

ENDED = ("failed", "cancelled", "lost")  # launches that left something undone
SELECTION = ("select", "patience", "target", "start")
AXES = [name for name, kind in options.types_of(StudyFields).items() if "tuple" in str(kind)]
WHO = Parameter(group=options.WHO)
Asked = options.options(
    fields_of(StudyFields, AXES, group=options.GRID, without=("deployments", "plugins")),
    fields_of(StudyFields, group=TRAINED, without=(*AXES, *SELECTION)),
    fields_of(StudyFields, (*SELECTION, "plugins"), group=HOW), fields_of(RecipeFields, group=HOW),
    fields_of(StudyFields, ("deployments",), group=options.DEPLOYED),
    fields_of(ClusterFields, group=options.SLURM, without=("jobs",)),
)  # fmt: skip


@options.taking(Asked)
def study(
    file: Path | None = None,
    /,
    *,
    dry_run: Flag = False,
    k: K = 1,
    set_: Sets = None,
    recipe: Kind = None,
    deploy_set: DeploySets = None,
    on: Annotated[str | None, Parameter(group=options.WHERE)] = None,
    threads: Threads = None,
    executor: Annotated[str | None, WHO] = None,
    workers: Workers = None,
    pack: Annotated[str, WHO] = "auto",
    detach: Annotated[Flag, WHO] = False,
    name: Annotated[str | None, WHO] = None,
    no_follow: Annotated[Flag, WHO] = False,
    **asked: Any,
) -> int:
    """Train and evaluate what is missing of a grid, and print its table.

    Examples:
        python -m nvlib study --method none gaussian --sigma-d 0.1 0.2 --epochs 3 --chips 200
        python -m nvlib study --method trice rc --set th=2 --set trice.warm=3 --sigma-d 0.2 --recipe preset
        python -m nvlib study --method gaussian --deploy none tsb --deploy-set tsb.epochs=3
        python -m nvlib study grid.toml --dry-run             how many runs, how many exist, time and memory
        python -m nvlib study grid.toml --executor processes --workers 4
        python -m nvlib study grid.toml --executor slurm --gpus 1 --minutes 120 --workers 20

      A file holds what the options say, in TOML or YAML; options change it:
        method and device are lists there: methods, devices; then sigma_d, seeds, epochs, chips, ...,
        [parameters.trice], [recipe], deployments, [deployment_parameters.tsb]

    Args:
        file: the grid, .toml or .yaml (default: what the options say).
        dry_run: only say how many runs, how many exist, time and memory.
        on: cpu or cuda (default: cpu, or cuda with --gpus).
        executor: here (default; processes with --workers), processes or slurm.
        pack: trainings as one population: a number, or auto.
        detach: as a job of its own: see python -m nvlib jobs.
        name: of the job.
        no_follow: with slurm: submit and return.
    """
    from nvlib import data, launch, population, statistics, studies
    from nvlib.commands.tables import say

    executor = executor or ("here" if workers is None else "processes")
    if executor not in launch.EXECUTORS:
        raise unknown("executor", executor, launch.EXECUTORS)
    jobs = options.of(ClusterFields, asked)
    if jobs and executor != "slurm":
        raise InputError(f"--{next(iter(jobs)).replace('_', '-')} is for --executor slurm; add it, or leave this out")
    if no_follow and executor != "slurm":
        raise InputError("--no-follow is for --executor slurm; add it, or take --detach")
    if workers is not None:
        whole("workers", workers, 1)
    how: dict[str, Any] = {"threads": threads, "pack": int(pack) if pack.isdigit() else pack, "name": name}
    if threads is not None:
        whole("threads", threads, 1)
    if pack != "auto":
        whole("pack", how["pack"], 1, otherwise=", or auto")
    if executor == "slurm":
        how["cluster"] = launch.Cluster(**jobs)
    statistics.needed(k)  # refuses a k that is none, before anything is computed
    found, on = grid(file, set_, recipe, deploy_set, **asked), on or ("cuda" if jobs.get("gpus") else "cpu")
    population.place_of(on)
    data.load(found.dataset, limit=1)  # says what is wrong with it before anything is launched
    if dry_run:
        print(studies.estimate(found, on=on, threads=threads, workers=workers or 1).text())
        return 0
    how["on"] = on
    if detach:
        job = launch.start(found, executor, workers, **how)
        print(f"job {job}; python -m nvlib jobs follow {job}")
        return 0
    table = launch.run(found, executor, workers, follow=not no_follow, **how)
    if no_follow and executor == "slurm":
        print("submitted; python -m nvlib jobs follow last")
        return 0
    if len(table):
        say(table, k)
    held = next((job for job in launch.jobs() if executor == "slurm" or job.pid == os.getpid()), None)
    return 1 if held is not None and held.state in ENDED else 0


def grid(
    file: Path | None = None, set_: Sets = None, recipe: Kind = None, deploy_set: DeploySets = None, **asked: Any
) -> Study:
    """Return the study that a file and options describe."""
    from nvlib import devices
    from nvlib.studies import Study, load

    base = load(file) if file else Study()
    options.run_plugins(asked)
    values = options.of(Study, asked)
    if "devices" in values and "sigma_d" not in values:
        if file:
            devices.counted_alike("--sigma-d", base.devices[0], *values["devices"])
        else:  # the usual one of these devices
            values["sigma_d"] = None
    values |= options.deployments(values.pop("deployments", None), deploy_set)
    values |= options.recipe(recipe, asked, base, base.recipe if file else None)
    values["parameters"] = options.method_parameters(set_, values.get("methods", base.methods))
    for name in ("parameters", "deployment_parameters"):
        values[name] = _merged(getattr(base, name), values.get(name, {}))
    return replace(base, **values)


def _merged(held: Mapping[str, Mapping], found: Mapping[str, Mapping]) -> dict[str, dict]:
    return {key: {**held.get(key, {}), **found.get(key, {})} for key in {*held, *found}}
