"""Where large networks are computed: the rule, the ladder, the study's file; and what stands in for a paper's case."""

import pandas as pd
import pytest
from synthetic import tidy

from nvlib import InputError, figures, papers, studies
from nvlib.__main__ import main
from nvlib.papers import computation, operating_points, presets, registry, substitutes, write_studies
from nvlib.papers.rules import judge
from nvlib.records import digest
from nvlib.statistics import Estimate
from nvlib.store import Store, results
from nvlib.studies import files
from nvlib.studies import perform as work

LADDER = presets.LADDER
PANEL = {
    "network": "lenet3", "dataset": "mnist", "images": 200, "epochs": 1, "chips": 3, "seeds": (0,), "mapping": "signed",
    "recipe": {"lr": 3e-3, "batch_size": 32}, "methods": ("none", "gaussian", "ovf"),
    "parameters": {"ovf": {"beta": 1e-2}}, "sigma_d": LADDER, "operating_points": ("panel", "both"),
}  # fmt: skip


def curve(*accuracies):
    return dict(zip(LADDER, accuracies, strict=False))


@pytest.mark.parametrize(
    ("accuracies", "chance", "found"),
    [
        ((), 10, None),
        ((90, 89, 83), 10, None),  # 0.91 of the height at the third rung: still up
        ((90, 89, 80), 10, None),  # below 0.9, not yet below 0.6
        ((90, 89, 80, 50), 10, (0.15, 0.2)),
        ((90, 89, 80, 60, 57), 10, (0.15, 0.25)),
        ((90, 89, 40), 10, (0.1, 0.15)),  # from above 0.9 to below 0.6 at once: the rung before
        ((90, 11), 10, (0.05, 0.1)),
        ((90, 92, 91, 90, 90, 89, 90, 88), 10, (0.35, 0.4)),  # never falls: the ladder's end
        ((90, 85, 80, 75, 74, 74, 74, 74), 10, (0.15, 0.4)),
        ((50, 40, 27), 4, (0.1, 0.15)),  # 25 classes: half of the height is 27 %
        ((10, 10), 10, (0.05, 0.05)),  # learns nothing at the first rung
    ],
)
def test_the_rule_by_hand(accuracies, chance, found):
    assert operating_points.points(curve(*accuracies), chance) == found


def test_a_ladder_is_climbed_until_the_curve_falls_and_written_down(monkeypatch, store, tmp_path):
    heights = {0.05: 95.0, 0.1: 80.0, 0.15: 30.0}
    ran = []

    def run(several):
        ran.append([(study.methods, study.sigma_d) for study in several])
        for study in several:
            assert study.seeds == (0,) and study.dataset == "mnist"
            studies.run(study, store, progress=False)

    history = type(store).history
    monkeypatch.setattr(
        type(store), "history",
        lambda self, name: history(self, name).assign(noisy=heights[self.training(name).sigma_d]),
    )  # fmt: skip
    ((name, held),) = operating_points.climb({"panel": PANEL}, store, run)
    assert ran == [[(("gaussian",), (rung,))] for rung in heights]  # Gauss alone, no rung above the fall
    assert (name, held.curve, held.chance) == ("panel", heights, 10)
    path = operating_points.write("panel", PANEL, held, tmp_path)
    text = path.read_text()
    assert "0.05: 95.00, 0.1: 80.00, 0.15: 30.00; guessing: 10." in text
    study = files.load(path)
    values = {key: value for key, value in PANEL.items() if key != "operating_points"}
    assert study == presets.as_study({**values, "sigma_d": (0.1, 0.15)})
    # the study's own runs: Gauss at both points is there already
    trained = {t.sigma_d for t, _ in study.pairs(study.data()) if len(history(store, digest(t)))}
    assert trained == {0.1, 0.15}


