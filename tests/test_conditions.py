"""`Crossbar` as a value, its short form, and the weight range: laws, truth and bad input."""

from dataclasses import FrozenInstanceError, dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

import nvlib
from nvlib import Crossbar, InputError, deploy, devices, ranges, taylor
from nvlib.conditions import as_crossbar
from nvlib.crossbar import deviations, read_back, scale_and_digits
from nvlib.effects import Effect
from nvlib.ranges import Deviations, Max, Percentile, WeightRange

RANGES = [Max(), Deviations(2.0), Percentile(90.0)]
ALL = [replace(r, per=per) for r in RANGES for per in ("tensor", "channel")]
CONDITIONS = [("rram", "differential"), ("fefet1", "signed"), ("pcm", "differential")]


def weights(*shape, seed=0, dtype=torch.float64):
    return torch.randn(2, *shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, 4))


# -- the value -------------------------------------------------------------------------------------------------------


def test_a_crossbar_is_checked_once_and_is_a_value():
    c = Crossbar("fefet1", 0.2, bits=4, range="deviations:2.5/channel")
    assert c.device == devices.get("fefet1") and c.range == Deviations(2.5, "channel")
    assert c == Crossbar(devices.get("fefet1"), 0.2, 4, range=Deviations(2.5, "channel"))
    assert hash(c) == hash(replace(c))
    assert Crossbar("pcm", None) == Crossbar("pcm", 1.0)  # as measured
    assert Crossbar().range == Max() and Crossbar(bits=8).cells == 8 and Crossbar(bits=8, mapping="signed").cells == 4
    with pytest.raises(FrozenInstanceError):
        c.bits = 8


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"device": "ram"}, "rram"), ({"sigma_d": -0.1}, "finite number >= 0"), ({"sigma_d": None}, "give one"),
        ({"bits": 3}, "multiple of 2"), ({"reference": "cell"}, "full_scale"), ({"mapping": "both"}, "differential"),
        ({"range": "deviation:2"}, "deviations"), ({"range": "deviations:0"}, "above 0"),
        ({"range": "percentile:101"}, "at most 100"), ({"range": "max:2"}, "expected max"),
        ({"range": "max/column"}, "channel"), ({"range": 2.5}, "no weight range"), ({"effects": (3,)}, "befall"),
        ({"periphery": "adc"}, "unknown periphery 'adc'"), ({"range": "deviations:two"}, "a number after"),
    ],
)  # fmt: skip
def test_bad_conditions_are_refused_in_one_line(given, said):
    with pytest.raises(InputError, match=said) as error:
        Crossbar(**given)
    assert "\n" not in str(error.value)


def test_the_short_form_is_the_crossbar():
    model = net()
    long = nvlib.program(model, Crossbar("fefet1", 0.2, bits=4, mapping="signed"), index=range(3), seed=5)
    short = nvlib.program(model, "fefet1", 0.2, bits=4, mapping="signed", index=range(3), seed=5)
    keyed = nvlib.program(model, device="fefet1", sigma_d=0.2, bits=4, mapping="signed", index=range(3), seed=5)
    assert all(torch.equal(long[name], short[name]) and torch.equal(long[name], keyed[name]) for name in long)
    assert as_crossbar(None) == Crossbar() and as_crossbar("pcm", None) == Crossbar("pcm", None)
    with pytest.raises(InputError, match="beside a crossbar"):
        nvlib.program(model, Crossbar(), 0.2)
    with pytest.raises(InputError, match="bits is given beside"):
        nvlib.monte_carlo(model, (torch.zeros(2, 1, 8, 8), [0, 1]), Crossbar(), bits=4)
    with pytest.raises(InputError, match="mapping"):
        nvlib.program(model, "rram", 0.1, maping="signed")
    with pytest.raises(InputError, match="does not say its weight bits"):
        nvlib.program(model, "rram", 0.1)


def test_the_same_crossbar_everywhere(mnist, trained):
    """Programming, evaluation, deployment and the expansion take one value, and say the same chips."""
    crossbar, index = Crossbar("fefet1", 0.2, range="deviations:2.5"), range(2)
    samples = nvlib.monte_carlo(trained, mnist, crossbar, chips=2)
    (block,) = deploy.get("write_verify", process=False).apply(trained, mnist, crossbar, index=index)
    assert np.array_equal(block.before, samples.accuracy)
    point = taylor.point(trained, crossbar)
    chips, program = point.chips(0.2, index=index), nvlib.program(trained, crossbar, index=index)
    for name in program:
        torch.testing.assert_close(chips[name], program[name], rtol=0, atol=2e-6)


# -- the range -------------------------------------------------------------------------------------------------------


