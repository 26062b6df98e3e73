"""Records and tables name what a user brings by its contents: edited code and corrected numbers are others."""

import subprocess
import sys
import types
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import nvlib
from nvlib import Study, code, methods, store, summary
from nvlib.errors import InputError
from nvlib.records import digest

SOURCE = """
from dataclasses import dataclass
from typing import ClassVar
import torch

FACTOR, TABLE = 2.0, [1, 2]

def helper(x):
    return x * FACTOR

class Base:
    by = 3
    def shared(self):
        return helper(self.by)

@dataclass(frozen=True)
class Mine(Base):
    beta: float = 0.5
    name: ClassVar[str] = "mine"
    def loss(self, run, batch):
        return torch.relu(helper(batch)) + TABLE[0]
"""

EDITS = {
    "a helper": ("x * FACTOR", "x / FACTOR"),
    "a constant": ("FACTOR, TABLE = 2.0", "FACTOR, TABLE = 4.0"),
    "a list": ("[1, 2]", "[7, 2]"),
    "a base class": ("helper(self.by)", "helper(-self.by)"),
    "an attribute": ("by = 3", "by = 4"),
    "the loss": ("torch.relu", "torch.tanh"),
}


def made(text):
    held = {"__name__": "__main__"}
    exec(text, held)
    return held["Mine"]


@pytest.mark.parametrize("edit", EDITS)
def test_edited_code_has_another_digest(edit):
    assert code.digest(made(SOURCE)) == code.digest(made(SOURCE))
    assert code.digest(made(SOURCE.replace(*EDITS[edit]))) != code.digest(made(SOURCE))


def test_what_does_not_run_does_not_count():
    text = SOURCE.replace("class Base:", "# a remark\n\nunused = 5\n\nclass Base:")
    assert code.digest(made(text)) == code.digest(made(SOURCE))


