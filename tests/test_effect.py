"""What the methods do to real chips: LeNet on MNIST, at least three training seeds, differences on the same chips.

Short trainings of their own (slow), so that a change of the code shows; the shipped ones are in `results/`.
"""

import pytest

from nvlib import Study, store, studies, summary

SIGMA_D = 0.2
NOISY = ("gaussian", "rc", "trice", "trice_gauss", "ovf", "irs")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three epochs over 20,000 training images, 100 chips over all test images: an eighth of the shipped training."""
    where = store.Store(runs=tmp_path_factory.mktemp("runs"), shipped=None)
    search = {"warm": 0, "n_train": 100, "images": 500}
    study = Study(
        methods=("none", *NOISY), sigma_d=(SIGMA_D,), seeds=(0, 1, 2), epochs=3, chips=100, images=20_000,
        parameters={"trice": search, "trice_gauss": search},
    )  # fmt: skip
    return studies.run(study, where, progress=False)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # 21 trainings: a quarter of an hour of one core
@pytest.mark.parametrize("of", ["mean", "kpp"])
@pytest.mark.parametrize("method", NOISY)
def test_training_with_noise_beats_training_without(trained, method, of):
    """Each training by itself, and the interval over chips lies above zero.

    Over three short trainings an interval (Student, two degrees of freedom) is four standard errors wide: 10.7
    [-4.3, 25.6] points of mean for Gauss. That it excludes zero is asked of the shipped trainings, below.
    """
    table = summary.differences(trained, "none", of, k=5)
    row = table[table["method"] == method].iloc[0]
    assert row["seeds"] == 3 and min(row["each"]) > 0
    assert row["chips_low"] > 0, f"{method}: {row['difference']:.1f} [{row['chips_low']:.1f}, {row['chips_high']:.1f}]"


def test_shipped_gauss_beats_no_noise_from_sigma_d_0_2_on(tmp_path):
    """In the mean and at the first percentile: over chips at all three, over trainings (three of them) up to 0.3."""
    shipped = store.results(
        store.Store(runs=tmp_path), plain=True, network="lenet", protocol="matched", method=["none", "gaussian"],
        sigma_d=[0.2, 0.3, 0.4], device="rram", epochs=10, images=10_000,
    )  # fmt: skip
    for of in ("kpp", "mean"):
        table = summary.differences(shipped, "none", of)
        assert list(table["sigma_d"]) == [0.2, 0.3, 0.4] and (table["seeds"] == 3).all()
        assert (table["chips_low"] > 0).all() and (table["low"][:2] > 0).all()


METHODS = ("rc", "ovf", "irs", "trice", "trice_gauss", "correctnet", "lc", "rt", "lt")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    return store.results(
        store.Store(runs=tmp_path_factory.mktemp("none")), plain=True, network="lenet", protocol="matched",
        sigma_d=[0.1, 0.2, 0.3], device="rram", epochs=10, images=10_000, method=["none", "gaussian", *METHODS],
    )  # fmt: skip


def test_every_method_ships_with_three_trainings_at_three_sigma_d(shipped):
    """Four hundred chips each, over all test images, on the same chips: what differences are paired by."""
    sizes = shipped.groupby(["method", "sigma_d", "train_seed"], observed=True).chip.nunique()
    assert sizes.loc[list(METHODS)].shape == (len(METHODS) * 9,) and (sizes >= 400).all()
    assert set(shipped.chip_seed) == {0}


def test_trice_and_its_control_ship_with_their_search(shipped):
    """Both begin with the quartiles of [0, 2 sigma_d] and score them on validation images, so neither had a start."""
    where = store.Store(runs=store.shipped_results() / "none")
    for method in ("trice", "trice_gauss"):
        for row in shipped[shipped.method == method].drop_duplicates("training").itertuples():
            trace = where.trace(row.training)
            first = trace[trace.epoch == 1]
            assert list(first.sigma_t) == pytest.approx([0.5 * row.sigma_d, row.sigma_d, 1.5 * row.sigma_d])
            assert (trace.kpp.notna() == (trace.chips == 300)).all() and trace.kpp.notna().any()
            assert trace.groupby("epoch").chosen.sum().le(1).all()


@pytest.mark.parametrize("method", [m for m in METHODS if m != "correctnet"])
def test_what_ships_of_noise_in_training_beats_none_from_0_2_on(shipped, method):
    """On the chips of each training, in the mean and at the first percentile; CorrectNet injects no noise."""
    for of in ("kpp", "mean"):
        table = summary.differences(shipped[shipped.method.isin([method, "none"])], "none", of)
        table = table[table.sigma_d >= 0.2]
        assert (table["seeds"] == 3).all() and all(min(each) > 0 for each in table["each"])
