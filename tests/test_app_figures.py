"""What the dashboard brought to the library: places of methods, and how far the weights of each layer stray."""

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic import tidy

import nvlib
from nvlib import crossbar, figures, models
from nvlib.errors import InputError


def test_ranks_put_the_best_first_and_equal_ones_level():
    df = tidy(methods=("none", "gaussian"), sigmas=(0.2,), chips=40)
    table = figures.ranks(df, "mean").set_index("method")
    best = table["value"].idxmax()
    assert table.loc[best, "rank"] == 1 and sorted(table["rank"]) == [1, 2] and set(table["methods"]) == {2}
    assert figures.ranks(df, "ekl").set_index("method").loc[best, "rank"] == 1  # lower is better, and goes with it
    twice = pd.concat([df[df["method"] == "none"].assign(method=m) for m in ("none", "rc")], ignore_index=True)
    assert set(figures.ranks(twice)["rank"]) == {1}
    with pytest.raises(InputError, match="kpp"):
        figures.ranks(df, "median")


def test_ranking_draws_a_line_a_method():
    fig = figures.ranking(tidy(methods=("none", "gaussian", "trice"), chips=20), "mean")
    assert [t.name for t in fig.data] == ["w/o noise", "Gauss", "TRICE"]
    assert fig.layout.yaxis.range[0] > fig.layout.yaxis.range[1]  # the best on top


@pytest.mark.parametrize(("device", "mapping"), [("rram", "differential"), ("fefet1", "signed"), ("pcm", "signed")])
def test_deviations_are_those_of_programmed_chips(device, mapping):
    """400 chips of 4,050 weights and more: the root mean square of z is within 0.1 % of 1 at four standard errors."""
    model = models.build("lenet3", seed=0)
    table = crossbar.deviations(model, device, 0.5, mapping=mapping).set_index("name")
    assert list(table.index) == crossbar.array_weights(model)
    name = table["weights"].idxmax()
    clean = nvlib.program(model, device, 0.0, mapping=mapping)[name]
    strayed = nvlib.program(model, device, 0.5, index=range(400), mapping=mapping)[name] - clean
    n = strayed.numel()
    seen = float(strayed.double().square().mean().sqrt())
    assert table.loc[name, "deviation"] == pytest.approx(seen, rel=4 * (2 / n) ** 0.5)  # fourth moments: levels differ
    w = dict(model.named_parameters())[name].detach()
    assert table.loc[name, "typical"] == pytest.approx(float(w.square().mean().sqrt()), rel=1e-6)
    assert table.loc[name, "largest"] == pytest.approx(float(w.abs().max()), rel=1e-6)


def test_without_variation_nothing_strays():
    model = models.build("lenet3", seed=0)
    assert (crossbar.deviations(model, "rram", 0.0)["deviation"] == 0).all()
    assert not any(w.requires_grad for w in nvlib.program(model, "rram", 0.1).values())
    fig = figures.layer_deviations(crossbar.deviations(model, "rram", 0.1), "a note")
    assert len(fig.data) == 2 and "a note" in fig.layout.title.subtitle.text
    with pytest.raises(InputError, match="that of nvlib"):
        figures.layer_deviations(pd.DataFrame({"name": []}))


def test_noise_needs_no_torch_for_its_figures():
    import subprocess
    import sys

    code = "import sys; from nvlib import figures; figures.noise_laws(2, 1); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert torch.isfinite(nvlib.noise.get("rc", 2).quantile(torch.tensor([1e-9, 0.5, 1 - 1e-9]))).all()


def test_shares_of_layers_and_slices_are_those_of_the_cells():
    """Against sums over single weights: f' dw + f'' dw^2 / 2 of independent weights, two slices of 2-bit cells."""
    rng, sigma = np.random.default_rng(0), 0.3
    parts = np.array([1.0, 4.0]) / np.hypot(1, 4)  # of a weight's deviation: 2^(jK) over the root of their squares
    rows, cells = [], {}
    for name in ("a.weight", "b.weight"):
        b, a = rng.normal(size=50), rng.normal(size=50)
        rows.append({"layer": name, "slope": np.linalg.norm(b), "mean": sigma**2 * a.sum() / 2, "sigma_d": sigma,
                     "variance": sigma**2 * b @ b + sigma**4 * a @ a / 2})  # fmt: skip
        for j, part in enumerate(parts):
            s = sigma * part
            cells[name, j] = (s**2 * a.sum() / 2, s**2 * b @ b + s**4 * a @ a / 2)
    bits = pd.DataFrame({"slice": [0, 1], "mean_share": parts**2})
    table = figures.share_table(pd.DataFrame(rows), bits)
    for row in table.itertuples():
        assert (row.mean, row.variance) == pytest.approx(cells[row.layer, row.slice], rel=1e-12)
    assert table["variance_share"].sum() == pytest.approx(1)
    fig = figures.share_map(table, "variance", "none")
    assert [point[:2] for point in fig.data[0].customdata] == [["a.weight", 0], ["a.weight", 1], ["b.weight", 0],
                                                              ["b.weight", 1]]  # fmt: skip
    sides = np.array(fig.data[1].marker.size)
    assert sides**2 / (sides**2).sum() == pytest.approx(table["variance_share"], rel=1e-9)  # areas, not sides


def test_energy_of_writing_is_that_of_the_table():
    from nvlib import hardware

    table = hardware.programming(models.build("lenet3", seed=0), sigma_d=0.1)
    assert hardware.written_energy(table["pulses"], table["reads"]) == pytest.approx(table["energy"].to_numpy())


def test_a_kind_of_picture_is_checked():
    with pytest.raises(InputError, match="png"):
        figures.picture(figures.noise_laws(2, 1), "gif")
