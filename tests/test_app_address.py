"""The address reproduces the view: every control that it is to hold is set, and found as it was in a fresh app.

In a browser it is the page that writes the address, which the app under test here does not: `written` does it as
Streamlit's front end, from what the widget would send. `tests/test_browser.py` moves some of the controls for real.
"""

import ast
import gc
import json
from types import SimpleNamespace

import pandas as pd
import pytest
from appkit import APP, deployed, launched, records, sound, taylor, write
from synthetic import analysed, tidy

pytest.importorskip("streamlit")
import streamlit as st

OWN = "own:mine.small@" + "0f" * 8  # a network of a reader's
KINDS = ("selectbox", "select_slider", "multiselect", "button_group", "number_input", "slider")
TAKES = {"selectbox", "select_slider", "multiselect", "segmented_control", "pills", "radio", "number_input", "slider",
         "checkbox", "toggle", "text_input", "text_area", "data_editor", "file_uploader"}  # fmt: skip
STATES = {  # what leads to the controls of each page, beside those of the sidebar
    "overview": ({}, {"protocol": "swept"}),
    "explore": ({},),
    "compare": ({}, {"compare": "Table"}),
    "why": ({}, {"why": "Layers and slices"}, {"why": "All weights"}, {"why": "Along training"},
            {"why": "Length of training"}),
    "device_lab": ({"lab": "Training noise"}, {"from": "Edit a table"}, {"lab": "Weight range"},
                   {"lab": "Chips of a model"}),
    "life": ({},),
    "tiles": ({}, {"tiled": "As in the sidebar"}),
    "deploy": ({}, {"device": "sonos"}, {"deploy": "Which weights to verify"}, {"deploy": "TSB: time and limits"},
               {"deploy": "Hardware"}),
    "run": ({},),
    "reproduce": ({},),
}
FILES = {  # shown too
    "overview": "common/sidebar.py", "compare": "common/beside.py", "deploy": "common/deployed_tables.py",
}  # fmt: skip
PLACES = {"choice": 2, "choose": 2, "number": 1}  # of a control's key among the arguments
NEXT = {"network": OWN, "device": "fefet1"}  # a measured device has no reference to choose
VIEWS = ("protocol", "compare", "why", "lab", "from", "deploy")  # fixed by a state, which its address must set
UNBOUND = {  # what an address does not hold, by page or file and label, and why
    ("device_lab", "A device as CSV or TOML"): "a file is not part of an address",
    **dict.fromkeys((("device_lab", label) for label in ("Name", "Unit of conductance",
                    "Deviations are multiples of sigma_d", "")), "a device under way: it is kept as a file"),
    **dict.fromkeys((("run", label) for label in ("Network", "Data set", "Training methods", "Device", "sigma_d",
                    "On each chip", "Epochs", "Trainings (seeds)", "Chips a training", "Images of each split",
                    "Mapping", "sigma_d is relative to")), "a form that is not sent yet; it starts as the sidebar"),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def stored(tmp_path_factory):
    """Results in which every control has something to choose among, read once for all tests here."""
    root = write(tmp_path_factory.mktemp("results"))
    (root / "more").mkdir()
    two = deployed()
    one = two[two["deployment"] == "tsb"].assign(run="other", deployment_parameters='{"channels":1}')
    chips = pd.concat([one, two.assign(method="none", run=two["run"] + "none"), one.assign(method="none", run="no")])
    plain = tidy(methods=("gaussian",), sigmas=(0.2,), chips=20, seeds=1, epochs=2)
    tiled = [plain.assign(periphery=text, run=plain["run"] + text) for text in ("", "adc_bits=4", "adc_bits=5")]
    parts = [tidy(chips=20, seeds=1, epochs=1), chips, tidy(chips=10, network=OWN), *tiled]
    rows = pd.concat(parts, ignore_index=True).fillna({"periphery": ""})
    rows[["deployment", "deployment_parameters"]] = rows[["deployment", "deployment_parameters"]].fillna("")
    rows.to_parquet(root / "more" / "samples.parquet")
    (root / "more" / "records.json").write_text(json.dumps(records(rows), default=list))
    another = {name: table.assign(train_seed=1) for name, table in taylor().items()}
    for kind, tables in (("following", {"training": another.pop("training")}), ("taylor", another)):
        analysed(root, f"{kind}-of-another", kind, tables, {"train_seed": 1})
    (root / "tsb-fig4").symlink_to(APP.parent / "results" / "tsb-fig4")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NVLIB_RUNS", str(root.parent / "NVLIB_RUNS"))
        patch.setenv("NVLIB_RESULTS", str(root))
        jobs(tidy()["run"].iloc[0])
        st.cache_resource.clear()
        st.cache_data.clear()
        gc.freeze()
        yield
        gc.unfreeze()
        st.cache_resource.clear()
        st.cache_data.clear()


def jobs(run):
    """Write two jobs that are done, whose chips are those of a stored run."""
    from nvlib.launch import job as written
    from nvlib.store import local_runs

    for name in ("one", "two"):
        made = written.new(local_runs(), [{}], "here", name, {"shipped": None})
        made.note(written.Status(made.id, name, state="done", total=1, done=1, runs=[run], log=str(made.log)))


def shown(page, address):
    """Return the app at an address."""
    at = launched()
    at.query_params.update(address)
    at = sound(at.run())
    assert not at.warning, [w.value for w in at.warning]
    at = at if page == "overview" else sound(at.switch_page(f"views/{page}.py").run())
    assert not at.warning, [w.value for w in at.warning]
    return at


def bound(at):
    """Return the controls of a page, its sidebar's among them, that are bound to the address: key -> widget."""
    every = [widget for kind in KINDS for widget in getattr(at, kind)]
    return {w.proto.query_param_key: w for w in every if w.proto.query_param_key}


def written(widget):
    """Return what the address says of a control: each choice as it is written, each number as short as it can be."""
    state = widget._widget_state
    kind = state.WhichOneof("value")
    value = getattr(state, kind)
    values = list(value.data) if kind.endswith("array_value") else [value]
    return [f"{v:.12g}" if isinstance(v, float) else v for v in values] or [""]


def other(widget, key):
    """Return a value that the control does not have; None if there is no other."""
    now = widget.value
    if widget.type in ("slider", "number_input"):
        return now + widget.step if now + widget.step <= widget.max else now - widget.step
    places = [i for i, option in enumerate(widget.options) if option not in written(widget)]
    if not places:
        return None
    several = isinstance(now, list | tuple) or widget.type == "multiselect"
    # what the app chose among, of which the widget knows only how they are written
    value = NEXT.get(key, widget.options[places[-1]])
    value = float(value) if key in ("only", "at") or isinstance(now, float) else value
    value = int(value) if isinstance(now, int) else value
    return [value] if several else value


def keys(file):
    """Return the controls that a file binds to the address; one that ends in ``_`` stands for all that begin so."""
    found = set()
    for node in ast.walk(ast.parse((APP / file).read_text())):
        if not isinstance(node, ast.Call):
            continue
        if called(node) in PLACES and len(node.args) > PLACES[called(node)] + 1:  # others of that name are columns'
            key = node.args[PLACES[called(node)]]
            found |= {key.value} if isinstance(key, ast.Constant) else set()
            found |= {key.values[0].value} if isinstance(key, ast.JoinedStr) else set()
        elif called(node) in TAKES and any(k.arg == "bind" for k in node.keywords):
            found |= {k.value.value for k in node.keywords if k.arg == "key" and isinstance(k.value, ast.Constant)}
    return found


def files(page):
    return (f"views/{page}.py", *([FILES[page]] if page in FILES else []))


def called(node):
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def moved(page, state, only=None):
    """Move all controls of a page, or only one; return those that moved, once a fresh app has shown them so."""
    at = shown(page, state)
    before = {key: written(widget) for key, widget in bound(at).items()}
    assert {key: before[key] for key in state} == {key: [value] for key, value in state.items()}
    side = {widget.proto.query_param_key for kind in KINDS for widget in getattr(at.sidebar, kind)}
    for key, widget in bound(at).items():
        if (key in side) == (page == "overview") and key not in VIEWS and only in (None, key):
            value = other(widget, key)
            if value is not None:
                widget.set_value(value)
    now = {key: written(widget) for key, widget in bound(sound(at.run())).items()}
    assert {key: written(widget) for key, widget in bound(shown(page, now)).items()} == now
    return {key for key in now if key in before and now[key] != before[key]}


@pytest.mark.parametrize("page", STATES)
def test_an_address_holds_every_control_of_a_page(page):
    """From each state of a page all at once, then alone those that went away when others moved.

    Overview's controls are those of the sidebar, which the other pages leave as they are.
    """
    held = {key for state in STATES[page] for key in state}
    for state in STATES[page]:
        held |= moved(page, state)
    wanted = set().union(*map(keys, files(page)))
    for key in {key for key in wanted if key not in held and not key.endswith("_")}:
        held |= set().union(*(moved(page, state, key) for state in STATES[page]))
    for key in wanted:
        assert key in held or (key.endswith("_") and any(k.startswith(key) for k in held)), f"no state moves {key}"


def test_every_control_is_bound_to_the_address_or_has_a_reason():
    unbound = set()
    for path in sorted(APP.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and called(node) in TAKES and not any(k.arg == "bind" for k in node.keywords):
                label = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
                unbound.add((path.stem, label))
    assert unbound == set(UNBOUND)


def test_every_file_with_controls_is_looked_at():
    looked = {file for page in STATES for file in files(page)}
    paths = {str(path.relative_to(APP)) for path in APP.rglob("*.py")}
    assert len(looked) == 13 and looked <= paths
    assert not {path for path in paths - looked if keys(path)}


def test_nothing_chosen_is_a_choice_too():
    at = shown("overview", {"method": [""]})
    assert at.multiselect(key="method").value == [] and "at least one training method" in at.info[0].value


def test_an_own_network_has_its_name_in_list_and_address():
    at = shown("overview", {"network": "mine.small (own, 0f0f0f0f)"})
    box = at.selectbox(key="network")
    assert box.value == OWN and box.options[-1] == "mine.small (own, 0f0f0f0f)" and "lenet" in box.options
    assert not any(option.startswith("own:") for option in box.options)


def test_streamlit_has_no_warning_of_an_address_that_sets_a_number(monkeypatch, caplog):
    from streamlit.elements.lib import policies

    monkeypatch.setattr(policies, "runtime", SimpleNamespace(exists=lambda: True))  # as where a server runs
    monkeypatch.setattr(policies, "_shown_default_value_warning", False)
    at = shown("overview", {"sigma_d": "0.1"})
    assert at.select_slider(key="sigma_d").value == 0.1
    assert not [line for line in caplog.messages if "default value" in line]


@pytest.mark.parametrize("text", ["1", "1.0", "1.00"])
def test_a_number_may_be_written_as_one_likes(text):
    at = shown("overview", {"device": "pcm", "sigma_d": text})
    assert at.select_slider(key="sigma_d").value == 1.0 and at.session_state["query"].sigma_d == 1.0
    at = shown("overview", {"device": "pcm", "sigma_d": "2" if text == "1" else "2.0"})
    assert at.session_state["query"].sigma_d == 2.0
