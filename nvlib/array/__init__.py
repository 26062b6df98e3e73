"""What is between the weights of a chip and its numbers: tiles, converters, wires.

A layer of R inputs lies on tiles of A x B cells. Its inputs pass a DAC, whole or a few bits at a time; each column of
each tile is one sum of currents, which an ADC turns into a code; the rest is digital:

    y = s_x s_w  sum_pulses 2^(p i)  sum_tiles  sum_slices 2^(jK)  ADC( sum_(rows of the tile) A_j x_i )

x_i: digit i (p bits) of the input's code, A_j: what slice j holds, in levels. Where a pair of columns is subtracted
before its ADC, A_j is their difference; else each column has an ADC.

    periphery    `Periphery`, the settings as one value with a text; `get` reads it
    presets      published settings
    settings     one setting after another, as a table: of scores, or of stored chips
    converters   the quantisers, their ranges, and how these are calibrated
    wires        a tile with wires of some resistance is a matrix: exact, and a quick polynomial
    products     takes over a module's products with weights on arrays, while it runs
    tiles        a product on tiles
    reading      read noise at the outputs of columns

`nvlib.circuits` puts a model on them.

>>> from nvlib import array
>>> array.get("adc_bits=6,rows=64").rows, sorted(array.PRESETS)[:2]
(64, ['aihwkit', 'aihwkit_standard'])
"""

from nvlib.array.periphery import Periphery
from nvlib.array.presets import PRESETS, called, get

__all__ = ["PRESETS", "Periphery", "called", "get"]
