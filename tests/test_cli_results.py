"""``results`` on a store made up in milliseconds: list, show, compare, verify, export, compact, remove."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

import nvlib
from nvlib import devices
from nvlib.__main__ import main
from nvlib.records import Evaluation, Training, digest
from nvlib.store import SUMS, Store, results

RRAM = {"name": "rram", **devices.get("rram").numbers()}
LEVEL = {"none": 80.0, "gaussian": 95.0}


def training(method, seed=0, **change):
    shape = {
        "network": "lenet", "width": 1.0, "dataset": "mnist", "fingerprint": "f" * 64, "images": 128, "method": method,
        "parameters": {}, "device": RRAM, "sigma_d": 0.2, "reference": "full_scale", "mapping": "differential",
        "bits": 4, "activation_bits": 4, "epochs": 3, "recipe": {"lr": 1e-3}, "seed": seed,
    }  # fmt: skip
    if method == "none":
        shape |= {"device": None, "sigma_d": 0.0, "reference": None, "mapping": None}
    return Training(**shape | change)


def evaluation(of, **change):
    shape = {"training": digest(of), "device": RRAM, "sigma_d": 0.2, "reference": "full_scale",
             "mapping": "differential", "bits": 4, "images": 128, "deployment": None, "seed": 0}  # fmt: skip
    return Evaluation(**shape | change)


@pytest.fixture
def where(tmp_path, monkeypatch):
    """Two methods, two seeds, 400 chips; gaussian lies 15 points above none on the same chips, give or take."""
    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("NVLIB_RESULTS", str(tmp_path / "results"))
    (tmp_path / "results").mkdir()
    store, luck = Store(), np.random.default_rng(0)
    shared = luck.normal(0, 3, 400)
    for method, level in LEVEL.items():
        for seed in (0, 1):
            held = training(method, seed)
            store.open(held)
            accuracy = np.clip(level + shared + luck.normal(0, 0.5, 400), 0, 100)
            block = pd.DataFrame({"chip": range(400), "accuracy": accuracy, "loss": 0.1, "ekl": 0.02})
            store.append(evaluation(held), block, {"threads": 1})
    return store


@pytest.fixture
def say(capsys):
    def run(line, code=0):
        found = main(line.split())
        out, err = capsys.readouterr()
        assert found == code, err or out
        return err if code == 2 else out

    return run


def run_of(method, seed=0):
    return digest(evaluation(training(method, seed)))


# -- list ------------------------------------------------------------------------------------------------------------


def test_list_is_the_default_and_prints_the_statistics_of_the_table(where, say):
    text = say("results")
    assert text == say("results list")
    table = results(where, method="gaussian")
    mean = table.groupby("train_seed").accuracy.mean().mean()
    (line,) = [line for line in text.splitlines() if line.startswith("gaussian")]
    assert f"{mean:.2f}" in line and line.split()[-2:] == ["800", "2"]
    assert text.splitlines()[0].startswith("lenet on mnist, rram, full_scale, differential, 4-bit weights")
    assert "gaussian" not in say("results --method none")
    assert "KPP(5)" in say("results list --k 5")


def test_runs_that_may_not_be_mixed_stand_apart(where, say):
    """Another recipe is another line, another mapping another table."""
    for change in ({"recipe": {"lr": 1e-2}}, {"mapping": "signed"}):
        held = training("gaussian", **change)
        where.open(held)
        block = pd.DataFrame({"chip": range(5), "accuracy": 50.0, "loss": 0.1, "ekl": 0.02})
        where.append(evaluation(held, mapping=held.mapping), block)
    text = say("results")
    assert text.count("lenet on mnist") == 2 and ", signed," in text
    assert "lr=0.01" in text and "lr=0.001" in text


def test_list_of_runs_and_of_trainings_gives_hashes(where, say):
    text = say("results list --runs --method gaussian")
    assert run_of("gaussian")[:12] in text and len(text.splitlines()) == 3
    text = say("results list --trainings --method none --seed 1")
    assert digest(training("none", 1))[:12] in text and len(text.splitlines()) == 2
    assert "no trainings match" in say("results list --trainings --method trice")
    assert "no sigma_d" in say("results list --trainings --sigma-d 0.2", 2)


def test_what_does_not_match_is_told_what_there_is(where, say):
    assert "stored for method: gaussian, none" in say("results --method trice")
    assert "stored for sigma_d: 0.2" in say("results --sigma-d 0.5")
    assert "all of these at once" in say("results --method none --train-sigma-d 0.2")


# -- show, compare ---------------------------------------------------------------------------------------------------


def test_show_a_run_and_its_training(where, say):
    text = say(f"results show {run_of('gaussian')[:10]}")
    assert run_of("gaussian") in text and "samples-00000000-00000399.parquet" in text and "KPP(1)" in text
    assert "processor" in text and "threads" in text
    text = say(f"results show {digest(training('gaussian'))[:10]}")
    assert text.startswith("training") and run_of("gaussian")[:12] in text
    assert "no run begins with" in say("results show 0123456789", 2)


def test_compare_methods_and_runs_on_the_same_chips(where, say):
    text = say("results compare gaussian none --of mean")
    both = [results(where, method=m).sort_values(["train_seed", "chip"]).accuracy.to_numpy() for m in LEVEL]
    assert f"{(both[1] - both[0]).mean():+.2f}" in text and "100%" in text
    a, b = run_of("gaussian")[:9], run_of("none")[:9]
    text = say(f"results compare {a} {b}")
    difference = (both[1] - both[0])[:400].mean()
    assert f"{difference:+.2f} points" in text and "400 chips" in text and "EKL" in text
    assert len(say(f"results compare {a} {b} --of kpp").splitlines()) == 3


def test_what_is_not_on_the_same_chips_is_not_compared(where, say):
    held = training("gaussian")
    block = pd.DataFrame({"chip": range(3), "accuracy": 50.0, "loss": 0.1, "ekl": 0.02})
    other = evaluation(held, sigma_d=0.3)
    where.append(other, block)
    assert "differ in sigma_d" in say(f"results compare {run_of('gaussian')[:9]} {digest(other)[:9]}", 2)
    assert "gaussian, none" in say("results compare gaussian trice", 2)
    assert "no evaluation begins with" in say(f"results compare {digest(held)[:9]} {digest(other)[:9]}", 2)
    assert "mean" in say("results compare gaussian none --of median", 2)


# -- verify, export, compact, remove ---------------------------------------------------------------------------------


def test_verify_says_and_sets_aside(where, say):
    files = 4 * 2 + 4 * 4
    assert say("results verify") == f"{files} files: {files} sound\n"
    path = next((where.runs / run_of("none")).glob("samples*"))
    path.write_bytes(path.read_bytes()[:-1])
    text = say("results verify", 1)
    assert str(path) in text and "damaged" in text and path.exists()
    say("results verify --set-aside", 1)
    assert not path.exists() and list((where.runs / ".damaged").rglob(path.name))


def test_shipped_files_without_checksums_are_listed_on_demand(where, say, tmp_path):
    say(f"results compact {tmp_path / 'results' / 'small'}")
    (tmp_path / "results" / "small" / SUMS).unlink()
    assert "2 unlisted" in say("results verify")
    assert "listed the checksums of 2 files" in say("results verify --seal")
    assert "unlisted" not in say("results verify")


def test_reading_damage_warns_in_one_line(where, capsys):
    path = next((where.runs / run_of("none")).glob("samples*"))
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["results"]) == 0
    err = capsys.readouterr().err
    assert err.startswith("warning: ") and err.count("\n") == 1 and str(path) in err and "set aside" in err


def test_export(where, say, tmp_path):
    table = results(where, method="none")
    for name, read in (("a.csv", pd.read_csv), ("a.parquet", pd.read_parquet)):
        assert "800 rows" in say(f"results export {tmp_path / name} --method none")
        np.testing.assert_array_equal(read(tmp_path / name).accuracy, table.accuracy)
    assert "2 rows" in say(f"results export {tmp_path / 'table.csv'} --table --k 5")
    assert set(pd.read_csv(tmp_path / "table.csv").k) == {5}
    assert "expected a name that ends in" in say(f"results export {tmp_path / 'a.xlsx'}", 2)
    assert "stored for method" in say(f"results export {tmp_path / 'b.csv'} --method trice", 2)
    assert not (tmp_path / "b.csv").exists()


def test_compact_never_drops_what_shipped(where, say, tmp_path):
    target = tmp_path / "results" / "small"
    assert "4 evaluations, 1600 chips" in say(f"results compact {target}")
    assert {p.name for p in target.iterdir()} == {"records.json", "samples.parquet", SUMS}
    alone = Store(tmp_path / "no runs")
    assert len(results(alone)) == 1600 and set(results(alone).origin) == {"shipped"}
    assert "do not match" in say(f"results compact {target} --method none", 2)
    say(f"results compact {target} --method none --replace")
    assert len(results(alone)) == 800 and "sound" in say("results verify")


def test_remove_asks_and_takes_evaluations_along(where, say, tmp_path):
    name = digest(training("none"))
    assert "give --yes" in say(f"results remove {name[:9]}", 2)
    assert len(where.names()) == 8
    text = say(f"results remove {name[:9]} --yes")
    assert "1 evaluation, 1 training" in text and "deleted 2 runs" in text
    assert set(where.names()) == set(Store().names()) and len(where.names()) == 6
    say("results remove --method gaussian --yes")
    assert set(results(where).method) == {"none"}
    assert "give hashes" in say("results remove --yes", 2)
    assert "no local run" in say("results remove --method gaussian --yes", 2)


def test_remove_leaves_what_is_being_computed(where, say):
    from nvlib import locks

    with locks.take(where.runs, [run_of("none")]):
        assert "is being computed" in say(f"results remove {run_of('none')[:9]} --yes", 2)
    say(f"results remove {run_of('none')[:9]} --yes")


def test_shipped_runs_are_not_removed(where, say, tmp_path):
    say(f"results compact {tmp_path / 'results' / 'small'}")
    say("results remove --method none gaussian --yes")
    assert len(results(where)) == 1600
    assert "not removed from here" in say(f"results remove {run_of('none')[:9]} --yes", 2)


LIGHT = ["results", "results list --runs", "results verify", "results --help", "devices rram", "--help", "jobs list"]


@pytest.mark.parametrize("line", LIGHT)
def test_what_needs_no_torch_does_not_load_it(line, where):
    code = (
        "import sys\nfrom nvlib.__main__ import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    out = subprocess.run([sys.executable, "-c", code, *line.split()], capture_output=True, text=True, check=True)
    assert out.stderr.strip() == "False"


def test_a_reader_that_has_enough_is_no_error(where):
    line = f"{sys.executable} -m nvlib results list --runs | head -1; echo ${{PIPESTATUS[0]}}"
    out = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert out.stderr == "" and out.stdout.splitlines()[-1] == "0"


def test_records_are_plain_json(where):
    assert json.loads((where.runs / run_of("none") / "record.json").read_text())["kind"] == "evaluation"


def test_a_filter_says_none_for_what_is_empty_and_plain_for_all_that_is(where, capsys):
    for words in (["--deployment", "none"], ["--effects", "none", "--periphery", "none"], ["--plain"]):
        assert main(["results", "list", *words]) == 0 and "gaussian" in capsys.readouterr().out
        assert main(["results", "compare", "gaussian", "none", "--origin", "yours", *words]) == 0
    assert main(["results", "list", "--deployment", "tsb"]) == 0 and "no results match" in capsys.readouterr().out


def test_a_value_of_another_kind_is_refused_and_a_name_near_a_known_one_is_said(where):
    with pytest.raises(nvlib.InputError, match="epochs='10' matches no result; expected a number"):
        results(epochs="10")
    with pytest.raises(nvlib.InputError, match="method=3 matches no result; expected a text"):
        results(method=3)
    with pytest.warns(UserWarning, match="no result has network='lenett'; did you mean 'lenet'"):
        assert results(network="lenett").empty
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert results(network="resnet18 x0.5", origin="yours").empty and results(device="mine").empty
