"""Networks as users bring them: what the probe says of a network before a number is made of it."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nvlib
import nvlib.data
import nvlib.deploy
from nvlib import crossbar, deploy, models, probe, taylor
from nvlib.data import Split
from nvlib.errors import InputError
from nvlib.population import Plan

torch.manual_seed(0)
X, Y = torch.randn(64, 8), torch.randint(0, 4, (64,))


class Of(nn.Module):
    """A linear layer, and what is done to its outputs (or before it)."""

    def __init__(self, head=lambda out: out, before=lambda x: x):
        super().__init__()
        self.f, self.head, self.before = nn.Linear(8, 4), head, before

    def forward(self, x):
        return self.head(self.f(self.before(x)))


def said(model, x=X, y=Y, **options):
    """What is warned about while a model is evaluated."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nvlib.monte_carlo(model, (x, y), "rram", 0.1, chips=2, bits=8, **options)
    return " | ".join(str(w.message) for w in caught)


def helper(x):
    """What a notebook defines beside a network, and defines again."""
    return x


RANDOM = {
    "dropout": lambda x: F.dropout(x, 0.5),
    "rare dropout": lambda x: F.dropout(x, 0.001),
    "noise": lambda x: x + 0.01 * torch.randn_like(x),
    "numpy": lambda x: x + 0.01 * float(np.random.standard_normal()),
    "bernoulli": lambda x: x * torch.empty_like(x).bernoulli_(0.9),
}


@pytest.mark.parametrize("kind", RANDOM)
def test_random_numbers_in_evaluation_are_said(kind):
    assert "draws random numbers in evaluation" in said(Of(before=RANDOM[kind]))


BATCH = {
    "norm": nn.BatchNorm1d(8, track_running_stats=False),
    "centred": lambda x: x - x.mean(0),
    "largest": lambda x: torch.round(x / x.abs().max() * 127) / 127,  # quantised by the batch's range
    "share": lambda x: torch.softmax(x, 0),
}


@pytest.mark.parametrize("kind", BATCH)
def test_batch_statistics_in_evaluation_are_said(kind):
    assert "from those beside it in evaluation (batch statistics" in said(Of(before=BATCH[kind]))


def test_norms_of_running_or_of_an_image_s_own_statistics_are_not():
    for norm in (nn.BatchNorm1d(8), nn.LayerNorm(8), lambda x: F.instance_norm(x[:, None])[:, 0], nn.Dropout(0.5)):
        assert said(Of(before=norm)) == ""


@pytest.mark.parametrize("name", ["lenet", "lenet5", "lenet3", "vgg8", "vgg8_tsb", "resnet18"])
@pytest.mark.parametrize("activation_bits", [0, 8])
def test_nothing_is_said_of_the_library_s_own_networks(name, activation_bits):
    model = models.build(name, width=1.0 if "lenet" in name else 0.1, activation_bits=activation_bits, seed=0)
    size = model.input_size or 32
    x = torch.rand(6, model.in_channels, size, size)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe.inspect(model, Split(x, torch.arange(6)))
    assert model.training and all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("head", [nn.Softmax(1), lambda out: out.softmax(1), nn.Sigmoid()])
def test_outputs_that_are_probabilities_are_said(head):
    assert "let it return logits" in said(Of(head))


def test_logarithms_of_probabilities_are_logits():
    torch.manual_seed(0)
    plain, logs = Of(), Of(nn.LogSoftmax(1))
    logs.load_state_dict(plain.state_dict())
    assert said(logs) == ""
    both = [nvlib.monte_carlo(model, (X, Y), "rram", 0.1, chips=2, bits=8) for model in (plain, logs)]
    np.testing.assert_allclose(both[0].ekl, both[1].ekl, rtol=1e-5)


