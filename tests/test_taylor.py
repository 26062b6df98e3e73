"""Derivatives of the loss, the expansion in all weights, and theory against chips."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import nvlib
from nvlib import InputError, taylor
from nvlib.data import Split
from nvlib.taylor.point import smooth

F64 = torch.float64


class Linear(nn.Module):
    """Outputs = W x: with squared error the loss is quadratic in W, exactly."""

    bits = 4

    def __init__(self, inputs=3, outputs=2):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.fc = nn.Linear(inputs, outputs, bias=False)
        self.fc.weight.data = torch.randn(outputs, inputs, generator=generator)

    def forward(self, x):
        return self.fc(x)


class Smooth(nn.Module):
    """A network with curved activations, where Gauss-Newton is not the Hessian."""

    bits = 4

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


@pytest.fixture(scope="module")
def quadratic():
    """The linear model's loss on 40 points, and its exact gradient and Hessian in W's flat order."""
    generator = torch.Generator().manual_seed(2)
    x, y = (torch.randn(40, n, generator=generator, dtype=F64) for n in (3, 2))
    loss = taylor.Loss(taylor.point(Linear(), dtype=F64), Split(x, y), taylor.squared_error, images=16)
    w = loss.point.centre["fc.weight"]
    gradient = ((x @ w.T - y).T @ x / 40).flatten().numpy()
    hessian = np.kron(np.eye(2), (x.T @ x / 40).numpy())
    return loss, gradient, hessian


def small(images=24, dtype=F64, activation_bits=0):
    """A LeNet of a tenth of the channels, on real digits."""
    model = nvlib.build("lenet", width=0.15, activation_bits=activation_bits, seed=3)
    data = nvlib.load("mnist", limit=images)
    return taylor.Loss(taylor.point(model, dtype=dtype), data.test, images=10)


# -- the point -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["rram", "fefet2", "pcm"])
@pytest.mark.parametrize("mapping", ["differential", "signed"])
def test_chips_of_a_point_are_those_of_program(device, mapping):
    model = nvlib.build("lenet3", seed=0)
    where = taylor.point(model, device, mapping=mapping)
    ours = where.chips(0.1, seed=5, index=range(3, 5))
    theirs = nvlib.program(model, device, 0.1, seed=5, index=range(3, 5), mapping=mapping)
    for name in theirs:
        # the same numbers multiplied in another order: last bits of float32
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-6, atol=1e-6)
    for name, own in where.slices.items():
        torch.testing.assert_close(own.square().sum(0).sqrt(), where.deviation[name])
    assert len(where) == sum(w[0].numel() for w in theirs.values())


def test_noise_in_one_layer_or_slice_leaves_the_others():
    where = taylor.point(nvlib.build("lenet3", seed=0))
    held = where.chips(0.1, index=range(2), layers=["conv2.weight"])
    assert (held["conv1.weight"] == where.centre["conv1.weight"]).all()
    assert (held["conv2.weight"] != where.centre["conv2.weight"]).any()
    low = where.deviations(slices=[0])["fc1.weight"]
    assert (low < where.deviation["fc1.weight"]).all() and (low > 0).all()


def test_activation_quantisation_is_off_and_said_so():
    model = nvlib.build("lenet", seed=0)
    plain, gone = smooth(model)
    assert gone == ("quant1", "quant2", "quant3", "quant4") and not plain.training
    assert isinstance(model.quant1, nvlib.models.ActivationQuantiser)  # the model itself is as it was
    note = taylor.diagonal(small(activation_bits=4)).note
    assert "activation quantisation off: quant1, quant2, quant3, quant4" in note


# -- derivatives -----------------------------------------------------------------------------------------------------


def test_derivatives_of_a_quadratic_loss(quadratic):
    loss, gradient, hessian = quadratic
    flat = loss.point.flat
    np.testing.assert_allclose(flat(loss.gradient()), gradient, atol=1e-12)
    for how in ("exact", "gauss_newton"):
        np.testing.assert_allclose(flat(taylor.diagonal(loss, how).values), np.diag(hessian), atol=1e-12)
    v = torch.randn(3, 6, dtype=F64)
    product = loss.hessian_times(loss.point.split(v))["fc.weight"].flatten(1)
    np.testing.assert_allclose(product, v.numpy() @ hessian, atol=1e-12)


def test_gauss_newton_is_the_hessian_of_a_piecewise_linear_network():
    """Every weight of a small LeNet (ReLU, max-pooling): its diagonal to rounding; not so where activations bend."""
    loss = small(12)
    whole, ours = taylor.diagonal(loss, "exact"), taylor.diagonal(loss)
    assert ours.how == "gauss_newton"
    for name, value in whole.values.items():
        np.testing.assert_allclose(ours.values[name], value, rtol=1e-9, atol=1e-14)
    bent = taylor.Loss(taylor.point(Smooth(), dtype=F64), Split(torch.randn(20, 4), torch.arange(20) % 3))
    ends = [loss.point.flat(taylor.diagonal(loss, how).values) for how in ("exact", "gauss_newton") for loss in [bent]]
    assert (ends[0] - ends[1]).abs().max() > 1e-3


@pytest.mark.parametrize("make", [small, None], ids=["lenet", "tanh"])
def test_derivatives_against_finite_differences(make):
    """float64, steps of 1e-6: rounding 1e-10 of the gradient, truncation smaller."""
    loss = (
        make()
        if make
        else taylor.Loss(taylor.point(Smooth(), dtype=F64), Split(torch.randn(20, 4), torch.arange(20) % 3))
    )
    found, slopes = taylor.diagonal(loss, "exact").values, loss.gradient()
    picks = {name: [0, w.numel() // 2, w.numel() - 1] for name, w in loss.point.centre.items()}
    for name, seen in taylor.differences(loss, picks, step=1e-6).items():
        np.testing.assert_allclose(found[name].flatten()[picks[name]], seen, rtol=1e-5, atol=1e-8)
        w = loss.point.centre[name].clone()
        ends = []
        for step in (1e-6, -1e-6):
            w.view(-1)[0] += step
            ends.append(loss.value({name: w}))
            w.view(-1)[0] -= step
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float(slopes[name].flatten()[0]), rel=1e-6, abs=1e-9)


def test_the_stochastic_diagonal_within_its_standard_errors():
    """Each estimate within six of its own errors (181 of them, 64 probes), their mean square near one."""
    loss = small(8)
    whole, guess = taylor.diagonal(loss, "exact"), taylor.diagonal(loss, "stochastic", probes=64, seed=1)
    error = loss.point.flat(guess.error)
    off = (loss.point.flat(guess.values) - loss.point.flat(whole.values)) / error.clamp(min=1e-12)
    live = error > 1e-9  # weights behind a dead unit have no curvature and no error
    assert live.sum() > 150 and off[live].abs().max() < 6
    assert 0.8 < float(off[live].square().mean()) < 1.25  # sd of a mean of 181 squares: 0.1


def test_chunks_of_images_change_nothing():
    loss = small(24)
    other = taylor.Loss(loss.point, loss.split, images=24)
    np.testing.assert_allclose(loss.value(), other.value(), rtol=1e-12)
    for ours, theirs in (
        (loss.gradient(), other.gradient()),
        (taylor.gauss_newton(loss).values, taylor.gauss_newton(other).values),
    ):
        np.testing.assert_allclose(loss.point.flat(ours), loss.point.flat(theirs), rtol=1e-9, atol=1e-14)


# -- the expansion ---------------------------------------------------------------------------------------------------


def test_the_expansion_of_a_quadratic_loss_is_its_law(quadratic):
    """All of A spelt out: predicted percentiles against simulated chips, whose loss is exactly quadratic."""
    loss, gradient, hessian = quadratic
    found = taylor.expand(loss, vectors=5, probes=64)
    d = loss.point.flat(loss.point.deviation).numpy()
    a = d[:, None] * hessian * d
    lam = np.linalg.eigvalsh(a)
    np.testing.assert_allclose(found.b, gradient * d, atol=1e-12)
    np.testing.assert_allclose(np.sort(found.lam), np.sort(lam)[1:], rtol=2e-3)
    for (value, error), power in ((found.square, 2), (found.cube, 3)):
        want = np.trace(np.linalg.matrix_power(a, power))
        assert abs(value - want) < 4 * error + 2e-3 * want  # Hutchinson's error, Lanczos' tolerance
    assert found.bent == pytest.approx((gradient * d) @ a @ (gradient * d))
    law, n = found.law(0.3), 40_000
    z = np.random.default_rng(5).standard_normal((n, 6))
    lost = found.f0 + 0.3 * z @ (gradient * d) + 0.045 * np.einsum("ni,ij,nj->n", z, a, z)
    assert abs(lost.mean() - law.mean) < 4 * lost.std() / n**0.5
    for p in (0.05, 0.5, 0.95, 0.99):
        assert abs((lost <= law.quantile(p)).mean() - p) < 4 * (p * (1 - p) / n) ** 0.5
    pairs = taylor.one_by_one(loss, chips=4)
    for chip, row in zip(range(4), pairs.itertuples(), strict=True):
        held = loss.point.chips(0.3, index=range(chip, chip + 1))
        want = loss.value({name: w[0] for name, w in held.items()})
        assert found.f0 + 0.3 * row.first + 0.045 * row.second == pytest.approx(want, rel=1e-10)


def test_the_diagonal_law_is_exact_for_independent_weights(quadratic):
    loss, *_ = quadratic
    found = taylor.expand(loss, vectors=0, probes=0)
    diagonal, full, linear = (found.law(0.2, name) for name in ("diagonal", "full", "linear"))
    np.testing.assert_allclose(full.cumulants()[:2], diagonal.cumulants()[:2])  # nothing known off the diagonal
    assert linear.mean == found.f0 and linear.skewness == 0
    assert found.law(0.2, "gaussian").deviation == pytest.approx(diagonal.deviation)
    table = found.layers(0.2)
    assert table["mean"].sum() == pytest.approx(diagonal.mean - found.f0)
    assert table["variance"].sum() == pytest.approx(diagonal.deviation**2)
    assert found.bits(0.2)["mean"].sum() == pytest.approx(diagonal.mean - found.f0)
    assert found.concentration().share.iloc[-1] == pytest.approx(1)


def test_a_network_at_small_variation_does_as_predicted(trained, mnist):
    """Mean, deviation and each chip's own loss of a trained LeNet, where the expansion must hold: sigma_d = 0.01."""
    split = Split(mnist.test.x[:100], mnist.test.y[:100])
    loss = taylor.Loss(taylor.point(trained), split, images=100)
    found = taylor.expand(loss, vectors=2, probes=4)
    seen = taylor.sample(loss, [0.01], chips=60)
    law = found.law(0.01)
    lost = seen.loss.to_numpy()
    assert abs(lost.mean() - law.mean) < 4 * lost.std() / 60**0.5
    assert abs(lost.std() / law.deviation - 1) < 4 / (2 * 60) ** 0.5
    pairs = taylor.one_by_one(loss, chips=6)
    own = found.f0 + 0.01 * pairs["first"] + 0.01**2 * pairs.second / 2
    # third order at this size: a few hundredths of the deviation over chips
    assert np.abs(own - lost[:6]).max() < 0.3 * law.deviation
    assert np.corrcoef(own, lost[:6])[0, 1] > 0.95


