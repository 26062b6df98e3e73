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
from nvlib import models, probe
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


def test_a_network_that_insists_on_its_precision_is_looked_at_in_it():
    def single(x):
        assert x.dtype == torch.float32
        return x

    assert said(Of(before=single)) == ""
    assert "draws random" in said(Of(before=lambda x: single(x) + torch.randn(8)))


def test_it_is_looked_at_once_a_call(monkeypatch):
    calls = []
    monkeypatch.setattr(probe, "inspect", lambda *_: calls.append(1))
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
