"""Noise laws: closed forms against integration, samples and published numbers; finite, monotone quantiles."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from nvlib import noise
from nvlib.errors import InputError

THRESHOLDS = [0.1, 0.5, 1.0, 2.0, 3.0, 8.0]
CUT = ("rc", "lc", "rt", "lt")
LAWS = [noise.get("gaussian"), *(noise.get(name, th) for name in CUT for th in THRESHOLDS)]
DTYPES = [torch.float32, torch.float64]


def ends(law):
    """Where the law's support ends."""
    th = getattr(law, "th", math.inf)
    return (-math.inf, th) if law.name in ("rc", "rt", "gaussian") else (-th, math.inf)


def expectation(law, f):
    """E f(z) by integrating the density and adding the atom."""
    low, high = (min(max(end, -40.0), 40.0) for end in ends(law))
    atom = law.atom()
    at = f(atom[0]) * atom[1] if atom else 0.0
    points = np.linspace(low, high, 41)
    return at + sum(
        integrate.quad(lambda x: f(x) * float(law.density(x)), a, b, epsabs=1e-13)[0]
        for a, b in pairwise(points)
    )


def check_law(law):
    """What every law keeps: closed form against numerical integration, and quantiles against the density."""
    mean, variance = law.mean(), law.variance()
    assert isinstance(mean, float) and isinstance(variance, float) and 0 < variance <= 1
    assert expectation(law, lambda x: 1.0) == pytest.approx(1, abs=1e-10)
    assert expectation(law, lambda x: x) == pytest.approx(mean, abs=1e-10)
    assert expectation(law, lambda x: (x - mean) ** 2) == pytest.approx(variance, abs=1e-10)

    low, high = ends(law)
    for dtype in DTYPES:
        info = torch.finfo(dtype)
        edge = torch.tensor([0, info.tiny, info.eps, 0.5, 1 - info.eps / 2, 1], dtype=dtype)
        u = torch.cat([edge, torch.linspace(1e-7, 1 - 1e-7, 20_001, dtype=dtype)]).sort().values
        z = law.quantile(u)
        assert z.dtype == dtype and z.shape == u.shape
        assert torch.isfinite(z).all()
        # float32 holds th itself only to half a unit in the last place.
        slack = 0.0 if dtype == torch.float64 else info.eps * 10
        assert low - slack <= z.min() and z.max() <= high + slack
        assert (z.diff() >= -slack).all()


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_laws(law):
    check_law(law)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sample_moments_within_four_standard_errors(law, dtype):
    n = 200_000
    u = torch.rand(n, dtype=dtype, generator=torch.Generator().manual_seed(7))
    z = law.quantile(u).double().numpy()
    mean, variance = law.mean(), law.variance()
    fourth = expectation(law, lambda x: (x - mean) ** 4)
    assert abs(z.mean() - mean) <= 4 * math.sqrt(variance / n)
    assert abs(np.mean((z - mean) ** 2) - variance) <= 4 * math.sqrt((fourth - variance**2) / n)
    if atom := law.atom():
        position, mass = atom
        share = np.mean(z == np.float64(torch.tensor(position, dtype=dtype)))
        assert abs(share - mass) <= 4 * math.sqrt(mass * (1 - mass) / n)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_quantile_inverts_the_distribution_function(law):
    # Against scipy.stats, which noise.py does not use.
    u = np.linspace(0.001, 0.999, 999)
    z = law.quantile(torch.from_numpy(u)).numpy()
    low, high = ends(law)
    if law.name in ("rt", "lt"):
        expected = stats.truncnorm.ppf(u, low, high)
    else:
        expected = np.clip(stats.norm.ppf(u), low, high)
    np.testing.assert_allclose(z, expected, atol=1e-9)


def test_published_numbers_at_two_deviations():
    rc, rt = noise.get("rc", 2), noise.get("rt", 2)
    assert rc.mean() == pytest.approx(-0.0085, abs=5e-5)
    assert math.sqrt(rc.variance()) == pytest.approx(0.980, abs=5e-4)
    assert rt.mean() == pytest.approx(-0.055, abs=5e-4)


@pytest.mark.parametrize("th", THRESHOLDS)
@pytest.mark.parametrize(("right", "left"), [("rc", "lc"), ("rt", "lt")])
def test_left_laws_mirror_right_laws(right, left, th):
    right, left = noise.get(right, th), noise.get(left, th)
    assert left.mean() == -right.mean() and left.variance() == right.variance()
    u = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    torch.testing.assert_close(left.quantile(u), -right.quantile(1 - u), atol=1e-9, rtol=0)
    x = np.linspace(-4, 4, 101)
    np.testing.assert_array_equal(left.density(x), right.density(-x))


@pytest.mark.parametrize("name", CUT)
def test_a_far_threshold_is_gaussian(name):
    law, u = noise.get(name, 40), torch.linspace(0.001, 0.999, 999)
    assert torch.equal(law.quantile(u), noise.Gaussian().quantile(u))
    assert law.mean() == 0 and law.variance() == pytest.approx(1)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_laws_are_values(law):
    assert noise.get(law.name, getattr(law, "th", None)) == law
    assert hash(law) == hash(type(law)(*([law.th] if law.name != "gaussian" else [])))
    assert isinstance(law.density(0.0), np.ndarray) and law.density([0.0, 9.0]).shape == (2,)


def check_refused(message, *args):
    with pytest.raises(InputError, match=message) as caught:
        noise.get(*args)
    assert "\n" not in str(caught.value) and "expected" in str(caught.value)


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("th", [0, -1, math.nan, math.inf, None, "2", True, 10**400])
def test_a_bad_threshold_is_refused(name, th):
    check_refused("th is", name, th)
    with pytest.raises(InputError, match="th is"):
        noise.LAWS[name](th)


def test_unknown_laws_and_a_threshold_for_gaussian_are_refused():
    check_refused("unknown noise law 'gausian'.*did you mean 'gaussian'.*lc, lt, rc, rt", "gausian")
    check_refused("unknown noise law None", None)
    check_refused("th is 2 for gaussian", "gaussian", 2)