def test_a_layer_alone_rises_as_predicted(trained, mnist):
    split = Split(mnist.test.x[:100], mnist.test.y[:100])
    loss = taylor.Loss(taylor.point(trained), split, images=100)
    found = taylor.expand(loss, vectors=0, probes=0)
    row = found.layers(0.02).set_index("layer").loc["fc3.weight"]
    lost = taylor.sample(loss, [0.02], chips=60, layers=["fc3.weight"]).loss.to_numpy()
    assert abs(lost.mean() - found.f0 - row["mean"]) < 4 * lost.std() / 60**0.5


# -- theory against chips --------------------------------------------------------------------------------------------


def test_confronting_theory_with_chips_that_follow_it(quadratic):
    """Chips drawn from the law itself never make it fail; chips that lose half as much again do, from there on."""
    loss, *_ = quadratic
    found = taylor.expand(loss, vectors=5, probes=8)
    rng, parts = np.random.default_rng(0), []
    for sigma_d in (0.05, 0.1, 0.2):
        lost = found.law(sigma_d).quantile(rng.uniform(size=1000))
        parts.append(pd.DataFrame({"sigma_d": sigma_d, "chip": range(1000), "loss": lost, "accuracy": 0.0}))
    samples = pd.concat(parts)
    table = taylor.confront(found, samples, laws=("full", "linear"))
    assert np.isnan(taylor.fails_from(table, found.f0)["full"])
    rows = table[(table.law == "full") & (table.k == 1)]
    assert (rows.low <= rows.seen).all() and (rows.seen <= rows.high).all() and (rows.chips == 1000).all()
    worse = samples.assign(
        loss=np.where(samples.sigma_d > 0.07, found.f0 + 1.5 * (samples.loss - found.f0), samples.loss)
    )
    assert taylor.fails_from(taylor.confront(found, worse), found.f0)["full"] == 0.1
    points = taylor.quantiles(found, samples, points=20)
    assert len(points) == 60 and (np.abs(points.predicted / points.seen - 1) < 0.5).all()


