"""Other people's modules: each chip is the chip by hand, nothing of the user's changes, the page is true."""

import pytest
import torch
import zoo

from nvlib import taylor
from nvlib.data import Split


def test_the_page_names_every_module_and_use():
    assert set(zoo.written()) == {(name, use) for name in zoo.ZOO for use in zoo.USES}
    assert set(zoo.written().values()) <= {"yes", "by the loop", "refused"}


@pytest.mark.parametrize(("name", "use"), zoo.COVER)
@pytest.mark.filterwarnings("ignore")
def test_chips_are_those_by_hand(name, use):
    assert zoo.outcome(name, use) == zoo.written()[name, use]


@pytest.mark.zoo
@pytest.mark.parametrize("use", zoo.USES)
@pytest.mark.parametrize("name", zoo.ZOO)
@pytest.mark.filterwarnings("ignore")
def test_the_whole_zoo(name, use):
    assert zoo.outcome(name, use) == zoo.written()[name, use]


@pytest.mark.parametrize("name", [
    "tied weights", "one module under two names", "a layer called twice", "sequences first", "a sequence in the batch",
    "a weight and its transpose", "a layer of constants", "hooks that use the weight",
])  # fmt: skip
def test_gauss_newton_diagonal_where_layers_are_used_in_other_ways(name):
    model, x, y = zoo.build(name)
    loss = taylor.Loss(taylor.point(model, "rram", bits=8, dtype=torch.float64), Split(x, y))
    found = taylor.diagonal(loss, "gauss_newton").values
    whole = {key: torch.zeros_like(w) for key, w in loss.point.centre.items()}
    for i in range(len(x)):  # J' H J of each image, by jacobians of the whole network
        jacobian = torch.func.jacrev(lambda w, i=i: loss.outputs(w, loss.split.x[i : i + 1])[0])(loss.point.centre)
        p = loss.outputs(loss.point.centre, loss.split.x[i : i + 1])[0].softmax(0)
        hessian = p.diag() - torch.outer(p, p)
        for key, slopes in jacobian.items():
            whole[key] += torch.einsum("c...,cd,d...->...", slopes, hessian, slopes) / len(x)
    for key in whole:
        torch.testing.assert_close(found[key], whole[key])
