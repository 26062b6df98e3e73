"""Generated code against the loop: the same logits, the same bits whatever is computed beside, always a way back."""

import os
import subprocess
import sys
import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nvlib
from nvlib import models, native, population
from nvlib.native import build, run
from nvlib.population import Plan

pytestmark = pytest.mark.filterwarnings("default:no generated code")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Compiled code of this test run, apart from the user's."""
    where = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(where))
    population._said.clear()
    return where / "nvlib"


@pytest.fixture
def compiled():
    try:
        build.compiler()
    except native.Unsupported as reason:
        pytest.skip(str(reason))


def forgotten():
    """As in a new process: nothing compiled is loaded."""
    run._programs.clear()


def both(model, chips, x):
    with torch.inference_mode():
        return native.logits(model, chips, x), nvlib.forward(model, chips, x, how="loop")


def close(model, chips, x, *, rtol=1e-5):
    """float32 sums in another order: some 1e-7 of the largest logit a layer."""
    got, expected = both(model, chips, x)
    scale = float(expected.abs().max())
    torch.testing.assert_close(got, expected, rtol=0, atol=max(rtol * scale, 1e-7))
    return got


def seen(model, x):
    """Let batch normalisation and quantisers see some data, so that their constants mean something."""
    with torch.no_grad():
        model.train()(x)
    return model.eval()


class Net(nn.Module):
    """Any function of modules, as a module; its parameters are a chip's."""

    bits = 8

    def __init__(self, run, **parts):
        super().__init__()
        self.run, self.parts = run, nn.ModuleDict(parts)

    def forward(self, x):
        return self.run(x, **self.parts)


def chips_of(model, count=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return {k: v.detach() + 0.1 * torch.randn(count, *v.shape, generator=g) for k, v in model.named_parameters()}


# -- the same logits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "width", "activation_bits"), [
    ("lenet", 1.0, 0), ("lenet5", 1.0, 0), ("lenet3", 1.0, 0), ("vgg8", 0.1, 0), ("vgg8_tsb", 0.07, 0),
    ("resnet18", 0.1, 0),
])  # fmt: skip
def test_networks_agree_with_the_loop(compiled, name, width, activation_bits):
    torch.manual_seed(0)
    model = models.build(name, width=width, activation_bits=activation_bits, seed=0)
    size = model.input_size or 32
    x = torch.rand(37, model.in_channels, size, size)
    close(seen(model, x), nvlib.program(model, "rram", 0.1, index=range(2)), x)


@pytest.mark.parametrize(("name", "width"), [("lenet", 1.0), ("vgg8", 0.1)])
def test_activation_quantisation_agrees_but_for_near_ties(compiled, name, width):
    """A sum that ends half-way between two levels may round to either: one activation then differs by one level."""
    torch.manual_seed(0)
    model = models.build(name, width=width, activation_bits=4, seed=0)
    x = torch.rand(50, model.in_channels, model.input_size, model.input_size)
    got, expected = both(seen(model, x), nvlib.program(model, "rram", 0.1, index=range(2)), x)
    off = (got - expected).abs().amax(-1) / expected.abs().max()
    assert off.median() < 1e-5 and off.max() < 0.1


def features(*, channels=3, size=9, **options):
    """A convolution with these options, then one linear layer."""
    conv = nn.Conv2d(channels, 6, **options)
    flat = conv(torch.zeros(1, channels, size, size)).numel()
    return Net(lambda x, conv, fc: fc(conv(x).flatten(1)), conv=conv, fc=nn.Linear(flat, 5))


CONVOLUTIONS = {
    "stride": {"kernel_size": 3, "stride": 2},
    "dilation, padding": {"kernel_size": 3, "dilation": 2, "padding": 2, "bias": False},
    "groups": {"kernel_size": 3, "groups": 3, "padding": 1},
    "rectangles": {"kernel_size": (3, 2), "stride": (1, 2), "padding": (0, 1)},
    "even kernel, same size": {"kernel_size": 4, "padding": "same"},
    "1x1 with padding": {"kernel_size": 1, "padding": 1, "channels": 5, "size": 7},
    "wide kernel": {"kernel_size": 7, "padding": 3, "channels": 1},
}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions(compiled, options):
    torch.manual_seed(0)
    channels = {"groups": 6}.get(next((k for k in options if k == "groups"), ""), options.get("channels", 3))
    model = features(**{**options, "channels": channels}).eval()
    close(model, chips_of(model), torch.randn(21, channels, options.get("size", 9), options.get("size", 9)))


