"""Precisions: refused where hardware has them not, in the record of a training and the plan of an evaluation."""

import json
import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn

import nvlib
from nvlib import InputError, data, methods, models, population, precision, records, rounding, store, studies, summary
from nvlib.__main__ import main
from nvlib.data import Split
from nvlib.methods import Recipe
from nvlib.studies import Study

GRID = {"network": "lenet3", "images": 96, "epochs": 1, "chips": 4, "sigma_d": (0.2,)}


class Normed(nn.Module):
    """Convolution, BatchNorm, a quantiser, a linear layer."""

    bits = 8

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(1, 8, 3, stride=2, bias=False)
            self.norm = nn.BatchNorm2d(8)
            self.quant = models.ActivationQuantiser(6)
            self.fc = nn.Linear(8 * 13 * 13, 10)

    def forward(self, x):
        return self.fc(self.quant(torch.relu(self.norm(self.conv(x)))).flatten(1))


@pytest.fixture
def bf16(monkeypatch):
    """PyTorch computes bfloat16 on any processor: where there are no instructions, slowly, to the same rounding."""
    monkeypatch.setattr(precision, "_cpu_multiplies_bf16", lambda: True)


@pytest.fixture(scope="module")
def few():
    return data.load("mnist", limit=96)


def epochs(few, word, method="gaussian", count=1, **more):
    recipe = Recipe(batch_size=32)
    return list(nvlib.train(method, Normed, few, "rram", 0.1, epochs=count, recipe=recipe, precision=word, **more))


def test_what_the_hardware_has_not_is_refused(monkeypatch, few, store):
    monkeypatch.setattr(precision, "_cpu_multiplies_bf16", lambda: False)
    for word in ("bf16", "tf32"):
        with pytest.raises(InputError, match=f"precision='{word}', but the processor here"):
            epochs(few, word)
        with pytest.raises(InputError, match=f"precision='{word}'"):
            nvlib.monte_carlo(Normed(), few, "rram", 0.1, chips=2, precision=word)
        with pytest.raises(InputError, match=f"precision='{word}'"):
            studies.run(Study(**GRID, precision=word), store, progress=False)
    assert not store.names()
    with pytest.raises(InputError, match="'bf61'"):
        Study(precision="bf61")
    with pytest.raises(InputError, match="'half'"):
        Study(chip_precision="half")


def test_what_cannot_be_together_is_refused(bf16, few):
    with pytest.raises(InputError, match="is for weights of float32, not"):
        epochs(few, "bf16", dtype=torch.float64)
    with pytest.raises(InputError, match="generated code computes in float32"):
        population.forward(Normed(), population.stack([Normed()]), few.test.x, how="native", precision="bf16")
    with pytest.raises(InputError, match="deployments, whose chips are scored in float32"):
        Study(deployments=("write_verify",), chip_precision="bf16")


def test_products_alone_are_short(bf16, few):
    """Weights, their gradients, statistics and logits stay float32; what reaches a layer has bfloat16's digits."""
    seen = {}
    model = Normed().train()
    for name in ("conv", "norm", "quant", "fc"):
        getattr(model, name).register_forward_hook(lambda _, i, o, name=name: seen.update({name: (i[0], o)}))
    weights = population.stack([model])
    for name, _ in model.named_parameters():
        weights[name].requires_grad_()
    out = population.forward(model, weights, few.train.x[None, :32], per_member=True, precision="bf16")
    assert out.dtype == torch.float32 and seen["conv"][1].dtype == torch.bfloat16
    assert seen["quant"][1].dtype == torch.float32
    levels = seen["quant"][1].detach() / weights["quant.range"][0] * 63
    assert (levels - levels.round()).abs().max() < 1e-4  # steps of the range, not of bfloat16
    out.square().sum().backward()
    assert all(weights[name].grad.dtype == torch.float32 for name, _ in model.named_parameters())
    assert {w.dtype for w in weights.values()} == {torch.float32, torch.int64}
    exact = population.forward(model, weights, few.train.x[None, :32], per_member=True)
    relative = float((out - exact).detach().norm() / exact.detach().norm())
    assert 1e-5 < relative < 2e-2  # 8 significant bits: 2^-9 = 0.002 a factor


