"""Second derivatives against curvlinops, whose linear operators are other people's code for the same quantities."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from nvlib import taylor
from nvlib.data import Split
from nvlib.deploy import sensitivity

F64 = torch.float64


def tanh():
    """A network whose Gauss-Newton matrix is not its Hessian."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 4)).to(F64).eval()


@pytest.fixture(scope="module")
def case():
    """A network at its quantised weights, its loss on images, and both matrices of curvlinops in flat order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.jit, on import
        from curvlinops import GGNLinearOperator, HessianLinearOperator
    model, generator = tanh(), torch.Generator().manual_seed(1)
    split = Split(torch.randn(6, 1, 6, 6, generator=generator, dtype=F64), torch.arange(6) % 4)
    loss = taylor.Loss(taylor.point(model, bits=4, dtype=F64), split, images=3)
    named = dict(model.named_parameters())
    parameters = [named[name] for name in loss.point.centre]
    with torch.no_grad():
        for name, w in loss.point.centre.items():
            named[name].copy_(w)
    data = [(split.x[:4], split.y[:4]), (split.x[4:], split.y[4:])]
    eye = torch.eye(sum(p.numel() for p in parameters), dtype=F64)
    given = model, nn.CrossEntropyLoss(), parameters, data
    matrices = [kind(*given) @ eye for kind in (GGNLinearOperator, HessianLinearOperator)]
    return model, loss, *(np.asarray(matrix.detach()) for matrix in matrices)


def test_both_gauss_newton_diagonals(case):
    model, loss, ggn, hessian = case
    assert np.abs(np.diag(ggn) - np.diag(hessian)).max() > 1e-3
    found = loss.point.flat(taylor.diagonal(loss, "gauss_newton").values)
    np.testing.assert_allclose(found, np.diag(ggn), rtol=1e-9, atol=1e-13)
    of_swim = sensitivity.curvature(model, {}, loss.split, list(loss.point.centre))
    np.testing.assert_allclose(loss.point.flat(of_swim), np.diag(ggn), rtol=1e-9, atol=1e-13)


def test_the_hessian(case):
    _, loss, _, hessian = case
    np.testing.assert_allclose(loss.point.flat(taylor.diagonal(loss, "exact").values), np.diag(hessian), atol=1e-12)
    v = torch.randn(2, len(hessian), generator=torch.Generator().manual_seed(2), dtype=F64)
    product = loss.hessian_times(loss.point.split(v))
    found = torch.cat([part.flatten(1) for part in product.values()], 1)
    np.testing.assert_allclose(found, v.numpy() @ hessian, atol=1e-11)
    rough = taylor.diagonal(loss, "stochastic", probes=400, seed=3)
    off = (loss.point.flat(rough.values).numpy() - np.diag(hessian)) / loss.point.flat(rough.error).numpy()
    assert np.abs(off).mean() < 1.2  # 0.8 in the mean of a normal