OUTPUTS = {
    "tuple": (lambda out: (out, out), "gives a tuple of 2"),
    "dict": (lambda out: {"logits": out}, "gives a dict of 1"),
    "None": (lambda out: None, "gives NoneType"),
    "flat": (lambda out: out[:, 0], r"gives float64 of shape \(4,\)"),
    "one": (lambda out: out[:, :1], r"gives float64 of shape \(4, 1\)"),
    "pixels": (lambda out: out[:, :, None, None], r"of shape \(4, 4, 1, 1\)"),
    "classes": (lambda out: out.argmax(1, keepdim=True).expand(-1, 2), "gives int64"),
    "another batch": (lambda out: out.reshape(2, -1), r"of shape \(2, 8\)"),
    "NaN": (lambda out: out / 0 * 0, "logits of Of are not finite"),
    "raises": (lambda out: out.view(7, 3, 2), "does not run on images of shape .* RuntimeError: shape"),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_what_is_no_logits_is_refused_in_a_line(kind):
    head, says = OUTPUTS[kind]
    with pytest.raises(InputError, match=says) as error:
        nvlib.monte_carlo(Of(head), (X, Y), "rram", 0.1, chips=2, bits=8)
    assert "\n" not in str(error.value)


def test_a_digital_part_that_is_not_finite_is_named():
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)).eval()
    for name in ("0.bias", "1.weight", "1.running_mean"):
        held = dict((*model.named_parameters(), *model.named_buffers()))[name].data
        before = held.clone()
        held[0] = float("nan")
        with pytest.raises(InputError, match=f"not finite are {name}"):
            nvlib.monte_carlo(model, (X, Y), "rram", 0.1, chips=2, bits=8)
        held.copy_(before)


def test_a_chip_whose_logits_are_no_numbers_is_refused():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(8, 4, bias=False)
            nn.init.constant_(self.f.weight, 0.2)

        def forward(self, x):
            return x @ self.f.weight.sqrt().T

    with pytest.raises(InputError, match="chip 0 of Root gives logits that are not numbers"):
        nvlib.monte_carlo(Root(), (X, Y), "rram", 0.9, chips=2, bits=8)


def test_masked_classes_are_no_error():
    mask = torch.tensor([0.0, 0.0, 0.0, -torch.inf])
    found = nvlib.monte_carlo(Of(lambda out: out + mask), (X, Y.clamp(max=2)), "rram", 0.1, chips=2, bits=8)
    assert np.isfinite(found.loss).all()


def test_images_take_the_precision_of_the_network():
    double = nn.Linear(8, 4).double()
    alike = [nvlib.monte_carlo(double, (x, Y), "rram", 0.1, chips=2, bits=8).loss for x in (X, X.double())]
    assert alike[0].tolist() == alike[1].tolist()


def test_a_sound_network_is_looked_at_once_and_again_when_it_changes(monkeypatch):
    looked, run = [], probe._run
    monkeypatch.setattr(probe, "_run", lambda *args: looked.append(1) or run(*args))
    model = Of(before=nn.Dropout(0.5).eval())
    assert [said(model), said(model), len(looked)] == ["", "", 1]
    model.f.weight.data.mul_(2)  # says nothing to autograd's counter of versions
    assert said(model) == "" and len(looked) == 2
    model.head = lambda out: out + torch.randn_like(out)
    assert "draws random" in said(model) and "draws random" in said(model)
    helped = Of(before=lambda x: helper(x))
    assert said(helped) == ""
    monkeypatch.setitem(globals(), "helper", lambda x: x + torch.randn_like(x))
    assert "draws random" in said(helped)
    model.head, model.f.bias.data[0] = nn.Identity(), float("nan")
    for _ in range(2):
        with pytest.raises(InputError, match="logits of Of are not finite"):
            said(model)


def test_a_network_that_insists_on_its_precision_is_looked_at_in_it():
    def single(x):
        assert x.dtype == torch.float32
        return x

    assert said(Of(before=single)) == ""
    assert "draws random" in said(Of(before=lambda x: single(x) + torch.randn(8)))


def test_it_is_looked_at_once_a_call(monkeypatch):
    calls = []
    monkeypatch.setattr(probe, "inspect", lambda *_, **__: calls.append(1))
    nvlib.monte_carlo(Of(), (X, Y), "rram", 0.3, chips=40, bits=8, until=0.01, max_chips=80, of="mean",
                      plan=Plan(8, 64, "loop", 1, "cpu"))  # fmt: skip
    assert len(calls) == 1


# ---- where else it is looked at


