"""What befalls chips, and the circuits round them, from a study and the command line to tables and figures."""

from dataclasses import replace

import numpy as np
import pytest

import nvlib
from nvlib import InputError, effects, launch, summary
from nvlib.__main__ import main
from nvlib.papers.select import Evidence
from nvlib.records import digest, values
from nvlib.store import Store
from nvlib.studies import Study, model_of

SMALL = Study("lenet3", methods=("none",), devices=("pcm",), sigma_d=(1.0,), epochs=1, chips=3, images=64)
LIFE = "stuck:hrs=0.02,lrs=0.01 + drift:time=3600"


@pytest.fixture
def where(tmp_path):
    return Store(tmp_path / "runs", None)


def run(study, where):
    return launch.run(study, where=where, threads=1, progress=False)


def test_effects_are_a_part_of_the_record_with_all_their_numbers():
    loaded = SMALL.data()
    (_, plain), = SMALL.pairs(loaded)
    assert not {"effects", "periphery"} & set(values(plain))
    (_, evaluation), = replace(SMALL, effects=(LIFE,)).pairs(loaded)
    stuck, drift = values(evaluation)["effects"]
    assert stuck["effect"] == "stuck:hrs=0.02,lrs=0.01" and drift["time"] == 3600
    assert len(drift) > 4, "the numbers of the device's law are beside its time"
    assert digest(evaluation) != digest(plain)
    spaced = replace(SMALL, effects=("stuck:hrs=0.02,lrs=0.010 + drift:time=3600.0",))
    assert digest(spaced.pairs(loaded)[0][1]) == digest(evaluation)


def test_chips_that_aged_are_those_of_the_library(where):
    study = replace(SMALL, effects=("none", LIFE, "drift:time=86400"))
    table = run(study, where)
    assert table.training.nunique() == 1 and set(table.effects) == {"", LIFE, "drift:time=86400"}
    model, loaded = model_of(table.training.iloc[0], where), study.data()
    for text, rows in table.groupby("effects", observed=True):
        own = nvlib.monte_carlo(model, loaded, "pcm", 1.0, chips=3, effects=effects.chain(text))
        np.testing.assert_array_equal(own.loss, rows.sort_values("chip").loss)
    with pytest.raises(InputError, match="mixes effects"):
        summary.results_table(table)
    assert set(Evidence(where).table.effects) == {""}  # no claim of a paper is answered by an aged chip


def test_training_under_effects_has_its_own_record(where):
    study = replace(SMALL, methods=("gaussian",), train_effects="drift:time=3600")
    table = run(study, where)
    assert set(table.train_effects) == {"drift:time=3600"} and set(table.effects) == {""}
    assert set(run(replace(study, train_effects=""), where).training) != set(table.training)


def test_circuits_are_a_part_of_the_record(where):
    study = replace(SMALL, peripheries=("none", "rows=32,adc_bits=4,images=64"))
    table = run(study, where)
    assert set(table.periphery) == {"", "rows=32,adc_bits=4,images=64"}
    model, loaded = model_of(table.training.iloc[0], where), study.data()
    for text, rows in table.groupby("periphery", observed=True):
        own = nvlib.monte_carlo(model, loaded, "pcm", 1.0, chips=3, periphery=text or None)
        np.testing.assert_array_equal(own.loss, rows.sort_values("chip").loss)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"effects": ("drift:tim=3",)}, "number of drift 'tim'"),
        ({"effects": ("rust",)}, "effect 'rust'"),
        ({"devices": ("rram",), "effects": ("drift:time=60",)}, "no law of its own"),
        ({"peripheries": ("adc_bit=3",)}, "adc_bit"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(change, words):
    with pytest.raises(InputError, match=words):
        replace(SMALL, **change)


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("NVLIB_RESULTS", str(tmp_path / "none"))
    small = ["--network", "lenet3", "--images", "64", "--epochs", "1"]
    assert main(["study", "--method", "none", *small, "--device", "pcm", "--sigma-d", "1", "--chips", "3", "--effects",
                 "none", LIFE]) == 0  # fmt: skip
    assert f"then {LIFE}" in capsys.readouterr().out
    assert main(["train", "--method", "none", *small, "--quiet"]) == 0
    name = capsys.readouterr().out.strip()
    assert main(["evaluate", name, "--device", "pcm", "--sigma-d", "1", "--chips", "3", "--effects", "drift:time=60",
                 "--quiet"]) == 0  # fmt: skip
    _, record = Store(tmp_path / "runs", None).find(capsys.readouterr().out.strip(), "evaluation")
    assert [held["effect"] for held in record["effects"]] == ["drift:time=60"]
    assert main(["results", "--effects", "drift:time=60"]) == 0
    assert "then drift:time=60" in capsys.readouterr().out