@pytest.mark.parametrize("method", ["none", "gaussian", "trice", "ovf", "irs"])
def test_a_first_step_is_that_of_float32_to_its_digits(bf16, few, method):
    short = {"trice": {"warm": 1, "n_train": 2}, "ovf": {"beta": 0.1}, "irs": {"beta": 0.1, "layers": ("norm",)}}
    chosen = methods.get(method, **short.get(method, {}))
    begun, moved = dict(Normed().named_parameters()), {}
    for word in ("float32", "bf16"):
        recipe = Recipe("sgd", lr=0.1, momentum=0.0, batch_size=96)
        (last,) = nvlib.train(chosen, Normed, few, "rram", 0.1, epochs=1, recipe=recipe, precision=word)
        assert torch.bfloat16 not in {t.dtype for t in last.state.values()}
        moved[word] = torch.cat([(last.weights()[name] - w.detach()).flatten() for name, w in begun.items()])
    relative = float((moved["bf16"] - moved["float32"]).norm() / moved["float32"].norm())
    assert 0 < relative < 0.1  # 2^-9 a factor, and activations that fall on the next of 64 levels


def test_resuming_gives_the_same_bits_and_keeps_the_precision(bf16, few):
    first, last = epochs(few, "bf16", count=2)
    (again,) = epochs(few, "bf16", count=2, resume=first.state)
    assert all(torch.equal(again.state[name], held) for name, held in last.state.items())
    with pytest.raises(InputError, match="trained in bf16; go on with precision='bf16'"):
        epochs(few, "float32", count=2, resume=first.state)
    with pytest.raises(InputError, match="trained in float32"):
        epochs(few, "bf16", count=2, resume=epochs(few, "float32")[0].state)


