"""Every page on every choice of the sidebar that has a result that ships: it is shown, and nothing else is."""

import gc
import itertools
import json
import re

import pandas as pd
import pytest
from appkit import APP, PAGES, charts, launched, sound

from nvlib import devices, summary
from nvlib.explore import MEASURED, METHODS, RELATIVE, SETTING, Query, ask, select
from nvlib.store import Store, results
from nvlib.studies import Study

pytest.importorskip("streamlit")
import streamlit as st

ROOT = APP.parent
KEYS = ["network", "dataset", "device", "reference", "mapping", "protocol", "train_sigma_d"]
STORE = Store(runs=ROOT / "no runs", shipped=ROOT / "results")
TABLE = results(STORE)
PLAIN = (TABLE[["deployment", "effects", "periphery"]].astype(str) == "").all(axis=1) & (TABLE["range"] == "max")


def choices():
    """Return what the sidebar can ask for of what ships, its sigma_d, methods and settings apart."""
    rows = TABLE[PLAIN]
    rows = rows.assign(train_sigma_d=rows["train_sigma_d"].where(rows["protocol"] == "swept"))
    found = rows[KEYS].drop_duplicates().astype(object)
    return [{k: v for k, v in choice.items() if pd.notna(v)} for choice in found.to_dict("records")]


CHOICES = choices()
DEPLOYED = TABLE[(TABLE["deployment"] != "") & (TABLE["effects"] == "")]


def usual(rows):
    """Return the rows of each method's parameters and recipe that have most chips, where a seed has several."""
    names = {t: json.dumps(select.manner(t, STORE), sort_keys=True) for t in rows["training"].unique()}
    rows = rows.assign(manner=[names[t] for t in rows["training"]])
    parts = [rows[:0]]
    for _, part in rows.groupby("method", observed=True):
        counts = part.groupby("manner").size()
        several = part.drop_duplicates("training").duplicated(["sigma_d", "train_seed"]).any()
        parts.append(part[part["manner"] == counts.idxmax()] if several else part)
    return pd.concat(parts)


def rows_of(choice, **more):
    """Return the rows that a choice asks for, of chips as they were programmed: of each seed the largest training."""
    keep = PLAIN
    for key, value in (choice | more).items():
        if key == "protocol" and value == "swept":
            continue  # trained at train_sigma_d, or without noise
        keep = keep & ((TABLE[key] == value) | ((key == "train_sigma_d") & (TABLE["method"] == "none")))
    rows, one = usual(TABLE[keep]), ["method", "sigma_d", "train_seed"]
    sizes = rows.groupby([*one, "training"], observed=True).size().rename("n").reset_index()
    largest = sizes.sort_values(["n", "training"], ascending=[False, True]).drop_duplicates(one)
    return rows.merge(largest[[*one, "training"]])


@pytest.fixture(scope="module", autouse=True)
def real(tmp_path_factory):
    """The results that ship, read once; nothing of one's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NVLIB_RESULTS", str(ROOT / "results"))
        patch.setenv("NVLIB_RUNS", str(tmp_path_factory.mktemp("none") / "runs"))
        st.cache_resource.clear()
        st.cache_data.clear()
        gc.freeze()
        yield
        gc.unfreeze()
        st.cache_resource.clear()
        st.cache_data.clear()


def chosen(choice):
    """Return the app with a choice made, all methods that have a result for it among it, at its largest sigma_d."""
    held = rows_of(choice)
    at = launched()
    for key, value in choice.items():
        at.query_params[key] = f"{value:g}" if isinstance(value, float) else value
    at.query_params["sigma_d"] = f"{held['sigma_d'].max():g}"
    at.query_params["method"] = sorted(held["method"].unique())
    return sound(at.run())


def counted(at):
    """Return how many chips the captions under the page's figures say that they are of."""
    return {int(n.replace(",", "")) for c in at.caption for n in re.findall(r"^n = ([\d,]+) chips · results", c.value)}


FEW = [c if c["network"] == "lenet3" else pytest.param(c, marks=pytest.mark.slow) for c in CHOICES]


