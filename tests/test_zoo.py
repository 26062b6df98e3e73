"""Other people's modules: each chip is the chip by hand, nothing of the user's changes, the page is true."""

import pytest
import torch
import zoo
from torch import nn

import nvlib
from nvlib import deploy, taylor
from nvlib.data import Split
from nvlib.deploy.block import Attached, attached
from nvlib.deploy.context import prepare


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


@pytest.mark.parametrize("name", ["as the part `module` of another", "DataParallel", "tied weights"])
def test_chips_of_an_expansion_are_those_of_a_programming(name):
    model, *_ = zoo.build(name)
    point = taylor.point(model, "rram", bits=8, dtype=torch.float64)
    found, chips = point.chips(0.1, index=range(2)), nvlib.program(model.double(), "rram", 0.1, index=range(2), bits=8)
    for (_, ours), (_, theirs) in zip(found.items(), chips.items(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_retraining_on_chip_meets_the_chip_s_own_deviations():
    model, x, y = zoo.build("as the part `module` of another")
    method = deploy.get("last_layer", mode="on_chip", lr=1e-14, epochs=1, batch_size=8)
    context = prepare(model, zoo._data(Split(x, y)), "rram", 0.1, bits=8)
    *_, last = method.stages(context, range(2), context.program(range(2)))
    _, held = last.held(0)
    for name, w in context.program(range(2)).items():
        torch.testing.assert_close(held[name], w)


def reversed_order():
    """A network that was written from its end: the head first, tied to what comes before it."""
    net = zoo.Call(lambda s, x: s.o(torch.tanh(s.m(torch.tanh(s.a(x))))), o=nn.Linear(8, 8), m=nn.Linear(8, 8),
                   a=nn.Linear(8, 8))  # fmt: skip
    net.o.weight = net.a.weight
    return net.eval()


def test_the_last_layer_is_the_one_that_runs_last_and_a_tied_one_is_trained():
    torch.manual_seed(0)
    model, split = reversed_order(), Split(torch.rand(24, 8), torch.randint(0, 4, (24,)))
    method = deploy.get("last_layer", epochs=1, batch_size=8)
    context = prepare(model, zoo._data(split), "rram", 0.1, bits=8)
    assert method._names(context) == ["o.weight", "o.bias"]
    assert deploy.get("last_layer", layers=("a",))._names(context) == ["o.weight", "a.bias"]
    *_, last = method.stages(context, range(1), context.program(range(1)))
    assert not torch.equal(last.arrays["o.weight"][0], model.o.weight)


@pytest.mark.parametrize("how", ["tied", "hooked", "alone"])
def test_a_shared_block_is_multiplied_in_only_where_that_is_the_same(how):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(64, 4))
    if how == "tied":
        model[2].weight = model[1].weight
    if how == "hooked":
        model[1].register_forward_pre_hook(lambda part, given: (given[0] * part.weight.sum(),))
    context = prepare(model.eval(), zoo._data(Split(torch.rand(24, 1, 4, 4), torch.randint(0, 4, (24,)))), "rram", 0.1,
                      bits=8)  # fmt: skip
    method = deploy.get("tsb", channels=4, places=("1",), epochs=1, batch_size=8, init="ordinary", lr=1e-3)
    *_, last = method.stages(context, range(1), context.program(range(1)))
    module, held = last.held(0)
    block = [w for name, w in held.items() if name.startswith("block")]
    assert bool(block) == (how != "alone")
    x = context.test.x
    around = Attached(context.model, ("1",), [torch.eye(4)])
    with torch.no_grad():
        found = nvlib.forward(module, held, x)
        if block:
            again = nvlib.forward(around, held, x)
        else:  # the block as written is what was multiplied in: W' w = held, w being the chip's
            w, chip = held["1.weight"][0].flatten(1), context.program(range(1))
            made = torch.linalg.lstsq(chip["1.weight"][0].flatten(1).T, w.T).solution.T
            again = nvlib.forward(around, attached(chip, [made[None]]), x)
    torch.testing.assert_close(found, again, rtol=1e-3, atol=1e-4)


class Rounded(nn.Module):
    def __init__(self, through):
        super().__init__()
        self.through = through

    def forward(self, x):
        found = torch.round(7 * x) / 7
        return x + (found - x).detach() if self.through else found


@pytest.mark.parametrize("part", [Rounded(True), Rounded(False), nn.Tanh(), nn.ReLU()])
def test_an_expansion_of_what_rounds_is_said_to_be_none(part, recwarn):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), part, nn.Linear(8, 4)).eval()
    point = taylor.point(model, "rram", bits=8)
    taylor.Loss(point, Split(torch.rand(24, 8), torch.randint(0, 4, (24,))))
    said = [str(w.message) for w in recwarn if "is not its slope" in str(w.message)]
    assert len(said) == isinstance(part, Rounded) and all(line.startswith("0.weight of Sequential") for line in said)
