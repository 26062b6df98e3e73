"""Devices hold the published numbers, convert units once, survive a round trip, refuse what is unusable."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nvlib
from nvlib import catalogue, devices
from nvlib.devices import Device
from nvlib.errors import InputError

ABSTRACT = {"rram": (1, 1, 1, 1), "fefet1": (1, 4, 4, 1), "fefet2": (1, 2, 2, 1)}
NFT = {"nft_rram4": 4, "nft_fefet2": 2, "nft_fefet6": 6}
# What the published formulas give, worked out by hand with x = g / g_max, at (conductance, deviation).
MEASURED = {
    "pcm": (devices.pcm_deviation, "uS", 0.25, 25.0, [(0, 0.26348), (12.5, 0.952705), (25, 1.05538)]),
    "rram_wan2022": (devices.wan_deviation, "uS", 1.0, 40.0, [(0, 0.348), (20, 2.0229375), (40, 1.103)]),
    "rram_wan2022_crosssim": (
        devices.wan_deviation_crosssim,
        "uS",
        1.0,
        39.26,
        [(0, 1.053), (10, 2.4136), (20, 2.3618)],
    ),
    "rram_milo2021": (devices.milo_deviation, "uS", 50.0, 225.0, [(50, 4.326971), (225, 2.733246)]),
    "sonos": (devices.sonos_deviation, "nA", 1.6e-4, 1600.0, [(0, 0), (176.31, 19.887 * (1 - 1 / math.e))]),
}


def check_device(device):
    """The laws every record keeps."""
    size = 2**device.bits
    assert len(device.levels) == len(device.deviation) == len(device.values) == size
    assert np.all(np.diff(device.levels) > 0) and np.all(np.diff(device.values) > 0)
    assert device.values[0] == 0.0 and device.values[-1] == size - 1
    assert all(math.isfinite(d) and d >= 0 for d in device.deviation)
    assert device.source and device.validity
    # Nothing strays at sigma_d = 0, and the spread is proportional to it.
    assert device.spread(0) == (0.0,) * size
    np.testing.assert_allclose(device.spread(0.6), 3 * np.array(device.spread(0.2)), rtol=1e-14)
    full, level = (np.array(device.spread(0.3, reference)) for reference in devices.REFERENCES)
    np.testing.assert_allclose(full, level * (size - 1 if device.relative else 1), rtol=1e-14)
    # A value is hashable, and is rebuilt equal from plain JSON.
    assert Device.from_dict(json.loads(json.dumps(device.to_dict()))) == device
    assert hash(device) == hash(dataclasses.replace(device))
    assert set(device.to_dict()) - set(device.numbers()) - {"effects", "label"} == {"name", "source", "validity"}


@pytest.mark.parametrize("name", devices.names())
def test_registry_entry_keeps_the_laws(name):
    device = devices.get(name)
    assert device.name == name and device.bits == 2
    assert device is devices.get(device)
    assert "no source" not in device.source
    check_device(device)


def test_registry_is_complete():
    assert set(devices.names()) == {*ABSTRACT, *NFT, *MEASURED}


def test_built_in_devices_are_files_like_a_users(tmp_path):
    home = Path(nvlib.__file__).parent / "_data" / "devices"
    for path in sorted(home.glob("*.toml")):
        device = devices.load(path)
        assert device == devices.get(device.name) and path.stem.partition("_")[2] == device.name
        assert device.label and catalogue.DEVICES[device.name] == device.label
        assert devices.load(devices.save(device, tmp_path / f"{device.name}.toml")) == device
    assert list(catalogue.DEVICES) == devices.names() and len(devices.names()) == len(list(home.iterdir()))
    plain = dataclasses.replace(devices.get("rram"), label="")
    assert "label" not in plain.to_dict() and plain.numbers() == devices.get("rram").numbers()


@pytest.mark.parametrize(("name", "fit"), [("rram_wan2022", devices.wan_retention), ("sonos", devices.sonos_retention)])
def test_retention_of_the_files_is_the_published_fit(name, fit):
    held, made = devices.get(name).effects.retention, fit(devices.get(name).levels)
    np.testing.assert_allclose(held.deviation, made.deviation, rtol=1e-12)
    np.testing.assert_allclose(held.mean, made.mean, rtol=1e-12, atol=1e-12)
    assert (held.times, held.source, held.scale) == (made.times, made.source, made.scale)


@pytest.mark.parametrize("name", ABSTRACT)
def test_profiles_are_as_published(name):
    device = devices.get(name)
    assert device.relative and device.unit == "level" and device.levels == (0, 1, 2, 3)
    assert device.deviation == ABSTRACT[name]
    assert device.spread(0.1, "level") == pytest.approx([0.1 * r for r in ABSTRACT[name]], rel=1e-15)
    assert device.spread(0.1) == device.spread(0.1, "full_scale")
    assert device.spread(0.1) == pytest.approx([0.3 * r for r in ABSTRACT[name]], rel=1e-15)


@pytest.mark.parametrize("name", NFT)
def test_nft_profiles_have_unit_rms_over_the_weights(name):
    s, device = NFT[name], devices.get(name)
    outer, inner = device.deviation[0], device.deviation[1]
    assert device.deviation == (outer, inner, inner, outer)
    assert inner / outer == pytest.approx(s) and outer == pytest.approx(1 / math.sqrt(0.4 * s**2 + 0.6))
    assert 0.6 * outer**2 + 0.4 * inner**2 == pytest.approx(1)


@pytest.mark.parametrize("name", MEASURED)
def test_measured_devices_follow_their_formula(name):
    formula, unit, low, high, points = MEASURED[name]
    for g, deviation in points:
        assert formula(g) == pytest.approx(deviation, rel=1e-12, abs=1e-15)
    device = devices.get(name)
    assert not device.relative and device.unit == unit
    assert device.levels[0] == low > 0 and device.levels[-1] == high
    assert device.levels == pytest.approx(np.linspace(low, high, 4))
    assert device.values == (0, 1, 2, 3)
    assert device.deviation == pytest.approx([formula(g) for g in device.levels], rel=1e-11)
    # Level units: one level is a third of the range. None and 1 mean "as measured", whatever the reference.
    level = (high - low) / 3
    assert device.spread() == device.spread(1.0, "level")
    assert device.spread() == pytest.approx([d / level for d in device.deviation])


def test_the_two_wan_fits_differ_near_zero_and_say_so():
    near = devices.get("rram_wan2022"), devices.get("rram_wan2022_crosssim")
    assert devices.wan_deviation(0) == 0.348 and devices.wan_deviation_crosssim(0) == 1.053
    for device in near:
        assert "0.35" in device.validity and "1.05" in device.validity and "assumed" in device.validity


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_tabulate_has_any_number_of_levels(bits):
    device = devices.tabulate("pcm", devices.pcm_deviation, 0.25, 25.0, bits=bits)
    check_device(device)
    assert device.values == tuple(range(2**bits))
    assert device.deviation[0] == pytest.approx(0.28301269) and device.deviation[-1] == pytest.approx(1.05538)


def test_uneven_levels_are_read_out_linearly():
    device = Device("uneven", 2, [10, 12, 20, 40], [1, 2, 3, 6], "uS", False)
    check_device(device)
    assert device.values == pytest.approx((0, 0.2, 1, 3))
    assert device.spread() == pytest.approx((0.1, 0.2, 0.3, 0.6))
    assert "assumed" in device.source and "assumed" in device.validity


def test_documented_drift_and_read_noise():
    drift, read = devices.DRIFT["pcm"], devices.READ_NOISE["pcm"]
    assert drift.t_0 == 20 and drift.mean == (-0.0155, 0.0244, 0.049, 0.1)
    assert drift.deviation == (-0.0125, -0.0059, 0.008, 0.045)
    assert (read.t_r, read.q, read.p, read.floor, read.cap) == (2.5e-7, 0.0088, 0.65, 1e-3, 0.2)


# -- files ------------------------------------------------------------------------------

TOML = '''
name = "mine"
bits = 1
levels = [2, 10.0]
deviation = [0.5, 1]
unit = "uS"
relative = false
source = """my thesis,
Fig. 3"""
'''
CSV = """# name: mine
# source: my thesis, Fig. 3
# measured on a Tuesday
# https://example.org/thesis

