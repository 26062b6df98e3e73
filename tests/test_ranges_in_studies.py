"""The weight range and clipping in training, from a study and the command line to tables, figures and claims."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic import tidy

import nvlib
from nvlib import InputError, calibration, figures, launch, ranges, summary
from nvlib.__main__ import main
from nvlib.methods import Recipe
from nvlib.papers.select import Evidence
from nvlib.records import digest, values
from nvlib.store import Store, results
from nvlib.studies import Study, model_of

SMALL = Study("lenet3", methods=("gaussian",), sigma_d=(0.2,), epochs=1, chips=4, images=64)


@pytest.fixture
def where(tmp_path):
    return Store(tmp_path / "runs", None)


def run(study, where):
    return launch.run(study, where=where, threads=1, progress=False)


def test_a_range_is_a_part_of_the_record_only_where_it_is_used():
    loaded = SMALL.data()
    (training, evaluation), = SMALL.pairs(loaded)
    assert "range" not in values(training) and "range" not in values(evaluation)
    (trained, tested), = replace(SMALL, ranges=("deviations:1.50",)).pairs(loaded)
    assert values(trained)["range"] == values(tested)["range"] == "deviations:1.5"
    (trained, tested), = replace(SMALL, ranges=("deviations:1.5",), train_range="max").pairs(loaded)
    assert digest(trained) == digest(training) and digest(tested) != digest(evaluation)
    (quiet, _), = replace(SMALL, methods=("none",), ranges=("deviations:1.5",)).pairs(loaded)
    assert "range" not in values(quiet)  # without noise nothing is quantised to it


def test_chips_of_a_range_are_those_of_the_library(where):
    study = replace(SMALL, ranges=("max", "deviations:1"), train_range="max")
    table = run(study, where)
    assert table.groupby("range", observed=True).size().to_dict() == {"max": 4, "deviations:1": 4}
    assert table.training.nunique() == 1 and set(table.train_range) == {"max"} and set(table.clipping) == {"none"}
    model, loaded = model_of(table.training.iloc[0], where), study.data()
    for name, rows in table.groupby("range", observed=True):
        own = nvlib.monte_carlo(model, loaded, "rram", 0.2, chips=4, range=name)
        np.testing.assert_array_equal(own.accuracy, rows.sort_values("chip").accuracy)
    assert len(set(map(tuple, (rows.loss for _, rows in table.groupby("range", observed=True))))) == 2


def test_a_training_under_a_range_resumes_and_has_its_own_record(where):
    table = run(replace(SMALL, ranges=("deviations:1",)), where)
    assert set(table.train_range) == {"deviations:1"}
    assert where.training(table.training.iloc[0]).range == "deviations:1"
    other = run(SMALL, where)
    assert set(other.train_range) == {"max"} and set(other.training) != set(table.training)


@pytest.mark.parametrize("clip", ["deviations:1", "percentile:90"])
def test_weights_are_clipped_after_each_update(where, clip):
    table = run(replace(SMALL, recipe=Recipe(clip=clip)), where)
    assert set(table.clipping) == {clip}
    model = model_of(table.training.iloc[0], where)
    loose = model_of(run(SMALL, where).training.iloc[0], where)
    for name, w in model.named_parameters():
        if w.ndim > 1:  # each tensor lies within what it was cut to: its largest weight stands in several places
            top, free = w.detach().abs().max(), dict(loose.named_parameters())[name].detach().abs().max()
            assert (w.detach().abs() >= top * (1 - 1e-6)).sum() > 1 and top < free


def test_members_are_clipped_each_to_its_own_range():
    w = torch.stack([torch.linspace(-1, 1, 101), 10 * torch.linspace(-1, 1, 101)])
    alone = w.clone()
    Recipe(clip="deviations:1").clipped([w])
    for member, own in zip(w, alone, strict=True):
        single = own.clone()[None]
        Recipe(clip="deviations:1").clipped([single])
        torch.testing.assert_close(member, single[0], rtol=0, atol=0)
    torch.testing.assert_close(w[1], 10 * w[0])
    assert w[0].max() == ranges.get("deviations:1").of(alone[:1]).item()


def test_published_clipping_has_names():
    assert Recipe(clip="joshi2020") == Recipe(clip="deviations:2") and Recipe(clip="aihwkit").clip == "deviations:2.5"
    assert "clip" not in Recipe().record()


def test_a_clip_that_cannot_be_is_refused():
    with pytest.raises(InputError, match="weight range"):
        Recipe(clip="tight")
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(784, 10))
    model = torch.nn.Sequential(torch.nn.Flatten(), layer)
    recipe = Recipe(clip="deviations:1")
    with pytest.raises(InputError, match="parametrisation"):
        nvlib.train("none", model, nvlib.load("mnist", limit=64), "rram", 0.1, bits=4, recipe=recipe)


def test_ranges_are_never_mixed_without_a_word(where):
    table = run(replace(SMALL, ranges=("max", "deviations:1"), train_range="max"), where)
    with pytest.raises(InputError, match="mixes range deviations:1, max"):
        summary.results_table(table)
    clipped = run(replace(SMALL, seeds=(1,), recipe=Recipe(clip="deviations:1")), where)
    both = results(where, range="max")
    assert len(both) == len(clipped) + 4
    with pytest.raises(InputError, match="mixes clipping deviations:1, none of gaussian"):
        summary.results_table(both)


def test_no_claim_of_a_paper_is_answered_by_another_range(where):
    run(replace(SMALL, ranges=("max", "deviations:1"), train_range="max"), where)
    run(replace(SMALL, recipe=Recipe(clip="deviations:1")), where)
    held = Evidence(where).table
    assert len(held) == 4 and set(held.range) == {"max"} and set(held.clipping) == {"none"}


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("NVLIB_RESULTS", str(tmp_path / "none"))
    small = ["--network", "lenet3", "--images", "64", "--epochs", "1"]
    assert main(["study", "--method", "gaussian", *small, "--sigma-d", "0.2", "--chips", "3", "--range", "max",
                 "deviations:1/channel", "--train-range", "max", "--clip", "aihwkit"]) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert "range deviations:1/channel" in out and out.count("clipped in training to deviations:2.5") == 2
    assert main(["results", "--range", "deviations:1/channel"]) == 0
    assert "range deviations:1/channel" in capsys.readouterr().out
    assert main(["train", "--method", "none", *small, "--quiet"]) == 0
    name = capsys.readouterr().out.strip()
    assert main(["evaluate", name, "--sigma-d", "0.2", "--chips", "3", "--range", "percentile:99", "--quiet"]) == 0
    _, record = Store(tmp_path / "runs", None).find(capsys.readouterr().out.strip(), "evaluation")
    assert record["range"] == "percentile:99"
    assert main(["study", "--range", "tight"]) == 2
    assert "weight range 'tight'" in capsys.readouterr().err


def test_a_study_file_says_it(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text('ranges = ["max", "percentile:99.50"]\ntrain_range = "max"\n[recipe]\nclip = "deviations:1"\n')
    study = nvlib.studies.load(path)
    assert study.ranges == ("max", "percentile:99.5") and study.recipe.clip == "deviations:1"
    assert Study.of(study.record()) == study


@pytest.fixture(scope="module")
def trained():
    loaded = nvlib.load("mnist", limit=512)
    *_, last = nvlib.train("gaussian", "lenet3", loaded, "rram", 0.2, epochs=3, validation_chips=0)
    return last.model(), loaded


def test_a_range_is_chosen_on_validation_images_and_other_chips(trained):
    model, loaded = trained
    among = ("max", "deviations:2", "deviations:0.3")
    found = nvlib.calibrate(model, loaded, "rram", 0.2, among=among, by="mean", chips=20)
    table = found.table.set_index("range")
    assert list(table.index) == list(among) and found.range == table["mean"].idxmax()
    for text in among:
        own = nvlib.monte_carlo(model, loaded.validation, "rram", 0.2, chips=20, seed=1_000_003, range=text)
        assert table["mean"][text] == own.mean().value and np.isnan(table["kpp_low"][text])  # 20 chips are too few
    assert table["saturated"].is_monotonic_increasing and table["saturated"]["max"] == 0
    with pytest.raises(InputError, match="no validation split"):
        nvlib.calibrate(model, loaded.test, "rram", 0.2)
    with pytest.raises(InputError, match="chosen by 'luck'"):
        nvlib.calibrate(model, loaded, "rram", 0.2, by="luck")


def test_the_error_of_programmed_weights_is_their_mean_square(trained):
    model, _ = trained
    for text in ("max", "deviations:1.5", "percentile:95/channel"):
        crossbar = nvlib.Crossbar("rram", 0.1, range=text).on(model)
        drawn = nvlib.program(model, crossbar, index=range(400))
        own = {name: w.detach() for name, w in model.named_parameters()}
        shares = [float((w - own[name]).square().mean() / own[name].square().mean()) for name, w in drawn.items()]
        assert calibration.error(model, crossbar) == pytest.approx(np.mean(shares) ** 0.5, rel=0.01)
    by_error = nvlib.calibrate(model, nvlib.load("mnist", limit=32), "rram", 0.1, by="error")
    assert by_error.table["error"].min() == by_error.table.set_index("range")["error"][by_error.range]
    assert by_error.table["kpp"].isna().all()  # no chip was run


def test_a_table_by_range_is_that_of_each_range_the_widest_first():
    parts = [tidy(sigmas=(0.2,), seeds=1).assign(range=span) for span in ("deviations:2", "max", "deviations:3")]
    parts[0]["accuracy"] += 1
    table = summary.by_range(pd.concat(parts))
    assert list(dict.fromkeys(table["range"])) == ["max", "deviations:3", "deviations:2"]
    alone = summary.results_table(parts[0]).set_index("method")["kpp"]
    assert (table[table["range"] == "deviations:2"].set_index("method")["kpp"] == alone).all()
    fig = figures.range_curves(pd.concat(parts))
    assert [list(trace.x) for trace in fig.data] == [["max", "deviations:3", "deviations:2"]] * 4
    assert list(fig.layout.xaxis.ticktext) == ["max|W|", "3 deviations", "2 deviations"]
    with pytest.raises(InputError, match="weight range"):
        figures.range_curves(parts[0].drop(columns="range"))
