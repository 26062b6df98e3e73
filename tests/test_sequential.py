"""Levels for repeated looks against published constants and simulation; chips needed against a naive simulation."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from nvlib import sequential, statistics
from nvlib.errors import InputError
from nvlib.sequential import Until, chips_for, level, looks


@pytest.mark.parametrize(("first", "cap"), [(1, 1), (1, 3), (30, 31), (400, 20_000), (1000, 1_000_000)])
def test_looks_grow_from_the_first_to_the_cap(first, cap):
    n = looks(first, cap)
    assert n[0] == first and n[-1] == cap and all(a < b for a, b in pairwise(n))
    assert all(b <= math.ceil(sequential.GROWTH * a) for a, b in pairwise(n))


@pytest.mark.parametrize(("count", "constant"), [(2, 2.178), (5, 2.413), (10, 2.555), (20, 2.672)])
def test_levels_of_a_mean_are_pococks(count, constant):
    # Pocock's constants for equally spaced looks, as Jennison and Turnbull (2000, Table 2.1) print them.
    each = level(tuple(range(100, 100 * count + 1, 100)), 0.95)
    assert stats.norm.ppf((1 + each) / 2) == pytest.approx(constant, abs=0.0006)


@pytest.mark.parametrize("k", [None, 1, 50])
def test_levels_lie_between_one_look_and_the_union_bound(k):
    n = looks(400, 20_000)
    assert level((400,), 0.95, k) == 0.95
    assert 0.95 < level(n, 0.95, k) < 1 - 0.05 / len(n)
    assert level(n, 0.9, k) < level(n, 0.95, k)


@pytest.mark.parametrize("k", [1, 10, 95])
def test_the_walk_is_counted_exactly(k):
    # 20,000 walks: the standard error of a chance near 0.05 is 0.0015; four are allowed.
    n, a = looks(500, 5000), 0.01
    chance = sequential._binomial_walk(n, k)(a)
    steps = np.diff(n, prepend=0)
    walks = np.random.default_rng(0).binomial(steps, k / 100, (20_000, len(n))).cumsum(1)
    missed = np.zeros(20_000, dtype=bool)
    for i, size in enumerate(n):
        if size >= statistics.needed(k, 1 - a):
            lower, upper = statistics.ranks(statistics.counts(size, k), a / 2)
            missed |= (walks[:, i] < lower) | (walks[:, i] >= upper)
    assert abs(missed.mean() - chance) < 4 * 0.0015
    assert a / 2 < chance < a * len(n)


def test_an_estimate_says_which_look_and_when_the_cap_was_hit():
    rule = Until(0.5, of="mean", first=100, cap=200)
    x = np.random.default_rng(1).normal(90, 10, 200)
    found = rule.estimate(x)
    assert not rule.met(found) and "look 5 of 5" in found.note
    assert "stopped at the cap of 200 chips" in found.note and "asked +-0.5" in found.note
    assert found.high - found.low > statistics.mean(x).high - statistics.mean(x).low
    narrow = Until(5, of="mean", first=100, cap=200)
    assert narrow.met(narrow.estimate(x[:100])) and "cap" not in narrow.estimate(x[:100]).note
    few = Until(0.5, first=400, cap=2000)
    assert few.estimate(x.repeat(2)).low is None and not few.met(few.estimate(x.repeat(2)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"half_width": 0}, "until=0"),
        ({"half_width": math.nan}, "until=nan"),
        ({"half_width": "wide"}, "until='wide'"),
        ({"of": "kp"}, "did you mean"),
        ({"k": 0}, "k is 0"),
        ({"confidence": 95}, "confidence"),
        ({"first": 500, "cap": 400}, "max_chips=400 is below"),
        ({"first": 100, "cap": 300}, "no interval at k=1; expected at least 368"),
    ],
)
def test_what_cannot_be_met_is_refused_at_once(options, words):
    with pytest.raises(InputError) as error:
        Until(**{"half_width": 0.5, **options})
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("cap", [368, 380, 400, 500])
def test_a_cap_that_one_look_can_do_with_is_enough(cap):
    rule = Until(0.5, first=300, cap=cap)
    assert rule.estimate(np.arange(cap)).low is not None
    assert rule.estimate(np.arange(300)).low is None


def test_estimate_takes_only_the_looks():
    with pytest.raises(InputError, match="none of the looks"):
        Until(0.5, of="mean", first=10, cap=20).estimate([1.0, 2.0])


def test_chips_for_equals_drawing_whole_studies():
    accuracy = 97 - np.exp(np.random.default_rng(0).normal(0, 0.8, 20_000))
    n = chips_for(accuracy, 0.5)
    rng, half = np.random.default_rng(1), []
    for _ in range(400):
        got = statistics.kpp(rng.choice(accuracy, n), 1)
        half.append((got.high - got.low) / 2)
    # The median of 400 studies is known to about 6 % of the half-widths' spread; a width falls like 1 / sqrt(n).
    assert np.median(half) == pytest.approx(0.5, abs=4 * 1.25 * np.std(half) / 20)
    assert 3.2 < chips_for(accuracy, 0.25) / n < 4.8
    assert chips_for(accuracy, 50) == statistics.needed(1) and chips_for(np.full(400, 90.0), 0.1) == 368


@pytest.mark.parametrize(
    "call",
    [
        lambda: chips_for(np.arange(100.0), 0.5),
        lambda: chips_for(np.arange(1000.0), 0),
        lambda: chips_for(np.arange(1000.0), 0.5, k=0),
        lambda: chips_for(np.arange(1000.0), 1e-3, most=2000),
    ],
)
def test_chips_for_refuses_in_one_line(call):
    with pytest.raises(InputError) as error:
        call()
    assert "\n" not in str(error.value)
