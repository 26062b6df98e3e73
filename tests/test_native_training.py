"""Generated code of training steps: gradients against float64, members alone, threads, resumption, refusals."""

import dataclasses
import math
import warnings

import pytest
import torch
from torch import nn

import nvlib
from nvlib import native, noise, philox, population
from nvlib.crossbar import Crossbar, lookup, read_back
from nvlib.methods.recipe import update
from nvlib.native.entropy import cross_entropy
from nvlib.native.perturb import Draw, perturb

pytestmark = pytest.mark.skipif("g++" not in native.description() and "clang" not in native.description(),
                                reason="there is no C++ compiler; .ci/run installs one")  # fmt: skip


class Residual(nn.Module):
    """Strides, groups, dilation, a residual sum, BatchNorm with and without a scale, mean pooling."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.a = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.b = nn.Conv2d(12, 12, 3, padding=2, dilation=2, groups=3)
        self.plain = nn.BatchNorm2d(12, affine=False)
        self.short = nn.Conv2d(8, 12, 1, stride=2)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        y = self.plain(self.b(nn.functional.silu(self.a(x)))) + self.short(x)
        return self.head(nn.functional.leaky_relu(y, 0.1).mean((2, 3)))


class Pools(nn.Module):
    """Pooling of every kind, fused and alone, overlapping and padded; element-wise functions; uneven channels."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(1, 7, (3, 5), padding=(1, 2))
        self.b = nn.Conv2d(7, 9, 3)
        self.c = nn.Linear(9 * 9, 21)
        self.d = nn.Linear(21, 3, bias=False)

    def forward(self, x):
        x = torch.tanh(nn.functional.max_pool2d(self.a(x), 2))
        x = nn.functional.max_pool2d(nn.functional.gelu(self.b(x)), 3, stride=2, padding=1)
        x = nn.functional.adaptive_avg_pool2d(x, 3)
        x = nn.functional.softplus(self.c(x.flatten(1)))
        return self.d(torch.sigmoid(x) * x - nn.functional.elu(x - 1))


