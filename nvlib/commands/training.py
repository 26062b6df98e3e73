"""train, evaluate: one model, and its chips."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from nvlib.commands import options as shared
from nvlib.commands.parser import DROP, Parser, given
from nvlib.commands.text import estimate
from nvlib.errors import InputError
from nvlib.store import Store

TRAIN = """\
  python -m nvlib train --method gaussian --sigma-d 0.2 --epochs 3
  python -m nvlib train --method trice --set th=2 --set warm=3 --set n_train=100 --sigma-d 0.2
  python -m nvlib train --method none --network resnet18 --dataset cifar10 --recipe preset --epochs 200 --on cuda
  python -m nvlib evaluate $(python -m nvlib train --method rc --set sigma_t=0.3 --quiet) --sigma-d 0.2"""
EVALUATE = """\
  python -m nvlib evaluate 84bc201f --sigma-d 0.2 --chips 1000
  python -m nvlib evaluate 84bc201f --device pcm --sigma-d 1 --until 0.5       until the KPP is known to +-0.5 points
  python -m nvlib evaluate 84bc201f --sigma-d 0.2 --deploy write_verify --chips 400"""


def add(command: object) -> None:
    """Add the commands."""
    sub: Parser = command("train", _train, "train one model, keep it, and print its hash", TRAIN)
    group = sub.add_argument_group("the training")
    group.add_argument("--method", default="gaussian", help="(default: gaussian)")
    group.add_argument("--device", default="rram", help="whose variation it meets (default: rram)")
    group.add_argument("--sigma-d", type=float, default=0.1, help="size of the variation (default: 0.1)")
    group.add_argument("--range", default="max", help="what the largest level stands for: max (default), "
                       "deviations:2.5, percentile:99.5; /channel behind it: of each column")  # fmt: skip
    group.add_argument("--effects", default="", help="that noisy forwards meet, e.g. drift:time=3600 (default: none)")
    group.add_argument("--seed", type=int, default=0, help="of weights, order and noise (default: 0)")
    group.add_argument("--quiet", action="store_true", help="print the hash alone, and no progress")
    shared.add_shape(sub)
    shared.add_method(sub)
    shared.add_machine(sub)

    sub = command("evaluate", _evaluate, "program a stored model on many chips and score each", EVALUATE)
    sub.add_argument("hash", help="of a training, or its first digits; see: python -m nvlib results list --trainings")
    group = sub.add_argument_group("the chips")
    group.add_argument("--device", help="(default: the one it was trained for, else rram)")
    group.add_argument("--sigma-d", type=float, help="size of the variation (default: the one it was trained for)")
    group.add_argument("--chips", type=int, default=400, help="how many, in all (default: 400)")
    group.add_argument("--until", type=float, help="add chips until an interval is +- so many points")
    group.add_argument("--of", default="kpp", help="whose interval: kpp (default) or mean")
    group.add_argument("--max-chips", type=int, default=20_000, help="where --until gives up (default: 20000)")
    group.add_argument("--chip-seed", type=int, default=0, help="the family of chips (default: 0)")
    group.add_argument("--reference", default=DROP, help="full_scale (default) or level")
    group.add_argument("--mapping", default=DROP, help="differential (default) or signed")
    group.add_argument("--range", help="what the largest level stands for, e.g. deviations:2.5 (default: that of the "
                       "training); calibrated: of some the best KPP on validation images and other chips")  # fmt: skip
    group.add_argument("--effects", default="", help="what befalls chips after programming, e.g. 'stuck:chen2015 + "
                       "drift:time=3600' (default: nothing)")  # fmt: skip
    group.add_argument("--periphery", default="", help="tiles, converters, wires: isaac, rows=64,adc_bits=6, ...")
    group.add_argument("--precision", default="float32", help="of the products: float32 (default), bf16, or tf32 on "
                       "cuda")  # fmt: skip
    group.add_argument("--dataset", help="path of the image folder, if it has moved")
    group.add_argument("--k", type=float, default=1, help="percentile, in percent (default: 1)")
    group.add_argument("--quiet", action="store_true", help="print the hash alone, and no progress")
    shared.add_deployment(sub, several=False)
    shared.add_machine(sub)


def _train(options: argparse.Namespace) -> int:
    from nvlib.commands.single import train
    from nvlib.studies import Study

    values: dict[str, Any] = given(options, (*shared.SHAPE, *shared.SELECTION))
    network, dataset = values.get("network", Study.network), values.get("dataset", Study.dataset)
    values |= shared.recipe(options, network, dataset)
    study = Study(
        methods=(options.method,), devices=(options.device,), sigma_d=(options.sigma_d,), seeds=(options.seed,),
        ranges=(options.range,), train_effects=options.effects,
        parameters=shared.method_parameters(options, [options.method]), **values,
    )  # fmt: skip
    store = Store()
    name = train(study, store, options.on, options.threads, not options.quiet)
    history = store.history(name)
    if len(history) and not options.quiet:
        last = history.iloc[-1]
        state = f"validation {last['clean']:.2f} % clean, {last['noisy']:.2f} % noisy"
        state = "diverged" if last["diverged"] else state
        print(f"{options.method}, {network} on {dataset}, {len(history)} epochs: {state}", file=sys.stderr)
    print(name)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from nvlib import statistics
    from nvlib.commands.single import Model
    from nvlib.records import digest
    from nvlib.sequential import Until

    statistics.needed(options.k)  # refuses a k that is none, before anything is computed
    rule = None
    if options.until is not None:
        rule = Until(options.until, options.of, options.k, 0.95, options.chips, options.max_chips)
    store = Store()
    name, record = store.find(options.hash, "training")
    if options.sigma_d is None and record["method"] == "none":
        raise InputError(f"training {name[:12]} met no variation; say which its chips have, e.g. --sigma-d 0.1")
    device = options.device or (record["device"] or {}).get("name") or "rram"
    sigma_d = record["sigma_d"] if options.sigma_d is None else options.sigma_d
    model = Model(name, store, options.dataset)
    span = options.range or record.get("range", "max")
    if span == "calibrated":
        span = model.calibrated(device, sigma_d, options.k, **given(options, ("reference", "mapping")))
        print(f"range {span}, chosen on validation images", file=sys.stderr)
    values = {
        "devices": (device,), "sigma_d": (sigma_d,), "chip_seed": options.chip_seed, **shared.deployments(options),
        "ranges": (span,), "effects": (options.effects,), "peripheries": (options.periphery,),
        "chip_precision": options.precision,
        **given(options, ("reference", "mapping")),
    }  # fmt: skip
    for chips in rule.looks if rule else (options.chips,):
        evaluation = model.evaluate(chips, options.on, options.threads, not options.quiet, **values)
        rows = store.samples(evaluation)
        accuracy = rows[rows.chip < chips].accuracy.to_numpy()
        if rule and rule.met(rule.estimate(accuracy)):
            break
    if not options.quiet:
        found = {"mean": statistics.mean(accuracy), "kpp": statistics.kpp(accuracy, options.k)}
        if rule:
            found[rule.of] = rule.estimate(accuracy)
        print(f"{len(accuracy)} chips of {device}, sigma_d = {sigma_d:g}", file=sys.stderr)
        for of, label in (("mean", "mean"), ("kpp", f"KPP({options.k:g})")):
            print(f"{label:<8} {estimate(found[of], ' %')}", file=sys.stderr)
    print(digest(evaluation))
    return 0