def test_what_is_written_down_is_taken_and_nothing_climbed(monkeypatch, tmp_path):
    (tmp_path / "studies").mkdir()
    monkeypatch.setattr(operating_points, "project_root", lambda: tmp_path)
    held = operating_points.Climb(presets.as_study({**PANEL, "sigma_d": (0.1,)}), curve(90, 80, 40), 10)
    operating_points.write("panel", PANEL, held)
    entries = [{**PANEL, "operating_points": ("panel", which)} for which in ("first", "second", "both")]
    entries.append({"network": "lenet3", "sigma_d": (0.3,)})
    settled = operating_points.settle(entries, None, lambda several: pytest.fail("trained again"))
    assert [e["sigma_d"] for e in settled] == [(0.1,), (0.15,), (0.1, 0.15), (0.3,)]
    assert not any("operating_points" in e for e in settled)
    path = tmp_path / "studies" / "panel.toml"
    path.write_text(path.read_text().replace("[0.1, 0.15]", "[0.1, 0.15, 0.2]"))
    with pytest.raises(InputError, match=r"panel\.toml: sigma_d=\[0\.1, 0\.15, 0\.2\]; expected the two"):
        operating_points.written("panel")


def test_a_preset_and_the_file_it_writes_are_one_study_and_both_go_on(monkeypatch, tmp_path, store):
    """`compute` climbs, chooses and computes; then the file's study finds all of it there."""
    monkeypatch.setattr(operating_points, "project_root", lambda: tmp_path)
    monkeypatch.setattr(presets, "LADDER", (0.05, 0.4))
    monkeypatch.setattr(operating_points, "LADDER", (0.05, 0.4))
    monkeypatch.setattr(computation, "entries", lambda name, preset: [PANEL])
    monkeypatch.setattr(write_studies, "entries", lambda name, preset: [PANEL])
    monkeypatch.setattr(write_studies, "Store", lambda: store)
    table = papers.compute("nft-fig3", "full", store)
    assert set(table.method) == {"none", "gaussian", "ovf"} and set(table.sigma_d) == {0.05, 0.4}
    (tmp_path / "studies").mkdir()
    assert write_studies.main(["nft-fig3", "--workers", "1"]) == 0
    study = files.load(tmp_path / "studies" / "panel.toml")
    monkeypatch.setattr(work, "train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(work, "evaluate", lambda *_: pytest.fail("evaluated again"))
    again = studies.run(study, store, progress=False)
    assert set(again.run) == set(table.run) and len(again) == len(table)


def test_a_study_from_a_file_goes_on_where_it_was_interrupted(monkeypatch, tmp_path):
    file = tmp_path / "panel.toml"
    study = presets.as_study({**PANEL, "sigma_d": (0.1, 0.2)})
    file.write_text(operating_points.toml(study))
    at_once = studies.run(study, Store(tmp_path / "whole", None), progress=False)

    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path / "runs"))
    trained, usual = [], work.train

    def some(desk, task, count):
        trained.append(task)
        if len(trained) == 3:
            raise KeyboardInterrupt
        usual(desk, task, count)

    monkeypatch.setattr(work, "train", some)
    assert main(["study", str(file)]) == 130
    assert main(["study", str(file)]) == 0
    assert len(trained) == 3 + 3  # five trainings: the two that were finished are not repeated
    again = Store(tmp_path / "runs", None)
    both = [t.sort_values(["run", "chip"])[["run", "chip", "accuracy"]].to_numpy().tolist()
            for t in (at_once, results(again))]  # fmt: skip
    assert both[0] == both[1]


# ---- what stands in


