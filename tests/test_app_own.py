"""A reader's own network on the Run page: shown, agreed to, offered; its code never runs in the server."""

import json

import pytest
from appkit import button, opened, sound

from nvlib import launch, results
from nvlib.models import own

pytest_plugins = ["app_fixtures"]
pytestmark = pytest.mark.usefixtures("quick")

SMALL = """from torch import nn
def small(classes=10, in_channels=1):
    return nn.Sequential(nn.Conv2d(in_channels, 2, 5, stride=4), nn.Flatten(), nn.Linear(2 * 36, classes))
class Other(nn.Module):
    pass
"""


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    monkeypatch.setenv("NVLIB_MODELS", str(tmp_path / "models"))


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


def uploaded(app, content, name="mine.py"):
    at = opened(app, "run")
    return at.file_uploader[0].upload(name, content, "text/x-python").run()


def box(at, label):
    return next(b for b in at.selectbox if b.label == label)


def add(at):
    at = sound(at.checkbox[0].check().run())
    return sound(button(at, "Add this network").click().run())


def test_a_network_runs_in_the_job_alone_and_only_after_consent(app, common, tmp_path, marker, monkeypatch):
    from common import jobs

    asked = []
    monkeypatch.setattr(jobs, "forecast", lambda record: asked.append(json.loads(record)) or {
        "text": "", "seconds": 1.0, "missing": 2, "record": json.loads(record),
    })  # fmt: skip
    started = []
    monkeypatch.setattr(jobs, "start", lambda record, name: started.append((record, name)) or "id")
    at = sound(uploaded(app, f"open({str(marker)!r}, 'a').write('x')\n{SMALL}".encode()))
    assert any("def small(" in c.value for c in at.code) and "your rights" in at.warning[0].value
    assert box(at, "Factory").options == ["small", "Other"] and not at.checkbox[0].value
    assert button(at, "Add this network").disabled and box(at, "Network").options[-1] == "resnet18"
    assert not own.adopted()
    at = add(at)
    (found,) = own.adopted()
    assert (found.name, found.factory) == ("mine", "small") and found.network in at.success[0].value
    assert box(at, "Network").value == found.network and box(at, "Network").options[-1] == own.label(found.network)
    at = sound(button(at, "Estimate").click().run())
    assert asked[0]["network"] == found.network
    at = sound(button(at, "Start").click().run())
    ((record, name),) = started
    assert name == f"none, gaussian on {own.label(found.network)}"
    assert not marker.exists()  # the server has shown and kept it, no more
    record |= {"methods": ["none"], "images": 64, "epochs": 1, "chips": 2}
    launch.run(record, progress=False)  # as the job's process does
    assert marker.read_text() == "x" and len(results(network=found.network)) == 2

    # its results are chosen by name; what would have to run its code here is refused in a line
    common.stored.clear()
    at = sound(at.switch_page("views/explore.py").run())
    at = sound(at.selectbox(key="network").set_value(found.network).run())
    at = sound(at.multiselect(key="method").set_value(["none"]).run())
    assert at.get("plotly_chart") and "mine.small (own" in " ".join(c.value for c in at.caption)
    at = sound(at.switch_page("views/device_lab.py").run())
    at = at.button_group(key="lab").set_value("Weights of a model").run()
    assert not at.exception and "never run in this server" in at.error[0].value
    assert marker.read_text() == "x"


def test_another_file_asks_again_and_a_consent_can_be_withdrawn(app):
    at = add(uploaded(app, SMALL.encode()))
    at = sound(at.file_uploader[0].upload("mine.py", (SMALL + "\n").encode(), "text/x-python").run())
    assert not at.checkbox[0].value and button(at, "Add this network").disabled and len(own.adopted()) == 1
    at = sound(button(at, "Withdraw").click().run())
    assert not own.adopted() and box(at, "Network").options[-1] == "resnet18"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("mine.py", b"def make(:\n", "mine.py is not Python"),
        ("mine.py", b"x = 1\n", "no function"),
        ("mine.py", b"\xff\xfe", "UTF-8"),
        ("mine.py", b"#" * 70_000, "at most 65,536"),
        ("mine.py", "# \u202e\ndef make(): pass\n".encode(), "U+202E"),
        ("../<b>x</b>.py", b"x = 1\n", "no function"),
    ],
)  # fmt: skip
def test_a_bad_file_is_answered_in_one_line(app, name, content, says):
    at = uploaded(app, content, name)
    assert not at.exception and says in at.error[0].value.replace("\\", "") and "<b>" not in at.error[0].value
    assert not any(b.label == "Add this network" for b in at.button)
    assert any(b.label.startswith("Estimate") for b in at.button)  # the rest of the page is there


def test_a_name_is_checked(app):
    at = sound(uploaded(app, SMALL.encode(), "7 nets.py"))
    assert next(t for t in at.text_input if t.label == "Name").value == "mine"
    at = next(t for t in at.text_input if t.label == "Name").set_value("../../x").run()
    at = at.checkbox[0].check().run()
    at = button(at, "Add this network").click().run()
    assert "cannot be used for a network" in at.error[0].value and not own.adopted()


def test_a_file_that_fails_is_one_line_of_the_forecast(app, common, marker):
    """The forecast's own process; what it prints does not disturb the answer."""
    from common import jobs

    from nvlib.errors import InputError

    text = f"print('{{}}')\nopen({str(marker)!r}, 'a').write('x')\ndef make():\n    return 1 / 0\n"
    network = own.adopt(text.encode(), "make", "bad").network
    with pytest.raises(InputError, match=r"make\(\) raised ZeroDivisionError: .* \(line 4 of its file\)") as error:
        jobs.forecast(json.dumps({"network": network, "methods": ["none"], "images": 64}))
    assert "\n" not in str(error.value) and marker.read_text() == "x"
