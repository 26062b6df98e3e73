"""Write-verify and SWIM: cells that add up to the chip, the redraw model's closed form, a known diagonal Hessian."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import nvlib
from nvlib import InputError, deploy, devices, models
from nvlib.cells import cells_of
from nvlib.crossbar import Crossbar, read_back
from nvlib.data import Split
from nvlib.deploy import sensitivity, swim, verify_model
from nvlib.deploy.context import prepare
from nvlib.deploy.verify_model import Verification, margin_for, mean_pulses, residual
from nvlib.deploy.write_verify import verify


@pytest.fixture(scope="module")
def lenet3(mnist):
    """A LeNet-3 that has seen some digits."""
    recipe = nvlib.Recipe(lr=5e-3, batch_size=50)
    options = {"epochs": 4, "recipe": recipe, "validation_chips": 1, "mapping": "signed"}
    *_, last = nvlib.train("gaussian", "lenet3", mnist, "rram", 0.1, **options)
    return last.model()


def site_of(model, data, sigma_d=0.2, **options):
    return prepare(model, data, "rram", sigma_d, **options)


# -- registry --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", deploy.DEPLOYMENTS)
def test_parameters_are_plain_json(name):
    method = deploy.get(name)
    assert method.name == name and deploy.get(method) is method
    values = dataclasses.asdict(method)
    again = deploy.get(name, **json.loads(json.dumps(values)))
    assert again == method
    with pytest.raises(InputError, match="sigmaa"):
        deploy.get(name, sigmaa=0.03)


def test_unknown_deployment_lists_the_known():
    with pytest.raises(InputError, match="write_verify"):
        deploy.get("tbs")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("write_verify", {"sigma": 0}), ("write_verify", {"max_pulses": 0}),
        ("write_verify", {"margin": 0.1, "process": False}), ("swim", {"fraction": 1.5}), ("swim", {"step": 0}),
        ("swim", {"ranking": "size"}), ("swim", {"unit": "row"}), ("swim", {"target": -1}), ("swim", {"images": 0}),
        ("last_layer", {"mode": "off_chip"}), ("last_layer", {"mode": "on_chip", "sigma": 0.03}),
        ("last_layers", {"epochs": 0}), ("tsb", {"channels": 0}), ("tsb", {"init": "zeros"}), ("tsb", {"layers": 0}),
        ("tsb", {"lr": -1}), ("tsb", {"redraws": 0}), ("tsb", {"images": 0}), ("normalise", {"images": 1}),
        ("swim", {"margin": 0.1, "process": False}),
    ],
)  # fmt: skip
def test_parameters_that_cannot_be_used_are_refused(name, parameters):
    with pytest.raises(InputError):
        deploy.get(name, **parameters)


# -- cells -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mapping", ["differential", "signed"])
@pytest.mark.parametrize("device", ["rram", "fefet1"])
def test_cells_have_the_devices_spread_and_add_up_to_the_chip(device, mapping):
    record, options = devices.get(device), {"bits": 4, "reference": "full_scale", "mapping": mapping}
    w = torch.tensor([-1.0, 0.3, 0.75, 0.0], dtype=torch.float64)
    cells = cells_of(w, Crossbar(record, 0.1, **options))
    assert cells.spread.shape == (4, 4 if mapping == "differential" else 2)
    table = record.spread(0.1, "full_scale")
    n = (w.abs() * 15).round().long()
    for i in range(4):
        held = [table[int(n[i] % 4)], table[int(n[i] // 4)]]
        assert cells.spread[i].tolist() == held + ([table[0]] * 2 if mapping == "differential" else [])
    chips = range(20_000)
    z = nvlib.philox.normal(3, chips, "program/w", 4)
    clean = read_back(w[None], Crossbar(record, 0.0, **options), None)
    total = (read_back(w[None], Crossbar(record, 0.1, **options), z) - clean) / cells.step
    drawn = cells.draw(total, 3, chips, "w")
    torch.testing.assert_close(drawn.sum(-1), total, rtol=0, atol=1e-12)
    # the covariance of a weight's cells is diagonal, the device's; an entry's standard error is at most
    # sqrt(2 / n) times the product of the deviations, and four of them are allowed
    for i in range(4):
        sd = cells.deviation[i]
        found = torch.cov(drawn[:, i].T) / sd[:, None] / sd[None, :]
        assert (found - torch.eye(len(sd), dtype=found.dtype)).abs().max() < 4 * math.sqrt(2 / len(chips))
        assert (drawn[:, i].mean(0) / sd).abs().max() < 4 / math.sqrt(len(chips))


# -- write-verify ----------------------------------------------------------------------------------------------------


def test_the_closed_form_against_numerical_integration():
    from scipy import integrate, stats

    for a in (1e-4, 0.02, 0.5, 2.0):
        p = stats.norm.cdf(a) - stats.norm.cdf(-a)
        second, _ = integrate.quad(lambda x: x**2 * stats.norm.pdf(x), -a, a, epsabs=1e-16)
        assert residual(1.0, a) == pytest.approx(math.sqrt(second / p), rel=1e-6)
        assert mean_pulses(1.0, a) == pytest.approx(1 / p)
        by_hand = sum(n * p * (1 - p) ** (n - 1) for n in range(1, 7)) + 7 * (1 - p) ** 6  # the 7th is the last
        assert mean_pulses(1.0, a, 7) == pytest.approx(by_hand, rel=1e-9)
    assert residual(0.3, margin_for(0.3, 0.09)) == pytest.approx(0.09, rel=1e-9)
    assert math.isinf(margin_for(0.3, 0.3)) and mean_pulses(0.3, math.inf) == 1
    assert residual(0.3, math.inf) == 0.3


@pytest.mark.parametrize("device", ["rram", "fefet1"])
def test_pulses_and_residual_follow_the_closed_form(device):
    record, chips, weights = devices.get(device), range(30), 1000
    w = torch.linspace(-1, 1, weights, dtype=torch.float64)
    options = {"bits": 4, "reference": "full_scale", "mapping": "differential"}
    cells = cells_of(w, Crossbar(record, 0.2, **options))
    how = Verification.of(Crossbar(record, 0.2), margin=0.1, max_pulses=200)
    assert how.margin == pytest.approx(0.1 * max(record.spread(1.0, "full_scale")))
    first = nvlib.philox.normal(0, chips, "first", cells.spread.numel()).view(30, *cells.spread.shape)
    left, pulses = how.repeat(cells, first * cells.deviation, 5, chips, "w")
    assert ((left.abs() / cells.weight) <= how.margin).all()
    for spread in cells.spread.unique().tolist():
        mine = cells.spread == spread
        count, off = pulses[:, mine].flatten(), (left / cells.weight)[:, mine].flatten()
        n, p = count.numel(), verify_model.chance(spread, how.margin)
        expected = mean_pulses(spread, how.margin, 200)
        assert abs(float(count.mean()) - expected) < 4 * math.sqrt((1 - p) / p**2 / n)  # deviation of the geometric
        wanted = residual(spread, how.margin)
        fourth = float((off**4).mean())
        error = math.sqrt((fourth - wanted**4) / n) / (2 * wanted)  # delta method for a standard deviation
        assert abs(float(off.std()) - wanted) < 4 * error
        # the whole law of the pulses, not its mean alone
        for k in (1, 2, 3):
            share = float((count == k).double().mean())
            law = p * (1 - p) ** (k - 1)
            assert abs(share - law) < 4 * math.sqrt(law * (1 - law) / n)


def test_a_cell_that_never_converges_stops_at_max_pulses():
    record = devices.get("rram")
    cells = cells_of(torch.ones(50), Crossbar(record, 0.4, 2, mapping="signed"))
    how = Verification.of(Crossbar(record, 0.4), margin=1e-9, max_pulses=6)
    first = torch.ones(1, 50, 1, dtype=torch.float64)
    left, pulses = how.repeat(cells, first, 0, range(1), "w")
    assert (pulses == 6).all() and (left != first).all()


def test_verifying_some_cells_leaves_all_others_as_they_are(lenet3, mnist):
    context = site_of(lenet3, mnist)
    chips = context.program(range(3))
    how = Verification.of(context.crossbar)
    none = {name: torch.zeros(chips[name][0].numel(), 1, dtype=torch.bool) for name in context.arrays}
    some = {name: mask.clone() for name, mask in none.items()}
    some["conv1.weight"][::2] = True
    for process in (True, False):
        method = dataclasses.replace(how, process=process)
        held, pulses, verified = verify(context, method, range(3), chips, none)
        assert verified == 0 and (pulses == context.cells).all()
        assert all(torch.equal(held[name], chips[name]) for name in chips)
        held, pulses, verified = verify(context, method, range(3), chips, some)
        assert verified == int(some["conv1.weight"].sum()) * 8 and (pulses > context.cells).all()
        same = (held["conv1.weight"] == chips["conv1.weight"]).flatten(1)
        assert same[:, 1::2].all() and not same[:, ::2].any()
        assert torch.equal(held["fc1.weight"], chips["fc1.weight"])


@pytest.mark.parametrize("process", [True, False])
def test_a_part_of_a_weights_cells_can_be_verified(process, lenet3, mnist):
    """Verifying the top slice alone leaves the deviation of the others: the closed form's sum of variances."""
    context = site_of(lenet3, mnist, mapping="signed")
    how = Verification.of(context.crossbar, process=process)
    name, index = "fc1.weight", range(4)
    chips = context.program(index)
    mask = torch.zeros(4900, 4, dtype=torch.bool)
    mask[:, 3] = True
    held, _, verified = verify(context, how, index, chips, {name: mask})
    assert verified == 4900
    w = context.model.fc1.weight
    cells = cells_of(w, context.crossbar)
    clean = context.program(range(1), 0.0)[name]
    off = ((held[name] - clean).double() / cells.step).flatten()
    variance = sum((4.0**j * 3 * 0.2) ** 2 for j in range(3)) + (4.0**3 * 3 * 0.03) ** 2
    assert float(off.std()) == pytest.approx(math.sqrt(variance), rel=4 / math.sqrt(2 * len(off)))


