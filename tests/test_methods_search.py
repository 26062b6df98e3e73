"""Searches and selection: TRICE's bracket against a transcript of the listing, beta's choice, which epoch is kept."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

import nvlib
from nvlib import InputError, Study, data, methods, population
from nvlib.methods import Recipe, TrainingState
from nvlib.methods.trice import Trice, narrow, quartiles
from nvlib.statistics import Estimate
from nvlib.store import Store, compact

RECIPE = Recipe(batch_size=16)


@pytest.fixture(scope="module")
def few():
    return data.load("mnist", limit=32)


def listing(start, end, perf1, perf2, perf3):
    """Algorithm 3, lines 9-27, word by word; returns the bracket and which of w1, w2, w3 each of the three becomes."""
    left = start + 1 * (end - start) / 4
    right = start + 3 * (end - start) / 4
    w1, w2, w3 = 1, 2, 3
    if max(perf1, perf2, perf3) == perf2:
        start, end, w1, w3 = left, right, w2, w2
    elif max(perf1, perf2, perf3) == perf1:
        end, w2, w3 = right, w1, w1
    elif max(perf1, perf2, perf3) == perf3:
        start, w1, w2 = left, w3, w3
    return start, end, (w1, w2, w3)


SCRIPT = [(1, 2, 3), (3, 2, 1), (1, 3, 2), (2, 2, 2), (2, 2, 1), (1, 2, 2), (2, 1, 2)]  # all branches, and ties


@pytest.mark.parametrize("perf", SCRIPT)
def test_narrowing_is_the_listings(perf):
    start, end, best = narrow(0.1, 0.5, list(perf))
    assert (start, end, (best + 1,) * 3) == listing(0.1, 0.5, *perf)


def test_bracket_on_a_scripted_sequence_of_kpps(few, monkeypatch):
    """Through all three branches to the merge: brackets, candidates, taking over of weights, and the single model."""
    scripts = {0: iter(SCRIPT * 9), 1: iter([(1, 2, 3)] * 99)}  # one member meets all branches, one only the third

    def scripted(self, run, validation, rows):
        perf = [next(scripts[t]) for t in dict.fromkeys(run.owner[row] for row in rows)]
        return [Estimate(float(v), None, None, 4) for three in perf for v in three]

    monkeypatch.setattr(Trice, "kpp", scripted)
    method = Trice(warm=2, n_train=4, tolerance=0.01)
    options = {"seed": [0, 1], "epochs": 20, "recipe": RECIPE, "validation_chips": 0}
    bracket, closed, before = {0: (0.0, 0.4), 1: (0.0, 0.2)}, {}, None
    perfs = {0: iter(SCRIPT * 9), 1: iter([(1, 2, 3)] * 99)}
    for epoch in nvlib.train(method, "lenet", few, "rram", [0.2, 0.1], **options):
        for t in (0, 1):
            start, end = bracket[t]
            rows = [row for row in epoch.trace if row["training"] == t]
            if end - start < 0.01:
                closed.setdefault(t, epoch.epoch)
                assert [row["candidate"] for row in rows] == ["merged"] and rows[0]["sigma_t"] == start
                assert epoch.state["owner"].tolist().count(t) == 1
                continue
            assert [row["sigma_t"] for row in rows] == quartiles(start, end)
            assert {(row["start"], row["end"]) for row in rows} == {(start, end)}
            if epoch.epoch - 1 < 2:  # i < warm
                assert all(np.isnan(row["kpp"]) and not row["chosen"] for row in rows)
                continue
            perf = next(perfs[t])
            assert [row["kpp"] for row in rows] == list(perf)
            *bracket[t], (w, *_) = listing(start, end, *perf)
            assert [row["chosen"] for row in rows] == [w == i for i in (1, 2, 3)]
            owner = epoch.state["owner"]
            taken = epoch.state["weights/fc1.weight"][owner == t]
            moments = epoch.state["optimiser/exp_avg/fc1.weight"][owner == t]
            assert all(torch.equal(tensors[0], x) for tensors in (taken, moments) for x in tensors)
        assert torch.equal(epoch.weights(0)["fc1.weight"], epoch.state["weights/fc1.weight"][epoch.state["result"][0]])
        before = epoch
    assert closed[0] < closed[1] < 20 and before.state["owner"].tolist() == [0, 1]
    assert before.state["optimiser/exp_avg/fc1.weight"].shape[0] == 2


def test_three_candidates_are_three_trainings(few):
    """Until the first KPP each candidate is what RC at its sigma_t makes of the same start."""
    (last,) = nvlib.train("trice", "lenet", few, "rram", 0.2, epochs=1, recipe=RECIPE, dtype=torch.float64)
    for row, ratio in enumerate((0.5, 1.0, 1.5)):
        alone = methods.get("rc", ratio=ratio)
        (one,) = nvlib.train(alone, "lenet", few, "rram", 0.2, epochs=1, recipe=RECIPE, dtype=torch.float64)
        for name, tensor in one.weights().items():
            torch.testing.assert_close(last.state[f"weights/{name}"][row], tensor, rtol=1e-9, atol=1e-12)


def test_without_variation_there_is_nothing_to_search(few):
    *_, last = nvlib.train("trice", "lenet", few, "rram", 0.0, epochs=2, recipe=RECIPE)
    assert [row["candidate"] for row in last.trace] == ["merged"]
    *_, none = nvlib.train("none", "lenet", few, "rram", 0.0, epochs=2, recipe=RECIPE)
    torch.testing.assert_close(last.weights(), none.weights())


def test_kpp_of_candidates_is_that_of_their_chips(few, monkeypatch):
    """On validation images, the same chips for all three, others each epoch; an interval from 368 chips on."""
    seen, accuracies = [], TrainingState.accuracies

    def spy(run, data, chips, rows=None):
        assert torch.equal(data.x, few.validation.x) and chips == range(run.epoch * 370, (run.epoch + 1) * 370)
        seen.append(accuracies(run, data, chips, rows))
        return seen[-1]

    monkeypatch.setattr(TrainingState, "accuracies", spy)
    records = list(nvlib.train(Trice(warm=0, n_train=370), "lenet3", few, "rram", 0.1, epochs=2, recipe=RECIPE))
    assert len(seen) == 2
    for epoch, record in enumerate(records):
        for row, found in zip(record.trace, seen[epoch], strict=True):
            assert row["kpp"] == np.sort(found)[3] and row["low"] <= row["kpp"] <= row["high"]
    assert not np.array_equal(seen[0][0], seen[1][0])


def test_kpp_of_candidates_on_some_of_the_validation_images(few, monkeypatch):
    seen, accuracies = [], TrainingState.accuracies

    def spy(run, data, chips, rows=None):
        seen.append(data.x)
        return accuracies(run, data, chips, rows)

    monkeypatch.setattr(TrainingState, "accuracies", spy)
    next(nvlib.train(Trice(warm=0, n_train=2, images=7), "lenet3", few, "rram", 0.1, epochs=1, recipe=RECIPE))
    assert len(seen) == 1 and torch.equal(seen[0], few.validation.x[:7])


@pytest.mark.parametrize("how", ["vmap", "native"])
def test_chips_of_a_search_score_alike_in_every_way(how, few, monkeypatch):
    """One chip by one, in a loop; and several at once: each candidate on the very chips of its training's seed."""
    if how == "native" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        pytest.skip("no compiler")
    found, plan = {}, population.plan
    for way, at_once in (("loop", 1), (how, 3)):
        chosen = population.Plan(at_once, 16, way, 1, "cpu")
        monkeypatch.setattr(population, "plan", lambda *a, c=chosen, **k: plan(*a, **k) if k.get("how") else c)

        class Spy(Trice):
            def kpp(self, run, validation, rows, way=way):
                found[way] = run.accuracies(validation, range(7), rows)
                return super().kpp(run, validation, rows)

        next(nvlib.train(Spy(warm=0, n_train=2), "lenet3", few, "rram", [0.2, 0.1], seed=[0, 1], recipe=RECIPE))
    assert found["loop"].shape == (6, 7)
    assert np.abs(found["loop"] - found[how]).max() < 100 / 32 + 1e-9  # near-ties may flip: one image at most


