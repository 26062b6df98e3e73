"""Studies and their store: hashes, skipping, growing, kills, damage."""

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

import nvlib
from nvlib import InputError, methods, records, store, studies
from nvlib.launch import lead
from nvlib.methods import Recipe
from nvlib.studies import Study, forecast
from nvlib.studies.plan import Desk, plan

SMALL = Study(sigma_d=(0.0, 0.2), epochs=2, chips=6, images=128)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A small study, run once."""
    where = store.Store(tmp_path_factory.mktemp("study") / "runs", None)
    return where, studies.run(SMALL, where, progress=False)


def test_table_is_tidy(done):
    _, table = done
    assert list(table.columns) == store.COLUMNS
    assert len(table) == 2 * 2 * 6
    assert table.groupby("run", observed=True).chip.apply(list).map(lambda c: c == list(range(6))).all()
    assert set(table.protocol) == {"matched"} and set(table.origin) == {"yours"}
    assert table.accuracy.between(0, 100).all()
    assert set(table.images) == {128} and set(table.epochs) == {2}
    assert (table[table.method == "none"].train_sigma_d == 0).all()


def test_at_no_variation_noise_injection_is_no_noise(done):
    _, table = done
    still = table[table.sigma_d == 0].pivot_table(index="chip", columns="method", values="accuracy", observed=True)
    assert (still["none"] == still["gaussian"]).all()


def test_what_exists_is_not_repeated(done, monkeypatch):
    where, table = done
    monkeypatch.setattr(methods, "train", None)
    monkeypatch.setattr("nvlib.studies.perform.blocks", None)
    assert studies.run(SMALL, where, progress=False).equals(table)


def test_more_chips_repeat_no_training_and_keep_the_first(done, monkeypatch):
    where, table = done
    monkeypatch.setattr(methods, "train", None)
    more = studies.run(replace(SMALL, chips=9), where, progress=False)
    assert len(more) == 2 * 2 * 9
    first = more[more.chip < 6].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, table)
    assert len(studies.run(SMALL, where, progress=False)) == len(table)


def test_a_study_is_what_the_library_computes(done):
    """The store's samples are those of train + monte_carlo called by hand."""
    _, table = done
    loaded = SMALL.data()
    *_, last = nvlib.train("gaussian", "lenet", loaded, "rram", 0.2, epochs=2)
    samples = nvlib.monte_carlo(last.model(), loaded, "rram", 0.2, chips=6)
    rows = table[(table.method == "gaussian") & (table.sigma_d == 0.2)]
    np.testing.assert_array_equal(rows.accuracy, samples.accuracy)


def test_hashes_name_what_decides_the_numbers():
    loaded = SMALL.data()
    (training, evaluation), *_ = replace(SMALL, methods=("gaussian",)).pairs(loaded)
    assert records.digest(training) == records.digest(replace(training))
    changes = {
        "network": "lenet5", "fingerprint": "0", "sigma_d": 0.25, "reference": "level", "mapping": "signed", "bits": 6,
        "activation_bits": 0, "epochs": 3, "seed": 1, "method": "none", "width": 0.5, "version": 2,
        "device": {**training.device, "deviation": [1.0, 4.0, 4.0, 1.0]}, "parameters": {"th": 2},
        "recipe": {**training.recipe, "lr": 1e-2},
    }  # fmt: skip
    names = {records.digest(replace(training, **{key: value})) for key, value in changes.items()}
    assert len(names | {records.digest(training)}) == len(changes) + 1
    assert records.digest(replace(evaluation, seed=1)) != records.digest(evaluation)
    assert json.loads(records.canonical(training))["device"]["deviation"] == [1.0, 1.0, 1.0, 1.0]


def test_no_noise_is_one_training_whatever_the_device():
    study = Study(methods=("none",), devices=("rram", "fefet1"), sigma_d=(0.1, 0.2, 0.3), images=64)
    pairs = study.pairs(study.data())
    assert len({records.digest(t) for t, _ in pairs}) == 1
    assert len({records.digest(e) for _, e in pairs}) == 6


