"""What holds for every method: it takes two steps, resumes to the same bits, and members do not mix."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import nvlib
from nvlib import InputError, data, methods, models, noise
from nvlib.methods import METHODS, Recipe
from nvlib.methods.recipe import crop_and_flip

SHORT = {
    "trice": {"warm": 0, "n_train": 4, "tolerance": 0.11},
    "trice_gauss": {"warm": 1, "n_train": 4, "tolerance": 0.11},
    "ovf": {"n": 2, "beta": (0.1, 0.001), "search_chips": 2},
    "irs": {"layers": ("norm",), "hidden": 8, "beta": 0.1},
    "correctnet": {"beta": (1e-3, 1e-4), "lam": (1.0, 0.5), "search_chips": 2},
}


class Tiny(nn.Module):
    """A convolution, BatchNorm, a linear layer."""

    bits = 4

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(1, 4, 5, stride=4)
            self.norm = nn.BatchNorm2d(4)
            self.fc = nn.Linear(144, 10)

    def forward(self, x):
        return self.fc(torch.relu(self.norm(self.conv(x))).flatten(1))


def start(seed):
    return Tiny(seed)


@pytest.fixture(scope="module")
def few():
    return data.load("mnist", limit=32)


def short(name, model=Tiny):
    parameters = dict(SHORT.get(name, {}))
    if model is not Tiny:
        parameters.pop("layers", None)
    return methods.get(name, **parameters)


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("model", ["lenet", Tiny])
@pytest.mark.parametrize("name", METHODS)
def test_two_steps(name, model, few):
    options = {"epochs": 1, "recipe": Recipe(batch_size=16), "validation_chips": 1}
    (last,) = nvlib.train(short(name, model), model if model == "lenet" else start, few, "rram", 0.1, **options)
    assert np.isfinite(last.loss).all() and last.loss.shape == last.clean.shape == last.diverged.shape == (1,)
    bare = last.model()
    fresh = models.build("lenet") if model == "lenet" else Tiny()
    assert type(bare) is type(fresh) and str(bare) == str(fresh)
    assert bare.state_dict().keys() == fresh.state_dict().keys()
    assert not any(m._forward_hooks for m in bare.modules())
    assert bare(few.test.x).isfinite().all()


@pytest.mark.parametrize("recipe", [Recipe(batch_size=16), Recipe("sgd", lr=0.05, batch_size=16)], ids=["adam", "sgd"])
@pytest.mark.parametrize("name", METHODS)
def test_resuming_goes_on_to_the_same_bits(name, recipe, few, tmp_path):
    from safetensors.torch import load_file, save_file

    options = {"seed": [3, 4], "epochs": 4, "recipe": recipe, "validation_chips": 1}
    whole = list(nvlib.train(short(name), start, few, "fefet1", [0.1, 0.2], **options))
    for done in (1, 3):
        save_file(whole[done - 1].state, tmp_path / "state")
        rest = list(
            nvlib.train(short(name), start, few, "fefet1", [0.1, 0.2], resume=load_file(tmp_path / "state"), **options)
        )
        assert [e.epoch for e in rest] == list(range(done + 1, 5))
        assert equal(rest[-1].state, whole[-1].state)
        assert all(equal(rest[-1].weights(m), whole[-1].weights(m)) for m in (0, 1))
        assert repr(rest[-1].trace) == repr(whole[-1].trace)


@pytest.mark.parametrize("name", METHODS)
def test_a_member_in_a_population_equals_the_member_alone(name, few):
    options = {"epochs": 4, "recipe": Recipe(batch_size=16), "dtype": torch.float64, "validation_chips": 1}
    *_, together = nvlib.train(short(name), start, few, "fefet2", [0.05, 0.2], seed=[1, 2], **options)
    for member, (sigma_d, seed) in enumerate([(0.05, 1), (0.2, 2)]):
        *_, alone = nvlib.train(short(name), start, few, "fefet2", sigma_d, seed=seed, **options)
        for key, tensor in alone.weights().items():
            # a bias before BatchNorm has no gradient but rounding, which Adam brings to full size
            tolerance = {"atol": 1e-2} if key == "conv.bias" else {"atol": 1e-9}
            torch.testing.assert_close(together.weights(member)[key], tensor, rtol=1e-7, **tolerance)
        assert together.noisy[member] == pytest.approx(alone.noisy[0])


@pytest.mark.parametrize("name", METHODS)
def test_by_vmap_as_by_loop(name, few, monkeypatch):
    found = []
    for how in ("loop", "vmap"):
        monkeypatch.setattr("nvlib.population.way", lambda *_, how=how: how)
        options = {"epochs": 1, "recipe": Recipe("sgd", lr=0.1, batch_size=16), "dtype": torch.float64}
        *_, last = nvlib.train(short(name), start, few, "rram", [0.1, 0.2], seed=[0, 1], **options)
        found.append(last.weights(1))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", METHODS)
def test_a_diverged_member_disturbs_no_other(name, few):
    def broken(seed):
        model = Tiny(seed)
        if seed == 1:
            model.fc.bias.data[0] = float("nan")
        return model

    options = {"epochs": 2, "recipe": Recipe(batch_size=16), "validation_chips": 1}
    *_, last = nvlib.train(short(name), broken, few, "fefet1", 0.1, seed=[0, 1, 2], **options)
    assert last.diverged.tolist() == [False, True, False]
    *_, alone = nvlib.train(short(name), broken, few, "fefet1", 0.1, seed=2, **options)
    assert equal(last.weights(2), alone.weights())


def test_ovfs_statistics_follow_the_backbone(few):
    """BatchNorm's running statistics are those of Gaussian injection after the first step, whatever is louder."""
    recipe = Recipe("sgd", lr=0.1, batch_size=32, momentum=0.0)
    runs = [
        next(nvlib.train(m, start, few, "rram", 0.2, epochs=1, recipe=recipe, dtype=torch.float64)).weights()
        for m in ("gaussian", methods.get("ovf", n=3, beta=0.1))
    ]
    for name in ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked"):
        torch.testing.assert_close(runs[0][name], runs[1][name], rtol=1e-12, atol=0)