class Normed(nn.Module):
    """BatchNorm before a pooling: scales of both signs and zero, with and without a ReLU, another pooling between."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 5, 3, padding=1), nn.Conv2d(5, 6, 3, bias=False)
        self.first, self.second = nn.BatchNorm2d(5), nn.BatchNorm2d(6)
        self.head = nn.Linear(6 * 9, 4)
        for norm in (self.first, self.second):
            norm.weight.data = torch.linspace(-1, 1, norm.num_features)
            norm.bias.data = torch.linspace(0.5, -0.5, norm.num_features)

    def forward(self, x):
        x = torch.relu(nn.functional.max_pool2d(self.first(self.a(x) + 3), 2))
        return self.head(nn.functional.max_pool2d(self.second(self.b(x)), 2).flatten(1))


NETWORKS = {
    "normed": (Normed, (1, 16, 16), 19),
    "residual": (Residual, (3, 12, 12), 37),
    "pools": (Pools, (1, 16, 16), 20),
    "lenet": (lambda: nvlib.build("lenet", width=0.5, activation_bits=0), (1, 28, 28), 32),
    "lenet3": (lambda: nvlib.build("lenet3"), (1, 28, 28), 16),
    "features": (lambda: nn.Sequential(nn.Linear(19, 33), nn.BatchNorm1d(33), nn.ReLU(), nn.Linear(33, 4)), (19,), 50),
}


def population_of(make, count=2, dtype=torch.float32):
    models = []
    for seed in range(count):
        torch.manual_seed(seed)
        models.append(make().to(dtype).train())
    weights = population.stack(models)
    for name, _ in models[0].named_parameters():
        weights[name].requires_grad_()
    return models[0], weights


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_those_of_float64(name):
    make, shape, batch = NETWORKS[name]
    torch.manual_seed(9)
    x, g = torch.randn(2, batch, *shape), None
    found = {}
    for dtype in (torch.float32, torch.float64):
        model, weights = population_of(make, dtype=dtype)
        images = x.to(dtype).clone().requires_grad_()
        if dtype == torch.float32:
            out = native.training.logits(model, weights, images)
            g = torch.randn(out.shape) / batch
        else:
            out = population.forward(model, weights, images, per_member=True, how="loop")
        out.backward(g.to(dtype))
        slopes = {n: weights[n].grad for n, _ in model.named_parameters()}
        slopes |= {"images": images.grad, "values": out.detach()}
        found[dtype] = slopes, {n: weights[n] for n, _ in model.named_buffers()}
    (mine, held), (exact, buffers) = found[torch.float32], found[torch.float64]
    largest = max(float(s.norm()) for n, s in exact.items() if n not in ("images", "values"))
    for key, slope in exact.items():  # float32 sums of some thousand terms; a vanishing gradient against the largest
        scale = float(slope.norm()) if key in ("images", "values") else max(float(slope.norm()), 0.1 * largest)
        assert float((mine[key] - slope).norm()) <= 2e-5 * scale, key
    for key, buffer in buffers.items():
        torch.testing.assert_close(held[key].double(), buffer.double(), rtol=1e-5, atol=1e-6, msg=key)


def test_a_quantiser_moves_its_range_and_cuts_gradients():
    """Against the module itself: 4-bit activations; all but roundings of near-ties agree."""
    x = torch.rand(1, 64, 1, 28, 28)
    found = {}
    for how in ("native", "loop"):
        model, weights = population_of(lambda: nvlib.build("lenet", seed=3), 1)
        for _ in range(3):
            out = population.forward(model, weights, x, per_member=True, how=how)
        out.square().mean().backward()
        found[how] = weights
    for name, tensor in found["loop"].items():
        if tensor.grad is not None:
            assert float((found["native"][name].grad - tensor.grad).norm()) <= 2e-3 * float(tensor.grad.norm()), name
        else:
            torch.testing.assert_close(found["native"][name], tensor, rtol=1e-5, atol=0)


def test_members_alone_and_any_number_of_threads_to_the_bit():
    make, shape, batch = NETWORKS["lenet3"]
    x = torch.rand(3, batch, *shape)

    def slopes(rows, threads):
        model, weights = population_of(make, 3)
        own = {n: w.detach()[rows].clone().requires_grad_(w.requires_grad) for n, w in weights.items()}
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            native.training.logits(model, own, x[rows]).square().mean((1, 2)).sum().backward()
        finally:
            torch.set_num_threads(before)
        return {n: own[n].grad for n, _ in model.named_parameters()} | {n: own[n] for n, _ in model.named_buffers()}

    together = slopes([0, 1, 2], 1)
    for name, tensor in slopes([0, 1, 2], 2).items():
        assert torch.equal(tensor, together[name]), name
    for name, tensor in slopes([1], 1).items():
        assert torch.equal(tensor[0], together[name][1]), name


def test_a_second_derivative_and_a_second_backward_are_refused():
    make, shape, batch = NETWORKS["features"]
    model, weights = population_of(make)
    loss = native.training.logits(model, weights, torch.rand(2, batch, *shape)).square().mean()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated twice"):
        loss.backward()


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.Linear(6, 2)), "dropout|torch.export"),
        (Tied, "serves two layers"),
        (lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6).eval()), "evaluation mode"),
        (lambda: nn.Sequential(nn.Linear(6, 6), nn.Softmax(1)), "softmax"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_with_the_reason(make, reason):
    torch.manual_seed(0)
    model = make()
    for part in model.children():
        part.train(part.training)
    weights = population.stack([model])
    with pytest.raises(native.Unsupported, match=reason):
        native.training.logits(model, weights, torch.rand(1, 8, 6))


@pytest.mark.parametrize("device", ["rram", "fefet1", "pcm"])
@pytest.mark.parametrize("law", [noise.Gaussian(), noise.get("rc", 1.0), noise.get("lc", 1.0), noise.get("rt", 0.5),
                                 noise.get("lt", 0.5), None])  # fmt: skip
@pytest.mark.parametrize("space", ["weight", "conductance"])
def test_compiled_noise_is_that_of_the_laws(device, law, space):
    """Within 2e-6 (1 + |z|) of the float64 quantile, times the largest deviation of a weight."""
    w = torch.randn(2, 5, 61, generator=torch.Generator().manual_seed(0))
    w[0, 0, 0] = -0.0
    device, seeds, sigma = nvlib.devices.get(device), [3, 2**40], torch.tensor([0.1, 0.4])
    value, deviation = lookup(Crossbar(device, bits=4), w.dtype, w.device)
    draw = law and Draw(seeds, 7, "train/noise/w", law.transform, space == "conductance")
    mine = perturb(w, 4, value, deviation, sigma.tolist(), draw)
    z = None
    if law is not None:
        z = law.quantile(philox.uniform(seeds, 7, "train/noise/w", w[0].numel())).view_as(w)
        z = torch.where(w < 0, -z, z) if space == "conductance" else z
    exact = read_back(w.double(), Crossbar(device, bits=4), z, sigma.double())
    s = w.abs().flatten(1).amax(1)[:, None, None] / 15
    bound = s * 15 * 1e-6
    if z is not None:
        bound = bound + s * sigma[:, None, None] * float(deviation.max()) * 2e-6 * (1 + z.abs())
    assert ((mine - exact).abs() <= bound).all()


def test_the_quantile_far_into_the_tails():
    draw = Draw([1], 0, "q", noise.Gaussian().transform)
    z = perturb(torch.ones(1, 1 << 20), 1, None, torch.tensor(1.0), [1.0], draw) - 1
    exact = torch.special.ndtri(philox.uniform(1, 0, "q", 1 << 20))
    assert float(exact.abs().max()) > 4.5
    assert ((z - exact).abs() <= 2e-6 * (1 + exact.abs())).all()


@pytest.fixture(scope="module")
def few():
    return nvlib.load("mnist", limit=640)


METHODS = ["none", "gaussian", "correctnet", "rc", "ovf", "irs", "trice"]


@pytest.mark.parametrize("method", METHODS)
def test_a_first_update_is_the_loops(method, few):
    """To 1e-4 where nothing is tied (some 1e-6, but for a ReLU that a rounding turns).

    Quantised inputs of quantised weights tie the pixels of a pooling window, and roundings say which of them gets the
    gradient: so images have a little noise, and activations are as they are.
    """
    noise_ = 1e-2 * torch.randn(few.train.x.shape, generator=torch.Generator().manual_seed(0))
    data = dataclasses.replace(few, train=dataclasses.replace(few.train, x=few.train.x + noise_))
    options = {"epochs": 1, "recipe": nvlib.methods.Recipe("sgd", lr=1e3, momentum=0.0, batch_size=512), "seed": 5}
    make = lambda seed: nvlib.build("lenet", seed=seed, activation_bits=0)  # noqa: E731
    before, found = make(5).state_dict(), {}
    for how in ("native", "loop"):
        *_, last = nvlib.train(method, make, data, "rram", 0.1, bits=4, how=how, validation_chips=0, **options)
        assert last.way == how
        found[how] = last.weights()
    for name, start in before.items():
        mine, other = found["native"][name] - start, found["loop"][name] - start
        assert float((mine - other).norm()) <= 1e-4 * float(other.norm()), name


def test_going_on_is_bit_equal_and_another_way_is_refused(few):
    options = {"seed": [0, 1], "validation_chips": 1}
    whole = list(nvlib.train("gaussian", "lenet", few, "rram", 0.1, epochs=3, how="native", **options))
    half = next(iter(nvlib.train("gaussian", "lenet", few, "rram", 0.1, epochs=3, how="native", **options)))
    *_, again = nvlib.train("gaussian", "lenet", few, "rram", 0.1, epochs=3, resume=half.state, **options)
    assert again.way == "native"
    for name, tensor in whole[-1].weights(1).items():
        assert torch.equal(tensor, again.weights(1)[name]), name
    with pytest.raises(nvlib.InputError, match="begun by 'native'"):
        nvlib.train("gaussian", "lenet", few, "rram", 0.1, epochs=3, resume=half.state, how="loop", **options)


def test_without_a_compiler_the_loop_trains_and_what_generated_code_began_is_refused(few, monkeypatch):
    begun = next(iter(nvlib.train("gaussian", "lenet", few, "rram", 0.1, epochs=2, how="native", validation_chips=0)))
    monkeypatch.setattr("nvlib.native.build.COMPILERS", ())
    native.training.run._programs.clear()
    monkeypatch.setattr("nvlib.population._said", set())
    with pytest.raises(nvlib.InputError, match="begun by generated code"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nvlib.train("gaussian", "lenet", few, "rram", 0.1, epochs=2, resume=begun.state)
    monkeypatch.setattr("nvlib.population._said", set())
    with pytest.warns(UserWarning, match="no generated code for LeNet .*no C.. compiler"):
        *_, last = nvlib.train("gaussian", "lenet", few, "rram", 0.1, epochs=1, how="native", validation_chips=0)
    assert last.way == "loop" and math.isfinite(last.loss[0])


def test_a_short_training_is_not_worth_compiling(few):
    *_, last = nvlib.train("gaussian", "lenet", few, "rram", 0.1, epochs=1, validation_chips=0)
    assert last.way == "loop"


def test_the_compiled_loss_is_that_of_float64():
    outs, y = 5 * torch.randn(2, 33, 7), torch.randint(0, 7, (2, 33))
    loss, slope = cross_entropy(outs, y)
    exact = outs.double().requires_grad_()
    mean = torch.stack([nn.functional.cross_entropy(o, labels) for o, labels in zip(exact, y, strict=True)])
    mean.sum().backward()
    torch.testing.assert_close(loss.double(), mean.detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(slope.double(), exact.grad, rtol=1e-5, atol=1e-8)
    outs[0, 3, 2] = math.nan
    assert cross_entropy(outs, y)[0].isnan().tolist() == [True, False]
    y[1, 4] = 7
    with pytest.raises(IndexError, match="to 7 do not fit 7 classes"):
        cross_entropy(outs, y)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_an_update_is_the_optimisers_own(decay):
    found = []
    for take in (torch.optim.Adam.step, update):
        generator = torch.Generator().manual_seed(0)
        parameters = [torch.randn(2, 5, 13, generator=generator).requires_grad_() for _ in range(2)]
        optimiser = nvlib.methods.Recipe(weight_decay=decay).build(parameters)
        for _ in range(3):
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            take(optimiser)
        found.append((parameters, optimiser.state_dict()["state"]))
    (expected, states), (mine, own) = found
    assert all(map(torch.equal, expected, mine)) and all(parameter.grad is None for parameter in mine)
    assert all(torch.equal(states[i][key], own[i][key]) for i in states for key in states[i])
