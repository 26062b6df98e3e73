"""A network of one's own: adopted by content, run only where it trains, refused in one line where it cannot."""

from pathlib import Path

import pytest
import torch
from torch import nn

import nvlib
from nvlib import launch, models
from nvlib.__main__ import main
from nvlib.errors import InputError
from nvlib.models import own, syntax
from nvlib.store import Store, compact
from nvlib.studies import Study, model_of, run

HEAD = "import torch\nfrom torch import nn\n"
SMALL = HEAD + """
def small(classes=10, in_channels=1, width=1.0):
    c = round(4 * width)
    return nn.Sequential(nn.Conv2d(in_channels, c, 5, stride=4), nn.BatchNorm2d(c), nn.ReLU(),
                         nn.Flatten(), nn.Linear(c * 36, classes))
"""
GRID = {"methods": ("gaussian",), "sigma_d": (0.1,), "images": 128, "epochs": 1, "chips": 3}


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    for name in ("runs", "models"):
        monkeypatch.setenv(f"NVLIB_{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("NVLIB_RESULTS", str(tmp_path / "none"))


@pytest.fixture
def marker(tmp_path):
    """A file that SMALL with `marked` adds a letter to whenever it is run."""
    return tmp_path / "marker"


def marked(marker, text=SMALL):
    return f"open({str(marker)!r}, 'a').write('x')\n{text}".encode()


def made(text, factory="make", **options):
    """Return the network of a file's text."""
    return models.build(own.adopt((HEAD + text).encode(), factory).network, **options)


# -- adopting --------------------------------------------------------------------------------------------------------


def test_adopting_runs_nothing_and_building_runs_once(marker):
    found = own.adopt(marked(marker), "small", "mine")
    assert own.find("own:mine") == own.adopted()[0] == found and own.find(found.network).sha256 == found.sha256
    assert syntax.factories(own.source(found)) == ("small",) and not marker.exists()
    shapes = [tuple(models.build("own:mine", classes=n, seed=0)[-1].weight.shape) for n in (7, 10)]
    assert shapes == [(7, 144), (10, 144)] and marker.read_text() == "x"


def test_a_name_follows_the_content_wherever_the_file_lies(tmp_path, monkeypatch):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "mine.py").write_text(SMALL)
    first = own.adopt(tmp_path / "a" / "mine.py")
    monkeypatch.setenv("NVLIB_MODELS", str(tmp_path / "elsewhere"))
    again = own.adopt(tmp_path / "b" / "mine.py", "small")
    assert again.network == first.network == f"own:mine.small@{first.sha256[:16]}"
    (tmp_path / "b" / "mine.py").write_text(SMALL + "\n")
    other = own.adopt(tmp_path / "b" / "mine.py")
    assert other.network != first.network and own.find("own:mine").network == other.network  # the latest of the name
    assert Study(network="own:mine", **GRID).record()["network"] == other.network
    assert {n.network for n in own.adopted()} == {first.network, other.network}


