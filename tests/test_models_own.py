"""A network of one's own: known by its file's content, refused in one line where it cannot be used."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import nvlib
from nvlib import catalogue, launch, models, plugins
from nvlib.__main__ import main
from nvlib.errors import InputError
from nvlib.models import own
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
    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("NVLIB_RESULTS", str(tmp_path / "none"))
    monkeypatch.setattr(plugins, "_held", {})
    monkeypatch.setattr(plugins, "_current", {})
    monkeypatch.setattr(catalogue, "NETWORKS", dict(catalogue.NETWORKS))


@pytest.fixture
def written(tmp_path):
    """What writes a file and returns what names its network."""

    def write(text, factory="make", name="mine"):
        (tmp_path / f"{name}.py").write_text(text)
        return f"{tmp_path / name}.py:{factory}"

    return write


@pytest.fixture
def made(written):
    """What builds the network of a file's text."""
    return lambda text, **options: models.build(written(HEAD + text), **options)


@pytest.fixture
def marker(tmp_path):
    """A file that SMALL with `marked` adds a letter to whenever it is run."""
    return tmp_path / "marker"


def marked(marker, text=SMALL):
    return f"open({str(marker)!r}, 'a').write('x')\n{text}"


# -- naming ----------------------------------------------------------------------------------------------------------


def test_a_file_is_run_once_as_long_as_it_is_the_same(written, marker):
    network = written(marked(marker), "small")
    shapes = [tuple(models.build(network, classes=n, seed=0)[-1].weight.shape) for n in (7, 10)]
    assert shapes == [(7, 144), (10, 144)] and marker.read_text() == "x"
    found = own.find(models.named(network))
    assert (found.factory, found.source.text, found.source.name) == ("small", marked(marker), "mine")
    assert models.named(network.removesuffix(":small")) == found.network  # the only function that there is
    assert own.label(found.network) == f"mine.small (own, {found.source.sha256[:8]})"


def test_a_name_follows_the_content_wherever_the_file_lies(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "mine.py").write_text(SMALL)
    first, again = (models.named(f"{tmp_path}/{place}/mine.py:small") for place in ("a", "b"))
    assert first == again == f"own:mine.small@{own.find(first).source.sha256[:16]}"
    (tmp_path / "b" / "mine.py").write_text(SMALL.replace("4 * width", "6 * width"))
    study = Study(network=str(tmp_path / "b" / "mine.py"), **GRID)
    assert study.network != first and study.plugins == (str(tmp_path / "b" / "mine.py"),)
    assert Study.of(study.record()) == study
    assert [len(models.build(name)[1].weight) for name in (first, study.network)] == [4, 6]  # each its own text
    assert set(catalogue.NETWORKS) >= {first, study.network}


def test_one_file_may_have_several_factories(written):
    text = SMALL + "\nclass Net(nn.Linear):\n    def __init__(self):\n        super().__init__(3, 2)\n"
    path = written(text, "Net", "two")
    with pytest.raises(InputError, match=r"several functions or classes: small, Net.* e\.g\. two\.py:small"):
        models.named(path.removesuffix(":Net"))
    assert isinstance(models.build(path), nn.Linear)
    with pytest.raises(InputError, match=r"unknown function or class of two\.py 'Bet' .did you mean 'Net'"):
        models.named(path.replace("Net", "Bet"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b"def make(:\n", r"SyntaxError: .* .line 1 of its file"),
        (b"x = 1\n", "no function"),
        (b"", "no function"),
        (b"from torch.nn import Linear\n", "no function"),  # one of its own
    ],
)  # fmt: skip
def test_what_is_no_file_of_a_network_is_refused(content, says, tmp_path):
    (tmp_path / "bad.py").write_bytes(content)
    with pytest.raises(InputError, match=says) as error:
        models.build(f"{tmp_path}/bad.py:make")
    assert "\n" not in str(error.value) and "bad.py" in str(error.value)


@pytest.mark.parametrize("name", ["1x", "a b", "x" * 33, "ä"])
def test_files_that_cannot_name_a_network(name, written):
    with pytest.raises(InputError, match="cannot name a network"):
        models.build(written(SMALL, "small", name))


def test_what_is_stored_does_not_run_and_needs_its_file(written, marker):
    network = written(marked(marker), "small")
    table = run(Study(network=network, **GRID), progress=False)
    training, name = table.training.iloc[0], table.network.iloc[0]
    plugins._held.clear(), plugins._current.clear()  # another process
    for refused in (lambda: model_of(training), lambda: Study(network=name), lambda: models.build(name)):
        with pytest.raises(InputError, match=f"needs its file.*{name[-16:]}.*--plugin mine.py") as error:
            refused()
        assert "\n" not in str(error.value)
    assert len(nvlib.results(training=training)) == 3 and marker.read_text() == "x"  # data are there for everybody
    plugins.load(network.removesuffix(":small"))
    assert len(model_of(training)) == 5


