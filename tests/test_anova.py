"""Variance between runs and between chips: the textbook's balanced formulas, unbiased, honest when undefined."""

import math

import numpy as np
import pytest

from nvlib import anova, statistics
from nvlib.anova import between_runs
from nvlib.errors import InputError


def drawn(rng, runs, chips, between=1.0, within=2.0):
    luck = between * rng.standard_normal(runs)
    return [90 + luck[r] + within * rng.standard_normal(n) for r, n in enumerate(np.broadcast_to(chips, runs))]


def test_balanced_runs_are_the_textbooks():
    x = drawn(np.random.default_rng(0), 5, 400)
    got, table = between_runs(x), np.array(x)
    assert got.within == pytest.approx(table.var(axis=1, ddof=1).mean(), rel=1e-12)
    assert got.between == pytest.approx(table.mean(1).var(ddof=1) - got.within / 400, rel=1e-9)
    assert got.mean.value == pytest.approx(table.mean(), rel=1e-12)
    assert (got.mean.low, got.mean.n) == (statistics.mean(table.mean(1)).low, 5)
    assert got.each == tuple(statistics.kpp(run) for run in x)
    assert got.kpp.value == pytest.approx(np.mean([e.value for e in got.each]))


@pytest.mark.parametrize("chips", [40, np.array([10, 20, 40, 80])])
def test_variances_are_unbiased_before_clipping(chips):
    # Between runs 1, within 4. 3,000 repetitions; means within four standard errors of the truth.
    rng = np.random.default_rng(1)
    got = [between_runs(drawn(rng, 4, chips), k=20) for _ in range(3000)]
    for values, truth in (([g.within for g in got], 4.0), ([_unclipped(g) for g in got], 1.0)):
        assert abs(np.mean(values) - truth) < 4 * np.std(values) / math.sqrt(len(values))


def _unclipped(got):
    marked = [part for part in got.note.split("; ") if "means came out at" in part]
    return float(marked[0].split("at ")[1].split(":")[0]) if marked else got.between


def test_variance_of_a_kpp_is_the_bootstraps():
    x = np.random.default_rng(2).normal(90, 3, 500)
    drawn = np.random.default_rng(3).choice(x, (20_000, 500))
    naive = np.sort(drawn, axis=1)[:, statistics.index(1, 500)].var()
    assert anova._kpp_variance(x, 1) == pytest.approx(naive, rel=0.06)  # 20,000 draws, heavy tails: four errors


def test_runs_of_one_kind_differ_by_their_chips_alone():
    # No variance between the runs: that of their KPPs is sampling alone, and clipping happens half of the time.
    rng = np.random.default_rng(4)
    got = [between_runs(drawn(rng, 5, 400, between=0)) for _ in range(200)]
    clipped = np.mean([g.between == 0 for g in got])
    assert 0.4 < clipped < 0.8
    assert all(("clipped at zero" in g.note) == (0 in (g.between, g.kpp_between)) for g in got)
    sampling = np.array([[e.value for e in g.each] for g in got]).var(ddof=1)
    assert 0.8 < np.mean([g.kpp_within for g in got]) / sampling < 1.4  # the bootstrap's is known to run a little high


def test_undefined_is_nan_and_says_why():
    one = between_runs([np.arange(400.0)])
    assert math.isnan(one.between) and one.mean.low is None and "too few runs: 2 needed" in one.note
    assert "2 needed" in one.mean.note and "chips" not in one.mean.note
    few = between_runs([np.arange(10.0), np.arange(10.0)])
    assert few.within == pytest.approx(np.var(np.arange(10), ddof=1)) and few.between == 0
    assert math.isnan(few.kpp_within) and math.isnan(few.kpp_between) and "368 needed in every run" in few.note
    single = between_runs([[90.0], [91.0]])
    assert math.isnan(single.within) and math.isnan(single.between) and "2 needed in a run" in single.note


@pytest.mark.parametrize("runs", [[], [[]], [[1.0, math.nan]], [np.ones((2, 2))], [[1.0], [math.inf]]])
def test_bad_runs(runs):
    with pytest.raises(InputError) as error:
        between_runs(runs)
    assert "\n" not in str(error.value)
