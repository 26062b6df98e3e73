"""Cells given their weights' deviations, in compiled code: PyTorch's bits, whatever shares what, or none."""

import pytest
import torch

import nvlib
from nvlib import Crossbar
from nvlib.native import Unsupported, build, cells
from nvlib.native.cells import Meant, divide


@pytest.fixture
def compiled(tmp_path_factory, monkeypatch):
    """Compiled code of this test run, apart from the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    try:
        build.compiler()
    except Unsupported as reason:
        pytest.skip(str(reason))
    forget = cells._compiled.cache_clear
    forget()
    yield cells._compiled(True)
    forget()


def drawn(chips, weights, count, shared, one_z):
    """Luck and what it is of; some weights do not stray."""
    g = torch.Generator().manual_seed(weights)

    def some(*shape):
        return torch.randn(shape, generator=g)

    rows = 1 if shared else chips
    deviation = some(rows, weights, count).abs() * (some(rows, weights, 1) > -1)
    variance = deviation.square().sum(-1)
    meant = Meant(variance.sqrt(), torch.where(variance > 0, 1 / variance, 0.0), deviation,
                  some(rows, weights, count), some(1, weights, count))  # fmt: skip
    return some(chips, weights, count), some(1 if one_z else chips, weights), meant


@pytest.mark.parametrize(("shared", "one_z"), [(True, False), (False, False), (True, True)])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 16])
def test_compiled_code_gives_the_same_bits(compiled, shared, one_z, count):
    assert compiled is not None
    for weights in (1, 7, 864, 5001):
        luck, z, meant = drawn(3, weights, count, shared, one_z)
        held = torch.full((5, weights, count), 7.0)
        held[1:4] = luck
        found = cells._called(compiled, held[1:4], z, meant)
        assert torch.equal(found, cells._computed(luck.clone(), z, meant))
        assert torch.equal(found, held[1:4]) and (held[0] == 7).all() and (held[4] == 7).all()
    with pytest.raises(ValueError, match="do not fit"):
        cells._called(compiled, luck, torch.zeros(2, weights), meant)


def test_chips_are_the_same_without_a_compiler(compiled, monkeypatch):
    model, crossbar = nvlib.build("lenet3", seed=0).eval(), Crossbar("pcm", None, effects="limits")
    found = nvlib.program(model, crossbar, index=range(2))
    asked = []
    monkeypatch.setattr(cells, "_compiled", lambda make: asked.append(make))
    monkeypatch.setattr(cells, "_spent", 0.0)
    without = nvlib.program(model, crossbar, index=range(2))
    assert not any(asked) and cells._spent > 0  # compiled once it pays
    assert all(torch.equal(w, without[name]) for name, w in found.items())
    monkeypatch.setattr(cells, "_spent", 1e9)
    nvlib.program(model, crossbar, index=range(2))
    assert asked[-1] is True


def test_other_numbers_than_float32_are_computed(monkeypatch):
    monkeypatch.setattr(cells, "_compiled", None)  # not asked
    luck, z, meant = drawn(2, 9, 4, True, False)
    wide = Meant(*(t.double() for t in vars(meant).values()))
    torch.testing.assert_close(divide(luck.double(), z.double(), wide).float(), cells._computed(luck, z, meant))
