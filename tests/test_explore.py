"""What is stored for a choice, chips scored while one waits, and the playground's widgets, moved from Python."""

import asyncio
import sys
from dataclasses import replace

import numpy as np
import pytest

import nvlib
from nvlib import InputError, devices, explore, studies
from nvlib.explore import code_text, select
from nvlib.explore.html import PLOTLY
from nvlib.methods import Recipe
from nvlib.store import Store

NEAR_TIE = 100 / 250  # an image whose two best classes differ in the last bit, of the 250 that are scored here


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The results that ship, and no others."""
    return Store(tmp_path_factory.mktemp("none") / "runs")


@pytest.fixture(scope="module")
def table(shipped):
    return nvlib.results(shipped)


@pytest.fixture
def panel(shipped):
    made = explore.Panel(store=shipped)
    made.controls["chips"].value = 20
    return made


def spec(output):
    return output.outputs[0]["data"][PLOTLY]


# -- what is stored --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma_d", [0.1, 0.2, 0.4])
def test_a_choice_with_results_is_answered_by_them(table, shipped, sigma_d):
    found = explore.answer(explore.Query(sigma_d=sigma_d), table, store=shipped)
    where = {"network": "lenet", "mapping": "differential", "epochs": 10, "images": 10_000, "protocol": "matched",
             "sigma_d": sigma_d, "device": "rram", "method": ["none", "gaussian"]}  # fmt: skip
    wanted = nvlib.results(shipped, plain=True, **where)
    assert len(found.rows) == len(wanted) > 2000
    assert sorted(found.rows["accuracy"]) == sorted(wanted["accuracy"])
    assert found.lacking == () and set(found.curve["sigma_d"]) == {0.0, 0.05, 0.1, 0.2, 0.3, 0.4}
    assert dict(zip(select.SETTING, found.query.setting, strict=True))["images"] == 10_000


def test_the_model_is_one_whose_chips_are_on_show(tmp_path):
    """Beside short trainings of one's own of the same seed, whichever hashes they have."""
    where = Store(tmp_path / "runs")
    for lr in (1e-3, 2e-3, 3e-3, 4e-3):
        short = studies.Study(methods=("gaussian",), sigma_d=(0.2,), images=64, epochs=1, chips=2, recipe=Recipe(lr=lr))
        studies.run(short, where, progress=False)
    found = explore.answer(explore.Query(sigma_d=0.2), nvlib.results(where), store=where)
    assert set(found.models) == {"none", "gaussian"} and set(found.models.values()) <= set(found.rows.training)


def test_a_choice_without_results_names_the_models_that_can_be_scored(table, shipped):
    found = explore.answer(explore.Query(sigma_d=0.15), table, store=shipped)
    assert found.rows.empty and found.lacking == ("none", "gaussian") and set(found.models) == {"none"}
    assert "trained at sigma_d = 0.15" in found.why["gaussian"] and code_text.command(found.query, ["gaussian"]) in (
        found.why["gaussian"]
    )
    swept = explore.Query(sigma_d=0.15, protocol="swept", train_sigma_d=0.2)
    found = explore.answer(swept, table, store=shipped)
    assert not found.why and shipped.training(found.models["gaussian"]).sigma_d == 0.2


