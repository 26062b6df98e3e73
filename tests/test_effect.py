"""What the methods do to real chips: LeNet on MNIST, at least three training seeds, differences on the same chips.

Short trainings of their own (slow), so that a change of the code shows; the shipped ones are in `results/`.
"""

import pytest

from nvlib import Study, figures, store, studies

SIGMA_D = 0.2
NOISY = ("gaussian", "rc", "trice", "trice_gauss", "ovf", "irs")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two epochs over all training images, 100 chips over 2,000 test images: each a fifth of the shipped protocol."""
    where = store.Store(runs=tmp_path_factory.mktemp("runs"), shipped=None)
    search = {"warm": 0, "n_train": 100, "images": 500}
    study = Study(
        methods=("none", *NOISY), sigma_d=(SIGMA_D,), seeds=(0, 1, 2), epochs=2, chips=100,
        parameters={"trice": search, "trice_gauss": search},
    )  # fmt: skip
    return studies.run(study, where, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("of", ["mean", "kpp"])
@pytest.mark.parametrize("method", NOISY)
def test_training_with_noise_beats_training_without(trained, method, of):
    """Each seed by itself, and the interval over the three trainings lies above zero."""
    table = figures.differences(trained, "none", of, k=5)
    row = table[table["method"] == method].iloc[0]
    assert row["seeds"] == 3 and min(row["each"]) > 0
    assert row["low"] > 0, f"{method}: {row['difference']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"


def test_shipped_gauss_beats_no_noise_from_sigma_d_0_2_on(tmp_path):
    """In the mean and at the first percentile: over chips at all three, over trainings (three of them) up to 0.3."""
    shipped = store.results(
        store.Store(runs=tmp_path), network="lenet", protocol="matched", method=["none", "gaussian"],
        sigma_d=[0.2, 0.3, 0.4], device="rram", epochs=10, images=10_000,
    )  # fmt: skip
    for of in ("kpp", "mean"):
        table = figures.differences(shipped, "none", of)
        assert list(table["sigma_d"]) == [0.2, 0.3, 0.4] and (table["seeds"] == 3).all()
        assert (table["chips_low"] > 0).all() and (table["low"][:2] > 0).all()
