"""A chip's life through everything that uses chips: evaluation, training, deployment, stages, their figure."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import nvlib
from nvlib import Crossbar, InputError, data, deploy, effects, evaluate, figures
from nvlib.crossbar import readings
from nvlib.data import Split
from nvlib.deploy.compensate import compensated
from nvlib.effects import CommonVariation, Drift, ReadNoise, StuckCells

LIFE = ("stuck:chen2015", "drift:time=86400,law=pcm", "read:law=pcm,images=300")


@pytest.fixture(scope="module")
def few():
    return data.load("mnist", limit=500)


# -- evaluation ------------------------------------------------------------------------------------------------------


def test_chips_that_age_score_as_by_hand_reading_by_reading(trained, few):
    """Readings of 300 and 200 images; and the batches of the plan change nothing."""
    crossbar = Crossbar("rram", 0.1, effects=LIFE)
    found = nvlib.monte_carlo(trained, few, crossbar, chips=3, seed=4)
    x, y, right = few.test.x, few.test.y, torch.zeros(3)
    read = readings(trained, crossbar, seed=4, index=range(3))
    for start in range(0, 500, 300):
        chips = next(read)
        with torch.no_grad():
            outs = nvlib.forward(trained, chips, x[start : start + 300], how="loop")
        right += (outs.argmax(-1) == y[start : start + 300]).sum(1)
    np.testing.assert_allclose(found.accuracy, 100 * right.numpy() / 500, atol=1e-9)
    for images, members in ((90, 2), (500, 1)):
        plan = replace(found.plan, images=images, members=members)
        again = nvlib.monte_carlo(trained, few, crossbar, chips=3, seed=4, plan=plan)
        np.testing.assert_allclose(again.accuracy, found.accuracy, atol=1e-9)
        np.testing.assert_allclose(again.loss, found.loss, rtol=1e-5)
        np.testing.assert_allclose(again.ekl, found.ekl, rtol=1e-4)
    (part,) = evaluate.blocks(trained, few, crossbar, index=range(2, 3), seed=4)
    assert part.accuracy[0] == found.accuracy[2]


def test_without_effects_nothing_is_new(trained, few):
    plain = nvlib.monte_carlo(trained, few, "rram", 0.1, chips=3)
    for nothing in ((), CommonVariation(), Drift(0.0, law="pcm")):
        again = nvlib.monte_carlo(trained, few, Crossbar("rram", 0.1, effects=nothing), chips=3)
        assert np.array_equal(again.accuracy, plain.accuracy) and np.array_equal(again.loss, plain.loss)


def test_chips_differ_though_nothing_strays_in_programming(trained, few):
    found = nvlib.monte_carlo(trained, few, Crossbar("rram", 0.0, effects=StuckCells(0.05, 0.05)), chips=4)
    assert len(set(found.accuracy)) > 1


def test_resume_knows_effects(trained, few):
    first = nvlib.monte_carlo(trained, few, Crossbar("rram", 0.1, effects="stuck:hrs=0.01"), chips=2)
    with pytest.raises(InputError, match="other conditions"):
        nvlib.monte_carlo(trained, few, Crossbar("rram", 0.1, effects="stuck:hrs=0.02"), chips=4, resume=first)


# -- training --------------------------------------------------------------------------------------------------------


def test_training_meets_effects(few):
    recipe = nvlib.Recipe("sgd", lr=0.02, batch_size=64)  # Adam divides rounding by rounding before normalisation

    def trained(method="gaussian", how="loop", **conditions):
        *_, last = nvlib.train(method, "lenet3", few, "rram", 0.1, epochs=1, recipe=recipe, how=how, **conditions)
        return last

    plain, nothing = trained(how=None), trained(effects=Drift(0.0, law="pcm"), how=None)
    stuck, again = trained(effects="stuck:hrs=0.1,lrs=0.02"), trained(effects="stuck:hrs=0.1,lrs=0.02")
    quiet = trained("none", effects="stuck:hrs=0.1,lrs=0.02").weights()
    same = trained("none").weights()
    for name, w in stuck.weights().items():
        assert torch.isfinite(w.float()).all() and torch.equal(w, again.weights()[name])
        assert torch.equal(quiet[name], same[name])  # without noise in training, without effects
    assert any(not torch.equal(w, plain.weights()[name]) for name, w in stuck.weights().items())
    assert stuck.noisy[0] != plain.noisy[0]
    close = [torch.allclose(w, nothing.weights()[name], atol=1e-4) for name, w in plain.weights().items()]
    assert all(close)


def test_members_that_age_train_as_alone(few):
    recipe = nvlib.Recipe("sgd", lr=0.02, batch_size=64)

    def last(**options):
        *_, end = nvlib.train("gaussian", "lenet3", few, Crossbar("rram", effects=LIFE), epochs=1, recipe=recipe,
                              how="loop", dtype=torch.float64, **options)  # fmt: skip
        return end

    both = last(sigma_d=[0.05, 0.2], seed=[3, 5])
    alone = last(sigma_d=[0.2], seed=[5])
    for name, w in alone.weights().items():
        torch.testing.assert_close(w, both.weights(1)[name], rtol=1e-9, atol=1e-11)
    assert both.noisy[1] == alone.noisy[0]


def test_a_search_scores_its_candidates_on_aged_chips(few):
    method = nvlib.METHODS["trice"](warm=0, n_train=4, images=50)
    crossbar = Crossbar("rram", 0.1, effects="drift:time=3600,law=pcm")
    *_, last = nvlib.train(method, "lenet3", few, crossbar, epochs=1, recipe=nvlib.Recipe(batch_size=64))
    assert np.isfinite(last.loss).all() and len(last.trace) == 3


# -- deployment ------------------------------------------------------------------------------------------------------


def test_what_all_cells_have_lost_alike_compensation_gives_back():
    torch.manual_seed(0)
    new = torch.randn(3, 6, 4, 2, 2, dtype=torch.float64)
    for per, factor in (("tensor", torch.rand(3, 1, 1, 1, 1)), ("column", torch.rand(3, 6, 1, 1, 1))):
        lost = new * factor.double()
        torch.testing.assert_close(compensated(new, lost, per), new, rtol=1e-12, atol=0)
        assert torch.equal(compensated(new, new, per), new)
    assert torch.equal(compensated(new * 0, new * 0), new * 0)
    model = nn.Linear(8, 5, bias=False).double()
    chips = [nvlib.program(model, Crossbar("pcm", None, 4, effects=e), index=range(2))["weight"]
             for e in ((), Drift(1e6, nu=0.06))]  # fmt: skip
    assert not torch.allclose(*chips)
    torch.testing.assert_close(compensated(*chips), chips[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("per", ["tensor", "column"])
def test_compensation_helps_chips_that_drifted(trained, few, per):
    crossbar = Crossbar("rram", 0.05, effects=Drift(31536000.0, law="pcm"))
    (found,) = deploy.get("compensate", per=per).apply(trained, few, crossbar, index=range(6))
    plain = nvlib.monte_carlo(trained, few, crossbar, chips=6)
    assert np.array_equal(found.before, plain.accuracy) and (found.loss < plain.loss).all()
    assert found.accuracy.mean() > plain.accuracy.mean()


def test_deployments_know_effects_or_refuse_in_a_line(trained, few):
    crossbar = Crossbar("rram", 0.1, effects=LIFE[:2])
    for name in deploy.DEPLOYMENTS:
        if not deploy.DEPLOYMENTS[name].effects:
            with pytest.raises(InputError, match=f"deployment by {name} knows programming alone") as error:
                deploy.get(name).apply(trained, few, crossbar, index=range(1))
            assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="per"):
        deploy.get("compensate", per="row", of=2)
    with pytest.raises(InputError, match="column"):
        deploy.get("compensate", per="row")


# -- stages ----------------------------------------------------------------------------------------------------------


def test_stages_are_the_same_chips_one_thing_after_the_other(trained, few):
    crossbar = Crossbar("rram", 0.15, effects=LIFE[:2])
    said = []
    table = nvlib.stages(trained, few, crossbar, chips=5, k=30, progress=said.append)
    names = ["float", "activations", "weights", "programmed", *effects.text(crossbar.effects)]
    assert list(table.stage) == said == names and list(table.chips) == [1, 1, 1, 5, 5, 5]
    last = nvlib.monte_carlo(trained, few, crossbar, chips=5)
    before = nvlib.monte_carlo(trained, few, replace(crossbar, effects=crossbar.effects[:1]), chips=5)
    assert table["mean"].iloc[-1] == pytest.approx(last.accuracy.mean())
    assert table["lost"].iloc[-1] == pytest.approx((before.accuracy - last.accuracy).mean())
    assert table["kpp"].iloc[-1] == last.kpp(30).value
    assert table["mean"].iloc[0] - table["lost"].iloc[1:].sum() == pytest.approx(table["mean"].iloc[-1])
    ideal = nvlib.monte_carlo(trained, few, "rram", 0.0, chips=1).accuracy[0]
    assert table["mean"].iloc[2] == ideal and table["mean_low"].iloc[2] == ideal == table["kpp"].iloc[2]
    assert (table["lost_low"] <= table["lost"]).all() and (table["lost"] <= table["lost_high"]).all()


def test_the_periphery_is_the_last_stage(trained, few):
    crossbar = Crossbar("rram", 0.1, effects="stuck:hrs=0.02", periphery="adc_bits=4,rows=64")
    table = nvlib.stages(trained, few, crossbar, chips=2)
    assert list(table.stage)[-2:] == ["stuck:hrs=0.02", "periphery:rows=64,adc_bits=4"]
    assert table["mean"].iloc[-1] == pytest.approx(nvlib.monte_carlo(trained, few, crossbar, chips=2).accuracy.mean())


def test_float_is_the_model_without_quantisers_and_only_what_is_there_has_a_stage(few):
    model = nvlib.build("lenet", seed=0)
    split = Split(few.test.x[:200], few.test.y[:200])
    table = nvlib.stages(model, split, "rram", 0.0, chips=3)
    assert list(table.stage) == ["float", "activations", "weights"] and (table.chips == 1).all()
    plain = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    table = nvlib.stages(plain, split, Crossbar("pcm", None, 8, effects="read"), chips=3)
    assert list(table.stage) == ["float", "weights", "programmed", "read"]
    with torch.no_grad():
        right = (plain(split.x).argmax(1) == split.y).double().mean()
    assert table["mean"].iloc[0] == pytest.approx(100 * float(right))


def test_waterfall_says_what_the_table_says(trained, few):
    table = nvlib.stages(trained, few, Crossbar("rram", 0.15, effects=LIFE), chips=5, k=30)
    fig = figures.waterfall(table, "LeNet, a made-up life")
    (bars, marks) = fig.data
    assert list(bars.y[:-1]) == pytest.approx([table["mean"].iloc[0], *(-table["lost"].iloc[1:])])
    assert list(bars.measure) == ["absolute", *["relative"] * 6, "total"] and len(set(bars.x)) == len(table) + 1
    assert list(marks.y) == list(table["kpp"].iloc[3:]) and "5 chips" in fig.layout.title.subtitle.text
    assert "stuck cells" in bars.x[4] and "a made-up life" in fig.layout.title.subtitle.text
    with pytest.raises(InputError, match=r"nvlib\.stages"):
        figures.waterfall(table.drop(columns="lost"))
    with pytest.raises(InputError, match="no stages"):
        figures.waterfall(table.head(0))


def test_read_noise_that_is_read_once_is_one_draw(trained, few):
    noise = ReadNoise(relative=0.3)
    once, more = (nvlib.monte_carlo(trained, few, Crossbar("rram", 0.05, effects=replace(noise, images=n)), chips=3)
                  for n in (10_000, 100))  # fmt: skip
    first = nvlib.program(trained, Crossbar("rram", 0.05, effects=noise), index=range(3))
    with torch.no_grad():
        outs = nvlib.forward(trained, first, few.test.x, how="loop")
    np.testing.assert_allclose(once.accuracy, 100 * (outs.argmax(-1) == few.test.y).double().mean(1).numpy(), atol=1e-9)
    assert not np.array_equal(once.accuracy, more.accuracy)


def test_chips_that_are_dead_of_age_do_not_make_the_network_a_suspect(trained, few, recwarn):
    """All cells stuck at high resistance: no noise reaches the outputs any more, and that is no fault of the module."""
    found = nvlib.monte_carlo(trained, few, Crossbar("rram", 0.1, effects=StuckCells(1.0, 0.0)), chips=2)
    assert found.accuracy[0] == found.accuracy[1] < 30
    assert not [w for w in recwarn if "does not change" in str(w.message)]
