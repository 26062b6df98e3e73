"""Chips deployed one by one: distances and parameters of a block on a made-up store, tables of what ships."""

import json
import math
import time
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from synthetic import analysed

from nvlib import InputError, clock, figures, papers, statistics, summary
from nvlib.papers import deployment_analysis_runs, presets, registry
from nvlib.papers.deployment_analyses import ANALYSES, FEW, SIZES, TABLES, VARIANTS, made_by, provenance, trained
from nvlib.papers.deployment_measures import (
    distance_cut,
    epochs_to_converge,
    inverted,
    settled,
    speedup,
    value_of,
    varied,
    whole_share,
)
from nvlib.papers.tsb import LENET3, VGG8
from nvlib.records import Evaluation, Training, digest
from nvlib.store import Store, describe
from nvlib.studies.plan import Desk

STUDIED = ("tsb-fig3", "tsb-table2", "tsb-depth", "tsb-layers", "tsb-init")


def ship(target, samples):
    """Write a shipped table of (network, width, method, sigma_d, deployment, changed, before, accuracy)."""
    records, parts = {}, []
    for network, width, method, sigma_d, deployment, changed, before, accuracy in samples:
        training = Training(
            network=network, width=width, dataset="mnist", fingerprint="f", images=55_000, method=method,
            parameters={}, device=None if method == "none" else {"name": "rram"}, sigma_d=sigma_d,
            reference="full_scale", mapping="signed", bits=8, activation_bits=0, epochs=10, recipe={}, seed=0,
        )  # fmt: skip
        evaluation = Evaluation(
            training=digest(training), device={"name": "rram"}, sigma_d=sigma_d, reference="full_scale",
            mapping="signed", bits=8, images=10_000, deployment=deployment and {"name": deployment, **changed}, seed=0,
        )  # fmt: skip
        records[digest(training)] = {"record": vars(training)}
        said = describe(digest(evaluation), vars(training), vars(evaluation))
        scores = {"chip": np.arange(len(accuracy)), "accuracy": accuracy, "loss": 1.0, "ekl": 0.1}
        costs = {"before": before, "cells": 100, "verified": 4, "pulses": 100, "passes": 640, "seconds": 1.0}
        more = costs | {"deployment_parameters": json.dumps(changed, sort_keys=True)} if deployment else {}
        parts.append(pd.DataFrame({**said, **scores, **more}))
    home = target / "made-up"
    home.mkdir(parents=True)
    (home / "records.json").write_text(json.dumps(records))
    pd.concat(parts, ignore_index=True).assign(origin="shipped").to_parquet(home / "samples.parquet")
    return papers.Evidence(Store(target / "no runs", target))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Ideal 98; at 0.2 Gauss 88 and TSB 93 on average (twice), at 0.4 cut four times; blocks of VGG-8 x0.125 beside."""
    rng = np.random.default_rng(0)
    luck = rng.standard_normal(20)
    before, low = 88 + luck, 78 + luck
    rows = [
        ("lenet3", 1.0, "none", 0.0, None, {}, None, np.full(3, 98.0)),
        ("lenet3", 1.0, "gaussian", 0.2, "tsb", {"lr": 0.01}, before, 93 + 0.5 * luck),
        ("lenet3", 1.0, "gaussian", 0.2, "tsb", {"lr": 0.01, "channels": 10}, before, 97 + 0 * luck),
        ("lenet3", 1.0, "gaussian", 0.2, "last_layer", {}, before, before + 1),
        ("lenet3", 1.0, "gaussian", 0.4, "tsb", {"lr": 0.01}, low, 93 + 0.25 * luck),
    ]
    four, base = rng.standard_normal(4), {"epochs": 2}
    for changed, gain in (({}, 5), ({"channels": 64}, 4), ({"layers": 4}, 6), ({"insertions": 1}, 5), ({"lr": 1.0}, 0)):
        noise = 0.1 * rng.standard_normal(4)
        rows.append(("vgg8_tsb", 0.125, "gaussian", 0.1, "tsb", base | changed, 89 + four, 89 + four + gain + noise))
    return ship(tmp_path_factory.mktemp("shipped"), rows)


def test_deployed_chips_are_read_apart_from_the_others(results):
    assert set(results.table.deployment) == {""} and set(results.deployed.deployment) == {"tsb", "last_layer"}
    assert {"parameters", "train_images", "start"} <= set(results.deployed)


def test_the_distance_is_cut_where_it_is_cut_most(results):
    found = distance_cut("tsb")(results, LENET3)
    rows = results.deployed
    at = rows[(rows.sigma_d == 0.4) & (rows.network == "lenet3")]
    a, b = 98 - at.accuracy.to_numpy(), 98 - at.before.to_numpy()
    assert found.estimate.value == pytest.approx(b.mean() / a.mean()) and found.at == "sigma_d = 0.4"
    half = statistics.mean(a - a.mean() / b.mean() * b, 1 - 0.05 / 2)  # two sigma_d: Bonferroni
    assert found.estimate.high == pytest.approx(1 / (a.mean() / b.mean() + (half.low - half.value) / b.mean()))
    assert found.estimate.low < found.estimate.value and "the largest of 2" in found.estimate.note
    assert found.substitute == "" and "640 images a chip" in found.protocol
    assert distance_cut("swim")(results, LENET3) is None and distance_cut("tsb")(results, VGG8) is None


def test_a_ratio_whose_interval_holds_zero_has_no_upper_limit():
    assert inverted(0.5, 0.25, 1.0) == (2.0, 1.0, 4.0)
    assert inverted(0.1, -0.1, 0.3)[2] == math.inf and inverted(0.5, None, None) == (2.0, None, None)


def test_one_parameter_against_another_with_all_else_equal(results):
    found = varied("channels", 128, 512)(results, VGG8)  # 16 and 64 at an eighth of the width
    rows = results.deployed[results.deployed.network == "vgg8_tsb x0.125"]
    by = {tuple(sorted(json.loads(p).items())): part.accuracy.to_numpy()
          for p, part in rows.groupby("deployment_parameters", observed=True)}  # fmt: skip
    gaps = by[("epochs", 2),] - by[("channels", 64), ("epochs", 2)]
    wanted = statistics.mean(gaps)
    assert (found.estimate.value, found.estimate.low) == (pytest.approx(wanted.value), pytest.approx(wanted.low))
    assert "channels 16 against 64" in found.at and "eighth" in found.substitute
    below = varied("layers", 1, 4)(results, VGG8)
    assert below.estimate.high < 0
    assert varied("init", "identity", "ordinary")(results, VGG8) is None
    assert varied("channels", 128, 512)(results, LENET3) is None  # 5 and 10, not these


@pytest.mark.parametrize(
    ("of", "changed", "network", "value"),
    [
        ("channels", {}, "vgg8_tsb x0.125", 16), ("channels", {"channels": 3}, "lenet3", 3),
        ("channels", {}, "lenet3", 5), ("insertions", {}, "lenet3", 2), ("insertions", {}, "vgg8_tsb", 6),
        ("layers", {}, "resnet18", 1), ("init", {}, "lenet3", "identity"),
        ("init", {"init": "ordinary"}, "lenet3", "ordinary"),
    ],
)  # fmt: skip
def test_what_a_parameter_is_where_nothing_is_said(of, changed, network, value):
    assert value_of(of, changed, network) == value


def test_tables_of_a_notebook_show_paper_and_ours(results):
    wide = papers.ablated("channels", "tsb-table2", results)
    assert set(wide.channels) == {16, 64} and len(wide) == 12  # another lr is no other channel
    table = papers.ablation(wide, "channels", "tsb-table2").set_index("channels")
    assert table.loc[64, "whole"] == 512 and table.loc[64, "paper"] == 91.55 and table.loc[16, "paper"] == 92.12
    assert papers.ablated("init", "tsb-init", results).empty
    chips = papers.repaired("tsb-fig3", results)
    assert set(chips.deployment) == {"", "tsb", "last_layer"}
    distances = summary.distance_table(chips).set_index(["sigma_d", "deployment"])
    assert distances.loc[(0.2, "tsb"), "distance"] == pytest.approx(98 - 93, abs=0.2)  # without the ten channels
    over = papers.ahead(chips)
    assert over.over.tolist() == ["last_layer"] and over.difference.item() == pytest.approx(4, abs=0.3)


# -- time ------------------------------------------------------------------------------------------------------------


def shipped_tables(target):
    """A cost table whose 15 % stop ends 0.5 points below the full training, the 30 % stop above; learning by hand."""
    rows = [("backbone", e / 10, e, 80 + e, 100 * e, 10.0 * e) for e in range(1, 11)]
    for stop, start, end in ((0.15, 2, 89.5), (0.3, 3, 91.0), (1.0, 10, 92.0)):
        accuracies = (80 + start, end - 1, end)
        rows += [("tsb", stop, e, a, 100 * start + 25 * e, 10.0 * start + 5 * e) for e, a in enumerate(accuracies)]
    cost = pd.DataFrame(rows, columns=["stage", "stop", "epoch", "accuracy", "passes", "seconds"])
    cost = cost.assign(share_passes=cost.passes / 1000, share_seconds=cost.seconds / 100)
    curve = [80.0, 85.0, 89.0, 89.8, 90.0, 90.0]
    learning = pd.DataFrame([
        {"chip": c, "epoch": e, "accuracy": a + c, "loss": 0.1, "passes": 9984 * e, "seconds": 1.0 * e}
        for c in range(3) for e, a in enumerate(curve)
    ])  # fmt: skip
    for name, table in (("cost", cost), ("learning", learning)):
        size = {"size": asdict(SIZES["full"][name])}
        analysed(target, TABLES[name], ANALYSES[name], {name: table}, size)
    return papers.Evidence(Store(target / "no runs", target))


def test_time_is_that_of_the_cheapest_stop_that_is_good_enough(tmp_path):
    results = shipped_tables(tmp_path)
    share = whole_share()(results, LENET3)
    assert share.at == "30 % stop" and share.estimate.value == pytest.approx(40)  # seconds; 35 % of the images
    assert (share.estimate.low, share.estimate.high) == (pytest.approx(35), pytest.approx(40))
    sooner = speedup()(results, LENET3)  # 90 % is reached after one epoch of the block
    assert sooner.estimate.value == pytest.approx(1 / 0.35) and sooner.estimate.high == pytest.approx(1 / 0.325)


def test_epochs_until_95_percent_of_the_gain(tmp_path):
    found = epochs_to_converge()(shipped_tables(tmp_path), LENET3)
    assert found.estimate.value == 3 and "5 epochs of 9,984 images" in found.estimate.note
    assert (found.estimate.low, found.estimate.high) == (3, 3)  # all chips share the curve
    assert settled(np.array([50.0, 50.0])) == 0 and settled(np.array([0, 99, 0, 100.0])) == 3


def test_without_tables_nothing_is_claimed(results):
    for measure in (whole_share(), speedup(), epochs_to_converge()):
        assert measure(results, LENET3) is None


# -- what ships, and what is made ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STUDIED)
def test_what_quick_asks_for_ships(name, tmp_path):
    where, loaded = Store(tmp_path / "no runs"), {}
    for entry in registry.entries(name, "quick"):
        desk = Desk(study := presets.as_study(entry), where)
        if study.network not in loaded:
            loaded[study.network] = study.data()
        desk.loaded = loaded[study.network]
        assert all(map(desk.trained, desk.trainings)) and not any(map(desk.lacking, desk.evaluations))


def test_the_papers_own_sizes():
    whole = registry.entries("tsb-fig3", "paper")
    assert [e["network"] for e in whole[::2]] == ["lenet3", "vgg8_tsb", "resnet18"]
    assert all(e["chips"] * len(e["seeds"]) == 200 for e in whole)
    channels = [e["deployment_parameters"]["tsb"].get("channels") for e in registry.entries("tsb-table2", "paper")]
    assert channels == [None, 16, 32, 64, 256, 512]
    assert [e["deployment_parameters"]["tsb"].get("channels") for e in registry.entries("tsb-table2", "quick")] == [
        None, 2, 4, 8, 32, 64
    ]  # fmt: skip


def test_tables_that_do_not_ship_are_empty(tmp_path):
    store = Store(tmp_path / "no runs", tmp_path)
    held = papers.analysis_table("cost", store=store)
    assert held.empty and papers.causes(held).empty and papers.learned(held).empty
    assert papers.most(held) == "not yet computed" and provenance("cost", store) == {}
    with pytest.raises(InputError, match="learning"):
        papers.analysis_table("learnin")
    with pytest.raises(InputError, match="smoke"):
        papers.analysis_table("cost", "tiny")
    with pytest.raises(InputError, match="no lenet3 trained by gaussian"):
        trained(0.7)


def test_a_table_is_made_part_by_part_and_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(deployment_analysis_runs, "training_of", lambda *_, **__: "a" * 64)
    store, asked = Store(tmp_path / "runs", tmp_path), []

    def sweep(size, sigma_d, mnist):
        asked.append(sigma_d)
        if asked == [0.2, 0.4]:
            raise KeyboardInterrupt
        return pd.DataFrame({"sigma_d": [sigma_d], "network": ["lenet3"], "accuracy": [90.0]})

    monkeypatch.setattr(deployment_analysis_runs, "_sweep", sweep)
    with pytest.raises(KeyboardInterrupt):
        deployment_analysis_runs.made("sweep", SIZES["full"]["sweep"], store)
    held = deployment_analysis_runs.made("sweep", SIZES["full"]["sweep"], store)
    assert asked == [0.2, 0.4, 0.4] and held.sigma_d.tolist() == [0.2, 0.4]
    assert papers.analysis_table("sweep", store=store).equals(held)
    assert asked == [0.2, 0.4, 0.4] and len(store.names()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_smoke_makes_a_tiny_table(name, tmp_path):
    held = deployment_analysis_runs.made(name, SIZES["smoke"][name], Store(tmp_path / "runs"))
    assert len(held) and held.accuracy.between(0, 100).all()
    if name == "causes":
        assert set(held.variant) == set(FEW) and set(papers.causes(held).chips) == {2}


def test_causes_are_cuts_of_the_same_chips():
    held = pd.DataFrame({
        "network": "lenet3", "sigma_d": 0.2, "variant": ["tsb"] * 3 + ["statistics"] * 3, "chip": [0, 1, 2] * 2,
        "before": [90.0, 91.0, 92.0] * 2, "accuracy": [94.0, 94.5, 95.0, 91.0, 92.0, 93.0], "own": 97.0, "ideal": 98.0,
    })  # fmt: skip
    learning = pd.DataFrame([{"chip": c, "epoch": e, "accuracy": 91 + 2 * e, "loss": 0.1, "passes": e} for c in range(3)
                             for e in (0, 2)])  # fmt: skip
    table = papers.causes(held, learning).set_index("says")
    assert table.cut["TSB as in tsb-fig3"] == pytest.approx(7 / 3.5)
    assert table.cut["TSB, the ideal is the same network without variation"] == pytest.approx(6 / 2.5)
    assert table.cut["TSB trained 0.4 times as long"] == pytest.approx(7 / 3)
    assert table.cut[VARIANTS["statistics"].says] == pytest.approx(7 / 6)
    said = papers.most(table.reset_index())
    assert "TSB cuts the distance 2.0 times; of 3 changes" in said and "(2.4 times)" in said
    assert papers.learned(learning).accuracy.tolist() == [91.0, 95.0]
    fig = figures.tsb_causes(table.reset_index(), paper=20)
    assert set(fig.data[0].y) == set(table.index) and fig.layout.xaxis.type == "log"
    with pytest.raises(InputError, match="cut"):
        figures.tsb_causes(table.reset_index().drop(columns="cut"))


def test_cells_that_do_not_stray_are_a_remedy_of_the_chips_whose_cells_do():
    held = pd.DataFrame({
        "network": "lenet3", "sigma_d": 0.2, "variant": ["tsb"] * 2 + ["convolutions"] * 2 + ["convolutions, tsb"] * 2,
        "chip": [0, 1] * 3, "before": [90.0, 92.0, 95.0, 95.0, 95.0, 95.0], "own": 97.0, "ideal": 98.0,
        "accuracy": [94.0, 95.0, 95.0, 95.0, 96.0, 97.0],
    })  # fmt: skip
    table = papers.causes(held).set_index("says").cut
    assert table[VARIANTS["convolutions"].says] == pytest.approx(7 / 3)  # 98 - 91 before, 98 - 95 after
    assert table[VARIANTS["convolutions, tsb"].says] == pytest.approx(3 / 1.5)  # what the block adds to that


def test_learning_is_drawn_chip_by_chip_and_where_it_settles(tmp_path):
    shipped_tables(tmp_path)
    learning = papers.analysis_table("learning", store=Store(tmp_path / "no runs", tmp_path))
    since = papers.converged(learning)
    assert since == 3 and papers.converged(learning[:0]) is None
    fig = figures.tsb_learning(learning, since, "LeNet-3")
    *chips, mean = fig.data
    assert len(chips) == 3 and list(mean.y) == [81.0, 86.0, 90.0, 90.8, 91.0, 91.0]
    assert fig.layout.shapes[0].x0 == 3 and "epoch 3" in fig.layout.title.text + fig.layout.title.subtitle.text
    with pytest.raises(InputError, match="accuracy"):
        figures.tsb_learning(learning.drop(columns="accuracy"))


def test_a_table_that_ships_says_where_it_was_made():
    for name in TABLES:
        made = provenance(name)
        assert set(made) >= {"commit", "written", "versions"} and made["commit"]
        assert f"nvlib.papers.analyses {TABLES[name]}`, commit {made['commit']}" in made_by(name)


def test_seconds_of_one_process_leave_the_standard_library_alone():
    """What another process does lengthens the one clock and not the other, and `time.perf_counter` stays itself."""
    before = time.perf_counter
    with clock.of_process():
        began = clock.seconds()
        time.sleep(0.2)
        assert clock.seconds() - began < 0.1 and time.perf_counter is before
    began = clock.seconds()
    time.sleep(0.05)
    assert clock.seconds() - began >= 0.05
