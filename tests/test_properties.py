"""What holds for whatever one hands in: records, device files, studies, statistics. The same cases each run."""

import json
import math
import tempfile
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nvlib import Crossbar, InputError, Study, devices, statistics
from nvlib.devices import Device
from nvlib.records import Analysis, canonical, digest

few = settings(
    derandomize=True, deadline=None, max_examples=60, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
finite = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 6))
plain = st.one_of(st.none(), st.booleans(), st.integers(-(10**6), 10**6), finite, st.text(max_size=8))
nested = st.recursive(plain, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)
parameters = st.dictionaries(st.text("abcdefgh_", min_size=1, max_size=8), nested, max_size=5)
accuracies = st.lists(st.floats(0, 100, allow_nan=False), min_size=2, max_size=600)


# -- records ---------------------------------------------------------------------------------------------------------


@few
@given(parameters)
def test_a_record_is_named_by_its_content_alone(held):
    """Not by the order of its keys, nor by whether it was written and read."""
    one = Analysis("theory", ("a",), held)
    assert digest(one) == digest(replace(one, parameters=dict(reversed(held.items()))))
    assert digest(replace(one, parameters=json.loads(canonical(one))["parameters"])) == digest(one)


@few
@given(parameters, parameters)
def test_records_of_other_content_have_other_names(a, b):
    one, other = (Analysis("theory", ("a",), held) for held in (a, b))
    assert (digest(one) == digest(other)) == (canonical(one) == canonical(other))


# -- device files ----------------------------------------------------------------------------------------------------


@st.composite
def cells(draw):
    bits = draw(st.integers(1, 3))
    steps = draw(st.lists(st.floats(0.01, 50), min_size=2**bits, max_size=2**bits))
    deviation = draw(st.lists(st.floats(0, 10), min_size=2**bits, max_size=2**bits))
    levels = [float(f"{x:.9g}") for x in np.cumsum(steps)]
    relative = draw(st.booleans())
    return Device(
        draw(st.text("abcxyz0189 _-", min_size=1, max_size=12).filter(str.strip)), bits, tuple(levels),
        tuple(float(f"{x:.9g}") for x in deviation), draw(st.sampled_from(["uS", "nS", "level"])), relative,
    )  # fmt: skip


@few
@given(cells(), st.sampled_from(["toml", "csv"]))
def test_a_device_file_is_read_back_equal(device, kind):
    with tempfile.TemporaryDirectory() as folder:
        assert devices.load(devices.save(device, Path(folder) / f"cell.{kind}")) == device


@few
@given(cells(), st.floats(0, 0.5), st.floats(0.1, 3))
def test_spread_grows_with_sigma_d_and_values_span_the_scale(device, sigma_d, more):
    top = 2**device.bits - 1
    assert device.values[0] == 0 and device.values[-1] == pytest.approx(top)
    assert np.all(np.diff(device.values) > 0)
    once, scaled = (np.array(device.spread(s, "level")) for s in (sigma_d, more * sigma_d))
    assert np.allclose(scaled, more * once)
    factor = top if device.relative else 1
    assert np.allclose(device.spread(sigma_d, "full_scale"), factor * once)


@pytest.mark.filterwarnings("ignore:sigma_d=")
@few
@given(st.one_of(st.floats(), st.text(max_size=5), st.lists(st.floats(), max_size=3), st.none()))
def test_a_crossbar_takes_a_size_or_says_in_one_line_why_not(sigma_d):
    try:
        held = Crossbar("rram", sigma_d)
    except InputError as error:
        assert "\n" not in str(error) and "sigma_d" in str(error)
    else:
        assert held.sigma_d >= 0 and np.isfinite(held.sigma_d)


# -- studies ---------------------------------------------------------------------------------------------------------


@few
@given(
    st.lists(st.sampled_from(["none", "gaussian", "rc", "ovf"]), min_size=1, max_size=3, unique=True),
    st.lists(st.floats(0, 0.5).map(lambda x: round(x, 3)), min_size=1, max_size=3, unique=True),
    st.lists(st.integers(0, 50), min_size=1, max_size=3, unique=True),
    st.integers(1, 30), st.integers(1, 5000), st.sampled_from(["differential", "signed"]),
)  # fmt: skip
def test_a_study_is_read_back_equal_whatever_its_axes(methods, sigma_d, seeds, epochs, chips, mapping):
    study = Study("lenet3", methods=tuple(methods), sigma_d=tuple(sigma_d), seeds=tuple(seeds), epochs=epochs,
                  chips=chips, mapping=mapping)  # fmt: skip
    assert Study.of(json.loads(json.dumps(study.record()))) == study


@few
@given(st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=10))
def test_an_unknown_key_of_a_study_is_refused_in_one_line(key):
    if key not in {field.name for field in fields(Study)}:
        with pytest.raises(InputError) as refused:
            Study.of({"network": "lenet3", key: 1})
        assert key in str(refused.value) and "\n" not in str(refused.value)


# -- statistics ------------------------------------------------------------------------------------------------------


@few
@given(accuracies, st.floats(0.5, 99))
def test_kpp_is_one_of_the_chips_and_within_its_limits(x, k):
    found = statistics.kpp(x, k)
    assert found.value == sorted(x)[math.floor(Fraction(str(k)) * len(x) / 100)]
    assert found.low is None or found.low <= found.value
    assert found.high is None or found.value <= found.high


@few
@given(accuracies, st.floats(0.1, 10), st.floats(-50, 50), st.randoms(use_true_random=False))
def test_statistics_move_with_the_scale_and_not_with_the_order(x, factor, shift, random):
    moved = [factor * value + shift for value in x]
    random.shuffle(moved)
    for of in (statistics.mean, statistics.kpp):
        a, b = of(x), of(moved)
        for limit in ("value", "low", "high"):
            one, other = getattr(a, limit), getattr(b, limit)
            assert (one is None) == (other is None)
            assert one is None or other == pytest.approx(factor * one + shift, abs=1e-6, rel=1e-9)


@few
@given(accuracies, st.floats(-20, 20))
def test_a_shift_of_every_chip_is_found_exactly(x, shift):
    other = [value + shift for value in x]
    assert statistics.paired(other, x).value == pytest.approx(shift, abs=1e-9)
    assert statistics.kpp_difference(other, x, k=1).value == pytest.approx(shift, abs=1e-9)


@few
@given(st.integers(1, 400))
def test_few_chips_give_no_interval_of_the_first_percentile(n):
    found = statistics.kpp(np.linspace(80, 90, n), 1)
    assert (found.low is None) == (n < 368)