def test_write_verify_mends_chips_and_counts(lenet3, mnist):
    process, shortcut = (
        deploy.Deployed.join(list(deploy.get("write_verify", process=p).apply(lenet3, mnist, "rram", 0.3,
                                                                              index=range(4), mapping="signed")))
        for p in (True, False)
    )  # fmt: skip
    plain = nvlib.monte_carlo(lenet3, mnist, "rram", 0.3, chips=4, mapping="signed")
    np.testing.assert_array_equal(process.before, plain.accuracy)
    for deployed in (process, shortcut):
        assert deployed.accuracy.mean() > deployed.before.mean() + 3
        assert (deployed.cells == 5395 * 4).all() and (deployed.verified == deployed.cells).all()
        assert (deployed.passes == 0).all()
    margin = margin_for(0.9, 0.09)
    mean = mean_pulses(0.9, margin, 100)
    p = verify_model.chance(0.9, margin)
    # a chip's pulses are a sum over 21580 cells; four chips, four standard errors
    assert abs(process.pulses.mean() / 21580 - mean) < 4 * math.sqrt((1 - p) / p**2 / 21580 / 4)
    np.testing.assert_allclose(shortcut.pulses, 21580 * mean)
    assert process.frame().columns.tolist() == [
        "chip", "accuracy", "loss", "ekl", "before", "cells", "verified", "pulses", "passes", "seconds",
    ]  # fmt: skip


