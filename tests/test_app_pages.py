"""What each page of the dashboard does beside showing the sidebar's choice; bad input is answered in one line."""

import json

import pandas as pd
import pytest
from appkit import APP, button, charts, deployed, opened, sound
from synthetic import tidy

from nvlib import devices, figures, launch
from nvlib.errors import InputError

pytest_plugins = ["app_fixtures"]
pytestmark = pytest.mark.usefixtures("quick")


# -- what an address may ask for -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "asked"),
    [
        ("explore", {"view": "../../etc/passwd"}),
        ("compare", {"baseline": "$(id)", "by": "<script>", "compare": "x\ny"}),
        ("why", {"why": "None", "f1": "abc", "f2": "1e99", "sigma": "nan"}),
        ("device_lab", {"lab": "x" * 5000, "from": "/etc/passwd"}),
        ("deploy", {"deploy": "; rm -rf ~", "trained": "nobody"}),
        ("tiles", {"tiled": "../LeNet", "setting_of": "$(id)"}),
        ("life", {"circuits": "isaac,adc_bits=x"}),
        ("reproduce", {"paper": "X", "verdict": "true", "artefact": "../claims", "source": "?", "preset": "huge"}),
    ],
)  # fmt: skip
def test_every_control_answers_a_bad_address(app, page, asked):
    """One line for each thing that cannot be used, and the default in its place; never a traceback."""
    at = app.run().switch_page(f"views/{page}.py")
    for key, value in asked.items():
        at.query_params[key] = value
    at = sound(at.run())
    said = [w.value for w in at.warning]
    assert len(said) == len(asked) and all("cannot be used" in text and len(text) < 200 for text in said), said
    assert not any(c in text for text in said for c in "\n<") or "script" in str(asked)
    assert charts(at) or at.dataframe or any(b.label == "Compute it now" for b in at.button)


# -- Compare ---------------------------------------------------------------------------------------------------------


def test_compare_shows_differences_places_and_costs(app):
    at = opened(app, "compare")
    assert charts(at) and "beside Gauss on the same chips" in at.subheader[0].value
    for by in ("Mean accuracy", "EKL"):
        at = sound(at.button_group(key="by").set_value(by).run())
        assert charts(at)
    at = sound(at.button_group(key="compare").set_value("Ranking").run())
    assert charts(at) and at.subheader[0].value.startswith("Ranking by EKL")
    at = sound(at.button_group(key="by").set_value("KPP").run())
    at = sound(at.button_group(key="compare").set_value("Table").run())
    table = at.dataframe[0].value
    assert {"difference", "low", "chips_low", "seconds", "ekl"} <= set(table) and 0.0 not in set(table["sigma_d"])
    assert table[table["method"] == "none"]["difference"].min() < -50  # to gaussian, the baseline
    at = sound(at.button_group(key="only").set_value([0.2]).run())
    assert set(at.dataframe[0].value["sigma_d"]) == {0.2} and len(at.get("download_button")) == 4


def test_compare_with_one_method_shows_its_numbers(app):
    at = opened(app, "compare")
    at = sound(at.multiselect(key="method").set_value(["none"]).run())
    assert "two methods" in at.info[0].value and len(at.dataframe)
    at = sound(button(at, "Compare all").click().run())
    assert at.multiselect(key="method").value == ["none", "gaussian"] and charts(at)


# -- Device lab ------------------------------------------------------------------------------------------------------


def test_lab_shows_levels_and_laws(app):
    at = opened(app, "device_lab")
    at = sound(at.selectbox(key="device").set_value("pcm").run())
    table = at.dataframe[0].value
    assert table["deviation"].tolist() == pytest.approx(devices.get("pcm").deviation)
    at = sound(at.button_group(key="lab").set_value("Training noise").run())
    at = sound(at.slider(key="th").set_value(1.0).run())
    laws = at.dataframe[0].value.set_index("law")
    assert laws.loc["RC", "at the threshold (%)"] == pytest.approx(15.87, abs=0.01)  # 100 Phi(-1)


def test_lab_takes_an_edited_device(app):
    at = opened(app, "device_lab")
    at = sound(at.button_group(key="from").set_value("Edit a table").run())
    assert charts(at) and "my_rram" in at.subheader[0].value
    at = at.text_input(key="name-rram").set_value("rram").run()
    assert not at.error  # the same numbers may have the same name
    at = at.text_input(key="name-rram").set_value("<b>[x](http://y)</b>").run()
    assert not at.exception and not any(c in at.subheader[0].value for c in "<[`")