def test_ranks_of_loss_and_accuracy():
    table = pd.DataFrame(
        {"method": ["a"] * 5 + ["b"] * 5, "loss": [1.0, 2, 3, 4, 5] * 2, "accuracy": [9.0, 8, 7, 6, 5, 5, 6, 7, 8, 9]}
    )
    assert taylor.ranks(table, ["method"])["rank"].tolist() == pytest.approx([-1, 1])


def test_loss_and_accuracy_across_models():
    rows = [
        (m, s, c, s + c / 100 + b, 99 - s - c / 100)
        for m, b in (("a", 0), ("b", 1))
        for s in (1.0, 2.0)
        for c in range(400)
    ]
    samples = pd.DataFrame(rows, columns=["method", "sigma_d", "chip", "loss", "accuracy"])
    said = pd.DataFrame([(m, s, law, 1.0, 7.0, 8.0) for m in "ab" for s in (1.0, 2.0) for law in ("full", "linear")])
    said.columns = ["method", "sigma_d", "law", "k", "percentile", "seen"]
    table = taylor.across(said, samples, ["method"])
    assert len(table) == 4 and (table.predicted == 7).all() and (table.seen == 8).all()
    # Algorithm 2's first percentile of 400: the fifth smallest
    np.testing.assert_allclose(table[table.sigma_d == 1].accuracy, 99 - 1 - 3.95)