def test_one_file_may_have_several_factories():
    text = (SMALL + "\nclass Net(nn.Linear):\n    def __init__(self):\n        super().__init__(3, 2)\n").encode()
    with pytest.raises(InputError, match="several functions or classes: small, Net"):
        own.adopt(text)
    for factory in ("small", "Net"):
        own.adopt(text, factory, "two")
    with pytest.raises(InputError, match=r"expected one of: own:two\.Net, own:two\.small"):
        own.find("own:two")
    assert isinstance(models.build("own:two.Net"), nn.Linear)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"#" * (syntax.MOST + 1), "at most 65,536"),
        (b"\xff\xfe", "UTF-8"),
        (b"def make(:\n", "not Python: .* in line 1"),
        (b"x = 1\n", "no function"),
        (b"", "no function"),
        (b"(" * 20_000, "not Python"),
        (b"def make():\x00\n pass", "U\\+0000 in line 1"),
        ("x = 1\n# \u202e\ndef make(): pass".encode(), "U\\+202E in line 2"),
        (b"# harmless\rimport os\ndef make(): pass", "U\\+000D in line 1"),
        (b"# \x1b[8m\ndef make(): pass", "U\\+001B"),
        ("# \u2028\ndef make(): pass".encode(), "U\\+2028"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_a_network_is_refused(content, says):
    with pytest.raises(InputError, match=says) as error:
        own.adopt(content)
    assert "\n" not in str(error.value) and not own.folder().exists()


def test_what_is_shown_is_what_runs():
    """A line that asks for another encoding is a comment; UTF-8 it is."""
    text = "# coding: utf-7\nNAME = '+ACcA-'\ndef make():\n    return nn.Linear(3, len(NAME))\n"
    assert syntax.text_of(text.encode()) == text
    assert made(text).out_features == len("+ACcA-")


@pytest.mark.parametrize("name", ["../x", "a b", "", "x;y", "-x", "1x", "a" * 33, "ä", "a.b", "a\n"])
def test_names_that_could_mean_something_else_are_refused(name):
    with pytest.raises(InputError, match="cannot be used"):
        own.adopt(SMALL.encode(), "small", name)
    with pytest.raises(InputError, match=r"none of one's own") as error:
        own.find(f"own:{name}@{'0' * 15}")
    assert "\n" not in str(error.value) and not own.folder().exists()


# -- refusing --------------------------------------------------------------------------------------------------------


def test_what_was_not_adopted_is_not_run(tmp_path, monkeypatch, marker):
    network = own.adopt(marked(marker), "small", "mine").network
    training = run(Study(network=network, **GRID), progress=False).training.iloc[0]
    assert marker.exists()
    digits = network[-16:]
    monkeypatch.setenv("NVLIB_MODELS", str(tmp_path / "of_another"))  # who is given the results, has not agreed
    for refused in (lambda: model_of(training), lambda: Study(network=network), lambda: models.build(network),
                    lambda: nvlib.train("none", network, None, "rram", 0.1)):  # fmt: skip
        with pytest.raises(InputError, match=f"not adopted here.*{digits}.*models add FILE:small --name mine") as error:
            refused()
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="models add FILE:FACTORY --name mine"):
        own.find("own:mine")
    assert len(nvlib.results(training=training)) == 3  # data are there for everybody
    with pytest.raises(InputError, match=r"is a file; adopt it first: python -m nvlib models add x\.py:make"):
        models.build("x.py:make")


def test_an_altered_file_is_not_run(marker):
    found = own.adopt(marked(marker), "small", "mine")
    models.build("own:mine")
    own.place(found).write_bytes(marked(marker, SMALL + "# more\n"))
    for _ in range(2):  # though it ran in this process before
        with pytest.raises(InputError, match="was altered since"):
            models.build("own:mine")
    own.place(found).unlink()
    with pytest.raises(InputError, match="cannot be read"):
        models.build("own:mine")
    assert marker.read_text() == "x"


def test_a_folder_that_others_may_write_to_is_not_trusted():
    own.adopt(SMALL.encode(), "small", "mine")
    assert own.folder().stat().st_mode & 0o777 == 0o700
    own.folder().chmod(0o777)
    for act in (own.adopted, lambda: models.build("own:mine"), lambda: own.adopt(SMALL.encode())):
        with pytest.raises(InputError, match="chmod go-w"):
            act()


def test_a_withdrawn_network_is_not_run_and_keeps_its_results():
    network = own.adopt(SMALL.encode(), None, "mine").network
    run(Study(network=network, **GRID), progress=False)
    own.withdraw("own:mine")
    assert not list(own.folder().iterdir()) and len(nvlib.results(network=network)) == 3
    with pytest.raises(InputError, match="not adopted here"):
        Study(network=network)


def test_a_streamlit_server_does_not_run_it(marker, monkeypatch):
    runtime = pytest.importorskip("streamlit.runtime")
    own.adopt(marked(marker), "small", "mine")
    monkeypatch.setattr(runtime, "exists", lambda: True)
    with pytest.raises(InputError, match="never run in this server"):
        models.build("own:mine")
    assert not marker.exists()


# -- what the factory is given, and what it may make -----------------------------------------------------------------


def test_a_factory_gets_what_it_names():
    text = """
def make(in_channels, classes, bits=6, *, activation_bits, width=2, **more):
    net = nn.Linear(in_channels, classes)
    net.given = (bits, activation_bits, width, more)
    net.bits, net.activation_bits, net.input_size = bits, activation_bits, 14
    return net
"""
    net = made(text, classes=7)
    assert (net.in_features, net.out_features, net.given) == (1, 7, (6, 0, 1.0, {}))
    net = made(text, in_channels=3, width=0.5, bits=4, activation_bits=2)
    assert (net.in_features, net.given) == (3, (4, 2, 0.5, {}))
    assert (net.bits, net.activation_bits, net.input_size, net.training) == (4, 2, 14, True)