GOOD = b"# name: mine\nlevel,conductance,deviation\n0,1,0.1\n1,5,0.2\n2,9,0.3\n3,20,0.4\n"


def test_lab_takes_a_file(app):
    at = opened(app, "device_lab")
    at = sound(at.button_group(key="from").set_value("Upload a file").run())
    assert not charts(at)
    at = sound(at.file_uploader[0].upload("cell.csv", GOOD, "text/csv").run())
    assert charts(at) and at.dataframe[0].value["conductance (uS)"].tolist() == [1, 5, 9, 20]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("cell.csv", b"level,conductance,deviation\n0,1,0.1\n1,5,0.2\n2,9,0.3\n", "3 rows"),
        ("cell.csv", b"level,conductance,deviation\n0,5,0.1\n1,1,0.2\n", "ascending"),
        ("cell.csv", b"level,conductance,deviation\n0,1,-1\n1,5,0.2\n", "finite number"),
        ("cell.csv", b"\xff\xfe\x00", "UTF-8"),
        ("cell.csv", b"", "header row is missing"),
        ("cell.toml", b"bits = [", "cannot be read"),
        ("cell.toml", b"bits = 40\nlevels = [0, 1]\ndeviation = [0, 1]\nunit = 'uS'\nrelative = false", "1 to 8"),
        ("cell.exe", b"MZ", ".toml or .csv"),
        ("../../etc/passwd", b"root", ".toml or .csv"),
        ("cell.csv", b"level,conductance,deviation\n" + b"0" * 70_000, "at most"),
        ("cell.csv", b"# name: pcm\nlevel,conductance,deviation\n0,1,0.1\n1,5,0.2\n", "built-in device"),
    ],
)  # fmt: skip
def test_a_bad_device_is_answered_in_one_line(common, name, content, says):
    from common import own

    with pytest.raises(InputError, match=says) as error:
        own.read(name, content)
    assert "/tmp" not in str(error.value) and len(common.told(error.value)) < 600


def test_texts_of_a_device_hold_no_markup(common):
    from common import own

    text = "![x](http://away/x.png) <img src=y> `z`"
    device = own.read("a.csv", f"# source: {text}\n# name: {text}\n".encode() + GOOD.split(b"\n", 1)[1])
    assert not set("<>[]`!$*#|") & set(device.name + device.source)
    assert own.read("again.toml", own.written(device, ".toml")) == device


def test_lab_programs_chips_now(app, common, monkeypatch, trained, mnist):
    """A model of the test stands in for a stored one; it is scored on a device from a table."""
    from common import compute

    monkeypatch.setattr(compute, "model_of", lambda training: trained)
    monkeypatch.setattr(compute, "data_of", lambda dataset, images: mnist)
    at = opened(app, "device_lab")
    at = sound(at.button_group(key="from").set_value("Edit a table").run())
    at = sound(at.button_group(key="lab").set_value("Weights of a model").run())
    assert charts(at) and at.dataframe[-1].value["ratio"].gt(0).all()
    at = sound(at.button_group(key="lab").set_value("Chips of a model").run())
    at = sound(at.select_slider(key="chips").set_value(50).run())
    at = sound(button(at, "Program and score").click().run())
    assert charts(at) and "n = 50 chips · computed now" in " ".join(c.value for c in at.caption)
    at = sound(at.slider(key="own_sigma_d").set_value(0.3).run())
    assert "computed before" in at.warning[0].value and charts(at)


# -- Why, Deploy, Reproduce ------------------------------------------------------------------------------------------


def test_why_computes_one_weight_as_its_sliders_stand(app):
    at = opened(app, "why")
    values = {m.label: float(m.value) for m in at.metric}
    assert values["Exact law"] == pytest.approx(0.2246, abs=1e-4)  # a noncentral chi-square, less f'^2 / (2 f'')
    assert values["Eq. 6 as printed"] == pytest.approx(-0.0312, abs=1e-4)
    assert values["Simulated, 100,000 chips"] == pytest.approx(0.2246, abs=0.006)  # two standard errors
    at = sound(at.slider(key="f2").set_value(8.0).run())
    assert float(at.metric[1].value) > 0.2246 and charts(at)


