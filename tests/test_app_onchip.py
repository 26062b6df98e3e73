"""Deploy's tables that ship, on the page: SWIM's curve where the sidebar asks for it, TSB's time and limits."""

from pathlib import Path

import pytest
from appkit import charts, opened, sound

pytest_plugins = ["app_fixtures"]
ROOT = Path(__file__).parents[1]
TSB = "TSB: time and limits"


@pytest.fixture
def real(app, monkeypatch):
    """The app on the results that ship."""
    monkeypatch.setenv("NVLIB_RESULTS", str(ROOT / "results"))
    return app


def test_time_and_limits_of_the_block(real):
    at = opened(real, "deploy")
    at = sound(at.button_group(key="deploy").set_value(TSB).run())
    assert len(charts(at)) == 3
    cost = at.dataframe[0].value
    assert set(cost["stage"]) == {"backbone", "tsb"} and cost["epoch"].max() == 20
    notes = " ".join(c.value for c in at.caption)
    assert "20 chips, one training of 20 epochs" in notes and "nvlib.papers.analyses tsb-causes`, commit" in notes
    assert "(images run forward and backward)" in charts(at)[0].proto.spec
    at = sound(at.button_group(key="axis").set_value("seconds").run())
    assert "(seconds)" in charts(at)[0].proto.spec


def test_time_and_limits_without_tables_say_what_makes_them(app):
    at = opened(app, "deploy")
    at = sound(at.button_group(key="deploy").set_value(TSB).run())
    assert not charts(at) and at.code[0].value == "python -m nvlib.papers.analyses"


@pytest.mark.parametrize(("mapping", "shown"), [("signed", 1), ("differential", 0)])
def test_a_sweep_that_ships_is_there_at_once(real, mapping, shown):
    real.query_params.update(network="lenet3", sigma_d="0.2", mapping=mapping, deploy="Which weights to verify")
    at = opened(real, "deploy")
    assert len(charts(at)) == shown
    if shown:
        table = at.dataframe[0].value
        assert set(table["sigma_d"]) == {0.2} and table["chip"].nunique() == 20