POOLS = {
    "max 3/2 padded": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max 2, odd size": lambda x: F.max_pool2d(x, 2),
    "max 2, rounded up": lambda x: F.max_pool2d(x, 2, ceil_mode=True),
    "max 1x3": lambda x: F.max_pool2d(x, (1, 3)),
    "mean 2": lambda x: F.avg_pool2d(x, 2),
    "mean padded": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "adaptive mean": lambda x: F.adaptive_avg_pool2d(x, 3),
    "global": lambda x: x.mean((2, 3), keepdim=True) + x.amax((-1, -2), keepdim=True),
}


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "fused"])
def test_pooling(compiled, alone):
    """All in one network, a branch each: by itself, or behind a convolution that may take it in."""
    torch.manual_seed(0)

    def forward(x, conv, norm, **heads):
        branches = zip(POOLS.values(), heads.values(), strict=True)
        return sum(head(torch.relu(pool(x if alone else norm(conv(x)))).flatten(1)) for pool, head in branches)

    heads = {f"head{i}": nn.Linear(pool(torch.zeros(1, 2, 9, 9)).numel(), 4) for i, pool in enumerate(POOLS.values())}
    model = Net(forward, conv=nn.Conv2d(2, 2, 3, padding=1), norm=nn.BatchNorm2d(2), **heads)
    x = torch.randn(18, 2, 9, 9)
    close(seen(model, x), chips_of(model), x)


ACTIVATIONS = {
    "relu": F.relu, "relu6": F.relu6, "leaky": F.leaky_relu, "elu": F.elu, "selu": F.selu, "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu, "mish": F.mish, "softplus": F.softplus,
    "hardswish": F.hardswish, "hardsigmoid": F.hardsigmoid, "hardtanh": F.hardtanh, "tanh": torch.tanh,
    "sigmoid": torch.sigmoid, "clamp": lambda x: x.clamp(-0.5, 0.3), "abs": torch.abs, "exp": torch.exp,
    "where": lambda x: torch.where(x > 0.1, x, -x), "mask": lambda x: x * (x > 0), "rsub": lambda x: 1 - x,
    "round": lambda x: torch.round(4 * x).floor() / 4, "alpha": lambda x: torch.add(x, x * x, alpha=0.3),
}  # fmt: skip


def test_activations_one_by_one(compiled):
    """All in one network, side by side, each beside its own linear read-out: a compilation instead of twenty."""
    torch.manual_seed(0)
    x = torch.randn(33, 3, 4, 4)
    for group in (list(ACTIVATIONS)[:12], list(ACTIVATIONS)[12:]):
        acts = [ACTIVATIONS[name] for name in group]
        model = Net(
            lambda x, conv, fc, acts=acts: fc(sum((i + 1) * act(conv(x)) for i, act in enumerate(acts)).flatten(1)),
            conv=nn.Conv2d(3, 5, 1), fc=nn.Linear(80, 12),
        ).eval()  # fmt: skip
        close(model, chips_of(model), x)


def test_residuals_gates_flat_norms_and_work_in_place(compiled):
    torch.manual_seed(0)

    def forward(x, conv, gate, norm, fc):
        y = conv(x)
        y += x
        F.relu_(y)
        z = y * torch.sigmoid(gate(F.adaptive_avg_pool2d(y, 1)))  # squeeze and excitation
        return fc(norm((z + y.clone().mul_(0.5)).flatten(1))) * fc.weight.abs().mean() + 0.1

    conv, gate = nn.Conv2d(5, 5, 3, padding=1), nn.Conv2d(5, 5, 1)
    model = Net(forward, conv=conv, gate=gate, norm=nn.BatchNorm1d(180), fc=nn.Linear(180, 3))
    x = torch.randn(40, 5, 6, 6)
    before = x.clone()
    close(seen(model, x), chips_of(model), x)
    assert torch.equal(x, before)


def test_features_instead_of_images(compiled):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(13, 9), nn.BatchNorm1d(9), nn.SiLU(), nn.Dropout(0.5), nn.Linear(9, 3))
    x = torch.randn(50, 13)
    close(seen(model, x), chips_of(model), x)