def test_figure_of_a_search(few):
    from nvlib import figures

    method = Trice(warm=1, n_train=3, tolerance=0.25)
    records = list(nvlib.train(method, "lenet3", few, "rram", [0.2, 0.1], seed=[0, 1], epochs=5, recipe=RECIPE))
    trace = pd.DataFrame([row for record in records for row in record.trace])
    fig = figures.search_trace(trace, training=0)
    drawn = {t.name: t for t in fig.data if t.yaxis == "y"}
    mine = trace[trace.training == 0]
    assert list(drawn["middle"].y) == list(mine[mine.candidate == "mid"].sigma_t)
    assert sum(not s.endswith("-open") for t in drawn.values() for s in t.marker.symbol or ()) == mine.chosen.sum() > 0
    assert sum(len(t.y) for t in fig.data if t.yaxis == "y2") == mine.kpp.notna().sum()
    assert "too few" in fig.layout.title.subtitle.text and "merged" in set(mine.candidate)
    figures.search_trace(trace, training=1).to_json()
    for bad in (trace.iloc[:0][["epoch"]], trace[trace.training == 1]):
        with pytest.raises(InputError, match="trace has no"):
            figures.search_trace(bad)


def test_beta_search_is_four_trainings_and_takes_the_best(few):
    search = methods.get("ovf", n=1, beta=methods.BETAS, search_chips=3)
    options = {"epochs": 2, "recipe": RECIPE, "dtype": torch.float64}
    *_, last = nvlib.train(search, "lenet3", few, "rram", 0.2, seed=[0, 1], **options)
    assert [row["beta"] for row in last.trace] == [*methods.BETAS] * 2
    for training in (0, 1):
        rows = [row for row in last.trace if row["training"] == training]
        (chosen,) = [row for row in rows if row["chosen"]]
        assert chosen["accuracy"] == max(row["accuracy"] for row in rows)
        alone = methods.get("ovf", n=1, beta=chosen["beta"])
        *_, one = nvlib.train(alone, "lenet3", few, "rram", 0.2, seed=training, **options)
        for name in ("fc1.weight", "norm2.running_var"):
            torch.testing.assert_close(last.weights(training)[name], one.weights()[name], rtol=1e-7, atol=1e-9)


