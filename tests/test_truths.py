"""What others have measured, derived or printed: `truths.csv`, each with its source, against what nvlib says.

A row names a function below, its arguments (``n=64;r=1e-5``), the value and how far nvlib may be off (a number, or %).
"""

import csv
import math
from pathlib import Path

import pytest
import torch
from cellkit import meant
from torch import nn

from nvlib import Crossbar, array, circuits, devices, effects
from nvlib.array import wires
from nvlib.array.converters import Converter
from nvlib.devices import Device
from nvlib.effects import Drift, ReadNoise
from nvlib.hardware.constants import TECHNOLOGIES

ROWS = list(csv.DictReader((Path(__file__).parent / "truths.csv").open()))


def column_factor(n, r):
    column = torch.ones(int(n), 1, dtype=torch.float64)
    solved = float(wires.solve(column, 0.0, r).sum()) / n
    assert wires.column_factor(int(n), r) == pytest.approx(solved, rel=1e-9)
    return solved


def column_polynomial(n, r):
    return float(wires.polynomial(torch.ones(int(n), 1, dtype=torch.float64), r).sum()) / n


def badcrossbar(output):
    ohm = [[345, 903, 755, 257, 646], [652, 401, 508, 166, 454], [442, 874, 190, 244, 635]]
    g = 1 / torch.tensor(ohm, dtype=torch.float64)
    return float((torch.tensor([1.5, 2.3, 1.7], dtype=torch.float64) @ wires.solve(g, 0.5, 0.5))[int(output)])


def crosssim_quantiser(y):
    return float(Converter(1.0, True, 3, "midrise")(torch.tensor([y], dtype=torch.float64)))


def aihwkit_step(preset, what):
    """In units of a full input, and of a full cell: 8-bit weights on one pair of cells, signed inputs up to one."""
    model, x = nn.Linear(600, 2), torch.linspace(-1, 1, 600 * 500).view(500, 600)
    cell = Device("whole", 8, range(256), [1] * 256, "level", True)
    layer = circuits.attach(model, Crossbar(cell, 0.0, 8, periphery=array.get(preset)), x).layers["weight"]
    return layer.dac.step if what == "input" else layer.adcs[0].step / (255 * layer.dac.limits[1])


def drift_exponent(g):
    """Mean and spread of the drift exponent of a PCM cell of g uS."""
    cells, digit = meant(g)
    return [float(each[digit]) for each in effects.drift.exponents(Drift(1.0).law_of(cells.device), cells.device)]


def drift_mean(g):
    return drift_exponent(g)[0]


def drift_spread(g):
    return drift_exponent(g)[1]


def drift_factor(g, time):
    """The median cell's; its exponent is the mean, as good as."""
    cells, _ = meant(g, 20_000)
    return float((cells.conductance(Drift(time).befall(cells.programmed, cells)) / g).median())


def read_quotient(g):
    return float(effects.read.quotient(devices.READ_NOISE["pcm"], torch.tensor(g / 25.0, dtype=torch.float64)))


def read_share(g, time):
    """Read noise over conductance; what is sampled has it too."""
    cells, _ = meant(g, 20_000)
    found = ReadNoise(time).deviation(cells.programmed, cells)
    sampled = ReadNoise(time).befall(cells.programmed, cells).std() / found.flatten()[0]
    assert abs(float(sampled) - 1) < 4 / math.sqrt(2 * 20_000)
    return float(found.flatten()[0]) * (25.0 - cells.device.levels[0]) / g


def retention_spread(g, time):
    law = devices.wan_retention([g])
    return float(law.deviation[law.times.index(time)][0])


def adc_energy(nm, bits):
    return TECHNOLOGIES[f"{nm:g}nm"].conversion(int(bits))


def adc_area(nm, bits):
    return TECHNOLOGIES[f"{nm:g}nm"].converter_area(int(bits))


def cell_area(nm):
    return TECHNOLOGIES[f"{nm:g}nm"].cell_area


TRUTHS = {
    f.__name__: f
    for f in (
        column_factor, column_polynomial, badcrossbar, crosssim_quantiser, aihwkit_step,
        drift_mean, drift_spread, drift_factor, read_quotient, read_share, retention_spread,
        adc_energy, adc_area, cell_area,
    )
}  # fmt: skip


def value(text):
    try:
        return float(text)
    except ValueError:
        return text


@pytest.mark.filterwarnings("ignore:wire_model=polynomial at a load")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['truth']} {row['case']}")
def test_truth(row):
    arguments = dict(part.split("=") for part in row["case"].split(";"))
    found = TRUTHS[row["truth"]](**{key: value(text) for key, text in arguments.items()})
    stated, tolerance = float(row["value"]), row["tolerance"]
    off = stated * float(tolerance[:-1]) / 100 if tolerance.endswith("%") else float(tolerance)
    assert found == pytest.approx(stated, abs=off), row["source"]
    assert row["source"].strip()


def test_every_truth_is_asked_for():
    assert {row["truth"] for row in ROWS} == set(TRUTHS)