level, conductance, deviation
0, 2, 0.5
1, 10.0, 1
"""


def write(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


@pytest.mark.parametrize(("file", "text"), [("a.toml", TOML), ("a.csv", CSV), ("a.CSV", "\ufeff" + CSV)])
def test_a_device_of_ones_own(tmp_path, file, text):
    path = write(tmp_path, file, text)
    expected = Device("mine", 1, (2.0, 10.0), (0.5, 1.0), "uS", False, "my thesis, Fig. 3")
    assert devices.load(path) == devices.get(path) == devices.get(str(path)) == expected
    check_device(expected)


def test_a_file_names_its_device_and_a_header_may_make_it_relative(tmp_path):
    path = write(tmp_path, "cell7.csv", "# relative: True\n# unit: level\n" + CSV.split("\n\n")[1])
    device = devices.load(path)
    assert (device.name, device.unit, device.relative) == ("cell7", "level", True)
    assert devices.load(write(tmp_path, "b.csv", "# source: 2024\n" + CSV.split("\n\n")[1])).source == "2024"


@pytest.mark.parametrize("suffix", [".toml", ".csv"])
@pytest.mark.parametrize("name", devices.names())
def test_saved_devices_are_read_back_equal(tmp_path, name, suffix):
    path = devices.save(name, tmp_path / f"any{suffix}")
    assert devices.load(path) == devices.get(name)


def test_awkward_text_and_numbers_survive_a_file(tmp_path):
    device = Device("µ-cell", 1, (1e-30, 1e22), (0, 1 / 3), "nS", True, 'a "b" \\ c: #1, d\n e', "x: y # z")
    for suffix in (".toml", ".csv"):
        assert devices.load(devices.save(device, tmp_path / f"any{suffix}")) == device


# -- bad input: one line with the value, what was expected, what to do -------------------


def check_refused(message, call, *args, **kwargs):
    with pytest.raises(InputError, match=message) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value) and "expected" in str(caught.value)


GOOD = {"name": "x", "bits": 1, "levels": [0, 1], "deviation": [1, 1], "unit": "level", "relative": True}
BAD = [
    ({"levels": [0, 1, 2, 3]}, "levels has 4 entries.*2"),
    ({"deviation": [1]}, "deviation has 1 entries.*2"),
    ({"bits": 2}, "levels has 2 entries.*4"),
    ({"bits": 0}, "bits is 0"),
    ({"bits": -1}, "bits is -1"),
    ({"bits": 1.0}, "bits is 1.0"),
    ({"bits": True}, "bits is True"),
    ({"bits": 10**9}, "bits is 1000000000"),
    ({"levels": [0, math.inf]}, r"levels\[1\] is inf"),
    ({"levels": [0, 10**400]}, r"levels\[1\] is 1000"),
    ({"deviation": [math.nan, 1]}, r"deviation\[0\] is nan"),
    ({"deviation": [1, -0.1]}, r"deviation\[1\] is -0.1"),
    ({"deviation": [1, "a"]}, r"deviation\[1\] is 'a'"),
    ({"deviation": [1, True]}, r"deviation\[1\] is True"),
    ({"deviation": "11"}, "deviation is '11'"),
    ({"deviation": 1}, "deviation is 1"),
    ({"levels": [1, 0]}, "level 0 follows 1.*ascending"),
    ({"levels": [1, 1]}, "level 1 follows 1.*ascending"),
    ({"levels": [-1, 1]}, r"levels\[0\] is -1"),
    ({"relative": "yes"}, "relative is 'yes'"),
    ({"relative": 1}, "relative is 1"),
    ({"name": " "}, "name is ' '"),
    ({"unit": None}, "unit is None"),
    ({"source": 3}, "source is 3"),
    ({"devation": [1, 1]}, "unknown device key 'devation'.*did you mean 'deviation'"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_bad_record_is_refused(change, message):
    Device.from_dict(GOOD)
    check_refused(message, Device.from_dict, GOOD | change)


@pytest.mark.parametrize("key", GOOD)
def test_a_missing_key_is_named(key):
    check_refused(f"no {key}", Device.from_dict, {k: v for k, v in GOOD.items() if k != key})


BAD_FILES = [
    ("a.toml", TOML.replace("bits = 1", "bits = 2"), "levels has 2 entries.*4"),
    ("a.toml", TOML.replace("0.5", "nan"), r"deviation\[0\] is nan"),
    ("a.toml", TOML.replace("unit", "units"), "unknown device key 'units'.*unit"),
    ("a.toml", TOML.replace("relative = false", ""), "no relative"),
    ("a.toml", TOML.replace("]", ""), "cannot be read"),
    ("a.csv", CSV.replace("# name", "# nmae"), "unknown device key 'nmae'"),
    ("a.csv", "# bits: 2\n" + CSV, "levels has 2 entries.*4"),
    ("a.csv", CSV + "2, 11, 1\n", "table has 3 rows"),
    ("a.csv", CSV.split("0, 2")[0], "table has 0 rows"),
    ("a.csv", CSV.replace("1, 10.0, 1", "2, 10.0, 1"), "row 2,10.0,1"),
    ("a.csv", CSV.replace("1, 10.0, 1", "1, 10.0"), "row 1,10.0"),
    ("a.csv", CSV.replace("0.5", "-0.5"), r"deviation\[0\] is -0.5"),
    ("a.csv", CSV.replace("0.5", "inf"), r"deviation\[0\] is inf"),
    ("a.csv", CSV.replace("0.5", ""), r"deviation\[0\] is ''"),
    ("a.csv", CSV.replace("10.0", "1"), "ascending"),
    ("a.csv", CSV.replace(", deviation", ", sigma"), "header row is level,conductance,sigma"),
    ("a.csv", "", "header row is missing"),
    ("a.csv", "# relative: maybe\n" + CSV, "relative is 'maybe'"),
    ("a.csv", CSV.replace("mine", "rram"), "'rram' is a built-in device's"),
    ("a.json", "{}", "ends in '.json'"),
]


@pytest.mark.parametrize(("file", "text", "message"), BAD_FILES)
def test_a_bad_file_is_refused_by_name(tmp_path, file, text, message):
    path = write(tmp_path, file, text)
    check_refused(message, devices.load, path)
    check_refused(file, devices.load, path)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe\x00")
    check_refused("cannot be read", devices.load, tmp_path / "a.toml")


def test_a_missing_file_and_unknown_names_are_refused(tmp_path):
    check_refused("is missing", devices.get, tmp_path / "none.toml")
    check_refused("is missing", devices.get, "none.csv")
    check_refused("unknown device 'rramm'.*did you mean 'rram'.*pcm", devices.get, "rramm")
    check_refused("unknown device None", devices.get, None)
    check_refused("ends in '.txt'", devices.save, "rram", tmp_path / "a.txt")
    check_refused("bits is 0", devices.tabulate, "x", devices.milo_deviation, 1, 2, bits=0)


@pytest.mark.parametrize("sigma_d", [-0.1, math.nan, math.inf, "0.1", True])
@pytest.mark.parametrize("name", ["rram", "pcm"])
def test_spread_refuses_a_bad_sigma_d(name, sigma_d):
    check_refused("sigma_d is", devices.get(name).spread, sigma_d)


def test_spread_refuses_no_sigma_d_and_unknown_references():
    check_refused("sigma_d is None for device 'rram'", devices.get("rram").spread)
    check_refused("unknown reference 'fullscale'.*full_scale", devices.get("pcm").spread, 1.0, "fullscale")


def test_importing_devices_loads_no_torch():
    code = "import sys, nvlib.devices; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_paths_and_formulas_that_cannot_be_used(tmp_path):
    for ask, said in (
        (lambda: devices.load(3), "path=3"),
        (lambda: devices.save("rram", tmp_path / "nowhere" / "x.toml"), "cannot be written: No such file"),
        (lambda: devices.tabulate("x", lambda g: None, 0, 1), r"deviation\[0\] is None"),
        (lambda: devices.tabulate("x", lambda g: 1, "low", 1), "g_min='low'"),
    ):
        with pytest.raises(InputError, match=said):
            ask()