@pytest.mark.parametrize(("view", "key", "values", "drawn"), [
    ("Layers and slices", "place", ("layer", "slice"), 3), ("Layers and slices", "of", ("variance",), 3),
    ("All weights", "show", ("Percentiles", "Quantiles", "Chip by chip"), 1),
    ("Along training", "split", ("train",), 1),
])  # fmt: skip
def test_why_shows_the_analysis_that_ships(app, view, key, values, drawn):
    at = opened(app, "why")
    at = sound(at.button_group(key="why").set_value(view).run())
    for value in values:
        at = sound(at.button_group(key=key).set_value(value).run())
        assert len(charts(at)) == drawn


def test_why_goes_on_with_the_layer_that_was_chosen(app):
    at = opened(app, "why")
    at = sound(at.button_group(key="why").set_value("Layers and slices").run())
    assert any(s.value == "While training: conv1" for s in at.subheader) and at.metric[0].value == "54"
    at = sound(at.selectbox(key="layer").set_value("conv2.weight").run())
    assert len(charts(at)) == 2  # made-up training followed conv1 alone


def test_why_says_what_to_run_where_nothing_ships(app, tmp_path, monkeypatch):
    monkeypatch.setenv("NVLIB_RESULTS", str(tmp_path))
    at = opened(app, "why")
    for view in ("Layers and slices", "All weights", "Along training"):
        at = sound(at.button_group(key="why").set_value(view).run())
        assert "nvlib.papers.analyses taylor" in at.code[0].value
    at = sound(at.button_group(key="why").set_value("Length of training").run())
    assert "--epochs $epochs" in at.code[0].value


def test_deploy_shows_what_remedies_win_and_cost(app):
    at = opened(app, "deploy")
    table = at.dataframe[0].value
    assert set(table["deployment"]) == {"", "tsb", "swim"}
    assert table[table["deployment"] == "tsb"]["normalised"].max() < 1
    costs = at.dataframe[1].value
    assert costs[["deployment", "sigma_d", "verified"]].values.tolist() == [
        ["SWIM", 0.2, 100], ["SWIM", 0.3, 100], ["TSB", 0.2, 10], ["TSB", 0.3, 10],
    ]  # fmt: skip


def test_deploy_never_mixes_settings_of_a_method(app, tmp_path, monkeypatch):
    """TSB with two numbers of channels: the one at more sigma_d first, the other when asked for."""
    rows = deployed()
    tsb = rows["deployment"] == "tsb"
    one = rows[tsb & (rows["sigma_d"] == 0.2)].assign(deployment_parameters='{"channels":1}', accuracy=50.0)
    rows.loc[tsb, "deployment_parameters"] = '{"channels":8}'
    both = pd.concat([tidy(), rows, one.assign(run="other")], ignore_index=True)
    both[["deployment", "deployment_parameters"]] = both[["deployment", "deployment_parameters"]].fillna("")
    (tmp_path / "a").mkdir()
    both.to_parquet(tmp_path / "a" / "samples.parquet")
    monkeypatch.setenv("NVLIB_RESULTS", str(tmp_path))
    at = opened(app, "deploy")
    assert at.selectbox(key="set_tsb").options == ["channels 8", "channels 1"]
    assert 50.0 not in set(at.dataframe[1].value["after"])
    at = sound(at.selectbox(key="set_tsb").set_value("channels 1").run())
    costs = at.dataframe[1].value.set_index("deployment")
    assert costs.loc["TSB", ["sigma_d", "after"]].tolist() == [0.2, 50.0]


