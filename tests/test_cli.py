"""The command line, as a person types it."""

import subprocess
import sys

import pytest

from nvlib.__main__ import main


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("NVLIB_RESULTS", str(tmp_path / "none"))


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "data: mnist" in out and "BAD" not in out
    assert out.count("  ok ") > 10


def test_devices(capsys):
    assert main(["devices", "fefet1", "pcm"]) == 0
    out = capsys.readouterr().out
    assert "1, 4, 4, 1 x sigma_d" in out and "25 uS" in out and "Joshi" in out


def test_data(capsys):
    assert main(["data", "mnist"]) == 0
    assert "55000 train, 5000 validation, 10000 test" in capsys.readouterr().out


def test_study_then_results(capsys):
    arguments = "study --method none gaussian --sigma-d 0.2 --epochs 1 --chips 5 --images 128".split()
    assert main(arguments) == 0
    table = capsys.readouterr().out
    assert "w/o noise" in table or "none" in table
    assert main(["results", "--method", "gaussian"]) == 0
    assert "0.2" in capsys.readouterr().out
    assert main(["results", "--method", "trice"]) == 0
    assert "no results match" in capsys.readouterr().out


BAD = [
    ("devices fefet9", "did you mean 'fefet"),
    ("study --method gausian", "gaussian"),
    ("study --sigma-d -0.1", "sigma_d"),
    ("study --bits 5", "multiple of 2"),
    ("study --network alexnet", "lenet"),
    ("study --dataset cifar10", "NVLIB_DATA"),
    ("study --device nowhere.toml", "nowhere.toml"),
    ("results --k 100 --method none", "no results"),
    ("reproduce trice-fig99", "trice-fig3"),
    ("reproduce --preset huge", "smoke"),
]


@pytest.mark.parametrize(("line", "said"), BAD)
def test_bad_input_is_one_line_and_exit_code_two(line, said, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NVLIB_DATA", str(tmp_path))
    code = main(line.split())
    captured = capsys.readouterr()
    if "no results" in said:
        assert code == 0 and said in captured.out
        return
    assert code == 2
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert said in captured.err


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "nvlib", "--help"], capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout
