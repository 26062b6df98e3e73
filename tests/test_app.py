"""Every page opens on every choice, with and without a result; bad input is answered in one line; no torch."""

import re
import subprocess
import sys

import pandas as pd
import pytest
from appkit import APP, PAGES, charts, sound
from synthetic import tidy

from nvlib import devices, summary
from nvlib.store import Damaged

pytest_plugins = ["app_fixtures"]  # app, common, shipped, quick
pytestmark = pytest.mark.usefixtures("quick")
VIEWS = ("Curves", "Mean", "EKL", "Distribution", "Cumulative", "Fan", "Table")
CHARTS = PAGES[:3]  # pages that show chips of the sidebar's choice
CHOICES = [  # of the sidebar: widget, key, values, with and without results
    ("selectbox", "device", devices.names()),
    ("select_slider", "sigma_d", [0.0, 0.05, 0.4, 0.5]),
    ("multiselect", "method", [[], ["none"], ["gaussian"]]),
    ("selectbox", "network", ["vgg8", "resnet18"]),
    ("selectbox", "dataset", ["cifar10"]),
    ("selectbox", "reference", ["level"]),
    ("selectbox", "mapping", ["signed"]),
    ("button_group", "protocol", ["swept"]),
    ("number_input", "k", [0.1, 5.0, 50.0, 99.9]),
]


def test_overview_shows_numbers_and_distribution(app, shipped):
    at = sound(app.run())
    assert [m.label for m in at.metric][:4] == [
        "Clean accuracy",
        "Mean over chips",
        "1st percentile (KPP)",
        "Worst chip",
    ]
    frame = pd.read_parquet(shipped / "synthetic" / "samples.parquet")
    frame = frame[(frame["device"] == "rram") & (frame["sigma_d"] == 0.2) & (frame["protocol"] == "matched")]
    frame = frame[frame["deployment"] == ""]  # as the page: chips as they were programmed
    kpp = summary.results_table(frame, 1).set_index("method")["kpp"]
    assert at.metric[2].value == f"{kpp['none']:.2f} %" and at.metric[6].value == f"{kpp['gaussian']:.2f} %"
    assert len(charts(at)) == 1 and not at.warning
    text = " ".join(c.value for c in at.caption)
    for words in ("n = 2,400 chips", "shipped", "400 chips × 3 trainings", "and 3 more"):
        assert words in text


@pytest.mark.parametrize("view", VIEWS)
def test_explore_shows_every_view(app, view):
    at = sound(app.switch_page("views/explore.py").run())
    at = sound(at.button_group(key="view").set_value(view).run())
    assert len(charts(at)) == {"Fan": 2, "Table": 0}.get(view, 1)
    assert at.dataframe and at.get("download_button")


@pytest.mark.parametrize("page", CHARTS)
@pytest.mark.parametrize(("kind", "key", "values"), CHOICES)
def test_every_choice_is_answered(app, page, kind, key, values):
    at = app.switch_page(page).run()
    for value in values:
        at = sound(getattr(at, kind)(key=key).set_value(value).run())
        assert charts(at) or at.info, f"{key} = {value} shows neither a figure nor what to do"


@pytest.mark.parametrize("page", PAGES[3:])
def test_other_pages_stand_every_choice(app, page):
    at = sound(app.switch_page(page).run())
    for kind, key, values in CHOICES:
        before = getattr(at, kind)(key=key).value
        for value in values if key == "device" else values[-1:]:
            at = sound(getattr(at, kind)(key=key).set_value(value).run())
        at = getattr(at, kind)(key=key).set_value(before).run()


def test_no_result_says_how_to_compute_it(app, common):
    at = app.run()
    at = sound(at.selectbox(key="device").set_value("fefet1").run())
    assert not at.metric and "No result yet" in at.info[0].value
    assert len(charts(at)) == 1 and at.subheader[0].value == "Where the levels of FeFET1 end up"
    assert at.code[0].value == (
        "python -m nvlib study --network lenet --dataset mnist --method none gaussian --device fefet1 --sigma-d 0.2"
    )
    near = next(b for b in at.button if b.label.startswith("Show the nearest result"))
    at = sound(near.click().run())
    assert at.selectbox(key="device").value == "rram" and charts(at)


def test_command_is_complete_and_safe(common):
    query = common.Query(
        network="lenet x0.5", dataset="my data; rm -rf ~", device="pcm", sigma_d=1.0, reference="level",
        mapping="signed", method=("gaussian",), protocol="swept", train_sigma_d=0.5, setting=(3, 4, 4, 10_000),
    )  # fmt: skip
    assert common.command(query) == (
        "python -m nvlib study --network lenet --dataset 'my data; rm -rf ~' --method gaussian --device pcm "
        "--sigma-d 1 --width 0.5 --train-sigma-d 0.5 --reference level --mapping signed --epochs 3"
    )


