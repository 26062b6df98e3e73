"""Training: the first update by hand, members that do not mix, resuming to the same weights, learning for real."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import nvlib
from nvlib import InputError, data, methods, models, noise, philox
from nvlib.crossbar import Crossbar, read_back
from nvlib.methods import METHODS, Batch, Recipe
from nvlib.methods.loop import order

SGD = Recipe("sgd", lr=0.1, schedule="constant", batch_size=16, momentum=0.0)


class Tiny(nn.Module):
    """A linear classifier: its cross-entropy gradient is (softmax - onehot) x^T, by hand."""

    bits = 4

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.fc = nn.Linear(784, 10)

    def forward(self, x):
        return self.fc(x.flatten(1))


@pytest.fixture(scope="module")
def few():
    return data.load("mnist", limit=32)


@pytest.mark.parametrize("name", ["none", "gaussian"])
def test_first_update_equals_one_by_hand(name, few):
    one_step = Recipe("sgd", lr=0.1, schedule="constant", batch_size=32, momentum=0.0)
    (epoch,) = methods.train(name, Tiny(), few, "fefet1", 0.2, seed=7, epochs=1, recipe=one_step, dtype=torch.float64)
    start = Tiny().double()
    w, b = start.fc.weight.detach(), start.fc.bias.detach()
    z = None  # the draw of step 0, by its address
    if name == "gaussian":
        z = torch.special.ndtri(philox.uniform(7, 0, "train/noise/fc.weight", w.numel())).view(1, *w.shape)
    noisy = read_back(w.unsqueeze(0), Crossbar("fefet1", 0.2, 4), z)[0]
    take = torch.from_numpy(order(7, 0, 32))
    x, y = few.train.x[take].flatten(1).double(), few.train.y[take]
    error = torch.softmax(x @ noisy.T + b, 1) - nn.functional.one_hot(y, 10)
    got = epoch.weights()
    torch.testing.assert_close(got["fc.weight"], w - 0.1 * error.T @ x / 32, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(got["fc.bias"], b - 0.1 * error.mean(0), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("given", "said"), [
    ({"validation_chips": -1}, "validation_chips=-1"), ({"dtype": "float32"}, "dtype='float32'"),
    ({"search": (1, 2)}, r"search=\(1, 2\)"),
    ({"dtype": torch.int8}, "dtype=torch.int8"), ({"recipe": {"momentum": -0.5}}, "momentum=-0.5"),
])  # fmt: skip
def test_values_that_cannot_train_are_refused_at_the_call(given, said, few):
    with pytest.raises(InputError, match=said):
        nvlib.train("none", Tiny(), few, **given)


def test_what_train_returns_says_that_its_epochs_are_to_be_taken(few):
    under_way = nvlib.train("none", Tiny(), few, "rram", 0.2, epochs=2)
    with pytest.raises(AttributeError, match=r"no 'model'; expected .*\*_, last = nvlib\.train"):
        under_way.model()
    assert iter(under_way) is under_way and next(under_way).epoch == 1 and not hasattr(under_way, "shape")
    under_way.close()
    assert list(under_way) == []


@pytest.mark.parametrize("network", ["lenet", "lenet3"])
def test_a_member_in_a_population_equals_the_member_alone(network, few):
    options = {"epochs": 25, "recipe": Recipe(batch_size=16), "dtype": torch.float64, "validation_chips": 1}  # 50 steps
    *_, together = nvlib.train("gaussian", network, few, "rram", [0.1, 0.3, 0.0], seed=[0, 1, 2], **options)
    for member, (sigma_d, seed) in enumerate([(0.1, 0), (0.3, 1), (0.0, 2)]):
        *_, alone = nvlib.train("gaussian", network, few, "rram", sigma_d, seed=seed, **options)
        for name, tensor in alone.weights().items():
            torch.testing.assert_close(together.weights(member)[name], tensor, rtol=1e-9, atol=1e-12)
        assert together.noisy[member] == pytest.approx(alone.noisy[0])


def test_by_vmap_as_by_loop(few, monkeypatch):
    weights = []
    for how in ("loop", "vmap"):
        monkeypatch.setattr("nvlib.population.way", lambda *_, how=how: how)
        run = nvlib.train("gaussian", "lenet3", few, "rram", [0.1, 0.2], seed=[0, 1], epochs=3, dtype=torch.float64)
        *_, last = run
        weights.append(last.weights(1))
    for name in weights[0]:
        # a bias before BatchNorm has no gradient but rounding, which Adam brings to full size
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-8, atol=1e-7)


@pytest.mark.parametrize("recipe", [Recipe(batch_size=16), Recipe("sgd", lr=0.05, batch_size=16, weight_decay=5e-4)])
def test_resuming_goes_on_to_the_same_weights(recipe, few):
    options = {"seed": [3, 4], "epochs": 4, "recipe": recipe, "validation_chips": 0}
    whole = list(nvlib.train("gaussian", "lenet", few, "rram", 0.2, **options))
    rest = list(nvlib.train("gaussian", "lenet", few, "rram", 0.2, resume=whole[1].state, **options))
    assert [e.epoch for e in rest] == [3, 4]
    assert all(torch.equal(whole[-1].weights(1)[k], v) for k, v in rest[-1].weights(1).items())


def test_no_noise_does_not_depend_on_the_device(few):
    runs = [nvlib.train("none", "lenet", few, name, s, epochs=1) for name, s in (("rram", 0.1), ("fefet1", 0.4))]
    one, two = (next(run).weights() for run in runs)
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_a_diverged_member_is_recorded_and_disturbs_no_other(few):
    def start(seed):
        model = models.build("lenet", seed=seed)
        if seed == 1:
            model.fc3.bias.data[0] = float("nan")
        return model

    *_, last = nvlib.train("gaussian", start, few, "rram", 0.1, seed=[0, 1, 2], epochs=2)
    assert last.diverged.tolist() == [False, True, False]
    *_, alone = nvlib.train("gaussian", start, few, "rram", 0.1, seed=2, epochs=2)
    assert all(torch.equal(last.weights(2)[k], v) for k, v in alone.weights().items())


def test_weights_that_come_in_are_where_all_start_and_are_not_changed(few):
    model = models.build("lenet", seed=5)
    before = copy.deepcopy(model.state_dict())
    *_, last = nvlib.train("gaussian", model, few, "rram", 0.1, seed=[0, 1], epochs=1)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert isinstance(last.model(), models.LeNet) and not last.model().training


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_two_steps(name, few):
    *_, last = nvlib.train(name, "lenet", few, "rram", 0.1, epochs=1, recipe=SGD)
    assert np.isfinite(last.loss).all() and last.epoch == last.epochs == 1


def test_training_noise_has_the_devices_deviation(few):
    """The noise that training injects and the chips that evaluation programs are one law."""
    model, seen = models.build("lenet", seed=0), []

    class Spy(methods.GaussianInjection):
        def loss(self, run, batch: Batch):
            seen.append((run.noisy(noise.Gaussian())["fc1.weight"] - run.noisy(None)["fc1.weight"]).detach())
            return super().loss(run, batch)

    next(methods.train(Spy(), model, few, "fefet2", 0.1, epochs=1, recipe=SGD))
    chips = nvlib.program(model, "fefet2", 0.1, index=range(2))["fc1.weight"]
    strayed = chips - nvlib.program(model, "fefet2", 0.0)["fc1.weight"]
    n = strayed.numel()
    assert float(seen[0].std()) == pytest.approx(float(strayed.std()), rel=4 * (2 / n) ** 0.5)


def test_it_learns(trained, mnist):
    with torch.no_grad():
        assert (trained(mnist.test.x).argmax(1) == mnist.test.y).float().mean() > 0.7


BAD = [
    ({"method": "gausian"}, "gaussian"),
    ({"model": "lenett"}, "lenet"),
    ({"sigma_d": -1.0}, "sigma_d"),
    ({"sigma_d": [0.1, 0.2], "seed": [0, 1, 2]}, "do not pair"),
    ({"sigma_d": []}, "do not pair"),
    ({"epochs": 0}, "epochs"),
    ({"seed": -1}, "seed"),
    ({"bits": 3}, "multiple of 2"),
    ({"mapping": "x"}, "signed"),
]


@pytest.mark.parametrize(("change", "said"), BAD)
def test_bad_input_is_answered_at_the_call(change, said, few):
    good = {"method": "gaussian", "model": "lenet", "data": few, "device": "rram", "sigma_d": 0.1}
    with pytest.raises(InputError, match=said) as error:
        nvlib.train(**(good | change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values", [{"optimiser": "adamw"}, {"schedule": "step"}, {"lr": 0.0}, {"lr": float("inf")}, {"batch_size": 0}]
)
def test_bad_recipe(values):
    with pytest.raises(InputError):
        Recipe(**values)


def test_empty_data_set(few):
    empty = copy.copy(few)
    object.__setattr__(empty, "train", data.Split(few.train.x[:0], few.train.y[:0]))
    with pytest.raises(InputError, match="empty"):
        nvlib.train("none", "lenet", empty, "rram", 0.1)


def test_a_checkpoint_of_another_network_is_refused(few):
    (one,) = nvlib.train("none", "lenet", few, "rram", 0.1, epochs=1)
    with pytest.raises(InputError, match="checkpoint"):
        next(nvlib.train("none", "lenet5", few, "rram", 0.1, epochs=2, resume=one.state))


@pytest.mark.slow
def test_noise_injection_helps_on_all_of_mnist():
    mnist = data.load("mnist")
    kpp = {}
    for name in ("none", "gaussian"):
        *_, last = nvlib.train(name, "lenet", mnist, "rram", 0.2, epochs=3)
        kpp[name] = nvlib.monte_carlo(last.model(), mnist, "rram", 0.2, chips=100).mean()
    assert kpp["gaussian"].low > kpp["none"].high + 10
