"""Percentiles by exact index and exact binomial limits; means by t; bad input in one line."""

import math

import numpy as np
import pytest
from scipy import stats

from nvlib import statistics
from nvlib.errors import InputError


@pytest.mark.parametrize(
    ("k", "n", "expected"),
    [(29, 100, 29), (1, 100, 1), (1, 99, 0), (0.5, 200, 1), (0.1, 1000, 1), (99.9, 1000, 999), (50, 1, 0)],
)
def test_index_is_exact(k, n, expected):
    assert statistics.index(k, n) == expected
    x = np.random.default_rng(0).permutation(n).astype(float)
    assert statistics.kpp(x, k).value == expected


def test_index_never_rounds_down_where_floats_do():
    # 29, 57 and 58 of 100 are the classical victims of floor(0.29 * 100).
    for k in range(1, 100):
        assert statistics.index(k, 100) == k
        assert statistics.index(np.float64(k), 100) == k


@pytest.mark.parametrize(("side", "enough"), [("two", 368), ("lower", 299)])
def test_too_few_chips_says_how_many_are_needed(side, enough):
    assert statistics.needed(1, side=side) == enough
    x = np.arange(1000.0)
    few = statistics.kpp(x[: enough - 1], 1, side=side)
    assert few.low is None and few.high is None
    assert f"{enough} needed" in few.note and few.note.startswith("too few chips")
    assert few.value == statistics.index(1, enough - 1)
    assert statistics.kpp(x[:enough], 1, side=side).low == 0.0


@pytest.mark.parametrize("k", [1, 5, 50, 95, 99])
def test_limits_are_the_tightest_that_cover(k):
    n, alpha = 1000, 0.025
    got = statistics.kpp(np.arange(n, dtype=float), k)
    binomial = stats.binom(n, k / 100)
    lower, upper = int(got.low) + 1, int(got.high) + 1  # 1-based ranks
    assert binomial.cdf(lower - 1) <= alpha < binomial.cdf(lower)
    assert binomial.cdf(upper - 2) < 1 - alpha <= binomial.cdf(upper - 1)
    assert got.low <= got.value <= got.high and got.n == n and got.note == ""


@pytest.mark.parametrize(("side", "n"), [("two", 400), ("lower", 300)])
def test_coverage(side, n):
    # 4,000 samples: the standard error of a coverage near 0.95 is 0.0035; four of them are allowed below.
    # The binomial is discrete, so the true coverage lies somewhat above the nominal.
    truth = stats.norm.ppf(0.01)
    samples = np.random.default_rng(7).standard_normal((4000, n))
    hits = 0
    for x in samples:
        got = statistics.kpp(x, 1, side=side)
        hits += got.low <= truth and (got.high is None or truth <= got.high)
    assert 0.95 - 4 * 0.0035 < hits / 4000 < 0.995


def test_ties_keep_the_limits_around_the_value():
    x = np.repeat([90.0, 91.0], [500, 500])
    got = statistics.kpp(x, 10)
    assert (got.value, got.low, got.high) == (90.0, 90.0, 90.0)


def test_mean_is_scipys_t_interval():
    x = np.random.default_rng(1).normal(95, 2, 37)
    got = statistics.mean(x, 0.9)
    low, high = stats.t.interval(0.9, 36, loc=x.mean(), scale=stats.sem(x))
    assert (got.value, got.low, got.high) == pytest.approx((x.mean(), low, high), rel=1e-12)
    assert got.n == 37


def test_mean_drops_undefined_and_says_so():
    got = statistics.mean([1.0, math.nan, 3.0])
    assert (got.value, got.n) == (2.0, 2) and "1 of 3 not defined" in got.note
    none = statistics.mean([math.nan, math.nan])
    assert math.isnan(none.value) and none.low is None and none.n == 0
    one = statistics.mean([4.0])
    assert (one.value, one.low) == (4.0, None) and "2 needed" in one.note