def test_a_plug_in_registers_a_network(written, monkeypatch):
    from nvlib.models import registry

    monkeypatch.setattr(registry, "MODELS", dict(registry.MODELS))
    put = "nvlib.models.registry.MODELS['tiny'] = lambda classes=10: small(classes, width=0.5)"
    text = f"{SMALL}\nimport nvlib\n{put}\n"
    source = plugins.load(written(text).removesuffix(":make"))
    assert models.named("tiny") == source.network("tiny") and source.network("tiny") in catalogue.NETWORKS
    assert models.build("tiny")[0].out_channels == models.build(source.network("tiny"))[0].out_channels == 2
    registry.MODELS["session"] = nn.Linear
    with pytest.raises(InputError, match="in this session alone"):
        models.build("session")
    with pytest.raises(InputError, match="in place of nvlib's 'lenet'"):
        plugins.load(written(text.replace("'tiny'", "'lenet'")).removesuffix(":make"))


# -- what the factory is given, and what it may make -----------------------------------------------------------------


def test_a_factory_gets_what_it_names(made):
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


def test_what_a_network_does_not_say(made):
    net = made("def make():\n    return nn.Linear(3, 2)\n")
    assert (net.bits, net.activation_bits, net.input_size) == (8, 0, None)
    assert made("def make():\n    return nn.Linear(3, 2)\n", bits=4).bits == 4
    assert made("def make(bits=6):\n    return nn.Linear(3, 2)\n").bits == 6
    quantised = """from nvlib.models import ActivationQuantiser
def make():
    return nn.Sequential(nn.Linear(3, 2), nn.ReLU(), ActivationQuantiser(5))
"""
    assert made(quantised).activation_bits == made(quantised, activation_bits=5).activation_bits == 5


def test_images_are_scaled_to_what_a_network_says(written):
    text = SMALL.replace("    c = ", "    nn.Sequential.input_size = None\n    c = ").replace("c * 36", "c * 9")
    text = text.replace("return nn.Seq", "net = nn.Seq") + "    net.input_size = 14\n    return net\n"
    assert Study(network=written(text, "small"), images=10).data().shape == (1, 14, 14)


def test_seeds_make_the_weights(made):
    text = "torch.rand(7)\ndef make():\n    return nn.Linear(30, 2)\n"
    first = made(text, seed=5).weight
    before = torch.get_rng_state()
    again, other = made(text, seed=5).weight, made(text, seed=6).weight
    assert torch.equal(first, again) and not torch.equal(first, other)  # though its file drew numbers the first time
    assert torch.equal(torch.get_rng_state(), before)


BROKEN = [
    ("import nowhere_at_all\ndef make(): pass", "it raised ModuleNotFoundError: .*line 3 of its file", True),
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
    ("make = None\ndef other(): pass", "unknown function or class of bad.py 'make'", False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says", "traced"), BROKEN)
def test_what_goes_wrong_in_a_file_is_one_line(text, says, traced, written):
    with pytest.raises(InputError, match=says) as error:
        Study(network=written(HEAD + text, "make", "bad"), images=10).data()
    assert "\n" not in str(error.value) and re.search(r"own:bad.make@|bad\.py", str(error.value))
    assert (isinstance(error.value, plugins.Broken) and error.value.__cause__ is not None) == traced


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": 0.5}, "has one width"),
        ({"activation_bits": 4}, "0 bits .* 4 asked for"),
        ({"bits": 0}, "1 to 16"),
        ({"classes": 0}, "classes=0"),
    ],
)
def test_what_a_network_is_not(options, says, made):
    with pytest.raises(InputError, match=says):
        made("def make(classes=2):\n    return nn.Linear(3, classes)\n", **options)


# -- through the store -----------------------------------------------------------------------------------------------


def test_training_goes_on_to_the_same_weights_and_keeps_its_text(store, written):
    study = Study(network=written(SMALL, "small"), **GRID | {"epochs": 3})

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
    assert set(table.network) == {study.network}
    for where in (store, Store(store.runs, None)):
        kept = where.about(training)["network"]
        sha256 = own.find(study.network).source.sha256
        assert kept == {"name": "mine", "factory": "small", "sha256": sha256, "classes": 10, "in_channels": 1,
                        "source": SMALL}  # fmt: skip
    record = store.training(training)
    assert (record.network, record.bits, record.activation_bits) == (study.network, 8, 0)


def test_shipped_results_bring_the_text_and_the_weights(store, tmp_path, written):
    study = Study(network=written(SMALL, "small"), **GRID)
    table = run(study, store, progress=False)
    training = table.training.iloc[0]
    compact(store, tmp_path / "results" / "ours", [e for _, e in study.pairs(study.data())])
    shipped = Store(tmp_path / "nothing", tmp_path / "results")
    assert shipped.about(training)["network"]["source"] == SMALL
    held, here = model_of(training, shipped).state_dict(), model_of(training, store).state_dict()
    assert all(torch.equal(held[key], here[key]) for key in here)


