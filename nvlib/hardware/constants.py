"""What a technology charges for each thing that is counted. Every number has a source or says ``assumed``.

The two presets are read off DNN+NeuroSim V1.3 (Peng et al., IEDM 2019; its public source, compiled and run at its
defaults: 128 x 128 arrays of 2-bit 1T1R RRAM with R_on 6 kOhm, R_off / R_on 150, 48 F^2 a cell, 0.5 V reads, 5-bit
multilevel sense amplifiers in current mode, 8 columns on each, register-file buffers, LSTP roadmap), at its 22 nm and
32 nm nodes. Two runs each, 8-bit weights and inputs, weights N(0, 0.3) clipped to one:

    one array    1x1 convolution of 128 channels to 32 on 32 x 32, a quarter (and a half) of the input bits high:
                 energies a conversion and an array read, buffer energy and time a bit, cycle, ADC and array area
    LeNet-3      28 x 28, its 3 tiles of 16 arrays: wires, areas between the arrays

Of the energy of a conversion the part that grows with the share of input bits that are high is the cells'
(0.852 pJ at 22 nm for 128 rows all high), the rest the amplifier's. Nothing is fitted to any paper's table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from nvlib.errors import InputError

NEUROSIM = "DNN+NeuroSim V1.3 at its defaults (Peng et al., IEDM 2019)"
# area of a b-bit ADC as a share of the 5-bit one's, b = 1 .. 14: hwcomponents-neurosim 1.0.43, the same at both nodes
ADC_AREA = (0.0303, 0.0909, 0.2121, 0.4839, 1.0, 2.1552, 4.5923, 11.211, 32.534, 100.16, 340.6, 1242.3, 4728.6, 18433.0)
NVSIM = "NVSim's RRAM cell (Dong et al., IEEE TCAD 31, 2012): 2 V, 10 ns, 0.6 pJ a SET or RESET"
HOROWITZ = (
    "a 32-bit integer multiplication at 45 nm, 0.9 V (Horowitz, ISSCC 2014); neither narrowed to the bits of a sum nor "
    "scaled to the node: an upper bound"
)

LIMITS = (
    "First order: counts times constants. Left out, next to a circuit-level tool: the values of weights and inputs "
    "(one share of high input bits stands for all), wire resistance and IR drop, sensing time that depends on the "
    "columns' currents, the widths of buses and the floor plan (the buffer's rate is that of one tile), routing and "
    "control, pooling, activation and normalisation units, ADC precision against array size, bit sparsity, pipelining "
    "between layers, DRAM. Ratios between designs say more than absolute numbers."
)


@dataclass(frozen=True)
class Technology:
    """Energies, times and areas; array numbers are those of a 128 x 128 array with 5-bit ADCs.

    An ADC of b bits costs energy with its 2^b - 1 levels and area by `ADC_AREA`, as the multilevel sense amplifiers of
    hwcomponents-neurosim do (`benchmarks/neurosim.py`; energy within 1 % from 4 to 14 bits, at the constants' 5 bits
    1 % and area 2 % apart). Scaling else (assumed): drivers with the rows; accumulators with the columns; what lies
    between arrays with rows plus columns.

    Raises:
        InputError: for a number that is not finite and positive.
    """

    name: str
    cycle: float  # s, one conversion of a column
    accumulate_cycles: float  # cycles of shift-and-add a conversion, after reading (not overlapped)
    cell_read: float  # J a cell whose input bit is high, mean over levels
    adc: float  # J a conversion
    accumulate: float  # J a conversion: shift-and-add, adders
    drivers: float  # J an array and input bit: word lines, column multiplexers
    buffer: float  # J a bit into or out of a layer
    buffer_time: float  # s a bit
    wire: float  # J a bit and mm
    wire_time: float  # s a bit
    leakage: float  # W an array
    cell_area: float  # m^2
    adc_area: float  # m^2 an ADC
    accumulate_area: float  # m^2 an array
    periphery_area: float  # m^2 an array: drivers, multiplexers, local buffers
    wire_area: float  # m^2 an array
    buffer_area: float  # m^2 a bit
    write: float  # J a pulse
    write_time: float  # s a pulse
    source: str = NEUROSIM
    write_source: str = NVSIM
    scale: float = 3.1e-12  # J a digital multiplication of an output by its column's factor
    scale_source: str = HOROWITZ

    def conversion(self, bits: int) -> float:
        """Return the energy of a conversion to so many bits, J."""
        return self.adc * (2**bits - 1) / 31

    def converter_area(self, bits: int) -> float:
        """Return the area of an ADC of so many bits (1 .. 14), m^2."""
        return self.adc_area * ADC_AREA[bits - 1]

    def __post_init__(self) -> None:
        """Refuse what is no cost."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type != "float":
                if not isinstance(value, str) or not value.strip():
                    raise InputError(f"technology {field.name}={value!r}: expected a text; a number needs its source")
            elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise InputError(f"technology {field.name}={value!r}: expected a positive number in SI units")


TECHNOLOGIES = {
    t.name: t
    for t in (
        Technology(
            "22nm", cycle=2.039e-9, accumulate_cycles=1.25, cell_read=6.66e-15, adc=5.55e-14, accumulate=4.16e-14,
            drivers=5.93e-12, buffer=1.82e-14, buffer_time=1.648e-10, wire=8.67e-14, wire_time=1.22e-11,
            leakage=2.66e-7, cell_area=48 * 22e-9**2, adc_area=3.79e-10, accumulate_area=1.147e-9,
            periphery_area=6.02e-9, wire_area=4.65e-9, buffer_area=1.227e-12, write=6e-13, write_time=1e-8,
        ),
        Technology(
            "32nm", cycle=2.491e-9, accumulate_cycles=1.25, cell_read=8.88e-15, adc=1.014e-13, accumulate=7.80e-14,
            drivers=1.105e-11, buffer=3.40e-14, buffer_time=2.013e-10, wire=9.86e-14, wire_time=1.49e-11,
            leakage=4.16e-7, cell_area=48 * 32e-9**2, adc_area=8.01e-10, accumulate_area=2.428e-9,
            periphery_area=1.295e-8, wire_area=9.93e-9, buffer_area=2.595e-12, write=6e-13, write_time=1e-8,
        ),
    )
}  # fmt: skip
