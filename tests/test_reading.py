"""Read noise at the outputs of columns: the moments of weights that are drawn anew, and one draw an image."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import nvlib
from nvlib import Crossbar, InputError, circuits
from nvlib.array.reading import marks

READS = 1500


def case(kind):
    """A layer, an input, and one that is as good as that each time it is read."""
    torch.manual_seed(0)
    layer, x = (nn.Linear(30, 5), torch.rand(1, 30)) if kind == "linear" else (nn.Conv2d(2, 3, 3, stride=2),
                                                                               torch.rand(1, 2, 5, 5))  # fmt: skip
    return layer, x, x + 1e-6 * torch.randn(READS, *x.shape[1:])


@pytest.mark.parametrize(("kind", "device", "text"), [
    ("linear", "rram", "rows=16"), ("linear", "pcm", "rows=16,subtract=digital"), ("convolution", "rram", ""),
])  # fmt: skip
@pytest.mark.parametrize("mapping", ["differential", "signed"])
def test_moments_are_those_of_weights_drawn_anew(kind, device, text, mapping):
    """One chip reads an input many times, or its cells are drawn as often: mean and variance of each output."""
    layer, x, again = case(kind)
    effects = "read:additive=0.04,relative=0.1" if device == "rram" else ("drift:time=3600,nu=0.05", "read")
    c = Crossbar(device, 0.0 if device == "rram" else 1e-4, 4, mapping=mapping, effects=effects)  # chips as good as one
    text = ",".join(filter(None, ("input_bits=none,adc_bits=none,read=outputs", text)))
    on = circuits.attach(layer, replace(c, periphery=text), x)
    ours = nvlib.forward(on.module, on.program(range(1)), again, how="loop")[0].flatten(1)
    weights = nvlib.program(layer, c, index=range(READS))["weight"]
    drawn = torch.vmap(lambda w: torch.func.functional_call(layer, {"weight": w}, x))(weights).detach().flatten(1)
    off = (ours.var(0) + drawn.var(0)).div(READS).sqrt()
    assert ((ours.mean(0) - drawn.mean(0)).abs() < 4.5 * off).all()
    ratio, most = ours.var(0) / drawn.var(0), 4.5 * (4 / READS) ** 0.5
    assert ((ratio - 1).abs() < most).all() and abs(ratio.mean() - 1) < most / 2
    apart = torch.corrcoef(ours.T) - torch.eye(ours.shape[1])  # columns, and windows, are readings of their own
    assert apart.abs().max() < 5 / READS**0.5


def test_pulses_and_tiles_are_readings_each_in_closed_form():
    """Sums of 16^i x_i with 4 bits a pulse: variance s^2 sum_i 256^i sum_r x_ir^2, of slices and both columns."""
    layer, x, again = case("linear")
    codes = (x * 255).round()
    text = "input_bits=8,serial_bits=4,input_range=1,adc_bits=none,rows=7,read=outputs"
    c = Crossbar("rram", 0.0, 4, effects="read:additive=0.04", periphery=text)
    on = circuits.attach(layer, c, x)
    found = nvlib.forward(on.module, on.program(range(1)), codes / 255 + again - x, how="loop")[0]
    power = (codes % 16).square().sum() + 256 * (codes // 16).square().sum()
    step = float(layer.weight.detach().abs().max()) / 15 / 255
    law = power * 2 * (1 + 16) * (0.04 * 3 * step) ** 2  # slices count 1 and 4
    assert float(found.var(0).mean() / law) == pytest.approx(1, abs=4.5 * (2 / READS / 5) ** 0.5)


def test_a_chip_reads_an_image_once_whatever_the_batch(mnist):
    few = replace(mnist, test=nvlib.data.Split(mnist.test.x[:200], mnist.test.y[:200]))
    model = nvlib.build("lenet3", seed=0).eval()
    c = Crossbar("rram", 0.1, effects="read:relative=0.1", periphery="images=100,read=outputs")
    on, x = circuits.attach(model, c, few.train.x), few.test.x[:20]
    chips = on.program(range(3), seed=2**64 - 1)
    together = nvlib.forward(on.module, chips, x, how="loop")
    alone = nvlib.forward(on.module, {name: w[1:2] for name, w in chips.items()}, x[7:8], how="loop")
    torch.testing.assert_close(alone[0, 0], together[1, 7], rtol=1e-4, atol=1e-4)
    samples = nvlib.monte_carlo(model, few, c, chips=3)
    quiet = nvlib.monte_carlo(model, few, replace(c, effects=(), periphery="images=100"), chips=3)
    assert (samples.loss != quiet.loss).all() and c.images_a_read is None
    again = nvlib.monte_carlo(model, few, c, chips=1, first=2)
    assert again.loss[0] == pytest.approx(samples.loss[2], rel=1e-5)


def test_marks_tell_images_apart():
    x = torch.randn(20_000, 9)
    x[1], x[1, 0] = x[0], x[0, 0] + 1e-6
    found = marks(x)
    assert len(set(found)) >= 20_000 - 2 and min(found) >= 0 and max(found) < 2**32  # 0.05 pairs by chance
    assert marks(x[3:5]) == found[3:5] and marks(torch.tensor([[0.0, 1.0]])) == marks(torch.tensor([[-0.0, 1.0]]))
    assert len(set(marks(torch.randint(9, (50, 7))))) == 50


class Folded(nn.Module):
    """Images enter its layer as twice as many rows."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(15, 4)

    def forward(self, x):
        return self.layer(x.reshape(-1, 15)).view(len(x), -1)


@pytest.mark.parametrize(("effects", "text", "words"), [
    ((), "read=outputs", "no effect"), (("read:relative=0.1", "limits"), "read=outputs", "limits last"),
    ("read:relative=0.1", "read=outputs,wire_column=1", "linear in the cells"), ("read", "read=rows", "outputs"),
])  # fmt: skip
def test_what_is_not_exact_is_refused_in_a_line(effects, text, words):
    layer, x, _ = case("linear")
    with pytest.raises(InputError, match=words) as error:
        circuits.attach(layer, Crossbar("pcm", None, 4, effects=effects, periphery=text + ",images=1"), x)
    assert "\n" not in str(error.value)


def test_rows_that_are_no_images_are_refused():
    c = Crossbar("rram", 0.1, 4, effects="read:relative=0.1", periphery="images=3,read=outputs")
    on = circuits.attach(Folded(), c, torch.rand(3, 30))
    with pytest.raises(InputError, match="6 rows for 3 images"):
        nvlib.forward(on.module, on.program(range(1)), torch.rand(3, 30), how="loop")
