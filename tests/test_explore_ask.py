"""What is asked for where nothing is stored: stored models where they answer, trainings like the stored ones else."""

import json
import subprocess
import sys
from pathlib import Path

import appkit
import pytest

from nvlib import devices
from nvlib.explore import Query, ask
from nvlib.records import digest
from nvlib.store import Store, results
from nvlib.studies import Study

SHIPPED = Store()


@pytest.fixture(scope="module")
def table():
    return results(Store(Path("/nonexistent"), SHIPPED.shipped))


def pairs(asked):
    return [pair for values in asked.studies for pair in Study.of(values).pairs(Study.of(values).data())]


def test_another_device_of_a_model_without_noise_is_chips_of_the_stored_one(table):
    asked = ask.ask(Query(device="pcm", sigma_d=1.0, method=("none",)), ("none",), table)
    assert asked.trainings == 0 and asked.chips == 400
    found = pairs(asked)
    assert {digest(training) in SHIPPED.shipped_records() for training, _ in found} == {True}
    assert {(e.device["name"], e.sigma_d) for _, e in found} == {("pcm", 0.0), ("pcm", 1.0)}


def test_a_swept_model_is_programmed_on_another_device(table):
    query = Query(device="sonos", sigma_d=1.0, method=("gaussian", "trice"), protocol="swept", train_sigma_d=0.2)
    asked = ask.ask(query, query.method, table)
    assert asked.trainings == 0
    for training, evaluation in pairs(asked):
        assert digest(training) in SHIPPED.shipped_records() and training.device["name"] == "rram"
        assert evaluation.device["name"] == "sonos"


def test_a_range_after_training_is_chips_of_the_stored_model(table):
    asked = ask.ask(Query(range="deviations:2", method=("gaussian",)), ("gaussian",), table)
    assert asked.trainings == 0
    assert {(t.range, e.range) for t, e in pairs(asked)} == {("max", "deviations:2")}


def test_a_matched_training_is_like_the_stored_ones(table):
    asked = ask.ask(Query(device="sonos", sigma_d=1.0, method=("trice",)), ("trice",), table)
    (training, _), *_ = pairs(asked)
    assert asked.trainings == 1 and asked.seconds > 0
    assert training.device["name"] == "sonos" and training.sigma_d == 1 and training.epochs == 10
    like = [r["record"] for r in SHIPPED.shipped_records().values()
            if r.get("record", {}).get("method") == "trice" and r["record"].get("epochs") == 10]  # fmt: skip
    assert json.loads(json.dumps(training.parameters)) in [record["parameters"] for record in like]


def test_deployed_chips_are_set_as_the_stored_ones_and_have_their_ideal(table):
    """Of a stored model on another device; the ideal is the accuracy of the model trained without noise."""
    query = Query(device="sonos", sigma_d=1.0, method=("gaussian",), protocol="swept", train_sigma_d=0.2)
    without = table[(table["sigma_d"] > 0) | (table["device"] == "rram")]
    asked = ask.deployed(query, "gaussian", without, ["write_verify", "tsb"], chips=10)
    assert asked.trainings == 0 and asked.chips == 10
    found = [(t.method, e.sigma_d, (e.deployment or {}).get("name")) for t, e in pairs(asked)]
    assert sorted(found, key=str) == [("gaussian", 1.0, "tsb"), ("gaussian", 1.0, "write_verify"), ("none", 0.0, None)]
    held = table[(table["network"] == "lenet") & (table["deployment"] == "tsb")]
    (tsb,) = set(held["deployment_parameters"])
    assert asked.studies[-1]["deployment_parameters"] == {"tsb": json.loads(tsb)} and json.loads(tsb)
    there = ask.deployed(Query(method=("gaussian",), sigma_d=0.3), "gaussian", table, ["swim"], chips=10)
    assert [study["methods"] for study in there.studies] == [["gaussian"]]  # RRAM's ideal ships


def test_asking_needs_no_torch():
    code = "import sys, nvlib.explore.ask, nvlib.launch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("device", devices.names())
def test_every_device_of_the_sidebar_has_a_figure_or_an_offer(device, monkeypatch, tmp_path):
    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path / "runs"))
    app = appkit.launched()
    app.query_params["device"] = device
    app = appkit.sound(app.run())
    offers = [button for button in app.button if button.label == "Compute it now"]
    assert appkit.charts(app) or offers
    for page in ("views/explore.py", "views/compare.py", "views/deploy.py"):
        app = appkit.sound(app.switch_page(page).run())
        assert appkit.charts(app) or [b for b in app.button if b.label == "Compute it now"], page


def test_an_offer_is_taken_once_by_all_who_ask(monkeypatch, tmp_path):
    """What is under way is found by the next reader, who is shown how far it is instead of the offer."""
    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("NVLIB_JOBS", "0")  # nothing has its turn
    from nvlib import launch

    one, two = (appkit.launched() for _ in range(2))
    for app in (one, two):
        app.query_params["device"], app.query_params["sigma_d"], app.query_params["method"] = "pcm", "0.75", "none"
    one = appkit.sound(one.run())
    next(b for b in one.button if b.label == "Compute it now").click().run()
    assert len(launch.jobs()) == 1
    two = appkit.sound(two.run())
    assert not [b for b in two.button if b.label == "Compute it now"]
    next(b for b in two.button if b.label == "Stop").click().run()
    (held,) = launch.jobs()
    launch.follow(held.id, progress=False)
    two = appkit.sound(two.run())
    assert [b.label for b in two.button if "ompu" in b.label] == ["Go on computing"]