def test_tied_weights_and_passing_buffers_come_back(store, written):
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
    table = run(Study(network=written(text, "Net", "tied"), **GRID), store, progress=False)
    model = model_of(table.training.iloc[0], store)
    assert model.a.weight is model.b.weight and model.scale == 2  # a step of 128 images


def test_methods_that_attach_take_named_layers(store, written):
    grid = GRID | {"chips": 1, "network": written(SMALL, "small")}
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
def test_other_processes_do_what_this_one_does(store, marker, workers, written):
    """A study brings its file; each process runs it once."""
    study = Study(network=written(marked(marker), "small"), **GRID | {"seeds": (0, 1)})
    table = launch.run(study, "processes", workers, where=store, threads=1, progress=False)
    assert marker.read_text() == "x" * (1 + workers)
    alone = run(study, Store(store.runs.with_name("alone"), None), progress=False, threads=1)
    order = ["run", "chip"]
    left, right = (t.sort_values(order).reset_index(drop=True) for t in (table, alone))
    assert len(left) == 6 and left.accuracy.equals(right.accuracy) and left.run.equals(right.run)


# -- jobs say where it went wrong ------------------------------------------------------------------------------------


def test_a_launch_logs_the_traceback_of_what_fails_in_training(store, written):
    text = HEAD + """
class Net(nn.Linear):
    def __init__(self):
        super().__init__(784, 10)

    def forward(self, x):
        assert not self.training, 'only looks'
        return super().forward(x.flatten(1))
"""
    with pytest.raises(launch.Failed, match="AssertionError: only looks"):
        launch.run(Study(network=written(text, "Net", "lazy"), **GRID), where=store, progress=False)
    log = Path(launch.status("last", store).log).read_text()
    assert "Traceback" in log and "assert not self.training, 'only looks'" in log


def test_a_job_logs_the_traceback_of_what_fails_before(store, capsys, written):
    from nvlib.launch.job import new
    from nvlib.launch.run import main as lead

    network = written(f"{HEAD}def make():\n    return undefined_name\n", "make", "bad")
    options = {"workers": None, "on": "cpu", "pack": "auto", "threads": None, "cluster": {}, "shipped": None}
    job = new(store.runs, [{"network": network, "images": 10}], "here", None, options)
    assert lead(str(job.home)) == 2
    out = capsys.readouterr().out
    assert "Traceback" in out and "    return undefined_name" in out
    assert out.splitlines()[-1].startswith("error: own:bad.make@") and "NameError" in out.splitlines()[-1]
    assert job.status().state == "failed" and "line 4 of its file" in job.status().error


# -- the command line ------------------------------------------------------------------------------------------------


def test_the_commands(capsys, tmp_path, written):
    network = written(SMALL, "small")
    assert main(["models", "check", network]) == 0
    assert "0.weight" in (checked := capsys.readouterr().out) and "8-bit weights" in checked
    assert main(["train", *f"--network {network} --epochs 1 --images 64 --sigma-d 0.1 --quiet".split()]) == 0
    training = capsys.readouterr().out.strip()
    assert Store().training(training).network == models.named(network)
    assert main(["evaluate", training, "--chips", "2", "--quiet"]) == 0
    assert main(["results", "show", training]) == 0
    assert "    def small(" in capsys.readouterr().out
    plugins._held.clear(), plugins._current.clear()  # another process
    assert main(["evaluate", training, "--chips", "4", "--quiet"]) == 2
    assert "--plugin mine.py" in capsys.readouterr().err
    plugin = network.removesuffix(":small")
    assert main(["evaluate", training, "--chips", "4", "--quiet", "--plugin", plugin]) == 0
    (tmp_path / "grid.toml").write_text(f'network = "{network}"\nmethods = ["none"]\nimages = 64\nepochs = 1\n')
    assert main(["study", str(tmp_path / "grid.toml"), "--dry-run"]) == 0
    assert "1 epochs to go" in capsys.readouterr().out
    assert main(["models"]) == 0 and "VGG-8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("models check nowhere.py:f", "is not there"), ("models check own:mine", "none of one's own"),
        ("models add x.py:f", "invalid choice"), ("train --network own:mine", "none of one's own"),
        ("study --network mine.py", "is not there"), ("study --network lenett", "unknown network"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_two(line, says, capsys):
    assert main(line.split()) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and says in err


def test_check_shows_where_a_file_fails(capsys, written):
    assert main(["models", "check", written("def make():\n    return undefined_name\n")]) == 2
    err = capsys.readouterr().err
    assert "    return undefined_name" in err and err.splitlines()[-1].startswith("error: own:mine.make@")


@pytest.mark.parametrize("command", ["models", "models check"])
def test_every_command_has_help_with_examples(command, capsys):
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    assert "examples:" in (out := capsys.readouterr().out) and f"python -m nvlib {command}" in out
