"""Methods and networks of one's own in the app: given when it is started, offered on its pages, run by its jobs."""

import json

import pytest
from appkit import button, opened, sound

from nvlib import InputError, catalogue, launch, methods, plugins, results
from nvlib.store import Store

pytest_plugins = ["app_fixtures"]
pytestmark = pytest.mark.usefixtures("quick")

MINE = '''
from dataclasses import dataclass
from typing import ClassVar
from torch import nn
import nvlib

def small(classes=10, in_channels=1):
    return nn.Sequential(nn.Conv2d(in_channels, 2, 5, stride=4), nn.Flatten(), nn.Linear(2 * 36, classes))

@dataclass(frozen=True)
class Louder:
    name: ClassVar[str] = "louder"
    label: ClassVar[str] = "Louder"

    def loss(self, run, batch):
        noisy = run.noisy(nvlib.noise.Gaussian(), 1.5 * run.sigma_d)
        return run.cross_entropy(run.forward(noisy, batch.x), batch.y)

nvlib.METHODS["louder"] = Louder
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A file of one's own, that the app is started with; what it registers is forgotten afterwards."""
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    monkeypatch.setenv("NVLIB_PLUGINS", f"{path}:small")
    held = [(names, dict(names)) for names in (catalogue.METHODS, catalogue.NETWORKS, methods.METHODS)]
    for name in ("_held", "_current", "_listed"):
        monkeypatch.setattr(plugins, name, {})
    yield path
    for names, before in held:
        names.clear()
        names.update(before)


def box(at, label):
    return next(b for b in at.selectbox if b.label == label)


def test_own_names_are_offered_and_their_jobs_work(app, common, mine, monkeypatch):
    from common import jobs

    asked, started = [], []
    monkeypatch.setattr(jobs, "forecast", lambda record: asked.append(json.loads(record)) or {
        "text": "", "seconds": 1.0, "missing": 2, "record": json.loads(record),
    })  # fmt: skip
    monkeypatch.setattr(jobs, "start", lambda record, name: started.append((record, name)) or "id")
    at = opened(app, "run")
    (network,) = set(catalogue.NETWORKS) - {"lenet", "lenet5", "lenet3", "vgg8", "vgg8_tsb", "resnet18"}
    assert "louder" in at.multiselect(key="method").options
    assert any("mine.small (own" in option for option in at.selectbox(key="network").options)
    at = sound(at.multiselect(key="method").set_value(["louder"]).run())
    at = sound(at.selectbox(key="network").set_value(network).run())
    assert box(at, "Network").value == network
    assert next(m for m in at.multiselect if m.label == "Training methods").value == ["louder"]
    at = sound(button(at, "Estimate").click().run())
    at = sound(button(at, "Start").click().run())
    ((record, name),) = started
    assert record["plugins"] == [str(mine)] and name.startswith("louder on mine.small (own")
    record |= {"images": 64, "epochs": 1, "chips": 2}
    launch.run(record, "processes", 1, progress=False)
    table = results(network=network)
    assert set(table.method) == {"louder"} and len(table) == 2
    assert list(Store().about(table.training.iloc[0])["code"].values()) == [
        {"sha256": plugins.load(mine).sha256, "text": MINE}
    ]

    common.stored.clear()
    at = sound(at.switch_page("views/explore.py").run())
    assert at.get("plotly_chart") and "mine.small (own" in " ".join(c.value for c in at.caption)
    at = sound(at.switch_page("views/device_lab.py").run())
    at = sound(at.button_group(key="lab").set_value("Weights of a model").run())  # its network is built here


def test_what_is_not_stored_is_computed_in_place(app, common, mine, monkeypatch):
    started = []
    monkeypatch.setattr(launch, "start", lambda studies, executor, name: started.extend(studies) or "id")
    at = opened(app, "overview")
    at = sound(at.multiselect(key="method").set_value(["louder"]).run())
    sound(button(at, "Compute it now").click().run())
    assert [study["plugins"] for study in started] == [[str(mine)]]


def test_a_file_that_fails_leaves_the_pages_to_be_used(app, mine):
    mine.write_text("1 / 0\n")
    at = app.run()
    assert not at.exception and "ZeroDivisionError" in at.error[0].value and "line 1" in at.error[0].value
    assert at.multiselect(key="method").options


def test_what_the_app_was_started_with(common, monkeypatch):
    from common import plugged

    assert plugged.asked([]) == []
    line = ["--server.port", "8", "--plugin", "a.py", "--network=b.py:small", "x", "--plug", "no.py"]
    monkeypatch.setenv("NVLIB_PLUGINS", "c.py 'd e.py:f'")
    assert plugged.asked(line) == ["a.py", "b.py:small", "c.py", "d e.py:f"]


def test_a_file_that_fails_is_one_line_of_the_forecast(app, common, tmp_path):
    """The forecast's own process; what it prints does not disturb the answer."""
    from common import jobs

    path, marker = tmp_path / "bad.py", tmp_path / "marker"
    path.write_text(f"print('{{}}')\nopen({str(marker)!r}, 'a').write('x')\ndef make():\n    return 1 / 0\n")
    with pytest.raises(InputError, match=r"make\(\) raised ZeroDivisionError: .* \(line 4 of its file\)") as error:
        jobs.forecast(json.dumps({"network": f"{path}:make", "methods": ["none"], "images": 64}))
    assert "\n" not in str(error.value) and marker.read_text() == "x"
