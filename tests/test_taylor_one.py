"""One weight that strays: TRICE's Eq. 6 in its readings, the exact law, simulation."""

import numpy as np
import pytest
from scipy.stats import ncx2, norm

from nvlib import InputError, taylor
from nvlib.statistics import Estimate


def test_the_example_of_the_text():
    """f' = 0.5, f'' = 4, sigma = 0.1, f0 = 0.05: Eq. 6 says 0.0188, two million draws say 0.2749."""
    values = {law: float(taylor.percentile(0.5, 4, 0.1, 0.01, 0.05, law)) for law in ("printed", "corrected", "exact")}
    assert values["printed"] == pytest.approx(0.05 - 0.25 / 8 + 4 * np.pi * 1e-4 * 0.01 / 4)
    assert round(values["printed"], 4) == 0.0188
    assert values["corrected"] == pytest.approx(0.05 - 0.25 / 8 + 4 * np.pi * 0.99**2 * 0.01 / 4)
    assert round(values["exact"], 5) == 0.27456


@pytest.mark.parametrize("q", [0.01, 0.05, 0.5, 0.9])
@pytest.mark.parametrize(("f1", "f2"), [(0.5, 4.0), (0.0, 4.0), (-3.0, 1.0), (0.5, -4.0), (1.0, -0.2)])
def test_the_exact_law_is_the_noncentral_chi_square(f1, f2, q):
    sigma, f0 = 0.1, 0.05
    share = 1 - q if f2 > 0 else q  # a negative curvature turns the upper tail into the lower one
    quantile = ncx2.ppf(share, 1, (f1 / (f2 * sigma)) ** 2)
    want = f0 - f1**2 / (2 * f2) + f2 * sigma**2 / 2 * quantile
    # scipy's own quantile is good to about 1e-8 relative, and is what limits the comparison
    assert float(taylor.percentile(f1, f2, sigma, q, f0)) == pytest.approx(want, rel=1e-6, abs=1e-9)


def test_the_exact_law_passes_through_no_curvature():
    """Where the chi-square's formula divides by f'', this one tends to the Gaussian: f0 + |f1| sigma Phi^-1(1 - q)."""
    want = 0.2 * 0.1 * norm.ppf(0.99)
    for f2 in (1e-9, 0.0, -1e-9):
        assert float(taylor.percentile(-0.2, f2, 0.1)) == pytest.approx(want, rel=1e-7)
    assert float(taylor.percentile(0.0, 0.0, 0.1, f0=0.3)) == 0.3
    assert float(taylor.percentile(0.5, 4.0, 0.0, f0=0.3)) == 0.3
    assert np.isnan(taylor.percentile(0.5, [0.0, -1.0], 0.1, law="printed")).all()


@pytest.mark.parametrize(("f1", "f2"), [(0.5, 4.0), (0.5, -4.0), (0.5, 0.0), (0.0, 1.0)])
def test_simulation_agrees_with_the_exact_law(f1, f2):
    """Four standard errors: the interval at 99.994 %, of 40,000 draws."""
    z = 0.1 * norm.ppf((np.random.default_rng(3).permutation(40_000) + 0.5) / 40_000)  # not random: the law itself
    assert taylor.upper(f1 * z + f2 * z**2 / 2, 0.01).value == pytest.approx(
        float(taylor.percentile(f1, f2, 0.1)), rel=2e-3
    )  # 1 / (40,000 q) of rank, times the slope of the tail
    seen = taylor.simulate(f1, f2, 0.1, draws=40_000, seed=1)
    assert isinstance(seen, Estimate)
    half = 2.05 * max(seen.high - seen.value, seen.value - seen.low)  # 95 % to four standard errors
    assert abs(float(taylor.percentile(f1, f2, 0.1)) - seen.value) < half


def test_slopes_are_simulated_apart():
    """One draw for all of them put all points on one side of the law, at each of these seeds."""
    slopes = np.linspace(0, 1, 33)
    table = taylor.compare(slopes, 4.0, 0.1, draws=20_000, every=1)
    seen, exact = (table[table.law == law].value.to_numpy() for law in ("simulated", "exact"))
    assert 6 <= (seen > exact).sum() <= 27  # of 33 fair coins, 4 in 10,000 fall outside
    assert seen[3] == taylor.simulate(slopes[3], 4.0, 0.1, draws=20_000, index=3).value


@pytest.mark.parametrize("q", [0.001, 0.01, 0.05, 0.2, 0.31, 0.4, 0.6])
def test_the_effect_of_the_slope_is_the_derivative(q):
    f1, f2, sigma, step = np.array([0.01, 0.1, 0.5, 2.0, -0.5]), 4.0, 0.1, 1e-5
    ends = [taylor.percentile(np.abs(f1) + s * step, f2, sigma, q) for s in (1, -1)]
    want = (ends[0] - ends[1]) / (2 * step)
    # central differences of values of about 0.1, each good to 1e-16, over 2e-5: 1e-11; their own bias is smaller
    np.testing.assert_allclose(taylor.slope_effect(f1, f2, sigma, q), want, rtol=1e-6, atol=1e-9)


def test_the_sign_of_the_effect_of_the_slope():
    """By Eq. 6 a larger |f'| always helps; exactly, it never does at q below 2 Phi(-1) = 0.317."""
    slopes = np.geomspace(1e-3, 10, 60)
    for q in (0.001, 0.01, 0.05, 0.1, 0.3, 2 * norm.cdf(-1) - 1e-3):
        assert (taylor.slope_effect(slopes, 1.0, 0.1, q) > 0).all()
        for law in ("printed", "corrected"):
            assert (taylor.slope_effect(slopes, 1.0, 0.1, q, law) < 0).all()
    assert taylor.slope_effect(1e-3, 1.0, 0.1, 2 * norm.cdf(-1) + 1e-2) < 0  # milder: it helps, where it is small


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: taylor.percentile(1, 1, 0.1, q=0), "q"),
        (lambda: taylor.percentile(1, 1, -0.1), "sigma"),
        (lambda: taylor.percentile(1, 1, 0.1, law="eq7"), "printed"),
        (lambda: taylor.slope_effect(1, 0, 0.1), "f2 > 0"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(InputError, match=said):
        call()
