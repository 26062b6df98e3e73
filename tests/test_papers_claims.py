"""The claims table on a store of made-up samples whose answers are known, and on a study that is really run."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nvlib import InputError, papers
from nvlib.papers import measures, nft
from nvlib.papers.select import Protocol
from nvlib.papers.trice import LENET_MNIST, PARAMETERS, lenet
from nvlib.records import Evaluation, Training, digest
from nvlib.store import Store, describe

ROOT = Path(__file__).parents[1]
TH2 = {"th": 2.0, "sigma_t": None, "ratio": 1.0, "space": "weight"}
SEARCH = {"th": 2.0, "start": 0.0, "end": 2.0, "k": 1, "space": "weight", "warm": 2}
OVF = {"n": 3, "step": 0.05, "reverse": False, "beta": 1e-3}


def ship(target, samples):
    """Write a shipped table of (method, sigma_d, seed, parameters, accuracies, changes of the records)."""
    records, parts = {}, []
    for method, sigma_d, seed, parameters, accuracy, more in samples:
        more = dict(more)
        images = more.pop("test_images", 10_000)
        training = Training(
            **{
                "network": "lenet", "width": 1.0, "dataset": "mnist", "fingerprint": "f", "images": 55_000,
                "method": method, "parameters": parameters, "device": {"name": "rram"}, "sigma_d": sigma_d,
                "reference": "full_scale", "mapping": "differential", "bits": 4, "activation_bits": 4, "epochs": 10,
                "recipe": {}, "seed": seed, **more,
            }
        )  # fmt: skip
        evaluation = Evaluation(
            training=digest(training), device={"name": "rram"}, sigma_d=sigma_d, reference="full_scale",
            mapping=training.mapping, bits=training.bits, images=images, deployment=None, seed=0,
        )  # fmt: skip
        records[digest(training)] = {"record": vars(training), "history": {"noisy": [float(np.mean(accuracy))]}}
        said = describe(digest(evaluation), vars(training), vars(evaluation))
        scores = {"chip": np.arange(len(accuracy)), "accuracy": accuracy, "loss": 1.0, "ekl": 0.1}
        parts.append(pd.DataFrame({**said, **scores}))
    home = target / "made-up"
    home.mkdir(parents=True)
    (home / "records.json").write_text(json.dumps(records))
    pd.concat(parts, ignore_index=True).assign(origin="shipped").to_parquet(home / "samples.parquet")
    return papers.Evidence(Store(target / "no runs", target))


def chips(mean, seed=0, n=400, spread=2.0):
    """Accuracies of chips that are the same luck for every method: paired differences are exact."""
    return mean + spread * np.random.default_rng(seed).standard_normal(n)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Three seeds; TRICE 20 +- 1 above Gauss at 0.3, none far below; OVF 2 above; another beta and another N beside."""
    rows = []
    for seed, luck in enumerate((-1.0, 0.0, 1.0)):
        base = chips(60, seed)
        rows += [
            ("none", 0.3, seed, {}, base - 50, {"device": None, "sigma_d": 0.3}),
            ("gaussian", 0.3, seed, {}, base, {}),
            ("trice", 0.3, seed, SEARCH, base + 20 + luck, {}),
            ("trice_gauss", 0.3, seed, SEARCH, base + 20, {}),
            ("rc", 0.3, seed, TH2, base + 3 * luck, {}),
            ("ovf", 0.3, seed, OVF, base + 2, {}),
            ("ovf", 0.3, seed, {**OVF, "n": 1}, base + 9, {}),
            ("gaussian", 0.3, seed, {}, base - 30, {"epochs": 3}),  # a smaller study: never mixed in
            ("gaussian", 0.3, seed, {}, base - 30, {"images": 1000, "test_images": 1000}),
        ]
    return ship(tmp_path_factory.mktemp("shipped"), rows)


def row(table, says):
    return table[table.claim.str.startswith(says)].iloc[0]


def test_table1_is_measured_where_the_paper_puts_its_largest_difference(results):
    table = papers.claims_table(results, ["trice-table1"])
    trice = row(table, "TRICE lies above Gauss")
    assert trice.ours == pytest.approx(20, abs=1e-9) and trice.printed == 15.42 and trice["at"] == "sigma_d = 0.3"
    # differences 19, 20, 21 over three seeds: t with two degrees of freedom, 4.303 / sqrt(3)
    assert (trice.low, trice.high) == pytest.approx((20 - 4.302653 / 3**0.5, 20 + 4.302653 / 3**0.5), abs=1e-6)
    assert trice.verdict == "holds" and trice.main and trice.n == 3
    assert "3 trainings of 10 epochs on 55,000 images; 400 chips each" in trice.protocol
    censoring = row(table, "RC at sigma_t = sigma_d")
    assert censoring.ours == pytest.approx(0, abs=1e-9)
    assert censoring.verdict == "undecided" and censoring.said_by == "this project"
    search = row(table, "TRICE lies above the same search")
    assert search.ours == pytest.approx(0, abs=1e-9) and search.verdict == "undecided"
    missing = row(table, "CorrectNet")
    assert missing.verdict == "not yet computed" and missing.note.startswith("reproduce trice-table1")