# -- sensitivity and SWIM --------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """Logistic regression: its diagonal Hessian is known."""

    bits = 4

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 3, bias=False)

    def forward(self, x):
        return self.fc(x.flatten(1))


def closed_form(model, x):
    """d^2 L / dw_ci^2 = mean of p_c (1 - p_c) x_i^2."""
    p = model(x).softmax(-1)
    return torch.einsum("nc,ni->ci", p * (1 - p), x.flatten(1) ** 2) / len(x)


@pytest.fixture
def logistic():
    generator = torch.Generator().manual_seed(0)
    model = Linear().double()
    model.fc.weight.data = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    x = torch.randn(40, 1, 2, 3, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 3.0, 0.2])
    return model, Split(x, torch.zeros(40, dtype=torch.int64))


def test_curvature_of_logistic_regression_is_the_closed_form(logistic):
    model, split = logistic
    exact = sensitivity.curvature(model, {}, split, ["fc.weight"])["fc.weight"]
    torch.testing.assert_close(exact, closed_form(model, split.x).detach(), rtol=1e-12, atol=1e-15)
    many = Split(split.x.repeat(500, 1, 1, 1), split.y.repeat(500))
    sampled = sensitivity.curvature(model, {}, many, ["fc.weight"], estimate="sampled")["fc.weight"]
    # squares of a bounded variable, 20,000 draws: within a few percent of the largest entry
    assert (sampled - exact).abs().max() < 0.05 * exact.max()


