"""Compiled layers of training steps, against float64 autograd and PyTorch's own."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nvlib
from nvlib import InputError, data, models
from nvlib.methods import Recipe
from nvlib.methods.recipe import crop_and_flip
from nvlib.models import ActivationQuantiser
from nvlib.native import Unsupported, layers, passes

LAST = torch.channels_last
SHAPES = [(64, 8, 12, 12), (32, 5, 13, 15), (16, 12, 16, 16), (40, 100, 5, 4), (64, 512, 2, 3), (64, 1, 17, 16)]
TYPES = {torch.float32: 5e-6, torch.bfloat16: 4e-3}  # sums of ten thousand numbers; half a last digit of 8


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """These tests are of compiled code, so they need a compiler."""
    try:
        passes.passes()
    except Unsupported as reason:
        pytest.fail(f"{reason}; install g++ to test it")


def numbers(shape, kind=torch.float32, seed=0):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(kind)
    return x.contiguous(memory_format=LAST) if x.ndim == 4 else x


def slopes(call, inputs, fast, seed=9):
    """Outputs and gradients of a call, by compiled layers or as PyTorch does."""
    inputs = [x.detach().clone(memory_format=torch.preserve_format).requires_grad_() for x in inputs]
    with layers.Faster() if fast else torch.enable_grad():
        y = call(*inputs)
    g = numbers(y.shape, y.dtype, seed).double().to(y.dtype)
    return y, torch.autograd.grad(y, inputs, g)


def near(found, exact, tolerance):
    assert (found.double() - exact.double()).norm() <= tolerance * exact.double().norm()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_is_that_of_float64(shape, kind):
    x, c = 3 * numbers(shape, kind) + 100 * (kind == torch.float32) + 2, shape[1]  # far from zero: sums must not cancel
    weight, bias = torch.rand(c) + 0.5, torch.randn(c)
    running = [torch.zeros(c), torch.ones(c)]
    y, found = slopes(lambda x, w, b: F.batch_norm(x, *running, w, b, True, 0.1, 1e-5), [x, weight, bias], True)
    assert type(y.grad_fn).__name__ == "_NormaliseBackward" and y.dtype == kind and y.stride() == x.stride()
    wide = [torch.zeros(c).double(), torch.ones(c).double()]
    exact, expected = slopes(
        lambda x, w, b: F.batch_norm(x, *wide, w, b, True, 0.1, 1e-5),
        [t.double() for t in (x, weight, bias)], False,
    )  # fmt: skip
    near(y, exact, 10 * TYPES[kind])
    for one, other in zip(found, expected, strict=True):
        near(one, other, 10 * TYPES[kind])
    for one, other in zip(running, wide, strict=True):
        near(one, other, 1e-5)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_pooling_and_relu_are_pytorchs_to_the_bit(shape, kind):
    x = (2 * numbers(shape, kind)).round() / 2  # many ties
    x[0, 0, 0, 0], x[1, 0, 0, 0] = float("nan"), float("inf")
    for call, node in ((lambda x: F.max_pool2d(x, 2), "_Pool"), (F.relu, "_Rectify"), (torch.relu, "_Rectify")):
        (y, (d,)), (z, (e,)) = (slopes(call, [x], fast) for fast in (True, False))
        assert type(y.grad_fn).__name__ == f"{node}Backward"
        assert torch.equal(y.nan_to_num(7), z.nan_to_num(7)) and torch.equal(d, e)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_quantisers_are_the_modules_own_to_the_bit(bits):
    quantiser = ActivationQuantiser(bits).train()
    for size in (1.0, 3.0, 2.0):  # the first batch sets the range, others move it; some are clipped
        x, twin = size * numbers((64, 8, 12, 12)).relu(), copy.deepcopy(quantiser)
        y, (d,) = slopes(quantiser, [x], True)
        z, (e,) = slopes(twin, [x], False)
        assert type(y.grad_fn).__name__ == "_QuantiseBackward"
        assert torch.equal(y, z) and torch.equal(d, e) and torch.equal(quantiser.range, twin.range)
    x = numbers((64, 8, 12, 12)).relu()
    short, _ = slopes(quantiser.eval(), [x.bfloat16()], True)
    exact, _ = slopes(quantiser, [x.bfloat16().float()], False)
    assert torch.equal(short, exact.bfloat16())  # quantised in float32, then rounded as the next layer would


def test_threads_and_blocks_change_no_bit():
    x, weight, bias = numbers((150, 24, 14, 14)), torch.rand(24), torch.rand(24)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            y, gradients = slopes(lambda x, w, b: F.max_pool2d(F.relu(F.batch_norm(x, None, None, w, b, True)), 2),
                                  [x, weight, bias], True)  # fmt: skip
            found.append([y, *gradients])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_what_does_not_fit_is_left_to_pytorch():
    x = numbers((64, 8, 12, 12)).requires_grad_()
    with layers.Faster():
        weight, bias = torch.ones(8), torch.zeros(8)
        left = [
            F.batch_norm(x, torch.zeros(8), torch.ones(8), weight, bias, False),
            F.batch_norm(x, None, None, None, None, True),
            F.batch_norm(x.contiguous(), None, None, weight, bias, True),
            F.batch_norm(x.double(), None, None, weight.double(), bias.double(), True),
            F.max_pool2d(x, 3), F.max_pool2d(x, 2, 1), F.max_pool2d(x, 2, padding=1), F.max_pool2d(x.contiguous(), 2),
            F.max_pool2d(x, 2, ceil_mode=True), F.max_pool2d(x, 2, return_indices=True)[0],
            F.relu(x * 1, inplace=True), F.relu(x[:, :3]), F.relu(x[:1, :1, :1]),
        ]  # fmt: skip
        with torch.no_grad():
            assert F.relu(x).grad_fn is None
    assert not any(type(y.grad_fn).__name__.startswith("_") for y in left)


@pytest.mark.parametrize("shape", [(3, 20, 3, 32, 32), (1, 7, 1, 12, 9)])
def test_crops_are_the_same_numbers(shape, monkeypatch):
    x = numbers(shape)
    fast = crop_and_flip(x, range(shape[0]), 5)
    monkeypatch.setattr(layers, "available", lambda: False)
    assert torch.equal(fast, crop_and_flip(x, range(shape[0]), 5)) and not torch.equal(fast, x)


def test_bad_statistics_are_seen():
    x = numbers((64, 8, 12, 12))
    x[3, 2, 1, 1] = float("nan")
    y, _ = slopes(lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [x, torch.ones(8), torch.zeros(8)], True)
    assert y[:, 2].isnan().all() and not y[:, 3].isnan().any()


@pytest.fixture(scope="module")
def few():
    return data.resize(data.load("mnist", limit=64), 32)


def epochs(few, count=1, **more):
    recipe = Recipe("sgd", lr=0.05, batch_size=64, momentum=0.9)
    network = more.pop("network", "vgg8")
    return list(nvlib.train("gaussian", lambda seed: models.build(network, width=0.0625, in_channels=1, seed=seed,
                                                                  activation_bits=6),
                            few, "rram", 0.1, epochs=count, recipe=recipe, validation_chips=1, **more))  # fmt: skip


@pytest.mark.parametrize("network", ["vgg8", "resnet18"])
def test_a_first_update_is_that_of_float64(few, network):
    """Closer than PyTorch's own BatchNorm on channels-last images comes, which sums float32 row by row (1e-2 here)."""
    start = models.build(network, width=0.0625, in_channels=1, seed=0)
    recipe = Recipe("sgd", lr=0.05, batch_size=64, momentum=0.0)
    steps = []
    for dtype in (torch.float32, torch.float64):
        (last,) = nvlib.train("gaussian", copy.deepcopy(start), few, "rram", 0.1, epochs=1, recipe=recipe,
                              validation_chips=1, dtype=dtype)  # fmt: skip
        assert ("compiled" in last.state) == (dtype == torch.float32)
        steps.append(torch.cat([(last.weights()[n] - w.detach()).flatten() for n, w in start.named_parameters()]))
    near(*steps, 1e-3)


def test_a_training_goes_on_as_it_was_begun(few, monkeypatch):
    first, last = epochs(few, 2)
    (again,) = epochs(few, 2, resume=first.state)
    assert all(torch.equal(again.state[name], held) for name, held in last.state.items())
    with monkeypatch.context() as patch:
        patch.setattr(layers, "available", lambda: False)
        with pytest.raises(InputError, match="trained by compiled layers, which are not to be had here"):
            epochs(few, 2, resume=first.state)
        slow_first, slow_last = epochs(few, 2)
    (again,) = epochs(few, 2, resume=slow_first.state)  # without them, though they are to be had
    assert all(torch.equal(again.state[name], held) for name, held in slow_last.state.items())


def test_networks_without_batch_norm_are_not_touched():
    assert not layers.wanted(models.build("lenet")) and layers.wanted(models.build("lenet3"))
    model = nn.Sequential(nn.BatchNorm2d(3)).train()
    assert not isinstance(layers.faster(model), layers.Faster)  # unless a training allows it
    with layers.allowed(True):
        assert isinstance(layers.faster(model), layers.Faster)
        assert not isinstance(layers.faster(model.eval()), layers.Faster)
