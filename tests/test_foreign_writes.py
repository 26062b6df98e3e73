"""Modules that write while they run, or run once more for derivatives: chips stay apart, the model is as it was."""

import copy
import warnings

import pytest
import torch
import torch.ao.quantization as quantization
import torch.nn.functional as F
import zoo
from torch import nn
from torch.utils.checkpoint import checkpoint

import nvlib
from nvlib import InputError, copies, deploy
from nvlib.data import Split
from nvlib.deploy.context import prepare
from nvlib.population import Plan

X, Y = torch.rand(24, 8, generator=torch.Generator().manual_seed(0)) - 0.3, torch.arange(24) % 4


class Cached(nn.Module):
    """Keeps the first weight that it sees, in a dict."""

    def __init__(self):
        super().__init__()
        self.a, self.o, self.kept = nn.Linear(8, 8), nn.Linear(8, 4), {}

    def forward(self, x):
        w = self.kept.setdefault("w", self.a.weight.detach().clone())
        return self.o(torch.tanh(F.linear(x, w)))


class Counting(nn.Module):
    """Appends to a list, and moves a plain tensor."""

    def __init__(self):
        super().__init__()
        self.a, self.o, self.calls, self.total = nn.Linear(8, 8), nn.Linear(8, 4), [], torch.zeros(1)

    def forward(self, x):
        self.calls.append(1)
        self.total.add_(x.detach().sum().abs())
        return self.o(torch.tanh(self.a(x))) * len(self.calls) + self.total


class Constrained(nn.Linear):
    def forward(self, x):
        self.weight.data = torch.renorm(self.weight.data, p=2, dim=0, maxnorm=0.4)
        return super().forward(x)


class Scaled(nn.Linear):
    def forward(self, x):
        with torch.no_grad():
            self.weight.mul_(0.9)
        return super().forward(x)


def own_noise():
    generator = torch.Generator().manual_seed(0)
    net = zoo.Call(lambda s, x: s.f(x) + torch.randn(len(x), 4, generator=s.generator), f=nn.Linear(8, 4))
    net.generator = generator
    return net


def clamped():
    net = zoo.mlp()
    net[0].register_forward_pre_hook(_clamp)
    return net


def _clamp(layer, _):
    with torch.no_grad():
        layer.weight.clamp_(-0.2, 0.2)


def embedded():
    return zoo.Call(lambda s, x: s.o(s.e((x > 0).long()).mean(1)), e=nn.Embedding(20, 8, max_norm=1.0),
                    o=nn.Linear(8, 4))  # fmt: skip


WRITERS = {
    "a weight cached in a dict": Cached, "a list and a tensor": Counting, "its own generator": own_noise,
    "a constraint of its weight": lambda: nn.Sequential(Constrained(8, 8), nn.ReLU(), nn.Linear(8, 4)),
    "a weight that shrinks": lambda: nn.Sequential(Scaled(8, 8), nn.ReLU(), nn.Linear(8, 4)),
    "a hook that clamps": clamped, "max_norm of an embedding": embedded,
}  # fmt: skip


def made(name):
    torch.manual_seed(0)
    return WRITERS[name]().eval()


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.filterwarnings("ignore")
def test_each_chip_starts_from_the_model_as_it_is(name):
    net, hand = made(name), []
    chips = nvlib.program(net, "rram", 0.1, index=range(3), bits=8)
    kept = {key: w.clone() for key, w in chips.items()}
    for i in range(3):
        chip = made(name)
        with torch.no_grad():
            for key, w in chips.items():
                chip.get_parameter(key).copy_(w[i])
            hand.append(chip(X.clone()))
    before = {key: t.clone() for key, t in net.state_dict().items()}
    with torch.no_grad():
        for how in ("loop", "native")[: 1 + (name == "a constraint of its weight")]:  # no code for it: the loop again
            torch.testing.assert_close(nvlib.forward(net, chips, X, how=how), torch.stack(hand))
    losses = [float(F.cross_entropy(out, Y)) for out in hand]
    for plan in (None, Plan(2, 24, "loop", 1, "cpu")):
        found = nvlib.monte_carlo(net, (X, Y), "rram", 0.1, chips=3, bits=8, plan=plan)
        assert found.loss.tolist() == pytest.approx(losses, rel=1e-6)
    assert all(torch.equal(t, before[key]) for key, t in net.state_dict().items()), "the model was changed"
    assert all(torch.equal(w, kept[key]) for key, w in chips.items()), "the chips were changed"
    held = {"kept": {}, "calls": [], "total": torch.zeros(1)}
    assert all(getattr(net, key, value) == value for key, value in held.items())