def test_a_cut_along_one_weight(quadratic):
    """An exactly quadratic loss: true and expanded agree as far as one looks; a wrong curvature only near zero."""
    loss, gradient, hessian = quadratic
    good = taylor.cut(loss, "fc.weight", 4, gradient[4], hessian[4, 4], reach=1.0, points=11)
    assert (good.low, good.high) == (good.table.dw.iloc[0], good.table.dw.iloc[-1])
    np.testing.assert_allclose(good.table.true, good.table.taylor, atol=1e-12)
    bad = taylor.cut(loss, "fc.weight", 4, gradient[4], 3 * hessian[4, 4], reach=0.1, points=41, tolerance=0.01)
    assert 0 < bad.high < 0.1 * bad.sigma and bad.high**2 * hessian[4, 4] <= 0.01 + 1e-9


# -- a model, a training ---------------------------------------------------------------------------------------------


def test_the_analysis_of_a_model_as_tables(trained, mnist):
    size = taylor.Size(
        images=60,
        sigma_d=(0.02, 0.1),
        chips=12,
        vectors=2,
        probes=2,
        block_probes=2,
        pairs=2,
        alone=4,
        alone_at=(0.05,),
    )
    tables = taylor.analyse(trained, mnist.test, size=size).tables()
    assert set(tables) == {
        "models", "spectrum", "predicted", "samples", "quantiles", "layers", "bits", "concentration",
    }  # fmt: skip
    assert len(tables["samples"]) == 24 and tables["samples"].taylor.notna().sum() == 4
    assert tables["layers"].mean_share.sum() == pytest.approx(1)
    assert len(tables["bits"]) == 2 and tables["spectrum"].lam.iloc[0] > tables["spectrum"].lam.iloc[1]
    assert "activation quantisation off" in tables["models"]["how"].item()


