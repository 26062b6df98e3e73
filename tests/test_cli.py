"""The command line, as a person types it; what is stored is the matter of test_cli_results."""

import re
import subprocess
import sys
from dataclasses import fields

import pytest

from nvlib import InputError, methods
from nvlib.__main__ import main
from nvlib.commands import parse
from nvlib.commands.parameters import convert, parameters, types_of
from nvlib.commands.study import grid
from nvlib.declarations import ClusterFields, RecipeFields, StudyFields
from nvlib.methods import METHODS, Recipe
from nvlib.store import DiskFull, Store, results


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("NVLIB_RESULTS", str(tmp_path / "none"))


def asked(line):
    """Return the study that a line asks for."""
    _, bound = parse(line.split())
    asked = {name: value for name, value in bound.kwargs.items() if name not in ("dry_run", "executor", "workers")}
    return grid(*bound.args, **asked)


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "data: mnist" in out and "BAD" not in out
    assert out.count("  ok ") > 10


def test_devices(capsys):
    assert main(["devices", "fefet1", "pcm"]) == 0
    out = capsys.readouterr().out
    assert "1, 4, 4, 1 x sigma_d" in out and "25 uS" in out and "Joshi" in out


def test_data(capsys):
    assert main(["data", "mnist"]) == 0
    assert "55000 train, 5000 validation, 10000 test" in capsys.readouterr().out


# -- studies ---------------------------------------------------------------------------------------------------------


def test_study_then_results(capsys):
    arguments = "study --method none gaussian --sigma-d 0.2 --epochs 1 --chips 5 --images 128".split()
    assert main([*arguments, "--dry-run"]) == 0
    assert capsys.readouterr().out.strip() and not Store().names()
    assert main(arguments) == 0
    table = capsys.readouterr().out
    assert "none" in table and "gaussian" in table
    assert main(["results", "--method", "gaussian"]) == 0
    assert "0.2" in capsys.readouterr().out
    assert main(["results", "--method", "trice"]) == 0
    assert "no results match" in capsys.readouterr().out


def test_a_grid_in_options():
    study = asked(
        "study --method trice rc gaussian --set th=1.5 --set trice.warm=3 --sigma-d 0.1 0.2 --seeds 0 1 --device rram "
        "fefet1 --lr 3e-3 --optimiser sgd --select best --patience 4 --target 90 --epochs 7 --chips 30 --bits 6"
    )
    assert study.parameters == {"trice": {"th": 1.5, "warm": 3}, "rc": {"th": 1.5}}
    assert study.recipe == Recipe("sgd", lr=3e-3)
    assert (study.select, study.patience, study.target) == ("best", 4, 90)
    assert (study.epochs, study.chips, study.bits, study.seeds) == (7, 30, 6, (0, 1))
    assert (study.sigma_d, study.devices) == ((0.1, 0.2), ("rram", "fefet1"))


def test_every_field_that_words_can_say_is_an_option():
    """And every column of the results a filter: a new one needs no second place."""
    from nvlib.commands import results as command
    from nvlib.commands import study
    from nvlib.store import COLUMNS

    said = {field.name for kind in (StudyFields, RecipeFields, ClusterFields) for field in fields(kind)}
    tables = {"parameters", "deployment_parameters", "recipe", "extra"}  # of a file; --set and others say them in words
    assert set(study.Asked.__annotations__) == said - tables - {"jobs"}  # --workers is a cluster's jobs
    assert set(command.Filters.__annotations__) == {"plain", *COLUMNS} - set(command.SCORES)


def test_deployments_in_options():
    study = asked("study --method gaussian --deploy none tsb --deploy-set tsb.epochs=3")
    assert study.deployments == (None, "tsb") and study.deployment_parameters == {"tsb": {"epochs": 3}}


def test_published_recipes():
    assert asked("study --network resnet18 --recipe preset").recipe == methods.preset("resnet18", 1)
    study = asked("study --network resnet18 --recipe preset --lr 0.1")
    assert study.recipe == Recipe(**{**vars(methods.preset("resnet18", 1)), "lr": 0.1})