def test_the_largest_study_answers_and_sizes_are_never_mixed(results):
    rows, setting = results.select(lenet(), ("gaussian", "trice"))
    assert set(rows.epochs) == {10} and set(rows.train_images) == {55_000} and setting.substitute == ""
    small = results.select((Protocol({**LENET_MNIST, "images": 1000}, parameters=PARAMETERS),), ("gaussian",))[0]
    assert set(small.train_images) == {1000}
    assert results.select(lenet(), ("gaussian", "lc")) is None
    some = results.select(lenet(), ("gaussian", "trice", "lc"), need=2)[0]
    assert set(some.method) == {"gaussian", "trice"}


def test_a_long_study_that_is_begun_answers_claims_and_displaces_no_picture(tmp_path):
    base = chips(60, 0)
    store = ship(tmp_path, [
        (method, 0.3, 0, SEARCH if method == "trice" else {}, base, {"epochs": epochs})
        for epochs, methods in {10: ("none", "gaussian", "trice"), 100: ("none", "gaussian")}.items()
        for method in methods
    ])  # fmt: skip
    assert set(store.select(lenet(), ("none", "gaussian"))[0].epochs) == {100}
    picture = store.select(lenet(), ("none", "gaussian", "trice", "lc"), need=2)[0]
    assert set(picture.epochs) == {10} and set(picture.method) == {"none", "gaussian", "trice"}


def test_a_method_stands_for_its_usual_parameters_unless_others_are_asked_for(results):
    where = (Protocol(LENET_MNIST, parameters=nft.PARAMETERS),)
    usual = measures.gain("ovf", "gaussian", "mean")(results, where)
    single = measures.gain("ovf", "gaussian", "mean", parameters={"ovf": {"n": 1}})(results, where)
    assert (usual.estimate.value, single.estimate.value) == pytest.approx((2, 9))
    more = measures.change("ovf", "mean", {"n": 3}, {"n": 1})(results, lenet())
    assert more.estimate.value == pytest.approx(-7)


def test_a_substitute_is_said_and_held_back(results):
    table = papers.claims_table(results, ["nft-fig3"])
    ovf = table.iloc[0]
    assert ovf.ours == pytest.approx(2) and ovf.verdict == "holds in direction"
    assert ovf.substitute.startswith("LeNet") and len(table) == 12
    assert set(table.verdict[2:]) == {"not yet computed"}


def test_up_to_over_several_sigma_d_holds_for_all_of_them(tmp_path):
    rows = []
    for sigma_d, gap in ((0.1, 1.0), (0.2, 4.0)):
        for seed, luck in enumerate((-1.0, 0.0, 1.0)):
            rows += [("gaussian", sigma_d, seed, {}, chips(60, seed), {}),
                     ("trice", sigma_d, seed, SEARCH, chips(60 + gap + luck, seed), {})]  # fmt: skip
    found = measures.gain("trice", "gaussian")(ship(tmp_path, rows), lenet())
    half = 6.205347 / 3**0.5  # t of two degrees of freedom at 1 - 0.05 / 2 / 2
    assert found.estimate.value == pytest.approx(4) and found.at == "sigma_d = 0.2"
    assert (found.estimate.low, found.estimate.high) == pytest.approx((4 - half, 4 + half), abs=1e-5)


def test_the_other_convention_stands_beside(tmp_path):
    rows = [(m, 0.3, s, {} if m == "gaussian" else SEARCH, chips(60 + 5 * (m == "trice"), s), {"mapping": mapping})
            for m in ("gaussian", "trice") for s in (0, 1, 2) for mapping in ("differential", "signed")]  # fmt: skip
    table = papers.claims_table(ship(tmp_path, rows), ["trice-table1"])
    both = table[table.claim.str.startswith("TRICE lies above Gauss")]
    assert both.main.tolist() == [True, False]
    assert ["differential" in both.protocol.iloc[0], "signed" in both.protocol.iloc[1]] == [True, True]


