"""A weight on cells: against cells drawn one by one, and the laws every chip obeys."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import nvlib
from nvlib import InputError, devices
from nvlib.crossbar import Crossbar, array_weights, read_back, tables

CASES = [
    (device, bits, reference, mapping)
    for device in ("rram", "fefet1", "fefet2")
    for bits, reference, mapping in [
        (8, "full_scale", "differential"),
        (6, "level", "signed"),
        (4, "full_scale", "signed"),
        (2, "level", "differential"),
    ]
] + [(name, 4, "full_scale", mapping) for name in ("pcm", "sonos") for mapping in ("differential", "signed")]


def linear(weights):
    model = nn.Linear(len(weights), 1, bias=False)
    model.weight.data = torch.tensor([weights], dtype=torch.float64)
    return model


def cells_one_by_one(w, device, sigma_d, bits, reference, mapping, draws, rng):
    """The naive way, straight from the equations: every cell of every chain, every draw."""
    k, top = device.bits, 2**bits - 1
    values, spread = device.values, device.spread(sigma_d, reference)
    s = np.abs(w).max() / top
    out = np.zeros((draws, len(w)))
    for i, weight in enumerate(w):
        n = round(abs(weight) / s)
        for j in range(bits // k):
            d = (n >> (j * k)) % 2**k
            cell = values[d] + spread[d] * rng.standard_normal(draws)
            if mapping == "differential":
                cell = cell - (values[0] + spread[0] * rng.standard_normal(draws))
            out[:, i] += s * 2 ** (j * k) * cell * (-1 if weight < 0 else 1)
    return out


@pytest.mark.parametrize(("name", "bits", "reference", "mapping"), CASES)
def test_program_has_the_distribution_of_cells_drawn_one_by_one(name, bits, reference, mapping):
    w, draws, device = [-1.0, 0.83, 0.41, -0.2, 0.0], 4000, devices.get(name)
    sigma_d = 0.15 if device.relative else None
    options = {"bits": bits, "reference": reference, "mapping": mapping}
    ours = nvlib.program(linear(w), device, sigma_d, index=range(draws), **options)["weight"][:, 0].numpy()
    cells = cells_one_by_one(np.array(w), device, sigma_d, bits, reference, mapping, draws, np.random.default_rng(0))
    for i in range(len(w)):
        assert stats.ks_2samp(ours[:, i], cells[:, i]).pvalue > 1e-4
        error = np.hypot(ours[:, i].std(), cells[:, i].std()) / draws**0.5
        assert abs(ours[:, i].mean() - cells[:, i].mean()) < 4 * error
        assert ours[:, i].std() == pytest.approx(cells[:, i].std(), rel=4 / draws**0.5)


@pytest.mark.parametrize(
    ("bits", "reference", "expected"),
    [(8, "level", 0.2592), (6, "level", 0.2623), (4, "level", 0.2749),
     (8, "full_scale", 0.7776), (6, "full_scale", 0.7868), (4, "full_scale", 0.8246)],
)  # fmt: skip
def test_deviation_over_the_largest_weight(bits, reference, expected):
    """The papers' convention in numbers: deviation over max|W| per unit sigma_d, one uniform chain."""
    _, deviation = tables(devices.get("rram"), bits, reference, "signed")
    assert deviation / (2**bits - 1) == pytest.approx(expected, abs=5e-5)
    _, two = tables(devices.get("rram"), bits, reference, "differential")
    assert two == pytest.approx(deviation * 2**0.5)


@pytest.mark.parametrize("name", devices.names())
@pytest.mark.parametrize("mapping", ["differential", "signed"])
def test_without_variation_a_chip_is_the_quantised_model(name, mapping):
    torch.manual_seed(0)
    model = nn.Linear(30, 20)
    held = nvlib.program(model, name, 0.0, bits=4, mapping=mapping)["weight"]
    s = model.weight.abs().max() / 15
    grid = (model.weight / s).round() * s
    assert torch.allclose(held, grid, atol=1e-7)


