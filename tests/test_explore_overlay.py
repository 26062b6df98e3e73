"""Settings laid over each other: told apart by what differs, on the same chips; of the results that ship."""

from dataclasses import replace
from pathlib import Path

import pytest

from nvlib import InputError, explore, figures, results, summary
from nvlib.catalogue import MARKS, plain
from nvlib.explore import code_text, select
from nvlib.store import Store

ROOT = Path(__file__).parents[1]
STORE = Store(runs=ROOT / "no runs", shipped=ROOT / "results")
TABLE = results(STORE)


def shown(**more):
    query = explore.Query(**more)
    return replace(query, setting=select.settings(TABLE, query)[0])


def test_ranges_are_laid_over_the_largest_weight():
    query = shown(method=("gaussian", "none"))
    known = explore.beside(TABLE, query, STORE)
    assert {"Gauss, range deviations:2", "Gauss, range max/channel", "w/o noise, range deviations:3"} <= set(known)
    df = explore.laid(TABLE, query, ["Gauss, range deviations:2"], STORE, sigma_d=0.2)
    one, two, none = "gaussian ① range max", "gaussian ② range deviations:2", "none"
    assert list(summary.results_table(df)["method"]) == [none, one, two]
    plainly = summary.results_table(explore.laid(TABLE, query, [], STORE, sigma_d=0.2)).set_index("method")
    both = summary.results_table(df).set_index("method")
    assert both.loc[one, "kpp"] == plainly.loc["gaussian", "kpp"] and both.loc[two, "kpp"] > both.loc[one, "kpp"]
    gaps = summary.differences(df, one).set_index("method")
    assert gaps.loc[two, "seeds"] == 1 and gaps.loc[two, "chips"] == 400  # the same chips of the same training
    for fig in (figures.accuracy_distribution(df), figures.percentile_curves(df), figures.mean_curves(df),
                figures.ecdf(df), figures.difference_curves(df, one), figures.ranking(df)):  # fmt: skip
        assert "the legend says what differs" in fig.layout.title.subtitle.text
    names = [t.name for t in figures.percentile_curves(df).data if t.name]
    assert names == ["w/o noise", "Gauss ① range max", "Gauss ② range deviations:2"]


def test_parameters_and_epochs_are_told_apart():
    query = shown(method=("rc_manual",), sigma_d=0.25)
    grid = explore.beside(TABLE, query, STORE)
    assert len(grid) == 15 and "RC-Manual, ratio 1, th 3" in grid  # a grid of 16, of which one is shown
    small = shown(network="vgg8 x0.0625", mapping="signed", sigma_d=0.1, method=("ovf",))
    known = explore.beside(TABLE, small, STORE)
    assert any("n 1" in label for label in known) and any("2 epochs" in label for label in known)
    label = next(label for label in known if "n 1" in label)
    df = explore.laid(TABLE, small, [label], STORE, sigma_d=0.1)
    assert {plain(m)[1] for m in df["method"].unique()} == {"① n 3", "② n 1"}
    with pytest.raises(InputError, match="lay beside"):
        explore.laid(TABLE, small, ["OVF, n 9"], STORE)
    with pytest.raises(InputError, match=f"at most {len(MARKS) - 1}"):
        explore.laid(TABLE, query, list(grid), STORE)


def test_unnamed_mixtures_are_refused_as_before():
    query = shown(method=("gaussian",))
    df = explore.laid(TABLE, query, ["Gauss, range deviations:2"], STORE, sigma_d=0.2)
    with pytest.raises(InputError, match="mixes range"):
        summary.results_table(df.assign(method="gaussian"))
    with pytest.raises(InputError, match="mixes range"):
        summary.results_table(df.assign(method="gaussian ② range deviations:2"))


def test_every_setting_of_a_method_looks_otherwise():
    looks = [figures.style(f"trice {mark} x") for mark in MARKS]
    assert len({(look.colour, look.dash, look.marker) for look in looks}) == len(MARKS)
    assert looks[0].colour == figures.style("trice").colour and looks[1].label == "TRICE ② x"


def test_the_code_that_is_shown_gives_the_rows(monkeypatch):
    monkeypatch.setenv("NVLIB_RUNS", str(STORE.runs))
    query, chosen = shown(method=("gaussian",)), ["Gauss, range deviations:2"]
    df = explore.laid(TABLE, query, chosen, STORE, sigma_d=0.2)
    space = {}
    exec(code_text.code(df, query, "n = len(df)", chosen), space)
    assert space["n"] == len(df)
    one = df[df["method"] == "gaussian ② range deviations:2"]
    exec(code_text.code(one, query, "n = len(df)", chosen), space)
    assert space["n"] == len(one)