@pytest.mark.parametrize("choice", FEW, ids=lambda c: "-".join(map(str, c.values())).replace(" ", ""))
def test_what_ships_is_shown(choice):
    at = chosen(choice)
    settings = next((box.options for box in at.selectbox if box.key == "setting"), [None])
    for place in range(len(settings)):
        if place:
            at = sound(at.selectbox(key="setting").select_index(place).run())
        size = dict(zip(SETTING, at.session_state["query"].setting, strict=True))
        whole = rows_of(choice, **size)
        if whole.empty:  # a setting of the other protocol alone
            assert at.info and {chart.key for chart in charts(at)} <= {"levels"}  # the device's
            continue
        for sigma_d in sorted(set(whole["sigma_d"])):
            at = sound(at.select_slider(key="sigma_d").set_value(sigma_d).run())
            held = rows_of(choice, sigma_d=sigma_d, **size)
            kpp = summary.results_table(held, 1).set_index("method")["kpp"]
            seen = [metric.value for metric in at.metric if metric.label == "1st percentile (KPP)"]
            assert sorted(seen) == sorted(f"{value:.2f} %" for value in kpp) and counted(at) == {len(held)}
        at = sound(at.switch_page("views/explore.py").run())
        assert charts(at)
        at = sound(at.switch_page("views/compare.py").run())
        noisy = whole[whole["sigma_d"] > 0]  # without variation there is nothing to compare
        together = noisy.groupby(["sigma_d", "train_seed"], observed=True)["method"].nunique().max()
        assert at.info if noisy.empty else at.dataframe and at.info if together < 2 else charts(at)
        at = sound(at.switch_page("views/overview.py").run())


def test_deploys_nearest_result_is_one_that_it_shows():
    """Of PCM chips were deployed under a range of two deviations alone, which this page does not show."""
    at = sound(sound(launched().run()).switch_page("views/deploy.py").run())
    at = sound(at.selectbox(key="device").set_value("pcm").run())
    assert not charts(at)
    near = next(b for b in at.button if b.label.startswith("Show the nearest result"))
    assert "PCM" not in near.label and charts(sound(near.click().run()))


LONG = "views/life.py"  # its default is among the quick tests: test_life_opens_on_a_picture_whatever_the_device


@pytest.mark.parametrize("page", [pytest.param(p, marks=pytest.mark.slow) if p == LONG else p for p in PAGES[3:]])
def test_other_pages_stand_what_ships(page):
    """One choice of each network, device and mapping; its largest sigma_d."""
    first, *others = {(c["network"], c["device"], c["mapping"]): c for c in CHOICES}.values()
    at = sound(chosen(first).switch_page(page).run())
    for choice in others:
        held = rows_of(choice)
        moved = choice | {"sigma_d": held["sigma_d"].max(), "method": sorted(held["method"].unique())}
        for key, value in moved.items():
            at.session_state[key] = value
        at = sound(at.run())
        query = at.session_state["query"]
        assert {key: getattr(query, key) for key in choice} == choice and query.method == tuple(moved["method"])


DEPLOYED_AT = ("network", "mapping", "device")


@pytest.mark.parametrize("place", sorted(set(DEPLOYED[[*DEPLOYED_AT]].astype(str).itertuples(index=False, name=None))))
def test_deployed_chips_are_shown_wherever_some_ship(place):
    """Where no model without noise ships, the distance to it cannot be drawn: the page says so, beside the numbers."""
    where = dict(zip(DEPLOYED_AT, place, strict=True))
    held = DEPLOYED[(DEPLOYED[list(DEPLOYED_AT)].astype(str) == list(place)).all(axis=1)]
    at = launched()
    at.query_params.update(where, sigma_d=str(held["sigma_d"].max()), method=sorted(held["method"].unique()))
    at = at.run().switch_page("views/deploy.py").run()
    costs = at.dataframe[-1].value
    assert not at.exception and set(costs["sigma_d"]) == set(held["sigma_d"])
    ideal = not rows_of({**where, "method": "none", "sigma_d": 0.0}).empty
    assert not at.error and bool(charts(at)) == ideal
    assert [("without noise" in e.value) for e in at.info] == [True] * (not ideal)


def test_life_opens_on_a_picture_whatever_the_device():
    """What ships, PCM's and two measured over days, is shown at once; others get an offer, and PCM's meanwhile."""
    at = sound(launched().run())
    at = sound(at.switch_page("views/life.py").run())
    assert len(charts(at)) == 3 and any("Compute it now" in b.label for b in at.button) and at.subheader
    at = sound(at.selectbox(key="device").set_value("pcm").run())
    assert [c.key for c in charts(at)] == ["waterfall", "along", "deployed"] and not at.info
    for age in ("as programmed", "1 year"):
        at = sound(at.select_slider(key="age").set_value(age).run())
        assert len(charts(at)) == 3
    at = sound(at.button_group(key="befalls").set_value(["Stuck cells", "Drift"]).run())
    assert "not computed yet" in at.info[0].value and any("Compute it now" in b.label for b in at.button)
    at = sound(at.button_group(key="befalls").set_value(["Drift", "Read noise"]).run())
    for device in ("sonos", "rram_wan2022", "fefet1"):
        at = sound(at.selectbox(key="device").set_value(device).run())
        assert charts(at) and any("Compute it now" in b.label for b in at.button) == (device == "fefet1")


