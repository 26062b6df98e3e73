"""The published fits: deviation against conductance, drift, read noise and retention, as functions and by name.

A measured device's file holds its fit tabulated on evenly spaced levels of its range; `nvlib.devices.tabulate`
makes one on other levels. Drift, read noise and retention (`nvlib.devices.laws`) have no effect on programming:
`nvlib.effects` uses them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from nvlib.devices.files import get
from nvlib.devices.laws import AnyReadNoise, Drift, Laws, LogReadNoise, Retention

# -- the fits: conductance -> standard deviation, both in the unit named -----------------------------------------------


def pcm_deviation(g: float) -> float:
    """PCM programming deviation, g in uS (Joshi et al. 2020, aihwkit's fit)."""
    x = g / 25.0
    return 0.26348 + 1.9650 * x - 1.1731 * x**2


def wan_deviation(g: float) -> float:
    """RRAM deviation 1 s after programming, g in uS (Wan et al. 2022, aihwkit's fit)."""
    x = g / 40.0
    return 0.348 + 16.030 * x - 43.853 * x**2 + 45.393 * x**3 - 16.815 * x**4


def wan_deviation_crosssim(g: float) -> float:
    """RRAM deviation 1 s after programming, g in uS (Wan et al. 2022, CrossSim's fit)."""
    return 1.053 + 2.374e-1 * g - 1.167e-2 * g**2 + 1.536e-4 * g**3


def milo_deviation(g: float) -> float:
    """RRAM deviation after program-verify, g in uS (Milo et al. 2021, CrossSim's fit)."""
    return 4.782321 - 0.009107 * g


def sonos_deviation(current: float) -> float:
    """SONOS deviation on day 0, read current in nA (Agrawal et al. 2022, CrossSim's fit)."""
    return -19.887 * math.expm1(-current / 176.31)


# -- after programming -------------------------------------------------------------------------------------------------

_HERMES = "Le Gallo et al., Nature Electronics 6, 680 (2023), as in IBM aihwkit ({})"
_TWO, _ONE = _HERMES.format("two devices a weight"), _HERMES.format("one device a weight")
_WAN = "Wan et al., Nature 608, 504 (2022), Extended Data Fig. 3"
_WAN_AIHWKIT = f"{_WAN}, as fitted in IBM aihwkit (ReRamWan2022NoiseModel)"
_SONOS = "Agrawal et al., IEDM 2022, 21.7, as fitted in CrossSim (SONOS)"


def _laws(name: str) -> Laws:
    """Return the laws that a built-in device's file has."""
    return get(name).effects or Laws()


DRIFT: dict[str, Drift] = {
    "pcm": cast(Drift, _laws("pcm").drift),
    "hermes": Drift(
        300.0, (-0.0387, -0.0182, 0.072, 0.13), (-0.0117, -0.0057, 0.0091, 0.04), _TWO,
        (0.0945, 0.0736, -0.0126, -0.0436), (0.3055, 0.0073, 0.0093, -0.0118),
    ),
}  # fmt: skip
READ_NOISE: dict[str, AnyReadNoise] = {
    "pcm": cast(AnyReadNoise, _laws("pcm").read_noise),
    "hermes": LogReadNoise(512e-9, 300.0, (-0.0117, -0.0069, 0.015, 0.04), _TWO,
                           (0.16, 0.0123, 0.0211, -0.0280, 0.0069)),
    "hermes_one": LogReadNoise(512e-9, 200.0, (-0.0078, 0.0038, 0.0179, 0.04), _ONE,
                               (0.1591, 0.0088, 0.0768, -0.1352, 0.0664)),
    "sonos": cast(AnyReadNoise, _laws("sonos").read_noise),
}  # fmt: skip

# Wan: t (s) -> deviation c0 + c1 x + ... in uS, x = g / 40 uS
_WAN_TIMES = {
    1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
    86400.0: (0.701, 22.086, -50.773, 47.095, -16.458),
    172800.0: (0.782, 20.274, -43.507, 37.062, -11.934),
}
# SONOS: day -> A, B of the deviation A (1 - exp(-I / B)) and p0, p1, ... of what the mean moves, sum p_i I^i; in nA
_SONOS_DAYS = {
    0: (19.88665, 176.3115, (0.0,)),
    1: (25.59102, 186.85544, (1.72684e-1, 5.72552e-2, -6.85715e-4, 3.50271e-6, -9.37682e-9, 1.40575e-11, -1.19803e-14,
                              5.41293e-18, -8.85448e-22, -1.66869e-25, 5.95180e-29)),
    2: (28.72753, 193.56834, (2.50712e-1, 6.62195e-2, -6.83218e-4, 2.99442e-6, -6.78255e-9, 7.70482e-12, -3.04983e-15,
                              -2.15919e-18, 2.94617e-21, -1.23359e-24, 1.85329e-28)),
    3: (31.04318, 198.90332, (-1.75300e-2, 9.76883e-2, -9.63791e-4, 4.55551e-6, -1.22391e-8, 1.93786e-11, -1.85899e-14,
                              1.07659e-17, -3.58211e-21, 5.96785e-25, -3.30410e-29)),
    4: (33.76214, 204.77023, (4.03338e-2, 1.03111e-1, -1.04740e-3, 4.83961e-6, -1.28132e-8, 1.99484e-11, -1.85139e-14,
                              1.00008e-17, -2.84944e-21, 3.01008e-25, 1.18747e-29)),
    5: (34.57909, 207.34309, (3.19927e-1, 1.06596e-1, -1.04054e-3, 4.50290e-6, -1.10352e-8, 1.56477e-11, -1.27592e-14,
                              5.45513e-18, -7.26841e-22, -2.43893e-25, 7.14608e-29)),
}  # fmt: skip


def _polynomial(c: Sequence[float], x: float) -> float:
    return sum(each * x**i for i, each in enumerate(c))


def wan_retention(levels: Sequence[float]) -> Retention:
    """Return RRAM's total deviation at 1 s, 1 day, 2 days (Wan et al. 2022, aihwkit's fits) of levels in uS."""
    rows = tuple(tuple(_polynomial(c, g / 40.0) for g in levels) for c in _WAN_TIMES.values())
    still = ((0.0,) * len(levels),) * len(rows)
    return Retention(tuple(_WAN_TIMES), rows, still, _WAN_AIHWKIT)


def sonos_retention(levels: Sequence[float]) -> Retention:
    """Return SONOS' total deviation and mean at 0 to 5 days (CrossSim's fits) of levels in nA, up to 1800."""
    rows = tuple(tuple(-a * math.expm1(-i / b) for i in levels) for a, b, _ in _SONOS_DAYS.values())
    mean = tuple(tuple(_polynomial(p, i) for i in levels) for _, _, p in _SONOS_DAYS.values())
    return Retention(tuple(86400.0 * day for day in _SONOS_DAYS), rows, mean, _SONOS, "linear")
