"""How methods, networks, data sets and devices are written for readers, and how a method looks: no plotly yet.

Colours are those of Okabe and Ito. Two methods of one colour differ in dash, and every method has its own marker, so
that figures can be read without colour.
"""

from __future__ import annotations

from dataclasses import dataclass

from nvlib import image_sets
from nvlib.catalogue import MARKS, METHODS, WRITTEN, plain
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


_LOOKS = {  # others get a spare one
    "none": (GREY, "solid", "circle"),
    "gaussian": (BLUE, "solid", "square"),
    "correctnet": (PURPLE, "dash", "diamond"),
    "rc": (ORANGE, "dash", "triangle-up"),
    "rc_manual": (ORANGE, "dot", "pentagon"),
    "lc": (SKY, "dash", "triangle-down"),
    "rt": (GREEN, "dashdot", "triangle-right"),
    "lt": (PURPLE, "dashdot", "triangle-left"),
    "trice": (VERMILLION, "solid", "star"),
    "trice_gauss": (VERMILLION, "dot", "star-diamond"),
    "ovf": (GREEN, "solid", "hexagon"),
    "irs": (PURPLE, "solid", "cross"),
}
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_MARKERS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "pentagon", "hexagon", "star",
            "hourglass", "bowtie")  # fmt: skip
_SHADES = (0.0, 0.45, -0.25, 0.65, 0.25)  # towards white, or black


def style(method: str) -> Style:
    """Return the look of a method; one without a look of its own (a user's) always gets the same colour.

    A setting of a method (``gaussian ② range deviations:2``) has the method's colour in another shade, with a dash and
    marker of its own.
    """
    name, setting = plain(method)
    if setting:
        place, known = MARKS.index(setting[0]), style(name)
        look = (known.dash, known.marker) if place == 0 else (_DASHES[place % 6], _MARKERS[place])
        return Style(f"{known.label} {setting}", _shade(known.colour, _SHADES[place % 5]), *look)
    spare = SPARE[sum(method.encode()) % len(SPARE)], "longdash", "x"
    return Style(METHODS.get(method, method), *_LOOKS.get(method, spare))


def _shade(colour: str, towards: float) -> str:
    """Return a colour ``#rrggbb`` mixed with white (> 0) or black (< 0)."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    mixed = [p + (255 - p) * towards if towards > 0 else p * (1 + towards) for p in parts]
    return "#" + "".join(f"{round(p):02X}" for p in mixed)


STYLES = {method: style(method) for method in METHODS}  # in the order of legends


def name(key: str) -> str:
    """Return a name as it is written for readers: ``lenet`` -> ``LeNet``, ``vgg8 x0.25`` -> ``VGG-8 x0.25``."""
    if written := image_sets.label(str(key)):
        return written
    whole, times, width = str(key).partition(" x")
    return WRITTEN.get(whole, own.label(whole)) + times + width


def ordinal(k: float) -> str:
    """Return ``1st``, ``2nd``, ``0.5th``, ..."""
    digit = int(k % 10) if k % 1 == 0 and k % 100 not in (11, 12, 13) else 0
    last = {1: "st", 2: "nd", 3: "rd"}.get(digit, "th")
    return f"{k:g}{last}"