@pytest.mark.parametrize("images", [1, 15, 16, 17, 64, 130])
def test_any_number_of_images(compiled, images):
    model = models.build("lenet3", seed=0).eval()
    chips, x = nvlib.program(model, "rram", 0.1, index=range(2)), torch.rand(images, 1, 28, 28)
    assert close(model, chips, x).shape == (2, images, 10)


@pytest.mark.parametrize("name", ["avx2", "plain"])
def test_narrower_machines(compiled, monkeypatch, name):
    """What an older processor gets: 8 lanes and 16 registers, or 4 lanes without fused multiply-add."""
    if name == "avx2" and build.machine().name not in ("avx512", "avx2"):
        pytest.skip("this processor has no AVX2")
    torch.manual_seed(0)
    monkeypatch.setattr(run, "machine", lambda: build.MACHINES[name])
    model, x = models.build("lenet", activation_bits=0, seed=0), torch.rand(21, 1, 28, 28)
    close(seen(model, x), nvlib.program(model, "rram", 0.1, index=range(3)), x)


def test_overflow_is_seen(compiled):
    model = models.build("lenet5", activation_bits=0, seed=0).eval()
    chips, x = nvlib.program(model, "rram", 0.1, index=range(2)), torch.rand(8, 1, 28, 28)
    chips["conv1.weight"][1] = torch.inf
    got, expected = both(model, chips, x)
    assert torch.equal(got.isnan(), expected.isnan()) and got[1].isnan().any() and not got[0].isnan().any()


# -- the same bits ---------------------------------------------------------------------------------------------------


def test_a_chip_is_bit_equal_alone_among_others_and_for_any_threads(compiled):
    model, x = seen(models.build("lenet", seed=0), torch.rand(16, 1, 28, 28)), torch.rand(210, 1, 28, 28)
    chips, before = nvlib.program(model, "rram", 0.2, index=range(5)), torch.get_num_threads()
    try:
        outs = []
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            outs.append(both(model, chips, x)[0])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(outs[0], other) for other in outs[1:])
    for i in range(5):
        alone = nvlib.program(model, "rram", 0.2, index=range(i, i + 1))
        assert torch.equal(both(model, alone, x)[0][0], outs[0][i])
    cut = torch.cat([both(model, chips, part)[0] for part in x.split(50)], 1)
    assert torch.equal(cut, outs[0])


def test_monte_carlo_under_a_native_plan(compiled, mnist):
    model = seen(models.build("lenet5", activation_bits=0, seed=0), mnist.test.x[:64])
    plan = population.plan(model, mnist.test.x, 6, how="native")
    assert plan.how == "native" and plan.images == 1000
    assert Plan(**asdict(plan)) == plan and plan.precision == "float32"
    options = {"chips": 6, "seed": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = nvlib.monte_carlo(model, mnist, "rram", 0.2, plan=plan, **options)
    again = nvlib.monte_carlo(model, mnist, "rram", 0.2, plan=replace(plan, members=4), **options)
    loop = nvlib.monte_carlo(model, mnist, "rram", 0.2, **options)
    assert loop.plan.how == "loop"  # a small job: nothing is compiled for it
    assert np.array_equal(whole.accuracy, again.accuracy) and np.array_equal(whole.loss, again.loss)
    np.testing.assert_allclose(whole.accuracy, loop.accuracy, atol=0.1)  # one near-tie in 1000 images may flip
    np.testing.assert_allclose(whole.loss, loop.loss, rtol=1e-5)


# -- one program for a structure, weights as they are now ------------------------------------------------------------


def test_models_of_one_structure_share_a_program_and_weights_are_never_stale(compiled, monkeypatch):
    one, two, x = models.build("lenet3", seed=0), models.build("lenet3", seed=1), torch.rand(20, 1, 28, 28)
    chips = nvlib.program(seen(one, x), "rram", 0.1, index=range(2))
    close(one, chips, x)
    made = []
    monkeypatch.setattr(run, "generate", lambda *a: made.append(a))
    first = close(seen(two, x), nvlib.program(two, "rram", 0.1, index=range(2)), x)
    with torch.no_grad():
        two.fc1.bias.add_(torch.arange(10.0))
        two.norm1.running_mean.add_(0.1)
    second = close(two, nvlib.program(two, "rram", 0.1, index=range(2)), x)
    assert not torch.equal(first, second) and not made
    one.fc1 = nn.Linear(490, 11).eval()  # another structure: this one has to be generated
    with pytest.raises(native.Unsupported, match="NoneType"):
        both(one, nvlib.program(one, "rram", 0.1, index=range(1)), x)
    assert len(made) == 1


def test_settings_are_part_of_the_structure(compiled):
    class Scaled(nn.Module):
        bits = 4

        def __init__(self, factor):
            super().__init__()
            self.factor, self.fc = factor, nn.Linear(4, 3)

        def forward(self, x):
            return self.factor * self.fc(x)

    model, x = Scaled(2.0).eval(), torch.randn(5, 4)
    chips = chips_of(model, 2)
    first = close(model, chips, x)
    model.factor = 3.0
    torch.testing.assert_close(close(model, chips, x), first * 1.5)


def test_tied_weights(compiled):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)).eval()
    model[2].weight = model[0].weight
    close(model, chips_of(model), torch.randn(9, 6))