def test_the_grid_rises_then_falls(tmp_path):
    def score(ratio, th):
        return 80 - 10 * abs(ratio - 1) - 5 * abs(th - 2)

    rows = [("rc_manual", 0.25, 0, {**TH2, "ratio": r, "th": t}, chips(score(r, t), 0, spread=0.5), {})
            for r in (0.5, 1.0, 2.0) for t in (1.0, 2.0, 3.0)]  # fmt: skip
    results = ship(tmp_path, rows)
    (claim,) = papers.claims_table(results, ["trice-fig4"]).itertuples()
    # the least of the four: th = 1 and 3 lie 5 below, sigma_t's ends 5 and 10
    assert claim.ours == pytest.approx(5) and claim.low > 0 and claim.verdict == "holds"
    assert len(papers.grid(results)) == 9 * 400
    assert results.manual(lenet()) == {"ratio": 1.0, "th": 2.0}
    falling = [(m, s, seed, p, a - 40 * (p["ratio"] == 1), {}) for m, s, seed, p, a, _ in rows]
    (claim,) = papers.claims_table(ship(tmp_path / "b", falling), ["trice-fig4"]).itertuples()
    assert claim.verdict == "does not hold"


def test_trainings_that_fail_to_converge(tmp_path):
    rows, vgg8 = [], {"mapping": "signed", "network": "vgg8", "bits": 8}
    for seed in range(10):
        rows += [
            ("gaussian", 0.35, seed, {}, chips(90 if seed % 2 else 40, seed), vgg8),
            ("ovf", 0.35, seed, OVF, chips(90, seed), vgg8),
        ]  # fmt: skip
    results = ship(tmp_path, rows)
    table = papers.claims_table(results, ["ovf-convergence"])
    assert table.ours.iloc[0] == pytest.approx(50) and table.low.iloc[0] > 0 and table.verdict.iloc[0] == "holds"
    shown = papers.rows("ovf-convergence", ("gaussian", "ovf"), results, sigma_d=0.35)
    assert papers.convergence(shown).set_index("method").failed.to_dict() == {"gaussian": 5, "ovf": 0}


def test_say_and_origin_are_sentences(results):
    text = papers.say("trice-table1", results)
    assert "TRICE lies above Gauss (printed: 15.42 points): ours 20.0" in text and "HOLDS" in text
    shown = papers.rows("trice-table1", ("none", "gaussian", "trice"), results)
    assert papers.origin(shown).startswith("Shown: shipped results; LeNet/MNIST")
    assert papers.origin(pd.DataFrame()) == "not yet computed"
    assert papers.draw(len, pd.DataFrame()) is None


def test_by_hand_agrees_with_the_library(results):
    from nvlib.summary import differences

    shown = papers.rows("trice-table1", ("none", "gaussian", "trice"), results)
    by_hand = papers.kpp_by_hand(shown, "trice", "gaussian")
    library = differences(shown[shown.method.isin(["trice", "gaussian"])], "gaussian")
    assert papers.agree(by_hand, library) and len(by_hand) == 3
    assert not papers.agree(by_hand.assign(difference=by_hand.difference + 0.01), library)


def test_what_is_left_of_a_low_ekl_is_said():
    table = pd.DataFrame({"method": ["gaussian", "ovf"], "EKL at T = 1": [0.07, 0.009], "EKL at T = 4": [0.7, 0.08]})
    assert papers.scale_said(table) == (
        "OVF's EKL is 0.0090 nats as run and 0.0800 with the logits that its training saw; Gauss's is 0.0700."
    )
    assert papers.scale_said(table.head(1)) == "not yet computed"
    assert papers.scale_said(papers.ekl_by_temperature(pd.DataFrame())) == "not yet computed"


# -- what ships ------------------------------------------------------------------------------------------------------


def test_the_claims_table_of_what_ships_has_a_row_for_every_artefact(evidence, tmp_path):
    table = papers.claims_table(evidence)
    assert set(table.artefact) == set(papers.ARTEFACTS)
    assert table[table.main].artefact.tolist() == list(papers.ARTEFACTS)
    assert set(table.verdict) <= set(papers.VERDICTS)
    assert (table.ours.notna() | (table.verdict == "not yet computed")).all()
    for r in table[table.ours.notna() & table.low.notna()].itertuples():
        assert r.low <= r.ours <= r.high
    written = pd.read_csv(papers.write_claims(tmp_path / "claims.csv", evidence))
    assert len(written) == len(table) and written.verdict.tolist() == table.verdict.tolist()


def test_the_committed_claims_are_what_the_shipped_results_say(evidence):
    committed, fresh = pd.read_csv(ROOT / "results" / "claims.csv"), papers.claims_table(evidence)
    assert committed.claim.tolist() == fresh.claim.tolist()
    assert committed.verdict.tolist() == fresh.verdict.tolist()
    assert np.allclose(committed.ours, fresh.ours.astype(float), atol=1e-3, equal_nan=True)  # printed with four digits