def test_float32_is_float32_whatever_is_around(few):
    weights = population.stack([Normed()])
    alone = population.forward(Normed().eval(), weights, few.test.x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(population.forward(Normed().eval(), weights, few.test.x), alone)


def test_an_evaluation_says_what_its_precision_changes(bf16, few, monkeypatch):
    model = epochs(few, "float32")[0].model()
    chosen = population.in_precision(population.plan(model, few.test.x, 6), "bf16")
    monkeypatch.setattr(population, "plan", lambda *_, precision="float32", **__: replace(chosen, precision=precision))
    whole = nvlib.monte_carlo(model, few, "rram", 0.2, chips=6, precision="bf16")
    met = whole.rounding
    assert whole.plan.precision == met.precision == "bf16" and (met.chips, met.images) == (4, 96)
    exact = nvlib.monte_carlo(model, few, "rram", 0.2, chips=6)
    assert exact.rounding is None and exact.plan.precision == "float32"
    assert met.off == pytest.approx(float((whole.accuracy - exact.accuracy)[:4].mean()), abs=1e-9)
    assert not np.array_equal(whole.loss, exact.loss)
    np.testing.assert_allclose(whole.loss, exact.loss, rtol=0.02)
    part = nvlib.monte_carlo(model, few, "rram", 0.2, chips=2, precision="bf16")
    grown = nvlib.monte_carlo(model, few, "rram", 0.2, chips=6, resume=part)  # under its plan, whatever is asked
    assert np.array_equal(grown.loss, whole.loss) and grown.rounding == part.rounding
    monkeypatch.setattr(rounding, "TOLERANCE", -1e9)
    with pytest.warns(UserWarning, match="points off float32 on 4 chips and 96 images.*; evaluating in float32"):
        back = nvlib.monte_carlo(model, few, "rram", 0.2, chips=6, precision="bf16")
    assert np.array_equal(back.loss, exact.loss) and back.rounding is None


def test_rounding_counts_labels(bf16):
    """By hand: two images between two classes, on the right and the wrong side by less than bfloat16 tells."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    x = torch.tensor([[1.0, 1.001], [1.001, 1.0], [1.0, 0.0]])  # in bfloat16 the first two are ties: label 0
    plan = population.Plan(1, 3, "loop", 1, "cpu", "bf16")
    met = rounding.rounding(model, Split(x, torch.tensor([0, 0, 0])), plan, "rram", 0.0, bits=16)
    assert met.changed == pytest.approx(100 / 3) and met.off == pytest.approx(100 / 3)
    assert met.error == pytest.approx(100 / 3) and met.allowed  # three images do not tell


def test_what_pays_is_measured(bf16, few, monkeypatch):
    big = few.test.x[:1].expand(20_000, -1, -1, -1)
    monkeypatch.setattr(population, "_BATCH", 256)  # as many as are timed in float32
    seconds = {"float32": 1.0, "bf16": 0.5}
    monkeypatch.setattr(population, "_native_pays", lambda *_: False)
    words = []
    monkeypatch.setattr(population, "forward", lambda *_, precision="float32", **__: words.append(precision))
    monkeypatch.setattr(population, "seconds", lambda run: (run(), seconds[words[-1]])[1])
    assert population.plan(Normed(), big, 2, precision="bf16").precision == "bf16"
    seconds["bf16"] = 0.9  # not by enough
    assert population.plan(Normed(), big, 2, precision="bf16").precision == "float32"
    assert population.plan(Normed(), big[:10], 2, precision="bf16").precision == "float32"  # nothing to gain


def test_a_training_of_float32_keeps_its_name():
    plain = records.Training("lenet", 1.0, "mnist", "f", 9, "none", {}, None, 0.0, None, None, 4, 4, 1, {}, 0)
    assert "precision" not in json.loads(records.canonical(plain))
    assert records.digest(plain) == "83b080f707946f4361e2c013a0ba4949fb08e26786fcec4d7faee06dae63d704"
    assert json.loads(records.canonical(replace(plain, precision="bf16")))["precision"] == "bf16"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A study in bfloat16, and the same in float32, in one store."""
    patch = pytest.MonkeyPatch()
    patch.setattr(precision, "_cpu_multiplies_bf16", lambda: True)
    where = store.Store(tmp_path_factory.mktemp("precision") / "runs", None)
    short = Study(**GRID, precision="bf16", chip_precision="bf16")
    tables = studies.run(short, where, progress=False), studies.run(Study(**GRID), where, progress=False)
    patch.undo()
    return where, short, *tables


def test_a_study_keeps_its_precision(done, bf16):
    where, short, table, exact = done
    assert set(table.precision) == set(table.train_precision) == {"bf16"}
    assert set(exact.precision) == set(exact.train_precision) == {"float32"}
    assert set(table.training).isdisjoint(exact.training)
    for name in table.run.unique():
        about = where.about(name)
        assert about["plan"]["precision"] == "bf16" and about["rounding"]["images"] == 96
        assert {"off", "error", "changed"} <= set(about["rounding"])
    assert where.training(table.training[0]).precision == "bf16"
    more = studies.run(replace(short, chips=6), where, progress=False)
    assert set(more.precision) == {"bf16"} and more[more.chip < 4].reset_index(drop=True).equals(table)
    free = studies.run(replace(short, chip_precision=None, chips=7), where, progress=False)
    assert set(free.precision) == {"bf16"}  # what was begun goes on, whatever would pay
    assert Study.of(json.loads(json.dumps(short.record()))) == short
    assert studies.estimate(replace(short, chips=8), where).chips == 2


def test_precisions_are_never_mixed(done, bf16, capsys, monkeypatch):
    where, short, table, exact = done
    with pytest.raises(InputError, match=r"was begun in bf16, not in float32.*chip_precision='bf16', or remove it"):
        studies.run(replace(short, chip_precision="float32"), where, progress=False)
    with pytest.raises(InputError, match=r"was begun in float32, not in bf16"):
        studies.run(Study(**GRID, chip_precision="bf16"), where, progress=False)
    both = store.results(where)
    with pytest.raises(InputError, match="mixes precision bf16, float32"):
        summary.results_table(both)
    with pytest.raises(InputError, match="mixes train_precision"):
        summary.results_table(both.assign(precision="bf16"))
    monkeypatch.setenv("NVLIB_RUNS", str(where.runs))
    assert main(["results", "compare", table.run[0][:16], exact.run[0][:16]]) == 2
    assert "differ in precision" in capsys.readouterr().err
    assert main(["results", "list", "--origin", "yours"]) == 0
    said = capsys.readouterr().out
    assert said.count("trained in bf16 and scored in bf16") == 1 and said.count("matched\n") == 1
    assert main(["results", "list", "--trainings", "--train-precision", "bf16", "--origin", "yours"]) == 0
    assert capsys.readouterr().out.count("bf16") == 2


def test_chips_that_round_too_far_are_refused(bf16, store, monkeypatch):
    monkeypatch.setattr(rounding, "TOLERANCE", -1e9)
    study = Study(**GRID | {"methods": ("none",)}, chip_precision="bf16")
    with pytest.raises(InputError, match=r"bf16 is .* off float32 .*; ask for chip_precision='float32'"):
        studies.run(study, store, progress=False)
    assert len(store.samples(store.names()[0])) == 0
    assert set(studies.run(replace(study, chip_precision=None), store, progress=False).precision) == {"float32"}


def test_shipped_tables_keep_the_precision(done, tmp_path, bf16):
    where, _, table, exact = done
    named = {name: where.record(name) for name in {*table.run, *exact.run}}
    store.compact(where, tmp_path / "ship" / "mixed", [records.Evaluation(**r) for r in named.values()])
    again = store.Store(tmp_path / "none", tmp_path / "ship").table()
    rows = again.groupby(["training", "precision", "train_precision"], observed=True).size()
    assert len(rows) == 4 and {(p, t) for _, p, t in rows.index} == {("bf16", "bf16"), ("float32", "float32")}


def test_the_command_line_takes_it(bf16, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path))
    train = ["train", "--network", "lenet3", "--images", "96", "--epochs", "1", "--sigma-d", "0.2", "--quiet"]
    assert main([*train, "--precision", "bf16"]) == 0
    name = capsys.readouterr().out.strip()
    assert json.loads((tmp_path / name / "record.json").read_text())["precision"] == "bf16"
    chips = ["evaluate", name, "--chips", "3", "--quiet"]
    assert main([*chips, "--precision", "bf16"]) == 0
    run = capsys.readouterr().out.strip()
    assert json.loads((tmp_path / run / "plan.json").read_text())["precision"] == "bf16"
    assert main(chips) == 2 and "begun in bf16, not in float32" in capsys.readouterr().err
    assert main(["results", "show", run[:12]]) == 0 and "changed" in capsys.readouterr().out
    assert main(["study", "--network", "lenet3", "--images", "96", "--precision", "bf61", "--dry-run"]) == 2


def test_plans_of_before_are_float32():
    old = {"members": 2, "images": 10, "how": "loop", "threads": 1, "device": "cpu"}
    assert population.Plan(**old).precision == "float32"
    assert asdict(population.Plan(**old))["precision"] == "float32"


def test_gpus_alone_have_tf32(monkeypatch):
    assert not precision.supported("tf32", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    with pytest.raises(InputError, match=r"the GPU here.*capability 8.0"):
        precision.check("tf32", "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert precision.check("tf32", "cuda") == "tf32" and precision.check("bf16", "cuda:0") == "bf16"


def test_products_put_switches_back():
    switches = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [s.fp32_precision for s in switches]
    for word, held in (("tf32", "tf32"), ("float32", "ieee"), ("bf16", "ieee")):
        with precision.products(word, "cuda"):
            assert [s.fp32_precision for s in switches] == [held, held]
        assert [s.fp32_precision for s in switches] == before
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with precision.products("bf16", "cpu"):
            assert [s.fp32_precision for s in switches] == before