@pytest.mark.parametrize("k_and_m", [(1, 5), (1, 16), (2, 4), (3, 6), (3, 9), (4, 8)])
def test_any_bits_that_cells_divide(k_and_m):
    k, m = k_and_m
    device = devices.Device("cell", k, tuple(range(2**k)), (1.0,) * 2**k, "level", True)
    w = torch.linspace(-1, 1, 101).view(1, -1)
    held = read_back(w, Crossbar(device, 0.0, m), None)
    assert (held - w).abs().max() <= 0.5 / (2**m - 1) + 1e-6
    _, deviation = tables(device, m, "level", "signed")
    assert deviation[0] == pytest.approx(sum(4.0 ** (j * k) for j in range(m // k)) ** 0.5)


def test_uneven_levels_are_read_where_they_lie():
    device = devices.Device("uneven", 2, (10.0, 20.0, 30.0, 70.0), (0.0,) * 4, "uS", False)
    held = read_back(torch.tensor([[3.0, 2.0, 1.0, -1.0, 0.0]]), Crossbar(device, 1.0, 2), None)
    assert held[0].tolist() == [3.0, 1.0, 0.5, -0.5, 0.0]


def test_the_same_draw_is_the_same_chip():
    model = nvlib.build("lenet", seed=0)
    many = nvlib.program(model, "fefet1", 0.2, seed=5, index=range(3, 9))
    alone = nvlib.program(model, "fefet1", 0.2, seed=5, index=7)
    assert all(torch.equal(many[name][4], alone[name]) for name in alone)
    assert not torch.equal(many["fc1.weight"][0], many["fc1.weight"][1])
    other = nvlib.program(model, "fefet1", 0.2, seed=6, index=7)
    assert not torch.equal(other["fc1.weight"], alone["fc1.weight"])


def test_methods_meet_the_same_deviations():
    one, two = nvlib.build("lenet", seed=0), nvlib.build("lenet", seed=1)

    def standardised(model):
        noisy, clean = (nvlib.program(model, "rram", s, index=4)["fc2.weight"] for s in (0.1, 0.0))
        return (noisy - clean) / model.fc2.weight.abs().max()

    assert torch.allclose(standardised(one), standardised(two), atol=1e-5)


def test_clean_weights_are_untouched():
    model = nvlib.build("lenet", seed=0)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    nvlib.program(model, "rram", 0.4, index=range(2))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_gradients_pass_straight_through_with_the_maximum_constant():
    w = torch.tensor([[0.9, -0.3, 0.1]], dtype=torch.float64, requires_grad=True)
    z = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64)
    factor = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    (read_back(w, Crossbar("rram", 0.1, 4), z) * factor).sum().backward()
    assert torch.equal(w.grad, factor.view(1, -1))


def test_zero_weights_stay_finite():
    model = linear([0.0, 0.0])
    assert torch.equal(nvlib.program(model, "rram", 0.3, bits=4)["weight"], model.weight)


# -- what lies on arrays ---------------------------------------------------------------------------------------------


def test_mapping_lists_every_parameter():
    model = nvlib.build("lenet")
    table = nvlib.mapping(model, "rram")
    assert list(table.name) == [name for name, _ in model.named_parameters()]
    arrays = table[table.place == "array"]
    assert list(arrays.name) == [f"{layer}.weight" for layer in ("conv1", "conv2", "fc1", "fc2", "fc3")]
    assert table.set_index("name").cells["fc3.weight"] == 84 * 10 * 2 * 2  # 4 bits on 2-bit cells, two chains
    assert nvlib.mapping(model, "rram", mapping="signed").cells.sum() * 2 == table.cells.sum()
    assert (table[table.place == "digital"].cells == 0).all()


def test_torchvision_network():
    from torchvision.models import mobilenet_v3_small

    model = mobilenet_v3_small(num_classes=10).eval()
    chips = nvlib.program(model, "rram", 0.05, bits=8, index=range(2))
    convolutions = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert sorted(chips) == sorted(f"{n}.weight" for n in convolutions)
    outs = nvlib.forward(model, chips, torch.randn(3, 3, 64, 64))
    assert outs.shape == (2, 3, 10)
    assert not torch.equal(outs[0], outs[1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.norm(self.attention(x, x, x, need_weights=False)[0]).mean(1))


def test_attention_projections_lie_on_arrays():
    model = Attention().eval()
    names = array_weights(model)
    assert names == ["attention.in_proj_weight", "attention.out_proj.weight", "head.weight"]
    chips = nvlib.program(model, "rram", 0.1, bits=8, index=range(3))
    x = torch.randn(2, 7, 16)
    with torch.no_grad():
        assert torch.allclose(*(nvlib.forward(model, chips, x, how=how) for how in ("loop", "vmap")), atol=1e-5)


def test_a_matrix_without_a_place_is_warned_about():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.table = nn.Embedding(3, 4)
            self.mixer = nn.Parameter(torch.ones(4, 4))

    model = Bare()
    with pytest.warns(UserWarning, match=r"no noise on mixer of Bare.*array_weights"):
        assert array_weights(model) == ["fc.weight"]
    model.array_weights = ("mixer",)
    assert array_weights(model) == ["mixer", "fc.weight"]
    model.array_weights = ("blender",)
    with pytest.raises(InputError, match="blender"):
        array_weights(model)


# -- bad input -------------------------------------------------------------------------------------------------------

BAD = [
    ({"device": "fefet9"}, "fefet2"),
    ({"sigma_d": -0.1}, "sigma_d"),
    ({"sigma_d": float("nan")}, "sigma_d"),
    ({"sigma_d": None}, "sigma_d"),
    ({"bits": 5}, "multiple of 2"),
    ({"bits": 0}, "multiple of 2"),
    ({"bits": 18}, "up to 16"),
    ({"reference": "range"}, "full_scale"),
    ({"mapping": "both"}, "differential"),
    ({"index": 1.5}, "index"),
    ({"seed": -3}, "seed"),
]


@pytest.mark.parametrize(("change", "said"), BAD)
def test_bad_input_is_answered_in_one_line(change, said):
    good = {"device": "rram", "sigma_d": 0.1, "bits": 4}
    with pytest.raises(InputError, match=said) as error:
        nvlib.program(nn.Linear(3, 2), **(good | change))
    assert "\n" not in str(error.value)


def test_bad_models():
    with pytest.raises(InputError, match="bits"):
        nvlib.program(nn.Linear(3, 2), "rram", 0.1)
    with pytest.raises(InputError, match="no weight to put on arrays"):
        nvlib.program(nn.LayerNorm(3), "rram", 0.1, bits=4)
    model = nn.Linear(3, 2)
    model.weight.data[0, 0] = float("inf")
    with pytest.raises(InputError, match="weight are not finite"):
        nvlib.program(model, "rram", 0.1, bits=4)
