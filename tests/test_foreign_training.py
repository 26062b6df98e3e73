"""Training networks as users bring them: what they draw is addressed, and what is frozen stays frozen."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nvlib
from nvlib import population
from nvlib.data import Dataset, Split
from nvlib.errors import InputError

torch.manual_seed(0)
SPLIT = Split(torch.randn(64, 8), torch.randint(0, 4, (64,)))
DATA = Dataset("own", 4, SPLIT, SPLIT, SPLIT, "0" * 64, "memory")
RECIPE = nvlib.Recipe(batch_size=16)


class Draws(nn.Module):
    """A network that draws random numbers in training, of one of many kinds."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.a, self.b = kind, nn.Linear(8, 16), nn.Linear(16, 4)
        self.drop = nn.AlphaDropout(0.3)
        self.lstm = nn.LSTM(16, 16, 2, dropout=0.5, batch_first=True) if kind == "between recurrent layers" else None

    def forward(self, x):
        x = torch.relu(self.a(x))
        if self.training:
            if self.kind == "functional":
                x = F.dropout(x, 0.5)
            elif self.kind == "module":
                x = self.drop(x)
            elif self.kind == "noise":
                x = x + 0.3 * torch.randn_like(x)
            elif self.kind == "depth":  # stochastic depth
                x = x * torch.empty(len(x), 1).bernoulli_(0.8)
        if self.lstm is not None:
            x = self.lstm(x[:, None])[0][:, 0]
        return self.b(x)


def trained(model, seeds, method="gaussian", **options):
    options = {"epochs": 2, "recipe": RECIPE, "bits": 8, "seed": seeds} | options
    return list(nvlib.train(method, model, DATA, "rram", 0.1, **options))


def alike(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", ["functional", "module", "noise", "depth", "between recurrent layers"])
def test_what_a_member_draws_in_training_is_its_own(kind):
    """Alone, beside others, in another order, and whatever torch's generator was at before, which it leaves alone."""

    def make(_):
        return Draws(kind)

    torch.manual_seed(7)
    alone = trained(make, [1])[-1].weights()
    torch.manual_seed(8)
    state = torch.get_rng_state()
    beside = trained(make, [0, 1, 2])[-1]
    assert torch.equal(torch.get_rng_state(), state)
    assert alike(beside.weights(1), alone)
    assert not alike(beside.weights(0), alone) and not alike(beside.weights(2), alone)


def test_dropout_differs_from_step_to_step_and_is_no_zero():
    """The same images and weights at two steps meet two masks; half of the activations are dropped."""
    kept = []

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(8, 4)

        def forward(self, x):
            mask = F.dropout(torch.ones(16, 100), 0.5, self.training)
            if self.training and len(x) == 16:
                kept.append(mask)
            return self.f(x)

    trained(Watch(), [0], epochs=1)
    masks = torch.stack(kept[-4:])
    assert len(torch.unique(masks.flatten(1), dim=0)) == 4
    assert abs(float((masks > 0).float().mean()) - 0.5) < 4 * 0.5 / masks.numel() ** 0.5


def test_a_resumed_training_draws_what_an_uninterrupted_one_draws():
    whole = trained(Draws("functional"), 3, epochs=3)
    torch.manual_seed(11)
    resumed = trained(Draws("functional"), 3, epochs=3, resume=whole[0].state)
    assert alike(resumed[-1].weights(), whole[-1].weights())


def test_candidates_of_a_training_drop_alike_and_weight_sets_do_not():
    """OVF runs several weight sets of a member: each set draws by itself, and the member is the same beside another."""
    torch.manual_seed(0)
    start = Draws("functional")
    both = trained(start, [4, 5], "ovf")[-1]
    assert alike(both.weights(1), trained(start, [5], "ovf")[-1].weights())


def test_a_gpu_s_way_does_not_draw_for_all_members_at_once():
    torch.manual_seed(0)
    model, x = Draws("functional").train(), torch.randn(3, 6, 8)
    weights = population.stack([model] * 3)
    seeds = [5, 6, 5]
    outs = {how: population.forward(model, weights, x[[0, 0, 0]], per_member=True, how=how, seeds=seeds)
            for how in ("loop", "vmap")}  # fmt: skip
    assert torch.equal(outs["loop"], outs["vmap"])
    assert torch.equal(outs["loop"][0], outs["loop"][2]) and not torch.equal(outs["loop"][0], outs["loop"][1])


# ---- what is frozen


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 4))


@pytest.mark.parametrize("method", ["none", "gaussian", "trice_gauss", "ovf", "correctnet"])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_frozen_parameters_stay_as_they_are(method, optimiser):
    model = network()
    model[0].requires_grad_(False)
    model[3].bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    recipe = nvlib.Recipe(optimiser, batch_size=16, weight_decay=0.1)
    options = {"warm": 0, "n_train": 2} if method == "trice_gauss" else {}
    weights = trained(model, 0, nvlib.methods.get(method, **options), recipe=recipe)[-1].weights()
    moved = {name for name in weights if not torch.equal(weights[name], before[name])}
    assert moved.isdisjoint({"0.weight", "0.bias", "3.bias"})
    assert {"3.weight", "4.weight", "4.bias", "1.weight", "1.running_mean"} <= moved


def test_frozen_weights_are_strayed_in_training_all_the_same():
    model = network()
    model[0].requires_grad_(False)
    noisy, quiet = (trained(model, 0, method)[-1].weights()["4.weight"] for method in ("gaussian", "none"))
    assert not torch.equal(noisy, quiet)


def test_normalisation_that_is_frozen_keeps_its_statistics():
    for freeze in (
        lambda model: model[1].requires_grad_(False),
        lambda model: model[1].eval(),
        lambda model: model.eval()[1].requires_grad_(False),
    ):
        model = network()
        freeze(model)
        last = trained(model, 0)[-1]
        assert torch.equal(last.weights()["1.running_mean"], torch.zeros(8))
    assert not torch.equal(trained(network(), 0)[-1].weights()["1.running_mean"], torch.zeros(8))
    assert not torch.equal(trained(network().eval(), 0)[-1].weights()["1.running_mean"], torch.zeros(8))


def test_a_network_without_anything_to_train_is_refused():
    with pytest.raises(InputError, match="all parameters of Sequential are frozen"):
        trained(network().requires_grad_(False), 0)


class Detached(nn.Module):
    """A network from whose outputs no gradient comes back."""

    def __init__(self):
        super().__init__()
        self.f = nn.Linear(8, 4)

    @torch.no_grad()
    def forward(self, x):
        return self.f(x)


def test_a_training_without_gradients_is_refused():
    with pytest.raises(InputError, match="a network whose outputs are detached"):
        trained(Detached(), [0])
    for nothing in (torch.no_grad, torch.inference_mode):
        with nothing(), pytest.raises(InputError, match="the loss depends on no weight: it was computed under torch"):
            trained(nn.Linear(8, 4), [0])


def flat(scale=1):
    split = Split(SPLIT.x * scale, SPLIT.y)
    return Dataset("own", 4, split, split, split, "0" * 64, "memory")


class Averages(nn.Module):
    """A running mean that its forward assigns in training, as a buffer or as a plain tensor."""

    def __init__(self, kind):
        super().__init__()
        self.a, self.o, self.kind = nn.Linear(8, 8), nn.Linear(8, 4), kind
        if kind == "tensor":
            self.mean = torch.zeros(8)
        else:
            self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        h = self.a(x)
        if self.training:
            new = 0.9 * self.mean + 0.1 * h.detach().mean(0)
            if self.kind == "copied":
                self.mean.copy_(new)
            elif self.kind == "data":
                self.mean.data = new
            elif self.kind == "parameter":
                self.a.weight = nn.Parameter(0.9 * self.a.weight)
            else:
                self.mean = new
        return self.o(torch.relu(h - self.mean))


@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_a_buffer_that_training_assigns_is_what_it_was_assigned(how):
    found = []
    for kind in ("copied", "assigned"):
        torch.manual_seed(0)
        *_, last = nvlib.train("gaussian", Averages(kind), flat(), "rram", 0.1, seed=[0, 1], epochs=2, bits=6, how=how)
        found.append([last.weights(member) for member in (0, 1)])
    assert all(alike(*pair) for pair in zip(*found, strict=True))
    assert found[1][0]["mean"].abs().max() > 0


