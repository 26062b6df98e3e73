"""Methods of one's own in other processes, and their code in the record."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

import nvlib
from nvlib import InputError, Study, launch, plugins
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
    yield path
    nvlib.METHODS.pop("louder", None)


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


def test_a_class_of_a_session_has_its_text():
    @dataclass(frozen=True)
    class Quiet:
        name: ClassVar[str] = "quiet"

    assert len(plugins.code_of(Quiet)) == 64
    assert len(plugins.code_of(type("Typed", (), {"__module__": "__main__"}))) == 64  # typed at a prompt


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
