"""Options that several commands share, and the values of the library that they stand for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nvlib.commands.parser import DROP, Parser, given, parameters
from nvlib.errors import InputError

if TYPE_CHECKING:
    from nvlib.methods import Recipe

RECIPE = ("optimiser", "lr", "schedule", "batch_size", "momentum", "weight_decay", "augment", "clip")
SELECTION = ("select", "patience", "target")
SHAPE = ("network", "dataset", "width", "bits", "activation_bits", "reference", "mapping", "epochs", "images",
         "precision")  # fmt: skip


def add_shape(sub: Parser) -> None:
    """Add what all runs of a grid share."""
    group = sub.add_argument_group("what is trained")
    group.add_argument("--network", default=DROP, help="lenet (default), lenet5, lenet3, vgg8, vgg8_tsb, "
                       "resnet18; or your own, own:NAME (see: python -m nvlib models)")  # fmt: skip
    group.add_argument("--dataset", default=DROP, help="a name (default: mnist), or the path of an image folder")
    group.add_argument("--epochs", type=int, default=DROP, help="of a training (default: 10)")
    group.add_argument("--images", type=int, default=DROP, help="use this many images of each split (default: all)")
    group.add_argument("--width", type=float, default=DROP, help="channels, as a multiple (default: 1)")
    group.add_argument("--bits", type=int, default=DROP, help="of a weight (default: the network's)")
    group.add_argument("--activation-bits", type=int, default=DROP, help="0: not quantised (default: the network's)")
    group.add_argument("--reference", default=DROP, help="sigma_d is relative to full_scale (default) or level")
    group.add_argument("--mapping", default=DROP, help="differential (default) or signed")
    group.add_argument("--precision", default=DROP, help="of the products in training: float32 (default), bf16, or "
                       "tf32 on cuda")  # fmt: skip


def add_method(sub: Parser) -> None:
    """Add a method's parameters, the recipe and the selection."""
    group = sub.add_argument_group("how it is trained")
    group.add_argument(
        "--set", action="append", default=[], metavar="P=V",
        help="a parameter of the method, e.g. th=2, or of one of several: trice.warm=2; may be given again",
    )  # fmt: skip
    group.add_argument("--recipe", default=DROP, help="default (Adam), or preset: the network's published recipe")
    group.add_argument("--optimiser", default=DROP, help="adam or sgd")
    group.add_argument("--lr", type=float, default=DROP, help="learning rate")
    group.add_argument("--schedule", default=DROP, help="of the learning rate: cosine or constant")
    group.add_argument("--batch-size", type=int, default=DROP)
    group.add_argument("--momentum", type=float, default=DROP, help="of sgd")
    group.add_argument("--weight-decay", type=float, default=DROP)
    group.add_argument("--augment", default=DROP, help="none or crop-flip")
    group.add_argument("--clip", default=DROP, help="cut weights after each update: none (default), deviations:2.5, "
                       "percentile:99.5, joshi2020 or aihwkit")  # fmt: skip
    group.add_argument("--select", default=DROP, help="which epoch is the result: last (default) or best")
    group.add_argument("--patience", type=int, default=DROP, help="stop after so many epochs without a better one")
    group.add_argument("--target", type=float, default=DROP, help="stop at this noisy validation accuracy, in percent")


def add_deployment(sub: Parser, several: bool) -> None:
    """Add what is done to each chip before it is scored."""
    group = sub.add_argument_group("what is done to each chip")
    text = "none, write_verify, swim, normalise, last_layer, last_layers, tsb"
    if several:
        group.add_argument("--deploy", nargs="+", default=DROP, metavar="NAME", help=text)
    else:
        group.add_argument("--deploy", default=DROP, metavar="NAME", help=text)
    group.add_argument("--deploy-set", action="append", default=[], metavar="P=V", help="its parameter: tsb.epochs=3")


def add_machine(sub: Parser) -> None:
    """Add where to compute."""
    group = sub.add_argument_group("where it is computed")
    group.add_argument("--on", default="cpu", help="cpu (default) or cuda")
    group.add_argument("--threads", type=int, help="of a process (default: the machine's, shared by the workers)")


def method_parameters(options: argparse.Namespace, methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what ``--set`` says, by method."""
    if not options.set:
        return {}
    from nvlib.methods import METHODS

    return parameters(options.set, methods, METHODS, "method")


def deployments(options: argparse.Namespace) -> dict[str, Any]:
    """Return what ``--deploy`` and ``--deploy-set`` say, as fields of a study."""
    names = vars(options).get("deploy")
    names = [names] if isinstance(names, str) else names
    if names is None:
        if options.deploy_set:
            raise InputError(f"--deploy-set {options.deploy_set[0]} without --deploy; say which it is for")
        return {}
    found: dict[str, Any] = {"deployments": tuple(None if name == "none" else name for name in names)}
    if chosen := [name for name in names if name != "none"]:
        from nvlib.deploy import DEPLOYMENTS

        found["deployment_parameters"] = parameters(options.deploy_set, chosen, DEPLOYMENTS, "deployment")
    return found


def recipe(options: argparse.Namespace, network: str, dataset: str, base: Recipe | None = None) -> dict[str, Any]:
    """Return the recipe that was asked for, as a field of a study; nothing if none was."""
    from nvlib.methods import Recipe, preset

    changes = given(options, RECIPE)
    kind = vars(options).get("recipe")
    if kind not in (None, "default", "preset"):
        raise InputError(f"recipe {kind!r} is not known; expected default or preset (then change it: --lr, ...)")
    if kind is None and not changes:
        return {}
    if kind == "preset":
        from nvlib import data

        base = preset(network, data.load(dataset, limit=1).shape[0])
    elif kind == "default" or base is None:
        base = Recipe()
    return {"recipe": Recipe(**asdict(base) | changes)}
