"""Figures of claims and means draw the numbers of their tables, and refuse what they cannot draw."""

import numpy as np
import pandas as pd
import pytest
from synthetic import tidy

from nvlib import InputError, figures, papers, statistics

TABLE = pd.DataFrame(
    {
        "label": ["N = 1", "N = 2", "N = 3"], "printed": [57.24, 61.60, 63.50], "ours": [50.0, 52.0, None],
        "low": [49.0, np.nan, None], "high": [51.0, np.nan, None], "method": "ovf",
    }
).astype({"ours": float, "low": float, "high": float})  # fmt: skip


def points(fig, name):
    return [(t.x[0], t.y[0]) for t in fig.data if t.name == name]


def test_printed_numbers_stand_beside_ours():
    fig = figures.beside_printed(TABLE, "Feedback outputs")
    assert points(fig, "printed") == [(57.24, "N = 1"), (61.60, "N = 2"), (63.50, "N = 3")]
    assert points(fig, "ours") == [(50.0, "N = 1"), (52.0, "N = 2")]  # what was not computed keeps its row alone
    bars = [t.error_x for t in fig.data if t.name == "ours"]
    assert (bars[0].array[0], bars[0].arrayminus[0]) == (1.0, 1.0) and bars[1].array[0] == 0  # no interval, no bar
    assert "not yet computed: 1" in fig.layout.title.subtitle.text
    assert list(fig.layout.yaxis.categoryarray) == ["N = 3", "N = 2", "N = 1"]
    with pytest.raises(InputError, match="printed"):
        figures.beside_printed(TABLE.drop(columns="printed"), "x")
    with pytest.raises(InputError, match="no row"):
        figures.beside_printed(TABLE.head(0), "x")


def test_verdicts_have_a_colour_and_a_sign_each():
    claims = pd.DataFrame(
        {
            "artefact": "trice-table1", "claim": [f"claim {v}" for v in papers.VERDICTS], "printed": 15.0,
            "ours": [20.0, 5.0, -3.0, 2.0, None], "low": [18.0, 4.0, -4.0, -9.0, None],
            "high": [22.0, 6.0, -2.0, 19.0, None], "unit": "points", "verdict": list(papers.VERDICTS),
        }
    )  # fmt: skip
    fig = figures.verdicts(claims)
    drawn = {t.name: t.marker.color for t in fig.data if t.name in papers.VERDICTS}
    assert len(set(drawn.values())) == 4  # what was not computed has a place and no marker of ours
    labels = fig.layout.yaxis.categoryarray
    assert len({label[0] for label in labels}) == len(papers.VERDICTS)
    twice = figures.verdicts(pd.concat([claims, claims]))
    assert len(set(twice.layout.yaxis.categoryarray)) == 10  # equal names would fall on one row
    with pytest.raises(InputError, match="points"):
        figures.verdicts(claims.assign(unit="nats"))


@pytest.mark.parametrize(("of", "column"), [("accuracy", "accuracy"), ("ekl", "ekl")])
def test_mean_curves_are_means_with_their_interval_over_trainings(of, column):
    df = tidy(methods=("gaussian",), sigmas=(0.1, 0.2), seeds=3)
    fig = figures.mean_curves(df, of=of)
    (curve,) = [t for t in fig.data if t.name == "Gauss"]
    seeds = df[df.sigma_d == 0.2].groupby("train_seed")[column].mean()
    assert curve.y[1] == pytest.approx(seeds.mean())
    band = next(t for t in fig.data if t.fill == "toself")
    over = statistics.mean(seeds)
    assert band.y[1] == pytest.approx(min(over.high, 100) if of == "accuracy" else over.high)
    assert band.y[2] == pytest.approx(over.low)
    single = figures.mean_curves(df[df.train_seed == 0], of=of)
    assert "over chips" in single.layout.title.subtitle.text
    with pytest.raises(InputError, match="accuracy"):
        figures.mean_curves(df, of="acuracy")


def test_trainings_that_fail_are_hollow_and_counted():
    df = tidy(methods=("gaussian", "ovf"), sigmas=(0.2,), seeds=4, chips=50)
    low = (df.method == "gaussian") & (df.train_seed == 3)
    df.loc[low, "accuracy"] -= 40
    fig = figures.converging(df)
    dots = {t.y[0]: t for t in fig.data if t.mode == "markers"}
    assert [s.endswith("-open") for s in dots[0].marker.symbol] == [False, False, False, True]
    failed = papers.convergence(df).set_index("method").failed  # counted by the library, drawn by the figure
    assert [a.text for a in fig.layout.annotations] == [f"{failed[m]} of 4 not converging" for m in ("gaussian", "ovf")]
    assert failed["gaussian"] == 1
    with pytest.raises(InputError, match="sigma_d"):
        figures.converging(tidy(methods=("ovf",), sigmas=(0.1, 0.2)))


def test_the_grid_shows_the_percentile_of_each_point():
    parts = []
    for ratio in (0.5, 1.0):
        for th in (1.0, 2.0):
            df = tidy(methods=("rc_manual",), sigmas=(0.25,), seeds=1, epochs=10 + int(10 * ratio + th))
            parts.append(df.assign(accuracy=df.accuracy + ratio, parameters=[{"ratio": ratio, "th": th}] * len(df)))
    df = pd.concat(parts, ignore_index=True)
    (cells,) = figures.noise_grid(df).data
    assert list(cells.x) == ["0.5", "1"] and list(cells.y) == ["1", "2"]
    assert cells.z[0][1] == pytest.approx(statistics.kpp(parts[2].accuracy).value)
    assert "[" in cells.text[0][0]  # 400 chips give an interval
    with pytest.raises(InputError, match="parameters"):
        figures.noise_grid(df.drop(columns="parameters"))


def test_a_narrow_network_is_written_with_its_width():
    assert figures.name("vgg8 x0.0625") == "VGG-8 x0.0625" and figures.name("lenet") == "LeNet"
