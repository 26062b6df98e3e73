"""Hardware to first order: what a network costs on compute-in-memory arrays, and what programming them costs.

Everything is counted, then multiplied by a constant with a source. A layer of R inputs and C outputs on arrays of
A x B cells, M-bit weights on K-bit cells in ch chains (1 ``signed``, 2 ``differential``), H-bit inputs h bits at a
time (one by default), v input vectors an image, S columns on one ADC:

    columns      C' = C ch M/K                    cells         R C'
    arrays       n = ceil(R/A) ceil(C'/B)         utilisation   R C' / (n A B)
    conversions  v ceil(H/h) ceil(R/A) C'         MACs          v R C       (C'/ch where pairs share an ADC)
    copies       c = min(v, floor(tiles T / n)),  tiles = ceil(n / T): tiles of T arrays are filled with copies
    reading      ceil(v/c) ceil(H/h) S cycles     traffic       v (R + C) H bits through the buffer
    scalings     v C where every output channel has a weight range of its own, else none

`Accelerator.of` takes the crossbar that accuracy is computed with: its cells, its tiles and its converters.

    constants    what a technology charges, with sources (`Technology`, `TECHNOLOGIES`), and `LIMITS`
    layers       the layers of any module, found by running it once (`Layer`, `trace`)
    chip         `Accelerator`, and `estimate`: counts, energy, latency, EDP and area of each layer and in all
    designs      TSB's Common and Separate accelerators beside the base one, and the paper's Table 1
    programming  energy and time of writing a network, with and without write-verify
    export       the layer table as circuit-level tools read it

`LIMITS` says what is left out; figures and tables of these numbers carry it.

>>> from nvlib import hardware, models
>>> found = hardware.estimate(models.build("lenet3"))
>>> print(f"{found.totals['energy']:.2g} J an image")
1.2e-07 J an image
"""

from nvlib.hardware.chip import Accelerator, Estimate, estimate
from nvlib.hardware.constants import LIMITS, TECHNOLOGIES, Technology
from nvlib.hardware.designs import DESIGNS, REFERENCE, compare, design, table1
from nvlib.hardware.export import network_csv
from nvlib.hardware.layers import Layer, trace
from nvlib.hardware.programming import programming, written_energy

__all__ = [
    "DESIGNS", "LIMITS", "REFERENCE", "TECHNOLOGIES", "Accelerator", "Estimate", "Layer", "Technology", "compare",
    "design", "estimate", "network_csv", "programming", "table1", "trace", "written_energy",
]  # fmt: skip
