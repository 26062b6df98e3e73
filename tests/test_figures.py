"""Figures say what they show, from the numbers of nvlib.statistics; bad selections answer in one line."""

import asyncio
import json
import math
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import plotly.io as pio
import pytest
from synthetic import tidy

from nvlib import figures, statistics, summary
from nvlib.catalogue import METHODS
from nvlib.errors import InputError
from nvlib.figures import layout


@pytest.fixture(scope="module")
def df():
    return tidy()


@pytest.fixture(scope="module")
def one(df):
    return df[df["sigma_d"] == 0.2]


def subtitle(fig):
    return fig.layout.title.subtitle.text


def named(fig, name):
    return next(trace for trace in fig.data if trace.name == name)


def test_every_method_is_told_apart_without_colour():
    styles = [figures.STYLES[m] for m in METHODS]
    assert len({s.marker for s in styles}) == len({s.label for s in styles}) == len(METHODS)
    assert len({(s.colour, s.dash) for s in styles}) == len(METHODS)
    mine = figures.style("my_method")
    assert mine.label == "my_method" and mine == figures.style("my_method")


def test_table_is_the_statistics_seed_by_seed(df):
    table = summary.results_table(df, k=5)
    assert list(table["method"].unique()) == ["none", "gaussian"] and len(table) == 10
    row = table[(table["method"] == "gaussian") & (table["sigma_d"] == 0.2)].iloc[0]
    chips = df[(df["method"] == "gaussian") & (df["sigma_d"] == 0.2)]
    seeds = [statistics.kpp(part["accuracy"], 5) for _, part in chips.groupby("train_seed")]
    assert row["kpp"] == pytest.approx(np.mean([e.value for e in seeds]))
    assert row["kpp_low"] == pytest.approx(np.mean([e.low for e in seeds]))
    assert row["kpp_seed_min"] == min(e.value for e in seeds)
    assert row["mean"] == pytest.approx(chips["accuracy"].mean())
    assert (row["n"], row["seeds"], row["epochs"]) == (1200, 3, "10")
    assert row["worst"] == chips["accuracy"].min() and row["ekl"] == pytest.approx(chips["ekl"].mean())


def test_without_variation_there_is_nothing_to_estimate():
    clean = tidy(sigmas=(0.0,), chips=1, seeds=1)
    row = summary.results_table(clean).iloc[0]
    assert row["kpp_low"] == row["kpp"] == row["kpp_high"] == row["mean"] and row["note"] == ""


def test_curve_shows_mean_over_seeds_band_and_dots(df):
    fig = figures.percentile_curves(df, k=1)
    table = summary.results_table(df, 1)
    line = named(fig, "Gauss")
    np.testing.assert_allclose(line.y, table[table["method"] == "gaussian"]["kpp"])
    assert line.mode == "lines+markers" and line.line.dash == "solid" and line.line.color == figures.BLUE
    assert sum(trace.fill == "toself" for trace in fig.data) == 2
    assert sum(trace.mode == "markers" for trace in fig.data) == 2
    assert "relative to full scale" in fig.layout.xaxis.title.text and "(%)" in fig.layout.yaxis.title.text
    for words in (
        "LeNet on MNIST",
        "RRAM",
        "differential",
        "matched",
        "400 chips × 3 trainings of 10 epochs",
        "10,000",
    ):
        assert words in subtitle(fig)


def test_too_few_chips_draw_no_line():
    few = tidy(chips=100, sigmas=(0.1, 0.2))
    fig = figures.percentile_curves(few)
    assert not any(trace.fill == "toself" for trace in fig.data)
    assert all(trace.mode == "markers" for trace in fig.data)
    assert set(named(fig, "Gauss").marker.symbol) == {"square-open"}
    assert "too few chips: 368 needed" in subtitle(fig)
    histogram = figures.accuracy_distribution(few[few["sigma_d"] == 0.2])
    assert not any("percentile" in a.text for a in histogram.layout.annotations)
    assert "too few chips" in subtitle(histogram)
    assert figures.fan(few[few["method"] == "none"]).data[0].name == "5th to 95th"


def test_distribution_counts_every_chip(one):
    fig = figures.accuracy_distribution(one, k=1)
    bars = [trace for trace in fig.data if trace.type == "bar"]
    assert [bar.name for bar in bars] == ["w/o noise", "Gauss"]
    for bar in bars:
        assert sum(bar.y) == pytest.approx(100)
    kpp = summary.results_table(one, 1).set_index("method")["kpp"]
    assert any(
        trace.type == "scatter" and trace.mode == "lines" and trace.x[0] == kpp["gaussian"] for trace in fig.data
    )
    assert f"<b>{kpp['gaussian']:.2f} %</b>" in fig.layout.annotations[1].text
    constant = figures.accuracy_distribution(one.assign(accuracy=100.0))
    assert sum(constant.data[0].y) == pytest.approx(100)