@pytest.mark.parametrize(("kind", "said"), [("data", "another shape or memory"), ("parameter", "assigned in training")])
def test_what_training_cannot_keep_of_an_assignment_is_refused(kind, said):
    with pytest.raises(InputError, match=said):
        list(nvlib.train("gaussian", Averages(kind), flat(), "rram", 0.1, epochs=1, bits=6, how="loop"))


def test_what_vmap_refuses_halfway_is_updated_once():
    """Statistics of a cumulative average: vmap counts a batch before it refuses to make a number of the count."""
    made = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8, momentum=None), nn.ReLU(), nn.Linear(8, 4))
    found = []
    for how in ("loop", "vmap"):
        population._refused.discard(nn.Sequential)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            *_, last = nvlib.train("gaussian", made, flat(), "rram", 0.1, epochs=1, bits=6, how=how)
        found.append(last.weights())
    assert alike(*found)


class Odd(nn.Module):
    """Counts its calls, draws by numpy or by a generator of its own; or keeps what nothing depends on."""

    def __init__(self, kind):
        super().__init__()
        self.a, self.o, self.kind = nn.Linear(8, 8), nn.Linear(8, 4), kind
        self.calls, self.generator = 0, torch.Generator().manual_seed(0)

    def forward(self, x):
        h = torch.relu(self.a(x))
        self.kept = h.detach()
        if self.training:
            self.calls += 1
            if self.kind == "counts":
                h = h * min(1, self.calls / 8)
            elif self.kind == "numpy":
                h = h * float(np.random.random())
            elif self.kind == "generator":
                h = h * torch.rand(h.shape, generator=self.generator)
            elif self.kind == "dropout":
                h = nn.functional.dropout(h)
        return self.o(h)


@pytest.mark.parametrize("kind", ["counts", "numpy", "generator", "dropout", "keeps"])
def test_what_trainings_would_share_is_said(kind):
    before = np.random.get_state()[1].copy()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        nvlib.train("gaussian", Odd(kind), flat(), "rram", 0.1, epochs=1, bits=6, how="loop")
    shared = any("trainings of one call share it" in str(w.message) for w in said)
    assert shared == (kind in ("counts", "numpy", "generator"))
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("given", ["module", "function"])
def test_hooks_on_gradients_shape_them(given):
    def make(seed=0):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
        mask = torch.ones(8, 8)
        mask[:4] = 0
        net[0].weight.register_hook(lambda g: g * mask)
        net[2].weight.register_hook(lambda g: seen.append(g.shape))
        return net

    seen = []
    model = make() if given == "module" else make
    *_, last = nvlib.train("gaussian", model, flat(), "rram", 0.1, seed=[0, 1], epochs=2, bits=6)
    for member in (0, 1):
        start = make(0 if given == "module" else member)[0].weight
        moved = (last.weights(member)["0.weight"] - start).abs().amax(1)
        assert (moved[:4] == 0).all() and (moved[4:] > 0).all()
    assert set(seen) == {(4, 8)}
    late = make()
    late[0].weight.register_post_accumulate_grad_hook(lambda p: None)
    with pytest.raises(InputError, match=r"0\.weight of Sequential has a hook that runs after"):
        nvlib.train("gaussian", late, flat(), "rram", 0.1, epochs=1, bits=6)


