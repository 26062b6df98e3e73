"""Names and how they are written for readers: methods, networks, devices, deployments; without torch.

Each is name -> label, in the order of tables, rows and legends. What a name stands for is in `nvlib.methods`,
`nvlib.models`, `nvlib.devices` and `nvlib.deploy`; a test holds the names equal. Devices' labels are in their files.
Data sets have theirs in `nvlib.image_sets`.

>>> from nvlib import catalogue
>>> catalogue.METHODS["rc"], catalogue.span((10, 30), "epoch")
('RC', '10-30 epochs')
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path


def _devices() -> dict[str, str]:
    """Return the built-in devices, each as its file calls it."""
    found = {}
    for path in sorted((Path(__file__).parent / "_data" / "devices").glob("*.toml")):
        record = tomllib.loads(path.read_text(encoding="utf-8"))
        found[record["name"]] = record.get("label", record["name"])
    return found


METHODS = {
    "none": "w/o noise", "gaussian": "Gauss", "correctnet": "CorrectNet", "rc": "RC", "rc_manual": "RC-Manual",
    "lc": "LC", "rt": "RT", "lt": "LT", "trice": "TRICE", "trice_gauss": "TRICE with Gauss", "ovf": "OVF", "irs": "IRS",
}  # fmt: skip
NETWORKS = {
    "lenet": "LeNet", "lenet5": "LeNet 5x5", "lenet3": "LeNet-3", "vgg8": "VGG-8", "vgg8_tsb": "VGG-8 (TSB)",
    "resnet18": "ResNet-18",
}  # fmt: skip
DEVICES = _devices()
DEPLOYMENTS = {
    "write_verify": "write-verify", "swim": "SWIM", "normalise": "statistics taken again",
    "compensate": "drift compensation",
    "last_layer": "last layer", "last_layers": "last layers", "tsb": "TSB",
}  # fmt: skip
REFERENCES = {"full_scale": "full scale", "level": "one level"}
WRITTEN = {**NETWORKS, **DEVICES, **REFERENCES}  # what is written the same wherever it stands


def span(values: Sequence[float], unit: str = "") -> str:
    """Return ``10 epochs`` or ``10-30 epochs``."""
    low, high = min(values), max(values)
    text = f"{low:,}" if low == high else f"{low:,}-{high:,}"
    return f"{text} {unit}{'' if text == '1' else 's'}" if unit else text