def test_command_is_one_the_command_line_takes(common):
    import shlex

    from nvlib.commands import parse

    query = common.Query(protocol="swept", train_sigma_d=0.1, reference="level", mapping="signed", setting=(3, 4, 4, 9))
    words = shlex.split(common.command(query))
    assert words[:3] == ["python", "-m", "nvlib"]
    assert parse(words[3:])[1].kwargs["sigma_d"] == (0.2,)


def test_too_few_chips_are_said(app):
    at = sound(app.run().selectbox(key="device").set_value("pcm").run())
    assert any("too few chips" in m.delta for m in at.metric)
    assert any("368 needed" in c.value for c in at.caption)


def test_swept_asks_what_the_models_were_trained_at(app):
    at = app.run().switch_page("views/explore.py").run()
    at = sound(at.button_group(key="protocol").set_value("swept").run())
    assert at.select_slider(key="train_sigma_d").value == 0.2
    assert charts(at) and any("swept" in c.value for c in at.caption)


def test_settings_are_never_mixed(app, shipped, tmp_path, monkeypatch):
    root = tmp_path / "two"
    (root / "a").mkdir(parents=True)
    pd.concat([tidy(), tidy(chips=20, seeds=1, epochs=1)], ignore_index=True).to_parquet(root / "a" / "samples.parquet")
    monkeypatch.setenv("NVLIB_RESULTS", str(root))
    at = sound(app.run())
    assert at.selectbox(key="setting").options[0].startswith("10 epochs")
    at = sound(at.selectbox(key="setting").select_index(1).run())
    assert any("20 chips × 1 training of 1 epoch" in c.value for c in at.caption)


@pytest.mark.parametrize("page", CHARTS)
def test_without_any_result_the_page_says_what_to_do(app, page, tmp_path, monkeypatch):
    monkeypatch.setenv("NVLIB_RESULTS", str(tmp_path))
    at = sound(app.run().switch_page(page).run())
    assert at.info and "nvlib study" in at.code[0].value and not at.metric
    assert {c.proto.id.split("-")[-1] for c in charts(at)} <= {"levels"}  # what is known without a chip


def test_a_damaged_run_is_set_aside(app, tmp_path):
    home = tmp_path / "runs" / ("0123" * 16)
    home.mkdir(parents=True)
    (home / "record.json").write_text("{")
    with pytest.warns(Damaged):
        at = sound(app.run())
    assert charts(at) and list((tmp_path / "runs" / ".damaged").iterdir())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("device", "no`such"), ("sigma_d", "-1"), ("sigma_d", "abc"), ("method", "../../etc"), ("k", "0"), ("k", "nan"),
        ("k", "1e9"), ("network", ""), ("dataset", "<script>"), ("protocol", "x"), ("mapping", "x" * 5000),
    ],
)  # fmt: skip
def test_bad_addresses_are_answered(app, key, value):
    app.query_params[key] = value
    at = sound(app.run())
    assert "cannot be used" in at.warning[0].value and len(at.warning[0].value) < 300 and charts(at)
    at = sound(at.selectbox(key="network").set_value("vgg8").run())
    assert not at.warning


def test_code_block_reads_the_same_rows(app, shipped):
    at = sound(app.run())
    code = next(c.value for c in at.code if "figures.accuracy_distribution" in c.value)
    scope = {}
    exec(code, scope)
    assert len(scope["df"]) == 2400


def test_names_are_those_of_the_library(common):
    from nvlib import catalogue, data, deploy, devices, methods, models

    assert set(catalogue.DEPLOYMENTS) == set(deploy.DEPLOYMENTS) and set(catalogue.DEVICES) == set(devices.names())
    assert set(common.NETWORKS) == set(models.MODELS)
    assert set(common.DATASETS) == set(data.NAMES)
    assert set(common.METHODS) == set(methods.METHODS)


def test_pages_open_without_torch(shipped):
    """All but Why, whose first view computes as its sliders stand."""
    code = (
        "import sys; from streamlit.testing.v1 import AppTest\n"
        f"at = AppTest.from_file({str(APP / 'main.py')!r}, default_timeout=60).run()\n"
        f"pages = {PAGES[:3] + PAGES[4:]}\n"
        "for page in pages:\n"
        "    at = at.switch_page(page).run()\n"
        "    assert not at.exception, page\n"
        "print('loaded:', sorted({'torch', 'torchvision', 'safetensors', 'jupyter'} & set(sys.modules)))"
    )
    environment = {"NVLIB_RESULTS": str(shipped), "NVLIB_RUNS": str(shipped / "none"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.strip() == "loaded: []", done.stderr[-2000:]


def test_app_draws_nothing_itself():
    for path in APP.rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"add_scatter|go\.Figure\(|^(import|from) (torch|plotly\.express)", text, re.MULTILINE)


def test_pages_are_those_of_the_folder():
    assert set(PAGES) == {f"views/{path.name}" for path in (APP / "views").glob("*.py")}
