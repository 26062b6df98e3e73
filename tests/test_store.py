"""The store keeps what it was given or says so: checksums, damage of every kind, a full disk, kills, removal."""

import errno
import hashlib
import json
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from nvlib import InputError, records, studies
from nvlib import store as stored
from nvlib.store import Damaged, DiskFull, Store, checksums, compact, formats
from nvlib.studies import Study

SMALL = Study(methods=("gaussian",), sigma_d=(0.2,), epochs=1, chips=6, images=64)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A training and an evaluation of two blocks, computed once: its runs, their names, its table."""
    runs = tmp_path_factory.mktemp("once") / "runs"
    where = Store(runs, None)
    studies.run(replace(SMALL, chips=4), where, progress=False)
    table = studies.run(SMALL, where, progress=False)
    return runs, table.training[0], table.run[0], table


@pytest.fixture
def copy(once, tmp_path):
    """A store of one's own that holds the same."""
    shutil.copytree(once[0], tmp_path / "runs")
    return Store(tmp_path / "runs", None)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    """Change one bit, of a table in its pages, which come first."""
    data = bytearray(path.read_bytes())
    data[len(data) // (8 if path.suffix == ".parquet" else 2)] ^= 1
    path.write_bytes(bytes(data))


def block_of(home):
    return sorted(home.glob("samples-*.parquet"))[0]


def listed(home):
    """Give a run the list of checksums that older versions kept."""
    checksums.write(home, {p.name: {checksums.of(p)} for p in home.iterdir()})


# -- formats ---------------------------------------------------------------------------------------------------------


def test_paths_may_be_text(tmp_path):
    assert Store(str(tmp_path), str(tmp_path)) == Store(tmp_path, tmp_path) != Store(tmp_path, None)


def test_a_sound_store_keeps_no_list_and_is_verified(once):
    runs, *_ = once
    assert not list(runs.glob(f"*/{stored.SUMS}"))
    assert {f.state for f in stored.verify(Store(runs, None))} == {"sound"}


def test_no_bit_of_a_table_changes_unseen(once):
    """Each bit of a block of chips: it is found out, or says nothing of the chips."""
    runs, _, run, _ = once
    sound = block_of(runs / run).read_bytes()
    table, unseen = formats.table(sound), 0
    for at in range(0, len(sound), 3):
        data = bytearray(sound)
        data[at] ^= 1 << at % 8
        try:
            found = formats.table(bytes(data))
        except Exception:
            continue
        unseen += 1
        assert list(found.columns) == list(table.columns) and np.array_equal(found.to_numpy(), table.to_numpy()), at
    assert unseen < len(sound) / 3 / 2  # which say nothing of the chips: statistics, versions


def test_no_bit_of_weights_changes_unseen(tmp_path):
    path = tmp_path / "w.safetensors"
    formats.write_tensors({"w": torch.arange(6.0), "n": torch.tensor(3)}, str(path), {"notes": "a"})
    sound, named = path.read_bytes(), b"file_sha256"
    assert formats.checked(sound) == sound
    for at in range(len(sound)):
        data = bytearray(sound)
        data[at] ^= 1
        if named in data:  # without the name of the hash it is as an older version wrote it
            with pytest.raises((stored.Damage, ValueError, KeyError, AttributeError, TypeError)):
                formats.checked(bytes(data))


# -- runs of older versions ------------------------------------------------------------------------------------------


def test_lists_of_older_versions_are_read_and_hold(once, copy):
    _, training, run, table = once
    for name in (training, run):
        listed(copy.runs / name)
    assert {f.state for f in stored.verify(copy)} == {"sound"}
    assert studies.run(SMALL, copy, progress=False).equals(table)
    plan = copy.runs / run / "plan.json"
    plan.write_text(plan.read_text().replace('"threads": ', '"threads": 1'))  # still JSON
    (copy.runs / training / "history.parquet").unlink()
    states = {f.path.name: f.state for f in stored.verify(copy) if f.state != "sound"}
    assert states == {"plan.json": "damaged", "history.parquet": "missing"}
    with pytest.warns(Damaged, match=r"plan\.json is damaged .*SHA256SUMS"):
        assert "plan" not in copy.about(run)


@pytest.mark.parametrize("what", ["samples", "weights"])
def test_what_is_made_again_of_an_older_run_holds(what, once, copy):
    """Its old checksum goes with the old file."""
    _, training, run, table = once
    for name in (training, run):
        listed(copy.runs / name)
    flip(HURT[what](copy, training, run))
    with pytest.warns(Damaged):
        again = studies.run(replace(SMALL, chips=8), copy, progress=False)
    pd.testing.assert_frame_equal(again[again.chip < 6].reset_index(drop=True), table)
    assert {f.state for f in stored.verify(copy)} == {"sound"}


def test_of_several_lines_for_a_name_any_may_hold(tmp_path):
    """A file was listed before it got its name: a kill between left two lines. A cut off line hurts no other."""
    sums = [hashlib.sha256(text).hexdigest() for text in (b"old", b"new")]
    lines = [f"{found}  x\n" for found in sums]
    (tmp_path / stored.SUMS).write_text("".join([*lines, "1" * 30, "\n", f"{'2' * 64}  y\n"]))
    for text in (b"old", b"new"):
        (tmp_path / "x").write_bytes(text)
        assert checksums.read(tmp_path, "x", bytes) == text
    (tmp_path / "x").write_bytes(b"other")
    with pytest.raises(stored.Damage, match="checksum"):
        checksums.read(tmp_path, "x", bytes)
    checksums.forget(tmp_path, "x")
    assert checksums.listed(tmp_path) == {"y": {"2" * 64}}


# -- damage ----------------------------------------------------------------------------------------------------------

HURT = {
    "samples": lambda where, training, run: block_of(where.runs / run),
    "weights": lambda where, training, run: where.runs / training / "weights.safetensors",
}


@pytest.mark.parametrize("what", HURT)
@pytest.mark.parametrize("hurt", [truncate, empty, flip])
def test_damage_is_found_set_aside_and_computed_again(what, hurt, once, copy):
    _, training, run, table = once
    path = HURT[what](copy, training, run)
    sound = path.read_bytes()
    hurt(path)
    spoilt = path.read_bytes()
    study = SMALL if what == "samples" else replace(SMALL, chips=8)  # more chips need the weights
    with pytest.warns(Damaged, match=path.name) as said:
        again = studies.run(study, copy, progress=False)
    assert len(said) == 1 and "\n" not in str(said[0].message) and "set aside" in str(said[0].message)
    pd.testing.assert_frame_equal(again[again.chip < 6].reset_index(drop=True), table)
    assert path.read_bytes() == sound
    (aside,) = (copy.runs / stored.ASIDE).rglob(path.name)
    assert aside.read_bytes() == spoilt and aside.parent.name.startswith(path.parent.name)
    assert {f.state for f in stored.verify(copy)} == {"sound"}


def test_a_folder_in_place_of_a_file_is_damage(once, copy):
    _, _, run, _ = once
    block = block_of(copy.runs / run)
    block.unlink()
    block.mkdir()
    with pytest.warns(Damaged, match="it is a folder"):
        assert list(copy.samples(run).chip) == [4, 5]
    assert (copy.runs / stored.ASIDE).is_dir() and not block.exists()


def test_other_blocks_of_a_damaged_evaluation_stay(once, copy):
    _, _, run, table = once
    flip(block_of(copy.runs / run))
    with pytest.warns(Damaged):
        left = copy.samples(run)
    assert list(left.chip) == [4, 5]
    assert list(left.accuracy) == list(table.accuracy[4:])


@pytest.mark.parametrize("hurt", [truncate, empty, flip])
@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_a_damaged_record_is_written_again_and_nothing_repeated(kind, hurt, once, copy, monkeypatch):
    """The run's name is the hash of its record, so even a record that still is JSON is found out."""
    _, training, run, table = once
    path = copy.runs / (training if kind == "training" else run) / "record.json"
    sound = path.read_bytes()
    hurt(path)
    monkeypatch.setattr(Store, "save_training", None)
    monkeypatch.setattr(Store, "append", None)
    with pytest.warns(Damaged, match="record.json"):
        again = studies.run(SMALL, copy, progress=False)
    pd.testing.assert_frame_equal(again, table)
    assert path.read_bytes() == sound


def test_a_record_that_says_something_else_is_no_record(once, copy):
    _, _, run, _ = once
    path = copy.runs / run / "record.json"
    path.write_text(path.read_text().replace('"sigma_d": 0.2', '"sigma_d": 0.3'))
    with pytest.warns(Damaged, match="named by"):
        assert copy.record(run) is None


def test_a_damaged_mark_of_being_done_repeats_no_training(once, copy):
    _, training, _, _ = once
    empty(copy.runs / training / "DONE")
    assert "done" not in copy.about(training) and "environment" in copy.about(training)
    assert copy.weights(training) is not None
    assert [f.path.name for f in stored.verify(copy) if f.state != "sound"] == ["DONE"]


@pytest.mark.parametrize(("name", "read"), [("plan.json", "plan"), ("history.parquet", "history")])
def test_damaged_notes_do_not_stop_anything(name, read, once, copy):
    _, training, run, _ = once
    home = copy.runs / (run if name == "plan.json" else training)
    truncate(home / name)
    with pytest.warns(Damaged, match=name):
        held = copy.plan(SMALL.pairs(SMALL.data())[0][1]) if read == "plan" else copy.history(training)
    assert held is None or held.empty


def test_runs_of_older_versions_without_a_list_are_read_and_broken_ones_found(once, copy):
    """Neither list nor checksums of pages or files: what can be read is taken as it is."""
    _, training, run, table = once
    block, weights = block_of(copy.runs / run), copy.runs / training / "weights.safetensors"
    pd.read_parquet(block).to_parquet(block, index=False)
    save_file(copy.weights(training), weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pd.testing.assert_frame_equal(studies.run(SMALL, copy, progress=False), table)
        assert copy.weights(training) is not None
    assert {f.state for f in stored.verify(copy)} == {"sound"}
    truncate(block)
    truncate(weights)
    assert {f.path for f in stored.verify(copy) if f.state == "damaged"} == {block, weights}
    with pytest.warns(Damaged):
        assert copy.weights(training) is None
        assert len(copy.samples(run)) == 2
    assert not (copy.runs / training / "DONE").exists()


def test_verify_names_what_is_wrong_and_changes_nothing(once, copy):
    _, training, run, _ = once
    flip(copy.runs / training / "history.parquet")
    (copy.runs / training / "record.json").unlink()
    (copy.runs / run / ".samples-0.parquet.17.part").write_bytes(b"half")
    record = copy.runs / ("f" * 64) / "record.json"
    record.parent.mkdir()
    record.write_text(json.dumps({**json.loads((copy.runs / run / "record.json").read_text()), "version": 99}))
    before = sorted(p.read_bytes() for p in copy.runs.rglob("*") if p.is_file())
    states = {f.path.relative_to(copy.runs).parts: f.state for f in stored.verify(copy) if f.state != "sound"}
    assert states == {
        (training, "history.parquet"): "damaged", (training, "record.json"): "missing",
        (run, ".samples-0.parquet.17.part"): "unfinished", ("f" * 64, "record.json"): "newer",
    }  # fmt: skip
    assert sorted(p.read_bytes() for p in copy.runs.rglob("*") if p.is_file()) == before


def test_a_newer_version_is_refused_not_set_aside(once, copy):
    _, _, run, _ = once
    path = copy.runs / run / "record.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "version": 99}))
    with pytest.raises(InputError, match="newer nvlib"):
        stored.results(copy)
    assert path.exists()


def test_a_store_that_cannot_be_written_is_read_all_the_same(once, copy, monkeypatch):
    _, _, run, _ = once
    flip(block_of(copy.runs / run))

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(stored.checksums.Path, "rename", refuse)
    with pytest.warns(Damaged, match="left out, and could not be set aside"):
        assert len(copy.samples(run)) == 2


# -- shipped results -------------------------------------------------------------------------------------------------


@pytest.fixture
def shipped(once, copy, tmp_path):
    compact(copy, tmp_path / "results" / "small", [e for _, e in SMALL.pairs(SMALL.data())])
    return Store(tmp_path / "nothing", tmp_path / "results")


@pytest.mark.parametrize("name", ["samples.parquet", "records.json", "weights"])
def test_damaged_shipped_files_are_refused_with_what_to_do(name, once, shipped):
    _, training, _, table = once
    folder = shipped.shipped / "small"
    assert {f.state for f in stored.verify(shipped)} == {"sound"}
    assert stored.results(shipped).accuracy.tolist() == table.accuracy.tolist()
    path = folder / name if name != "weights" else folder / "weights" / f"{training}.safetensors"
    flip(path)
    reads = {"samples.parquet": shipped.table, "records.json": lambda: shipped.training(training),
             "weights": lambda: shipped.weights(training)}  # fmt: skip
    with pytest.raises(InputError, match=r"damaged .* restore it"):
        reads[name]()
    assert path.exists()
    assert [f.path for f in stored.verify(shipped) if f.state == "damaged"] == [path]


def test_compaction_keeps_what_shipped_and_adds_what_is_new(once, shipped):
    """Chips that were added to a shipped evaluation ship with it."""
    _, training, _, table = once
    studies.run(replace(SMALL, chips=8), shipped, progress=False)
    evaluations = [e for _, e in SMALL.pairs(SMALL.data())]
    compact(shipped, shipped.shipped / "small", evaluations)
    alone = Store(shipped.runs / "none", shipped.shipped)
    assert stored.results(alone).chip.tolist() == list(range(8))
    assert stored.results(alone).accuracy.tolist()[:6] == table.accuracy.tolist()
    assert alone.training(training).method == "gaussian" and len(alone.history(training)) == 1
    assert {f.state for f in stored.verify(alone)} == {"sound"}


def test_runs_asked_for_are_those_of_the_whole_table(shipped):
    """One ships, one is local, of a training that ships."""
    other = replace(SMALL, sigma_d=(0.1,), train_sigma_d=(0.2,), chips=3)
    mine = studies.run(other, shipped, progress=False)
    whole = stored.results(shipped).astype(object)
    assert whole.groupby("run").chip.count().tolist() in ([3, 6], [6, 3]) and set(mine.origin) == {"yours"}
    for name in set(whole.run):
        pd.testing.assert_frame_equal(
            stored.results(shipped, run=name).astype(object), whole[whole.run == name].reset_index(drop=True)
        )
    assert len(stored.results(shipped, run=sorted(set(whole.run)))) == 9
    assert stored.results(shipped, run="0" * 64).empty and len(shipped.samples("0" * 64)) == 0


def test_plain_results_are_of_programmed_chips_unless_more_is_asked_for():
    held = Store("/nonexistent")
    asked = {"network": "lenet", "dataset": "mnist", "device": "rram", "sigma_d": 0.2, "epochs": 10}
    every, plain = stored.results(held, **asked), stored.results(held, plain=True, **asked)
    usual = (every["range"] == "max") & (every["clipping"] == "none")
    for column in ("deployment", "effects", "train_effects", "periphery"):
        usual &= every[column] == ""
    assert 0 < usual.sum() < len(every) and list(plain["run"]) == list(every[usual]["run"])
    tight = stored.results(held, plain=True, range="deviations:2", **asked)
    assert len(tight) and set(tight["range"]) == {"deviations:2"} and set(tight["deployment"]) == {""}


def test_damage_never_ships(once, copy, tmp_path):
    _, training, _, _ = once
    flip(copy.runs / training / "history.parquet")
    with pytest.raises(InputError, match=r"history\.parquet is damaged"):
        compact(copy, tmp_path / "results" / "small", [e for _, e in SMALL.pairs(SMALL.data())])
    assert not (tmp_path / "results").exists()


# -- a full disk, a kill ---------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path):
    """A real file system of 200 KB; where one may not mount, there is the test with a made-up error below."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_real_full_disk_leaves_whole_files_only(tiny):
    where = Store(tiny / "runs", None)
    training, evaluation = SMALL.pairs(SMALL.data())[0]
    block = pd.DataFrame({"chip": [0, 1], "accuracy": [90.0, 91.0], "loss": [0.1, 0.2], "ekl": [0.1, 0.2]})
    where.append(evaluation, block)
    history = pd.DataFrame({"epoch": [1], "noisy": [90.0]})
    with pytest.raises(DiskFull, match=r"weights\.safetensors was not written") as said:
        where.save_training(training, {"w": torch.zeros(100_000)}, history, 1.0)
    assert said.value.errno == errno.ENOSPC and "\n" not in str(said.value)
    large = pd.DataFrame({"chip": np.arange(2, 60_002), **{c: np.random.rand(60_000) for c in block.columns[1:]}})
    with pytest.raises(DiskFull, match="samples"):
        where.append(evaluation, large)
    with pytest.raises(DiskFull, match="progress"):
        stored.write_json(tiny / "runs" / "progress.json", "x" * 300_000)
    # what was there is whole, nothing half has a name, and there is room again
    assert {f.state for f in stored.verify(where)} == {"sound"}
    assert where.weights(training) is None and list(where.samples(evaluation).chip) == [0, 1]
    where.append(evaluation, block.assign(chip=[2, 3]))
    assert list(where.samples(evaluation).chip) == [0, 1, 2, 3]


# -- finding and removing --------------------------------------------------------------------------------------------


def test_find_by_the_first_digits(once, copy):
    _, training, run, _ = once
    assert copy.find(training[:8]) == (training, copy.record(training))
    assert copy.find(run, "evaluation")[0] == run
    with pytest.raises(InputError, match="no training begins with"):
        copy.find(run[:8], "training")
    with pytest.raises(InputError, match="at least 4"):
        copy.find("xyz")
    other = training[:10] + ("0" if training[10] != "0" else "1") + training[11:]
    shutil.copytree(copy.runs / training, copy.runs / other)
    with pytest.warns(Damaged):  # its record is another's
        assert copy.find(training[:8])[0] == training


def test_with_a_training_go_its_evaluations(once, copy):
    _, training, run, _ = once
    assert stored.dependents(copy, [run]) == [run]
    names = stored.dependents(copy, [training])
    assert names == sorted([training, run])
    assert stored.remove(copy, names) == 2
    assert copy.names() == [] and not list(copy.runs.glob(".removed*"))
    assert stored.results(copy).empty
    with pytest.raises(InputError, match="not in"):
        stored.dependents(copy, ["0" * 64])


def test_deployed_blocks_keep_their_columns(store):
    training, evaluation = SMALL.pairs(SMALL.data())[0]
    deployed = replace(evaluation, deployment={"name": "tsb", "epochs": 3})
    store.open(training)
    block = pd.DataFrame({"chip": [0, 1], "accuracy": [90.0, 91.0], "loss": 0.1, "ekl": 0.2})
    more = {"before": [80.0, 81.0], "cells": 100, "verified": 10, "pulses": 12.5, "passes": 64, "seconds": 1.5}
    store.append(evaluation, block)
    store.append(deployed, block.assign(**more, deployment_parameters='{"epochs":3}'))
    table = stored.results(store)
    assert list(table.columns) == stored.COLUMNS and len(table) == 4
    plain, treated = (table[table.deployment == name] for name in ("", "tsb"))
    assert plain.before.isna().all() and set(plain.deployment_parameters) == {""}
    assert treated.before.tolist() == [80.0, 81.0] and set(treated.deployment_parameters) == {'{"epochs":3}'}
    assert list(store.samples(deployed).pulses) == [12.5, 12.5]


def test_verification_needs_no_torch(once):
    runs, *_ = once
    code = ("import sys; from pathlib import Path; from nvlib import store\n"
            "print({f.state for f in store.verify(store.Store(Path(sys.argv[1]), None))}, 'torch' in sys.modules)")
    out = subprocess.run([sys.executable, "-c", code, runs], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "{'sound'} False"


def test_the_shipped_results_are_what_was_shipped():
    held = Store(runs=stored.local_runs() / "none")
    bad = [str(f) for f in stored.verify(held) if f.state not in ("sound", "unlisted")]
    assert bad == []
    assert all(records.digest(held.training(name)) == name for name in list(held.table().training.cat.categories)[:3])
