"""What generated code is kept by: whatever a module's own code reaches, redefined in a notebook, is another network."""

import functools
import types

import pytest
import torch

import nvlib
from nvlib import models
from nvlib.native.graph import Unsupported
from nvlib.native.run import structure

NOTEBOOK = """
import math
import torch
import torch.nn.functional as F
from functools import partial
from torch import nn

SCALE, TABLE, SHIFT = 2.0, {"slope": [0.1, 0.2]}, torch.tensor([0.5])
unrelated = torch.randn(10_000)

def deep(x):
    return x * SCALE

def helper(x):
    return F.relu(deep(x)) + SHIFT

class Options:
    width = 1.0
    def __init__(self, offset):
        self.offset = offset

options = Options(0.0)

class Base(nn.Module):
    slope = 0.1
    def inner(self, x):
        return torch.relu(x)

class Net(Base):
    def __init__(self):
        super().__init__()
        self.c, self.f = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 4)
        self.unrelated = 3
        self.named = helper

    @property
    def gain(self):
        return 1.0

    @staticmethod
    def pure(x):
        return x

    def forward(self, x):
        x = self.named(self.inner(self.c(x))) * self.slope * self.gain + TABLE["slope"][0]
        self.unrelated
        return self.f(self.pure(x).flatten(1) * options.width + options.offset)
"""

CHANGES = {
    "a helper's helper": "def deep(x):\n    return x / SCALE",
    "a global number": "SCALE = 3.0",
    "a global tensor": "SHIFT = torch.tensor([0.75])",
    "a tensor in place": "SHIFT.fill_(0.25)",
    "within a global": "TABLE['slope'][0] = 0.3",
    "an object's attribute": "options.offset = 1.0",
    "an object's class": "Options.width = 2.0",
    "a class attribute": "Base.slope = 0.2",
    "a method": "Base.inner = lambda self, x: torch.tanh(x)",
    "a forward": "Net.forward = lambda self, x: self.f(torch.relu(self.c(x)).flatten(1))",
    "a property": "Net.gain = property(lambda self: 2.0)",
    "a static method": "Net.pure = staticmethod(lambda x: -x)",
    "a code object": "helper.__code__ = (lambda x: F.relu(deep(x)) - SHIFT).__code__",
    "a default": "helper.__defaults__ = (1.0,)",
}  # fmt: skip


def notebook():
    module = types.ModuleType("__main__notebook")
    exec(NOTEBOOK, vars(module))
    return module


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_redefined_is_another_structure(change):
    module = notebook()
    net = module.Net().eval()
    before = structure(net)
    assert before == structure(net) and hash(before) == hash(structure(net))
    exec(CHANGES[change], vars(module))
    assert structure(net) != before


def test_what_a_network_does_not_reach_changes_nothing():
    module = notebook()
    net = module.Net().eval()
    before = structure(net)
    module.unrelated = torch.zeros(20_000)  # of the name of an attribute
    module.other = object()
    module.Net.__init__ = lambda self: None
    with torch.no_grad():
        net.c.weight.zero_()
    assert structure(net) == before


def test_a_function_of_torch_that_was_replaced_is_seen(monkeypatch):
    net = notebook().Net().eval()
    before = structure(net)
    monkeypatch.setattr(torch.nn.functional, "relu", torch.tanh)
    assert structure(net) != before


def test_two_of_one_class_share_a_structure_and_recursion_ends():
    module = notebook()
    assert structure(module.Net().eval()) == structure(module.Net().eval())
    exec("def helper(x):\n    return helper(x) if SCALE is helper else F.relu(x)", vars(module))
    structure(module.Net().eval())


def test_objects_whose_contents_cannot_be_told_get_no_code():
    module = notebook()
    module.options = (i for i in range(3))
    with pytest.raises(Unsupported, match="holds a generator"):
        structure(module.Net().eval())


@pytest.mark.parametrize("wrap", [functools.cache, lambda f: functools.partial(f)])
def test_wrapped_helpers_are_read_through(wrap):
    module = notebook()
    module.helper = wrap(module.helper)
    net = module.Net().eval()
    net.named = module.helper
    before = structure(net)
    module.SCALE = 5.0
    assert structure(net) != before


@pytest.mark.parametrize("name", ["lenet", "vgg8", "resnet18"])
def test_the_library_s_own_networks_have_a_structure(name):
    made = [models.build(name, width=1.0 if name == "lenet" else 0.1, seed=seed).eval() for seed in (0, 1)]
    assert structure(made[0]) == structure(made[1])


def test_generated_code_follows_a_redefined_helper():
    module = notebook()
    torch.manual_seed(0)
    net, x = module.Net().eval(), torch.randn(8, 1, 8, 8)
    chips = nvlib.program(net, "rram", 0.1, index=range(2), bits=8)
    with torch.no_grad():
        nvlib.forward(net, chips, x, how="native")
        exec("def deep(x):\n    return torch.tanh(x)", vars(module))
        loop, native = (nvlib.forward(net, chips, x, how=how) for how in ("loop", "native"))
    torch.testing.assert_close(native, loop, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("line", ["globals()['SCALE']", "eval('SCALE')", "float(os.environ.get('HOME', '0') == '')"])
def test_code_that_looks_things_up_around_names_gets_no_code(line):
    held = {"__name__": "__main__"}
    exec("import os\nfrom torch import nn\nSCALE = 2.0\nclass Net(nn.Linear):\n    def forward(self, x):\n"
         f"        return super().forward(x) * {line}\n", held)  # fmt: skip
    with pytest.raises(Unsupported, match="so that what it computes with is not seen"):
        structure(held["Net"](8, 4))


def test_hooks_of_all_modules_are_seen():
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        with pytest.raises(Unsupported, match="hooks"):
            structure(torch.nn.Linear(8, 4))
    finally:
        handle.remove()