# -- which epoch -----------------------------------------------------------------------------------------------------


def scores(monkeypatch, script):
    """Let validation say what a script says: (epochs, members)."""
    calls = iter(script)
    monkeypatch.setattr("nvlib.methods.loop._validate", lambda *_: (np.array(row := next(calls)), np.array(row)))


def run(few, **options):
    return list(nvlib.train("gaussian", "lenet3", few, "rram", 0.1, seed=[0, 1], recipe=RECIPE, epochs=5, **options))


def of(epoch, member):
    return {k.removeprefix("weights/"): v[member] for k, v in epoch.state.items() if k.startswith("weights/")}


def same(one, two):
    return all(torch.equal(one[k], two[k]) for k in one)


SCORES = [(50, 50), (60, 40), (55, 45), (60, 70), (10, 60)]


def test_the_best_epoch_on_validation(few, monkeypatch):
    scores(monkeypatch, SCORES)
    epochs = run(few, select="best")
    assert epochs[-1].held.tolist() == [2, 4]  # the first of equals
    assert same(epochs[-1].weights(0), of(epochs[1], 0)) and same(epochs[-1].weights(1), of(epochs[3], 1))
    assert same(of(epochs[-1], 0), of(run_plain(few, monkeypatch)[-1], 0))


def run_plain(few, monkeypatch):
    scores(monkeypatch, SCORES)
    return run(few)


