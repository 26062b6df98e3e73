"""What is round the library: a full disk, a file where a folder should be, wrappers, units, the cost of attention."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

import nvlib
from nvlib import InputError, devices, hardware

TRAIN = [sys.executable, "-m", "nvlib", "train", "--network", "lenet3", "--epochs", "1", "--images", "64", "--threads",
         "1", "--quiet", "--method", "none"]  # fmt: skip


def said(runs, limit=""):
    """Return what a training says that cannot write, and its exit status; nothing of it is a traceback."""
    env = os.environ | {"NVLIB_RUNS": str(runs), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "-c", limit + " ".join(TRAIN)], env=env, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr and done.stderr.strip().count("\n") == 0
    return done.stderr.strip(), done.returncode


def test_a_full_disk_is_said_in_a_line_and_leaves_no_half_run(tmp_path):
    line, status = said(tmp_path / "runs", "ulimit -f 20; ")
    assert status == 1 and line.startswith("error: ") and str(tmp_path) in line and "No space left" in line
    left = [path for path in (tmp_path / "runs").rglob("*") if path.is_file() and path.suffix == ".safetensors"]
    assert not [path for path in left if not path.name.startswith(".")]
    good, status = said(tmp_path / "runs")  # with room again it is done, as if nothing had been
    assert status == 0 and not good


def test_a_file_in_place_of_the_runs_folder_is_said_in_a_line(tmp_path):
    (tmp_path / "runs").write_text("x")
    line, status = said(tmp_path / "runs")
    assert status == 1 and str(tmp_path / "runs") in line and "expected a folder" in line
    assert (tmp_path / "runs").read_text() == "x"


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(12, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.two(torch.relu(self.one(x)))


def test_a_wrapped_network_has_the_chips_of_the_bare_one():
    torch.manual_seed(0)
    bare, y = Small().eval(), torch.randint(4, (50,))
    x = torch.randn(50, 12)
    expected = nvlib.monte_carlo(bare, (x, y), "rram", 0.3, chips=4, bits=8)
    prefixed = nn.Sequential()
    prefixed.add_module("module", bare)
    wrapped = {"DataParallel": nn.DataParallel(bare), "compile": torch.compile(bare), "module.": prefixed,
               "both": torch.compile(nn.DataParallel(bare))}  # fmt: skip
    for name, model in wrapped.items():
        found = nvlib.monte_carlo(model, (x, y), "rram", 0.3, chips=4, bits=8)
        assert (found.accuracy == expected.accuracy).all(), name
        torch.testing.assert_close(torch.as_tensor(found.loss), torch.as_tensor(expected.loss), rtol=0, atol=1e-6)
        chip, own = nvlib.program(model, "rram", 0.3, bits=8), nvlib.program(bare, "rram", 0.3, bits=8)
        assert all(torch.equal(a, b) for a, b in zip(chip.values(), own.values(), strict=True)), name


@pytest.mark.parametrize("unit", ["kOhm", "ohm", "MOhm"])
def test_a_table_in_ohms_is_refused_not_read_as_conductances(tmp_path, unit):
    path = tmp_path / "cell.csv"
    path.write_text(f"# name: mine\n# unit: {unit}\nlevel,conductance,deviation\n0,100,1\n1,50,1\n2,20,1\n3,10,1\n")
    with pytest.raises(InputError, match=r"(?i)ohm.*conductance") as error:
        devices.load(path)
    assert "\n" not in str(error.value)


def test_cross_attention_counts_the_lengths_of_both_sequences():
    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(4, 8)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True, kdim=8, vdim=8)
            self.head = nn.Linear(8, 3)

        def forward(self, x):  # (batch, 10, 4): three queries look at seven keys
            x = self.embed(x)
            return self.head(self.attention(x[:, :3], x[:, 3:], x[:, 3:], need_weights=False)[0].mean(1))

    layers, _ = hardware.layers.trace(Cross().eval(), (10, 4))
    passed = {layer.name.removeprefix("attention."): layer.vectors for layer in layers}
    assert passed == {"embed": 10, "in_proj_weight q": 3, "in_proj_weight k": 7, "in_proj_weight v": 7, "out_proj": 3,
                      "head": 1}  # fmt: skip


@pytest.mark.parametrize(("beside", "counted"), [
    (lambda s, x: torch.nn.functional.linear(x, s.a.weight), False), (lambda s, x: x @ s.a.weight, False),
    (lambda s, x: s.b(x), True),
])  # fmt: skip
def test_products_beside_a_layer_are_not_left_out(beside, counted):
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
            self.b.weight = self.a.weight

        def forward(self, x):
            return beside(self, self.a(x))

    if counted:
        assert sum(layer.macs for layer in hardware.layers.trace(Beside().eval(), (4,))[0]) == 32
    else:
        with pytest.raises(InputError, match=r"a\.weight of Beside is multiplied with beside its layer"):
            hardware.layers.trace(Beside().eval(), (4,))


@pytest.mark.parametrize("shape", [8, (0,), ("8",), 8.0])
def test_a_shape_that_is_none_is_a_line(shape):
    with pytest.raises(InputError, match="expected the sizes of one input without the batch"):
        hardware.trace(nn.Linear(8, 4), shape)
