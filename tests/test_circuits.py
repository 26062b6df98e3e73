"""A network on tiles: whole numbers to the bit, the same chips, any module, and what is refused."""

import warnings
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nvlib
from nvlib import Crossbar, InputError, circuits, sweeps
from nvlib.crossbar import readings
from nvlib.devices import Device

KINDS = {k: Device(f"whole{k}", k, range(2**k), [1] * 2**k, "level", True) for k in (1, 2, 4, 8)}


def whole(shape, top, *, signed=True, seed=0, dtype=torch.float64):
    """Whole numbers up to ``top``, which is among them."""
    low = -top if signed else 0
    x = torch.randint(low, top + 1, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    x.view(-1)[0] = top
    return x


def exact(layer, bits, device, x, **periphery):
    """What a layer of whole weights gives through converters with bits enough, with ranges that make all steps one."""
    top = 2**bits - 1
    with torch.no_grad():
        layer.weight.copy_(whole(layer.weight.shape, top))
        if layer.bias is not None:
            layer.bias.copy_(whole(layer.bias.shape, 5))
    text = ",".join(f"{key}={value}" for key, value in {"adc_bits": 24, "adc_range": "bound", **periphery}.items())
    c = Crossbar(KINDS[device], 0.0, bits, periphery=text)
    return c, circuits.attach(layer, c, x)


def fine(model, x, sigma_d=0.0):
    """A model with converters of many bits."""
    text = f"rows=4,input_bits=12,adc_bits=20,adc_range=bound,images={len(x)}"
    return circuits.attach(model, Crossbar("rram", sigma_d, 8, periphery=text), x)


# -- the law ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtract", ["array", "digital"])
@pytest.mark.parametrize("mapping", ["differential", "signed"])
@pytest.mark.parametrize("serial", ["none", 1, 3])
@pytest.mark.parametrize(("bits", "cell"), [(4, 1), (4, 2), (8, 4), (8, 8)])
@pytest.mark.parametrize("signed", [False, True])
def test_whole_numbers_pass_tiles_pulses_and_converters_to_the_bit(signed, bits, cell, serial, mapping, subtract):
    layer = nn.Linear(50, 7).double()
    top = 2**4 - 1 if signed else 2**5 - 1
    x = whole((6, 50), top, signed=signed, seed=1)
    codes = 16 * (2**cell - 1) * (top if serial == "none" else 2**serial - 1)  # the largest sum of 16 rows
    enough = (codes if subtract == "digital" and not signed else 2 * codes).bit_length()
    settings = {"rows": 16, "input_bits": 5, "serial_bits": serial, "input_range": top, "subtract": subtract,
                "adc_bits": enough}  # fmt: skip
    for adc_range in ("bound", "granular"):
        c, on = exact(layer, bits, cell, x, **settings, adc_range=adc_range)
        on = circuits.attach(layer, replace(c, mapping=mapping), x)
        assert torch.equal(on.module(x), layer(x))
        assert all(adc.step == 1 for adc in on.layers["weight"].adcs)
    few = max(enough - 3, 2)
    c = replace(c, periphery=replace(c.periphery, adc_bits=few, adc_range="bound"))
    assert not torch.equal(circuits.attach(layer, c, x).module(x), layer(x))  # the test can fail


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(6, 8, 3, padding=1), (2, 6, 7, 7)),
        (nn.Conv2d(6, 9, (3, 2), stride=2, dilation=(1, 2), groups=3), (2, 6, 9, 9)),
        (nn.Conv2d(6, 4, 3, padding=1, padding_mode="circular"), (2, 6, 7, 7)),
        (nn.Conv2d(6, 4, 3, padding="same", padding_mode="reflect"), (2, 6, 7, 7)),
        (nn.Conv2d(6, 6, 3, padding="same", groups=6, bias=False), (2, 6, 7, 7)),
        (nn.Conv1d(5, 4, 3, padding=2), (3, 5, 11)),
        (nn.Conv3d(2, 3, 2), (2, 2, 5, 4, 4)),
        (nn.Conv2d(6, 8, 3), (6, 7, 7)),
        (nn.Linear(20, 6), (2, 3, 20)),
    ],
    ids=["padded", "grouped", "circular", "reflect", "depthwise", "1d", "3d", "single", "tokens"],
)  # fmt: skip
def test_every_kind_of_layer_on_tiles_is_itself(layer, shape):
    layer, x = layer.double(), whole(shape, 15, signed=False, seed=1)
    for subtract in ("array", "digital"):
        batch = x if x.ndim != 3 or isinstance(layer, nn.Linear | nn.Conv1d) else x[None]  # a single image
        _, on = exact(layer, 4, 2, batch, rows=8, input_bits=4, serial_bits=2, input_range=15, subtract=subtract)
        assert torch.equal(on.module(x), layer(x))