def test_following_a_training(mnist):
    rows = pd.concat(taylor.follow("rc", mnist, sigma_d=0.1, epochs=1, images=60, bent=30))
    assert set(rows.epoch) == {0, 1} and set(rows.split) == {"train", "test"} and set(rows.method) == {"rc"}
    whole = rows[rows.layer == "all"].set_index(["epoch", "split"])
    assert whole.f[1, "test"] < whole.f[0, "test"] and whole.noisy.isna().sum() == 2
    assert np.isfinite(rows[["f1", "f2", "slope", "curvature", "pull", "pull_error"]]).all(axis=None)


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda loss: taylor.diagonal(loss, "lanczos"), "gauss_newton"),
        (lambda loss: taylor.stochastic(loss, probes=1), "at least 2"),
        (lambda loss: taylor.expand(loss, probes=1), "at least 2"),
        (lambda loss: taylor.expand(loss, vectors=6), "fewer vectors"),
        (lambda loss: taylor.expand(loss, vectors=0, probes=0).law(0.0), "above 0"),
        (lambda loss: taylor.expand(loss, vectors=0, probes=0).law(0.1, "cubic"), "diagonal"),
        (lambda loss: taylor.sample(loss, []), "at least one"),
        (lambda loss: loss.point.deviations(layers=["fc9"]), "fc.weight"),
        (lambda loss: loss.point.deviations(slices=[2]), "slices 0 to 1"),
        (lambda loss: taylor.cut(loss, "fc.weight", 99, 0, 0, reach=1), "place=99"),
        (lambda loss: taylor.Loss(loss.point, Split(torch.zeros(0, 3), torch.zeros(0))), "empty"),
    ],
)
def test_bad_input_is_named(quadratic, call, said):
    with pytest.raises(InputError, match=said):
        call(quadratic[0])


@pytest.mark.parametrize("first", [nn.Conv1d(1, 2, 3), nn.Conv2d(1, 2, 3, padding="same")], ids=["1d", "same"])
def test_layers_that_are_not_plain_are_taken_image_by_image(first):
    x = torch.randn(5, 1, 4) if isinstance(first, nn.Conv1d) else torch.randn(5, 1, 2, 2)
    model = nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.Linear(first(x)[0].numel(), 3))
    loss = taylor.Loss(taylor.point(model, bits=4, dtype=F64), Split(x, torch.arange(5) % 3), images=2)
    found, whole = taylor.gauss_newton(loss), taylor.diagonal(loss, "exact")
    np.testing.assert_allclose(loss.point.flat(found.values), loss.point.flat(whole.values), rtol=1e-9, atol=1e-13)
    assert taylor.diagonal(loss).how == "exact"
