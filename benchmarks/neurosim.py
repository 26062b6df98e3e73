"""Converters and cells by hwcomponents-neurosim: an independent reference for `nvlib.hardware`'s constants.

Prints rows of `tests/truths.csv`. It needs an environment of its own, Python 3.12 and glibc 2.38 or later:

    python3.12 -m venv neurosim && neurosim/bin/pip install hwcomponents-neurosim==1.0.43
    neurosim/bin/python benchmarks/neurosim.py

The cell is NeuroSim's default RRAM, R_on 6 kOhm and R_off 900 kOhm, read at 0.5 V, 48 F^2; arrays of 128 x 128, eight
columns on a converter.
"""

from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import hwcomponents_neurosim as neurosim

CELL = {"CellArea (F^2): 53": "CellArea (F^2): 48", "): 100000\n": "): 6000\n", "): 1000000\n": "): 6000\n",
        "): 10000000\n": "): 900000\n", "ReadVoltage (V): 0.400000": "ReadVoltage (V): 0.5"}  # fmt: skip
COLUMNS, CONVERTERS = 128, 16


def main() -> None:
    """Print a row a number: energies in J a conversion, areas in m^2 a converter and a cell."""
    source = f"hwcomponents-neurosim {version('hwcomponents-neurosim')} (benchmarks/neurosim.py)"
    text = (Path(neurosim.__file__).parent / "cells" / "placeholder.cell").read_text()
    for found, ours in CELL.items():
        assert found in text, found
        text = text.replace(found, ours)
    with TemporaryDirectory() as folder:
        cell = Path(folder) / "rram.cell"
        cell.write_text(text)
        for nm in (22, 32):
            array = {"tech_node": nm * 1e-9, "cycle_period": 2e-9, "rows": COLUMNS, "cols": COLUMNS,
                     "cols_active_at_once": CONVERTERS, "cell_config": str(cell), "read_pulse_width": 1e-9,
                     "average_input_value": 0.5, "average_cell_value": 0.5}  # fmt: skip
            for bits in (4, 5, 6, 7, 8):
                adc = neurosim.ADC(adc_resolution=bits, **array)
                print(f"adc_energy,nm={nm};bits={bits},{adc.convert().energy:.5g},3%,{source}")
                print(f"adc_area,nm={nm};bits={bits},{adc.area / CONVERTERS:.5g},4%,{source}")
            print(f"cell_area,nm={nm},{neurosim.MemoryCell(adc_resolution=5, **array).area:.5g},1%,{source}")


if __name__ == "__main__":
    main()
