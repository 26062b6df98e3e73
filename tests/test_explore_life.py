"""A chip's life as a choice: the texts are those of records, and the stages of stored chips those of `nvlib.stages`."""

from pathlib import Path

import numpy as np
import pytest
import torch

import nvlib
from nvlib import InputError, devices, effects, explore, figures, results
from nvlib.explore import ask, life, saturation
from nvlib.records import digest
from nvlib.store import Store
from nvlib.studies import Study

ROOT = Path(__file__).parents[1]
STORE = Store(runs=ROOT / "no runs", shipped=ROOT / "results")


@pytest.mark.parametrize("device", devices.names())
def test_switches_are_effects_of_the_device_at_every_time(device):
    on = list(life.switches(device))
    assert set(life.first(device)) <= set(on)
    for seconds in life.times(device).values():
        chain = life.chain(device, on, seconds)
        assert effects.text(effects.on(devices.get(device), list(chain))) == chain  # as a record has it
    with pytest.raises(InputError, match="effect on"):
        life.chain(device, ["Rust"], 1.0)


def test_the_life_that_ships_is_shown_stage_by_stage():
    table, query = results(STORE), explore.Query(device="pcm", sigma_d=1.0)
    training = table[table["effects"] == "drift:time=3600"]["training"].iloc[0]
    on = life.first("pcm")
    for seconds in life.TIMES.values():
        assert life.lacking(table, training, query, on, seconds) == []
    stages = life.stages(table, training, query, life.chain("pcm", on, 86_400.0))
    assert stages["stage"].tolist() == ["weights", "programmed", "drift:time=86400", "read:time=86400"]
    assert stages["chips"].tolist() == [1, 100, 100, 100]
    assert stages["mean"].diff().iloc[1:].to_numpy() == pytest.approx(-stages["lost"].iloc[1:].to_numpy())
    along = life.along(table, training, query, on)
    assert along["value"].tolist() == list(life.TIMES) and along["mean"].is_monotonic_decreasing
    assert "programming" in figures.setting_curves(along).layout.title.text and figures.waterfall(stages).data
    deployed = life.deployed(table, training, query, on)
    left, cured = (deployed[deployed["deployment"] == d].set_index("value")["mean"] for d in ("", life.DEPLOYMENT))
    assert list(left.index) == list(cured.index) == list(life.TIMES)[1:] and (cured > left).all()
    assert left["1 year"] == pytest.approx(along.set_index("value")["mean"]["1 year"], abs=2)  # on other images
    labels = [trace.name.partition(", ")[2] for trace in figures.setting_curves(deployed).data]
    assert labels == ["left alone", "drift compensation"] * 2
    assert life.deployed(table, training, query, [*on, "Stuck cells"]).empty
    rust = life.lacking(table, training, query, [*on, "Stuck cells"], 86_400.0)
    assert rust and all(text.startswith("stuck") for text in rust)
    asked = ask.aged(training, query, rust, chips=5, store=STORE)
    study = Study.of(asked.studies[0])
    pairs = study.pairs(study.data())
    assert {digest(t) for t, _ in pairs} == {training}  # nothing is trained
    assert {" + ".join(e["effect"] for e in ev.effects) for _, ev in pairs} == set(rust)


def test_a_range_saturates_what_lies_beyond_it():
    model = nvlib.build("lenet3", seed=0)
    for span, share in (("max", 0.0), ("percentile:90", 0.1)):
        table = saturation.saturation(model, span)
        assert table["saturated"].to_numpy() == pytest.approx(np.full(len(table), share), abs=0.02)  # 54 weights in one
    table, spread = saturation.saturation(model, "deviations:1"), saturation.spread(model)
    w = dict(model.named_parameters())[table["name"][0]].detach()
    assert table["saturated"][0] == pytest.approx(float((w.abs() > w.square().mean().sqrt()).double().mean()))
    assert spread["share"].sum() == pytest.approx(1) and torch.is_tensor(w)
    assert "saturate" in figures.weights_and_range(spread, table).layout.title.subtitle.text
    with pytest.raises(InputError, match="lack"):
        figures.weights_and_range(table, spread)