def test_ecdf_ends_at_all_chips(one):
    fig = figures.ecdf(one, k=5)
    line = named(fig, "Gauss")
    assert line.y[-1] == 100 and np.all(np.diff(line.y) > 0) and np.all(np.diff(line.x[1:]) > 0)
    x = np.sort(one[one["method"] == "gaussian"]["accuracy"])
    at = np.searchsorted(line.x[1:], x[600])
    assert line.y[1:][at] == pytest.approx(100 * np.mean(x <= x[600]))
    assert fig.layout.shapes[0].y0 == 5


def test_fan_nests(df):
    fig = figures.fan(df[df["method"] == "gaussian"], k=5)
    assert [t.name for t in fig.data] == ["1st to 99th", "5th to 95th", "25th to 75th", "median", "5th percentile"]


@pytest.mark.parametrize("device", ["rram", "fefet1", "pcm", "rram_milo2021"])
def test_device_levels_integrate_to_one(device):
    fig = figures.device_levels(device, None if device in ("pcm", "rram_milo2021") else 0.1)
    for trace in fig.data:
        assert np.trapezoid(trace.y, trace.x) == pytest.approx(1, abs=0.02)
    assert "levels" in fig.layout.xaxis.title.text


def test_levels_too_narrow_to_see_are_strokes():
    for fig in (figures.device_levels("rram", 0.0), figures.device_levels("sonos")):
        assert len(fig.data) == 4 and fig.data[0].x == (0.0, 0.0)
        assert all(0 < max(trace.y) < fig.layout.yaxis.range[1] for trace in fig.data)


def test_noise_laws_hold_their_mass():
    fig = figures.noise_laws(th=1.5, sigma_t=0.5)
    density = [trace for trace in fig.data if trace.type == "scatter" and trace.fill == "tozeroy"]
    bars = [trace for trace in fig.data if trace.type == "bar"]
    mass = [np.trapezoid(trace.y, trace.x) for trace in density]
    atoms = [bar.y[0] * bar.width[0] for bar in bars]
    np.testing.assert_allclose([mass[0] + atoms[0], mass[1] + atoms[1], *mass[2:]], 1, atol=0.01)
    with pytest.raises(InputError, match="th"):
        figures.noise_laws(th=-1)
    with pytest.raises(InputError, match="sigma_t"):
        figures.noise_laws(sigma_t=0)


def test_a_subset_of_classes_says_what_guessing_scores_and_never_shares_a_figure_with_the_whole():
    name = "tiny-imagenet (25 of 200 classes)"
    part, whole = (tidy(dataset=dataset, chips=20, seeds=1) for dataset in (name, "tiny-imagenet"))
    words = subtitle(figures.percentile_curves(part))
    assert "Tiny ImageNet (25 of 200 classes)" in words and "guessing scores 4 %" in words
    assert "guessing" not in subtitle(figures.percentile_curves(whole))
    both = pd.concat([part, whole], ignore_index=True)
    with pytest.raises(InputError, match=r"mixes dataset tiny-imagenet, tiny-imagenet \(25 of 200 classes\)"):
        figures.percentile_curves(both)


def test_every_figure_has_the_template_units_and_a_subtitle(df, one):
    drawn = [
        figures.accuracy_distribution(one),
        figures.percentile_curves(df),
        figures.fan(df[df["method"] == "none"]),
        figures.ecdf(one),
        figures.device_levels("rram", 0.1),
        figures.noise_laws(),
    ]
    for fig in drawn:
        assert fig.layout.template == pio.templates["nvlib"]
        assert fig.layout.title.text and subtitle(fig)
        # a dark page replaces what the template says; what a figure says itself it could not
        assert fig.layout.font.color is None and fig.layout.paper_bgcolor is None
        axes = [axis for axis in fig.select_xaxes() if axis.title.text] + [
            a for a in fig.select_yaxes() if a.title.text
        ]
        assert axes
        assert len(json.dumps(fig.to_plotly_json(), default=str)) < 500_000