def test_deploy_goes_on_without_an_ideal(app, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    deployed().to_parquet(tmp_path / "a" / "samples.parquet")  # no model without noise
    monkeypatch.setenv("NVLIB_RESULTS", str(tmp_path))
    at = app.run().switch_page("views/deploy.py").run()
    assert "no model without noise" in sound(at).info[0].value and len(at.dataframe) == 1


def test_deploy_without_chips_offers_some(app):
    at = opened(app, "deploy")
    at = sound(at.selectbox(key="network").set_value("resnet18").run())
    at = sound(button(at, "Show the nearest result").click().run())
    assert at.selectbox(key="network").value == "lenet" and charts(at)


def test_deploy_without_chips_says_what_to_run(app):
    at = opened(app, "deploy")
    at = sound(at.selectbox(key="device").set_value("pcm").run())
    words = at.code[0].value.split()
    from nvlib.commands import parse

    asked = parse(words[3:])[1].kwargs
    assert asked["deployments"] == ("write_verify", "swim")
    at = sound(at.button_group(key="remedies").set_value(["TSB"]).run())
    assert at.code[0].value.endswith("--deploy tsb") and any("Compute it now" in b.label for b in at.button)
    at = sound(at.button_group(key="remedies").set_value([]).run())
    assert "last_layers" in at.code[0].value and not any("Compute it now" in b.label for b in at.button)


def test_deploy_counts_hardware(app):
    at = opened(app, "deploy")
    at = sound(at.button_group(key="deploy").set_value("Hardware").run())
    assert len(charts(at)) == 2 and at.metric[0].label == "Energy of an image"
    written = at.dataframe[1].value.set_index("verified")
    assert written.loc["none", "energy"] < written.loc["selective", "energy"] < written.loc["all", "energy"]


def test_deploy_charges_for_the_circuits_that_accuracy_is_computed_with(app):
    from nvlib import Crossbar, array, hardware, models

    at = opened(app, "deploy")
    at = sound(at.button_group(key="deploy").set_value("Hardware").run())
    model, seen = models.build("lenet", classes=10), {}
    for name in ("neurosim", "isaac", "prime", "sonos"):
        at = sound(at.selectbox(key="accelerator").set_value(name).run())
        chip = hardware.Accelerator.of(Crossbar("rram", periphery=name))
        seen[name] = hardware.estimate(model, accelerator=chip).totals["energy"]
        assert at.dataframe[0].value["energy"].sum() == pytest.approx(seen[name])
        assert at.metric[0].value == f"{seen[name] * 1e6:.3g} µJ"
        assert any(array.PRESETS[name].source in c.value for c in at.caption)
    assert len(set(seen.values())) == 4 and chip.columns == 256
    assert seen["neurosim"] == hardware.estimate(model).totals["energy"]  # as it was before there was a choice
    assert not at.dataframe[0].value["scalings"].any()
    at = sound(at.selectbox(key="range").set_value("deviations:2.5/channel").run())
    assert at.dataframe[0].value["scalings"].any() and "range='deviations:2.5/channel'" in at.code[0].value


def test_reproduce_shows_claims_commands_and_notebook(app, common):
    from common import notebook

    at = opened(app, "reproduce")
    assert len(at.dataframe[0].value) == 2
    assert [chart.key for chart in charts(at)] == ["trice-table1-percentile", "trice-table1-points"]
    assert any("papermill notebooks/03_trice.ipynb" in c.value for c in at.code)
    at = sound(at.button_group(key="verdict").set_value(["holds"]).run())
    assert at.dataframe[0].value["artefact"].tolist() == ["trice-table1"]
    at = sound(at.selectbox(key="artefact").set_value("tsb-share").run())
    assert not charts(at) and any("not yet computed" in m.value for m in at.markdown)
    book = json.loads(notebook.parameterised("00_tour", "quick"))
    places = [i for i, c in enumerate(book["cells"]) if "parameters" in c["metadata"].get("tags", ())]
    assert book["cells"][places[0] + 1]["source"] == ['preset = "quick"']
    assert not any(c.get("outputs") for c in book["cells"])


def test_pictures_are_drawn_on_request(app, common, monkeypatch):
    from common import pictures

    fig = figures.ranking(tidy(methods=("none", "gaussian"), sigmas=(0.2,), chips=20, seeds=1), "mean")
    title, drawn = fig.layout.title.text, []
    words = {"title": fig.layout.title.to_plotly_json(), "margin": {"t": fig.layout.margin.t}}
    figures.detach_title(fig)
    monkeypatch.setattr(figures, "picture", lambda fig, kind: drawn.append((fig.layout.title.text, kind)) or b"x")
    assert pictures._drawn(fig, words, "svg") == b"x" and drawn == [(title, "svg")]


@pytest.mark.parametrize("lacks", ["", "no browser to draw with; install Chromium"])
def test_pictures_are_offered_where_they_can_be_drawn(app, monkeypatch, lacks):
    monkeypatch.setattr(figures, "lacking", lambda: lacks, raising=False)
    at = opened(app, "explore")
    labels = [b.label for b in at.get("download_button")]
    assert ("Picture (PNG)" in labels) == (not lacks) and ("Picture (SVG)" in labels) == (not lacks)
    assert any(lacks in c.value for c in at.caption if "still picture" in c.value) == bool(lacks)


def test_every_artefact_has_a_page(app):
    from nvlib.papers import ARTEFACTS

    at = opened(app, "reproduce")
    for name in list(ARTEFACTS)[::4]:
        at = sound(at.selectbox(key="artefact").set_value(name).run())
        assert any(f"reproduce {name} " in c.value for c in at.code)


# -- Run -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def forecasts(common, monkeypatch):
    """The forecast's process replaced; what it was asked."""
    from common import jobs

    asked = []

    def answer(record):
        asked.append(json.loads(record))
        return {"text": "trainings 1", "seconds": 1.0, "missing": 2, "record": json.loads(record)}

    monkeypatch.setattr(jobs, "forecast", answer)
    return asked


def ask(at):
    return button(at, "Estimate").click().run()


def test_run_estimates_before_it_starts(app, common, forecasts, monkeypatch):
    from common import jobs

    started = []
    monkeypatch.setattr(jobs, "start", lambda record, name: started.append((record, name)) or "id")
    at = opened(app, "run")
    assert not any(b.label == "Start" for b in at.button) and "No job yet" in at.info[0].value
    at = sound(ask(at))
    assert forecasts[0]["methods"] == ["none", "gaussian"] and forecasts[0]["sigma_d"] == [0.2]
    at = sound(button(at, "Start").click().run())
    assert started == [(forecasts[0], "none, gaussian on lenet")]
    assert not any(b.label == "Start" for b in at.button)


def test_a_study_of_the_form_is_one_the_library_takes(app, forecasts):
    from nvlib.studies import Study

    at = opened(app, "run")
    ask(at)
    study = Study.of(forecasts[0])
    assert study.epochs == 10 and study.deployments == (None,) and study.images is None


def test_an_own_device_can_be_studied(app, forecasts):
    at = opened(app, "device_lab")
    at = sound(at.button_group(key="from").set_value("Edit a table").run())
    at = sound(at.switch_page("views/run.py").run())
    ask(at)
    assert forecasts[0]["devices"][0]["name"] == "my_rram"


def test_run_refuses_an_empty_choice(app, forecasts):
    at = opened(app, "run")
    at = at.multiselect(key="method").set_value([]).run()
    at = ask(at)
    assert "at least one" in at.error[0].value and not forecasts


def test_a_forecast_that_fails_is_one_line(common, monkeypatch, tmp_path):
    from common import jobs

    monkeypatch.setattr(jobs, "APP", tmp_path)  # no script there
    with pytest.raises(InputError, match="forecast failed") as error:
        jobs._forecast.__wrapped__("{}", ())
    assert "\n" not in str(error.value)


def job(root, state, **more):
    """Write a job as the launcher does."""
    from nvlib.launch import job as written

    made = written.new(root, [{}], "here", "a study", {"shipped": None})
    made.say("training none")
    made.note(written.Status(made.id, "a study", state=state, total=4, log=str(made.log), **more))
    return made


@pytest.mark.parametrize("state", ["waiting", "running", "done", "failed", "cancelled", "lost"])
def test_every_state_of_a_job_is_shown(app, tmp_path, state):
    more = leading() if state in ("waiting", "running") else {}
    made = job(tmp_path / "runs", state, done=1.5, eta=100.0, error="<b>no</b>" if state == "failed" else "",
               partial={"epoch": 3, "loss": 0.25}, **more)  # fmt: skip
    at = app.run().switch_page("views/run.py").run()
    assert not at.exception and any(made.id in m.value for m in at.markdown)
    assert any("training none" in c.value for c in at.code)
    label = {"waiting": "Cancel", "running": "Cancel", "done": "Forget"}.get(state, "Resume")
    at = at if label == "Resume" else button(at, label).click().run()
    assert not at.exception
    if label == "Cancel":
        assert made.cancelled()
    if label == "Forget":
        assert launch.jobs() == []


def leading():
    from nvlib.launch import job as written

    return written.process()


def test_a_log_outside_the_runs_is_not_read(common, tmp_path, monkeypatch):
    from common import jobs

    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path / "runs"))
    (tmp_path / "secret").write_text("x")
    assert jobs.log(launch.Status("id", log=str(tmp_path / "secret"))) == ""
    assert jobs.log(launch.Status("id", log=str(tmp_path / "runs" / ".." / "secret"))) == ""


def test_image_folders_are_listed_never_typed(common, tmp_path, monkeypatch):
    from common import jobs

    for name in ("mine/cat", "mine/dog", "FashionMNIST/raw", "FashionMNIST/b", "one/a", ".hidden/a", ".hidden/b"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("NVLIB_DATA", str(tmp_path))
    assert jobs.folders() == {"folder mine": str(tmp_path / "mine")}


def test_the_forecast_is_a_process_of_its_own():
    text = (APP / "common" / "jobs.py").read_text()
    assert "subprocess.run(" in text and "shell=" not in text and "import torch" not in text
