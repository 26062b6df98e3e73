"""The wheel: built from the source distribution, installed beside nothing of the checkout, and used. No network.

Other packages are those of this environment, found through a path file, so that torch is not installed again.
"""

import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import nvlib

pytestmark = pytest.mark.wheel
ROOT = Path(__file__).parents[1]

PARTS = (  # of a checkout; what else lies there is somebody's own
    "nvlib", "app", "notebooks", "results", "studies", "docs", "tests", "benchmarks", ".streamlit",
)  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and source distribution of a copy of the project: what lies in build/ here gets into neither."""
    source, out = tmp_path_factory.mktemp("source") / "nvlib", tmp_path_factory.mktemp("dist")
    for part in PARTS:
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__", "_build"))
    for path in filter(Path.is_file, ROOT.iterdir()):
        shutil.copyfile(path, source / path.name)
    build = [sys.executable, "-m", "build", "--no-isolation", "-o", out, source]
    subprocess.run(build, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def clean(built, tmp_path_factory):
    """Run a program of a new environment that has the wheel; returns the finished process."""
    home = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], check=True)
    (wheel,) = built.glob("*.whl")
    python = home / "venv" / "bin" / "python"
    dropped = ("PYTHONPATH", "PYTHONHOME", "NVLIB_RESULTS", "NVLIB_DATA", "NVLIB_PLUGINS")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    environment |= {"NVLIB_RUNS": str(home / "runs"), "HOME": str(home)}
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel]
    subprocess.run(pip, check=True, env=environment)
    (site,) = (home / "venv").glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(program, *arguments, code=0):
        command = [home / "venv" / "bin" / program, *arguments]
        ended = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
        assert ended.returncode == code, ended.stderr
        return ended

    return run


def test_what_is_in_it(built):
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"nvlib/{p.relative_to(ROOT / 'nvlib').as_posix()}" for p in (ROOT / "nvlib").rglob("*.py")} <= names
    assert "nvlib/_data/mnist/train-images-idx3-ubyte.gz" in names
    for records in (ROOT / "results").glob("*/records.json"):
        assert f"nvlib/_data/results/{records.parent.name}/records.json" in names
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"nvlib", f"nvlib-{nvlib.__version__}.dist-info"}  # nothing else enters site-packages
    assert wheel.stat().st_size < 40e6 and source.stat().st_size < 80e6


def test_it_is_imported_from_there(clean):
    """Every module of it, and no checkout within reach."""
    code = (
        "import importlib, pkgutil, sys, nvlib\n"
        "for m in pkgutil.walk_packages(nvlib.__path__, 'nvlib.'):\n"
        "    if not m.name.endswith('__main__'):\n        importlib.import_module(m.name)\n"
        "from importlib import metadata\n"
        "print(nvlib.__file__, metadata.version('nvlib'), nvlib.store.project_root(), sep='\\n')\n"
        "print(*sys.path, sep='\\n')"
    )
    file, version, root, *path = clean("python", "-c", code).stdout.splitlines()
    assert "/clean" in file and "/venv/" in file and version == nvlib.__version__ and root == "None"
    assert str(ROOT) not in path


def test_its_commands(clean):
    said = clean("nvlib", "doctor").stdout
    assert "start from a clone" in said and "BAD" not in said
    grid = ["--network", "lenet3", "--method", "gaussian", "--sigma-d", "0.2", "--epochs", "1", "--images", "300"]
    assert "gaussian" in clean("nvlib", "study", *grid, "--chips", "4", "--threads", "1").stdout
    assert "gaussian" in clean("nvlib", "results", "list", "--network", "lenet3", "--origin", "yours").stdout
    assert "from a clone" in clean("nvlib", "app", code=2).stderr


def test_its_shipped_results(clean):
    assert "damaged" not in clean("nvlib", "results", "verify").stdout
    claims = "import sys; from nvlib import papers; papers.claims_table(names=['trice-table1']).to_csv(sys.stdout)"
    found = pd.read_csv(io.StringIO(clean("python", "-c", claims).stdout))
    written = pd.read_csv(ROOT / "results" / "claims.csv").query("artefact == 'trice-table1'")
    assert found.verdict.tolist() == written.verdict.tolist() and np.allclose(found.ours, written.ours, atol=1e-3)
    code = (
        "import nvlib\nfrom nvlib import studies\n"
        "runs = nvlib.results(plain=True, network='lenet', device='rram', sigma_d=0.1, method='gaussian',\n"
        "                     protocol='matched', train_seed=0)\n"
        "model, mnist = studies.model_of(runs.training.iloc[0]), nvlib.load('mnist', limit=500)\n"
        "print(nvlib.monte_carlo(model, mnist, 'rram', 0.0, chips=1).mean().value)"
    )
    assert float(clean("python", "-c", code).stdout) > 95


def test_one_version():
    """Of the package, its citation and its metadata."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "nvlib.__version__"}
    assert f"version: {nvlib.__version__}\n" in (ROOT / "CITATION.cff").read_text()
