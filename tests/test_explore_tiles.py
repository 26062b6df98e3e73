"""Chips through tiles, converters and wires as a choice: what ships is found, and read as a sweep computes it."""

from pathlib import Path

import pandas as pd
import pytest
from synthetic import tidy

from nvlib import InputError, array, figures, results, sweeps
from nvlib.explore import Query, ask, tiles
from nvlib.figures.stages import labels
from nvlib.records import digest
from nvlib.store import Store
from nvlib.studies import Study

STORE = Store(runs=Path("/nonexistent"), shipped=Path(__file__).parents[1] / "results")


@pytest.fixture(scope="module")
def table():
    return results(STORE)


def through(rows, *peripheries):
    """Return made-up chips, and the same a point worse through each periphery."""
    return pd.concat([rows.assign(periphery=text, accuracy=rows["accuracy"] - place, run=rows["run"] + text)
                      for place, text in enumerate(("", *peripheries))], ignore_index=True)  # fmt: skip


def made(**fixed):
    return tidy(methods=("gaussian",), sigmas=(0.1,), chips=5, seeds=1, **fixed).assign(
        deployment="", effects="", range="max", device_numbers="", precision="float32"
    )


def test_both_networks_that_ship_are_configurations_with_their_settings(table):
    known = tiles.configurations(table)
    names = list(known)
    assert names[0] == "LeNet on MNIST, Gauss at 0.1, RRAM at sigma_d = 0.1" and any("VGG-8" in n for n in names)
    for name, setting in tiles.SETTINGS.items():
        swept = tiles.sweep(table, known[names[0]], name)
        values = ["ideal" if value is None else str(value) for value in setting.values]
        assert swept["value"].tolist() == ["exact", *values] and set(swept["chips"]) == {20}
        assert swept["lost"].iloc[1:].to_numpy() == pytest.approx((swept["mean"][0] - swept["mean"][1:]).to_numpy())
        shown = tiles.chips(table, known[names[0]], name)
        assert len(shown) == 20 * shown["periphery"].nunique()  # no chip of exact products that the others lack
        words = tiles.caption(known[names[0]], name, shown)
        title = figures.setting_curves(swept, words).layout.title.subtitle.text.replace("<br>", " ")
        assert "1,000 test images" in title and "20 chips" in title and setting.words.split(",")[0] in title
    narrow = next(place for name, place in known.items() if "VGG-8" in name)
    for name, setting in tiles.SETTINGS.items():
        assert len(tiles.sweep(table, narrow, name)) == 1 + len(setting.values)
    aged = next(place for name, place in known.items() if "PCM" in name)
    assert 2 < len(tiles.sweep(table, aged, "Bits of an ADC")) < 8 and tiles.sweep(table, aged, "Rows at 5 bits").empty


def test_a_setting_is_what_a_sweep_of_the_same_chips_gives(table):
    place = next(iter(tiles.configurations(table).values()))
    rows = table[(table["training"] == place["training"]) & (table["sigma_d"] == 0.1) & (table["images"] == 1000)]
    for name in ("Bits of an ADC", "Rows with wires"):
        setting = tiles.SETTINGS[name]
        swept = sweeps.stored(rows.astype({"periphery": object}), field=setting.field, base=setting.base, k=5)
        pd.testing.assert_frame_equal(tiles.sweep(table, place, name, k=5), swept)
    lost = swept.iloc[1]
    assert f"32: {lost.lost:.2f} [{lost.lost_low:.2f}, {lost.lost_high:.2f}]" in tiles.losses(swept)


def test_chips_on_other_images_or_cells_are_never_mixed():
    rows = made()
    few = through(rows.assign(images=1000, chip_seed=0), "adc_bits=4", "adc_bits=6", "default")
    all_ = through(rows.assign(run="all"), "adc_bits=4", "adc_bits=6")
    other = through(rows.assign(device_numbers="0123abcd", run="other"), "adc_bits=4", "adc_bits=6")
    bare = rows.assign(periphery="adc_bits=4", effects="read", run="bare")  # without exact products beside
    half = through(rows.assign(images=1000, precision="bf16", run="half"), "adc_bits=4")
    table = pd.concat([few, all_, other, bare, half], ignore_index=True)
    known = tiles.configurations(table)
    assert len(known) == 2 and any("0123abcd" in name for name in known)
    place = tiles.configuration(rows["training"].iloc[0], tiles.query(next(iter(known.values()))))
    assert place in known.values()
    swept = tiles.sweep(table, place, "Bits of an ADC")
    assert swept["value"].tolist() == ["exact", "4", "6", "8"] and swept["lost"].tolist() == [0, 1, 2, 3]
    assert tiles.chips(table, place, "Bits of an ADC")["images"].unique().tolist() == [1000]  # most values
    assert tiles.lacking(table, place, "Bits of an ADC") == [
        "adc_bits=3", "adc_bits=5", "adc_bits=7", "default", "adc_bits=none"
    ]  # fmt: skip
    with pytest.raises(InputError, match="unknown setting 'Bits'"):
        tiles.sweep(table, place, "Bits")


def test_what_is_asked_for_is_chips_of_the_stored_model(table):
    """Of a network trained on few images too, whose study must say so."""
    without = table[~table["periphery"].astype(str).str.contains("wire")]
    for place in list(tiles.configurations(without).values())[:2]:
        lacking = tiles.lacking(without, place, "Resistance of a wire")
        asked = ask.aged(place["training"], tiles.query(place), [""], peripheries=lacking, chips=5, store=STORE)
        study = Study.of(asked.studies[0])
        pairs = study.pairs(study.data())
        assert {digest(training) for training, _ in pairs} == {place["training"]} and asked.trainings == 0
        assert [evaluation.periphery for _, evaluation in pairs] == lacking and len(lacking) >= 3
    both = ask.together([asked, ask.aged(place["training"], Query(), [""], chips=7, store=STORE)])
    assert len(both.studies) == 2 and both.chips == 7


def test_a_published_setting_has_its_name_on_an_axis():
    stages = ["programmed", f"periphery:{array.get('isaac')}", "periphery:rows=64", "read:time=86400,law=pcm"]
    words = ["programmed", "circuits<br>isaac", "circuits<br>rows=64", "read noise<br>1 day<br>law=pcm"]
    assert labels(pd.Series(stages)) == words
    times = pd.Series(["drift:time=0.5", "drift:time=7200", "drift:time=2592000"])
    assert labels(times) == ["drift<br>0.5 s", "drift<br>2 h", "drift<br>30 days"]
