"""A chip's life as a choice: the texts are those of records, and the stages of stored chips those of `nvlib.stages`."""

from pathlib import Path

import numpy as np
import pandas as pd
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
    half = table[(table["training"] == training) & (table["effects"] == "") & (table["chip"] < 20)]
    doubled = pd.concat([table[table["training"] == training], half.assign(precision="bf16", run="half")])
    pd.testing.assert_frame_equal(life.stages(doubled, training, query, life.chain("pcm", on, 86_400.0)), stages)
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


def test_circuits_are_the_last_stage_of_a_life(trained, mnist):
    """Of stored chips as `nvlib.stages` computes them; and what ships through converters, at every time."""
    chain, periphery = ("drift:time=3600,law=pcm", "read:law=pcm,time=3600"), "adc_bits=4,images=100"
    few = nvlib.data.Dataset(**{**vars(mnist), "test": nvlib.data.Split(mnist.test.x[:100], mnist.test.y[:100])})
    computed = nvlib.stages(trained, few, "rram", 0.1, effects=chain, periphery=periphery, chips=3, k=30)
    parts = []
    for place, text in enumerate(["", chain[0], " + ".join(chain), " + ".join(chain)]):
        through = periphery if place == 3 else ""
        met = tuple(filter(None, text.split(" + ")))
        found = nvlib.monte_carlo(trained, few, "rram", 0.1, chips=3, effects=met, periphery=through or None)
        parts.append(pd.DataFrame({"accuracy": found.accuracy, "chip": found.index, "effects": text,
                                   "periphery": through, "sigma_d": 0.1}))  # fmt: skip
    rows = pd.concat(parts).assign(training="t", deployment="", chip_seed=0, images=100, device="rram", range="max",
                                   reference="full_scale", mapping="differential", device_numbers="",
                                   precision="float32")  # fmt: skip
    query = explore.Query(sigma_d=0.1, periphery=periphery, k=30)
    stages = life.stages(rows, "t", query, chain)
    assert stages["stage"].tolist() == ["programmed", *chain, f"periphery:{periphery}"]
    columns = ["mean", "kpp", "lost", "lost_low", "lost_high"]
    assert stages[columns][1:].to_numpy() == pytest.approx(computed[columns][-3:].to_numpy())
    assert "adc_bits=4" in figures.waterfall(stages).data[0].x[-2]
    assert life.stages(rows, "t", query, chain[:1]).empty  # drift alone was not read through converters

    table, on = results(STORE), life.first("pcm")
    query = explore.Query(device="pcm", sigma_d=1.0, periphery="default")
    training = table[table["effects"] == "drift:time=3600"]["training"].iloc[0]
    for seconds in life.TIMES.values():
        assert life.lacking(table, training, query, on, seconds) == []
        last = life.stages(table, training, query, life.chain("pcm", on, seconds)).iloc[-1]
        assert last["stage"] == "periphery:default" and last["chips"] == 40 and abs(last["lost"]) < 3
    other = explore.Query(device="pcm", sigma_d=1.0, periphery="rows=64")
    assert life.lacking(table, training, other, on, 3600.0) == ["drift:time=3600 + read:time=3600"]


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
