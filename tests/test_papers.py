"""The papers' artefacts: each has its record, printed numbers a source, verdicts rules, presets studies."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nvlib import InputError, papers
from nvlib.papers import nft, presets, printed_numbers, registry, rules
from nvlib.statistics import Estimate

IDS = {
    "trice-fig2", "trice-fig3", "trice-fig4", "trice-table1", "trice-fig5a", "trice-fig5b", "trice-fig6a",
    "trice-fig6b", "trice-fig7", "trice-fig8", "trice-eq6", "trice-n", "trice-text", "trice-3c",
    "nft-fig3", "nft-fig4", "nft-convergence", "nft-table1", "nft-reverse-gamma", "nft-reverse-sigma",
    "nft-classifier-noise", "nft-table2", "nft-n", "ovf-fig3", "ovf-fig4", "ovf-convergence",
    "tsb-fig3", "tsb-fig4", "tsb-table1", "tsb-table2", "tsb-depth", "tsb-layers", "tsb-init", "tsb-share", "tsb-text",
}  # fmt: skip


# -- what the papers print -------------------------------------------------------------------------------------------


def test_printed_numbers_are_tidy_and_sourced():
    table = printed_numbers.everything()
    assert tuple(table.columns) == printed_numbers.COLUMNS
    assert table[["artefact", "metric", "value", "unit", "source"]].notna().all(axis=None)
    assert set(table.artefact) <= IDS
    papers = {"trice": "ICCAD 2023", "nft": "2305.14561", "ovf": "Sustainable", "tsb": "2406.06544"}
    for artefact, source in zip(table.artefact, table.source, strict=True):
        paper = artefact.partition("-")[0]
        assert papers[paper] in source or (artefact == "nft-n" and papers["ovf"] in source)
    key = ["artefact", "network", "dataset", "device", "method", "sigma_d", "metric", "parameter", "x", "source"]
    assert not table.duplicated(key).any()  # one number a place


@pytest.mark.parametrize(
    ("artefact", "count"),
    [("trice-table1", 45), ("trice-text", 6), ("trice-fig7", 12), ("nft-fig3", 12), ("ovf-fig3", 6), ("nft-table1", 9),
     ("nft-table2", 11), ("nft-convergence", 3), ("nft-reverse-gamma", 4), ("tsb-table2", 12), ("tsb-depth", 6),
     ("tsb-layers", 4), ("tsb-share", 3)],
)  # fmt: skip
def test_how_many_numbers_an_artefact_prints(artefact, count):
    assert len(papers.published(artefact)) == count


@pytest.mark.parametrize(
    ("artefact", "where", "value"),
    [
        ("trice-table1", {"method": "correctnet", "sigma_d": 0.15}, 67.70),
        ("trice-fig5b", {"method": "trice"}, 26.01),
        ("trice-fig8", {"method": "rc"}, 8.76),
        ("nft-fig3", {"method": "irs", "network": "resnet18", "dataset": "cifar100"}, 20.10),
        ("nft-table1", {"method": "irs", "x": 5}, 66.44),
        ("nft-table2", {"method": "ovf", "x": 100}, 57.15),
        ("nft-convergence", {"method": "irs"}, 2),
        ("tsb-table2", {"metric": "epoch_time", "x": 16}, 1.43),
        ("tsb-depth", {"x": 3}, 91.91),
    ],
)
def test_some_printed_numbers(artefact, where, value):
    assert printed_numbers.number(artefact, **where) == value


def test_where_a_table_puts_its_largest_difference_is_the_papers_choice():
    assert printed_numbers.largest_difference("trice-table1", "trice", "gaussian", [0.1, 0.2, 0.3]) == (0.3, 15.42)
    assert printed_numbers.largest_difference("trice-table1", "trice", "none", list(presets.SIGMAS)) == (0.2, 58.01)
    assert printed_numbers.largest_difference("trice-table1", "correctnet", "none", [0.15]) == (0.15, 29.55)
    assert printed_numbers.largest_difference("trice-table1", "trice", "none", [0.12]) is None


# -- artefacts, claims, rules ----------------------------------------------------------------------------------------


def test_every_artefact_of_the_papers_is_here():
    assert set(papers.ARTEFACTS) == IDS
    with pytest.raises(InputError, match="trice-fig2"):
        papers.artefact("trice-fig22")


@pytest.mark.parametrize("artefact", papers.ARTEFACTS.values(), ids=lambda a: a.name)
def test_an_artefact_says_what_it_claims(artefact):
    assert artefact.claims and artefact.what
    for claim in artefact.claims:
        assert claim.rule in papers.RULES
        assert claim.measure is not None or artefact.lacking
        if claim.printed is None and not claim.control:
            assert claim.rule in ("sign", "equal"), "a size needs a printed number"
    for setting in artefact.settings:
        assert {"mapping", "reference", "network"} <= set(setting.where)


def test_notebooks_and_artefacts_name_each_other():
    made = {a for notebook in papers.NOTEBOOKS.values() for a in notebook.artefacts}
    for artefact in papers.ARTEFACTS.values():
        if artefact.notebook in papers.NOTEBOOKS:
            assert artefact.name in made
            assert artefact.name in papers.NOTEBOOKS[artefact.notebook].artefacts


@pytest.mark.parametrize(
    ("rule", "limits", "paper", "verdict"),
    [
        ("gain", (2, 20), 15, "holds"),
        ("gain", (2, 10), 15, "holds in direction"),
        ("gain", (-1, 4), 15, "does not hold"),
        ("gain", (-9, -4), 15, "does not hold"),
        ("gain", (-1, 20), 15, "undecided"),
        ("gain", (1, 4), None, "holds"),
        ("ratio", (2, 30), 20, "holds"),
        ("ratio", (2, 4), 20, "holds in direction"),
        ("ratio", (0.5, 0.9), 20, "does not hold"),
        ("ratio", (0.5, 4), 20, "does not hold"),
        ("ratio", (0.5, 30), 20, "undecided"),
        ("ratio", (0.5, 0.9), None, "does not hold"),
        ("sign", (1, 4), None, "holds"),
        ("sign", (-1, 4), None, "undecided"),
        ("sign", (-4, -1), None, "does not hold"),
        ("bound", (0.1, 0.9), 1.0, "holds"),
        ("bound", (0.1, 1.5), 1.0, "holds in direction"),
        ("bound", (1.1, 1.5), 1.0, "does not hold"),
        ("equal", (4, 6), 5, "holds"),
        ("equal", (0.4634, 0.4634), 0.47, "holds in direction"),
        ("equal", (0.1263, 0.1263), 0.13, "holds"),
        ("equal", (0.27, 0.28), 0.0188, "does not hold"),
        ("gain", (None, None), 15, "undecided"),
    ],
)
def test_rules(rule, limits, paper, verdict):
    value = 0.0 if None in limits else sum(limits) / 2
    assert papers.judge(rule, Estimate(value, *limits, 3), paper) == verdict


def test_a_substitute_decides_nothing_but_a_direction():
    good, bad = Estimate(10, 5, 20, 3), Estimate(-10, -20, -5, 3)
    assert papers.judge("gain", good, 15.0, "LeNet") == rules.DIRECTION
    assert papers.judge("gain", bad, 15.0, "LeNet") == rules.UNDECIDED
    assert papers.judge("gain", None, 15.0) == rules.MISSING
    with pytest.raises(InputError, match="gain"):
        papers.judge("gane", good)


# -- presets and the choice of what to run ---------------------------------------------------------------------------

STUDIED = [a for a in IDS if registry.has_studies(a)]


@pytest.mark.parametrize("artefact", sorted(STUDIED))
def test_every_preset_is_a_study_that_could_run(artefact):
    for preset in papers.PRESETS:
        made = registry.entries(artefact, preset)
        assert made
        for entry in (made[0], made[-1]):  # the last differs in method or parameters alone, or in the network
            recipe = {} if isinstance(entry.get("recipe"), str) else entry.get("recipe", {})
            study = presets.as_study({**entry, "recipe": recipe})
            assert study.sigma_d and study.chips >= 1
    smoke = registry.entries(artefact, "smoke")
    assert all(entry["images"] <= 200 and entry["epochs"] == 1 for entry in smoke)


def test_the_papers_protocol_is_to_the_letter():
    table1 = registry.entries("trice-table1", "paper")
    assert [(e["epochs"], e["chips"], len(e["seeds"])) for e in table1] == [(100, 10_000, 5), (100, 1000, 5),
                                                                            (100, 1000, 3)]  # fmt: skip
    assert sorted(s for e in table1 for s in e["sigma_d"]) == list(presets.SIGMAS)
    assert table1[0]["parameters"]["trice"] == {}  # the method's own defaults
    (lenet3, *_) = registry.entries("tsb-fig3", "paper")
    assert len(lenet3["seeds"]) * lenet3["chips"] == 200 and lenet3["patience"] == 20
    runs = registry.entries("nft-convergence", "paper")[0]
    assert (runs["network"], runs["dataset"], runs["sigma_d"], len(runs["seeds"])) == ("vgg8", "mnist", (0.35,), 10)
    assert len(registry.entries("nft-fig3", "paper")) == 6
    ablation = [entry["parameters"] for entry in registry.entries("nft-table1", "paper")]
    feedbacks = [parameters["ovf"]["n"] for parameters in ablation if "ovf" in parameters]
    assert feedbacks == [1, 2, 3, 4]


def test_what_quick_asks_for_of_table1_is_what_ships():
    assert registry.entries("trice-table1", "quick") == registry.entries("trice-table1", "full")


def test_choosing_some_of_a_notebook():
    ((book, preset),) = papers.choose(["trice-table1", "trice-fig4"], "quick")
    assert (book.name, preset) == ("03_trice", "quick")
    assert book.artefacts == ("trice-fig4", "trice-table1") and book.studied == book.artefacts  # as the paper has them
    whole = papers.NOTEBOOKS["03_trice"]
    assert book.seconds["quick"] < whole.seconds["quick"]
    ((both, _),) = papers.choose(["trice-fig4", "03_trice"], "quick")
    assert both == whole
    costs = [notebook.seconds["quick"] for notebook, _ in papers.choose((), "quick")]
    assert costs == sorted(costs)
    assert papers.NOTEBOOKS["00_tour"].studied == ("00_tour",)


@pytest.mark.parametrize(
    ("names", "parameters"),
    [
        (["03_trice"], {"preset": "quick"}),
        (["trice-n"], {"preset": "quick", "artefacts": ["trice-n"]}),  # made of no study: nothing else is run for it
        (["nft-table1", "nft-n"], {"preset": "quick", "artefacts": ["nft-table1", "nft-n"]}),
        (["trice-fig3"], {"preset": "quick"}),  # 01_devices has nothing to choose from
        (["tour"], {"preset": "quick"}),
    ],
)
def test_what_a_notebook_is_told(names, parameters):
    from nvlib.papers.execution import _parameters

    ((notebook, preset),) = papers.choose(names, "quick")
    assert _parameters(notebook, preset) == parameters


def test_protocols_show_what_was_shrunk():
    table = papers.protocols(["trice-table1", "nft-convergence"], "smoke")
    assert table.loc["trice-table1", "epochs"] == "1 (100)" and "differential" in table.loc["trice-table1", "protocol"]
    assert table.loc["nft-convergence", "protocol"] == "matched, full_scale, signed"
    same = papers.protocols(["trice-table1"], "paper")
    assert not same.map(lambda text: "(" in text).any(axis=None)


def test_a_data_set_that_is_not_here_is_left_out_and_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("NVLIB_DATA", str(tmp_path))
    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path / "runs"))
    fig3 = replace(papers.artefact("nft-fig3"), studies=lambda preset: nft.curves(("none",), "full")[1:2])
    monkeypatch.setitem(papers.ARTEFACTS, "nft-fig3", fig3)
    table = papers.compute("nft-fig3", "full")
    assert table.empty
    assert re.search(r"nft-fig3: left out, cifar10 .*--download", capsys.readouterr().out)


# -- statistics of their own -----------------------------------------------------------------------------------------


def test_runs_that_do_not_converge_as_the_footnote_counts_them():
    from nvlib.papers.measures import not_converging

    assert not_converging([90, 90, 90, 84]) == 0  # 88.5 is the mean: 84 lies 4.5 below
    assert not_converging([90, 90, 90, 80]) == 1
    assert not_converging([50] * 10) == 0


def test_difference_of_shares_is_newcombes():
    """Newcombe 1998, table II, method 10: 56/70 - 48/80 has [0.0524, 0.3339]; here n is common, so 6/10 - 0/10."""
    from nvlib.papers.measures import share_difference

    e = share_difference(6, 0, 10)
    # Wilson: 6/10 gives [0.3127, 0.8318], 0/10 gives [0, 0.2775]
    assert e.value == pytest.approx(60)
    assert e.low == pytest.approx(60 - 100 * np.hypot(0.6 - 0.3127, 0.2775), abs=0.02)
    assert e.high == pytest.approx(60 + 100 * np.hypot(0.8318 - 0.6, 0.0), abs=0.02)
    assert share_difference(3, 3, 10).value == 0
    swapped = share_difference(0, 6, 10)
    assert (swapped.low, swapped.high) == pytest.approx((-e.high, -e.low))


def test_widths_shrink_as_the_root_of_the_chips():
    rng = np.random.default_rng(0)
    table = papers.widths(pd.Series(90 + rng.normal(size=10_000)), chips=(100, 400, 1600, 6400))
    assert table.chips.tolist() == [400, 1600, 6400]  # 100 chips give no interval
    ratio = table.half_width.iloc[0] / table.half_width.iloc[2]
    assert 3 < ratio < 5.5  # 4, but for the order statistics' jumps