def test_chips_of_a_stored_model_whatever_trained_it(done, monkeypatch):
    where, table = done
    name = table[table.method == "gaussian"].training.iloc[-1]
    monkeypatch.setattr(methods, "train", None)
    study = replace(SMALL, methods=("none",), sigma_d=(0.2, 0.3), chips=3)
    more = studies.run(study, where, progress=False, of=where.training(name))
    assert set(more.training) == {name} and len(more) == 2 * 3
    known = table[(table.training == name) & (table.sigma_d == 0.2) & (table.chip < 3)]
    assert set(known.run) < set(more.run)  # the study's own evaluation


def test_swept_study(store):
    study = Study(methods=("gaussian",), sigma_d=(0.1, 0.2), train_sigma_d=(0.1,), epochs=1, chips=2, images=64)
    table = studies.run(study, store, progress=False)
    assert dict(zip(table.sigma_d, table.protocol, strict=True)) == {0.1: "matched", 0.2: "swept"}


def test_other_networks_and_sizes(store):
    """28x28 images reach a 32x32 network, at a width, on a measured device."""
    study = Study("vgg8", width=0.05, methods=("none",), devices=("pcm",), sigma_d=(1.0,), epochs=1, chips=2, images=64)
    table = studies.run(study, store, progress=False)
    assert set(table.network) == {"vgg8 x0.05"} and set(table.device) == {"pcm"} and len(table) == 2


def test_a_block_is_whole_or_absent(done, tmp_path, monkeypatch):
    where, _ = done
    _, evaluation = SMALL.pairs(SMALL.data())[0]
    small = store.Store(tmp_path, None)
    block = where.samples(evaluation)

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full_disk)
    with pytest.raises(OSError, match="No space"):
        small.append(evaluation, block)
    monkeypatch.undo()
    assert len(small.samples(evaluation)) == 0
    assert not [p for p in tmp_path.rglob("*") if p.suffix == ".part"]
    small.append(evaluation, block)
    assert small.samples(evaluation).equals(block)


def test_a_run_of_a_newer_version_is_named(done, tmp_path):
    where, _ = done
    home = next(p for p in where.runs.iterdir() if (p / "record.json").exists())
    copy = tmp_path / home.name
    copy.mkdir()
    record = json.loads((home / "record.json").read_text())
    (copy / "record.json").write_text(json.dumps({**record, "version": 99}))
    with pytest.raises(InputError, match="newer nvlib"):
        store.results(store.Store(tmp_path, None))


def test_shipping_and_reading_back(done, tmp_path, monkeypatch):
    where, table = done
    pairs = SMALL.pairs(SMALL.data())
    store.compact(where, tmp_path / "results" / "small", [e for _, e in pairs])
    shipped = store.Store(tmp_path / "nothing", tmp_path / "results")
    read = store.results(shipped, run=[records.digest(e) for _, e in pairs])
    read = read[read.chip < 6]
    assert set(read.origin) == {"shipped"}
    keys = ["run", "chip"]
    left, right = (t.drop(columns="origin").sort_values(keys, ignore_index=True) for t in (read, table))
    pd.testing.assert_frame_equal(left, right, check_categorical=False, check_dtype=False)
    monkeypatch.setattr(methods, "train", None)  # shipped weights serve further chips
    more = studies.run(replace(SMALL, chips=12), shipped, progress=False)
    assert more[more.chip < 6].origin.eq("shipped").all() and more[more.chip >= 9].origin.eq("yours").all()
    weights = [where.weights(t), shipped.weights(t)] if (t := pairs[0][0]) else []
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_results_filter_and_refuse(done):
    where, _ = done
    assert set(store.results(where, method="none").method) == {"none"}
    assert set(store.results(where, sigma_d=[0.2]).sigma_d) == {0.2}
    assert len(store.results(where, method="trice")) == 0
    with pytest.raises(InputError, match="no column"):
        store.results(where, methd="none")
    assert len(store.results(store.Store(where.runs / "none", None))) == 0


