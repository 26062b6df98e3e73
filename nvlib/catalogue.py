"""Methods, networks, devices, deployments by name: how each is written for readers, and where it is; without torch.

To add a training method, a network or a deployment is to write its file and its line here; a device is a file alone
(nvlib/_data/devices). `nvlib.METHODS`, `nvlib.MODELS`, `nvlib.DEPLOYMENTS`, pages, legends, tables and help read these,
in this order; a plug-in's (`nvlib.plugins`) come behind. Data sets have theirs in `nvlib.image_sets`.

>>> from nvlib import catalogue
>>> catalogue.METHODS["rc"], catalogue.span((10, 30), "epoch")
('RC', '10-30 epochs')
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any


def _devices() -> dict[str, str]:
    """Return the built-in devices, each as its file calls it."""
    found = {}
    for path in sorted((Path(__file__).parent / "_data" / "devices").glob("*.toml")):
        record = tomllib.loads(path.read_text(encoding="utf-8"))
        found[record["name"]] = record.get("label", record["name"])
    return found


# name: label, and where it is: file:class of the package `nvlib.methods`
_METHODS = {
    "none": ("w/o noise", "none:NoNoise"),
    "gaussian": ("Gauss", "gaussian:GaussianInjection"),
    "correctnet": ("CorrectNet", "correctnet:CorrectNet"),
    "rc": ("RC", "censored:RightCensoredInjection"),
    "rc_manual": ("RC-Manual", "censored:RightCensoredManual"),
    "lc": ("LC", "censored:LeftCensoredInjection"),
    "rt": ("RT", "censored:RightTruncatedInjection"),
    "lt": ("LT", "censored:LeftTruncatedInjection"),
    "trice": ("TRICE", "trice:Trice"),
    "trice_gauss": ("TRICE with Gauss", "trice:TriceGauss"),
    "ovf": ("OVF", "ovf:OrientedVariationalForwards"),
    "irs": ("IRS", "irs:IntermediateSnapshots"),
}
# likewise of `nvlib.models`, and what of the class makes the network of that name
_NETWORKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "lenet": ("LeNet", "networks:LeNet", {}),
    "lenet5": ("LeNet 5x5", "networks:LeNet", {"kernel": 5}),
    "lenet3": ("LeNet-3", "networks:LeNet3", {}),
    "vgg8": ("VGG-8", "networks:VGG8", {}),
    "vgg8_tsb": ("VGG-8 (TSB)", "networks:VGG8", {"channels": (128, 128, 256, 256, 512, 512)}),
    "resnet18": ("ResNet-18", "networks:ResNet18", {}),
}
# likewise of `nvlib.deploy`
_DEPLOYMENTS = {
    "write_verify": ("write-verify", "write_verify:WriteVerify"),
    "swim": ("SWIM", "swim:Swim"),
    "normalise": ("statistics taken again", "batchnorm_recalibration:Normalise"),
    "compensate": ("drift compensation", "compensate:Compensate"),
    "last_layer": ("last layer", "last_layers:LastLayer"),
    "last_layers": ("last layers", "last_layers:LastLayers"),
    "tsb": ("TSB", "tsb:TinySharedBlock"),
}

METHODS = {name: label for name, (label, _) in _METHODS.items()}
NETWORKS = {name: label for name, (label, _, _) in _NETWORKS.items()}
DEPLOYMENTS = {name: label for name, (label, _) in _DEPLOYMENTS.items()}
DEVICES = _devices()
REFERENCES = {"full_scale": "full scale", "level": "one level"}
WRITTEN = {**NETWORKS, **DEVICES, **REFERENCES}  # what is written the same wherever it stands


MARKS = "①②③④⑤⑥⑦⑧⑨⑩⑪⑫"  # of settings of one method beside each other (`nvlib.explore.laid`)


def plain(method: str) -> tuple[str, str]:
    """Return a method and what is said of its setting: ``gaussian ② 30 epochs`` -> (gaussian, ② 30 epochs)."""
    name, _, rest = method.partition(" ")
    return (name, rest) if rest[:1] and rest[0] in MARKS else (method, "")


def span(values: Sequence[float], unit: str = "") -> str:
    """Return ``10 epochs`` or ``10-30 epochs``."""
    low, high = min(values), max(values)
    text = f"{low:,}" if low == high else f"{low:,}-{high:,}"
    return f"{text} {unit}{'' if text == '1' else 's'}" if unit else text


def classes(kind: str) -> dict[str, Any]:
    """Return nvlib's own ``methods``, ``networks`` or ``deployments`` by name, imported: classes, or what makes one."""
    return dict(_classes(kind))


@cache
def _classes(kind: str) -> dict[str, Any]:
    packages: dict[str, tuple[str, Mapping[str, tuple[Any, ...]]]] = {
        "methods": ("methods", _METHODS), "networks": ("models", _NETWORKS), "deployments": ("deploy", _DEPLOYMENTS),
    }  # fmt: skip
    package, held = packages[kind]
    found = {}
    for name, (_, home, *given) in held.items():
        file, _, made = home.partition(":")
        thing = getattr(importlib.import_module(f"nvlib.{package}.{file}"), made)
        found[name] = partial(thing, **given[0]) if given and given[0] else thing
    return found
