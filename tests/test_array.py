"""The settings of tiles, converters and wires; quantisers; wires as matrices."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import spsolve
from torch import nn

import nvlib
from nvlib import Crossbar, InputError, array, circuits
from nvlib.array import Periphery, wires
from nvlib.array.converters import Converter, Seen

# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*array.PRESETS, "default", "adc_bits=6,rows=64", "isaac,adc_bits=8,input_range=2.50"])
def test_a_text_names_a_periphery_and_a_periphery_has_one(text):
    found = array.get(text)
    assert array.get(str(found)) == found == array.get(found) and hash(found) == hash(array.get(str(found)))
    assert Crossbar(periphery=text).periphery == found
    assert str(Periphery()) == "default" and str(array.get("rows=64, adc_bits=none")) == "rows=64,adc_bits=none"
    assert array.get(None) is None and array.get("none") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("isac", "unknown periphery 'isac' (did you mean 'isaac'?)"),
        ("row=3", "unknown field of a periphery 'row' (did you mean 'rows'?)"),
        ("rows=0", "rows=0 is not usable; expected a whole number from 1"),
        ("adc_bits=x", "adc_bits='x' is not usable; expected a whole number, or none"),
        ("adc_bits=1", "adc_bits=1 is not usable; expected a whole number from 2 to 24, or none"),
        ("adc_bits=4,adc_bits=5", "has adc_bits twice"),
        ("adc_range=half", "adc_range='half' is not usable; expected calibrated, bound"),
        ("adc_range=-1", "adc_range='-1' is not usable"),
        ("input_range=percentile:101", "input_range='percentile:101' is not usable"),
        ("serial_bits=9", "serial_bits=9 of input_bits=8 cannot be fed"),
        ("serial_bits=1,input_bits=none", "input_bits=none cannot be fed"),
        ("adc_range=granular,input_bits=none", "adc_range=granular has no step"),
        ("subtract=analogue", "unknown subtract 'analogue'"),
        ("adc_bits=none,adc_gain=0.1", "of an ADC; expected adc_bits"),
        ("wire_row=1,wire_model=polynomial", "knows columns alone"),
        ("on_resistance=0", "on_resistance=0.0 is not usable; expected a number above 0"),
        (7, "periphery=7 is none"),
    ],
)
def test_bad_settings_are_refused_in_a_line(text, words):
    with pytest.raises(InputError) as caught:
        array.get(text)
    assert words in str(caught.value) and "\n" not in str(caught.value)


# -- converters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("signed", "codes"), [(False, "midtread"), (True, "midtread"), (True, "midrise")])
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_a_quantiser_has_its_codes_and_nothing_between(signed, codes, bits):
    q = Converter(3.0, signed, bits, codes)
    y = torch.linspace(-5, 5, 100_001, dtype=torch.float64)
    found = q(y).unique()
    assert len(found) == (2**bits if not signed or codes == "midrise" else 2**bits - 1)
    assert float(found.max()) == pytest.approx(3) and float(found.min()) == pytest.approx(-3.0 if signed else 0)
    np.testing.assert_allclose(np.diff(found), q.step)
    assert bool((found.abs() < 1e-12).any()) == (codes == "midtread")
    inside = y[(y > q.low) & (y < 3)]
    assert float((q(inside) - inside).abs().max()) <= q.step / 2 * (1 + 1e-9)


def test_a_busy_converter_adds_a_twelfth_of_its_step_squared():
    q = Converter(4.0, True, 6)
    y = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)  # 8 steps wide, 4 sigma
    off = (q(y) - y)[y.abs() < 4]
    assert float(off.square().mean()) == pytest.approx(q.step**2 / 12, rel=0.01)  # 4 standard errors: 0.006
    assert abs(float(off.mean())) < 4 * q.step / (12 * len(off)) ** 0.5


def test_noise_of_converters_in_a_network_is_that_of_its_steps():
    """The outputs of a layer on four tiles and two slices: 1 and 4^2 steps squared a tile, over twelve."""
    torch.manual_seed(0)
    model, x = nn.Linear(512, 64, bias=False), torch.rand(100, 512)
    c = Crossbar("rram", 0.0, 4, periphery="input_bits=12,adc_bits=8,adc_range=20,images=100")
    on = circuits.attach(model, c, x)
    layer = on.layers["weight"]
    ideal = circuits.attach(model, Crossbar("rram", 0.0, 4, periphery="input_bits=12,adc_bits=none,images=100"), x)
    off = (on.module(x) - ideal.module(x)).double()
    s = float(model.weight.detach().abs().max()) / 15 * layer.dac.step
    law = 4 * sum((s * count * adc.step) ** 2 / 12 for count, adc in zip(layer.counts, layer.adcs, strict=True))
    assert float(off.square().mean()) == pytest.approx(law, rel=0.05)


def test_ranges_of_what_was_seen():
    seen = Seen(2)
    size = torch.arange(1.0, 100_001)
    seen.add(size[::2])
    seen.add(-size[1::2])
    assert seen.negative and seen.largest == 100_000
    assert seen.percentile(99.9) == pytest.approx(99_900, abs=2) and seen.percentile(100) == 100_000
    tail = Seen(1)
    tail.add(torch.cat([torch.rand(100_000, generator=torch.Generator().manual_seed(0)), torch.tensor([50.0])]))
    best = tail.closest(False, 6)
    assert 0.9 < best < 1.2  # one outlier does not decide
    sizes = torch.cat(tail.kept)
    costs = [float((sizes - Converter(full, False, 6)(sizes)).abs().sum()) for full in (0.7, best, 1.5)]
    assert min(costs) == costs[1]
    blank = Seen(1)
    blank.add(torch.zeros(10))
    assert blank.percentile(99) == 0 and blank.closest(False, 6) == 0


# -- wires -------------------------------------------------------------------------------------------------------------


def nodal(g, row, column):
    """Every node of a tile in one sparse system, as a text book has it; column currents a unit of each input."""
    n, m = g.shape
    at = np.arange(2 * n * m).reshape(2, n, m)
    a, b = sparse.lil_matrix((2 * n * m, 2 * n * m)), np.zeros((2 * n * m, n))

    def between(p, q, y):
        a[p, p] += y
        a[q, q] += y
        a[p, q] -= y
        a[q, p] -= y

    for i in range(n):
        for j in range(m):
            between(at[0, i, j], at[1, i, j], g[i, j])
            if j:
                between(at[0, i, j - 1], at[0, i, j], 1 / row)
            else:
                a[at[0, i, 0], at[0, i, 0]] += 1 / row
                b[at[0, i, 0], i] += 1 / row
            if i:
                between(at[1, i - 1, j], at[1, i, j], 1 / column)
        # the last cell's segment leads to ground
    for j in range(m):
        a[at[1, n - 1, j], at[1, n - 1, j]] += 1 / column
    return (spsolve(a.tocsc(), b)[at[1, n - 1]] / column).T


@pytest.mark.parametrize(("row", "column"), [(1e-2, 3e-2), (1e-7, 2e-3), (5e-2, 1e-7)])
def test_a_tile_with_wires_is_the_nodal_solution(row, column):
    g = torch.rand(2, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = wires.solve(g, row, column)
    for tile, solved in zip(g, found, strict=True):
        np.testing.assert_allclose(solved, nodal(tile.numpy(), row, column), rtol=1e-8)
    if row == 1e-7:
        torch.testing.assert_close(found, wires.solve(g, 0.0, column), rtol=1e-5, atol=0)
    if column == 1e-7:
        torch.testing.assert_close(found, wires.solve(g, row, 0.0), rtol=1e-4, atol=0)


def test_against_badcrossbar():
    badcrossbar = pytest.importorskip("badcrossbar")
    g = np.random.default_rng(0).uniform(1e-4, 1e-3, (6, 4))
    v = np.linspace(0.1, 0.4, 6)
    theirs = badcrossbar.compute(v[:, None], 1 / g, r_i_word_line=2.0, r_i_bit_line=0.7).currents.output
    ours = torch.tensor(v) @ wires.solve(torch.tensor(g), 2.0, 0.7)
    np.testing.assert_allclose(ours, np.asarray(theirs)[0], rtol=1e-6)


def test_the_polynomial_warns_where_it_does_not_hold():
    g = torch.rand(64, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    light, heavy = 0.6 / (64 * 32), 2 / (64 * 32)
    quick, solved = wires.polynomial(g, light), wires.solve(g, 0.0, light)
    torch.testing.assert_close(quick.sum(0), solved.sum(0), rtol=0.03, atol=0)
    assert ((quick / g)[0] < (quick / g)[-1]).all() and ((solved / g)[0] < (solved / g)[-1]).all()  # far ones lose most
    with pytest.warns(UserWarning, match="good up to 0.7"):
        wires.polynomial(g, heavy)


def test_a_network_with_wires_and_no_converters_is_a_plain_module():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(45, 4)), torch.rand(6, 3, 5, 5)
    off = "input_bits=none,adc_bits=none"
    for c in (Crossbar("rram", 0.1, 4), Crossbar("rram", 0.1, 4, mapping="signed"), Crossbar("pcm", 1.0, 4)):
        plain = nvlib.program(model, c, index=range(2))
        text = f"{off},rows=16,columns=12,on_resistance=1e4,wire_column={{}},wire_row={{}}"
        shares = []
        for ohm in (1e-9, 5.0, 50.0):
            on = circuits.attach(model, replace(c, periphery=text.format(ohm, ohm / 3)), x)
            chips = on.program(range(2))
            assert on.module is model and set(chips) == set(plain)
            shares.append(float(sum((chips[n] * plain[n]).sum() / plain[n].square().sum() for n in plain)) / 2)
        assert shares[0] == pytest.approx(1, abs=1e-6) and shares[0] > shares[1] > shares[2]
        found = nvlib.forward(model, chips, x, how="loop")
        text = text.format(ohm, ohm / 3).replace(off, "input_bits=16,input_range=8,adc_bits=none")
        converted = circuits.attach(model, replace(c, periphery=text), x)
        again = nvlib.forward(converted.module, converted.program(range(2)), x, how="loop")
        torch.testing.assert_close(again, found.detach(), rtol=1e-3, atol=1e-3)


def test_exact_wires_of_a_tile_and_the_quick_estimate_agree_where_loads_are_light():
    model, x = nn.Linear(64, 8, bias=False), torch.rand(50, 64)
    torch.manual_seed(0)
    found = {}
    for name in ("exact", "polynomial", "none"):
        wire = "wire_column=0" if name == "none" else f"wire_column=0.5,wire_model={name}"
        text = f"rows=64,input_bits=16,adc_bits=none,images=50,on_resistance=1e4,{wire},subtract=digital"
        found[name] = circuits.attach(model, Crossbar("rram", 0.0, 2, periphery=text), x).module(x)
    off = [float((found[name] - found["exact"]).abs().max()) for name in ("polynomial", "none")]
    assert off[0] < 0.5 * off[1]
    with pytest.raises(InputError, match="expected on_resistance="):
        circuits.attach(model, Crossbar("rram", 0.0, 2, periphery="wire_column=1,images=50"), x)
