"""How methods, networks, data sets and devices are written for readers, and how a method looks: no plotly yet.

Colours are those of Okabe and Ito. Two methods of one colour differ in dash, and every method has its own marker, so
that figures can be read without colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nvlib import image_sets
from nvlib.models import own

BLUE, SKY, GREEN, ORANGE = "#0072B2", "#56B4E9", "#009E73", "#E69F00"
VERMILLION, PURPLE, GREY = "#D55E00", "#CC79A7", "#7F7F7F"
SPARE = (BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE)  # for methods without a style of their own, and for levels


@dataclass(frozen=True)
class Style:
    """How one method looks in every figure."""

    label: str
    colour: str
    dash: str
    marker: str


STYLES = {  # in the order of tables, rows and legends
    "none": Style("w/o noise", GREY, "solid", "circle"),
    "gaussian": Style("Gauss", BLUE, "solid", "square"),
    "correctnet": Style("CorrectNet", PURPLE, "dash", "diamond"),
    "rc": Style("RC", ORANGE, "dash", "triangle-up"),
    "rc_manual": Style("RC-Manual", ORANGE, "dot", "pentagon"),
    "lc": Style("LC", SKY, "dash", "triangle-down"),
    "rt": Style("RT", GREEN, "dashdot", "triangle-right"),
    "lt": Style("LT", PURPLE, "dashdot", "triangle-left"),
    "trice": Style("TRICE", VERMILLION, "solid", "star"),
    "trice_gauss": Style("TRICE with Gauss", VERMILLION, "dot", "star-diamond"),
    "ovf": Style("OVF", GREEN, "solid", "hexagon"),
    "irs": Style("IRS", PURPLE, "solid", "cross"),
}

_WRITTEN = {
    "lenet": "LeNet",
    "lenet5": "LeNet 5x5",
    "lenet3": "LeNet-3",
    "vgg8": "VGG-8",
    "vgg8_tsb": "VGG-8 (TSB)",
    "resnet18": "ResNet-18",
    "rram": "RRAM",
    "fefet1": "FeFET1",
    "fefet2": "FeFET2",
    "pcm": "PCM",
    "sonos": "SONOS",
    "rram_wan2022": "RRAM (Wan 2022)",
    "rram_wan2022_crosssim": "RRAM (Wan 2022, CrossSim's fit)",
    "rram_milo2021": "RRAM (Milo 2021)",
    "nft_rram4": "NFT's RRAM4",
    "nft_fefet2": "NFT's FeFET2",
    "nft_fefet6": "NFT's FeFET6",
    "full_scale": "full scale",
    "level": "one level",
}


def style(method: str) -> Style:
    """Return the look of a method; an unlisted one (a user's own) gets its name and always the same colour."""
    spare = SPARE[sum(method.encode()) % len(SPARE)]
    return STYLES.get(method, Style(method, spare, "longdash", "x"))


def name(key: str) -> str:
    """Return a name as it is written for readers: ``lenet`` -> ``LeNet``, ``vgg8 x0.25`` -> ``VGG-8 x0.25``."""
    if written := image_sets.label(str(key)):
        return written
    whole, times, width = str(key).partition(" x")
    return _WRITTEN.get(whole, own.label(whole)) + times + width


def ordinal(k: float) -> str:
    """Return ``1st``, ``2nd``, ``0.5th``, ..."""
    last = {1: "st", 2: "nd", 3: "rd"}.get(k % 10 if k % 1 == 0 and k % 100 not in (11, 12, 13) else 0, "th")
    return f"{k:g}{last}"


def span(values: Sequence[float], unit: str = "") -> str:
    """Return ``10 epochs`` or ``10-30 epochs``."""
    low, high = min(values), max(values)
    text = f"{low:,}" if low == high else f"{low:,}-{high:,}"
    return f"{text} {unit}{'' if text == '1' else 's'}" if unit else text