@pytest.mark.parametrize("name", ["a constraint of its weight", "a weight that shrinks", "a hook that clamps"])
def test_a_weight_that_forward_writes_to_is_named(name):
    with pytest.warns(UserWarning, match=r"^0\.weight of Sequential: forward writes"):
        nvlib.monte_carlo(made(name), (X, Y), "rram", 0.1, chips=2, bits=8)
    with pytest.warns(UserWarning, match=r"^0\.weight of Sequential: the layer makes another weight"):
        nvlib.program(made(name), "rram", 0.1, bits=8)


@pytest.mark.filterwarnings("ignore")
def test_training_takes_max_norm_and_refuses_other_writes_in_a_line():
    data = zoo._data(Split(X, Y))
    *_, last = nvlib.train("gaussian", embedded(), data, "rram", sigma_d=0.1, epochs=1, bits=8)
    assert last.loss.shape == (1,)
    with pytest.raises(InputError, match="writes to a weight in training"):
        list(nvlib.train("gaussian", made("a weight that shrinks"), data, "rram", sigma_d=0.1, epochs=1, bits=8))


def test_learnt_ranges_in_evaluation_are_said_to_depend_on_the_batch():
    net = nn.Sequential(nn.Linear(8, 8), zoo.Observer(), nn.Linear(8, 4)).eval()
    net[1].top.zero_()
    with pytest.warns(UserWarning, match="from those beside it"):
        nvlib.monte_carlo(net, (X, Y), "rram", 0.1, chips=1, bits=8)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_layers_have_the_gradients_of_the_others(reentrant):
    def build(run):
        torch.manual_seed(0)
        return zoo.Call(lambda s, x: s.o(run(s.a, x)), a=nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)),
                        o=nn.Linear(8, 4)).train()  # fmt: skip

    slopes = []
    for net in (build(lambda a, x: checkpoint(a, x, use_reentrant=reentrant)), build(lambda a, x: a(x))):
        weights = {name: (w + 0.2).requires_grad_() for name, w in nvlib.stack([net, net]).items()}
        F.cross_entropy(nvlib.forward(net, weights, X).flatten(0, 1), Y.repeat(2)).backward()
        assert all(p.grad is None for p in net.parameters())
        slopes.append({name: w.grad for name, w in weights.items()})
    for name, slope in slopes[0].items():
        torch.testing.assert_close(slope, slopes[1][name])


class Rounded(torch.autograd.Function):
    """Straight through, as it was written before torch.func."""

    @staticmethod
    def forward(ctx, x):
        return torch.round(8 * x) / 8

    @staticmethod
    def backward(ctx, slope):
        return slope


def test_functions_without_a_place_for_transforms_have_a_curvature():
    net = zoo.Call(lambda s, x: s.b(Rounded.apply(s.a(x))), a=nn.Linear(8, 8), b=nn.Linear(8, 4)).eval()
    (block,) = deploy.get("swim").apply(net, zoo._data(Split(X, Y)), "rram", 0.1, index=range(2), bits=8)
    assert len(block.before) == 2


@pytest.mark.filterwarnings("ignore")
def test_a_layer_with_a_fake_quantised_weight_is_programmed_as_it_is_evaluated():
    net = zoo.mlp().train()
    net.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    quantization.prepare_qat(net, inplace=True)
    net(X)
    net = net.apply(quantization.disable_observer).eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the layer makes another weight")
        chips = nvlib.program(net, "rram", 0.1, index=range(2), bits=8)
    with torch.no_grad():
        losses = [float(F.cross_entropy(out, Y)) for out in nvlib.forward(net, chips, X)]
    assert nvlib.monte_carlo(net, (X, Y), "rram", 0.1, chips=2, bits=8).loss.tolist() == pytest.approx(losses, rel=1e-6)


def test_a_forward_put_in_place_of_another_sees_the_copy():
    net = zoo.mlp().eval()
    layer = net[0]
    layer.forward = lambda x: F.linear(x, layer.weight, layer.bias) * 2
    twin = copies.private(net)
    with torch.no_grad():
        twin[0].weight.zero_()
        assert torch.equal(twin[0](X), 2 * layer.bias.expand(24, 8))
    *_, last = nvlib.train("none", net, zoo._data(Split(X, Y)), "rram", sigma_d=0.1, epochs=1, bits=8)
    assert all(p.grad is None for p in net.parameters())
    assert not torch.equal(last.weights()["0.weight"], layer.weight)