def dataset(x=X, y=Y, classes=4):
    split = Split(x, y)
    return nvlib.data.Dataset("own", classes, split, split, split, "0" * 64, "memory")


def training(model, found):
    *_, last = nvlib.train("gaussian", model, found, "rram", 0.1, epochs=1, bits=8)
    return last


def deployment(model, found):
    return list(nvlib.deploy.get("normalise").apply(model, found, "rram", 0.1, index=range(1), bits=8))


@pytest.mark.parametrize("run", [training, deployment])
def test_training_and_deployment_look_at_a_network_and_its_labels_too(run):
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    run(model, dataset())
    run(model, dataset(X.numpy(), Y.int()))
    with pytest.raises(InputError, match=r"label 4 .* is none of the 4 classes"):
        run(model, dataset(y=Y + 1))
    with pytest.raises(InputError, match=r"label -\d+ "):
        run(model, dataset(y=Y - 100))
    with pytest.raises(InputError, match="gives a tuple"):
        run(nn.Sequential(model, Of(lambda out: (out,), lambda x: x.repeat(1, 2))), dataset())
    with pytest.raises(InputError, match=r"expected a Dataset with its three splits"):
        run(model, (X, Y))


def test_networks_of_tokens_are_trained_on_whole_numbers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(11, 6), nn.Flatten(), nn.Linear(30, 4))
    last = training(model, dataset(torch.randint(0, 11, (64, 5)), Y))
    assert np.isfinite(last.loss).all()


# ---- what cannot be programmed, and numbers of other kinds