def test_paired_is_the_paired_t_test():
    rng = np.random.default_rng(2)
    luck = rng.normal(0, 5, 200)
    a, b = 80 + luck + rng.normal(0, 1, 200), 79 + luck + rng.normal(0, 1, 200)
    got = statistics.paired(a, b)
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (got.low, got.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert got.high - got.low < 0.5  # unpaired it would be about 2: the chips' luck has cancelled


def test_kpp_difference_is_paired_and_near_the_naive_bootstrap():
    rng = np.random.default_rng(3)
    luck = rng.normal(0, 5, 2000)
    a, b = 80 + luck + rng.normal(0, 1, 2000), 79 + luck + rng.normal(0, 1, 2000)
    got = statistics.kpp_difference(a, b, 10, resamples=1000)
    assert got.value == statistics.kpp(a, 10).value - statistics.kpp(b, 10).value
    drawn, rng = [], np.random.default_rng(4)
    for _ in range(1000):
        chips = rng.integers(0, 2000, 2000)
        drawn.append(statistics.kpp(a[chips], 10).value - statistics.kpp(b[chips], 10).value)
    low, high = np.quantile(drawn, [0.025, 0.975])
    # A 2.5 % quantile of 1,000 resamples is known to about 0.04 of the interval's width, and the ranks differ by a few.
    assert abs(got.low - low) < 0.2 * (high - low) and abs(got.high - high) < 0.2 * (high - low)
    unpaired = statistics.kpp_difference(a, rng.permutation(b), 10)
    assert got.high - got.low < 0.7 * (unpaired.high - unpaired.low)  # shared chips: their luck has cancelled


@pytest.mark.parametrize(("n", "places"), [(400, [0, 9]), (1000, [3, 17]), (1000, [480, 530]), (20, [0, 5])])
def test_resampled_places_are_those_of_sorted_draws(n, places):
    rng = np.random.default_rng(0)
    x, chips = np.round(rng.normal(80, 5, n), 1), rng.integers(0, n, (300, n))  # with ties
    assert np.array_equal(statistics._drawn(x, chips, places), np.sort(x[chips], axis=1)[:, places].T)
    few = np.full((2, n), x.argmax())  # none of the lowest ranks is drawn
    assert np.array_equal(statistics._drawn(x, few, places), np.full((2, 2), x.max()))


@pytest.mark.parametrize("k", [1, 50, 99])
def test_kpp_difference_from_a_constant_is_the_order_statistics_interval(k):
    x = np.arange(1000.0)  # a value is its rank
    got, interval = statistics.kpp_difference(x, np.zeros(1000), k, resamples=4000), statistics.kpp(x, k)
    assert (got.low, got.high) == pytest.approx((interval.low, interval.high), abs=3 if k == 50 else 1)


def test_kpp_difference_laws():
    x = np.random.default_rng(5).normal(90, 2, 400)
    itself = statistics.kpp_difference(x, x)
    assert itself.low <= 0 == itself.value <= itself.high
    y = x + np.random.default_rng(6).normal(0, 1, 400)
    assert statistics.kpp_difference(x, y, seed=1) == statistics.kpp_difference(x, y, seed=1)
    forth, back = statistics.kpp_difference(x, y), statistics.kpp_difference(y, x)
    assert (forth.low, forth.value, forth.high) == pytest.approx((-back.high, -back.value, -back.low))
    few = statistics.kpp_difference(x[:367], y[:367])
    assert few.low is None and few.high is None and "368 needed" in few.note and few.n == 367


@pytest.mark.parametrize("k", [0, 100, -1, 101, math.nan, math.inf, "one", None])
def test_bad_k(k):
    with pytest.raises(InputError, match=r"^k is .*expected a percentile between 0 and 100"):
        statistics.kpp([1.0, 2.0], k)


@pytest.mark.parametrize(
    "call",
    [
        lambda: statistics.kpp([], 1),
        lambda: statistics.kpp([1.0, math.nan], 1),
        lambda: statistics.kpp([1.0, math.inf], 1),
        lambda: statistics.kpp(np.ones((2, 2)), 1),
        lambda: statistics.kpp([1.0], 1, confidence=1.0),
        lambda: statistics.kpp([1.0], 1, side="upper"),
        lambda: statistics.mean([]),
        lambda: statistics.mean([-math.inf]),
        lambda: statistics.mean([1.0], confidence=95),
        lambda: statistics.paired([1.0, 2.0], [1.0]),
        lambda: statistics.kpp_difference([1.0, 2.0], [1.0]),
        lambda: statistics.kpp_difference([1.0, math.nan], [1.0, 2.0]),
        lambda: statistics.kpp_difference([1.0, 2.0], [1.0, 2.0], 0),
        lambda: statistics.kpp_difference([1.0, 2.0], [1.0, 2.0], resamples=10),
    ],
)
def test_bad_input_is_one_line(call):
    with pytest.raises(InputError) as error:
        call()
    assert "\n" not in str(error.value)


def test_estimate_reads_as_a_sentence():
    assert str(statistics.Estimate(96.214, 95.8, 96.55, 400)) == "96.21 [95.80, 96.55], n = 400"
    assert str(statistics.Estimate(96.2, None, None, 4, "too few")) == "96.20, n = 4 (too few)"
