"""Methods of one's own in other processes, and their code in the record."""

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

import nvlib
from nvlib import InputError, Study, catalogue, launch, local_imports, models, plugins
from nvlib.launch.job import new
from nvlib.launch.lead import lead
from nvlib.records import digest
from nvlib.store import Store

ROOT = Path(__file__).parents[1]
LOUDER = '''"""Mine."""
from dataclasses import dataclass
from typing import ClassVar

import nvlib

'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The guide's own method as a file."""
    text = (ROOT / "docs" / "guides" / "method.md").read_text()
    method = re.search(r"@dataclass\(frozen=True\)\nclass Louder.*?nvlib.METHODS\[\"louder\"\] = Louder\n", text, re.S)
    monkeypatch.setattr(nvlib.methods, "METHODS", dict(nvlib.METHODS))
    path = tmp_path / "mine.py"
    path.write_text(LOUDER + method.group(0))
    held = [(names, dict(names)) for names in (catalogue.METHODS, catalogue.NETWORKS, models.MODELS)]
    for name in ("_held", "_current", "_listed"):
        monkeypatch.setattr(plugins, name, {})
    monkeypatch.setattr(local_imports._FINDER, "held", {})
    yield path
    nvlib.METHODS.pop("louder", None)
    for names, before in held:
        names.clear()
        names.update(before)


def small(path, **changes):
    return Study(methods=("louder",), sigma_d=(0.2,), epochs=1, images=64, chips=3, plugins=(str(path),), **changes)


def test_the_guides_method_in_a_process_of_its_own(mine, tmp_path):
    study = small(mine, parameters={"louder": {"factor": 2.0}})
    assert Study.of(json.loads(json.dumps(study.record()))) == study
    where = Store(tmp_path / "runs", None)
    table = launch.run(study, "processes", 1, where=where)
    assert len(table) == 3 and set(table.method) == {"louder"}
    ((training, _),) = study.pairs(study.data())
    assert where.record(digest(training))["code"] == training.code == plugins.code_of(nvlib.METHODS["louder"])


def test_edited_code_is_another_record(mine):
    study = small(mine)
    ((before, _),) = study.pairs(study.data())
    assert small(mine).pairs(study.data())[0][0] == before
    mine.write_text(mine.read_text().replace("self.factor *", "0 * self.factor *"))
    ((after, _),) = small(mine).pairs(study.data())
    assert after.code != before.code and digest(after) != digest(before)
    assert replace(after, code=before.code) == before
    ((own, _),) = replace(study, methods=("gaussian",)).pairs(study.data())
    assert own.code is None  # nvlib's own has none, and so its name of before


def test_a_run_keeps_the_text(mine, tmp_path):
    where = Store(tmp_path / "runs", None)
    table = launch.run(small(mine), where=where, progress=False)
    source = plugins.load(mine)
    kept = {"sha256": source.sha256, "text": mine.read_text()}
    assert where.about(table.training.iloc[0])["code"] == {"mine.py": kept}
    assert "code" not in where.about(table.run.iloc[0])  # its chips are programmed by nvlib's own


def test_a_study_brings_the_files_of_its_names(mine, tmp_path):
    plugins.load(mine)
    assert Study(methods=("louder",)).plugins == (str(mine),) and Study().plugins == ()
    copied = tmp_path / "copy" / "mine.py"
    copied.parent.mkdir()
    copied.write_text(mine.read_text())
    assert plugins.load(copied) == plugins.load(mine)  # not run again


def test_what_is_edited_while_a_launch_waits_changes_nothing(mine, tmp_path):
    """A launch has a copy; this process forgets what it ran, as a job of another machine knows nothing of it."""
    study = small(mine)
    where = Store(tmp_path / "runs", None)
    ((training, _),) = study.pairs(study.data())
    options = {"workers": None, "on": "cpu", "pack": "auto", "threads": 1, "cluster": {}, "shipped": None}
    job = new(where.runs, [study.record()], "here", None, options)
    mine.write_text("1 / 0\n")
    plugins._held.clear(), plugins._current.clear()
    assert lead(job).state == "done"
    assert where.names() and where.record(digest(training))["code"] == training.code
    (copy,) = job.home.rglob("mine.py")
    assert job.asked()["studies"][0]["plugins"] == [str(copy)]


HELPED = """
from parts.scale import FACTOR
def late():
    from deeper import less
    return less()
"""


def test_modules_that_a_file_imports_are_part_of_it(mine, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # elsewhere
    alone = plugins.read(mine)
    assert alone.sha256 == hashlib.sha256(mine.read_bytes()).hexdigest() and alone.imports == ()
    mine.write_text(mine.read_text().replace("import nvlib\n", f"import nvlib\n{HELPED}", 1)
                    .replace("self.factor *", "FACTOR * late() * self.factor *"))  # fmt: skip
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "scale.py").write_text("from .base import FACTOR\n")  # a folder without an __init__.py
    (tmp_path / "parts" / "base.py").write_text("FACTOR = 1.0\n")
    (tmp_path / "deeper.py").write_text("import numpy\nless = lambda: 1.0\n")
    first = plugins.load(mine)
    assert [each.module for each in first.imports] == ["deeper", "parts", "parts.base", "parts.scale"]
    assert set(first.texts) == {"deeper.py", "parts/__init__.py", "parts/base.py", "parts/scale.py"}
    method = nvlib.METHODS["louder"]
    names = sys.modules[method.__module__]
    assert (names.FACTOR, names.late()) == (1.0, 1.0) and plugins.code_of(method) == first.sha256
    study, where = small(mine), Store(tmp_path / "runs", None)
    ((before, _),) = study.pairs(study.data())
    options = {"workers": None, "on": "cpu", "pack": "auto", "threads": 1, "cluster": {}, "shipped": None}
    job = new(where.runs, [study.record()], "here", None, options)
    (tmp_path / "parts" / "base.py").write_text("FACTOR = 2.0\n")
    ((after, _),) = small(mine).pairs(study.data())
    assert after.code != before.code and sys.modules[nvlib.METHODS["louder"].__module__].FACTOR == 2.0
    plugins._held.clear(), plugins._current.clear()  # a job in a process of its own, with what it was started with
    assert lead(job).state == "done"
    kept = where.about(digest(before))["code"]["mine.py"]
    assert kept["sha256"] == before.code and kept["imports"]["parts/base.py"] == "FACTOR = 1.0\n"
    (tmp_path / "deeper.py").write_text("less = lambda: 1 / 0\n")
    assert plugins.load(mine).sha256 not in (before.code, after.code)
    with pytest.raises(ZeroDivisionError):
        sys.modules[nvlib.METHODS["louder"].__module__].late()


def test_a_helper_that_fails_is_said_and_mended(mine, tmp_path):
    mine.write_text(f"import faulty\n{mine.read_text()}")
    (tmp_path / "faulty.py").write_text("1 / 0\n")
    with pytest.raises(plugins.Broken, match="ZeroDivisionError"):
        plugins.load(mine)
    (tmp_path / "faulty.py").write_text("import faulty\n")  # itself
    assert [each.module for each in plugins.load(mine).imports] == ["faulty"]
    (tmp_path / "faulty.py").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"faulty\.py is not text in UTF-8"):
        plugins.load(mine)


def distribution(site, name, entry):
    """What pip leaves of an installed package."""
    home = site / f"{name}-1.0.dist-info"
    home.mkdir(parents=True)
    (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (home / "entry_points.txt").write_text(f"[nvlib.plugins]\n{entry}\n")


def test_a_plug_in_of_an_installed_package(mine, tmp_path, monkeypatch):
    site = tmp_path / "site"
    distribution(site, "nvlib_louder", "louder = nvlib_louder")
    (site / "nvlib_louder.py").write_text(
        mine.read_text() + "\nfrom torch import nn\ndef tiny(classes=10):\n    return nn.Sequential(nn.Flatten(), "
        "nn.Linear(784, classes))\nnvlib.MODELS['tiny'] = tiny\n"
    )
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(plugins, "_packages", {})
    sha256 = hashlib.sha256((site / "nvlib_louder.py").read_bytes()).hexdigest()
    study = Study("tiny", methods=("louder",), sigma_d=(0.1,), epochs=1, chips=2, images=64)
    assert study.network == f"own:nvlib_louder.tiny@{sha256[:16]}" and study.plugins == ()
    ((training, _),) = study.pairs(study.data())
    assert training.code == sha256 and catalogue.METHODS["louder"] == "louder" and study.network in catalogue.NETWORKS
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{ROOT}")
    where = Store(tmp_path / "runs", None)
    table = launch.run(study, "processes", 1, where=where, progress=False)
    assert set(table.method) == {"louder"} and set(table.network) == {study.network}
    assert where.about(digest(training))["code"]["nvlib_louder.py"]["sha256"] == sha256


def test_a_package_that_fails_is_a_warning(tmp_path, monkeypatch):
    distribution(tmp_path, "broken", "worse = nowhere_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "_packages", {})
    told = pytest.warns(UserWarning, match="'worse' .* left out: ModuleNotFoundError")
    with told, pytest.raises(InputError, match="unknown method"):
        nvlib.methods.get("quieter")


@pytest.mark.parametrize(("line", "said"), [
    ('METHODS["rc"] = 3', "registers 3 as the method 'rc'; expected a class with the function loss"),
    ('METHODS["louder"] = dict', "as the method 'louder'; expected a class with the function loss"),
    ('DEPLOYMENTS["dull"] = object', "as the deployment 'dull'; expected a class with the function apply"),
    ('MODELS["flat"] = "lenet"', "as the network 'flat'; expected a class or a function"),
])  # fmt: skip
def test_what_cannot_be_used_is_not_registered(tmp_path, line, said):
    (tmp_path / "odd.py").write_text(f"import nvlib\nnvlib.{line}\n")
    rc = nvlib.METHODS["rc"]
    with pytest.raises(InputError, match=rf"odd\.py registers .*{said.removeprefix('registers ')}"):
        plugins.load(tmp_path / "odd.py")
    assert nvlib.METHODS["rc"] is rc
    assert not {"louder", "dull", "flat"} & {*nvlib.METHODS, *nvlib.DEPLOYMENTS, *nvlib.MODELS}
    with pytest.raises(InputError, match="plug-in=3"):
        plugins.load(3)


def test_nvlibs_own_names_are_not_replaced(mine):
    mine.write_text(mine.read_text().replace('METHODS["louder"]', 'METHODS["rc"]'))
    with pytest.raises(InputError, match=r"mine\.py puts a method of its own in place of nvlib's 'rc'"):
        plugins.load(mine)
    assert nvlib.METHODS["rc"].__module__ == "nvlib.methods.censored"
    mine.write_text(mine.read_text().replace('METHODS["rc"]', 'METHODS["louder"]'))
    assert plugins.load(mine).name == "mine" and "louder" in catalogue.METHODS


def test_a_class_of_a_session_has_its_text():
    @dataclass(frozen=True)
    class Quiet:
        name: ClassVar[str] = "quiet"

    assert len(plugins.code_of(Quiet)) == 64
    assert len(plugins.code_of(type("Typed", (), {"__module__": "__main__"}))) == 64  # typed at a prompt


def test_a_method_of_a_session_stays_in_it(monkeypatch, tmp_path):
    @dataclass(frozen=True)
    class Quiet:
        name: ClassVar[str] = "quiet"

    monkeypatch.setitem(nvlib.methods.METHODS, "quiet", Quiet)
    study, where = Study(methods=("quiet",), images=64), Store(tmp_path, None)
    for act in (lambda: launch.run(study, "processes", 1, where=where), lambda: launch.start(study, where=where)):
        with pytest.raises(InputError, match=r"'quiet' is of this session alone.*--plugin mine\.py"):
            act()


def test_from_the_command_line(mine, tmp_path):
    command = [sys.executable, "-m", "nvlib", "study", "--plugin", str(mine), "--method", "louder", "--set", "factor=2",
               "--sigma-d", "0.2", "--epochs", "1", "--images", "64", "--chips", "3"]  # fmt: skip
    done = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    mine.write_text("1 / 0\n")
    failed = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert failed.returncode == 2 and "ZeroDivisionError" in failed.stderr and failed.stderr.count("\n") == 1


def test_bad_plugins_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="mine"):
        plugins.load(tmp_path / "nowhere.py")
    with pytest.raises(InputError, match="a text"):
        Study.of({"plugins": [3]})