def test_options_change_what_a_file_says(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(
        'methods = ["trice", "rc"]\nsigma_d = [0.3]\nchips = 50\n[parameters.trice]\nwarm = 2\nth = 1.0\n'
        "[recipe]\nlr = 2e-3\n"
    )
    study = asked(f"study {path} --chips 70 --set trice.th=2.5 --batch-size 32")
    assert (study.methods, study.sigma_d, study.chips) == (("trice", "rc"), (0.3,), 70)
    assert study.parameters == {"trice": {"warm": 2, "th": 2.5}} and study.recipe == Recipe(lr=2e-3, batch_size=32)
    assert asked(f"study {path}").recipe == Recipe(lr=2e-3)


# -- one model -------------------------------------------------------------------------------------------------------


def test_train_says_the_hash_that_evaluate_takes(capsys):
    line = "train --method rc --set sigma_t=0.3 --epochs 1 --images 128 --sigma-d 0.2 --lr 3e-3"
    assert main(line.split()) == 0
    out, err = capsys.readouterr()
    name = out.strip()
    assert "validation" in err
    record = Store().training(name)
    assert record.parameters["sigma_t"] == 0.3 and record.recipe["lr"] == 3e-3 and record.epochs == 1
    assert main([*line.split(), "--quiet"]) == 0  # it is there
    assert capsys.readouterr().out.strip() == name
    assert main(["evaluate", name[:10], "--chips", "4"]) == 0
    run, said = capsys.readouterr()
    table = results()
    assert table.run.unique().tolist() == [run.strip()] and len(table) == 4 and "too few chips" in said
    assert set(table.sigma_d) == {0.2} and set(table.device) == {"rram"} and set(table.images) == {128}
    # another device, and until an interval is narrow: two looks at least, as 2 chips are never enough here
    assert main(["evaluate", name[:10], *"--device pcm --sigma-d 1 --chips 2 --until 9 --of mean --quiet".split()]) == 0
    other = results(device="pcm")
    assert set(other.run) == {capsys.readouterr().out.strip()} and set(other.training) == {name}
    assert main(["evaluate", name[:10], "--device", "pcm"]) == 2  # its 0.2 would be a fifth of what was measured
    assert "expected --sigma-d (usual: 0.1 of rram, 1 of pcm)" in capsys.readouterr().err


def test_evaluate_refuses_other_data(capsys, tmp_path):
    assert main("train --method none --epochs 1 --images 64 --quiet".split()) == 0
    name = capsys.readouterr().out.strip()
    for line, said in (
        (f"evaluate {name}", "say which"), (f"evaluate {name} --sigma-d 0.1 --dataset {tmp_path}", "folder"),
        (f"evaluate {name} --sigma-d 0.1 --k 100", "percentile"), ("evaluate 0123456", "no training begins with"),
    ):  # fmt: skip
        assert main(line.split()) == 2
        assert said in capsys.readouterr().err


# -- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_every_default_of_every_method_can_be_written(name):
    """What a method takes without being told, it takes from the command line, of the same type."""
    kinds, method = types_of(METHODS[name]), methods.get(name)
    for parameter, kind in kinds.items():
        value = getattr(method, parameter)
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        held = convert(text, kind, parameter)
        assert held == value
        assert type(held) is type(value) or kind is float  # a number written without a point


READ = [
    ("2", int, 2), ("2", float, 2.0), ("1e-2", float | None, 0.01), ("none", float | None, None), ("yes", bool, True),
    ("off", bool, False), ("1e-1,1e-2", float | tuple[float, ...], (0.1, 0.01)), ("rc", str, "rc"),
    ("features.0,features.3", tuple[str, ...] | None, ("features.0", "features.3")), ("fc", tuple[str, ...], ("fc",)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "value"), READ)
def test_values_are_read_as_their_type(text, kind, value):
    held = convert(text, kind, "p")
    assert held == value and type(held) is type(value)


@pytest.mark.parametrize(
    ("text", "kind"), [("2.5", int), ("x", float | None), ("2", bool), ("", float), ("1,x", tuple[float, ...])]
)
def test_values_of_another_type_are_refused(text, kind):
    with pytest.raises(InputError, match="p="):
        convert(text, kind, "p")


def test_a_parameter_reaches_those_that_have_it():
    found = parameters(["th=2", "trice.warm=1"], ["none", "rc", "trice"], METHODS, "method")
    assert found == {"rc": {"th": 2.0}, "trice": {"th": 2.0, "warm": 1}}


# -- bad input, errors, exit codes -----------------------------------------------------------------------------------

BAD = [
    ("devices fefet9", "did you mean 'fefet"),
    ("study --method gausian", "gaussian"),
    ("study --sigma-d -0.1", "sigma_d"),
    ("study --bits 5", "multiple of 2"),
    ("study --device rram pcm", "sigma_d is left out"),
    ("study --epochs 0", "epochs=0 is not usable"),
    ("study --chips 0", "chips=0 is not usable"),
    ("study --network alexnet", "lenet"),
    ("study --dataset cifar10", "NVLIB_DATA"),
    ("study --device nowhere.toml", "nowhere.toml"),
    ("study nowhere.toml", "nowhere.toml"),
    ("study --epochs many", "invalid int value"),
    ("study --lr 0", "above 0"),
    ("study --recipe best", "preset"),
    ("study --optimiser adm", "did you mean 'adam'"),
    ("study --select first", "last"),
    ("study --method rc --set th", "parameter=value"),
    ("study --method rc --set th=wide", "a number"),
    ("study --method rc --set warm=2", "ratio"),
    ("study --method rc --set trice.warm=2", "not among the methods"),
    ("study --method none --set th=2", "no parameters"),
    ("study --method trice --set n_train=0.5", "a whole number"),
    ("study --deploy-set tsb.epochs=3", "--deploy"),
    ("study --deploy magic", "write_verify"),
    ("study --executor cloud", "slurm"),
    ("study --gpus 2", "--executor slurm"),
    ("train --method", "--help"),
    ("train --method trice --set tice.th=1", "not among the methods"),
    ("evaluate nohash", "hexadecimal"),
    ("results --k 100 --method none", "no results"),
    ("results list --nothing", "unrecognized arguments: --nothing"),
    ("results show", "required: hash"),
    ("results remove", "give hashes"),
    ("jobs stop", "invalid choice"),
    ("completion tcsh", "bash"),
    ("reproduce trice-fig99", "trice-fig3"),
    ("reproduce --preset huge", "smoke"),
    ("simulate", "invalid choice"),
    ("results lst", "did you mean 'list'"),
    ("results --netwrk lenet", "did you mean --network"),
    ("train --epochs 1.5", "a whole number"),
    ("train --seed 1 --seed 2", "twice"),
    ("results list --runs --trainings", "give one"),
    ("study --on tpu --images 64", "on='tpu' is no device"),
    ("study --images 0", "images=0 is not usable"),
    ("study --seeds -1", "seed -1"),
    ("study --momentum 2", "momentum=2.0"),
    ("study --weight-decay nan", "weight_decay=nan"),
    ("study --k 200 --dry-run", "k is 200"),
    ("study --workers 0 --dry-run", "workers=0"),
    ("study --threads 0 --dry-run", "threads=0"),
    ("study --pack many --dry-run", "pack='many'"),
    ("study --no-follow", "--executor slurm"),
    ("study --executor slurm --gpus -1 --dry-run", "gpus=-1"),
    ("train --method rc --set th=2 --set th=3", "sets th again"),
    ("evaluate 0123 --of mean", "--of mean is for --until"),
    ("evaluate 0123 --max-chips 5", "--max-chips 5 is for --until"),
    ("app --plugin nowhere.py", "nowhere.py"),
    ("app --network nowhere.py:small", "nowhere.py:small"),
    ("reproduce 01_devices --preset tour", "preset of 01_devices 'tour'; expected one of: full"),
    ("results compare gaussian none --network nope", "nothing is stored"),
    ("claims --write nowhere.md", "add them"),
    ("", "required"),
]


@pytest.mark.parametrize(("line", "said"), BAD)
def test_bad_input_is_one_line_and_exit_code_two(line, said, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NVLIB_DATA", str(tmp_path))
    code = main(line.split())
    captured = capsys.readouterr()
    if "no results" in said:
        assert code == 0 and said in captured.out
        return
    assert code == 2
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert said in captured.err


@pytest.mark.filterwarnings("default")
def test_a_warning_is_said_once_a_command(capsys):
    line = "study --network lenet3 --method none gaussian --sigma-d 20 --epochs 1 --chips 2 --images 64"
    for _ in range(2):  # each command says it
        assert main([*line.split(), "--seeds", "0", "1"]) == 0
        err = capsys.readouterr().err
        assert err.count("warning: sigma_d=20") == 1 and "<string>" not in err


def test_pages_are_written_where_one_says(monkeypatch, capsys, tmp_path):
    from nvlib import papers

    asked = []
    monkeypatch.setattr(papers, "execute", lambda chosen, target, **_: asked.append(target) or [])
    assert main(["reproduce", "01_devices"]) == main(["reproduce", "01_devices", "--to", str(tmp_path)]) == 0
    assert asked == [None, tmp_path]
    monkeypatch.undo()
    (file := tmp_path / "file").touch()
    assert main(["reproduce", "01_devices", "--to", str(file)]) == 1
    assert f"{file}; expected a folder" in capsys.readouterr().err


def test_a_module_that_is_a_command_is_not_imported_with_its_package():
    for module in ("nvlib.papers.analyses", "nvlib.papers.write_studies", "nvlib.papers.still_images"):
        assert subprocess.run([sys.executable, "-c", f"import sys, nvlib.papers; sys.exit({module!r} in sys.modules)"]
                              ).returncode == 0  # fmt: skip


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (DiskFull(28, "No space left on the disk of runs"), 1), (InputError("no"), 2)],
)
def test_what_stops_a_command_is_one_line_and_a_code(error, code, capsys, monkeypatch):
    from nvlib import devices

    def stop():
        raise error

    monkeypatch.setattr(devices, "names", stop)
    assert main(["devices"]) == code
    assert capsys.readouterr().err.count("\n") == 1