def test_curvature_of_a_relu_network_is_its_hessians_diagonal():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)).double()
    x, y = torch.randn(5, 1, 6, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    found = sensitivity.curvature(model, {}, Split(x, y), ["0.weight", "4.weight"])
    for name in found:
        w = dict(model.named_parameters())[name]

        def loss(value, name=name):
            return nn.functional.cross_entropy(torch.func.functional_call(model, {name: value}, (x,)), y)

        hessian = torch.autograd.functional.hessian(loss, w.detach()).reshape(w.numel(), w.numel())
        torch.testing.assert_close(found[name].flatten(), hessian.diagonal(), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("unit", ["weight", "cell"])
def test_ranking_with_a_known_diagonal_hessian(unit, logistic, mnist):
    model, split = logistic
    data = dataclasses.replace(mnist, train=split, validation=split, test=split)
    context = prepare(model, data, "rram", 0.1, mapping="signed")
    order = deploy.get("swim", unit=unit, images=40).order(context)
    quantised = Linear().double()
    quantised.fc.weight.data = nvlib.program(model, "rram", 0.0, mapping="signed")["fc.weight"]
    wanted = closed_form(quantised, split.x).detach().flatten()
    if unit == "cell":
        wanted = (wanted[:, None] * torch.tensor([1.0, 16.0])).flatten()  # slices of 1 and 4
    assert order.ranks.tolist() == torch.argsort(wanted, descending=True, stable=True).tolist()
    first = order.first(1 / 3)["fc.weight"]
    assert first.sum() == round(len(wanted) / 3) and first.flatten()[order.ranks[0]]


def test_sweeps_refuse_effects_that_they_would_leave_out(logistic, mnist):
    model, split = logistic
    data = dataclasses.replace(mnist, train=split, validation=split, test=split)
    with pytest.raises(InputError, match="crossbar without effects"):
        swim.sweep(model, data, "rram", 0.1, index=range(1), effects="stuck:chen2015")


def test_ties_are_broken_by_magnitude_and_rivals_rank_as_they_say(logistic, mnist):
    model, split = logistic
    flat = Split(torch.zeros_like(split.x), split.y)  # no image moves the output: all second derivatives are zero
    data = dataclasses.replace(mnist, train=flat, validation=flat, test=flat)
    context = prepare(model, data, "rram", 0.1)
    size = nvlib.program(model, "rram", 0.0)["fc.weight"].abs().flatten()
    by_size = torch.argsort(size, descending=True, stable=True).tolist()
    assert deploy.get("swim").order(context).ranks.tolist() == by_size
    assert deploy.get("swim", ranking="magnitude").order(context).ranks.tolist() == by_size
    random = deploy.get("swim", ranking="random").order(context).ranks.tolist()
    assert sorted(random) == list(range(18)) and random != by_size


def test_expected_ranks_by_what_a_deviation_adds_to_the_loss(lenet3, mnist):
    """The sum over weights of the score is the second-order rise of the loss, which tensors of any scale share."""
    context = site_of(lenet3, mnist, 0.05, mapping="signed")
    clean = context.program(range(1), 0.0)
    few = Split(mnist.train.x[:200], mnist.train.y[:200])
    bends = sensitivity.curvature(context.model, {n: w[0] for n, w in clean.items()}, few, context.arrays)
    order = deploy.get("swim", ranking="expected", images=200).order(context)
    rise = []
    for name in context.arrays:
        cells = cells_of(dict(context.model.named_parameters())[name], context.crossbar.at(0.05))
        rise.append(0.5 * bends[name].flatten() * cells.step**2 * (cells.deviation**2).sum(1))
    wanted = torch.cat(rise)
    assert (wanted[torch.from_numpy(order.ranks)].diff() <= 0).all()


def test_swim_beats_chance_and_all_of_it_is_write_verify(lenet3, mnist):
    few = dataclasses.replace(mnist, test=Split(mnist.test.x[:300], mnist.test.y[:300]))
    table = swim.sweep(lenet3, few, "rram", 0.3, index=range(6), fractions=(0.0, 0.2, 1.0), mapping="signed",
                       method=deploy.get("swim", images=200))  # fmt: skip
    mean = table.groupby(["ranking", "fraction"])["accuracy"].mean()
    assert mean["curvature", 0.2] > mean["random", 0.2] and mean["curvature", 0.2] > mean["curvature", 0.0]
    none, whole = table[table["fraction"] == 0], table[table["fraction"] == 1]
    assert (none["accuracy"] == none["before"]).all() and (none["pulses"] == none["cells"]).all()
    (verified,) = deploy.get("write_verify").apply(lenet3, few, "rram", 0.3, index=range(6), mapping="signed")
    for _, part in whole.groupby("ranking"):
        np.testing.assert_array_equal(part["accuracy"], verified.accuracy)
        np.testing.assert_array_equal(part["pulses"], verified.pulses)


def test_verification_stops_once_a_chip_is_good_enough(lenet3, mnist):
    mnist = dataclasses.replace(mnist, validation=Split(mnist.validation.x[:300], mnist.validation.y[:300]),
                                test=Split(mnist.test.x[:100], mnist.test.y[:100]))  # fmt: skip
    options = {"index": range(5), "mapping": "signed"}
    method = deploy.get("swim", target=4.0, step=0.1, fraction=0.5, images=100)
    (some,) = method.apply(lenet3, mnist, "rram", 0.25, **options)
    assert len(set(some.verified)) > 1  # chips differ in what they need
    context = site_of(lenet3, mnist, 0.25, mapping="signed")
    goal = context.ideal(context.validation) - 4
    chips, order, how = context.program(range(5)), method.order(context), method.verification(context)
    shares = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    verified = [verify(context, how, range(5), chips, order.first(f))[0] for f in shares]
    scored = [context.score(weights, context.validation)[0] for weights in verified]
    for chip in range(5):
        first = next((i for i in range(6) if scored[i][chip] >= goal), 5)
        assert some.verified[chip] == round(shares[first] * 5395) * 4
    (one,) = method.apply(lenet3, mnist, "rram", 0.25, index=range(3, 4), mapping="signed")
    assert one.verified[0] == some.verified[3] and one.accuracy[0] == some.accuracy[3]


def test_networks_whose_layers_are_not_known_ask_for_names(mnist):
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    model.bits = 4
    for name in ("tsb", "last_layers"):
        with pytest.raises(InputError, match=r"layers=|places="):
            deploy.get(name).apply(model, mnist, "rram", 0.1, index=range(1)).__next__()
    with pytest.raises(InputError, match="conv9"):
        deploy.get("tsb", places=("conv9",)).apply(models.build("lenet3"), mnist, "rram", 0.1, index=range(1))
    with pytest.raises(InputError, match="range of at least one"):
        next(deploy.get("write_verify").apply(model, mnist, "rram", 0.1, index=range(0)))