def test_irs_backbone_with_beta_zero_is_scaled_gaussian_injection(few):
    """Without feedback, cross-entropy sees the backbone's output over N + 1 and nothing of the classifiers."""
    zero = methods.get("irs", layers=("norm",), hidden=4, beta=0.0)
    *_, last = nvlib.train(zero, start, few, "rram", 0.2, epochs=1, recipe=Recipe(batch_size=16))

    @dataclass(frozen=True)
    class Halved:
        name: ClassVar[str] = "halved"

        def loss(self, run, batch):
            return run.cross_entropy(run.forward(run.noisy(noise.Gaussian()), batch.x) / 2, batch.y)

    *_, plain = nvlib.train(Halved(), start, few, "rram", 0.2, epochs=1, recipe=Recipe(batch_size=16))
    torch.testing.assert_close(last.weights(), plain.weights())


SITES = [
    ("lenet", ("quant1",), [14]),
    ("lenet3", ("quant1",), [14]),
    ("vgg8", ("quant1", "quant2", "quant4"), [6, 4, 3]),
    ("vgg8_tsb", ("quant2", "quant4"), [4, 3]),
    ("resnet18", ("quant1", "layer1", "layer2", "layer3"), [6, 6, 4, 3]),
]


@pytest.mark.parametrize(("network", "names", "pools"), SITES)
def test_irs_snapshots_of_the_papers_networks(network, names, pools):
    from nvlib.methods.irs import Snapshots, blocks

    model = models.build(network)
    assert blocks(model)[:-1] == names
    x = torch.zeros(1, model.in_channels, model.input_size or 32, model.input_size or 32)
    attached = Snapshots(model, names, x, 512)
    assert [head.pool for head in attached.classifiers] == pools
    if network in ("vgg8", "resnet18"):
        assert all(2048 <= head.fc1.in_features <= 2304 for head in attached.classifiers)
    assert attached(x).shape == (1 + len(names), 1, 10) and model.training
    assert not any(m._forward_hooks for m in attached.modules())


def test_a_users_network_needs_named_layers(few):
    with pytest.raises(InputError, match="layers="):
        nvlib.train("irs", start, few, "rram", 0.1)
    with pytest.raises(InputError, match=r"no layer 'stem'.*conv, norm, fc"):
        nvlib.train(methods.get("irs", layers=("stem",)), start, few, "rram", 0.1)