# -- any module --------------------------------------------------------------------------------------------------------


class Ways(nn.Module):
    """One matrix of its own, multiplied as asked."""

    def __init__(self, way):
        super().__init__()
        self.way, self.array_weights = way, ("w",)
        self.w = nn.Parameter(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))
        self.register_buffer("other", torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))

    def forward(self, x):
        return self.way(x, self.w, self.other)


def near(model, x, on, tolerance=0.01):
    """Whether converters with many bits give what the quantised weights give."""
    plain = nvlib.program(model, replace(on.crossbar, periphery=None, sigma_d=0.0), index=range(1))
    wanted = nvlib.forward(model.eval(), plain, x, how="loop").detach()
    found = nvlib.forward(on.module, on.program(range(1)), x, how="loop")
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max()) < tolerance * float(wanted.abs().max())


@pytest.mark.parametrize(
    "way",
    [
        lambda x, w, o: x @ w,
        lambda x, w, o: x @ w.T,
        lambda x, w, o: x.matmul(w.t().contiguous()),
        lambda x, w, o: (w @ x.mT).mT,
        lambda x, w, o: w @ x[0],
        lambda x, w, o: torch.addmm(x @ o, x, w, beta=0.5, alpha=2.0),
        lambda x, w, o: F.linear(x, w[:4]),
        lambda x, w, o: torch.cat([F.linear(x, part) for part in w.chunk(3)], -1),
        lambda x, w, o: x @ w.view(6, 6).transpose(0, 1)[:, [0, 2, 5]],
        lambda x, w, o: F.linear(x.relu(), w) + F.linear(x, w),
    ],
)  # fmt: skip
def test_products_with_a_matrix_and_its_views(way):
    model, x = Ways(way), torch.randn(5, 6, generator=torch.Generator().manual_seed(2))
    assert near(model, x, fine(model, x))


@pytest.mark.parametrize("dims", [{}, {"kdim": 5, "vdim": 3}])
def test_attention(dims):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **dims)
            self.norm, self.mlp = nn.LayerNorm(8), nn.Linear(8, 4)

        def forward(self, x):
            key, value = (x[..., : dims.get(name, 8)] for name in ("kdim", "vdim"))
            return self.mlp(self.norm(self.attention(x, key, value, need_weights=False)[0])).mean(1)

    torch.manual_seed(0)
    model, x = Block(), torch.randn(4, 6, 8)
    on = fine(model, x)
    assert len(on.layers) == (5 if dims else 3)
    assert near(model, x, on)


def test_a_transformer_layer_and_a_network_of_torchvision():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    layer = nn.Sequential(layer, nn.Flatten(), nn.Linear(24, 3))
    x = torch.randn(4, 3, 8)
    assert near(layer, x, fine(layer, x))
    torchvision = pytest.importorskip("torchvision")
    net = torchvision.models.squeezenet1_1(num_classes=5).eval()
    x = torch.randn(2, 3, 48, 48)
    on = fine(net, x)
    assert len(on.layers) == 26 and near(net, x, on)


def test_wrapped_shared_and_parametrised_layers():
    torch.manual_seed(0)
    shared = nn.Linear(6, 6)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.utils.parametrizations.weight_norm(nn.Linear(6, 3)))
    x = torch.randn(5, 6)
    on = fine(nn.DataParallel(model), x)
    assert len(on.layers) == 2 and near(model, x, on)
    inner = fine(model, x, 0.1).program(range(2))
    outer = fine(nn.DataParallel(model), x, 0.1).program(range(2))
    assert all(torch.equal(inner[name], outer[name]) for name in inner)


