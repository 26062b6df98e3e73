"""Each method's first update equals one computed from the paper's formula, with the noise fixed by its address.

The network is linear, so the gradient of a cross-entropy is (softmax - onehot) x^T, by hand; IRS's, which has hidden
layers, is written out forwards and differentiated by autograd on plain tensors.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn

from nvlib import data, devices, methods, noise, philox
from nvlib.crossbar import Crossbar, read_back, tables
from nvlib.methods import Recipe
from nvlib.methods.loop import order

SEED, SIGMA, LR = 7, 0.2, 0.1
ONE_STEP = Recipe("sgd", lr=LR, schedule="constant", batch_size=32, momentum=0.0)
DEVICE = devices.get("fefet1")


class Linear(nn.Module):
    bits = 4

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(784, 10)

    def forward(self, x):
        return self.fc(x.flatten(1))


class Small(nn.Module):
    bits = 4

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 3, 4, stride=4)  # 3 x 7 x 7
        self.fc = nn.Linear(147, 10)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).flatten(1))


@pytest.fixture(scope="module")
def few():
    return data.load("mnist", limit=32)


@pytest.fixture(scope="module")
def batch(few):
    take = torch.from_numpy(order(SEED, 0, 32))
    return few.train.x[take].double(), few.train.y[take]


def draw(shape, name="fc.weight", law=None, stream="noise"):
    """The luck of step 0, by its address."""
    u = philox.uniform(SEED, 0, f"train/{stream}/{name}", math.prod(shape))
    return (law or noise.Gaussian()).quantile(u).view(shape)


def held(w, sigma, z):
    return read_back(w[None], Crossbar(DEVICE, bits=4), None if z is None else z[None], sigma)[0]


def after(method, model, few):
    (epoch,) = methods.train(method, model, few, DEVICE, SIGMA, seed=SEED, epochs=1, recipe=ONE_STEP,
                             dtype=torch.float64, validation_chips=0)  # fmt: skip
    return epoch.weights()


def step(w, b, logits, x, y, factor_w=1.0, factor_b=1.0):
    """Return weights and bias after one step of plain gradient descent on the mean cross-entropy of logits."""
    error = (torch.softmax(logits, 1) - nn.functional.one_hot(y, 10)) / len(y)
    return w - LR * factor_w * error.T @ x, b - LR * factor_b * error.sum(0)


def agrees(got, w, b):
    torch.testing.assert_close(got["fc.weight"], w, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(got["fc.bias"], b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["rc", "rc_manual", "lc", "rt", "lt"])
@pytest.mark.parametrize("space", ["weight", "conductance"])
def test_cut_noise(name, space, few, batch):
    model = Linear().double()
    (x, y), (w, b) = batch, (p.detach() for p in (model.fc.weight, model.fc.bias))
    x = x.flatten(1)
    z = draw(w.shape, law=noise.get(name[:2], 0.5))
    z = torch.where(w < 0, -z, z) if space == "conductance" else z
    method = methods.get(name, th=0.5, ratio=1.5, space=space)
    agrees(after(method, model, few), *step(w, b, x @ held(w, 1.5 * SIGMA, z).T + b, x, y))
    assert torch.equal(after(methods.get(name, th=0.5, sigma_t=1.5 * SIGMA, space=space), Linear(), few)["fc.bias"],
                       after(method, Linear(), few)["fc.bias"])  # fmt: skip


def test_censoring_in_conductance_shrinks_weights_on_average():
    """E z < 0 lowers w in weight space whatever its sign, and |w| in conductance space."""
    z, w = draw((100_000,), law=noise.RightCensored(0.5)), torch.linspace(-1, 1, 100_000, dtype=torch.float64)
    assert z.mean() < -0.15
    strayed = held(w, SIGMA, torch.where(w < 0, -z, z)) - held(w, SIGMA, None)
    assert strayed[w > 0].mean() < 0 < strayed[w < 0].mean()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("n", "increment"), [(3, 0.05), (2, -0.15), (0, 0.05)])
def test_ovf(n, increment, reverse, few, batch):
    model, beta = Linear().double(), 0.3
    (x, y), (w, b) = batch, (p.detach() for p in (model.fc.weight, model.fc.bias))
    x = x.flatten(1)
    out = [x @ held(w, SIGMA, draw(w.shape)).T + b]
    for i in range(1, n + 1):
        sigma = max(0.0, SIGMA + i * increment)
        out.append(x @ held(w, sigma, draw(w.shape, stream=f"ovf{i}")).T + b)
    gamma = [10.0 ** (1 - i if reverse else i - n) for i in range(1, n + 1)]
    total = (out[0] - beta * sum((g * o for g, o in zip(gamma, out[1:], strict=True)), torch.zeros(()))) / (n + 1)
    factor = (1 - beta * sum(gamma)) / (n + 1)  # all forwards are differentiated
    method = methods.get("ovf", n=n, step=increment, beta=beta, reverse=reverse)
    agrees(after(method, model, few), *step(w, b, total, x, y, factor, factor))


def test_ovf_without_louder_forwards_is_gaussian_injection(few):
    one, two = after(methods.get("ovf", n=0), Linear(), few), after("gaussian", Linear(), few)
    torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)


def test_correctnet(few, batch):
    """d || W W^T - lambda^2 I ||_F^2 / dW = 4 (W W^T - lambda^2 I) W, with lambda lowered for the variation."""
    model, beta, lam = Linear().double(), 0.03, 0.9
    (x, y), (w, b) = batch, (p.detach() for p in (model.fc.weight, model.fc.bias))
    x = x.flatten(1)
    scale = w.abs().max() / 15
    digits = (w.abs() / scale).round().long()
    deviation = torch.from_numpy(tables(DEVICE, 4, "full_scale", "differential")[1])[digits]
    d = scale * SIGMA * deviation.square().mean().sqrt()
    rho = w.square().sum().sqrt() / math.sqrt(10)
    lowered = min(lam, 1 / (1 + float(d / rho) * (math.sqrt(10) + 28 + 3)))
    assert lowered < lam
    moved, bias = step(w, b, x @ held(w, 0.0, None).T + b, x, y)
    moved = moved - LR * beta * 4 * (w @ w.T - lowered**2 * torch.eye(10, dtype=torch.float64)) @ w
    agrees(after(methods.get("correctnet", beta=beta, lam=lam), model, few), moved, bias)


def test_correctnets_bound_holds_for_chips():
    """A layer of singular values lambda, strayed: mean plus three deviations of its norm stay below 1, as derived."""
    from nvlib.methods.correctnet import lowered
    from nvlib.methods.training_state import TrainingState

    q, _ = torch.linalg.qr(torch.randn(60, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    w = q.T.clone()[None]
    run = TrainingState(nn.Linear(60, 24), {"weight": w}, ["weight"], Crossbar(DEVICE, 0.1, 4),
              torch.tensor([0.1]).double(), [0.1], [0], [0], [0], torch.zeros(1, dtype=torch.bool))  # fmt: skip
    lam = lowered(run, "weight", torch.ones(1, dtype=torch.float64))
    assert 0.1 < float(lam) < 1
    z = philox.normal(0, range(200), "norms", w.numel()).view(200, 24, 60)
    chips = read_back(lam * w, Crossbar(DEVICE, 0.1, 4), z)
    norms = torch.linalg.matrix_norm(chips, 2)
    # quantisation to 4 bits may add to the norm what the bound does not count; the bound's slack covers it here
    assert 0.6 < norms.mean() + 3 * norms.std() < 1
    run.sigma_d = torch.zeros(1, dtype=torch.float64)
    assert float(lowered(run, "weight", torch.full((1,), 0.75))) == 0.75


@pytest.mark.parametrize(("noisy", "reverse"), [(True, False), (False, False), (True, True)])
def test_irs(noisy, reverse, few, batch):
    model, beta, hidden = Small().double(), 0.4, 5
    x, y = batch
    names = [("conv.weight", model.conv.weight), ("conv.bias", model.conv.bias),
             ("fc.weight", model.fc.weight), ("fc.bias", model.fc.bias)]  # fmt: skip
    clean = {name: p.detach().clone().requires_grad_() for name, p in names}
    heads = []
    for i, features in enumerate((147, 10)):
        head = {}
        for name, shape in {"fc1.weight": (hidden, features), "fc1.bias": (hidden,), "fc2.weight": (10, hidden),
                            "fc2.bias": (10,)}.items():  # fmt: skip
            fan_in = features if name.startswith("fc1") else hidden
            u = philox.uniform(SEED, 0, f"irs/{i}.{name}", math.prod(shape)).view(shape)
            head[name] = ((2 * u - 1) / math.sqrt(fan_in)).requires_grad_()
        heads.append(head)

    def perturbed(w, name, loud=True):
        return held(w, SIGMA, draw(w.shape, name) if loud else None)

    conv = nn.functional.conv2d(x, perturbed(clean["conv.weight"], "conv.weight"), clean["conv.bias"], stride=4)
    logits = torch.relu(conv).flatten(1) @ perturbed(clean["fc.weight"], "fc.weight").T + clean["fc.bias"]
    total, gamma = logits, (0.1, 1.0) if reverse else (1.0, 0.1)
    for i, (taken, head) in enumerate(zip((conv.flatten(1), logits), heads, strict=True)):
        h = torch.relu(taken @ perturbed(head["fc1.weight"], f"irs/{i}.fc1.weight", noisy).T + head["fc1.bias"])
        out = h @ perturbed(head["fc2.weight"], f"irs/{i}.fc2.weight", noisy).T + head["fc2.bias"]
        total = total - beta * gamma[i] * out
    nn.functional.cross_entropy(total / 3, y).backward()
    method = methods.get("irs", layers=("conv", "fc"), beta=beta, hidden=hidden, noisy=noisy, reverse=reverse)
    (epoch,) = methods.train(method, model, few, DEVICE, SIGMA, seed=SEED, epochs=1, recipe=ONE_STEP,
                             dtype=torch.float64, validation_chips=0)  # fmt: skip
    for name, tensor in epoch.weights().items():
        torch.testing.assert_close(tensor, clean[name].detach() - LR * clean[name].grad, rtol=1e-10, atol=1e-12)
    for i, head in enumerate(heads):
        for name, tensor in head.items():
            moved = epoch.state[f"extra/{i}.{name}"][0]
            torch.testing.assert_close(moved, tensor.detach() - LR * tensor.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["trice", "trice_gauss"])
def test_trices_candidates(name, few, batch):
    """Before the first KPP the middle candidate is plain noise injection at the middle of [0, 2 sigma_d]."""
    model = Linear().double()
    (x, y), (w, b) = batch, (p.detach() for p in (model.fc.weight, model.fc.bias))
    x = x.flatten(1)
    law = noise.RightCensored(2.0) if name == "trice" else noise.Gaussian()
    (epoch,) = methods.train(name, model, few, DEVICE, SIGMA, seed=SEED, epochs=1, recipe=ONE_STEP,
                             dtype=torch.float64, validation_chips=0)  # fmt: skip
    for row, sigma_t in enumerate((0.5 * SIGMA, SIGMA, 1.5 * SIGMA)):
        got = {k.removeprefix("weights/"): v[row] for k, v in epoch.state.items() if k.startswith("weights/")}
        agrees(got, *step(w, b, x @ held(w, sigma_t, draw(w.shape, law=law)).T + b, x, y))
    agrees(epoch.weights(), *(epoch.state[f"weights/{k}"][1] for k in ("fc.weight", "fc.bias")))
    assert np.isfinite(epoch.loss).all() and epoch.loss.shape == (1,)
