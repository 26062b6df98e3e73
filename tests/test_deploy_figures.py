"""Figures of programmed chips show the numbers of their tables, and answer bad tables in one line."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from synthetic import tidy

from nvlib import figures, statistics, summary
from nvlib.errors import InputError
from nvlib.summary import ratio


@pytest.fixture(scope="module")
def df():
    """Chips with a noise-free ideal of 98.5 %, and remedies that leave half and a quarter of the distance."""
    bare = tidy(methods=("none", "gaussian"), chips=20, seeds=1, network="lenet3")
    bare = bare.assign(deployment="", deployment_parameters="", before=math.nan, seconds=math.nan)
    gauss = bare[(bare["method"] == "gaussian") & bare["sigma_d"].isin([0.1, 0.3])]
    parts, rng = [bare], np.random.default_rng(1)
    for name, left in (("last_layer", 0.5), ("tsb", 0.25)):
        noise = rng.normal(0, 0.2, len(gauss))
        accuracy = 98.5 - left * (98.5 - gauss["accuracy"]) + noise
        parts.append(gauss.assign(deployment=name, before=gauss["accuracy"], accuracy=accuracy, seconds=2.0))
    return pd.concat(parts, ignore_index=True)


def test_distance_is_the_ratio_of_mean_distances(df):
    table = summary.distance_table(df)
    assert table["deployment"].tolist() == ["", "last_layer", "tsb"] * 2 and (table["n"] == 20).all()
    ideal = df[(df["method"] == "none") & (df["sigma_d"] == 0)]["accuracy"].mean()
    row = table[(table["deployment"] == "tsb") & (table["sigma_d"] == 0.3)].iloc[0]
    chips = df[(df["deployment"] == "tsb") & (df["sigma_d"] == 0.3)]
    after, before = ideal - chips["accuracy"], ideal - chips["before"]
    assert row["ideal"] == pytest.approx(ideal) and row["distance"] == pytest.approx(after.mean())
    assert row["normalised"] == pytest.approx(after.mean() / before.mean())
    e = statistics.mean((after - row["normalised"] * before).to_numpy())
    assert row["high"] - row["normalised"] == pytest.approx((e.high - e.value) / before.mean())
    own = table[table["deployment"] == ""]
    assert (own["normalised"] == 1).all() and (own["low"] == own["high"]).all()
    given = summary.distance_table(df, ideal=99.0)
    assert (given["ideal"] == 99).all() and given["distance"].iloc[0] == pytest.approx(
        table["distance"].iloc[0] + 99 - ideal
    )


def test_the_interval_covers_the_true_ratio():
    """2000 tables of 15 chips with a known ratio: coverage of a 95 % interval within four standard errors of it."""
    rng, inside, n = np.random.default_rng(0), 0, 2000
    for _ in range(n):
        before = rng.normal(20, 3, 15)
        after = 0.3 * before + rng.normal(0, 1, 15)
        found = ratio(after, before)
        inside += found["low"] <= 0.3 <= found["high"]
    assert abs(inside / n - 0.95) < 4 * math.sqrt(0.95 * 0.05 / n)


def test_accuracy_distance_shows_the_table(df):
    fig, table = figures.accuracy_distance(df), summary.distance_table(df)
    tsb = [t for t in fig.data if t.name == "TSB" and t.type == "bar"]
    np.testing.assert_allclose(tsb[0].y, table[table["deployment"] == "tsb"]["normalised"])
    np.testing.assert_allclose(tsb[1].y, table[table["deployment"] == "tsb"]["distance"])
    assert "20 chips" in fig.layout.title.subtitle.text and "LeNet-3" in fig.layout.title.subtitle.text


def test_distance_needs_an_ideal_and_deployed_chips(df):
    with pytest.raises(InputError, match="ideal="):
        summary.distance_table(df[df["method"] != "none"])
    with pytest.raises(InputError, match="no deployed chips"):
        summary.distance_table(df[df["deployment"] == ""])


def test_selective_verify_draws_each_ranking():
    rows = [
        {"ranking": r, "fraction": f, "chip": c, "accuracy": 80 + 15 * f + c, "cells": 100, "pulses": 100 + 400 * f,
         "ideal": 98.0}
        for r in ("curvature", "random") for f in (0.0, 0.5, 1.0) for c in range(4)
    ]  # fmt: skip
    fig = figures.selective_verify(pd.DataFrame(rows))
    lines = [t for t in fig.data if t.mode == "lines+markers"]
    assert [t.name for t in lines[::2]] == ["second derivative (SWIM)", "random"]
    assert list(lines[0].x) == [0, 50, 100] and list(lines[1].x) == [1, 3, 5]
    assert list(lines[0].y) == [81.5, 89, 96.5]
    with pytest.raises(InputError, match="ranking"):
        figures.selective_verify(pd.DataFrame({"fraction": [0.1]}))


@pytest.mark.parametrize(("of", "values"), [("channels", [1, 5, 10]), ("init", ["identity", "ordinary"])])
def test_ablations_read_their_parameter(df, of, values):
    tsb = df[(df["deployment"] == "tsb") & (df["sigma_d"] == 0.3)]
    parts = [tsb.assign(deployment_parameters=json.dumps({of: v}), accuracy=tsb["accuracy"] + i)
             for i, v in enumerate(values)]  # fmt: skip
    fig = figures.tsb_ablation(pd.concat(parts), of)
    points = next(t for t in fig.data if t.name == "TSB")
    assert list(points.x) == [str(v) for v in values]
    np.testing.assert_allclose(points.y, tsb["accuracy"].mean() + np.arange(len(values)))
    alone = figures.tsb_ablation(pd.concat(parts), of, seconds=False)
    assert {t.xaxis for t in fig.data} == {"x", "x2"} and {t.xaxis for t in alone.data} == {"x"}
    with pytest.raises(InputError, match="names layers"):
        figures.tsb_ablation(pd.concat(parts), "layers")
    with pytest.raises(InputError, match="one of channels"):
        figures.tsb_ablation(tsb, "width")


def test_training_cost_draws_each_stop():
    backbone = [("backbone", e / 4, e, 80 + 3 * e, e / 4, e / 4) for e in range(1, 5)]
    tsb = [("tsb", s, e, 85 + 3 * e, s + 0.02 * e, s + 0.01 * e) for s in (0.25, 1.0) for e in range(3)]
    table = pd.DataFrame(backbone + tsb, columns=["stage", "stop", "epoch", "accuracy", "share_passes",
                                                  "share_seconds"])  # fmt: skip
    fig = figures.training_cost(table)
    assert [t.name for t in fig.data] == ["backbone", "TSB from the 25 % stop", "TSB after the full training"]
    np.testing.assert_allclose(fig.data[1].x, [25, 27, 29])
    assert "25 % stop: 29.0 %" in fig.layout.title.subtitle.text
    with pytest.raises(InputError, match="cost"):
        figures.training_cost(table, "joules")
    with pytest.raises(InputError, match="no stage"):
        figures.training_cost(table, method="swim")