@pytest.mark.parametrize("made", [
    lambda seed: None, lambda seed: torch.jit.script(nn.Linear(8, 4)), lambda seed: nn.Linear(8, 4, device="meta"),
    lambda: nn.Linear(8, 4), nn.Linear, lambda seed: nn.EmbeddingBag(9, 8, sparse=True),
])  # fmt: skip
def test_functions_that_make_no_module_to_train_are_refused_in_a_line(made):
    with pytest.raises(InputError) as error:
        nvlib.train("gaussian", made, flat(), "rram", 0.1, epochs=1, bits=6)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("change", "named"), [
    ({"method": "none"}, "method"), ({"sigma_d": 0.3}, "sigma_d"), ({"crossbar": "fefet1"}, "crossbar"),
    ({"bits": 4}, "crossbar"), ({"seed": 4}, "seed"), ({"recipe": nvlib.Recipe(lr=0.1)}, "recipe"),
    ({"images": 2}, "images"), ({"dtype": torch.float64}, "dtype"), ({"resume": "record"}, "Epoch"),
    ({"epochs": 3}, ""),
])  # fmt: skip
def test_a_training_goes_on_as_the_one_that_was_begun(change, named):
    def run(images=1, **options):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
        options = {"method": "gaussian", "crossbar": "rram", "sigma_d": 0.1, "bits": 6, "epochs": 2, **options}
        return list(nvlib.train(options.pop("method"), net, flat(images), options.pop("crossbar"), **options))

    begun = run()[0]
    change["resume"] = begun if change.get("resume") else begun.state
    if not named:
        assert [record.epoch for record in run(**change)] == [2, 3]
        return
    with pytest.raises(InputError, match=named):
        run(**change)


class Elsewhere(nn.Linear):
    """Other outputs in training than in evaluation."""

    def forward(self, x):
        out = super().forward(x)
        return out.unsqueeze(1) if self.training else out


def test_outputs_in_training_that_are_no_logits_are_refused_in_a_line():
    with pytest.raises(InputError, match=r"outputs of shape \(16, 1, 4\) in training for 16 images; expected logits"):
        trained(Elsewhere(8, 4), [0])


def test_features_are_not_cropped():
    with pytest.raises(InputError, match=r"augment='crop-flip' varies images \(n, channels, height, width\)"):
        trained(nn.Linear(8, 4), [0], recipe=nvlib.Recipe(augment="crop-flip"))


class Scaled(nn.Linear):
    scale = 1.0

    def forward(self, x):
        return super().forward(x) * self.scale


def scaled(seed):
    net = Scaled(8, 4)
    net.scale = 1.0 + seed
    return net


def frozen_for(seed):
    net = nn.Linear(8, 4)
    net.bias.requires_grad_(seed == 0)
    return net


def hooked_for(seed):
    net = nn.Sequential(nn.Linear(8, 4))
    if seed:
        net[0].register_forward_hook(lambda part, inputs, out: 2 * out)
    return net


@pytest.mark.parametrize(("make", "named"), [
    (lambda s: nn.Sequential(nn.Linear(8, 4), nn.ReLU() if s else nn.Tanh()), r"the class of 1 \(Tanh\)"),
    (lambda s: nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1 + 0.1 * s), nn.Linear(8, 4)), r"p of 1 \(Dropout\)"),
    (lambda s: nn.Linear(8, 4).train(s == 0), "the mode of Linear"),
    (scaled, "scale of Scaled"), (frozen_for, "requires_grad of bias"), (hooked_for, r"hooks of 0 \(Linear\)"),
])  # fmt: skip
def test_networks_of_several_seeds_differ_in_tensors_alone(make, named):
    """They are trained as one module with several weights: the others were the first one, without a word."""
    with pytest.raises(InputError, match=f"seeds 0 and 1 differ in more than their tensors: {named}"):
        trained(make, [0, 1], epochs=1)
    trained(make, [1], epochs=1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [
    lambda s: nn.utils.weight_norm(nn.Linear(8, 4)), lambda s: nn.utils.parametrizations.spectral_norm(nn.Linear(8, 4)),
    lambda s: nn.utils.prune.l1_unstructured(nn.Linear(8, 4), "weight", 0.5), lambda s: Listing(),
])  # fmt: skip
def test_networks_whose_tensors_differ_are_trained_together(make):
    assert alike(trained(make, [1], epochs=1)[-1].weights(0), trained(make, [0, 1], epochs=1)[-1].weights(1))


class Listing(nn.Module):
    """Its weight in a list and a dict as well."""

    def __init__(self):
        super().__init__()
        self.f = nn.Linear(8, 4)
        self.held = [{"f": self.f.weight}]

    def forward(self, x):
        return F.linear(x, self.held[0]["f"], self.f.bias)
