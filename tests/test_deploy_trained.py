"""What is trained on a chip's frozen noise: TSB's block, the last layers, and what they cost."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import nvlib
from nvlib import InputError, data, deploy, models
from nvlib.data import Split
from nvlib.deploy import cost, feature_cache
from nvlib.deploy.batchnorm_recalibration import retaken
from nvlib.deploy.block import Attached, attached, foldable, folded, groups, transform
from nvlib.deploy.context import prepare

SHORT = {"epochs": 2, "images": 96, "batch_size": 32, "redraws": 2}
PARAMETERS = {
    "write_verify": {}, "swim": {"images": 32}, "normalise": {"images": 64}, "compensate": {}, "last_layer": SHORT,
    "last_layers": SHORT, "tsb": SHORT,
}  # fmt: skip


@pytest.fixture(scope="module")
def few():
    return data.load("mnist", limit=200)


@pytest.fixture(scope="module")
def lenet3():
    """A LeNet-3 whose normalisation is not the identity."""
    model = models.build("lenet3", seed=1)
    with torch.no_grad():
        for norm in (model.norm1, model.norm2):
            norm.running_mean.uniform_(-0.2, 0.2), norm.running_var.uniform_(0.3, 1.5)
            norm.weight.uniform_(0.5, 1.5), norm.bias.uniform_(-0.2, 0.2)
    return model.eval()


def double(model):
    return copy.deepcopy(model).double()


def site_of(model, data, **options):
    return prepare(model, data, "rram", 0.2, **options)


# -- the block -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize(("channels", "width"), [(5, 5), (10, 5), (7, 3), (4, 9)])
def test_block_is_a_loop_over_padded_groups(channels, width, depth):
    torch.manual_seed(0)
    x = torch.randn(2, channels, 4, 3, dtype=torch.float64)
    layers = [torch.randn(width, width, dtype=torch.float64) for _ in range(depth)]
    count = -(-channels // width)
    assert groups(channels, width) == count  # Eq. 3
    wanted = torch.zeros(2, count * width, 4, 3, dtype=torch.float64)
    for group in range(count):
        here = torch.zeros(2, width, 4, 3, dtype=torch.float64)
        for i in range(width):
            if group * width + i < channels:
                here[:, i] = x[:, group * width + i]
        for w in layers:  # Eq. 4
            after = torch.zeros_like(here)
            for out in range(width):
                for into in range(width):
                    after[:, out] += w[out, into] * here[:, into]
            here = after
        wanted[:, group * width : (group + 1) * width] = here
    torch.testing.assert_close(transform(x, layers), wanted[:, :channels], rtol=1e-12, atol=1e-12)
    flat = transform(x[:, :, 0, 0], layers)
    torch.testing.assert_close(flat, wanted[:, :channels, 0, 0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("network", "options"), [("lenet3", {}), ("vgg8_tsb", {"width": 0.05}), ("resnet18", {"width": 0.06})]
)
def test_identity_leaves_the_network_bit_equal(network, options, dtype):
    model = models.build(network, seed=0, **options).to(dtype).eval()
    method = deploy.get("tsb", layers=2)
    size = model.input_size or 16
    x = torch.rand(3, model.in_channels, size, size, dtype=dtype)
    block = method.initial(model, 0, range(1))
    places = method.standing(model)
    with torch.no_grad():
        wanted = model(x)
        around = Attached(model, places, [w[0] for w in block])
        assert torch.equal(around(x), wanted)
        # also as it lies on cells, quantised
        held = nvlib.crossbar.read_back(block[0], nvlib.Crossbar("rram", 0.0, 8), None)
        assert torch.equal(held, block[0])
        if foldable(model, places):
            weights = method.placed(model, {k: w[None] for k, w in model.named_parameters()}, block)
            assert torch.equal(nvlib.forward(model, weights, x, how="loop")[0],
                               nvlib.forward(model, nvlib.stack([model]), x, how="loop")[0])  # fmt: skip
        else:
            assert network == "resnet18"
    assert not any(m._forward_hooks for m in model.modules())
    assert list(model.state_dict()) == list(models.build(network, **options).state_dict())


@pytest.mark.parametrize(
    ("network", "share", "width"), [("lenet3", 0.46, 5), ("vgg8_tsb", 0.13, 128), ("resnet18", 0.15, 128)]
)
def test_share_of_the_backbones_weights(network, share, width):
    with torch.device("meta"):
        model = models.MODELS[network]()
    method = deploy.get("tsb")
    assert method.width(model) == width and round(method.share(model), 2) == share
    assert method.training(model).recipe.lr == {"lenet3": 1e-3, "vgg8_tsb": 1e-4, "resnet18": 1e-3}[network]


def test_a_folded_block_is_the_block(lenet3):
    model = double(lenet3)
    torch.manual_seed(0)
    block = [torch.randn(2, 4, 4, dtype=torch.float64) for _ in range(2)]  # 4 divides neither 5 nor 10
    method = deploy.get("tsb", channels=4, layers=2)
    chips = nvlib.program(model, "rram", 0.1, index=range(2))
    x = torch.rand(6, 1, 28, 28, dtype=torch.float64)
    with torch.no_grad():
        one = nvlib.forward(model, method.placed(model, chips, block), x)
        around = Attached(model, ("conv1", "conv2"), [w[0] for w in block])
        other = nvlib.forward(around, attached(chips, block), x)
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    assert folded(torch.randn(2, 5), [torch.eye(4).expand(2, 4, 4)]).shape == (2, 5)  # biases too


@pytest.mark.parametrize("fold", [True, False])
def test_only_the_blocks_weights_get_gradients(fold, lenet3, few):
    context = site_of(lenet3, few)
    for parameter in context.model.parameters():
        parameter.grad = None
    chips = context.program(range(2))
    before = {name: w.clone() for name, w in (*chips.items(), *context.model.state_dict().items())}
    *_, last = deploy.get("tsb", fold=fold, **SHORT).stages(context, range(2), chips)
    assert all(parameter.grad is None for parameter in context.model.parameters())
    assert all(w.grad is None and not w.requires_grad for w in chips.values())
    after = dict(chips) | dict(context.model.state_dict())
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert list(last.arrays) == ["block.0"] and last.arrays["block.0"].shape == (2, 5, 5)
    assert not torch.equal(last.arrays["block.0"], torch.eye(5).expand(2, 5, 5))


@pytest.mark.parametrize("layers", [1, 2])
def test_folding_changes_what_it_costs_not_what_is_learnt(layers, lenet3, few):
    context = site_of(double(lenet3), few)
    chips = context.program(range(2))
    learnt = []
    for fold in (True, False):
        *_, last = deploy.get("tsb", fold=fold, layers=layers, **SHORT).stages(context, range(2), chips)
        learnt.append(last.arrays)
    for name in learnt[0]:
        torch.testing.assert_close(learnt[0][name], learnt[1][name], rtol=1e-8, atol=1e-10)


def test_tsb_by_hand(lenet3, few):
    """One chip, two steps, with a plain loop over layers: noise, quantisation and update as Algorithm 2 has them."""
    model = double(lenet3)
    method = deploy.get("tsb", epochs=1, images=64, batch_size=32, schedule="constant")
    context = site_of(model, few, mapping="signed")
    chips = context.program(range(4, 5))
    *_, last = method.stages(context, range(4, 5), chips)

    w = torch.eye(5, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([w], lr=1e-3)
    order = nvlib.methods.loop.order(0, 0, 64)
    held = {name: value[0] for name, value in chips.items()}
    for step in range(2):
        take = torch.from_numpy(order[step * 32 : (step + 1) * 32])
        z = nvlib.philox.normal(0, 4, f"tsb/train/{step}/0", 25).view(5, 5)
        s = w.detach().abs().max() / 255
        quantised = (w.detach().abs() / s).round() * s * torch.where(w.detach() < 0, -1, 1)
        cells = sum((4.0**j * 3 * 0.03) ** 2 for j in range(4)) ** 0.5
        noisy = w + (quantised + s * cells * z - w).detach()
        x = few.train.x[take].double()
        x = nn.functional.conv2d(x, held["conv1.weight"], model.conv1.bias, padding=1)
        x = torch.relu(nn.functional.max_pool2d(model.norm1(torch.einsum("ij,bjhw->bihw", noisy, x)), 2))
        x = nn.functional.conv2d(x, held["conv2.weight"], model.conv2.bias, padding=1)
        x = torch.cat([torch.einsum("ij,bjhw->bihw", noisy, part) for part in x.split(5, 1)], 1)
        x = torch.relu(nn.functional.max_pool2d(model.norm2(x), 2))
        out = nn.functional.linear(x.flatten(1), held["fc1.weight"], model.fc1.bias)
        adam.zero_grad()
        nn.functional.cross_entropy(out, few.train.y[take]).backward()
        adam.step()
    torch.testing.assert_close(last.arrays["block.0"][0], w.detach(), rtol=1e-9, atol=1e-11)


# -- the frozen part -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "width", "layers", "border"),
    [
        ("lenet3", 1, ("conv2", "fc1"), 5 * 14 * 14), ("lenet3", 1, ("fc1",), 490), ("lenet", 1, ("fc3",), 84),
        ("vgg8_tsb", 0.03, ("fc1", "fc2"), 15 * 16), ("resnet18", 0.06, ("layer4.1", "fc1"), 31 * 4),
    ],
)  # fmt: skip
def test_head_and_tail_are_the_network(network, width, layers, border):
    model = models.build(network, width=width, seed=0).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5), module.running_var.uniform_(0.5, 2)
    size = model.input_size or 16
    x = torch.rand(7, model.in_channels, size, size, dtype=torch.float64)
    chips = nvlib.program(model, "rram", 0.1, index=range(2))
    names = [name for name, _ in model.named_parameters() if name.startswith(tuple(f"{layer}." for layer in layers))]
    cut = feature_cache.cut(model, x, names)
    kept = cut.border(chips, x, images=3)
    assert kept.shape[:2] == (2, 7) and kept[0, 0].numel() == cut.numbers == border
    tail = {name: w for name, w in feature_cache.known(cut.tail, chips).items()}
    assert set(tail) <= set(names) and not cut.shared(chips)
    with torch.no_grad():
        out = nvlib.forward(cut.tail, tail, kept, per_member=True)
        torch.testing.assert_close(out, nvlib.forward(model, chips, x), rtol=1e-9, atol=1e-9)


def test_what_is_frozen_before_the_first_block_is_kept_where_that_pays(lenet3, few):
    context = site_of(lenet3, few)
    fold, cut = deploy.get("tsb")._cut(context)
    assert fold and cut.head is None and cut.shared({})  # the images are the border: nothing to keep, one for all
    fold, cut = deploy.get("tsb", fold=False)._cut(context)
    assert not fold and cut.numbers == 5 * 28 * 28
    assert feature_cache.room(cut, 10_000, few.train.x) == feature_cache.CACHE_BYTES // (10_000 * 5 * 28 * 28 * 4)
    vgg = site_of(models.build("vgg8_tsb", width=0.25, in_channels=1).eval(), data.resize(few, 32))
    fold, cut = deploy.get("tsb")._cut(vgg)
    assert not fold and cut.numbers == 32 * 32 * 32  # 3x3 convolutions of many channels: their gradients cost more


class Odd(nn.Module):
    """A module that cannot be exported: its way depends on a value."""

    bits = 4

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(784, 8), nn.Linear(8, 10)

    def forward(self, x):
        h = self.a(x.flatten(1))
        return self.b(torch.relu(h) if h.detach().sum().item() > -1e9 else h)


def test_a_network_that_cannot_be_cut_is_run_whole(few):
    model = Odd().eval()
    cut = feature_cache.cut(model, few.train.x, ["b.weight"])
    assert cut.head is None and cut.tail is model
    (found,) = deploy.get("last_layer", **SHORT).apply(model, few, "rram", 0.1, index=range(2))
    assert found.passes.tolist() == [192, 192]


# -- all methods -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["none", "gaussian"])
@pytest.mark.parametrize("name", deploy.DEPLOYMENTS)
def test_any_training_then_any_deployment(name, method, few):
    recipe = nvlib.Recipe(batch_size=50)
    *_, last = nvlib.train(method, "lenet3", few, "rram", 0.1, epochs=1, recipe=recipe, validation_chips=1)
    model = last.model()
    before = copy.deepcopy(model.state_dict())
    done = []
    blocks = deploy.get(name, **PARAMETERS[name]).apply(
        model, few, "fefet1", 0.2, index=range(3, 6), seed=2, progress=lambda *at: done.append(at)
    )
    deployed = deploy.Deployed.join(list(blocks))
    assert deployed.index.tolist() == [3, 4, 5] and done[-1] == (3, 3) and len(deployed) == 3
    plain = nvlib.monte_carlo(model, few, "fefet1", 0.2, chips=3, first=3, seed=2)
    np.testing.assert_array_equal(deployed.before, plain.accuracy)
    added = 25 * 8 if name == "tsb" else 0
    assert (deployed.cells == 5395 * 8 + added).all() and (deployed.pulses >= deployed.cells).all()
    trains = name in ("last_layer", "last_layers", "tsb")
    assert (deployed.passes == (192 if trains else 0)).all() and ((deployed.seconds > 0) == trains).all()
    verified = {"write_verify": 5395, "swim": 540, "tsb": 25}.get(name, 0)
    assert (deployed.verified == verified * 8).all()
    assert np.isfinite(deployed.accuracy).all() and np.isfinite(deployed.loss).all()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert model.training == last.model().training


@pytest.mark.parametrize("mode", [{}, {"mode": "on_chip"}, {"sigma": 0.03}])
@pytest.mark.parametrize("name", ["last_layer", "last_layers", "tsb"])
def test_a_chip_in_a_block_is_the_chip_alone(name, mode, lenet3, few):
    if name == "tsb" and mode:
        mode = {"fold": False} if "mode" in mode else {"init": "ordinary"}
    method, model = deploy.get(name, **SHORT | mode), double(lenet3)
    (together,) = method.apply(model, few, "rram", 0.2, index=range(3), mapping="signed")
    (alone,) = method.apply(model, few, "rram", 0.2, index=range(1, 2), mapping="signed")
    assert alone.accuracy[0] == together.accuracy[1] and alone.before[0] == together.before[1]
    assert alone.pulses[0] == together.pulses[1] and alone.verified[0] == together.verified[1]
    # sums in another order: some units of the last place after a few steps of Adam
    assert alone.loss[0] == pytest.approx(together.loss[1], rel=1e-9)
    assert together.loss[0] != together.loss[1]


@pytest.mark.parametrize("name", ["last_layer", "last_layers"])
def test_retraining_changes_the_named_layers_only(name, lenet3, few):
    context = site_of(lenet3, few)
    chips = context.program(range(2))
    method = deploy.get(name, **SHORT)
    *_, last = method.stages(context, range(2), chips)
    module, weights = last.held(0)
    layers = {"last_layer": {"fc1"}, "last_layers": {"conv2", "fc1"}}[name]
    assert module is context.model
    for key, w in chips.items():
        assert torch.equal(weights[key], w) == (key.rpartition(".")[0] not in layers)
    assert set(weights) - set(chips) == {f"{layer}.bias" for layer in layers}
    again = last.held(1)[1]
    assert not torch.equal(again["fc1.weight"], weights["fc1.weight"])  # written once more: fresh deviations
    assert torch.equal(again["conv1.weight"], weights["conv1.weight"])


def test_on_chip_the_layers_own_deviation_stays(lenet3, few):
    """Trained by nothing (a rate of next to nothing), the layers written back are the chip as it was."""
    context = site_of(double(lenet3), few)
    chips = context.program(range(2))
    method = deploy.get("last_layer", mode="on_chip", **SHORT | {"lr": 1e-14})
    *_, last = method.stages(context, range(2), chips)
    weights = last.held(0)[1]
    torch.testing.assert_close(weights["fc1.weight"], chips["fc1.weight"], rtol=0, atol=1e-10)


def test_deployment_mends_a_chip_that_strays(mnist):
    recipe = nvlib.Recipe(lr=5e-3, batch_size=50)
    options = {"epochs": 3, "recipe": recipe, "validation_chips": 1, "mapping": "signed"}
    *_, last = nvlib.train("gaussian", "lenet3", mnist, "rram", 0.2, **options)
    few = dataclasses.replace(mnist, test=Split(mnist.test.x[:300], mnist.test.y[:300]))
    for name in ("last_layer", "tsb"):
        method = deploy.get(name, epochs=4, lr=1e-2, batch_size=50, redraws=1)
        (found,) = method.apply(last.model(), few, "rram", 0.3, index=range(2), mapping="signed")
        assert found.accuracy.mean() > found.before.mean() + 1


# -- normalisation's statistics --------------------------------------------------------------------------------------


def test_statistics_taken_again_are_those_of_the_features(lenet3, few):
    model = double(lenet3)
    chips = nvlib.program(model, "rram", 0.2, index=range(2), mapping="signed")
    x = few.train.x[:50].double()
    found = retaken(model, chips, x)
    for i in range(2):
        own = {name: w[i] for name, w in chips.items()}
        seen = nn.functional.conv2d(x, own["conv1.weight"], model.conv1.bias, padding=1)
        mean, variance = seen.mean((0, 2, 3)), seen.var((0, 2, 3), correction=0)
        torch.testing.assert_close(found["norm1.running_mean"][i], mean, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(found["norm1.running_var"][i], seen.var((0, 2, 3)), rtol=1e-9, atol=1e-12)
        gain, shift = (t.detach().view(1, -1, 1, 1) for t in (model.norm1.weight, model.norm1.bias))
        scale = gain / (variance.view(1, -1, 1, 1) + model.norm1.eps).sqrt()
        after = nn.functional.relu(nn.functional.max_pool2d((seen - mean.view(1, -1, 1, 1)) * scale + shift, 2))
        seen = nn.functional.conv2d(after, own["conv2.weight"], model.conv2.bias, padding=1)
        torch.testing.assert_close(found["norm2.running_mean"][i], seen.mean((0, 2, 3)), rtol=1e-9, atol=1e-12)
    assert torch.equal(found["conv1.weight"], chips["conv1.weight"])
    assert all(torch.equal(model.state_dict()[k], v) for k, v in double(lenet3).state_dict().items())
    alone = retaken(model, {name: w[1:] for name, w in chips.items()}, x)
    assert torch.equal(alone["norm2.running_var"][0], found["norm2.running_var"][1])


def test_generated_code_takes_each_chips_statistics(lenet3, few):
    chips = retaken(lenet3, nvlib.program(lenet3, "rram", 0.3, index=range(2), mapping="signed"), few.train.x[:50])
    with torch.no_grad():
        by_loop, by_code = (nvlib.forward(lenet3, chips, few.test.x, how=how) for how in ("loop", "native"))
    torch.testing.assert_close(by_code, by_loop, rtol=1e-4, atol=1e-4)  # float32, another order of summation
    assert (by_loop[0] - by_loop[1]).abs().max() > 0.1


def test_a_network_without_statistics_is_told_so(few):
    model = models.build("lenet", seed=0).eval()
    with pytest.raises(InputError, match="LeNet has no batch normalisation"):
        list(deploy.get("normalise").apply(model, few, "rram", 0.1, index=range(1)))


# -- cost ------------------------------------------------------------------------------------------------------------


def test_early_stops_count_both_stages(few):
    records = nvlib.train("gaussian", "lenet3", few, "rram", 0.2, epochs=4, recipe=nvlib.Recipe(batch_size=50),
                          validation_chips=1, mapping="signed")  # fmt: skip
    methods = {"tsb": deploy.get("tsb", **SHORT), "last_layer": deploy.get("last_layer", **SHORT)}
    table = cost.early_stops(records, methods, few, "rram", 0.2, index=range(2), passes=200, stops=(0.3, 0.5),
                             forwards=3, mapping="signed")  # fmt: skip
    backbone = table[table["stage"] == "backbone"]
    assert backbone["passes"].tolist() == [600, 1200, 1800, 2400] and backbone["share_passes"].iloc[-1] == 1
    assert backbone["share_seconds"].iloc[-1] == 1 and backbone["seconds"].is_monotonic_increasing
    for stop, before in ((0.3, 600), (0.5, 1200), (1.0, 2400)):
        for stage in methods:
            part = table[(table["stage"] == stage) & (table["stop"] == stop)]
            assert part["epoch"].tolist() == [0, 1, 2]
            assert part["passes"].tolist() == [before, before + 96, before + 192]
            start = backbone[backbone["passes"] == before]
            assert part["accuracy"].iloc[0] == pytest.approx(start["accuracy"].item())
            assert part["seconds"].iloc[0] == pytest.approx(start["seconds"].item())
    ends = cost.totals(table)
    assert len(ends) == 6 and (ends["share_passes"] > 0.25).all()
    full = ends[(ends["stage"] == "tsb") & (ends["stop"] == 1.0)]
    assert full["share_passes"].item() == pytest.approx((2400 + 192) / 2400)
    reached = ends[ends["reached_passes"].notna()]
    assert (reached["reached_passes"] <= reached["share_passes"]).all()
    with pytest.raises(InputError, match="share of the epochs"):
        cost.early_stops([], methods, few, "rram", 0.2, index=range(1), passes=1, stops=(15,))