def test_the_claims_of_one_paper(evidence):
    whole = papers.claims_table(evidence)
    for paper in ("TRICE", "TSB"):
        mine = papers.claims_table(evidence, paper=paper)
        pd.testing.assert_frame_equal(mine, whole[whole.paper == paper].reset_index(drop=True), check_dtype=False)
    with pytest.raises(InputError, match=r"unknown paper 'TRIC' .*TRICE"):
        papers.claims_table(evidence, paper="TRIC")


def test_derivatives_are_compared_seed_by_seed(tmp_path):
    """III-C's measure against the shipped table, by hand; a store without shipped results has none."""
    from nvlib.papers import theory
    from nvlib.papers.trice import derivative

    measure = derivative("f2", "none", "gaussian")
    assert measure(papers.Evidence(Store(tmp_path, None)), ()) is None
    held = theory.table("snapshots").set_index(["method", "train_sigma_d", "train_seed", "split", "layer"]).f2
    trained = ("none", 0.0), ("gaussian", 0.2)
    none, gauss = ([held[*model, seed, "train", "all"] for seed in range(3)] for model in trained)
    rise = [100 * a / b - 100 for a, b in zip(none, gauss, strict=True)]
    found = measure(papers.Evidence(), ())
    assert found.estimate.value == pytest.approx(np.mean(rise)) and found.estimate.n == 3


# -- a study, really run ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_pretrained_model_is_trained_on_and_stays_apart(tmp_path, monkeypatch):
    store = Store(tmp_path / "runs", None)
    table = papers.compute("nft-table2", "smoke", store)
    assert set(table.method) == {"none", "ovf", "irs"}
    results = papers.Evidence(store)
    assert set(results.table.start) == {"", "pretrained"}
    later = results.table[results.table.start == "pretrained"]
    assert set(later.method) == {"ovf", "irs"}
    shown = papers.variants("nft-table2", results)
    assert shown.ours.notna().all() and "64 images" in shown.attrs["origin"]
    again = papers.compute("nft-table2", "smoke", store)
    pd.testing.assert_frame_equal(table, again)
    both = papers.compute("nft-table2", "smoke", Store(tmp_path / "both", None), workers=2)
    assert set(both.run) == set(table.run)  # the same trainings from the same models, by two processes


@pytest.mark.slow
def test_ekl_by_temperature_repeats_the_stored_ekl(tmp_path):
    """At T = 1 the recomputed EKL of the same chips and images is the one in the store."""
    store = Store(tmp_path / "runs", None)
    entry = {"network": "lenet3", "images": 200, "epochs": 1, "chips": 8, "sigma_d": (0.1,), "methods": ("gaussian",)}
    from nvlib.papers.presets import as_study
    from nvlib.studies import run

    rows = run(as_study(entry), store, progress=False)
    found = papers.ekl_by_temperature(rows, chips=8, images=200, store=store).iloc[0]
    assert found["EKL at T = 1"] == pytest.approx(rows.ekl.mean(), rel=1e-5)
    assert found.accuracy == pytest.approx(rows.accuracy.mean())
    assert found["EKL at T = 4"] > found["EKL at T = 1"]


@pytest.mark.slow
def test_many_chips_grow_and_are_kept_apart(tmp_path, monkeypatch):
    from nvlib.papers import kpp_convergence
    from nvlib.papers.presets import as_study
    from nvlib.studies import run

    store = Store(tmp_path / "runs", None)
    entry = {"network": "lenet3", "images": 200, "epochs": 1, "chips": 4, "sigma_d": (0.2,), "methods": ("gaussian",)}
    run(as_study(entry), store, progress=False)
    where = (Protocol({"network": "lenet3"}),)
    monkeypatch.setitem(kpp_convergence.SIZES, "smoke", (30, 50))
    few = papers.many_chips(where, "smoke", store)
    monkeypatch.setitem(kpp_convergence.SIZES, "smoke", (60, 50))
    many = papers.many_chips(where, "smoke", store)
    assert (len(few), len(many)) == (30, 60) and set(many.images) == {50}
    assert np.array_equal(few.accuracy, many.accuracy[:30])
    assert set(papers.Evidence(store).select(where, ("gaussian",))[0].images) == {200}


@pytest.mark.parametrize("name", ["nft-table1", "nft-reverse-gamma", "nft-reverse-sigma", "nft-classifier-noise",
                                  "nft-table2"])  # fmt: skip
def test_an_ablation_that_ships_is_shown_at_the_sigma_d_it_was_computed_at(name, tmp_path):
    """The defaults are at other sigma_d too, from the curves, where their variants are not."""
    table = papers.variants(name, papers.Evidence(Store(runs=tmp_path)))
    assert table.ours.notna().all() and (table.chips >= 200).all()