def test_what_a_network_does_not_say():
    net = made("def make():\n    return nn.Linear(3, 2)\n")
    assert (net.bits, net.activation_bits, net.input_size) == (8, 0, None)
    assert made("def make():\n    return nn.Linear(3, 2)\n", bits=4).bits == 4
    assert made("def make(bits=6):\n    return nn.Linear(3, 2)\n").bits == 6
    quantised = """from nvlib.models import ActivationQuantiser
def make():
    return nn.Sequential(nn.Linear(3, 2), nn.ReLU(), ActivationQuantiser(5))
"""
    assert made(quantised).activation_bits == made(quantised, activation_bits=5).activation_bits == 5


def test_images_are_scaled_to_what_a_network_says():
    text = SMALL.replace("    c = ", "    nn.Sequential.input_size = None\n    c = ").replace("c * 36", "c * 9")
    text = text.replace("return nn.Seq", "net = nn.Seq") + "    net.input_size = 14\n    return net\n"
    network = own.adopt(text.encode(), "small", "half").network
    assert Study(network=network, images=10).data().shape == (1, 14, 14)


def test_seeds_make_the_weights():
    text = "torch.rand(7)\ndef make():\n    return nn.Linear(30, 2)\n"
    first = made(text, seed=5).weight
    before = torch.get_rng_state()
    again, other = made(text, seed=5).weight, made(text, seed=6).weight
    assert torch.equal(first, again) and not torch.equal(first, other)  # though its file drew numbers the first time
    assert torch.equal(torch.get_rng_state(), before)


BROKEN = [
    ("import nowhere_at_all\ndef make(): pass", "its file raised ModuleNotFoundError: .*line 3 of its file", True),
    ("def make():\n    return 1 / 0", r"make\(\) raised ZeroDivisionError: division by zero \(line 4", True),
    ("def make():\n    raise SystemExit('bye\\nbye')", "raised SystemExit: bye bye", True),
    ("def make():\n    pass", "returned NoneType; expected an nn.Module", False),
    ("def make():\n    return nn.ReLU()", "no weight to put on arrays", False),
    ("def make():\n    return nn.LazyLinear(3)", "weight has no shape yet", False),
    ("def make():\n    return nn.Linear(3, 2, device='meta')", "weight is on meta", False),
    ("def make(depth):\n    pass", "needs 'depth', which nothing gives it", False),
    ("def make():\n    net = nn.Linear(3, 2)\n    net.bits = 40\n    return net", "bits of own:.*40", False),
    ("def make():\n    net = nn.Linear(3, 2)\n    net.input_size = (9, 9)\n    return net", "pixels of a side", False),
    ("def make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(784, 12))", r"shape \(2, 12\) .* \(2, 10\)", False),
    ("def make():\n    return nn.Conv2d(1, 10, 1)", r"\(2, 10, 28, 28\) .* let make take classes", False),
    ("def make():\n    return nn.Linear(3, 10)", r"images of shape \(2, 1, 28, 28\) raised RuntimeError: .*mat1", True),
    ("make = None\nif True:\n    del make\ndef make(): pass\ndel make", "has no 'make' to call", False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says", "traced"), BROKEN)
def test_what_goes_wrong_in_a_file_is_one_line(text, says, traced):
    own.adopt((HEAD + text).encode(), "make", "bad")
    with pytest.raises(InputError, match=says) as error:
        Study(network="own:bad", images=10).data()
    assert "\n" not in str(error.value) and "own:bad.make@" in str(error.value)
    assert (isinstance(error.value, own.Broken) and error.value.__cause__ is not None) == traced


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": 0.5}, "has one width"),
        ({"activation_bits": 4}, "0 bits .* 4 asked for"),
        ({"bits": 0}, "1 to 16"),
        ({"classes": 0}, "classes=0"),
    ],
)
def test_what_a_network_is_not(options, says):
    with pytest.raises(InputError, match=says):
        made("def make(classes=2):\n    return nn.Linear(3, classes)\n", **options)


# -- through the store -----------------------------------------------------------------------------------------------