# -- the way back ----------------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    bits = 8

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(28, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.lstm(x[:, 0])[0][:, -1])


class Noisy(nn.Sequential):
    def forward(self, x):
        return super().forward(x + torch.randn_like(x))


class Branching(nn.Sequential):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


class Shifted(nn.Sequential):
    shift = torch.ones(1)

    def __init__(self, *parts):
        super().__init__(*parts)
        self.kept = torch.ones(1)

    def forward(self, x):
        return super().forward(x) + self.kept


REFUSED = {
    "recurrent": (Recurrent, "lstm is recurrent"),
    "random": (lambda: Noisy(nn.Flatten(), nn.Linear(784, 3)), "randn_like"),
    "branching": (lambda: Branching(nn.Flatten(), nn.Linear(784, 3)), "torch.export"),
    "loose tensor": (lambda: Shifted(nn.Flatten(), nn.Linear(784, 3)), "neither parameter nor buffer"),
    "dropout that stays": (lambda: Net(lambda x, fc: fc(F.dropout(x.flatten(1))), fc=nn.Linear(784, 3)), "dropout"),
    "softmax": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 3), nn.Softmax(1)), "softmax"),
    "batch statistics": (lambda: nn.Sequential(nn.Conv2d(1, 2, 27), nn.BatchNorm2d(2, track_running_stats=False),
                                               nn.Flatten()), "batch"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused_modules_run_in_a_loop_with_one_warning(compiled, case):
    torch.manual_seed(0)
    make, reason = REFUSED[case]
    model, x = make().eval(), torch.rand(6, 1, 28, 28)
    chips = chips_of(model, 2)
    with torch.inference_mode(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            got = nvlib.forward(model, chips, x, how="native")
        expected = nvlib.forward(model, chips, x, how="loop")
    said = [str(w.message) for w in said if "no generated code" in str(w.message)]
    assert len(said) == 1 and reason in said[0] and "\n" not in said[0]
    assert got.shape == expected.shape
    if case not in ("random", "dropout that stays"):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(("spoil", "reason"), [
    (lambda m, c, x: (m.double(), {k: v.double() for k, v in c.items()}, x.double()), "float32"),
    (lambda m, c, x: (m.train(), c, x), "training mode"),
    (lambda m, c, x: (m, {k: v.requires_grad_() for k, v in c.items()}, x), "derivatives"),
])  # fmt: skip
def test_what_is_never_native(spoil, reason):
    model = models.build("lenet3", seed=0).eval()
    model, chips, x = spoil(model, nvlib.program(model, "rram", 0.1, index=range(2)), torch.rand(4, 1, 28, 28))
    if reason == "training mode":
        chips |= {k: v.expand(2, *v.shape).clone() for k, v in model.named_buffers()}
    with pytest.raises(native.Unsupported, match=reason):
        native.logits(model, chips, x)
    said = "not among the stacked weights" if reason == "training mode" else reason  # `native.training` was asked
    with pytest.warns(UserWarning, match=said):
        got = nvlib.forward(model, chips, x, how="native")
    assert got.dtype == x.dtype and (reason != "derivatives" or got.requires_grad)


def test_without_a_compiler_there_is_one_warning_and_a_loop(monkeypatch, tmp_path, mnist):
    forgotten()
    monkeypatch.setenv("PATH", str(tmp_path))
    model = models.build("lenet3", seed=0).eval()
    plan = Plan(members=2, images=1000, how="native", threads=1, device="cpu")
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler") as said:
        got = nvlib.monte_carlo(model, mnist, "rram", 0.1, chips=4, plan=plan)
    assert len([w for w in said if "compiler" in str(w.message)]) == 1
    loop = nvlib.monte_carlo(model, mnist, "rram", 0.1, chips=4)
    np.testing.assert_allclose(got.loss, loop.loss, rtol=1e-5)
    forgotten()


def test_the_automatic_choice(compiled, monkeypatch, mnist):
    """Small work loops; large work is generated where that measures faster, and loops where it does not."""
    model, x = models.build("lenet", seed=0).train(), mnist.test.x
    assert population.plan(model, x, 10).how == "loop"
    monkeypatch.setattr(population, "WORTH", 0.0)
    measured = iter([2.0, 1.0])
    monkeypatch.setattr(population, "seconds", lambda run: run() is None or next(measured))
    assert population.plan(model, x, 1000).how == "native"
    assert model.training and model.quant1.training
    measured = iter([1.0, 1e9])
    monkeypatch.setattr(population, "seconds", lambda run: next(measured))
    assert population.plan(model, x, 1000).how == "loop"
    assert population.plan(model.double(), x.double(), 10).how == "loop"


# -- compiled code on disk -------------------------------------------------------------------------------------------

TINY = "extern \"C\" long run_chip(void*, void*, void*, void*, long, long) { return 7; }\n"


def libraries(cache):
    return sorted(cache.glob("*/kernel.so"))


def test_a_damaged_entry_is_made_again(compiled, cache, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plain = build.MACHINES["plain"]
    build.load(TINY, plain)
    (library,) = (tmp_path / "nvlib").glob("*/kernel.so")
    good = library.read_bytes()
    for damage in (b"", b"not a library", good[:-100]):
        library.unlink()  # a new file: this process has the old one mapped
        library.write_bytes(damage)
        build.load(TINY, plain)
        assert build._whole(library.parent) and library.stat().st_size == len(good)
    assert [p.name for p in (tmp_path / "nvlib").iterdir()] == [library.parent.name]  # nothing is left lying about
    assert (tmp_path / "nvlib").stat().st_mode & 0o777 == 0o700


def test_a_cache_of_someone_else_is_not_used(compiled, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "nvlib").mkdir(mode=0o700)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: os.stat(tmp_path).st_uid + 1)
        with pytest.raises(native.Unsupported, match="not a directory of this user"):
            build.cache()
    (tmp_path / "nvlib").chmod(0o777)
    with pytest.raises(native.Unsupported, match="written by others"):
        build.load(TINY, build.MACHINES["plain"])
    (tmp_path / "nvlib").rmdir()
    (tmp_path / "nvlib").symlink_to(tmp_path)
    with pytest.raises(native.Unsupported, match="not a directory"):
        build.cache()


def test_two_processes_at_once(compiled, tmp_path):
    code = (
        "import sys, torch\n"
        "from nvlib.native import build\n"
        "print('ready', flush=True), input()\n"
        f"function = build.load({TINY!r}, build.MACHINES['plain'])\n"
        "function.restype = __import__('ctypes').c_long\n"
        "sys.exit(function(0, 0, 0, 0, 0, 0) != 7)\n"
    )
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", code], env=env, **pipes) for _ in range(2)]
    assert [p.stdout.readline() for p in both] == ["ready\n"] * 2
    for p in both:
        p.stdin.write("go\n")
        p.stdin.flush()
    for p in both:
        p.communicate(timeout=120)
    assert [p.returncode for p in both] == [0, 0]
    assert len(list((tmp_path / "nvlib").iterdir())) == 1


def test_a_compiler_that_fails_is_a_reason(compiled, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(native.Unsupported, match="refused"):
        build.load("this is not C++", build.MACHINES["plain"])
    assert not list((tmp_path / "nvlib").iterdir())


def test_torchvision_network_or_a_word(compiled):
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v3_small(num_classes=4, width_mult=0.25, reduced_tail=True)
    x = torch.rand(5, 3, 32, 32)
    close(seen(model, x), {"classifier.3.weight": chips_of(model)["classifier.3.weight"]}, x, rtol=1e-4)
