"""The Taylor analysis that ships: its models, its tables, and what they say."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import analysed

from nvlib import InputError, taylor
from nvlib.papers import analyses, theory
from nvlib.records import digest
from nvlib.store import Store, shipped_results
from nvlib.studies.analyses import run


def test_trained_models_are_found_in_the_store():
    found = theory.trained(["gaussian", "none"], [0.2, 0.3])
    assert found.method.tolist() == ["gaussian", "gaussian", "none"]  # in the order asked for
    assert found.train_sigma_d.tolist() == [0.2, 0.3, 0.0] and found.training.str.len().eq(64).all()


def test_sizes_grow_with_the_preset():
    sizes = [theory.size(preset) for preset in ("smoke", "quick", "full", "paper")]
    assert all(a.images < b.images and a.chips <= b.chips for a, b in pairwise(sizes))
    with pytest.raises(InputError, match="smoke"):
        theory.size("huge")


def test_tables_go_out_and_come_back(tmp_path):
    store = Store(tmp_path / "no runs", tmp_path)
    with pytest.raises(InputError, match=r"nvlib\.papers\.analyses taylor"):
        theory.table("models", store=store)
    rows = pd.DataFrame({"method": ["none", "rc", "rc"], "train_sigma_d": [0.0, 0.2, 0.3], "train_seed": 0, "f0": 0.1})
    analysed(tmp_path, "taylor", "taylor", {"models": theory.single(rows)})
    back = theory.table("models", train_sigma_d=0.2, store=store)
    assert back.method.tolist() == ["none", "rc"] and back.train_sigma_d.tolist() == [0.0, 0.2]  # as exact as they were
    assert back.f0.dtype == "float32" and len(theory.table("models", 0.2, train_seed=1, store=store)) == 0
    with pytest.raises(InputError, match="spectrum"):
        theory.table("spectra")


def test_what_is_missing_of_the_models_is_made_once(tmp_path, monkeypatch, capsys):
    """With the computation itself replaced: each model once, nothing twice, and what is not trained is said."""
    made = []

    def one(training, where=None):
        made.append(training)
        return {"models": pd.DataFrame({"f0": [0.1]}), "snapshots": pd.DataFrame({"f1": [0.2]})}

    monkeypatch.setattr(theory, "one", one)
    monkeypatch.setattr(theory, "shots", lambda training, where: pd.DataFrame({"f1": [0.3]}))
    monkeypatch.setattr(theory, "followed", lambda method: iter([pd.DataFrame({"method": [method], "epoch": 0})]))
    local = Store(tmp_path / "runs")
    bare = Store(tmp_path / "runs", None)
    for _ in range(2):
        wanted = theory.planned(("none", "gaussian"), (0.2, 0.17), where=local)
        run(wanted, bare, progress=False)
    rows = theory.table("models", store=bare)
    assert set(rows.training) == set(made) and len(made) == 2 and set(rows.method) == {"none", "gaussian"}
    assert set(theory.table("training", store=bare).method) == {"none", "gaussian"}
    assert "('gaussian', 0.17, 0)" in capsys.readouterr().out


def test_what_ships_is_what_is_planned():
    """Each analysis of a folder has the name that its plan gives it now: nothing that ships would be made again."""
    for folder in analyses.FOLDERS:
        held = json.loads((shipped_results() / folder / "records.json").read_text())
        assert {digest(record) for record, _ in analyses.planned(folder, Store(runs=Path("no runs")))} == set(held)


def test_what_ships_has_four_methods_at_three_sizes_of_variation():
    for name in theory.TABLES:
        assert set(theory.METHODS) <= set(theory.table(name).method), name
    chips = theory.table("chips", train_sigma_d=0.2)
    counts = chips[chips.sigma_d.isin([0.1, 0.2, 0.3])].groupby(["method", "sigma_d"]).size()
    assert len(counts) == 12 and (counts >= 400).all()
    assert (taylor.ranks(chips, ["method", "sigma_d"])["rank"].abs() <= 1).all()


def test_the_shipped_percentile_rises_with_the_slope():
    """Against Eq. 6, for every model and size: with every |f'| doubled the worst chips lose more."""
    table = theory.slopes([0.02, 0.1]).pivot_table(
        index=["method", "train_seed", "sigma_d"], columns="factor", values="percentile"
    )
    assert len(table) >= 8 and (np.diff(table.to_numpy(), axis=1) > 0).all()
