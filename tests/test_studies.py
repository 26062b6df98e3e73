"""Studies and their store: hashes, skipping, growing, kills, damage."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import nvlib
from nvlib import InputError, methods, records, store, studies
from nvlib.studies import Study

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
    monkeypatch.setattr(studies, "blocks", None)
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


def test_swept_study(store):
    study = Study(methods=("gaussian",), sigma_d=(0.1, 0.2), train_sigma_d=(0.1,), epochs=1, chips=2, images=64)
    table = studies.run(study, store, progress=False)
    assert dict(zip(table.sigma_d, table.protocol, strict=True)) == {0.1: "matched", 0.2: "swept"}


def test_other_networks_and_sizes(store):
    """28x28 images reach a 32x32 network, at a width, on a measured device."""
    study = Study("vgg8", width=0.05, methods=("none",), devices=("pcm",), sigma_d=(1.0,), epochs=1, chips=2, images=64)
    table = studies.run(study, store, progress=False)
    assert set(table.network) == {"vgg8 x0.05"} and set(table.device) == {"pcm"} and len(table) == 2


KILLED = """
    import sys
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    from nvlib import studies
    from nvlib.store import Store
    studies.BLOCK = 2
    study = studies.Study(sigma_d=(0.2,), epochs=6, chips=60, images=1500)
    table = studies.run(study, Store(Path(sys.argv[1]), None), progress=False)
    table.drop(columns=["run"]).to_parquet(sys.argv[2])
"""


def test_killed_at_any_moment_it_ends_with_the_same_samples(tmp_path):
    script = tmp_path / "study.py"
    script.write_text(textwrap.dedent(KILLED))

    def start(runs, out):
        return subprocess.Popen([sys.executable, script, tmp_path / runs, tmp_path / out])

    whole = start("whole", "whole.parquet")
    assert whole.wait(300) == 0
    rng, kills, code = np.random.default_rng(0), 0, None
    for _ in range(40):
        process = start("killed", "killed.parquet")
        try:
            code = process.wait(4 + 5 * rng.random() if kills < 3 else 300)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        break
    assert code == 0 and kills >= 2
    one, two = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("whole", "killed"))
    pd.testing.assert_frame_equal(one, two)
    assert not list((tmp_path / "killed").rglob("*.checkpoint*"))


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


def test_damage_and_the_future_are_named(done, tmp_path):
    where, _ = done
    home = next(p for p in where.runs.iterdir() if p.is_dir())
    copy = tmp_path / home.name
    copy.mkdir()
    (copy / "record.json").write_text("{ half a rec")
    with pytest.raises(InputError, match=r"record\.json is damaged"):
        store.results(store.Store(tmp_path, None))
    record = json.loads((home / "record.json").read_text())
    (copy / "record.json").write_text(json.dumps({**record, "version": 99}))
    with pytest.raises(InputError, match="newer nvlib"):
        store.results(store.Store(tmp_path, None))


def test_shipping_and_reading_back(done, tmp_path, monkeypatch):
    where, table = done
    pairs = SMALL.pairs(SMALL.data())
    where.compact(tmp_path / "results" / "small", [e for _, e in pairs])
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
    assert {"members", "images", "how", "threads", "device"} == set(plan)


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