def test_a_digest_is_the_same_in_another_process():
    line = f"from nvlib import code\nexec({SOURCE!r})\nprint(code.digest(Mine))"
    found = set()
    for seed in ("1", "2"):
        env = {"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run([sys.executable, "-c", line], env=env, capture_output=True, text=True, check=True)
        found.add(done.stdout.strip())
    assert found == {code.digest(made(SOURCE))}


def test_the_library_s_own_methods_have_none():
    """So that no record of theirs is another than in version 1."""
    assert {code.digest(method) for method in methods.METHODS.values()} == {None}
    assert {code.digest(method) for method in nvlib.DEPLOYMENTS.values()} == {None}


@dataclass(frozen=True)
class Mine:
    name: ClassVar[str] = "mine"

    def loss(self, run, batch):
        return run.cross_entropy(run.forward(run.noisy(None), batch.x), batch.y)


class Edited(Mine):
    def loss(self, run, batch):
        return 0 * super().loss(run, batch)  # learns nothing


@pytest.fixture
def where(tmp_path):
    return store.Store(runs=tmp_path / "runs", shipped=None)


SMALL = {"network": "lenet3", "epochs": 1, "images": 300, "chips": 4, "sigma_d": (0.1,)}


def test_an_edited_method_is_trained_anew_and_told_apart(where, monkeypatch):
    monkeypatch.setitem(methods.METHODS, "mine", Mine)
    study = Study(methods=("mine",), **SMALL)
    first = nvlib.run(study, where, progress=False)
    assert nvlib.run(study, where, progress=False).run.tolist() == first.run.tolist()
    monkeypatch.setitem(methods.METHODS, "mine", Edited)
    second = nvlib.run(study, where, progress=False)
    assert set(first.run) != set(second.run) and first.accuracy.tolist() != second.accuracy.tolist()
    both = nvlib.results(where)
    assert both.groupby("method_code", observed=True).size().tolist() == [4, 4]
    records = [where.training(name) for name in both.training.unique()]
    assert {record.code for record in records} == {code.digest(Mine), code.digest(Edited)}
    assert {digest(record) for record in records} == set(both.training)


TABLE = "level,conductance,deviation\n0,1,{0}\n1,20,{0}\n2,40,{0}\n3,60,{0}\n"


def test_a_corrected_device_of_the_same_name_is_told_apart(where, tmp_path):
    file = tmp_path / "cell.csv"
    for deviation in (0.3, 30):
        file.write_text(TABLE.format(deviation))
        nvlib.run(Study(methods=("none",), devices=(str(file),), **SMALL | {"sigma_d": (1.0,)}), where, progress=False)
    nvlib.run(Study(methods=("none",), **SMALL), where, progress=False)
    both = nvlib.results(where, device="cell")
    assert both.groupby("device_numbers", observed=True).size().tolist() == [4, 4]
    assert "" not in set(both.device_numbers)
    assert set(nvlib.results(where, device="rram").device_numbers) == {""}
    with pytest.raises(InputError, match="mixes device_numbers"):
        summary.results_table(both)


def test_shipped_results_are_of_built_in_devices_and_the_library_s_methods():
    table = nvlib.store.Store().table()
    assert set(table.device_numbers) == set(table.method_code) == set(table.deployment_code) == {""}


def test_resume_goes_on_with_the_same_chips_alone():
    torch.manual_seed(0)
    model, other = torch.nn.Linear(8, 4), torch.nn.Linear(8, 4)
    data = torch.randn(32, 8), torch.randint(0, 4, (32,))
    begun = nvlib.monte_carlo(model, data, "rram", 0.1, chips=4, bits=8)
    whole = nvlib.monte_carlo(model, data, "rram", 0.1, chips=8, bits=8)
    gone_on = nvlib.monte_carlo(model, data, "rram", 0.1, chips=8, bits=8, resume=begun)
    assert gone_on.loss.tolist() == whole.loss.tolist()
    for net, given, crossbar, bits in (
        (other, data, ("rram", 0.1), 8), (model, (data[0] + 1, data[1]), ("rram", 0.1), 8),
        (model, data, ("rram", 0.2), 8), (model, data, ("fefet1", 0.1), 8), (model, data, ("rram", 0.1), 6),
    ):  # fmt: skip
        with pytest.raises(InputError, match="resume holds chips of another model, other images or other conditions"):
            nvlib.monte_carlo(net, given, *crossbar, chips=8, bits=bits, resume=begun)


def test_resume_knows_a_model_by_all_that_it_computes_with():
    data = torch.randn(32, 8), torch.randint(0, 4, (32,))

    class Net(torch.nn.Module):
        slope = 1.0

        def __init__(self):
            super().__init__()
            self.f, self.act, self.gain = torch.nn.Linear(8, 4), torch.nn.ReLU(), 1.0
            self.register_buffer("shift", torch.zeros(4), persistent=False)

        def forward(self, x):
            return self.act(self.f(x)) * self.slope * self.gain + self.shift

    edits = {
        "a part": lambda net: setattr(net, "act", torch.nn.Tanh()), "a setting": lambda net: setattr(net, "gain", 2.0),
        "a class": lambda net: setattr(Net, "slope", 2.0), "a buffer": lambda net: net.shift.add_(1),
        "a hook": lambda net: net.f.register_forward_hook(lambda *_: None),
        "its code": lambda net: setattr(Net, "forward", lambda self, x: self.f(x)),
    }  # fmt: skip
    for edit in edits.values():
        net = Net().eval()
        begun = nvlib.monte_carlo(net, data, "rram", 0.1, chips=2, bits=8)
        assert nvlib.monte_carlo(net, data, "rram", 0.1, chips=2, bits=8, resume=begun).of == begun.of
        edit(net)
        with pytest.raises(InputError, match="resume holds chips of another model"):
            nvlib.monte_carlo(net, data, "rram", 0.1, chips=4, bits=8, resume=begun)


REACHED = """
import collections, functools, os, types
import torch
from torch import nn
NUMBER, QUEUE, NAMES, NET = 1.0, collections.deque([1.0]), types.SimpleNamespace(k=1.0), nn.Linear(1, 1)
NET.weight.data.fill_(1.0)
class Slots:
    __slots__ = ("k",)
slots = Slots()
slots.k = 1.0
class Meta(type):
    k = 1.0
class Held(metaclass=Meta):
    pass
@functools.lru_cache
def cached():
    return NUMBER
import nvlib_test_helper
def imported():
    from nvlib_test_helper import K
    return K
class Mine:
    def loss(self, run, batch):
        return BODY
"""


@pytest.mark.parametrize(("body", "edit"), [
    ("QUEUE[0]", "QUEUE[0] = 2.0"), ("NAMES.k", "NAMES.k = 2.0"), ("slots.k", "slots.k = 2.0"),
    ("Held.k", "Meta.k = 2.0"), ("cached()", "NUMBER = 2.0"), ("NET(batch)", "NET.weight.data.fill_(2.0)"),
    ("globals()['NUMBER']", "NUMBER = 2.0"), ("os.environ['NVLIB_TEST_K']", "os.environ['NVLIB_TEST_K'] = '2'"),
    ("imported()", "import nvlib_test_helper; nvlib_test_helper.K = 2.0"),
    ("nvlib_test_helper.K", "nvlib_test_helper.K = 2.0"),
    ("nvlib_test_helper.inner.N", "nvlib_test_helper.inner.N = 2.0"),
])  # fmt: skip
def test_what_code_reaches_by_other_ways_is_part_of_its_digest(body, edit, monkeypatch):
    helper = types.ModuleType("nvlib_test_helper")
    helper.K, helper.inner = 1.0, types.ModuleType("nvlib_test_helper.inner")
    helper.inner.N = 1.0
    monkeypatch.setitem(sys.modules, "nvlib_test_helper", helper)
    monkeypatch.setenv("NVLIB_TEST_K", "1")
    held = {"__name__": "__main__"}
    exec(REACHED.replace("BODY", body), held)
    before = code.digest(held["Mine"])
    assert code.digest(held["Mine"]) == before
    exec(edit, held)
    assert code.digest(held["Mine"]) != before


def test_resume_knows_weights_that_a_state_dict_leaves_out():
    """As an adapter's, that has its own weights alone; what has no tensors is no obstacle either."""

    class Adapter(torch.nn.Sequential):
        def state_dict(self, *args, **kwargs):
            kept = super().state_dict(*args, **kwargs)
            return {name: w for name, w in kept.items() if not name.startswith("0.")} | {"version": "2"}

    data = torch.randn(32, 8), torch.randint(0, 4, (32,))
    net = Adapter(torch.nn.Linear(8, 8), torch.nn.Linear(8, 4))
    begun = nvlib.monte_carlo(net, data, "rram", 0.1, chips=2, bits=8)
    assert len(nvlib.monte_carlo(net, data, "rram", 0.1, chips=3, bits=8, resume=begun)) == 3
    with torch.no_grad():
        net[0].weight.mul_(3)
    with pytest.raises(InputError, match="resume holds chips of another model"):
        nvlib.monte_carlo(net, data, "rram", 0.1, chips=3, bits=8, resume=begun)


class Marked(torch.Tensor):
    """A kind of tensor that a forward names."""


def test_code_may_name_a_kind_of_tensor():
    def forward(x):
        return x.as_subclass(Marked), Marked

    assert code.contents([forward]) == code.contents([forward])