def test_training_goes_on_to_the_same_weights_and_keeps_its_text(store):
    found = own.adopt(SMALL.encode(), None, "mine")
    study = Study(network="own:mine", **GRID | {"epochs": 3})

    def stop(what, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(study, store, progress=stop)
    assert list(store.runs.glob("*.checkpoint.safetensors"))
    table = run(study, store, progress=False)
    training = table.training.iloc[0]
    whole = Store(store.runs.with_name("whole"), None)
    assert run(study, whole, progress=False).equals(table)
    held, again = model_of(training, store).state_dict(), model_of(training, whole).state_dict()
    assert held.keys() == again.keys() and all(torch.equal(held[key], again[key]) for key in held)
    assert set(table.network) == {found.network}
    for where in (store, Store(store.runs, None)):
        kept = where.about(training)["network"]
        assert kept == {"name": "mine", "factory": "small", "sha256": found.sha256, "classes": 10, "in_channels": 1,
                        "source": SMALL}  # fmt: skip
    record = store.training(training)
    assert (record.network, record.bits, record.activation_bits) == (found.network, 8, 0)


def test_shipped_results_bring_the_text_and_the_weights(store, tmp_path):
    own.adopt(SMALL.encode(), None, "mine")
    study = Study(network="own:mine", **GRID)
    table = run(study, store, progress=False)
    training = table.training.iloc[0]
    compact(store, tmp_path / "results" / "ours", [e for _, e in study.pairs(study.data())])
    shipped = Store(tmp_path / "nothing", tmp_path / "results")
    assert shipped.about(training)["network"]["source"] == SMALL
    held, here = model_of(training, shipped).state_dict(), model_of(training, store).state_dict()
    assert all(torch.equal(held[key], here[key]) for key in here)


def test_tied_weights_and_passing_buffers_come_back(store):
    text = HEAD + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(784, 10)
        self.b = nn.Linear(784, 10)
        self.b.weight = self.a.weight
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def forward(self, x):
        if self.training:
            self.scale.add_(1)
        return self.a(x.flatten(1)) + self.scale * self.b(x.flatten(1))
"""
    own.adopt(text.encode(), "Net", "tied")
    table = run(Study(network="own:tied", **GRID), store, progress=False)
    model = model_of(table.training.iloc[0], store)
    assert model.a.weight is model.b.weight and model.scale == 2  # a step of 128 images


def test_methods_that_attach_take_named_layers(store):
    own.adopt(SMALL.encode(), None, "mine")
    grid = GRID | {"chips": 1, "network": "own:mine"}
    with pytest.raises(InputError, match="name the layers"):
        run(Study(**grid | {"methods": ("irs",)}), store, progress=False)
    named = Study(**grid | {"methods": ("irs",), "parameters": {"irs": {"layers": ("0",), "hidden": 4}}})
    assert len(run(named, store, progress=False)) == 1
    deployed = Study(**grid, deployments=("tsb",))
    with pytest.raises(InputError, match="tsb does not know"):
        run(deployed, store, progress=False)
    options = {"places": ("0",), "channels": 4, "epochs": 1, "images": 64, "redraws": 1}
    table = run(Study(**grid, deployments=("tsb",), deployment_parameters={"tsb": options}), store, progress=False)
    assert len(table) == 1 and table.cells.iloc[0] > 0


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_other_processes_do_what_this_one_does(store, marker, workers):
    """Workers find the file by themselves; each process runs it once."""
    network = own.adopt(marked(marker), "small", "mine").network
    study = Study(network=network, **GRID | {"seeds": (0, 1)})
    table = launch.run(study, "processes", workers, where=store, threads=1, progress=False)
    assert marker.read_text() == "x" * (1 + workers)
    alone = run(study, Store(store.runs.with_name("alone"), None), progress=False, threads=1)
    order = ["run", "chip"]
    left, right = (t.sort_values(order).reset_index(drop=True) for t in (table, alone))
    assert len(left) == 6 and left.accuracy.equals(right.accuracy) and left.run.equals(right.run)


# -- jobs say where it went wrong ------------------------------------------------------------------------------------


def test_a_launch_logs_the_traceback_of_what_fails_in_training(store):
    text = HEAD + """
class Net(nn.Linear):
    def __init__(self):
        super().__init__(784, 10)

    def forward(self, x):
        assert not self.training, 'only looks'
        return super().forward(x.flatten(1))
"""
    own.adopt(text.encode(), "Net", "lazy")
    with pytest.raises(launch.Failed, match="AssertionError: only looks"):
        launch.run(Study(network="own:lazy", **GRID), where=store, progress=False)
    log = Path(launch.status("last", store).log).read_text()
    assert "Traceback" in log and "assert not self.training, 'only looks'" in log


def test_a_job_logs_the_traceback_of_what_fails_before(store, capsys):
    from nvlib.launch.job import new
    from nvlib.launch.run import main as lead

    own.adopt(f"{HEAD}def make():\n    return undefined_name\n".encode(), "make", "bad")
    options = {"workers": None, "on": "cpu", "pack": "auto", "threads": None, "cluster": {}, "shipped": None}
    job = new(store.runs, [{"network": "own:bad", "images": 10}], "here", None, options)
    assert lead(str(job.home)) == 2
    out = capsys.readouterr().out
    assert "Traceback" in out and "    return undefined_name" in out
    assert out.splitlines()[-1].startswith("error: own:bad.make@") and "NameError" in out.splitlines()[-1]
    assert job.status().state == "failed" and "line 4 of its file" in job.status().error


# -- the command line ------------------------------------------------------------------------------------------------


def test_the_commands(capsys, tmp_path, marker):
    (tmp_path / "mine.py").write_bytes(marked(marker))
    assert main(["models"]) == 0 and "no networks of your own" in capsys.readouterr().out
    assert main(["models", "add", str(tmp_path / "mine.py:small")]) == 0
    out, err = capsys.readouterr()
    network = out.strip()
    assert network == own.find("own:mine").network and "with your rights" in err
    assert main(["models"]) == 0 and network in capsys.readouterr().out
    assert main(["models", "show", "own:mine"]) == 0 and "def small(" in capsys.readouterr().out
    assert not marker.exists()
    assert main(["models", "check", "own:mine"]) == 0
    assert "0.weight" in (checked := capsys.readouterr().out) and "8-bit weights" in checked
    assert marker.exists()
    assert main(["train", *"--network own:mine --epochs 1 --images 64 --sigma-d 0.1 --quiet".split()]) == 0
    training = capsys.readouterr().out.strip()
    assert Store().training(training).network == network
    assert main(["evaluate", training, "--chips", "2", "--quiet"]) == 0
    assert main(["results", "show", training]) == 0
    assert "    def small(" in capsys.readouterr().out
    assert main(["models", "remove", network]) == 0
    assert main(["evaluate", training, "--chips", "4", "--quiet"]) == 2
    capsys.readouterr()
    assert main(["models", "add", "--run", training[:10]]) == 0
    assert capsys.readouterr().out.strip() == network
    assert main(["evaluate", training, "--chips", "4", "--quiet"]) == 0
    (tmp_path / "grid.toml").write_text('network = "own:mine"\nmethods = ["none"]\nimages = 64\nepochs = 1\n')
    assert main(["study", str(tmp_path / "grid.toml"), "--dry-run"]) == 0
    assert "1 epochs to go" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("models add nowhere.py", "cannot be read"), ("models add grid.toml", "Python file"),
        ("models add", "--run HASH"), ("models add --run 0123", "no training begins"),
        ("models add x.py:f --run a", "give"),
        ("models show own:mine", "not adopted here"), ("models check lenet", "none of one's own"),
        ("models drop own:mine", "invalid choice"), ("train --network own:mine", "not adopted here"),
        ("study --network mine.py", "adopt it first"), ("study --network own:", "none of one's own"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_two(line, says, capsys):
    assert main(line.split()) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and says in err


def test_check_shows_where_a_file_fails(capsys, tmp_path):
    (tmp_path / "bad.py").write_text("def make():\n    return undefined_name\n")
    assert main(["models", "add", str(tmp_path / "bad.py")]) == 0
    assert main(["models", "check", "own:bad"]) == 2
    err = capsys.readouterr().err
    assert "    return undefined_name" in err and err.splitlines()[-1].startswith("error: own:bad.make@")


@pytest.mark.parametrize("command", ["models", "models add", "models check"])
def test_every_command_has_help_with_examples(command, capsys):
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    assert "examples:" in (out := capsys.readouterr().out) and f"python -m nvlib {command}" in out
