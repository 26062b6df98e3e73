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
    """A network, images, the parameters on arrays, and both matrices of curvlinops in their flat order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.jit, on import
        from curvlinops import GGNLinearOperator, HessianLinearOperator
    model, generator = tanh(), torch.Generator().manual_seed(1)
    split = Split(torch.randn(6, 1, 6, 6, generator=generator, dtype=F64), torch.arange(6) % 4)
    names = ["0.weight", "4.weight"]
    parameters = [dict(model.named_parameters())[name] for name in names]
    data = [(split.x[:4], split.y[:4]), (split.x[4:], split.y[4:])]
    given = model, nn.CrossEntropyLoss(), parameters, data
    size = sum(p.numel() for p in parameters)
    matrices = [kind(*given) @ torch.eye(size, dtype=F64) for kind in (GGNLinearOperator, HessianLinearOperator)]
    return model, split, names, *(np.asarray(m) for m in matrices)


def test_both_gauss_newton_diagonals(case):
    model, split, names, ggn, hessian = case
    assert np.abs(np.diag(ggn) - np.diag(hessian)).max() > 1e-3
    loss = taylor.Loss(taylor.point(model, dtype=F64), split, images=3)
    assert list(loss.point.centre) == names
    found = loss.point.flat(taylor.diagonal(loss, "gauss_newton").values)
    np.testing.assert_allclose(found, np.diag(ggn), rtol=1e-10, atol=1e-13)
    of_swim = sensitivity.curvature(model, {}, split, names)
    np.testing.assert_allclose(loss.point.flat(of_swim), np.diag(ggn), rtol=1e-10, atol=1e-13)


def test_the_hessian(case):
    model, split, _, _, hessian = case
    loss = taylor.Loss(taylor.point(model, dtype=F64), split, images=4)
    np.testing.assert_allclose(loss.point.flat(taylor.diagonal(loss, "exact").values), np.diag(hessian), atol=1e-12)
    v = torch.randn(2, len(hessian), generator=torch.Generator().manual_seed(2), dtype=F64)
    product = loss.point.flat(loss.hessian_times(loss.point.split(v[:1])))
    np.testing.assert_allclose(product.reshape(-1), hessian @ v[0].numpy(), atol=1e-11)
    rough = taylor.diagonal(loss, "stochastic", probes=400, seed=3)
    off = (loss.point.flat(rough.values).numpy() - np.diag(hessian)) / loss.point.flat(rough.error).numpy()
    assert np.abs(off).mean() < 1.1  # 0.8 in the mean of a normal
