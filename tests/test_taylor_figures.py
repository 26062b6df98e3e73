"""Figures of the Taylor analysis: what they draw is what the tables hold."""

import numpy as np
import pandas as pd
import pytest

from nvlib import InputError, figures, taylor

METHODS = ("none", "rc")


def several(table):
    return pd.concat([table.assign(method=method) for method in METHODS], ignore_index=True)


def predicted():
    rows = [
        {"sigma_d": s, "law": law, "k": k, "percentile": 0.1 + s, "seen": 0.1 + 2 * s, "low": 0.1, "high": 0.3 + 2 * s,
         "chips": 400}
        for s in (0.05, 0.1) for law in taylor.LAWS for k in (1.0, 5.0)
    ]  # fmt: skip
    return several(pd.DataFrame(rows))


def traces(fig, name):
    return [trace for trace in fig.data if trace.name == name]


def test_one_weight_shows_every_law_with_the_simulation():
    table = taylor.compare(np.linspace(0, 1, 9), 4.0, 0.1, f0=0.05, draws=2000, every=4)
    fig = figures.one_weight(table)
    assert [t.name for t in fig.data] == [
        "Eq. 6 as printed",
        "Eq. 6 with 1 − q",
        "exact law",
        "simulated, 95 % interval",
    ]
    np.testing.assert_allclose(traces(fig, "exact law")[0].y, table[table.law == "exact"].value)
    assert len(fig.data[-1].x) == 3 and fig.data[-1].error_y.visible
    assert "1 % of chips" in fig.layout.yaxis.title.text


def test_the_effect_of_the_slope_has_a_line_a_slope():
    curves = pd.DataFrame({"q": [0.01, 0.1] * 2, "slope": ["a", "a", "b", "b"], "effect": [1.0, 2.0, 3.0, 4.0]})
    fig = figures.slope_effect([0.317], curves)
    assert [list(t.y) for t in fig.data] == [[1, 2], [3, 4]]


def test_percentiles_have_a_panel_a_model_and_a_line_a_law():
    fig = figures.loss_percentiles(predicted(), k=1)
    assert len(traces(fig, "full Hessian")) == len(traces(fig, "chips, 95 % interval")) == 2
    assert list(traces(fig, "full Hessian")[0].y) == [0.15000000000000002, 0.2]
    assert "99th percentile" in fig.layout.title.text
    assert {a.text for a in fig.layout.annotations} == {"w/o noise", "RC"}


def test_quantiles_on_the_line_where_prediction_holds():
    said = np.linspace(1, 2, 30)
    table = several(pd.DataFrame({"sigma_d": 0.1, "p": np.linspace(0.01, 0.99, 30), "predicted": said, "seen": said}))
    fig = figures.loss_quantiles(table)
    lines = [t for t in fig.data if t.name]
    assert len(lines) == 2
    np.testing.assert_allclose(lines[0].x, lines[0].y)


def test_chip_by_chip_needs_predictions():
    table = several(pd.DataFrame({"sigma_d": 0.1, "loss": [1.0, 2.0], "taylor": [1.1, np.nan]}))
    fig = figures.chip_losses(table, [0.1, 0.2])
    assert [list(t.x) for t in fig.data if t.name] == [[1.1], [1.1]]
    with pytest.raises(InputError, match=r"0\.1"):
        figures.chip_losses(table, [0.2])


@pytest.mark.parametrize("place", ["layer", "slice"])
def test_shares_put_the_simulation_on_the_bars(place):
    table = several(
        pd.DataFrame({place: ["conv1.weight", "fc1.weight"] if place == "layer" else [0, 1], "mean": [1.0, 3.0],
                      "mean_share": [0.25, 0.75], "mean_seen": [1.1, 2.0], "mean_error": 0.1, "sigma_d": 0.05})
    )  # fmt: skip
    fig = figures.variance_shares(table)
    bars = traces(fig, "predicted")
    assert list(bars[0].y) == [1.0, 3.0] and bars[0].x[1].endswith("<br>75 %") and ".weight" not in bars[0].x[0]
    assert list(traces(fig, "simulated, ± 2 standard errors")[1].y) == [1.1, 2.0]


def test_ranks_are_averaged_over_trainings():
    table = several(pd.DataFrame({"sigma_d": [0.1, 0.1, 0.2], "rank": [-0.5, -0.7, -0.9]}))
    fig = figures.loss_and_accuracy(table)
    np.testing.assert_allclose(fig.data[0].y, [0.6, 0.9])


def test_derivatives_by_epoch_leave_the_untrained_network_out():
    rows = several(
        pd.DataFrame({"epoch": [0, 1, 2], "split": "test", "layer": "all", "sigma_d": 0.2, "seed": 0, "noisy": 90.0,
                      "f": 1.0, "f1": [9.0, 2.0, 3.0], "f2": 1.0, "slope": 1.0, "curvature": 1.0})
    )  # fmt: skip
    fig = figures.derivatives_by_epoch(rows)
    assert len(fig.data) == 12 and all(list(t.x) == [1, 2] for t in fig.data)
    with pytest.raises(InputError, match="empty"):
        figures.derivatives_by_epoch(rows, split="train")


def test_a_table_of_something_else_is_refused():
    with pytest.raises(InputError, match="lacks"):
        figures.loss_percentiles(pd.DataFrame({"sigma_d": [0.1]}))
    with pytest.raises(InputError, match="at least one cut"):
        figures.loss_cut([])