def test_a_users_own_method(few):
    @dataclass(frozen=True)
    class Doubled:
        factor: float = 2.0
        name: ClassVar[str] = "doubled"

        def loss(self, run, batch):
            weights = run.noisy(noise.Gaussian(), self.factor * run.sigma_d)
            return run.cross_entropy(run.forward(weights, batch.x), batch.y)

    *_, own = nvlib.train(Doubled(), start, few, "rram", 0.1, epochs=1)
    *_, ours = nvlib.train("gaussian", start, few, "rram", 0.2, epochs=1)
    assert equal(own.weights(), ours.weights())


# -- recipes ---------------------------------------------------------------------------------------------------------


def test_published_recipes():
    assert methods.preset("vgg8", 3) == Recipe("adam", 1e-3, "cosine", 128, augment="crop-flip")
    assert methods.preset("vgg8", 1).augment == methods.preset("lenet").augment == "none"
    resnet = methods.preset("resnet18", 3)
    assert (resnet.optimiser, resnet.lr, resnet.momentum, resnet.weight_decay) == ("sgd", 1e-2, 0.9, 5e-4)
    assert set(methods.RECIPES) <= set(models.MODELS)
    with pytest.raises(InputError, match="vgg8"):
        methods.preset("vgg9")


def test_augmentation_enters_a_record_only_where_it_is_used():
    assert "augment" not in Recipe().record()
    assert Recipe(augment="crop-flip").record()["augment"] == "crop-flip"
    with pytest.raises(InputError, match="crop-flip"):
        Recipe(augment="flip")


def test_crop_and_flip():
    """Each image is one of the 9 x 9 x 2 crops of its padded self; a member's luck is its own and the step's."""
    x = torch.rand(2, 40, 3, 6, 5)
    x[1] = x[0]
    out = crop_and_flip(x, [0, 1], 3)
    assert not torch.equal(out[0], out[1])
    assert torch.equal(crop_and_flip(x[1:], [1], 3)[0], out[1])
    assert not torch.equal(crop_and_flip(x[1:], [1], 4)[0], out[1])
    padded = nn.functional.pad(x[0], (4, 4, 4, 4))
    mirrored = []
    for image in range(40):
        crops = [padded[image, :, r : r + 6, c : c + 5] for r in range(9) for c in range(9)]
        plain = any(torch.equal(out[0, image], crop) for crop in crops)
        assert plain or any(torch.equal(out[0, image], crop.flip(2)) for crop in crops)
        mirrored.append(not plain)
    assert 8 < sum(mirrored) < 32


def test_augmentation_trains_and_members_do_not_mix(few):
    options = {"epochs": 2, "recipe": Recipe(batch_size=16, augment="crop-flip"), "dtype": torch.float64}
    *_, together = nvlib.train("gaussian", start, few, "rram", 0.1, seed=[0, 1], **options)
    *_, alone = nvlib.train("gaussian", start, few, "rram", 0.1, seed=1, **options)
    torch.testing.assert_close(together.weights(1)["fc.weight"], alone.weights()["fc.weight"], rtol=1e-9, atol=1e-12)


BAD = [
    ("rc", {"th": 0}, "th is"), ("lc", {"space": "log"}, "conductance"), ("rt", {"ratio": -1}, "ratio"),
    ("rc", {"sigma_t": 0.1, "ratio": 2.0}, "both"), ("trice", {"start": 2.0, "end": 1.0}, "bracket"),
    ("trice", {"k": 0}, "k"), ("trice", {"law": "rcc"}, "rc"), ("trice", {"warm": -1}, "warm"),
    ("trice", {"n_train": 0}, "n_train"), ("trice", {"images": 0}, "images"),
    ("correctnet", {"lam": 1.5}, "lam"), ("correctnet", {"beta": -1}, "beta"), ("ovf", {"n": -1}, "n="),
    ("ovf", {"beta": ()}, "beta"), ("ovf", {"search_chips": 1}, "search_chips"),
    ("irs", {"n": 0}, "n="), ("irs", {"hidden": 0}, "hidden"), ("ovf", {"bata": 1}, "beta"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "parameters", "said"), BAD)
def test_bad_parameters(name, parameters, said):
    with pytest.raises(InputError, match=said) as error:
        methods.get(name, **parameters)
    assert "\n" not in str(error.value)
