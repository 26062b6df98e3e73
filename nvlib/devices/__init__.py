"""Devices as data: the conductance levels of an NVM cell, and how far each one strays.

A K-bit cell has 2^K target conductances g_0 < g_1 < ... (``levels``). Programmed to level d it holds

    g_d + dg,   dg ~ N(0, deviation_d^2)              (independent between cells)

and linear read-out sees it in level units, with g_min at 0 and g_max at 2^K - 1. How large dg is comes in two kinds:

    relative   deviation_d = r_d sigma_d: r is the profile over levels (TRICE Eqs. 15-17), sigma_d a free number,
               relative to the cell's full scale (``full_scale``) or to one level (``level``);
    absolute   deviation_d as measured, in the unit of the levels; sigma_d is a factor on the measurement.

Every number has a source, or its ``validity`` says ``assumed``. Each file imports only from those before it:

    laws        what befalls cells after programming, as numbers: `Laws`, drift, read noise, retention
    record      `Device`: fields, checks, values and spreads in level units; `tabulate` makes one of a formula
    files       `get`, `load`, `save`, `names`: by name (nvlib/_data/devices), or from a user's TOML or CSV file
    published   the published fits, as formulas and by name

>>> from nvlib import devices
>>> devices.get("fefet2").deviation
(1.0, 2.0, 2.0, 1.0)
>>> [round(s, 2) for s in devices.get("fefet2").spread(0.1, "full_scale")]  # in levels
[0.3, 0.6, 0.6, 0.3]
"""

from nvlib.devices.files import counted_alike, get, load, names, save
from nvlib.devices.laws import AnyReadNoise, Drift, Laws, LogReadNoise, ReadNoise, Retention, SaturatingReadNoise
from nvlib.devices.published import (
    DRIFT,
    READ_NOISE,
    milo_deviation,
    pcm_deviation,
    sonos_deviation,
    sonos_retention,
    wan_deviation,
    wan_deviation_crosssim,
    wan_retention,
)
from nvlib.devices.record import MAX_BITS, REFERENCES, UNSOURCED, Device, tabulate

__all__ = [
    "Device", "REFERENCES", "MAX_BITS", "UNSOURCED", "tabulate",
    "names", "get", "load", "save", "counted_alike",
    "pcm_deviation", "wan_deviation", "wan_deviation_crosssim", "milo_deviation", "sonos_deviation",
    "Laws", "Drift", "DRIFT", "ReadNoise", "LogReadNoise", "SaturatingReadNoise", "AnyReadNoise",
    "READ_NOISE", "Retention",
    "wan_retention", "sonos_retention",
]  # fmt: skip
