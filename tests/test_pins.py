"""What must stay as it is whatever is rebuilt: names of results, numbers of devices, and verdicts.

`pins.json` was written from the first version: the names of all runs that shipped with it, by folder; each built-in
device's numbers; one made-up record for each method, deployment, way of selecting and augmentation; and the verdict and
number of every claim that those folders alone support. A later release adds to it and changes nothing in it.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from nvlib import InputError, Recipe, Study, deploy, devices, methods, papers, records
from nvlib.papers.tables import claims_table
from nvlib.records import Evaluation, Training, canonical, digest, later, values
from nvlib.store import Store

ROOT = Path(__file__).parents[1]
PINS = json.loads((Path(__file__).parent / "pins.json").read_text())
DATA = SimpleNamespace(name="made-up", fingerprint="f" * 64, train=range(11), validation=range(5), test=range(7))
STUDIES = {
    **{f"method {name}": {"methods": (name,)} for name in methods.METHODS},
    **{f"deployment {name}": {"methods": ("none",), "deployments": (name,)} for name in deploy.DEPLOYMENTS},
    **{f"device {name}": {"methods": ("gaussian",), "devices": (name,), "sigma_d": (1.0,)} for name in devices.names()},
    **{f"network {name}": {"methods": ("none",), "network": name} for name in ("lenet", "lenet3", "vgg8", "resnet18")},
    "select best": {"methods": ("gaussian",), "select": "best"},
    "patience": {"methods": ("gaussian",), "select": "best", "patience": 3},
    "target": {"methods": ("none",), "target": 97.5},
    "start": {"methods": ("ovf",), "start": "ab" * 32},
    "crop-flip": {"methods": ("gaussian",), "recipe": Recipe(augment="crop-flip")},
    "signed, level": {"methods": ("gaussian",), "mapping": "signed", "reference": "level", "bits": 4},
    "searched beta": {"methods": ("ovf",), "parameters": {"ovf": {"beta": (0.1, 0.01)}}},
    "verified": {"methods": ("none",), "deployments": ("swim",), "deployment_parameters": {"swim": {"fraction": 0.3}}},
}


def made_up(study):
    """Return the canonical records of the one training and evaluation of a made-up study."""
    ((training, evaluation),) = Study(**study).pairs(DATA)
    return [canonical(training), canonical(evaluation)]


def shipped(folder):
    """Return the records of a folder that ships, by name."""
    path = ROOT / "results" / folder / "records.json"
    return {name: entry["record"] for name, entry in json.loads(path.read_text()).items()}


def seal(names):
    """Return one digest of many names."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


@pytest.mark.parametrize("folder", PINS["shipped"])
def test_shipped_records_keep_their_names(folder):
    held = shipped(folder)
    assert {"runs": len(held), "names": seal(held)} == PINS["shipped"][folder]
    for name, record in held.items():
        kind = {"training": Training, "evaluation": Evaluation}[record["kind"]]
        assert digest(kind(**record)) == name


def test_devices_keep_their_numbers():
    assert {name: devices.get(name).numbers() for name in PINS["devices"]} == PINS["devices"]


def test_every_method_deployment_and_device_is_pinned():
    assert set(STUDIES) <= set(PINS["records"])


@pytest.mark.parametrize("name", PINS["records"])
def test_made_up_records_keep_their_names(name):
    assert made_up(STUDIES[name]) == PINS["records"][name]


def test_verdicts_of_the_first_results(tmp_path, monkeypatch):
    """With today's folders alone, each claim says what it said; what is computed later is not looked at."""
    for folder in PINS["folders"]:
        (tmp_path / folder).symlink_to(ROOT / "results" / folder, target_is_directory=True)
    monkeypatch.setenv("NVLIB_RESULTS", str(tmp_path))
    assert verdicts(claims_table(papers.Evidence(Store(tmp_path / "no runs", tmp_path)))) == PINS["verdicts"]


def verdicts(table):
    """Return claim -> verdict and number, four digits of it."""
    said = {}
    for row in table.itertuples():
        ours = None if row.ours is None or row.ours != row.ours else float(f"{row.ours:.4g}")
        said.setdefault(f"{row.artefact}: {row.claim}", []).append([row.verdict, ours])
    return said


# -- the rule --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class First:
    """A record of version 1."""

    a: int = 1
    inner: object = None


@dataclass(frozen=True)
class Inner:
    """What goes into it, with a field of version 1 and two that came later."""

    b: float = 0.5
    c: str = later("as before")
    d: tuple = later(default_factory=tuple)


@dataclass(frozen=True)
class Outer(First):
    """The record after a field was added."""

    e: bool = later(False)
    plain: dict = field(default_factory=dict)


def test_keys_of_version_1_are_always_written_and_later_ones_only_where_used():
    assert canonical(First()) == '{"a":1,"inner":null}'
    assert values(Outer(inner=Inner())) == {"a": 1, "inner": {"b": 0.5}, "plain": {}}
    assert values(Outer(inner=[Inner(c="new", d=(1,))])) == {
        "a": 1, "inner": [{"b": 0.5, "c": "new", "d": (1,)}], "plain": {},
    }  # fmt: skip
    assert values(Outer(e=True))["e"] is True
    assert "e" in values(Outer(e=0))  # not the default, though 0 == False
    assert digest(Outer(inner=Inner(c="as before"))) == digest(Outer(inner=Inner()))
    assert digest(Outer(inner=Inner(c="x"))) != digest(Outer(inner=Inner()))


def test_no_record_of_version_1_holds_a_later_field():
    """`later` is for what is added: the fields that shipped records always hold are none of it."""
    for kind in (Training, Evaluation):
        always = set.intersection(*(set(r) for f in PINS["shipped"] for r in shipped(f).values()
                                    if r["kind"] == kind.__name__.lower()))  # fmt: skip
        fresh = {f.name for f in records.fields(kind) if "since" not in f.metadata}
        assert always == fresh


def test_a_recipe_read_from_a_record_without_a_later_key_is_the_recipe():
    assert Recipe(**values(Recipe())) == Recipe()
    assert Recipe(**values(Recipe(augment="crop-flip"))) == Recipe(augment="crop-flip")
    with pytest.raises(InputError):
        Recipe(augment="mixup")