def test_what_is_no_dense_float_module_is_refused_in_a_line():
    base = nn.Sequential(nn.Linear(8, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own: it is deprecated
        compiled, traced = torch.jit.script(base), torch.jit.trace(base, torch.zeros(1, 8))
        inner = nn.Sequential(torch.jit.script(nn.Linear(8, 8)), nn.Linear(8, 4))
    lazy = nn.Sequential(nn.LazyLinear(4))
    meta = nn.Linear(8, 4, device="meta")
    sparse, numbers = nn.Linear(8, 4), nn.Linear(8, 4, dtype=torch.complex64)
    sparse.weight = nn.Parameter(sparse.weight.detach().to_sparse())
    for model, says in {
        compiled: "the model is compiled by TorchScript",
        traced: "the model is compiled by TorchScript",
        inner: "0 of Sequential is compiled by TorchScript",
        lazy: "0.weight of Sequential has no shape yet",
        meta: "weight of Linear is on the meta device",
        sparse: "weights weight are sparse; expected dense floats",
        numbers: "weights weight are complex64; expected dense floats",
    }.items():
        with pytest.raises(InputError, match=says) as error:
            nvlib.program(model, "rram", 0.1, bits=8)
        assert "\n" not in str(error.value)
        with pytest.raises(InputError) as error:  # complex numbers are met by the images before
            said(model)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="a model of type OrderedDict cannot be programmed"):
        nvlib.program(base.state_dict(), "rram", 0.1, bits=8)


def test_a_layer_without_weights_is_on_arrays_and_holds_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own: initialising such a layer does nothing
        model = nn.ModuleDict({"none": nn.Linear(0, 4), "some": nn.Linear(8, 4)})
    chips = nvlib.program(model, "rram", 0.1, bits=8, index=range(3))
    assert chips["none.weight"].shape == (3, 4, 0) and chips["some.weight"].shape == (3, 4, 8)
    assert list(nvlib.mapping(model, bits=8).cells) == [0, 0, 4 * 8 * 8, 0]


def test_a_layer_of_zeros_has_no_ratio_and_stays_zero():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    nn.init.zeros_(model[1].weight)
    table = crossbar.deviations(model, "rram", 0.1, bits=8)
    assert np.isfinite(table.ratio[0]) and np.isnan(table.ratio[1]) and table.deviation[1] == 0
    assert not nvlib.program(model, "rram", 0.1, bits=8)["1.weight"].any()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_has_its_scale_in_float32(kind):
    """255 levels do not fit the 8 digits of bfloat16: the chip is the float32 one's, rounded once."""
    torch.manual_seed(0)
    model = nn.Linear(64, 32).to(kind)
    exact = nn.Linear(64, 32)
    exact.load_state_dict({name: tensor.float() for name, tensor in model.state_dict().items()})
    for sigma_d in (0.0, 0.1):
        low, high = (nvlib.program(m, "rram", sigma_d, bits=8, index=range(2))["weight"] for m in (model, exact))
        assert low.dtype == kind and torch.equal(low, high.to(kind))
    assert crossbar.deviations(model, "rram", 0.1, bits=8).equals(crossbar.deviations(exact, "rram", 0.1, bits=8))
    grown = exact.weight.detach().to(kind)[None].requires_grad_()
    held = crossbar.read_back(grown, nvlib.Crossbar("rram", 0.1, 8), torch.ones(1, 32, 64))
    held.float().sum().backward()
    assert held.dtype == kind and torch.equal(grown.grad, torch.ones_like(grown))


def test_numbers_of_numpy_serve_as_index_count_and_seed():
    model = nn.Linear(8, 4)
    plain, of_numpy = {"index": 2, "seed": 1}, {"index": np.int64(2), "seed": np.int32(1)}
    chip, same = (nvlib.program(model, "rram", 0.1, bits=8, **where) for where in (plain, of_numpy))
    assert torch.equal(chip["weight"], same["weight"]) and same["weight"].shape == (4, 8)
    found = nvlib.monte_carlo(
        model, (X, Y), "rram", np.float32(0.5), chips=np.int64(3), seed=np.uint8(1), first=np.int16(2), bits=8
    )
    assert len(found) == 3 and found.index.tolist() == [2, 3, 4]
    for bad in (True, 1.0, "2", None, -1, np.bool_(1)):
        with pytest.raises(InputError, match=r"index .* is not usable"):
            nvlib.program(model, "rram", 0.1, bits=8, index=bad)
        with pytest.raises(InputError, match=r"chips=.* is not usable; expected a whole number of at least 1"):
            nvlib.monte_carlo(model, (X, Y), "rram", 0.1, chips=bad, bits=8)


def test_percent_for_a_fraction_is_said():
    with pytest.warns(UserWarning, match=r"sigma_d=10 lets .* rram stray by 10 times .* not percent \(10 % is 0.1\)"):
        nvlib.program(nn.Linear(8, 4), "rram", 10, bits=8)
    with pytest.warns(UserWarning, match="stray by 1.67 times"):
        nvlib.program(nn.Linear(8, 4), "rram", 5, reference="level", bits=8)
    with pytest.warns(UserWarning, match="sigma_d=20 lets"):
        nvlib.Study(network="lenet3", sigma_d=(20.0,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for device, sigma_d, reference in (
            ("rram", 1.0, "full_scale"), ("rram", 3.0, "level"), ("fefet1", 0.5, "full_scale"), ("sonos", None, "level")
        ):
            nvlib.program(nn.Linear(8, 4), device, sigma_d, reference=reference, bits=8)


@pytest.mark.skipif(torch.cuda.is_available(), reason="what is said where there is no GPU")
def test_a_gpu_that_is_not_there_is_said_in_a_line():
    model, found, normalise = nn.Linear(8, 4), dataset(), nvlib.deploy.get("normalise")
    for on, says in {"cuda": "PyTorch finds no CUDA device here", "gpu": "is no device; expected 'cpu' or 'cuda'",
                     "mps": "is not supported; expected 'cpu' or 'cuda'"}.items():  # fmt: skip
        for run in (
            lambda on=on: nvlib.monte_carlo(model, (X, Y), "rram", 0.1, chips=1, bits=8, on=on),
            lambda on=on: nvlib.train("gaussian", model, found, bits=8, on=on),
            lambda on=on: list(normalise.apply(model, found, "rram", 0.1, index=range(1), bits=8, on=on)),
            lambda on=on: nvlib.run(nvlib.Study(network="lenet3"), on=on),
        ):
            with pytest.raises(InputError, match=says):
                run()


def test_a_single_chip_handed_to_forward_is_refused():
    model = nn.Linear(8, 4)
    one = nvlib.program(model, "rram", 0.1, bits=8)
    for how in ("loop", "vmap", "native"):
        with pytest.raises(InputError, match=r"weights weight are those of one chip, \(4, 8\); expected a leading"):
            nvlib.forward(model, one, X, how=how)
    assert nvlib.forward(model, {name: w[None] for name, w in one.items()}, X).shape == (1, 64, 4)
    with pytest.raises(InputError, match="no weights to run"):
        nvlib.forward(model, {}, X)


def test_what_forward_cannot_run_is_said_in_a_line():
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    chips = nvlib.program(net, "rram", 0.1, index=range(2), bits=8)
    for x, says in {"array": (X.numpy(), "inputs of type ndarray"), "kind": (X.double(), "float64: RuntimeError"),
                    "shape": (torch.rand(4, 9), "does not run on inputs of shape")}.values():  # fmt: skip
        with pytest.raises(InputError, match=says):
            nvlib.forward(net, chips, x)
    for weights, says in ((list(chips.values()), "weights of type list"),
                          ({name: w[:, :3, :3] for name, w in chips.items()}, r"have shape .*; expected \(members")):
        with pytest.raises(InputError, match=says):
            nvlib.forward(net, weights, X)


@pytest.mark.parametrize("net", [nn.Linear(8, 1), nn.Sequential(nn.Linear(8, 4), nn.Unflatten(1, (2, 2)))])
def test_an_expansion_wants_logits_and_labels_of_its_classes(net):
    with pytest.raises(InputError, match="expected logits"):
        taylor.Loss(taylor.point(net, "rram", bits=8), Split(X, Y))
    with pytest.raises(InputError, match="is none of the 4 classes"):
        taylor.Loss(taylor.point(nn.Linear(8, 4), "rram", bits=8), Split(X, Y + 1))


def test_a_deployment_of_nothing_on_arrays_is_refused():
    with pytest.raises(InputError, match="has no weight to put on arrays"):
        deploy.get("swim").apply(nn.Sequential(nn.ReLU()), dataset(), "rram", 0.1, index=range(1), bits=8)


class Rotated(nn.Module):
    """Rotary positions: a complex buffer that pairs of features are turned by."""

    def __init__(self):
        super().__init__()
        self.a, self.o = nn.Linear(8, 8), nn.Linear(8, 4)
        self.register_buffer("turn", torch.polar(torch.ones(4), torch.arange(4.0)))

    def forward(self, x):
        pairs = torch.view_as_complex(self.a(x).reshape(-1, 4, 2)) * self.turn
        return self.o(torch.view_as_real(pairs).flatten(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_complex_buffers_stay_complex(dtype):
    """``Module.to(dtype)`` would drop what is imaginary: a trained model, and an expansion, of another network."""
    net = Rotated()
    *_, last = nvlib.train("gaussian", net, dataset(), "rram", sigma_d=0.1, epochs=1, bits=8, dtype=dtype)
    trained = last.model()
    assert torch.equal(trained.turn, net.turn) and trained.a.weight.dtype == dtype
    again = nvlib.monte_carlo(trained, dataset().validation, "rram", 0.0, chips=1, bits=8)
    assert again.accuracy[0] == pytest.approx(last.clean[0])
    point = taylor.point(net.eval(), "rram", bits=8, dtype=dtype)
    own = {name: torch.as_tensor(w, dtype=torch.float32) for name, w in point.centre.items()}
    with torch.no_grad():
        loss = F.cross_entropy(torch.func.functional_call(net, own, (X,)), Y)
    assert taylor.Loss(point, Split(X, Y)).value() == pytest.approx(float(loss), rel=1e-5)


class OnCtx(torch.autograd.Function):
    """A square whose backward takes numbers that PyTorch does not know of."""

    @staticmethod
    def forward(ctx, x):
        ctx.x = x.detach()
        return x * x

    @staticmethod
    def backward(ctx, slope):
        return 2 * ctx.x * slope


class Once(torch.autograd.Function):
    """A square that may be differentiated once."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return 2 * ctx.saved_tensors[0] * slope


@pytest.mark.parametrize(("activation", "bent"), [(OnCtx.apply, True), (Once.apply, True), (torch.square, False),
                                                  (torch.relu, False), (F.hardsigmoid, False)])  # fmt: skip
def test_curvatures_that_a_backward_leaves_out_are_said(activation, bent):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6), Of(before=activation), nn.Flatten())
    net[1].f = nn.Linear(6, 4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loss = taylor.Loss(taylor.point(net, "rram", bits=8, dtype=torch.float64), Split(X, Y))
    lines = [str(w.message) for w in caught if "second derivative of the loss is not" in str(w.message)]
    assert len(lines) == bent and all(line.startswith("0.weight") for line in lines)
    if not bent:  # hardsigmoid has no second derivative in PyTorch
        checked = taylor.differences(loss, {"0.weight": [0, 9]})["0.weight"]
        found = taylor.exact(loss).values["0.weight"].flatten()[[0, 9]]
        torch.testing.assert_close(found, checked, rtol=1e-4, atol=1e-9)


class Field(nn.Module):
    """A force: the slope of an energy in the inputs, taken within the forward."""

    def __init__(self):
        super().__init__()
        self.a, self.o = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            (force,) = torch.autograd.grad(torch.tanh(self.a(at)).sum(), at)
        return self.o(force)


def test_a_network_may_take_derivatives_within_its_forward():
    net = Field().eval()
    chips = nvlib.program(net, "rram", 0.3, bits=8, index=range(2))
    found = nvlib.monte_carlo(net, (X, Y), "rram", 0.3, chips=2, bits=8)
    for i in range(2):
        outs = torch.func.functional_call(net, {name: w[i] for name, w in chips.items()}, (X,))
        assert found.loss[i] == pytest.approx(float(F.cross_entropy(outs.detach(), Y)), rel=1e-5)


def test_sigma_d_is_taken_and_checked_where_it_changes_nothing():
    net = nn.Linear(8, 4)
    assert len(nvlib.mapping(net, "rram", 0.1, bits=8)) == len(nvlib.mapping(net, "rram", bits=8)) == 2
    assert torch.equal(taylor.point(net, "rram", sigma_d=0.1, bits=8).deviation["weight"],
                       taylor.point(net, "rram", bits=8).deviation["weight"])  # fmt: skip
    for run in (nvlib.mapping, taylor.point):
        with pytest.raises(InputError, match="bits is given beside a crossbar"):
            run(net, nvlib.Crossbar("rram", 0.1, 8), bits=4)
    with pytest.raises(InputError, match=r"index=range\(0, 0\) names no chip"):
        nvlib.program(net, "rram", 0.1, bits=8, index=range(0))


def test_the_last_layer_is_none_that_holds_it():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.o = nn.Parameter(torch.randn(8, 8)), nn.Linear(8, 4)
            self.array_weights = ("w",)

        def forward(self, x):
            return self.o(torch.tanh(x @ self.w))

    last = deploy.get("last_layer")
    assert last.named(Net(), X) == ("o",)
    assert last.named(nn.Sequential(Net(), nn.Identity()), X) == ("0.o",)
    with pytest.raises(InputError, match="last_layer finds no layer in Linear"):
        last.named(nn.Linear(8, 4), X)


class Product(nn.Module):
    """A matrix of its own, with its outputs along the second axis, as GPT-2 has them."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(8, 4))
        self.array_weights = ("w",)

    def forward(self, x):
        return x @ self.w


@pytest.mark.parametrize(("net", "says"), [
    (Product(), "taken to be outputs is the first axis of w"), (nn.Linear(8, 4), None),
    (nn.utils.parametrizations.weight_norm(nn.Linear(8, 4)), None), (nn.LSTM(8, 4), None),
    (nn.MultiheadAttention(8, 2), None),
])  # fmt: skip
def test_which_axis_has_the_outputs_is_known_or_said(net, says):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nvlib.program(net, nvlib.Crossbar("rram", 0.1, 8, range="max/channel"))
    lines = [str(w.message) for w in caught if "first axis" in str(w.message)]
    assert len(lines) == (says is not None) and all(says in line for line in lines)


def test_columns_of_a_transposed_convolution_are_not_compensated():
    net = nn.Sequential(nn.Unflatten(1, (2, 2, 2)), nn.ConvTranspose2d(2, 4, 2), nn.Flatten(), nn.Linear(36, 4))
    found = dataset()
    with pytest.raises(InputError, match="compensation of each column on Sequential: a transposed convolution"):
        list(deploy.get("compensate", per="column").apply(net, found, "rram", 0.1, index=range(1), bits=8))


class Dropped(nn.Module):
    """Half of a weight, drawn: in training, or always."""

    def __init__(self, always=False):
        super().__init__()
        self.always = always

    def forward(self, w):
        return torch.dropout(w, 0.5, self.training or self.always)


def made(make, *args):
    """A network in training mode, as it is when it was built, whose first weight a parametrisation makes."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
    make(net[0], "weight", *args)
    return net


@pytest.mark.parametrize("net", [
    made(nn.utils.parametrizations.spectral_norm), made(nn.utils.parametrize.register_parametrization, Dropped()),
])  # fmt: skip
def test_weights_are_made_as_in_evaluation_whatever_the_mode(net):
    """What a parametrisation does in training (a power iteration, a draw) is no chip's, nor done to the model."""
    kept = {name: w.clone() for name, w in net.state_dict().items()}
    trains = nvlib.program(net, "rram", 0.3, bits=8, index=range(2))
    assert all(torch.equal(w, kept[name]) for name, w in net.state_dict().items()) and net.training
    rests = nvlib.program(net.eval(), "rram", 0.3, bits=8, index=range(2))
    assert all(torch.equal(trains[name], rests[name]) for name in rests)


def test_a_parametrisation_that_draws_in_evaluation_is_said():
    net, before = made(nn.utils.parametrize.register_parametrization, Dropped(always=True)), torch.get_rng_state()
    with pytest.warns(UserWarning, match="weight of ParametrizedLinear is drawn at random by its parametrisation"):
        nvlib.program(net, "rram", 0.1, bits=8)
    assert torch.equal(before, torch.get_rng_state())


class Sum(nn.Module):
    """A weight, and another layer's."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, w):
        return w + self.layer.weight


class Both(nn.Module):
    """A layer that another one's weight is made of, too."""

    def __init__(self, first):
        super().__init__()
        self.b, other, self.o = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        if first:
            self.a = other
        nn.utils.parametrize.register_parametrization(self.b, "weight", Sum(other))
        self.a = other

    def forward(self, x):
        return self.o(torch.tanh(self.b(torch.tanh(self.a(x)))))


@pytest.mark.parametrize("first", [True, False])
def test_a_layer_that_a_parametrisation_takes_as_well_lies_on_arrays(first):
    net = Both(first).eval()
    chips = nvlib.program(net, "rram", 0.3, bits=8, index=range(2))
    assert set(chips) == {"a.weight", "b.weight", "o.weight"}
    found = nvlib.monte_carlo(net, (X, Y), "rram", 0.3, bits=8, chips=2)
    for i in range(2):
        out = X
        for name in "abo":
            out = F.linear(torch.tanh(out) if name != "a" else out, chips[f"{name}.weight"][i],
                           getattr(net, name).bias.detach())  # fmt: skip
        assert found.loss[i] == pytest.approx(float(F.cross_entropy(out, Y)), rel=1e-5)
    with pytest.raises(InputError, match="is what the weight of a layer before it is made of"):
        nvlib.train("gaussian", net, dataset(), "rram", sigma_d=0.1, bits=8)


def test_a_parameter_beside_a_normed_weight_may_have_any_name():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.attention_v = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.randn(8, 4))
            self.array_weights = ("w", "attention_v")
            nn.utils.weight_norm(self, "w")

        def forward(self, x):
            return x @ self.w @ self.attention_v

    assert set(nvlib.program(Net(), "rram", 0.1, bits=8)) == {"w", "attention_v"}


@pytest.mark.parametrize(("change", "named"), [(torch.sign, True), (F.normalize, True), (lambda w: w, False),
                                               (torch.t, False)])  # fmt: skip
def test_a_matrix_of_its_own_that_is_quantised_again_is_named(change, named):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.array_weights = nn.Parameter(torch.randn(8, 8)), ("w",)

        def forward(self, x):
            return (x @ change(self.w))[:, :4]

    lines = [line for line in said(Net()).split(" | ") if "w of Net: another weight is made of it" in line]
    assert len(lines) == named
