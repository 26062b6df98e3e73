"""The law of a quadratic form of Gaussians: cumulants, distribution function, percentiles."""

import numpy as np
import pytest
from scipy.stats import chi2, gamma, ncx2, norm

from nvlib import InputError, taylor
from nvlib.taylor import Quadratic

P = np.array([0.001, 0.01, 0.05, 0.5, 0.95, 0.99, 0.999])


def test_closed_forms():
    """A Gaussian; a chi-square of 6 degrees of freedom; a difference of equal ones, whose law is a Laplace's."""
    plain = Quadratic(1.0, variance_rest=4.0)
    np.testing.assert_allclose(plain.quantile(P), 1 + 2 * norm.ppf(P), atol=1e-7)
    six = Quadratic(0.0, lam=np.full(6, 2.0), beta=np.zeros(6))
    np.testing.assert_allclose(six.quantile(P), chi2.ppf(P, 6), rtol=1e-6)
    assert six.mean == pytest.approx(6) and six.deviation**2 == pytest.approx(12)
    assert six.skewness == pytest.approx(np.sqrt(8 / 6))
    difference = Quadratic(0.0, lam=[1.0, 1.0, -1.0, -1.0], beta=np.zeros(4))
    x = np.array([-3.0, -0.5, 0.0, 0.7, 4.0])
    want = np.where(x < 0, np.exp(-np.abs(x)) / 2, 1 - np.exp(-np.abs(x)) / 2)
    np.testing.assert_allclose(difference.cdf(x), want, atol=1e-8)


@pytest.mark.parametrize("lam", [0.8, -0.8])
def test_one_term_is_the_noncentral_chi_square(lam):
    """The slowest sum there is: one degree of freedom; phi falls as t^-1/2, and the sum ends at t = 4,000."""
    beta = 1.5
    one = Quadratic(0.0, lam=[lam], beta=[beta])
    p = np.array([0.05, 0.5, 0.95, 0.99])
    quantile = ncx2.ppf(p if lam > 0 else 1 - p, 1, (beta / lam) ** 2)
    np.testing.assert_allclose(one.quantile(p), -(beta**2) / (2 * lam) + lam / 2 * quantile, atol=2e-4)
    sigma = 1.0
    np.testing.assert_allclose(one.quantile(p), taylor.percentile(beta, lam, sigma, 1 - p), atol=2e-4)


def test_the_rest_keeps_three_cumulants():
    """Any split into spelt-out terms and a rest has the same mean, variance and skewness."""
    rng = np.random.default_rng(0)
    lam, beta = rng.standard_normal(300) * 0.1 + 0.05, rng.standard_normal(300) * 0.2
    whole = Quadratic.of_terms(2.0, lam, beta, keep=300)
    want = (
        2 + lam.sum() / 2,
        (beta**2).sum() + (lam**2).sum() / 2,
        (lam**3).sum() + 3 * (lam * beta**2).sum(),
    )
    for keep in (0, 10, 300):
        split = Quadratic.of_terms(2.0, lam, beta, keep=keep)
        np.testing.assert_allclose(split.cumulants(), want, rtol=1e-10)
        # beyond three cumulants the rest is approximate; what the fourth one of 300 small terms moves these by is
        # kappa_4 / deviation^4 (z^3 - 3 z) / 24 of a deviation, 0.011 at the ends
        np.testing.assert_allclose(split.quantile(P), whole.quantile(P), rtol=0, atol=0.02 * whole.deviation)


def test_leading_terms_and_traces_make_the_same_law():
    """Ten spelt out, the rest known by its traces only: what `of_terms` gives from every term."""
    rng = np.random.default_rng(2)
    lam, beta = np.sort(rng.gamma(0.5, 0.2, 200))[::-1], rng.standard_normal(200) * 0.05
    whole = Quadratic.of_terms(0.3, lam, beta, keep=200)
    bent = float((lam * beta**2).sum())
    few = Quadratic.of_traces(
        whole.mean, lam[:10], beta[:10], float(beta @ beta), float(lam @ lam), float((lam**3).sum()), bent
    )
    np.testing.assert_allclose(few.cumulants(), whole.cumulants(), rtol=1e-10)
    np.testing.assert_allclose(few.quantile(P), whole.quantile(P), rtol=0, atol=0.02 * whole.deviation)


def test_a_rest_alone_is_a_gamma():
    law = Quadratic(5.0, variance_rest=2.0, third_rest=3.0)
    shape, scale = 2.0 / 0.75**2, 0.75
    np.testing.assert_allclose(law.quantile(P), 5 + gamma.ppf(P, shape, scale=scale) - shape * scale, rtol=1e-6)


def test_against_simulation():
    """Four standard errors of the share of 200,000 draws below each percentile; signs mixed, a rest beside."""
    rng = np.random.default_rng(1)
    lam, beta = np.array([0.9, 0.3, -0.5, 0.0]), np.array([0.2, -0.7, 0.1, 0.4])
    law = Quadratic(1.0, lam, beta, variance_rest=0.25)
    y, n = rng.standard_normal((200_000, 4)), 200_000
    q = 1.0 + y @ beta + (y**2) @ lam / 2 + 0.5 * rng.standard_normal(n)
    below = (q[:, None] <= law.quantile(P)).mean(0)
    assert (np.abs(below - P) < 4 * np.sqrt(P * (1 - P) / n)).all()
    assert abs(q.mean() - law.mean) < 4 * law.deviation / np.sqrt(n)
    np.testing.assert_allclose(law.cdf(law.quantile(P)), P, atol=1e-8)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Quadratic(0.0), "constant"),
        (lambda: Quadratic(0.0, [1.0], [1.0, 2.0]), "equal"),
        (lambda: Quadratic(0.0, [np.nan], [1.0]), "finite"),
        (lambda: Quadratic(0.0, variance_rest=1.0).quantile(1.0), "between 0 and 1"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(InputError, match=said):
        call()