def test_parameters_in_the_same_memory_are_refused():
    net = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 8), nn.Linear(8, 4))
    net[1].weight = nn.Parameter(net[0].weight.data.t())
    for use in (lambda: nvlib.program(net, "rram", 0.1, bits=8), lambda: copies.private(net),
                lambda: nvlib.train("none", net, zoo._data(Split(X, Y)), "rram", bits=8)):  # fmt: skip
        with pytest.raises(InputError, match=r"0\.weight and 1\.weight of Sequential are two parameters in the same"):
            use()
    net = zoo.mlp()
    flat = torch.cat([p.detach().flatten() for p in net.parameters()])  # beside each other: fine
    for p, part in zip(net.parameters(), flat.split([p.numel() for p in net.parameters()]), strict=True):
        p.data = part.view_as(p)
    assert set(nvlib.program(net, "rram", 0.1, bits=8)) == {"0.weight", "2.weight"}


def test_a_parameter_that_is_one_number_is_trained():
    net = zoo.Call(lambda s, x: s.f(x) * s.k, f=nn.Linear(8, 4), k=nn.Parameter(torch.tensor(2.0)))
    *_, last = nvlib.train("gaussian", copy.deepcopy(net), zoo._data(Split(X, Y)), "rram", sigma_d=0.1, epochs=1,
                           bits=8)  # fmt: skip
    assert last.weights()["k"] != 2 and not last.diverged.any()


class Held(nn.Module):
    """Has a layer, or a matrix, that PyTorch does not know as its own."""

    def __init__(self, held):
        super().__init__()
        self.held, self.spare, self.o = held, [nn.Linear(8, 8)], nn.Linear(8, 4)

    def forward(self, x):
        part = self.held[0] if isinstance(self.held, list) else self.held
        return self.o(torch.tanh(x @ part if isinstance(part, torch.Tensor) else part(x)))


def test_a_list_that_a_forward_empties_is_as_it_was():
    def forward(s, x):
        s.held.append(s.held.pop(0) * 1)
        return x @ s.held.pop().T

    net = zoo.Call(forward, o=nn.Linear(8, 4)).eval()
    net.held = [net.o.weight]
    losses = nvlib.monte_carlo(net, (X, Y), "rram", 0.3, chips=2, bits=8).loss
    assert len(net.held) == 1 and net.held[0] is net.o.weight and losses[0] != losses[1]


def test_a_layer_in_a_list_that_shares_a_parameter_has_the_chip_s():
    net = zoo.Call(lambda s, x: s.o(torch.tanh(s.held[0](x))), a=nn.Linear(8, 8), o=nn.Linear(8, 4)).eval()
    net.held = [nn.Linear(8, 8)]
    net.held[0].weight = net.a.weight
    chips = nvlib.program(net, "rram", 0.3, index=range(2), bits=8)
    bare = torch.stack([F.linear(torch.tanh(F.linear(X, a, net.held[0].bias)), o, net.o.bias)
                        for a, o in zip(chips["a.weight"], chips["o.weight"], strict=True)])  # fmt: skip
    torch.testing.assert_close(nvlib.forward(net, chips, X), bare)
    assert net.held[0].weight is net.a.weight


def buffered():
    layer = nn.Linear(8, 8)
    w = layer.weight.detach()
    del layer.weight
    layer.register_buffer("weight", w)
    return layer


HELD = {"[nn.Linear]": "held[0].weight", "matrix": "held", "expanded": "held", "buffer": "held.weight",
        "registered": None}  # fmt: skip


@pytest.mark.parametrize("kind", HELD)
def test_a_matrix_that_is_no_parameter_is_said_to_be_without_noise(kind):
    torch.manual_seed(0)
    held = {"[nn.Linear]": [nn.Linear(8, 8)], "matrix": torch.randn(8, 8),
            "expanded": torch.randn(8).expand(8, 8),
            "buffer": buffered(), "registered": nn.Linear(8, 8)}[kind]  # fmt: skip
    net = Held(held).eval()
    kept = copy.deepcopy(net)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        nvlib.monte_carlo(net, (X, Y), "rram", 0.1, chips=2, bits=8)
    lines = [str(w.message) for w in said if "no noise on" in str(w.message)]
    assert len(lines) == (kind != "registered") and all(f"no noise on {HELD[kind]} of Held" in line for line in lines)
    assert torch.equal(net(X), kept(X))


def test_a_retrained_layer_meets_the_chip_s_weights_that_are_in_a_list():
    torch.manual_seed(0)
    net = zoo.Listed().eval()
    method = deploy.get("last_layer", layers=("o",), mode="on_chip", lr=1e-14, epochs=1, batch_size=24)
    context = prepare(net, zoo._data(Split(X, Y)), "rram", 0.3, bits=8)
    chips = context.program(range(1))
    (stage,) = method.stages(context, range(1), chips)
    with torch.no_grad():
        logits = nvlib.forward(context.model, chips, X)[0]
    assert float(stage.tuned.loss[0]) == pytest.approx(float(F.cross_entropy(logits, Y)), rel=1e-4)