def test_members_stop_for_themselves(few, monkeypatch):
    scores(monkeypatch, SCORES)
    epochs = run(few, patience=2)
    assert [e.stopped.tolist() for e in epochs] == [[False] * 2, [False] * 2, [False, True], [True, True]]
    assert same(epochs[-1].weights(0), of(epochs[3], 0)) and same(epochs[-1].weights(1), of(epochs[2], 1))


def test_stopping_at_a_target(few, monkeypatch):
    scores(monkeypatch, SCORES)
    epochs = run(few, target=60)
    assert len(epochs) == 4 and epochs[-1].held.tolist() == [2, 4]
    assert same(epochs[-1].weights(0), of(epochs[1], 0))


@pytest.mark.parametrize("options", [{"select": "best"}, {"patience": 2}, {"target": 60.0, "select": "best"}])
def test_selection_resumes(options, few, monkeypatch):
    scores(monkeypatch, SCORES)
    whole = run(few, **options)
    scores(monkeypatch, SCORES[2:])
    rest = run(few, resume=whole[1].state, **options)
    assert len(rest) == len(whole) - 2
    assert all(same(whole[-1].weights(m), rest[-1].weights(m)) for m in (0, 1))
    assert rest[-1].held.tolist() == whole[-1].held.tolist()


@pytest.mark.parametrize(
    ("options", "said"), [({"select": "first"}, "last"), ({"patience": 0}, "patience"), ({"target": 0.0}, "target")]
)
def test_bad_selection(options, said, few):
    with pytest.raises(InputError, match=said):
        nvlib.train("none", "lenet", few, **options)


# -- in studies ------------------------------------------------------------------------------------------------------


def test_a_searching_study_keeps_its_trace_and_survives_a_kill(tmp_path):
    study = Study(
        methods=("trice", "rc"), sigma_d=(0.2,), seeds=(0,), epochs=3, chips=3, images=64, select="best",
        parameters={"trice": {"warm": 1, "n_train": 3}}, recipe=Recipe(batch_size=32),
    )  # fmt: skip
    whole, killed = Store(tmp_path / "whole", None), Store(tmp_path / "killed", None)
    table = nvlib.run(study, whole, progress=False)
    training, _ = study.pairs(study.data())[0]
    trace = whole.trace(training)
    assert list(trace.epoch) == [1] * 3 + [2] * 3 + [3] * 3
    assert trace.kpp.isna().tolist() == [True] * 3 + [False] * 6
    assert training.parameters["n_train"] == 3 and training.recipe["select"] == "best"

    class Killed(Exception):
        pass

    def kill(what, done, total):
        if what == "training" and done == 2:
            raise Killed

    with pytest.raises(Killed):
        nvlib.run(study, killed, progress=kill)
    again = nvlib.run(study, killed, progress=False)
    pd.testing.assert_frame_equal(
        table.drop(columns="origin").sort_values(["method", "chip"], ignore_index=True),
        again.drop(columns="origin").sort_values(["method", "chip"], ignore_index=True),
    )
    pd.testing.assert_frame_equal(killed.trace(training), trace)
    folder = compact(whole, tmp_path / "shipped" / "search", [e for _, e in study.pairs(study.data())])
    shipped = Store(tmp_path / "none", folder.parent).trace(training)
    assert list(shipped.sigma_t) == pytest.approx(list(trace.sigma_t)) and len(shipped) == 9


def test_records_of_earlier_trainings_keep_their_names():
    """Hashes written down before these options existed."""
    study = Study(sigma_d=(0.1, 0.2), seeds=(0, 1), images=96)
    names = {nvlib.records.digest(t)[:20] for t, _ in study.pairs(study.data())}
    assert {"afa0e1750650f2345d44", "38e7a8b40afefbda6b51"} <= names
