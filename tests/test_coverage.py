"""Every interval holds the truth as often as it says: 95 times in 100, by simulation.

Accuracies are drawn like those of chips: a long tail towards bad ones (97 less a lognormal loss, in points), rounded to
tenths of a point where ties are the question; two methods on the same chips share part of their luck. A share of hits
out of N studies has the binomial standard error sqrt(0.95 * 0.05 / N); four of them are allowed. `pytest -rP` prints
the coverages.
"""

import math

import numpy as np
import pytest
from scipy import stats

from nvlib import statistics
from nvlib.sequential import Until

pytestmark = pytest.mark.slow


def accuracies(rng, chips, spread=0.8, luck=None, shared=0.7):
    own = rng.standard_normal(chips)
    return 97 - np.exp(spread * (own if luck is None else shared * luck + math.sqrt(1 - shared**2) * own))


def true_mean(spread=0.8):
    return 97 - math.exp(spread**2 / 2)


def true_kpp(k, spread=0.8):
    return 97 - math.exp(spread * stats.norm.ppf(1 - k / 100))


def holds(estimate, truth):
    """Whether an interval holds the truth; a limit that is not there cannot be wrong."""
    low, high = estimate.low, estimate.high
    return (low is None or low <= truth) and (high is None or truth <= high)


def check(record, what, hits, most=1.0):
    """The share of hits is 0.95, up to four standard errors, and at most ``most``; pytest -rP shows it."""
    hits = np.asarray(hits)
    error = math.sqrt(0.95 * 0.05 / len(hits))
    print(f"coverage of {what}: {hits.mean():.4f} in {len(hits)} studies (standard error {error:.4f})")
    record("coverage", round(float(hits.mean()), 4))
    assert 0.95 - 4 * error <= hits.mean() <= most + 4 * error


@pytest.mark.parametrize(("shape", "chips"), [("normal", 5), ("skewed", 400)])
def test_mean(shape, chips, record_property):
    rng = np.random.default_rng(0)
    draw, truth = (rng.standard_normal, 0.0) if shape == "normal" else (lambda n: accuracies(rng, n), true_mean())
    hits = [holds(statistics.mean(draw(chips)), truth) for _ in range(10_000)]
    check(record_property, f"the mean, {shape}, {chips} chips", hits, most=0.95)


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize(
    ("k", "side", "chips"), [(1, "two", 400), (1, "two", 1000), (5, "two", 400), (1, "lower", 400)]
)
def test_kpp(k, side, chips, rounded, record_property):
    # Ranks are whole numbers: the true coverage lies above the nominal one, by up to 0.03 at so few chips.
    rng, truth = np.random.default_rng(1), true_kpp(k)
    hits = []
    for _ in range(4000):
        x = accuracies(rng, chips)
        x, true = (x.round(1), round(truth, 1)) if rounded else (x, truth)
        hits.append(holds(statistics.kpp(x, k, side=side), true))
    what = f"KPP, k = {k}, {side}, {chips} chips{', ties' * rounded}"
    check(record_property, what, hits, most=1.0 if rounded else 0.98)


def test_paired(record_property):
    rng, hits = np.random.default_rng(2), []
    for _ in range(10_000):
        luck = rng.standard_normal(400)
        a, b = accuracies(rng, 400, 0.8, luck), accuracies(rng, 400, 1.0, luck)
        hits.append(holds(statistics.paired(a, b), true_mean(0.8) - true_mean(1.0)))
    check(record_property, "the paired difference of means, 400 chips", hits, most=0.95)


@pytest.mark.parametrize("scatter", ["alike", "one"])
@pytest.mark.parametrize(("k", "chips"), [(1, 400), (10, 400), (1, 1000)])
def test_kpp_difference(k, chips, scatter, record_property):
    # Where one method's chips hardly scatter, the interval must do for a single sample, and a plain bootstrap does not.
    rng, hits = np.random.default_rng(3), []
    spreads = (1.0, 0.8 if scatter == "alike" else 0.01)
    truth = true_kpp(k, spreads[0]) - true_kpp(k, spreads[1])
    for i in range(1000):
        luck = rng.standard_normal(chips)
        a, b = (accuracies(rng, chips, spread, luck) for spread in spreads)
        hits.append(holds(statistics.kpp_difference(a, b, k, resamples=400, seed=i), truth))
    check(record_property, f"the KPP difference, k = {k}, {chips} chips, scatter: {scatter}", hits)


def looked_at(rule, draw, truth, studies):
    """Whether the interval at the stop holds the truth, whether those of all looks do, whether all at 95 % would."""
    stopped, always, naive = [], [], []
    for _ in range(studies):
        x = draw(rule.cap)
        estimates = [rule.estimate(x[:n]) for n in rule.looks]
        stop = next((e for e in estimates if rule.met(e)), estimates[-1])
        stopped.append(holds(stop, truth))
        always.append(all(holds(e, truth) for e in estimates))
        plain = statistics.mean if rule.of == "mean" else lambda x: statistics.kpp(x, rule.k)
        naive.append(all(holds(plain(x[:n]), truth) for n in rule.looks))
    return stopped, always, naive


@pytest.mark.parametrize(("spread", "first", "cap"), [(0, 10, 3000), (0.26, 100, 3000), (0.8, 1000, 10_000)])
def test_mean_under_repeated_looks(spread, first, cap, record_property):
    # Normal; the skewness of a trained LeNet's accuracies, 0.8; a long tail, 3.7, which takes more chips to be normal.
    rng = np.random.default_rng(4)
    rule = Until(0.1 * max(spread, 0.26), of="mean", first=first, cap=cap)
    draw, truth = (lambda n: accuracies(rng, n, spread), true_mean(spread)) if spread else (rng.standard_normal, 0.0)
    stopped, always, naive = looked_at(rule, draw, truth, 3000)
    check(record_property, f"the mean where `until` stopped, spread {spread}, from {first} chips", stopped)
    check(record_property, f"the mean at all {len(rule.looks)} looks, spread {spread}", always, most=0.96)
    assert np.mean(naive) < 0.87  # looked at without a correction, 95 % intervals do not hold together


@pytest.mark.parametrize(("k", "wanted"), [(1, 1.0), (10, 0.2)])
def test_kpp_under_repeated_looks(k, wanted, record_property):
    rng = np.random.default_rng(5)
    rule = Until(wanted, k=k, first=400, cap=5000)
    stopped, always, naive = looked_at(rule, lambda n: accuracies(rng, n), true_kpp(k), 2000)
    check(record_property, f"KPP where `until` stopped, k = {k}", stopped)
    check(record_property, f"KPP at all {len(rule.looks)} looks, k = {k}", always, most=0.965)
    assert np.mean(naive) < 0.9