def test_provenance_is_recorded(done):
    where, table = done
    home = where.runs / table.training[0]
    environment = json.loads((home / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__.split("+")[0] or environment["versions"]["torch"]
    assert environment["cores"] >= 1 and environment["written"].startswith("20")
    history = pd.read_parquet(home / "history.parquet")
    assert list(history.epoch) == [1, 2] and history.loss.notna().all()
    plan = json.loads((where.runs / table.run[0] / "plan.json").read_text())
    assert {"members", "images", "how", "threads", "device", "precision"} == set(plan)


def test_progress_for_a_program(store):
    seen = []
    study = replace(SMALL, methods=("none",), sigma_d=(0.1,), epochs=1, chips=3, images=64)
    studies.run(study, store, progress=lambda *step: seen.append(step))
    assert ("training", 1, 1) in seen and seen[-1] == ("evaluation", 3, 3)


BAD = [
    {"methods": ()}, {"methods": ("gausian",)}, {"devices": ("x",)}, {"sigma_d": (-0.1,)}, {"network": "alexnet"},
    {"bits": 5}, {"mapping": "both"}, {"reference": "x"}, {"epochs": 0}, {"chips": 0}, {"seeds": ()}, {"width": 0},
]  # fmt: skip


@pytest.mark.parametrize("change", BAD)
def test_bad_studies_are_refused_before_anything_runs(change):
    with pytest.raises(InputError) as error:
        Study(**change)
    assert "\n" not in str(error.value)


def test_importing_results_needs_no_torch():
    code = "import sys, nvlib; nvlib.results; import nvlib.devices, nvlib.statistics; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_reading_shipped_results_is_quick():
    began = time.perf_counter()
    store.results()
    assert time.perf_counter() - began < 30  # a hang, not a benchmark


@pytest.mark.parametrize("network", ["lenet", "vgg8", "resnet18"])
def test_a_stored_network_comes_back_as_it_was(network, store):
    study = Study(network, width=0.05 if network != "lenet" else 1.0, methods=("none",), epochs=1, chips=1, images=32)
    table = studies.run(study, store, progress=False)
    model = studies.model_of(table.training.iloc[0], store)
    samples = nvlib.monte_carlo(model, study.data(), "rram", 0.1, chips=1)
    assert samples.accuracy[0] == table.accuracy[0]
    with pytest.raises(InputError, match="no training"):
        studies.model_of("0" * 64, store)


# -- files -----------------------------------------------------------------------------------------------------------

TOML = """
network = "lenet3"
methods = ["none", "trice"]
devices = "fefet1"
sigma_d = [0.1, 0.2]
seeds = [0, 1]
epochs = 3
deployments = ["none", "write_verify"]
[recipe]
lr = 3e-3
batch_size = 32
[parameters.trice]
n_train = 50
[deployment_parameters.write_verify]
sigma = 0.02
"""
YAML = """
network: lenet3
methods: [none, trice]
devices: fefet1
sigma_d: [0.1, 0.2]
seeds: [0, 1]
epochs: 3
deployments: [none, write_verify]
recipe: {lr: 3e-3, batch_size: 32}
parameters:
  trice: {n_train: 50}
deployment_parameters:
  write_verify: {sigma: 0.02}
"""


@pytest.mark.parametrize(("suffix", "text"), [("toml", TOML), ("yaml", YAML), ("yml", YAML)])
def test_a_study_in_a_file(suffix, text, tmp_path):
    (tmp_path / f"grid.{suffix}").write_text(text)
    assert studies.load(tmp_path / f"grid.{suffix}") == Study(
        "lenet3", methods=("none", "trice"), devices=("fefet1",), sigma_d=(0.1, 0.2), seeds=(0, 1), epochs=3,
        deployments=(None, "write_verify"), recipe=methods.Recipe(lr=3e-3, batch_size=32),
        parameters={"trice": {"n_train": 50}}, deployment_parameters={"write_verify": {"sigma": 0.02}},
    )  # fmt: skip


BAD_FILES = [
    ("sigma = [0.1]", "did you mean 'sigma_d'"), ("epochs = 'ten'", "epochs='ten'"), ("epochs = true", "whole number"),
    ("sigma_d = ['a']", "sigma_d='a'"), ("[recipe]\nlearning_rate = 1", "unknown key of a recipe"),
    ("recipe = 'adam'", "table"), ("[recipe]\nlr = 'fast'", "recipe.lr"), ("methods = ['tric']", "did you mean 'tri"),
    ("[parameters.trise]\nk = 1", "did you mean 'tri"), ("[parameters]\ntrice = 1", "table"), ("seeds = []", "empty"),
    ("[parameters.rc]\nthreshold = 2\n", None), ("epochs = ", "not TOML"), ("deployments = ['swam']", "deployment"),
    ("width = nan", "width"), ("images = 0.5", "whole number"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BAD_FILES)
def test_bad_files_are_answered_in_a_line(text, said, tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text("methods = ['rc']\n" + text if said is None else text)
    with pytest.raises(InputError, match=said or "parameter of rc 'threshold'") as error:
        studies.load(path)
    assert "\n" not in str(error.value) and "grid.toml" in str(error.value)


def test_a_yaml_file_is_read_as_it_looks(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("epochs: 010\nchips: 1_000\nsigma_d: [1e-1, .2]\n")
    study = studies.load(file)
    assert (study.epochs, study.chips, study.sigma_d) == (10, 1000, (0.1, 0.2))  # YAML 1.1 has 8 epochs
    file.write_text("chips: 1:30")  # and 90 chips
    with pytest.raises(InputError, match="chips='1:30'"):
        studies.load(file)
    file.write_text("epochs: 1\nrecipe: {lr: 1, lr: 2}\nepochs: 20")
    with pytest.raises(InputError, match="epochs is there twice"):
        studies.load(file)


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no study at"):
        studies.load(tmp_path / "x.toml")
    with pytest.raises(InputError, match=r"end in \.toml"):
        studies.load(tmp_path / "x.json")
    (tmp_path / "x.yaml").write_text("a: [1\nb")
    with pytest.raises(InputError, match="not YAML"):
        studies.load(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text("- 1")
    with pytest.raises(InputError, match="keys and values"):
        studies.load(tmp_path / "x.yaml")


def test_a_study_and_its_plain_values(tmp_path):
    device = tmp_path / "mine.toml"
    nvlib.devices.save(replace(nvlib.devices.get("fefet1"), name="mine"), device)
    study = replace(SMALL, devices=("rram", str(device)), parameters={"ovf": {"beta": (0.1, 0.01)}}, patience=3)
    plain = json.loads(json.dumps(study.record()))
    again = Study.of(plain)
    device.unlink()  # its numbers travel with the study
    loaded = SMALL.data()
    names = [[records.digest(e) for _, e in s.pairs(loaded)] for s in (replace(again, select="last"), again)]
    assert names[0] == names[1] and len(names[0]) == 2 * 2 * 2
    assert json.loads(json.dumps(again.record())) == plain and again.parameters["ovf"]["beta"] == (0.1, 0.01)


# -- packs and plans -------------------------------------------------------------------------------------------------


def test_packed_trainings_are_those_alone_and_say_who_was_beside_them(done, tmp_path):
    """On a CPU members run one after another, by the same kernels: the weights differ by rounding at most."""
    where, table = done
    packed = store.Store(tmp_path, None)
    study = replace(SMALL, methods=("gaussian",))
    again = studies.run(study, packed, progress=False, pack=2)
    for name in again.training.unique():
        plan = packed.about(name)["plan"]
        assert name in plan["pack"] and len(plan["pack"]) == 2 and plan["threads"] == torch.get_num_threads()
        alone, beside = where.weights(name), packed.weights(name)
        for key, tensor in alone.items():
            torch.testing.assert_close(beside[key], tensor, rtol=1e-4, atol=1e-5)
        assert len(packed.history(name)) == 2
    assert len(again) == len(table[table.method == "gaussian"])
    with pytest.raises(InputError, match="pack=0"):
        studies.run(study, packed, progress=False, pack=0)


def test_packed_searches_keep_their_own_traces(tmp_path):
    study = Study(
        "lenet3", methods=("trice",), sigma_d=(0.1, 0.2), epochs=2, chips=1, images=64,
        parameters={"trice": {"warm": 0, "n_train": 3}}, recipe=methods.Recipe(batch_size=32),
    )  # fmt: skip
    traces = []
    for pack in (1, 2):
        where = store.Store(tmp_path / str(pack), None)
        studies.run(study, where, progress=False, pack=pack)
        traces.append([where.trace(t) for t, _ in study.pairs(study.data())])
    for alone, packed in zip(*traces, strict=True):
        assert set(alone.training) == set(packed.training) == {0} and len(alone) == 2 * 3
        pd.testing.assert_frame_equal(alone[["candidate", "sigma_t"]], packed[["candidate", "sigma_t"]])


def test_what_was_begun_goes_on_with_as_many_threads(store):
    study = replace(SMALL, methods=("none",), sigma_d=(0.1,), epochs=1, chips=2, images=64)
    table = studies.run(study, store, progress=False, threads=2)
    assert store.about(table.run[0])["plan"]["threads"] == 2 == store.about(table.training[0])["plan"]["threads"]
    seen = []
    before = torch.get_num_threads()
    studies.run(
        replace(study, chips=4), store, threads=1, progress=lambda *_: seen.append(torch.get_num_threads())
    )
    assert 2 in seen and torch.get_num_threads() == before


# -- deployments -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Halved:
    """Not a procedure: it says half the index of a chip is its accuracy."""

    factor: float = 0.5
    deep: tuple[int, ...] = (1, 2)
    name: ClassVar[str] = "halved"

    def apply(self, model, data, crossbar, *, index, seed=0, on="cpu", progress=False):
        from nvlib.deploy import Deployed

        for start in range(index.start, index.stop, 2):
            chips = np.arange(start, min(start + 2, index.stop))
            fill = [np.full(len(chips), value) for value in (1.5, 2.5, 90.0, 7, 3, 12.5, 640, 0.25)]
            yield Deployed(chips, self.factor * chips, *fill, seed=seed)


def test_deployments_are_an_axis(done, monkeypatch):
    from nvlib import deploy

    monkeypatch.setitem(deploy.DEPLOYMENTS, "halved", Halved)
    where, table = done
    study = replace(SMALL, methods=("none",), sigma_d=(0.2,), chips=5, deployments=(None, "halved"))
    both = studies.run(study, where, progress=False)
    plain, deployed = (both[both.deployment == name] for name in ("", "halved"))
    assert list(both.columns) == store.COLUMNS and len(plain) == len(deployed) == 5
    assert set(plain.run) <= set(table.run)  # the hash of what is not deployed is what it was
    assert plain[store.DEPLOYED].isna().all().all() and set(plain.deployment_parameters) == {""}
    assert list(deployed.accuracy) == [0.5 * i for i in range(5)] and set(deployed.deployment_parameters) == {""}
    assert deployed[store.DEPLOYED].iloc[0].tolist() == [90.0, 7, 3, 12.5, 640, 0.25]
    changed = replace(study, chips=7, deployment_parameters={"halved": {"factor": 2.0}})
    more = studies.run(changed, where, progress=False)
    more = more[more.deployment == "halved"]
    assert list(more.accuracy) == [2.0 * i for i in range(7)] and set(more.run).isdisjoint(deployed.run)
    assert set(more.deployment_parameters) == {'{"factor":2.0}'}
    grown = studies.run(replace(study, chips=7), where, progress=False)
    assert len(grown[grown.deployment == "halved"]) == 7 and set(deployed.run) <= set(grown.run)


def test_a_real_deployment(done):
    where, _ = done
    study = replace(SMALL, methods=("none",), sigma_d=(0.2,), chips=3, deployments=(None, "write_verify"))
    table = studies.run(study, where, progress=False)
    plain, deployed = (table[table.deployment == name] for name in ("", "write_verify"))
    assert list(deployed.before) == list(plain.accuracy)  # the same chips
    assert (deployed.verified > 0).all() and (deployed.pulses >= deployed.cells).all()


# -- forecasts -------------------------------------------------------------------------------------------------------


def test_a_forecast_counts_and_writes_nothing(done, monkeypatch):
    where, _ = done
    monkeypatch.setattr(time, "perf_counter", time.process_time)  # of this process, whatever shares the cores
    studies.run(replace(SMALL, chips=9), where, progress=False)
    before = sorted(p.name for p in where.runs.rglob("*"))
    found = studies.estimate(replace(SMALL, chips=12, seeds=(0, 1)), where, workers=4)
    # per seed: none once, gaussian at two sizes; of seed 0 all are trained and nine of twelve chips are there
    assert (found.trainings, found.trainings_done) == (6, 3)
    assert (found.evaluations, found.evaluations_done) == (8, 0)
    assert found.epochs == 3 * 2 and found.chips == 4 * 3 + 4 * 12
    assert 0 < found.wall <= found.seconds and found.memory > 100 << 20
    assert "6, of which 3 exist" in found.text() and "4 processes" in found.text()
    assert found.trainings_idle == 0 and "need not" not in found.text()
    assert sorted(p.name for p in where.runs.rglob("*")) == before
    nothing = studies.estimate(SMALL, where)
    assert (nothing.epochs, nothing.chips, nothing.seconds) == (0, 0, 0)
    blind = studies.estimate(replace(SMALL, network="lenet3"), where, calibrate=False)
    assert blind.seconds is None and "unknown" in blind.text()
    every = studies.estimate(replace(SMALL, methods=tuple(methods.METHODS)), where, calibrate=False)
    assert every.memory > blind.memory and every.trainings == 1 + 2 * (len(methods.METHODS) - 1)


def test_costs_are_what_methods_state():
    cost = {name: methods.cost_of(methods.get(name)) for name in methods.METHODS}
    plain = methods.Cost()
    assert {"none", "gaussian", "correctnet", "rc", "irs"} <= {name for name in cost if cost[name] == plain}
    assert cost["ovf"] == methods.Cost(forwards=4)
    searched = methods.get("ovf", n=1, beta=(0.1, 0.2), search_chips=7)
    assert methods.cost_of(searched) == methods.Cost(rows=2, forwards=2, chips=7)
    trice = methods.cost_of(methods.get("trice", n_train=9, images=5, end=1.0, tolerance=0.25))  # 5 + log 4 / log (4/3)
    assert trice == methods.Cost(rows=3, chips=9, images=5, epochs=10)
    assert [trice.searching(*of) for of in ((0, 100), (0, 7), (8, 12), (10, 90))] == [10, 7, 2, 0]
    assert methods.Cost().searching(3, 9) == 6

    @dataclass(frozen=True)
    class Own:  # fields that happen to be called so say nothing
        n: int = 1000
        images: int = 3
        candidates: int = 9
        name: ClassVar[str] = "own"

    assert methods.cost_of(Own()) == plain
    with pytest.raises(InputError, match="expected a property"):
        methods.cost_of(type("Wrong", (), {"cost": 3})())
    with pytest.raises(InputError, match="rows=0"):
        methods.Cost(rows=0)


def test_forecasts_ask_the_method_for_its_cost(store, monkeypatch):
    @dataclass(frozen=True)
    class Scored(methods.METHODS["gaussian"]):
        name: ClassVar[str] = "scored"

        @property
        def cost(self):
            return methods.Cost(rows=2, forwards=3, chips=10, images=20)

    monkeypatch.setitem(methods.METHODS, "scored", Scored)
    study = Study("lenet3", methods=("gaussian", "scored"), sigma_d=(0.1,), images=100, chips=2)
    desk = Desk(study, store)
    plain, scored = desk.trainings.values()
    assert (forecast.searched(desk, plain), forecast.searched(desk, scored)) == (0, 2 * 10 * 20)
    first, second = (task for task in plan(desk) if task.kind == "training")
    assert first.plan["search"] is None and len(second.plan["search"]) == 3
    assert lead.cost(desk, second) == 2 * 3 * lead.cost(desk, first)


def test_a_forecast_is_of_the_right_size(store, monkeypatch):
    """To a factor of three: the parts it measures are milliseconds long."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    study = Study("lenet3", methods=("gaussian",), sigma_d=(0.1,), epochs=3, chips=30, images=1500)
    found = studies.estimate(study, store)
    began = time.process_time()
    studies.run(study, store, progress=False)
    assert found.seconds / 3 < time.process_time() - began < found.seconds * 3
    other = studies.estimate(replace(study, seeds=(1,)), store)
    assert "stored trainings" in other.basis


@pytest.mark.parametrize(("field", "given", "held"), [
    ("sigma_d", 0.2, (0.2,)), ("sigma_d", np.array([0.1, 0.2]), (0.1, 0.2)), ("seeds", range(2), (0, 1)),
    ("seeds", np.int64(3), (3,)), ("methods", "none", ("none",)), ("effects", "none", ("",)), ("width", 1, 1.0),
    ("recipe", {"lr": 1e-2}, Recipe(lr=1e-2)), ("epochs", np.int32(2), 2), ("train_sigma_d", 0.1, (0.1,)),
])  # fmt: skip
def test_a_study_takes_what_a_file_may_say(field, given, held):
    study = Study(**{field: given})
    assert getattr(study, field) == held and type(getattr(study, field)) is type(held)
    assert Study.of(study.record()) == Study(**{field: held})


@pytest.mark.parametrize(("field", "given", "said"), [
    ("methods", ["none", 3], "methods=3"), ("epochs", "3", "epochs='3'"), ("chips", 2.5, "chips=2.5"),
    ("chips", True, "chips=True"), ("recipe", 5, "recipe=5"), ("recipe", {"lrr": 1}, "'lrr'"),
    ("recipe", {"lr": "fast"}, "recipe.lr='fast'"), ("parameters", ["a"], "parameters="), ("width", "big", "width="),
    ("dataset", None, "dataset=None"), ("sigma_d", float("nan"), "sigma_d=nan"), ("seeds", 0.5, "seeds=0.5"),
    ("sigma_d", (), "sigma_d of the study is empty"),
])  # fmt: skip
def test_a_study_of_a_wrong_kind_is_a_line(field, given, said):
    with pytest.raises(InputError, match=re.escape(said)) as error:
        Study(**{field: given})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("call", "said"), [
    (lambda: nvlib.run(3), "study=3 is none; expected an nvlib.Study"), (lambda: nvlib.results(3), "store=3"),
    (lambda: methods.get("rc", th="a"), "th='a'"), (lambda: methods.get(3), "method=3 is none"),
    (lambda: nvlib.deploy.get("tsb", lr="a"), "lr='a'"), (lambda: nvlib.deploy.get(3), "deployment=3 is none"),
    (lambda: nvlib.build("lenet", width="a"), "width='a'"), (lambda: Recipe(lr="a"), "lr='a'"),
    (lambda: nvlib.load(None), "name=None"), (lambda: nvlib.statistics.kpp(["a"]), "more than numbers"),
    (lambda: nvlib.figures.percentile_curves(3), "the table=3"), (lambda: nvlib.taylor.point(3, "rram"), "type int"),
    (lambda: nvlib.summary.results_table(nvlib.results(network="lenet", sigma_d=0.2, device="rram", epochs=10,
                                                       range="max", images=10_000, method="gaussian",
                                                       protocol="matched", origin="shipped")), "mixes deployment"),
])  # fmt: skip
def test_a_value_of_a_wrong_kind_is_a_line(call, said):
    with pytest.raises(InputError, match=re.escape(said)) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_study_is_run_from_its_file_or_values(tmp_path):
    small = {"network": "lenet3", "methods": ["none"], "images": 20, "epochs": 1, "chips": 2}
    (tmp_path / "small.toml").write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in small.items()))
    where = store.Store(tmp_path / "runs", None)
    whole, again = (nvlib.run(given, where, progress=False) for given in (tmp_path / "small.toml", small))
    pd.testing.assert_frame_equal(whole, again)
