"""train, evaluate: one model, and its chips, done as a study does them: locked, checkpointed, in blocks."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import Parameter

from nvlib.commands import options
from nvlib.commands.options import HOW, ONE, TRAINED, DeploySets, K, Kind, On, Quiet, Sets, Threads, fields_of
from nvlib.commands.study import AXES, SELECTION
from nvlib.declarations import RecipeFields, StudyFields
from nvlib.errors import InputError

CHIPS = Parameter(group=options.CHIPS)
MOST = 20_000  # chips, where nobody says --max-chips
OF_CHIPS = ("chips", "chip_seed", "chip_precision", "train_range", "train_effects", "train_device")
Asked = options.options(
    fields_of(StudyFields, ("devices", "sigma_d", "seeds", "ranges", "train_effects"), group=ONE, one=True,
              seeds="seed", train_effects="effects"),
    fields_of(StudyFields, group=TRAINED, without=(*AXES, *SELECTION, *OF_CHIPS)),
    fields_of(StudyFields, (*SELECTION, "plugins"), group=HOW), fields_of(RecipeFields, group=HOW),
)  # fmt: skip
Conditions = options.options(
    fields_of(StudyFields, ("effects", "peripheries", "reference", "mapping", "chip_seed"), one=True,
              group=options.CHIPS),
    fields_of(StudyFields, ("plugins",), group=options.CHIPS),
)  # fmt: skip


@options.taking(Asked)
def train(
    *,
    method: Annotated[options.Method, Parameter(group=ONE)] = "gaussian",
    quiet: Annotated[Quiet, Parameter(group=ONE)] = False,
    set_: Sets = None,
    recipe: Kind = None,
    on: On = "cpu",
    threads: Threads = None,
    **asked: Any,
) -> int:
    """Train one model, keep it, and print its hash.

    Examples:
        python -m nvlib train --method gaussian --sigma-d 0.2 --epochs 3
        python -m nvlib train --method trice --set th=2 --set warm=3 --set n_train=100 --sigma-d 0.2
        python -m nvlib train --method none --network resnet18 --dataset cifar10 --recipe preset --epochs 200 --on cuda
        python -m nvlib evaluate $(python -m nvlib train --method rc --set sigma_t=0.3 --quiet) --sigma-d 0.2

    Args:
        method: what is done against variation.
    """
    from nvlib.commands import single
    from nvlib.store import Store
    from nvlib.studies import Study

    options.run_plugins(asked)
    parameters = options.method_parameters(set_, [method])
    values = {"methods": method, "parameters": parameters, **options.of(Study, asked)}
    study = Study.of(values | options.recipe(recipe, asked, Study))
    store = Store()
    name = single.train(study, store, on, threads, not quiet)
    history = store.history(name)
    if len(history) and not quiet:
        last = history.iloc[-1]
        state = f"validation {last['clean']:.2f} % clean, {last['noisy']:.2f} % noisy"
        state = "diverged" if last["diverged"] else state
        print(f"{method}, {study.network} on {study.dataset}, {len(history)} epochs: {state}", file=sys.stderr)
    print(name)
    return 0


@options.taking(Conditions)
def evaluate(
    hash: str,
    /,
    *,
    device: Annotated[options.Device | None, CHIPS] = None,
    sigma_d: Annotated[float | None, CHIPS] = None,
    range: Annotated[str | None, CHIPS] = None,
    chips: Annotated[int, CHIPS] = 400,
    until: Annotated[float | None, CHIPS] = None,
    of: Annotated[str | None, CHIPS] = None,
    max_chips: Annotated[int | None, CHIPS] = None,
    k: Annotated[K, CHIPS] = 1,
    precision: Annotated[str, CHIPS] = "float32",
    dataset: Annotated[options.Dataset | None, CHIPS] = None,
    quiet: Annotated[Quiet, CHIPS] = False,
    deploy: Annotated[options.Deploy | None, Parameter(group=options.DEPLOYED)] = None,
    deploy_set: DeploySets = None,
    on: On = "cpu",
    threads: Threads = None,
    **conditions: Any,
) -> int:
    """Program a stored model on many chips and score each.

    Examples:
        python -m nvlib evaluate 84bc201f --sigma-d 0.2 --chips 1000
        python -m nvlib evaluate 84bc201f --device pcm --sigma-d 1 --until 0.5       until the KPP is known to +-0.5
        python -m nvlib evaluate 84bc201f --sigma-d 0.2 --deploy write_verify --chips 400

    Args:
        hash: of a training, or its first digits; see: python -m nvlib results list --trainings.
        device: the kind of cell (default: the one it was trained for, else rram).
        sigma_d: size of the variation (default: the one it was trained for).
        range: as deviations:2.5 (default: that of the training); calibrated: the best KPP on validation images.
        chips: how many, in all.
        until: add chips until an interval is +- so many points.
        of: whose interval --until waits for: kpp or mean (default: kpp).
        max_chips: where --until gives up (default: 20,000).
        precision: of the products: float32, bf16, or tf32 on cuda.
        dataset: path of the image folder, if it has moved.
        deploy: what is done to each chip (default: none).
    """
    from nvlib import devices, statistics
    from nvlib.commands import single
    from nvlib.commands.format import estimate
    from nvlib.devices import Device
    from nvlib.records import digest
    from nvlib.sequential import Until
    from nvlib.store import Store

    options.run_plugins(conditions)
    conditions.pop("plugins", None)
    statistics.needed(k)  # refuses a k that is none, before anything is computed
    for word, value in (("--of", of), ("--max-chips", max_chips)):
        if until is None and value is not None:
            raise InputError(f"{word} {value} is for --until; add it, or leave this out")
    most = MOST if max_chips is None else max_chips
    rule = None if until is None else Until(until, of or "kpp", k, 0.95, chips, most)
    store = Store()
    name, record = store.find(hash, "training")
    if sigma_d is None and record["method"] == "none":
        raise InputError(f"training {name[:12]} met no variation; say which its chips have, e.g. --sigma-d 0.1")
    if sigma_d is None and device:
        devices.counted_alike("--sigma-d", Device.from_dict(record["device"]), device)
    device = device or (record["device"] or {}).get("name") or "rram"
    sigma_d = record["sigma_d"] if sigma_d is None else sigma_d
    model = single.Model(name, store, dataset)
    span = range or record.get("range", "max")
    if span == "calibrated":
        kept = {name: conditions[name] for name in ("reference", "mapping") if name in conditions}
        span = model.calibrated(device, sigma_d, k, **kept)
        print(f"range {span}, chosen on validation images", file=sys.stderr)
    values = {"devices": device, "sigma_d": sigma_d, "ranges": span, "chip_precision": precision, **conditions,
              **options.deployments(None if deploy is None else [deploy], deploy_set)}  # fmt: skip
    for count in rule.looks if rule else (chips,):
        evaluation = model.evaluate(count, on, threads, not quiet, **values)
        rows = store.samples(evaluation)
        accuracy = rows[rows.chip < count].accuracy.to_numpy()
        if rule and rule.met(rule.estimate(accuracy)):
            break
    if not quiet:
        found = {"mean": statistics.mean(accuracy), "kpp": statistics.kpp(accuracy, k)}
        if rule:
            found[rule.of] = rule.estimate(accuracy)
        print(f"{len(accuracy)} chips of {device}, sigma_d = {sigma_d:g}", file=sys.stderr)
        for name, label in (("mean", "mean"), ("kpp", f"KPP({k:g})")):
            print(f"{label:<8} {estimate(found[name], ' %')}", file=sys.stderr)
    print(digest(evaluation))
    return 0