def check_range(r):
    """The laws of every weight range: what `nvlib.Crossbar` relies on."""
    assert isinstance(r, WeightRange) and r.per in ranges.PER
    assert ranges.get(str(r)) == r and hash(r) == hash(replace(r))
    for shape in ((7, 5), (4, 3, 2, 2), (6,)):
        w = weights(*shape)
        before, found = w.clone(), r.of(w.requires_grad_())
        assert not found.requires_grad and torch.equal(w.detach(), before) and found.ndim == w.ndim
        assert found.shape[0] == 2 and found.shape[1] == (shape[0] if r.per == "channel" else 1)
        top = w.detach().abs().flatten(1).amax(1)
        assert (found >= 0).all() and (found.flatten(1).amax(1) <= top).all()
        torch.testing.assert_close(r.of(w.detach() * 4), 4 * found, rtol=0, atol=0)  # a scale
        torch.testing.assert_close(r.of(-w.detach()), found, rtol=0, atol=0)
        for member in range(2):  # a member as alone
            torch.testing.assert_close(r.of(w.detach()[member : member + 1])[0], found[member], rtol=0, atol=0)
    assert (r.of(torch.zeros(1, 3, 3)) == 0).all()


@pytest.mark.parametrize("r", ALL, ids=str)
def test_every_range_keeps_the_protocol(r):
    check_range(r)


def test_ranges_are_what_their_names_say():
    w = weights(200, 50)
    assert torch.equal(Max().of(w).flatten(), w.abs().flatten(1).amax(1))
    assert float(Deviations(1.5).of(w)[0]) == pytest.approx(1.5 * float(w[0].square().mean().sqrt()), rel=1e-12)
    assert torch.equal(Deviations(1e6).of(w), Max().of(w)) and torch.equal(Percentile(100).of(w), Max().of(w))
    for p in (50, 90, 99.5):
        r = float(Percentile(p).of(w)[1])
        assert r == np.quantile(w[1].abs().numpy().ravel(), p / 100, method="inverted_cdf")
    assert float(Percentile(50).of(torch.tensor([[0.0, 0.0, 0.0, 2.0]]))) == 2.0  # mostly zeros


