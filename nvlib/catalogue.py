"""Names and how they are written for readers: methods, networks, devices, deployments; without torch.

Each is name -> label, in the order of tables, rows and legends. What a name stands for is in `nvlib.methods`,
`nvlib.models`, `nvlib.devices` and `nvlib.deploy`; a test holds the names equal.
Data sets have theirs in `nvlib.image_sets`.

>>> from nvlib import catalogue
>>> catalogue.METHODS["rc"], catalogue.span((10, 30), "epoch")
('RC', '10-30 epochs')
"""

from __future__ import annotations

from collections.abc import Sequence

METHODS = {
    "none": "w/o noise", "gaussian": "Gauss", "correctnet": "CorrectNet", "rc": "RC", "rc_manual": "RC-Manual",
    "lc": "LC", "rt": "RT", "lt": "LT", "trice": "TRICE", "trice_gauss": "TRICE with Gauss", "ovf": "OVF", "irs": "IRS",
}  # fmt: skip
NETWORKS = {
    "lenet": "LeNet", "lenet5": "LeNet 5x5", "lenet3": "LeNet-3", "vgg8": "VGG-8", "vgg8_tsb": "VGG-8 (TSB)",
    "resnet18": "ResNet-18",
}  # fmt: skip
DEVICES = {
    "rram": "RRAM", "fefet1": "FeFET1", "fefet2": "FeFET2", "pcm": "PCM", "sonos": "SONOS",
    "rram_wan2022": "RRAM (Wan 2022)", "rram_wan2022_crosssim": "RRAM (Wan 2022, CrossSim's fit)",
    "rram_milo2021": "RRAM (Milo 2021)", "nft_rram4": "NFT's RRAM4", "nft_fefet2": "NFT's FeFET2",
    "nft_fefet6": "NFT's FeFET6",
}  # fmt: skip
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
