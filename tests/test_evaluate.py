"""Monte-Carlo evaluation: against a naive loop, and unchanged by how it is cut."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import nvlib
from nvlib import InputError, population, statistics
from nvlib.data import Split
from nvlib.evaluate import as_split, score
from nvlib.samples import Interrupted, Samples, identity
from nvlib.sequential import Until


def naive(model, data, sigma_d, chips, seed=0):
    """One chip at a time: copy its weights into the module, run it, count."""
    rows, clean = [], {k: v.clone() for k, v in model.state_dict().items()}
    for i in range(chips):
        model.load_state_dict(nvlib.program(model, "rram", sigma_d, seed=seed, index=i), strict=False)
        with torch.no_grad():
            logits = model(data.test.x)
        model.load_state_dict(clean)
        nll = cross_entropy(logits, data.test.y, reduction="none").double()
        right = logits.argmax(1) == data.test.y
        rows.append((100 * right.double().mean(), nll.mean(), nll[right].mean()))
    return np.array(rows).T


def test_equals_a_naive_loop(trained, mnist):
    samples = nvlib.monte_carlo(trained, mnist, "rram", 0.15, chips=5, seed=2)
    accuracy, loss, ekl = naive(trained, mnist, 0.15, 5, seed=2)
    assert accuracy.mean() > 30  # the comparison is of a network that works
    np.testing.assert_allclose(samples.accuracy, accuracy, atol=0.1)  # one near-tie in 1000 images may flip
    np.testing.assert_allclose(samples.loss, loss, rtol=1e-3)
    np.testing.assert_allclose(samples.ekl, ekl, rtol=1e-2)


def test_cutting_chips_and_images_changes_nothing(trained, mnist):
    whole = nvlib.monte_carlo(trained, mnist, "rram", 0.2, chips=7)
    again = nvlib.monte_carlo(trained, mnist, "rram", 0.2, chips=7, plan=whole.plan)
    for column in ("accuracy", "loss", "ekl"):
        assert np.array_equal(getattr(whole, column), getattr(again, column))
    for plan in (replace(whole.plan, members=2), replace(whole.plan, members=3, images=170)):
        cut = nvlib.monte_carlo(trained, mnist, "rram", 0.2, chips=7, plan=plan)
        np.testing.assert_allclose(cut.accuracy, whole.accuracy, atol=0.1)
        np.testing.assert_allclose(cut.loss, whole.loss, rtol=1e-4)
    later = nvlib.monte_carlo(trained, mnist, "rram", 0.2, chips=3, first=4, plan=whole.plan)
    assert list(later.index) == [4, 5, 6]
    assert np.array_equal(later.accuracy, whole.accuracy[4:])


def test_without_variation_all_chips_are_the_quantised_model(trained, mnist):
    samples = nvlib.monte_carlo(trained, mnist, "fefet1", 0.0, chips=4)
    quantised = nvlib.program(trained, "rram", 0.0, index=range(1))
    assert samples.accuracy.tolist() == [float(score(trained, quantised, mnist.test, 500)[0])] * 4


def test_more_variation_is_worse(trained, mnist):
    means = [nvlib.monte_carlo(trained, mnist, "rram", s, chips=10).mean().value for s in (0.0, 0.1, 0.3)]
    assert means[0] > means[1] > means[2]


def test_the_model_is_not_changed(trained, mnist):
    before, training = {k: v.clone() for k, v in trained.state_dict().items()}, trained.training
    nvlib.monte_carlo(trained, mnist, "rram", 0.3, chips=2)
    assert trained.training == training
    assert all(torch.equal(before[k], v) for k, v in trained.state_dict().items())


def test_memory_running_out_halves_the_plan(trained, mnist, monkeypatch):
    whole = nvlib.monte_carlo(trained, mnist, "rram", 0.2, chips=4)
    forward, asked = population.forward, []

    def small(model, weights, x, **options):
        asked.append((population.members(weights), len(x)))
        if len(x) > 500 or population.members(weights) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(model, weights, x, **options)

    monkeypatch.setattr(population, "forward", small)
    plan = replace(whole.plan, members=4, images=1000)
    less = nvlib.monte_carlo(trained, mnist, "rram", 0.2, chips=4, plan=plan)
    assert asked[0] == (4, 1000)
    np.testing.assert_allclose(less.accuracy, whole.accuracy, atol=0.1)


def test_progress_reports_every_chip(trained, mnist):
    seen = []
    nvlib.monte_carlo(trained, mnist, "rram", 0.1, chips=20, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20) and [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_statistics_of_samples():
    accuracy = np.arange(400.0) / 4
    samples = Samples(np.arange(400), accuracy, accuracy, np.full(400, np.nan))
    assert samples.kpp(1).value == accuracy[4]
    assert samples.mean().value == pytest.approx(accuracy.mean())
    assert samples.mean("loss").n == 400
    assert len(samples) == 400


def test_nothing_correct_has_no_ekl(mnist):
    model = nvlib.build("lenet", seed=0)
    constant = (mnist.test.x[:5] * 0, torch.tensor([1, 1, 1, 1, 1]))
    with torch.no_grad():
        model.fc3.bias.copy_(torch.eye(10)[0] * 100)
    samples = nvlib.monte_carlo(model, constant, "rram", 0.0, chips=1)
    assert samples.accuracy[0] == 0 and np.isnan(samples.ekl[0])


@pytest.mark.parametrize("chips", [0, -1, 2.5, True])
def test_bad_number_of_chips(trained, mnist, chips):
    with pytest.raises(InputError, match="chips"):
        nvlib.monte_carlo(trained, mnist, "rram", 0.1, chips=chips)


def test_empty_data(trained, mnist):
    with pytest.raises(InputError, match="empty"):
        nvlib.monte_carlo(trained, (mnist.test.x[:0], mnist.test.y[:0]), "rram", 0.1, chips=1)
    assert len(as_split(mnist, "validation")) == 1000


def stop_after(done_chips):
    """A progress function that interrupts, as a person would, once so many chips are done."""

    def progress(done, total):
        if done >= done_chips:
            raise KeyboardInterrupt

    return progress


def same(a, b):
    assert np.array_equal(a.index, b.index) and a.estimate == b.estimate
    for column in ("accuracy", "loss", "ekl"):
        assert np.array_equal(getattr(a, column), getattr(b, column))


@pytest.mark.filterwarnings("ignore:.*loop")  # where a way cannot run, its chips are looped over
@pytest.mark.parametrize("how", population.WAYS)
def test_an_interrupted_run_keeps_its_chips_and_goes_on_bit_equal(trained, mnist, how):
    plan = population.Plan(2, 500, how, 1, "cpu")
    call = dict(chips=7, seed=3, first=5, plan=plan)
    whole = nvlib.monte_carlo(trained, mnist, "rram", 0.2, **call)
    with pytest.raises(Interrupted, match="4 chips are finished") as stop:
        nvlib.monte_carlo(trained, mnist, "rram", 0.2, progress=stop_after(3), **call)
    assert isinstance(stop.value, KeyboardInterrupt) and stop.value.samples.plan == plan
    seen = []
    call["plan"] = None  # the samples hold it
    again = nvlib.monte_carlo(
        trained, mnist, "rram", 0.2, resume=stop.value.samples, progress=lambda *at: seen.append(at), **call
    )
    same(again, whole)
    assert seen == [(6, 7), (7, 7)]  # only what was missing has been computed
    same(nvlib.monte_carlo(trained, mnist, "rram", 0.2, resume=whole, **call | {"chips": 3}), whole.head(3))


def test_interrupted_before_any_chip_is_a_plain_interrupt(trained, mnist, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(population, "forward", interrupt)
    with pytest.raises(KeyboardInterrupt) as stop:
        nvlib.monte_carlo(trained, mnist, "rram", 0.2, chips=2)
    assert not isinstance(stop.value, Interrupted)


def test_until_stops_at_the_first_look_that_is_narrow_enough(trained, mnist):
    data = (mnist.test.x[:100], mnist.test.y[:100])
    rule = Until(3.0, of="mean", first=8, cap=100)
    samples = nvlib.monte_carlo(trained, data, "rram", 0.2, chips=8, until=3.0, of="mean", max_chips=100)
    fixed = nvlib.monte_carlo(trained, data, "rram", 0.2, chips=100)
    looks = [rule.estimate(fixed.accuracy[:n]) for n in rule.looks]
    stop = next(i for i, look in enumerate(looks) if rule.met(look))
    assert 0 < stop < len(looks) - 1  # the case is one of several looks
    assert len(samples) == rule.looks[stop] and samples.estimate == looks[stop]
    assert np.array_equal(samples.accuracy, fixed.accuracy[: len(samples)])
    assert samples.estimate.high - samples.estimate.low <= 6.0 and fixed.estimate is None
    with pytest.raises(Interrupted) as halfway:
        nvlib.monte_carlo(
            trained, data, "rram", 0.2, chips=8, until=3.0, of="mean", max_chips=100, progress=stop_after(10)
        )
    call = dict(chips=8, until=3.0, of="mean", max_chips=100, resume=halfway.value.samples)
    same(nvlib.monte_carlo(trained, data, "rram", 0.2, **call), samples)


def test_until_gives_up_at_the_cap_and_says_so(trained, mnist):
    data = (mnist.test.x[:20], mnist.test.y[:20])
    samples = nvlib.monte_carlo(trained, data, "rram", 0.3, chips=4, until=0.01, k=50, max_chips=20)
    assert len(samples) == 20 and "cap of 20 chips" in samples.estimate.note
    quiet, rule = nvlib.monte_carlo(trained, data, "rram", 0.0, chips=400, until=0.5), Until(0.5, first=400)
    assert len(quiet) == next(n for n in rule.looks if n >= statistics.needed(1, rule.level)) > 400
    assert quiet.estimate.low == quiet.estimate.high


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"until": -1.0}, "until=-1.0"),
        ({"until": 0.5, "of": "median"}, "'median'"),
        ({"until": 0.5, "max_chips": 3}, "max_chips=3"),
        ({"until": 0.5, "max_chips": 1e4}, "max_chips=10000.0"),
        ({"until": 0.5, "max_chips": 100}, "no interval at k=1"),
        ({"resume": Samples(np.arange(2), *np.zeros((3, 2)), seed=1)}, "of seed 1"),
        ({"resume": Samples(np.arange(2), *np.zeros((3, 2))), "first": 2}, "expected chips 2, 3"),
    ],
)
def test_what_cannot_be_waited_for_or_gone_on_from(trained, mnist, options, words):
    with pytest.raises(InputError) as error:
        nvlib.monte_carlo(trained, mnist, "rram", 0.1, **{"chips": 4, **options})
    assert words in str(error.value) and "\n" not in str(error.value)


def test_the_digest_of_many_images_sees_a_pixel_and_an_order(trained):
    """Above a megabyte it is of sums; each change must show."""
    x, y = torch.rand(512, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.arange(512)
    other, turned, apart = x.clone(), x.clone(), torch.cat([torch.zeros(3), x.flatten()])[3:].view(x.shape)
    other[-1, 0, -1, -1] += 1e-3
    turned[[0, 1]] = turned[[1, 0]]
    crossbar = nvlib.Crossbar("rram", 0.1)
    same = [identity(trained, Split(images, y), crossbar) for images in (x, x.clone(), apart)]
    found = [identity(trained, Split(images, y), crossbar) for images in (x, other, turned, x.flip(-1), x[:-1])]
    assert len(set(same)) == 1 and len(set(found)) == 5
