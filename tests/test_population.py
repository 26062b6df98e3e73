"""The engine: loop and vmap agree (generated code: test_native), members do not mix, refusals fall back with a word."""

import copy

import pytest
import torch
from torch import nn

import nvlib
from nvlib import InputError, models, population


@pytest.mark.parametrize("name", ["lenet", "lenet5", "lenet3", "vgg8", "resnet18"])
def test_ways_agree_and_equal_each_member_alone(name):
    model = models.build(name, width=1.0 if "lenet" in name else 0.1, seed=0).double().eval()
    size = model.input_size or 32
    x = torch.rand(3, model.in_channels, size, size, dtype=torch.float64)
    chips = nvlib.program(model, "rram", 0.1, index=range(3))
    with torch.no_grad():
        loop, vmap = (nvlib.forward(model, chips, x, how=how) for how in ("loop", "vmap"))
        assert loop.shape == (3, 3, 10)
        torch.testing.assert_close(loop, vmap, rtol=1e-9, atol=1e-9)  # float64: sums in another order, nothing else
        for i in range(3):
            alone = models.build(name, width=1.0 if "lenet" in name else 0.1, seed=0).double().eval()
            alone.load_state_dict({k: chips[k][i] for k in chips}, strict=False)
            torch.testing.assert_close(alone(x), loop[i], rtol=1e-12, atol=1e-12)


def test_members_with_inputs_of_their_own():
    model = models.build("lenet", seed=0).eval()
    chips, x = nvlib.program(model, "rram", 0.1, index=range(3)), torch.rand(3, 4, 1, 28, 28)
    outs = [nvlib.forward(model, chips, x, per_member=True, how=how) for how in ("loop", "vmap")]
    torch.testing.assert_close(*outs, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="2 members"):
        nvlib.forward(model, chips, x[:2], per_member=True)


class Recurrent(nn.Module):
    bits = 8

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(5, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Branching(nn.Module):
    bits = 4

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        y = self.a(x)
        return y if y.sum() > 0 else self.b(x)


@pytest.mark.parametrize(("network", "shape"), [(Recurrent, (6, 7, 5)), (Branching, (6, 4))])
def test_what_vmap_refuses_runs_in_a_loop_with_one_warning(network, shape, recwarn):
    torch.manual_seed(0)
    model, x = network().eval(), torch.randn(shape)
    assert any(name.startswith(("lstm.weight", "a.weight")) for name in nvlib.crossbar.array_weights(model))
    chips = nvlib.program(model, "rram", 0.1, index=range(4))
    population._refused.discard(network)
    with torch.no_grad():
        outs = nvlib.forward(model, chips, x, how="vmap")
        said = [str(w.message) for w in recwarn if "vmap refuses" in str(w.message)]
        assert len(said) == 1 and network.__name__ in said[0]
        again = nvlib.forward(model, chips, x, how="vmap")
        assert len([w for w in recwarn if "vmap refuses" in str(w.message)]) == 1
        assert torch.equal(outs, again) and torch.equal(outs, nvlib.forward(model, chips, x, how="loop"))


def test_an_error_of_the_model_itself_is_not_hidden_by_the_fallback():
    model = models.build("lenet", seed=0).eval()
    chips = nvlib.program(model, "rram", 0.1, index=range(2))
    for how in ("loop", "vmap"):
        with pytest.raises(InputError, match="do not fit LeNet"):
            nvlib.forward(model, chips, torch.rand(2, 3, 28, 28), how=how)
    assert type(model) not in population._refused


def test_stack_and_its_errors():
    one, two = models.build("lenet3", seed=0), models.build("lenet3", seed=1)
    stacked = population.stack([one, two])
    assert population.members(stacked) == 2
    assert torch.equal(stacked["conv1.weight"][1], two.conv1.weight)
    assert "norm1.running_mean" in stacked
    with pytest.raises(InputError, match="different shapes"):
        population.stack([one, models.build("lenet", seed=0)])
    with pytest.raises(InputError, match="at least one"):
        population.stack([])
    with pytest.raises(InputError, match="leading axes"):
        population.members({"a": torch.ones(2), "b": torch.ones(3)})
    with pytest.raises(InputError, match="loop"):
        nvlib.forward(one, stacked, torch.rand(1, 1, 28, 28), how="magic")


def test_plan_keeps_activations_within_a_bound():
    model, x = models.build("lenet").eval(), torch.rand(5000, 1, 28, 28)
    each = population.activation_bytes(model, x)
    assert each == 4 * sum((6 * 28**2, 6 * 14**2, 16 * 14**2, 16 * 7**2, 120, 120, 84, 84, 10))
    plan = population.plan(model, x, 1000, how="loop")
    assert plan.images * each <= population._CPU_BYTES
    assert model.training is False


def test_halving_ends_with_a_word():
    plan = population.Plan(3, 2, "loop", 1, "cpu")
    sizes = [(plan := population.halved(plan)) and (plan.members, plan.images) for _ in range(3)]
    assert sizes == [(2, 2), (1, 2), (1, 1)]
    with pytest.raises(InputError, match="memory"):
        population.halved(plan)


class Views(nn.Module):
    """Flattens by a view, which channels-last activations do not allow, and counts in training."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4 * 36, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        return self.out(x.view(-1, 4 * 36))


@pytest.mark.parametrize("training", [False, True])
def test_a_network_that_views_its_activations_runs_as_in_plain_pytorch(training):
    torch.manual_seed(0)
    model, x = Views().train(training), torch.randn(6, 3, 8, 8)
    weights = population.stack([model, model])
    before = {name: tensor.clone() for name, tensor in weights.items()}
    state = torch.get_rng_state()
    outs = population.forward(model, weights, x, how="loop")
    assert torch.equal(torch.get_rng_state(), state)  # and nothing was drawn to find that out
    plain = copy.deepcopy(model)
    torch.testing.assert_close(outs, plain(x).expand(2, -1, -1))
    torch.testing.assert_close(weights["norm.running_mean"][1], plain.norm.running_mean)  # updated once, not twice
    assert weights["norm.num_batches_tracked"].tolist() == [training, training]
    assert torch.equal(weights["norm.running_mean"], before["norm.running_mean"]) != training


@pytest.mark.parametrize(("channels", "last"), [(4, False), (16, True)])
def test_no_training_meets_a_kernel_that_writes_beyond_its_memory(channels, last):
    """PyTorch's weight gradient of narrow strided 1 x 1 convolutions with channels last."""
    model = nn.Sequential(nn.Conv2d(3, channels, 3), nn.Conv2d(channels, 16, 1, stride=2), nn.Flatten(1),
                          nn.LazyLinear(10))  # fmt: skip
    x = torch.randn(1, 8, 3, 16, 16)
    model(x[0])
    met = []
    model[1].register_forward_pre_hook(lambda _, args: met.append(args[0].is_contiguous()))
    weights = {name: w.detach().requires_grad_() for name, w in population.stack([model]).items()}
    given = x[0].contiguous(memory_format=torch.channels_last)[None]
    population.forward(model, weights, given, how="loop", per_member=True).sum().backward()
    assert met[-1] is not last