@pytest.mark.parametrize(("device", "mapping"), CONDITIONS)
def test_at_max_nothing_is_new_and_saturated_weights_have_the_top_levels_deviation(device, mapping):
    w, z = weights(40, 30, dtype=torch.float32), torch.ones(1)
    c = Crossbar(device, 0.1, 4, mapping=mapping)
    s, n = scale_and_digits(w, c)
    assert torch.equal(s, w.abs().flatten(1).amax(1).view(2, 1, 1) / 15)  # as before there was a range
    assert torch.equal(n, ((w + 0.0) / s).round_().abs().long())
    narrow = replace(c, range="deviations:1.5")
    s, n = scale_and_digits(w, narrow)
    r = narrow.range.of(w)
    beyond = w.abs() > r
    assert 0.1 < beyond.double().mean() < 0.2 and (n[beyond] == 15).all()
    value, deviation = c.tables
    held, off = read_back(w, narrow, None), read_back(w, narrow, z) - read_back(w, narrow, None)
    torch.testing.assert_close(held[beyond].abs(), (s * value[15]).expand_as(w)[beyond].float(), rtol=1e-6, atol=0)
    torch.testing.assert_close(off[beyond], (0.1 * s * deviation[15]).expand_as(w)[beyond].float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("r", [replace(r, per="channel") for r in RANGES], ids=str)
def test_scaling_a_column_changes_nothing_but_its_scale(r):
    w, z = weights(6, 20), weights(6, 20, seed=1)
    factor = 2.0 ** torch.arange(-3, 3).view(1, 6, 1)
    c = Crossbar("fefet1", 0.2, 4, range=r)
    torch.testing.assert_close(read_back(w * factor, c, z), factor * read_back(w, c, z), rtol=0, atol=0)
    tensor = replace(c, range=replace(r, per="tensor"))
    assert not torch.allclose(read_back(w * factor, tensor, z), factor * read_back(w, tensor, z))


@pytest.mark.parametrize("r", ["deviations:2", "percentile:80/channel"])
def test_gradients_pass_straight_through_within_and_beyond_the_range(r):
    w, z, factor = weights(5, 8).requires_grad_(), weights(5, 8, seed=1), weights(5, 8, seed=2)
    (read_back(w, Crossbar("rram", 0.1, 4, range=r), z) * factor).sum().backward()
    assert torch.equal(w.grad, factor)


@pytest.mark.parametrize("r", ["deviations:2", "max/channel"])
@pytest.mark.parametrize(("device", "mapping"), CONDITIONS)
def test_cells_of_a_range_add_up_to_the_chip(r, device, mapping):
    from nvlib.cells import cells_of

    w, z = weights(4, 6)[0], weights(4, 6, seed=3)[:1]
    c = Crossbar(device, 0.3, 4, mapping=mapping, range=r)
    cells = cells_of(w, c)
    off = (read_back(w[None], c, z) - read_back(w[None], c, None)).flatten()
    each = cells.step.flatten() * cells.deviation.square().sum(1).sqrt() * z.flatten()
    torch.testing.assert_close(off, each, rtol=1e-9, atol=1e-12)


def test_a_range_quietens_a_tensor_with_an_outlier_and_says_what_it_costs():
    model = nn.Linear(100, 50, bias=False)
    with torch.no_grad():
        model.weight[0, 0] = 10 * model.weight.abs().max()
    whole = deviations(model, "rram", 0.1, bits=8)
    less = deviations(model, "rram", 0.1, bits=8, range="percentile:99.9")
    assert less.deviation.item() < 0.2 * whole.deviation.item() and less.level.item() > 5 * whole.level.item()
    assert whole.saturated.item() == 0 and 0 < less.saturated.item() <= 0.1 + 1e-9
    assert whole.range.item() == pytest.approx(whole.largest.item()) and less.range.item() < 0.2 * whole.range.item()


def test_a_range_of_channels_refuses_transposed_convolutions():
    model = nn.ConvTranspose2d(3, 2, 3)
    nvlib.program(model, "rram", 0.1, bits=4, range="deviations:2")
    with pytest.raises(InputError, match="transposed"):
        nvlib.program(model, "rram", 0.1, bits=4, range="max/channel")


def test_training_knows_the_range(mnist):
    """The forward of training is quantised within the range; and at max it is what it was, bit for bit."""
    few = nvlib.load("mnist", limit=128)
    recipe = nvlib.Recipe(batch_size=32)

    def trained(**conditions):
        *_, last = nvlib.train("gaussian", "lenet", few, "rram", 0.2, epochs=1, recipe=recipe, **conditions)
        return last.weights()

    plain, same, other = trained(), trained(range="max"), trained(range="deviations:1")  # 58 % of fresh ones lie within
    assert all(torch.equal(plain[name], same[name]) for name in plain)
    assert any(not torch.equal(plain[name], other[name]) for name in plain)
    *_, last = nvlib.train("gaussian", "lenet", few, Crossbar("rram", 0.2, range="deviations:1"),
                            epochs=1, recipe=recipe)  # fmt: skip
    assert all(torch.equal(other[name], tensor) for name, tensor in last.weights().items())
    *_, two = nvlib.train("gaussian", "lenet", few, Crossbar("rram"), [0.1, 0.2], epochs=1, recipe=recipe, seed=0)
    assert len(two.loss) == 2


# -- effects and periphery -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Halved:
    """Every cell loses half of what it holds."""

    name: str = "halved"

    def befall(self, g, cells):
        return g / 2


def test_what_knows_programming_alone_refuses_what_it_would_leave_out(mnist):
    assert isinstance(Halved(), Effect)
    model = nvlib.build("lenet", seed=0)
    for crossbar, name in ((Crossbar(effects=(Halved(),)), "effects"), (Crossbar(periphery="adc_bits=6"), "periphery")):
        known = () if name == "effects" else (
            lambda c=crossbar: nvlib.program(model, c),
            lambda c=crossbar: nvlib.train("gaussian", "lenet", mnist, c),
        )
        for ask in (
            *known,
            lambda c=crossbar: deploy.get("swim").apply(model, mnist, c, index=range(1)),
            lambda c=crossbar: taylor.point(model, c),
        ):
            with pytest.raises(InputError, match=f"without {name}"):
                ask()


def test_a_sigma_d_left_out_is_as_measured_on_a_measured_device():
    assert nvlib.Crossbar("pcm").sigma_d == 1.0 and nvlib.Crossbar("rram").sigma_d == nvlib.Crossbar().sigma_d == 0.1
    assert nvlib.Crossbar("pcm", 0.5).sigma_d == 0.5 and nvlib.Crossbar("pcm", None).sigma_d == 1.0
    model = nvlib.build("lenet3", seed=0)
    left, said = (nvlib.program(model, "pcm", *given)["fc1.weight"] for given in ((), (1.0,)))
    assert torch.equal(left, said)


def test_a_study_counts_a_sigma_d_that_is_left_out_as_its_devices_do():
    assert nvlib.Study(devices=("pcm", "sonos")).sigma_d == (1.0,) and nvlib.Study().sigma_d == (0.1,)
    with pytest.raises(nvlib.InputError, match=r"^sigma_d is left out, and pcm .* a factor .*unlike rram.* 1 of pcm"):
        nvlib.Study(devices=("rram", "pcm"))
    with pytest.raises(nvlib.InputError, match=r"^train_sigma_d is left out, and pcm counts it .*unlike rram"):
        nvlib.Study(devices=("rram",), sigma_d=(0.1,), train_device="pcm")
    assert nvlib.Study(devices=("pcm",), train_device="rram", train_sigma_d=(0.2,)).sigma_d == (1.0,)