def test_axis_says_what_sigma_d_is_relative_to(df):
    assert figures.sigma_title(df.assign(reference="level")).endswith("(relative to one level)")
    assert "measured deviation" in figures.sigma_title(df.assign(device="pcm"))
    one = df[df.sigma_d == df.sigma_d.max()]
    assert "of full scale" in layout.describe(one)
    measured, own = layout.describe(one.assign(device="pcm")), layout.describe(one.assign(device="a reader's own"))
    assert f"measured deviation × {one.sigma_d.max():g}" in measured and "full scale" not in measured
    assert "full scale" not in own + figures.sigma_title(df.assign(device="a reader's own"))
    assert "full scale" not in layout.describe(one.assign(device_numbers="0123456789"))


def test_title_can_stand_outside(df):
    fig = figures.percentile_curves(df)
    title, text = figures.detach_title(fig)
    assert title == "Accuracy that all but 1 % of chips exceed" and "<" not in text and r"$\sigma_d$" in text
    assert not fig.layout.title.text and not subtitle(fig)


def test_swept_models_are_named_by_what_they_were_trained_at():
    df = tidy(swept=(0.2,))
    chosen = df[(df["method"] == "none") | (df["train_sigma_d"] == 0.2)]
    assert "swept: trained at σ<sub>d</sub> = 0.2" in subtitle(figures.percentile_curves(chosen))
    with pytest.raises(InputError, match=r"trained at sigma_d 0, 0\.1, 0\.2"):
        figures.percentile_curves(df)


@pytest.mark.parametrize("column", ["network", "dataset", "device", "reference", "mapping", "bits", "images"])
def test_a_mixture_is_no_curve(df, column):
    other = {"bits": 8, "images": 500}.get(column, "other")
    mixed = pd.concat([df, df.assign(**{column: other})])
    with pytest.raises(InputError, match=rf"mixes {column} .*choose one"):
        figures.percentile_curves(mixed)


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda df: df.iloc[:0], "no chip matches"),
        (lambda df: df.drop(columns="accuracy"), "lacks accuracy"),
        (lambda df: df.assign(accuracy=math.nan), "not finite"),
        (lambda df: df.assign(training=df["training"] + df["chip"].astype(str)), "different trainings of one seed"),
    ],
)
@pytest.mark.parametrize("draw", ["accuracy_distribution", "percentile_curves", "ecdf", "fan", "results_table"])
def test_bad_selection_is_one_line(one, draw, break_it, says):
    with pytest.raises(InputError, match=says) as error:
        getattr(summary if draw == "results_table" else figures, draw)(break_it(one))
    assert "\n" not in str(error.value)


def test_several_sigma_d_are_no_distribution(df):
    for draw in (figures.accuracy_distribution, figures.ecdf):
        with pytest.raises(InputError, match=r"mixes sigma_d 0, 0\.1"):
            draw(df)
    with pytest.raises(InputError, match="mixes method"):
        figures.fan(df)


@pytest.mark.parametrize("k", [0, 100, "x"])
def test_bad_k(one, k):
    for draw in (figures.accuracy_distribution, figures.percentile_curves, figures.ecdf, summary.results_table):
        with pytest.raises(InputError, match="expected a percentile"):
            draw(one, k)


def test_three_columns_suffice(one):
    bare = one[["method", "sigma_d", "accuracy"]]
    assert "1,200 chips" in subtitle(figures.accuracy_distribution(bare))
    assert summary.results_table(bare)["seeds"].tolist() == [1, 1]


def test_categories_as_the_store_returns_them(df):
    columns = ["run", "training", "network", "dataset", "method", "device", "reference", "mapping", "protocol"]
    stored = df.astype(dict.fromkeys(columns, "category"))
    pd.testing.assert_frame_equal(summary.results_table(stored), summary.results_table(df))
    figures.percentile_curves(stored[stored["method"] == "none"])


def test_png_without_a_browser_says_what_to_do(one, monkeypatch, tmp_path):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"no browser to draw with .*install Chromium"):
        figures.to_png(figures.ecdf(one), tmp_path / "x.png")


def test_a_browser_that_does_not_answer_is_asked_again_and_then_named(one, monkeypatch, tmp_path):
    pytest.importorskip("kaleido")
    asked = []

    async def silent(*_, **__):
        asked.append(1)
        await asyncio.sleep(9)

    (browser := tmp_path / "chrome").touch()
    monkeypatch.setenv("BROWSER_PATH", str(browser))
    monkeypatch.setattr("kaleido.calc_fig", silent)
    monkeypatch.setattr("nvlib.figures.export.PATIENCE", 0.01)
    with pytest.raises(InputError, match=r"chrome did not answer within .* point BROWSER_PATH at another"):
        figures.to_png(figures.ecdf(one), tmp_path / "x.png")
    assert len(asked) == 3