def test_tiles_open_on_a_picture_of_both_networks_and_offer_what_is_lacking():
    at = sound(launched().run())
    at = sound(at.switch_page("views/tiles.py").run())
    box = at.selectbox(key="tiled")
    assert box.value.startswith("LeNet") and [o.split()[0] for o in box.options[:2]] == ["LeNet", "VGG-8"]
    for setting in at.button_group(key="setting_of").options:
        at = sound(at.button_group(key="setting_of").set_value(setting).run())
        assert len(charts(at)) == 1 and not at.info and any("20 chips" in c.value for c in at.caption)
        assert any("paired with exact products, 95 %" in c.value for c in at.caption)
    held = {}
    exec(at.code[0].value, held)  # what "Show the code" says draws the same
    assert held["table"]["value"].tolist() == at.dataframe[0].value["value"].tolist()
    at = sound(at.selectbox(key="tiled").select_index(1).run())
    assert len(charts(at)) == 1 and any("20 chips" in c.value for c in at.caption)
    aged = next(option for option in at.selectbox(key="tiled").options if "PCM" in option)
    at = sound(at.selectbox(key="tiled").set_value(aged).run())
    assert not charts(at) and "Not computed yet" in at.info[0].value
    assert any("Compute it now" in b.label for b in at.button)
    at = sound(at.button_group(key="setting_of").set_value("Bits of an ADC").run())
    assert len(charts(at)) == 1 and any("40 chips" in c.value for c in at.caption)
    at = sound(at.selectbox(key="tiled").set_value("As in the sidebar").run())
    assert at.info and not charts(at) and at.selectbox(key="tiles_model").value.startswith("Gauss, trained at")


def test_life_ends_in_the_circuits_that_are_chosen():
    at = launched()
    at.query_params.update(device="pcm", sigma_d="1")
    at = sound(at.run())
    at = sound(at.switch_page("views/life.py").run())
    at = sound(at.selectbox(key="circuits").set_value("default").run())
    assert len(charts(at)) == 2 and not at.info
    assert at.dataframe[0].value["stage"].iloc[-1] == "periphery:default" and "periphery='default'" in at.code[0].value
    held = {}
    exec(at.code[0].value.replace("figures.waterfall(", "table = ("), held)
    assert held["table"]["mean"].tolist() == at.dataframe[0].value["mean"].tolist()
    at = sound(at.selectbox(key="circuits").set_value("isaac").run())
    assert "not computed yet" in at.info[0].value and any("Compute it now" in b.label for b in at.button)
    assert len(charts(at)) == 1 and any("exact products" in c.value for c in at.caption)  # along time, without them


@pytest.mark.slow
def test_every_device_method_and_sigma_d_has_chips_or_a_study_that_gives_them():
    """The decision behind each page, for every choice that the sidebar offers first."""
    slim, seen = TABLE.drop_duplicates(["training", "mapping", "protocol"]), 0
    for device, method in itertools.product(devices.names(), METHODS):
        asked = None
        for sigma_d in RELATIVE if devices.get(device).relative else MEASURED:
            query, seen = Query(device=device, sigma_d=sigma_d, method=(method,)), seen + 1
            if rows_there(query):
                continue
            asked = ask.ask(query, (method,), slim, store=STORE)
            assert asked.studies and asked.trainings <= 1 and asked.chips == 400
        if asked:
            study = Study.of(asked.studies[0])  # it is one that can run
            assert study.methods == (method,) and study.devices == (device,)
    assert seen > 900


def rows_there(query):
    keep = (TABLE["device"] == query.device) & (TABLE["sigma_d"] == query.sigma_d) & (TABLE["network"] == "lenet")
    return (keep & (TABLE["method"] == query.method[0]) & (TABLE["protocol"] == "matched")).any()


KINDS = ("rram", "fefet1", "rram_milo2021", "nft_rram4")  # no profile, a profile, measured, of levels of its own


@pytest.mark.slow
def test_pages_show_or_offer_whatever_device_and_sigma_d():
    """One app moved through every device, at its smallest and largest sigma_d; other pages on a device of each kind."""
    at = launched()
    at.query_params["method"] = ["none", "gaussian", "irs"]
    at = sound(at.run())
    for device in devices.names():
        at = sound(at.selectbox(key="device").set_value(device).run())
        options = at.select_slider(key="sigma_d").options
        for sigma_d in (float(options[1]), float(options[-1])):
            at = answered(sound(at.select_slider(key="sigma_d").set_value(sigma_d).run()))
        for page in ("explore", "compare", "deploy", "life", "tiles", "overview") if device in KINDS else ():
            at = answered(sound(at.switch_page(f"views/{page}.py").run()))


def answered(at):
    """Return the page, which shows a figure of chips or offers to compute them."""
    assert at.metric or charts(at) or any(b.label == "Compute it now" for b in at.button)
    lacking = [i.value for i in at.info if "No result yet" in i.value or "No deployed chips" in i.value]
    assert not lacking or any(b.label == "Compute it now" for b in at.button), lacking
    return at