@pytest.mark.parametrize(
    ("query", "bits", "says"),
    [
        (explore.Query(device="fefet1", sigma_d=0.25), None, "no stored model was trained for FeFET1"),
        (explore.Query(network="resnet18"), None, "no model of ResNet-18 on MNIST is stored"),
        (explore.Query(protocol="swept"), None, "choose the sigma_d of its training"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_says_why_in_one_line(table, shipped, query, bits, says):
    why = explore.answer(query, table, bits, shipped).why["gaussian"]
    assert says in why and "\n" not in why and len(why) < 400


def test_bits_other_than_stored_are_no_stored_result(table, shipped):
    assert explore.answer(explore.Query(), table, 8, shipped).rows.empty
    assert len(explore.answer(explore.Query(), table, 4, shipped).rows)


def test_the_code_reads_the_same_rows(table, shipped, monkeypatch):
    monkeypatch.setenv("NVLIB_RUNS", str(shipped.runs))
    found, scope = explore.answer(explore.Query(), table, store=shipped), {}
    exec(code_text.code(found.rows, found.query, ""), scope)
    assert len(scope["df"]) == len(found.rows)


# -- chips scored now ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def some(table, shipped):
    models = explore.answer(explore.Query(), table, store=shipped).models
    return explore.Live(models["gaussian"], "rram", 0.2, chips=20, images=250)


def test_live_chips_are_those_of_monte_carlo(some, shipped):
    *_, rows = explore.score(some, shipped)
    model, images = studies.model_of(some.training, shipped), nvlib.load("mnist", limit=250)
    samples = nvlib.monte_carlo(model, images, "rram", 0.2, chips=20)
    assert rows["chip"].tolist() == samples.index.tolist() == list(range(20))
    assert np.abs(rows["accuracy"] - samples.accuracy).max() <= NEAR_TIE
    assert rows["loss"].to_numpy() == pytest.approx(samples.loss, rel=1e-4)  # float32 sums in another order
    assert set(nvlib.store.COLUMNS[:22]) <= set(rows.columns) and set(rows["origin"]) == {"live"}
    assert set(rows["protocol"]) == {"matched"} and rows["images"].eq(250).all()


def test_the_code_of_live_chips_gives_them(some, shipped, monkeypatch):
    monkeypatch.setenv("NVLIB_RUNS", str(shipped.runs))
    model, call = some.code("mnist", 3).splitlines()
    scope = {"nvlib": nvlib}
    exec(model, scope)
    samples = eval(call, scope)
    rows = next(explore.score(replace(some, chips=3), shipped))
    assert np.abs(samples.accuracy - rows["accuracy"]).max() <= NEAR_TIE
    changed = replace(some, bits=8, mapping="signed", reference="level")
    assert "bits=8, reference='level', mapping='signed'" in changed.code("mnist")


def test_whoever_stops_asking_keeps_what_was_scored(some, shipped):
    tables = explore.score(some, shipped)
    first = next(tables)
    tables.close()
    *_, whole = explore.score(some, shipped)
    assert 0 < len(first) < len(whole) == 20
    assert first["accuracy"].tolist() == whole["accuracy"][: len(first)].tolist()  # blocks of one plan: bit for bit


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bits": 3}, "bits=3 does not fit rram"), ({"sigma_d": -0.1}, "-0.1"), ({"device": "no such"}, "no such"),
        ({"device": devices.Device("wide", 3, range(8), [1] * 8, "level", True)}, "cells hold 3 bits"),
        ({"training": "0" * 64}, "no training"), ({"reference": "x"}, "'x'"), ({"mapping": "x"}, "'x'"),
    ],
)  # fmt: skip
def test_a_combination_that_cannot_run_is_refused_in_one_line(some, shipped, change, says):
    with pytest.raises(InputError, match=says) as error:
        next(explore.score(replace(some, **change), shipped))
    assert "\n" not in str(error.value)


def test_variants_change_one_thing_at_a_time(some, shipped):
    few = replace(some, chips=4)
    rows = explore.variants(few, {"as it is": {}, "one level": {"reference": "level"}}, shipped)
    *_, alone = explore.score(few, shipped)
    assert rows["change"].tolist() == ["as it is", "one level"] and rows["chips"].eq(4).all()
    assert rows["mean"][0] == pytest.approx(alone["accuracy"].mean())
    assert rows["mean"][1] > rows["mean"][0]  # a third of the variation


# -- the playground, moved from Python -------------------------------------------------------------------------------


def test_the_playground_opens_on_stored_results(panel):
    assert set(panel.rows["origin"]) == {"shipped"} and not panel.parts.start.disabled
    assert "Accuracy over programmed chips" in spec(panel.parts.distribution)["layout"]["title"]["text"]
    assert spec(panel.parts.curve)["data"]
    html = panel.parts.numbers.value
    runs = sorted(panel.rows["run"].unique())
    assert "1st percentile" in html and "shipped" in html and all(run in html for run in runs)
    assert "figures.accuracy_distribution(df, k=1)" in panel.parts.ran.value
    bundle = panel._repr_mimebundle_()
    assert "gaussian" in bundle["text/plain"] and "application/vnd.jupyter.widget-view+json" in bundle


def test_moving_a_widget_draws_the_choice(panel):
    before = spec(panel.parts.distribution)
    panel.controls["k"].value = 5.0
    assert "5th percentile" in panel.parts.numbers.value
    panel.controls["sigma_d"].value = 0.3
    assert set(panel.rows["sigma_d"]) == {0.3} and spec(panel.parts.distribution) != before
    panel.controls["method"].value = ("gaussian",)
    assert set(panel.rows["method"]) == {"gaussian"}
    panel.controls["method"].value = ()
    assert "Choose at least one" in panel.parts.said.value and panel.parts.start.disabled
    assert not panel.parts.distribution.outputs


def test_a_measured_device_has_factors(panel):
    panel.controls["device"].value = "pcm"
    assert panel.controls["sigma_d"].value == 1.0 and panel.controls["reference"].disabled
    assert len(panel.rows) == 800
    panel.controls["sigma_d"].value = 0.75
    assert "No stored result for w/o noise" in panel.parts.said.value
    panel.controls["device"].value = "rram"
    assert panel.controls["sigma_d"].value == 0.2 and len(panel.rows)


def test_the_button_scores_what_is_not_stored_and_both_can_be_looked_at(panel):
    panel.controls["method"].value = ("none",)
    panel.controls["sigma_d"].value = 0.15
    assert panel.rows.empty and panel.parts.start.description == "Score 20 chips now: w/o noise"
    panel.parts.start.click()
    assert len(panel.rows) == 20 and set(panel.rows["origin"]) == {"live"} and panel.parts.stop.disabled
    assert panel.parts.bar.value == 20 and panel.parts.counted.value == "20 of 20 chips"
    assert "chips 0 to 19 of seed 0" in panel.parts.said.value and "model_of" in panel.parts.ran.value
    panel.controls["sigma_d"].value = 0.2
    assert set(panel.rows["origin"]) == {"shipped"}
    panel.controls["sigma_d"].value = 0.15  # back: what was scored is still there
    assert len(panel.rows) == 20
    panel.controls["k"].value = 10.0
    assert "10th percentile" in panel.parts.numbers.value and len(panel.rows) == 20


def test_stored_and_live_chips_of_other_images_are_never_mixed(panel):
    panel.controls["method"].value = ("gaussian",)
    panel.parts.start.click()
    assert panel.controls["show"].value == "live" and set(panel.rows["images"]) == {250}
    panel.controls["show"].value = "stored"
    assert set(panel.rows["images"]) == {10_000}


def test_stop_keeps_the_chips_that_were_scored(panel):
    panel.controls["method"].value = ("none",)
    panel.controls["chips"].value = 1000
    stop = panel._count

    def count(done, total, seconds):  # pressed after the first block
        stop(done, total, seconds)
        if done:
            panel.parts.stop.click()

    panel._count = count
    asyncio.run(panel.simulate())
    assert 0 < len(panel.rows) < 1000 and not panel.parts.start.disabled and panel.parts.stop.disabled


def test_a_device_of_ones_own_and_an_error_are_said(shipped):
    wide = devices.Device("wide", 3, range(8), [1] * 8, "level", True)
    panel = explore.Panel(explore.Query(method=("none",)), own=[wide], store=shipped)
    panel.controls["device"].value = "wide"
    panel.parts.start.click()
    assert "cells hold 3 bits" in panel.parts.said.value and not panel.parts.start.disabled


def test_without_ipywidgets_and_for_an_unknown_preset(shipped, monkeypatch):
    with pytest.raises(InputError, match="smoke"):
        explore.Panel(preset="huge", store=shipped)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(InputError, match="ipywidgets is not installed"):
        explore.Panel(store=shipped)
