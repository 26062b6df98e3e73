"""The published devices: abstract profiles r_d, measured deviations sigma(g), and what befalls a cell once written.

An abstract device has a profile over four levels, to be multiplied by sigma_d (TRICE, NFT). A measured one has a
published fit of deviation against conductance, tabulated on evenly spaced levels of its published range. Drift and
read noise are documented here; they have no effect on programming.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nvlib.devices.record import Device, tabulate

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


@dataclass(frozen=True)
class Drift:
    """Decay g (t / t_0)^-nu, nu ~ N(mean, deviation^2), each clip(a ln x + b, low, high), x = g / g_max."""

    t_0: float  # s
    mean: tuple[float, float, float, float]  # a, b, low, high
    deviation: tuple[float, float, float, float]
    source: str


@dataclass(frozen=True)
class ReadNoise:
    """Deviation g Q sqrt(ln((t + t_r) / 2 t_r)), Q = min(q / max(x^p, floor), cap), x = g / g_max."""

    t_r: float  # s
    q: float
    p: float
    floor: float
    cap: float
    source: str


_JOSHI = "Joshi et al., Nature Communications 11, 2473 (2020), as in IBM aihwkit (PCMLikeNoiseModel)"
DRIFT = {"pcm": Drift(20.0, (-0.0155, 0.0244, 0.049, 0.1), (-0.0125, -0.0059, 0.008, 0.045), _JOSHI)}
READ_NOISE = {"pcm": ReadNoise(250e-9, 0.0088, 0.65, 1e-3, 0.2, _JOSHI)}


# -- the registry ------------------------------------------------------------------------------------------------------

_TRICE = "Yan et al., ICCAD 2023 (TRICE), Eqs. 15-17"
_NFT = "Qin et al., arXiv 2305.14561 (NFT), the authors' public configuration"
_WAN = "Wan et al., Nature 608, 504 (2022), Extended Data Fig. 3, 1 s after programming"
_EVEN = "four evenly spaced levels assumed; Gaussian, where a real cell stops at g = 0"


def _abstract(name: str, profile: Sequence[float], source: str, validity: str) -> Device:
    return Device(name, 2, (0, 1, 2, 3), profile, "level", True, source, validity)


def _nft(name: str, s: float) -> Device:
    """Profile 1 s s 1 over its root mean square, the middle levels holding 40 % of the weights (NFT)."""
    rms = math.sqrt(0.4 * s**2 + 0.6)
    validity = f"abstract; 1 {s} {s} 1 / sqrt(0.4 * {s}^2 + 0.6), so that sigma_d is the rms over the weights"
    return _abstract(name, (1 / rms, s / rms, s / rms, 1 / rms), _NFT, validity)


_OUTER = "abstract, four levels; not normalised: sigma_d is that of the outer levels"
_DEVICES = (
    _abstract("rram", (1, 1, 1, 1), _TRICE, "abstract, four levels; uniform: every level strays alike"),
    _abstract("fefet1", (1, 4, 4, 1), _TRICE, _OUTER),
    _abstract("fefet2", (1, 2, 2, 1), _TRICE, _OUTER),
    _nft("nft_rram4", 4),
    _nft("nft_fefet2", 2),
    _nft("nft_fefet6", 6),
    tabulate(
        "pcm", pcm_deviation, 0.25, 25.0,
        source=_JOSHI,
        validity="0.25-25 uS, the on/off ratio of 100 that CrossSim suggests; CrossSim's own fit is within 0.03 uS; "
        f"programming only (drift and read noise: DRIFT, READ_NOISE); {_EVEN}",
    ),
    tabulate(
        "rram_wan2022", wan_deviation, 1.0, 40.0,
        source=f"{_WAN}, as fitted in IBM aihwkit (ReRamWan2022NoiseModel)",
        validity="up to 40 uS; g_min = 1 uS assumed; near g = 0 CrossSim's fit of the same data differs, 1.05 uS "
        f"against 0.35 here (rram_wan2022_crosssim); {_EVEN}",
    ),
    tabulate(
        "rram_wan2022_crosssim", wan_deviation_crosssim, 1.0, 39.26,
        source=f"{_WAN}, as fitted in CrossSim (RRAMWan)",
        validity="up to 39.26 uS; g_min = 1 uS assumed; near g = 0 aihwkit's fit of the same data differs, 0.35 uS "
        f"against 1.05 here (rram_wan2022); {_EVEN}",
    ),
    tabulate(
        "rram_milo2021", milo_deviation, 50.0, 225.0,
        source="Milo et al., IRPS 2021, Fig. 4 (IGVVA-100 programming), as fitted in CrossSim (RRAMMilo)",
        validity=f"50-225 uS; no drift data; {_EVEN}",
    ),
    tabulate(
        "sonos", sonos_deviation, 1.6e-4, 1600.0, unit="nA",
        source="Agrawal et al., IEDM 2022, 21.7, Fig. 10a, day 0, as fitted in CrossSim (SONOS)",
        validity="read current up to 1600 nA, the on/off ratio of 1e7 that CrossSim suggests; fit rounded to 5 digits; "
        f"programming only; {_EVEN}",
    ),
)  # fmt: skip
REGISTRY = {device.name: device for device in _DEVICES}


def names() -> list[str]:
    """Return the names of the built-in devices."""
    return list(REGISTRY)
