"""Ways in which other people write their modules: methods that return nothing, hooks that reach parts, layers fused."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nvlib
from nvlib import InputError, deploy, taylor
from nvlib.data import Dataset, Split

X, Y = torch.rand(24, 8, generator=torch.Generator().manual_seed(1)), torch.arange(24) % 4


def data(x=X, y=Y):
    return Dataset("here", 4, Split(x, y), Split(x, y), Split(x, y), "0" * 64, "tests")


def mlp():
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()


def losses_by_hand(model, chips, x=X, y=Y):
    """Losses of chips whose weights are written into the model itself, which is as it was afterwards."""
    kept, found = copy.deepcopy(model.state_dict()), []
    with torch.no_grad():
        for i in range(len(next(iter(chips.values())))):
            for name, w in chips.items():
                model.get_parameter(name).copy_(w[i])
            found.append(float(F.cross_entropy(model(x), y)))
    model.load_state_dict(kept)
    return found


class Silent(nn.Module):
    """Its train keeps normalisation in evaluation and returns nothing, as published backbones do."""

    def __init__(self):
        super().__init__()
        self.a, self.n, self.o = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)

    def train(self, mode=True):
        super().train(mode)
        self.n.eval()

    def forward(self, x):
        return self.o(torch.relu(self.n(self.a(x))))


def test_a_train_that_returns_nothing_will_do():
    model, conditions = Silent(), {"bits": 6}
    nvlib.monte_carlo(model, (X, Y), "rram", 0.1, chips=2, **conditions)
    *_, last = nvlib.train("gaussian", model, data(), "rram", sigma_d=0.1, epochs=1, **conditions)
    assert not last.model().training
    assert torch.equal(last.weights()["n.running_mean"], model.n.running_mean)  # it keeps that one in evaluation
    (block,) = deploy.get("normalise").apply(model, data(), "rram", 0.1, index=range(2), **conditions)
    assert len(block) == 2
    taylor.Loss(taylor.point(model, "rram", **conditions), Split(X, Y)).gradient()


def by_default(net):
    net[2].register_forward_hook(lambda part, _, out, first=net[0]: out * first.weight.sum())


def by_container(net):
    held = [{"first": net[0]}]
    net[2].register_forward_hook(lambda part, _, out: out * held[0]["first"].weight.sum())


def by_global(net):
    globals()["_net"] = net
    net[2].register_forward_hook(lambda part, _, out: out * _net[0].weight.sum())  # noqa: F821


def _helper(out):
    return out * _net[0].weight.sum()  # noqa: F821


def by_helper(net):
    globals()["_net"] = net
    net[2].register_forward_hook(lambda part, _, out: _helper(out))


def by_forward(net):
    globals()["_net"] = net
    net.forward = lambda x: _net[2](torch.tanh(_net[0](x)))  # noqa: F821


@pytest.mark.parametrize("reach", [by_default, by_container, by_global, by_helper, by_forward])
def test_functions_see_the_chip_s_weights_by_whatever_they_reach_them(reach):
    torch.manual_seed(0)
    net = mlp()
    reach(net)
    chips = nvlib.program(net, "rram", 0.3, index=range(3), bits=6)
    found = nvlib.monte_carlo(net, (X, Y), "rram", 0.3, chips=3, bits=6).loss
    assert found == pytest.approx(losses_by_hand(net, chips), rel=1e-5)


def rounded(w):
    step = w.detach().abs().max() / 7
    return w + (torch.round(w / step) * step - w).detach()


class ByConvForward(nn.Conv2d):
    def _conv_forward(self, x, w, b):
        return super()._conv_forward(x, rounded(w), b)


class Transposed(nn.ConvTranspose2d):
    def forward(self, x):
        return F.conv_transpose2d(x, rounded(self.weight), self.bias, self.stride)


class InForward(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, rounded(self.weight), self.bias, padding=1)


class ByParent(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.c, self.make = nn.Conv2d(1, 4, 3, padding=1), make

    def forward(self, x):
        return F.conv2d(x, self.make(self.c.weight), self.c.bias, padding=1)


@pytest.mark.parametrize(("layer", "said"), [
    (InForward(1, 4, 3), True), (ByConvForward(1, 4, 3, padding=1), True), (Transposed(1, 4, 1), True),
    (ByParent(rounded), True),
    (ByParent(lambda w: w), False),
    (ByParent(lambda w: w.flip(0).flip(0).contiguous()), False),
    (nn.Conv2d(1, 4, 3, padding=1), False), (nn.ConvTranspose2d(1, 4, 1), False),
])  # fmt: skip
def test_a_weight_that_is_quantised_again_is_named_wherever_that_is_done(layer, said):
    net = nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(64, 4)).eval()
    with warnings.catch_warnings(record=True) as words:
        warnings.simplefilter("always")
        nvlib.monte_carlo(net, (torch.rand(24, 1, 4, 4), Y), "rram", 0.1, chips=2, bits=6)
    assert sum("another weight" in str(w.message) for w in words) == said


@pytest.mark.filterwarnings("ignore")
def test_a_convolution_fused_with_its_normalisation_is_what_it_is():
    quantisation = pytest.importorskip("torch.ao.quantization")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4)).train()
    net = quantisation.fuse_modules_qat(net, [["0", "1", "2"]])
    net.qconfig = quantisation.get_default_qat_qconfig("fbgemm")
    quantisation.prepare_qat(net, inplace=True)
    x = torch.rand(24, 1, 4, 4)
    net(3 * x)
    net.eval().apply(quantisation.disable_observer)
    ideal = nvlib.program(net, "rram", 0.0, index=range(1), bits=16)
    with torch.no_grad():
        torch.testing.assert_close(nvlib.forward(net, ideal, x)[0], net(x), rtol=1e-3, atol=1e-4)


class Edited(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.f, self.kept = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(128, 4), None

    def forward(self, x):
        w = self.f.weight if self.kept is None else self.kept
        return F.linear(self.c(x).flatten(1), w, self.f.bias)


def test_what_a_model_is_found_to_be_is_looked_at_again_when_it_changes(monkeypatch):
    net, x = Edited().eval(), torch.rand(24, 3, 4, 4)
    nvlib.monte_carlo(net, (x, Y), "rram", 0.1, chips=2, bits=6)
    net.kept = net.f.weight.detach().clone()
    with pytest.warns(UserWarning, match=r"f\.weight of Edited: said to lie on arrays"):
        nvlib.monte_carlo(net, (x, Y), "rram", 0.1, chips=2, bits=6)


def test_a_class_edited_after_a_run_runs_as_it_is_now(monkeypatch):
    net, x = Edited().eval(), torch.rand(24, 3, 4, 4)
    chips = nvlib.program(net, "rram", 0.1, index=range(2), bits=6)
    with torch.no_grad():
        first = nvlib.forward(net, chips, x)
        monkeypatch.setattr(Edited, "forward", lambda self, x: self.f(self.c(x).view(len(x), -1)))
        torch.testing.assert_close(nvlib.forward(net, chips, x), first)


def test_a_network_within_another_is_trained_and_verified_on_its_own_luck():
    torch.manual_seed(0)
    net, found = mlp(), []
    for model in (net, torch.optim.swa_utils.AveragedModel(net)):
        *_, last = nvlib.train("gaussian", model, data(), "rram", sigma_d=0.1, epochs=1, bits=6)
        names = ("swim", {"ranking": "random"}), ("write_verify", {}), ("last_layer", {"epochs": 1})
        blocks = [block for name, given in names
                  for block in deploy.get(name, **given).apply(model, data(), "rram", 0.2, index=range(2), bits=6)]
        trained = [w for name, w in last.weights().items() if name != "n_averaged"]
        found.append((trained, [block.loss for block in blocks]))
    (ours, losses), (theirs, others) = found
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)
    for mine, other in zip(losses, others, strict=True):
        assert mine == pytest.approx(other, rel=1e-5)


class Experts(nn.Module):
    """A part that one image in a hundred takes, chosen by values."""

    def __init__(self):
        super().__init__()
        self.usual, self.rare = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x):
        out, chosen = self.usual(x), x[:, 0] > 0.99
        if chosen.any():
            out = torch.where(chosen[:, None], self.rare(x), out)
        return out


def test_a_part_that_few_images_take_is_felt_and_the_exporter_is_quiet(capfd):
    x = torch.rand(300, 8, generator=torch.Generator().manual_seed(0)) * 0.9
    for net, lines in ((Experts(), 0), (Experts(), 1)):
        x[250, 0] = 1.0 - lines  # an image beyond the first ones, or none
        with warnings.catch_warnings(record=True) as words:
            warnings.simplefilter("always")
            nvlib.monte_carlo(net, (x, torch.arange(300) % 4), "rram", 0.1, chips=2, bits=8)
        assert sum("rare.weight" in str(w.message) for w in words) == lines
    chips = nvlib.program(net, "rram", 0.1, bits=8, index=range(2))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nvlib.forward(net.eval(), chips, x, how="native")
    assert capfd.readouterr().err == ""


class Stopped(nn.Module):
    """Layers of which some run without derivatives."""

    def __init__(self, first):
        super().__init__()
        self.a, self.o, self.first = nn.Linear(8, 8), nn.Linear(8, 4), first

    def forward(self, x):
        with torch.no_grad():
            x = torch.tanh(self.a(x)) if self.first else self.o(torch.tanh(self.a(x)))
        return self.o(x) if self.first else x


@pytest.mark.parametrize("first", [True, False])
def test_parts_without_derivatives_are_retrained_or_refused_in_a_line(first):
    net, method = Stopped(first), deploy.get("last_layer", epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if first:
            assert len(list(method.apply(net, data(), "rram", 0.1, index=range(1), bits=8))) == 1
        else:
            with pytest.raises(InputError, match="computed by a network whose outputs are detached"):
                list(method.apply(net, data(), "rram", 0.1, index=range(1), bits=8))
            with pytest.raises(InputError, match="outputs of Stopped have no derivative in its weights"):
                taylor.Loss(taylor.point(net, "rram", bits=8), Split(X, Y)).gradient()


def test_a_ranking_by_no_curvature_is_said():
    with pytest.warns(UserWarning, match="the curvature of every weight of Stopped is zero on"):
        list(deploy.get("swim").apply(Stopped(False), data(), "rram", 0.1, index=range(1), bits=8))