@pytest.mark.browser
def test_png(one, tmp_path):
    pytest.importorskip("kaleido")
    assert shutil.which("chromium"), "chromium is missing: apt-get install chromium"
    path = figures.to_png(figures.ecdf(one), tmp_path / "x.png", scale=1)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("names", "absent"),
    [
        ("style, name", "plotly torch streamlit torchvision"),
        ("ecdf, device_levels, noise_laws, to_png", "torch streamlit torchvision kaleido"),
    ],
)
def test_what_importing_figures_needs(names, absent):
    code = f"import sys; from nvlib.figures import {names}; print(sorted(set({absent.split()!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\[\]\s*", done.stdout)


def test_every_public_name_is_there():
    assert all(getattr(figures, name) is not None for name in figures.__all__)
    with pytest.raises(AttributeError, match="no attribute 'ecfd'; it has: accuracy_distribution"):
        figures.ecfd  # noqa: B018


# -- differences -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["kpp", "mean", "ekl"])
def test_differences_are_those_of_paired_chips_seed_by_seed(df, of):
    shuffled = df.sample(frac=1, random_state=1)  # pairs are found by chip, not by place
    table = summary.differences(shuffled, "none", of, k=5)
    assert list(table["method"].unique()) == ["gaussian"] and list(table["sigma_d"]) == [0.0, 0.1, 0.2, 0.3, 0.4]
    row, found = table[table["sigma_d"] == 0.2].iloc[0], []
    for seed in range(3):
        a, b = (df[(df["method"] == m) & (df["sigma_d"] == 0.2) & (df["train_seed"] == seed)]
                for m in ("gaussian", "none"))  # fmt: skip
        column = "ekl" if of == "ekl" else "accuracy"
        pair = a[column].to_numpy(), b[column].to_numpy()
        found.append(statistics.kpp_difference(*pair, 5) if of == "kpp" else statistics.paired(*pair))
    over = statistics.mean([e.value for e in found])
    assert row["each"] == pytest.approx([e.value for e in found])
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((over.value, over.low, over.high))
    assert row["chips_low"] == pytest.approx(np.mean([e.low for e in found]))
    assert (row["seeds"], row["chips"]) == (3, 400)


def test_differences_pair_only_what_both_met(df):
    fewer = df[(df["method"] == "none") | (df["chip"] < 300)]
    row = summary.differences(fewer, "none", "mean").iloc[2]
    assert row["chips"] == 300
    alone = df[(df["method"] == "none") | (df["train_seed"] == 1)]
    one = summary.differences(alone, "none", "mean").iloc[2]
    assert one["seeds"] == 1 and math.isnan(one["low"]) and one["chips_low"] < one["chips_high"]
    wins = df.assign(accuracy=np.where(df["method"] == "none", 50.0, 51.0))
    assert (summary.differences(wins, "none")["wins"] == 1).all()


def test_difference_figure_draws_the_table(df):
    fig = figures.difference_curves(tidy(methods=("none", "gaussian", "trice")), "gaussian", k=1)
    table = summary.differences(tidy(methods=("none", "gaussian", "trice")), "gaussian", k=1)
    drawn = named(fig, "TRICE")
    assert list(drawn.y) == list(table[table["method"] == "trice"]["difference"])
    assert "beside Gauss" in fig.layout.title.text and "Gauss (points)" in fig.layout.yaxis.title.text


def test_a_difference_stands_about_its_tick_whoever_else_is_there():
    methods = ("none", "gaussian", "rc", "lc", "rt", "lt", "trice", "ovf", "irs")
    held = tidy(methods=methods)
    held = held[(held["sigma_d"] < 0.4) | held["method"].isin(["none", "gaussian"])]  # one alone beside the baseline
    fig = figures.difference_curves(held, "gaussian")
    ticks, (low, high) = fig.layout.xaxis.tickvals, fig.layout.xaxis.range
    assert max(ticks) == 0.4 and low < min(ticks) and high > max(ticks)
    assert named(fig, "w/o noise").x[-1] == 0.4
    drawn = [t for t in fig.data if t.showlegend is not False]
    assert all(low < at < high and min(abs(at - tick) for tick in ticks) < 0.05 for t in drawn for at in t.x)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"of": "median"}, "kpp"), ({"baseline": "rc"}, "no 'rc' to compare with"), ({"k": 0}, "percentile"),
    ],
)  # fmt: skip
def test_differences_refuse_what_cannot_be_compared(df, change, said):
    with pytest.raises(InputError, match=said) as error:
        summary.differences(df, **{"baseline": "none", **change})
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="pair with"):
        summary.differences(df[(df["method"] == "none") == (df["train_seed"] == 0)], "none")