COMMANDS = ["", "doctor", "devices", "data", "train", "evaluate", "study", "jobs", "jobs follow", "reproduce", "claims",
            "completion", "results", *(f"results {action}" for action in (
                "list", "show", "compare", "verify", "export", "compact", "remove"))]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0 and "examples:" in out and f"python -m nvlib {command}".strip() in out


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "nvlib", "--help"], capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout and "exit codes:" in done.stdout
    done = subprocess.run([sys.executable, "-m", "nvlib", "devices", "x"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("reproduce", "compact", "verify", "follow"))


COMPLETED = [
    ("stu", {"study"}), ("study --train-s", {"--train-sigma-d"}), ("study --method trice_", {"trice_gauss"}),
    ("train --device fefet", {"fefet1", "fefet2"}), ("results ver", {"verify"}), ("jobs f", {"follow", "forget"}),
]  # fmt: skip


def test_completion_in_a_real_shell(capsys, tmp_path):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "nvlib"
    script.write_text(capsys.readouterr().out)
    for line, expected in COMPLETED:
        words = ["nvlib", *line.split()]
        ask = (
            f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
            f"{FUNCTION.search(script.read_text())[1]} nvlib '{words[-1]}' '{words[-2]}'; echo ${{COMPREPLY[@]}}"
        )
        out = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True).stdout
        assert set(out.split()) == expected, line


FUNCTION = re.compile(r"-F (\w+)")