class Scaled(nn.Linear):
    def forward(self, x):
        return F.linear(x, self.weight * 0.5, self.bias)


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x):
        return self.a(x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(6, 3, batch_first=True)

    def forward(self, x):
        return self.rnn(x[:, None])[0][:, 0]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Scaled(6, 2), "weight of Scaled lies on arrays, but enters 'mul'"),
        (Unused(), "b.weight of Unused did not run as a product"),
        (Recurrent(), "rnn.weight_ih_l0 of Recurrent lies on arrays, but enters 'lstm'"),
        (Ways(lambda x, w, o: F.linear(x[:, :3], w[:, :3])), "parts of its inputs"),
        (Ways(lambda x, w, o: x @ w + x @ w.T), "w of Ways is multiplied in two ways"),
        (Ways(lambda x, w, o: torch.einsum("bi,oi->bo", x, w)), "enters 'einsum'"),
        (Ways(lambda x, w, o: torch.addmm(w[:1], x, o)), "w of Ways lies on arrays, but enters 'matmul'"),
        (nn.Sequential(nn.Unflatten(1, (6, 1)), nn.ConvTranspose1d(6, 2, 1)), "enters 'conv_transpose1d'"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_what_tiles_cannot_take_is_refused_in_a_line(model, words):
    with warnings.catch_warnings(), pytest.raises(InputError) as caught:
        warnings.simplefilter("ignore")
        fine(model, torch.randn(4, 6), 0.1)
    assert words in str(caught.value) and "\n" not in str(caught.value)


# -- chips -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mapping", ["differential", "signed"])
@pytest.mark.parametrize(("subtract", "bits", "cell"), [("array", 8, 8), ("array", 8, 2), ("digital", 4, 2)])
def test_chips_are_those_of_program_cell_by_cell(mapping, subtract, bits, cell):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 4)), torch.randn(5, 2, 4, 4)
    text = f"rows=4,input_bits=14,input_range=10,adc_bits=24,adc_range=bound,subtract={subtract}"
    c = Crossbar(KINDS[cell], 0.1, bits, mapping=mapping, periphery=text)
    on, plain = circuits.attach(model, c, x), replace(c, periphery=None)
    chips, wanted = on.program(range(3, 6), seed=7), nvlib.program(model, plain, seed=7, index=range(3, 6))
    one = on.program(range(4, 5), seed=7)
    for i, (name, layer) in enumerate(on.layers.items()):
        assert torch.equal(chips[f"model.{name}"], wanted[name])
        assert torch.equal(chips[f"planes_{i}"][1:2], one[f"planes_{i}"])
        counts = torch.tensor(layer.counts)
        s = model.get_parameter(name).abs().max() / (2**bits - 1)
        held = s * torch.tensordot(chips[f"planes_{i}"], counts, ([1], [0]))
        torch.testing.assert_close(held, wanted[name], rtol=1e-4, atol=1e-5 * float(wanted[name].abs().max()))
    out = nvlib.forward(on.module, chips, x, how="loop")
    torch.testing.assert_close(out, nvlib.forward(model, wanted, x, how="loop").detach(), rtol=0.02, atol=0.02)
    torch.testing.assert_close(out, nvlib.forward(on.module, chips, x, how="vmap"), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("effects", [("stuck:chen2015",), ("stuck:chen2015", "read:additive=0.05,images=100")])
def test_what_befalls_cells_passes_their_columns(effects):
    torch.manual_seed(0)
    model, x = nn.Linear(12, 4), torch.randn(5, 12)
    plain = Crossbar("rram", 0.1, 4, effects=effects)
    on = circuits.attach(model, replace(plain, periphery="rows=5,input_range=4,subtract=digital,adc_range=bound"), x)
    ours, theirs = on.readings(seed=3, index=range(4)), readings(model, plain, seed=3, index=range(4))
    s, before = float(model.weight.detach().abs().max()) / 15, None
    for _ in range(3):
        chips, wanted = next(ours), next(theirs)["weight"]
        assert torch.equal(chips["model.weight"], wanted)
        held = s * torch.tensordot(chips["planes_0"], torch.tensor(on.layers["weight"].counts), ([1], [0]))
        torch.testing.assert_close(held, wanted, rtol=1e-4, atol=1e-6)
        assert before is None or torch.equal(before, wanted) == (len(effects) == 1)
        before = wanted


def test_converters_differ_from_chip_to_chip_but_not_by_what_is_asked_beside():
    torch.manual_seed(0)
    model, x = nn.Linear(20, 4), torch.rand(300, 20)
    text = "rows=8,adc_bits=6,adc_gain=0.05,adc_offset=0.5,dac_gain=0.02,dac_offset=0.3,images=100,subtract=digital"
    c = Crossbar("rram", 0.0, 8, periphery=text)
    on = circuits.attach(model, c, x)
    chips = on.program(range(400))
    gain, shift = chips["gain_0"], chips["shift_0"]
    assert gain.shape == (400, 3, 8, 4)
    assert abs(float(gain.mean()) - 1) < 4 * 0.05 / gain.numel() ** 0.5
    assert float(gain.std()) == pytest.approx(0.05, rel=4 / (2 * gain.numel()) ** 0.5)
    planes = chips["planes_0"][0]  # sigma_d is 0: those of every chip
    row = planes.double().square()[..., :8].sum(-1)
    step = torch.tensor([adc.step for adc in on.layers["weight"].adcs])[:, None]
    law = (0.3**2 * row + (0.5 * step) ** 2).sqrt()
    torch.testing.assert_close(shift[:, 0].double().std(0), law.double(), rtol=4 / (2 * 400) ** 0.5 * 1.3, atol=0)
    assert torch.equal(on.program(range(7, 8))["shift_0"][0], shift[7])
    samples = nvlib.monte_carlo(model, (x, torch.zeros(300, dtype=torch.int64)), c, chips=4, calibration=x)
    assert len(set(samples.loss)) == 4


# -- ranges ----------------------------------------------------------------------------------------------------------


def test_ranges_are_those_of_the_first_training_images_and_stay():
    torch.manual_seed(0)
    model, x = nn.Linear(20, 4), torch.rand(300, 20)
    x[250] = 9.0  # beyond the images that count
    c = Crossbar("rram", 0.0, 8, periphery="images=200")
    on = circuits.attach(model, c, x)
    assert on.layers["weight"].dac.full == float(x[:200].max())
    assert on.layers == circuits.attach(model, c, x[:200]).layers
    chips = on.program(range(1))
    whole = nvlib.forward(on.module, chips, x[:40], how="loop")
    assert torch.equal(whole[:, 3:4], nvlib.forward(on.module, chips, x[3:4], how="loop"))  # no batch decides
    with pytest.raises(InputError, match="100 training images are fewer than the 200"):
        circuits.attach(model, c, x[:100])
    with pytest.raises(InputError, match="expected a Dataset, calibration=images"):
        nvlib.monte_carlo(model, (x, torch.zeros(300, dtype=torch.int64)), c, chips=2)
    with pytest.raises(InputError, match="input_bits=1 cannot tell the signs"):
        circuits.attach(model, Crossbar("rram", 0.0, 8, periphery="input_bits=1"), torch.randn(500, 20))


def test_monte_carlo_meets_the_same_chips_through_other_circuits(trained, mnist):
    plain = nvlib.monte_carlo(trained, mnist, "rram", 0.2, chips=6)
    fine_text = "input_bits=12,adc_bits=16,images=100"
    fine = nvlib.monte_carlo(trained, mnist, "rram", 0.2, chips=6, periphery=fine_text)
    coarse = nvlib.monte_carlo(trained, mnist, "rram", 0.2, chips=6, periphery="adc_bits=3,images=100")
    assert abs(fine.accuracy - plain.accuracy).max() < 0.5 and coarse.accuracy.mean() < fine.accuracy.mean() - 1
    assert fine.plan.how != "native"
    more = nvlib.monte_carlo(trained, mnist, "rram", 0.2, chips=2, first=4, periphery=fine_text)
    assert (more.accuracy == fine.accuracy[4:]).all()
    with pytest.raises(InputError, match="without periphery"):
        nvlib.program(trained, "rram", 0.2, periphery="adc_bits=3")


def test_a_sweep_scores_the_same_chips_at_each_value(trained, mnist):
    few = replace(mnist, test=nvlib.data.Split(mnist.test.x[:300], mnist.test.y[:300]))
    c = Crossbar("rram", 0.1, periphery="images=100")
    table = nvlib.sweep(trained, few, c, field="adc_bits", values=(3, 8, None), chips=4)
    assert list(table["value"]) == ["exact", "3", "8", "ideal"] and table["periphery"][1] == "adc_bits=3,images=100"
    plain = nvlib.monte_carlo(trained, few, "rram", 0.1, chips=4)
    one = nvlib.monte_carlo(trained, few, "rram", 0.1, chips=4, periphery="adc_bits=3,images=100")
    assert table["mean"][0] == pytest.approx(plain.accuracy.mean())
    assert table["lost"][1] == pytest.approx((plain.accuracy - one.accuracy).mean()) and table["lost"][1] > 1
    both = {"": plain, "adc_bits=3,images=100": one, "rows=9,adc_bits=3,images=100": one}
    rows = pd.concat([pd.DataFrame({"periphery": text, "chip": s.index, "accuracy": s.accuracy})
                      for text, s in both.items()])  # fmt: skip
    pd.testing.assert_frame_equal(sweeps.stored(rows, field="adc_bits", base="images=100"), table[:2])
    with pytest.raises(InputError, match="exact products"):
        sweeps.stored(rows[rows.periphery != ""], field="rows")
    with pytest.raises(InputError, match="several results"):
        sweeps.stored(pd.concat([rows, rows]), field="rows")
    fig = nvlib.figures.setting_curves(table, "LeNet")
    assert list(fig.data[0].x) == ["3", "8", "ideal"] and list(fig.data[0].y) == list(table["mean"][1:])
    with pytest.raises(InputError, match="unknown field of a periphery 'bits'"):
        nvlib.sweep(trained, few, c, field="bits", values=(3,))
    with pytest.raises(InputError, match="expected a list of values of rows"):
        nvlib.sweep(trained, few, c, field="rows", values=())
    with pytest.raises(InputError, match=r"expected that of nvlib\.sweep"):
        nvlib.figures.setting_curves(table.drop(columns="lost").drop(columns="mean"))