def test_what_stands_in_names_the_width_alone_or_the_classes_too():
    def words(artefact, i=0):
        return [s.substitute for s in papers.artefact(artefact).settings]

    from nvlib.papers import nft

    mnist = [s.substitute for s in nft.settings("resnet18", "mnist")]
    assert mnist[:4] == ["", "a half of the width", "a quarter of the width", "an eighth of the width"]
    tiny = nft.settings("resnet18", "tiny-imagenet")
    by_set = {s.where["dataset"]: s.substitute for s in tiny if s.where["network"] == "resnet18 x0.125"}
    assert by_set == {
        "tiny-imagenet": "an eighth of the width",
        "tiny-imagenet (25 of 200 classes)": "an eighth of the width, 25 of 200 classes",
    }
    whole = [s for s in tiny if s.where["network"] == "resnet18"]
    assert [(s.where["dataset"], s.substitute) for s in whole] == [
        ("tiny-imagenet", ""), (substitutes.TINY, "25 of 200 classes")]  # fmt: skip
    assert "VGG-8, an eighth of the width" in words("nft-table1")
    assert "an eighth of the width" in words("trice-fig5a") and "an eighth of the width" in words("tsb-table2")
    # and what stands in holds in direction at best
    assert judge("gain", Estimate(5, 4, 20, 1), 10.0, "an eighth of the width") == "holds in direction"


@pytest.mark.parametrize("name", ["nft-fig3", "nft-fig4", "ovf-fig3", "trice-fig5a", "trice-fig5b", "nft-table1",
                                  "nft-convergence", "nft-table2"])  # fmt: skip
def test_full_runs_on_whole_data_sets_where_its_claims_look(name):
    """A large network's study at full is found by a protocol whose substitute is the width, and Tiny's classes."""
    from nvlib.papers import nft

    for entry in registry.entries(name, "full"):
        study = presets.as_study(entry)
        assert (study.width == 1 / 8 and study.images is None and study.epochs == 20) or "pretrain" in entry
        assert (study.precision, study.chip_precision) == ("bf16", "float32")
        at = "vgg8" if name.startswith(("nft-table", "nft-conv")) else study.network
        where = nft.settings(at, study.dataset) if study.mapping == "signed" else papers.artefact(name).settings
        train, test = substitutes.WHOLE[study.dataset if study.dataset != "tiny-imagenet" else substitutes.TINY]
        fit = [s for s in where if s.where["network"] == f"{study.network} x0.125" and s.where["images"] == test
               and s.where["train_images"] == train]  # fmt: skip
        assert len(fit) == 1 and "an eighth of the width" in fit[0].substitute
        assert fit[0].where["mapping"] == study.mapping and fit[0].where["bits"] == study.template().bits


def test_panels_side_by_side_each_with_what_guessing_scores_there():
    parts = [
        tidy(("none", "gaussian", "ovf"), (0.1, 0.2), 20, seeds, network=f"{network} x0.125", dataset=dataset)
        for (network, dataset), seeds in (
            (("vgg8", "mnist"), 1), (("resnet18", "cifar100"), 2), (("resnet18", substitutes.TINY), 1))
    ]  # fmt: skip
    fig = figures.mean_panels(pd.concat(parts, ignore_index=True))
    titles = [a.text for a in fig.layout.annotations]
    assert titles == ["VGG-8 x0.125<br>MNIST", "ResNet-18 x0.125<br>CIFAR-100",
                      "ResNet-18 x0.125<br>Tiny ImageNet (25 of 200 classes)"]  # fmt: skip
    assert [shape.y0 for shape in fig.layout.shapes] == [10, 1, 4]
    assert len(fig.data) == 9 and [t.name for t in fig.data if t.showlegend] == ["w/o noise", "Gauss", "OVF"]
    one, two = (p[(p.method == "ovf") & (p.sigma_d == 0.2)] for p in parts[:2])
    assert fig.data[2].y[1] == pytest.approx(one.accuracy.mean())
    assert fig.data[5].y[1] == pytest.approx(two.groupby("train_seed").accuracy.mean().mean())
    with pytest.raises(InputError, match="no chip of a network and data set"):
        figures.mean_panels(pd.DataFrame())
    with pytest.raises(InputError, match="mixes bits"):
        figures.mean_panels(pd.concat([parts[0], parts[0].assign(bits=6)], ignore_index=True))
