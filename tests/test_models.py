import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from nvlib.errors import InputError
from nvlib.models import MODELS, ActivationQuantiser, build

IMAGE = {name: (1, 28, 28) if name.startswith("lenet") else (3, 32, 32) for name in MODELS}


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small lose by threads, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def full_size(name, **options):
    with torch.device("meta"):  # shapes alone
        return build(name, **options)


def array_weights(model):
    """What lies on arrays: weights of convolutions and linear layers; biases and normalisation do not."""
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("lenet", 6 * 9 + 16 * 6 * 9 + 784 * 120 + 120 * 84 + 84 * 10),
        ("lenet5", 6 * 25 + 16 * 6 * 25 + 400 * 120 + 120 * 84 + 84 * 10),
        ("lenet3", 5395),
        ("vgg8", 12_897_984),
        ("vgg8_tsb", 12_973_440),
        ("resnet18", 11_164_352),
    ],
)
def test_array_weights(name, count):
    assert array_weights(full_size(name)) == count


@pytest.mark.parametrize(
    ("name", "channels", "classes", "percent"),
    [
        ("lenet3", 5, 10, 0.46),
        ("vgg8_tsb", 128, 10, 0.13),
        ("resnet18", 128, 10, 0.15),
        ("resnet18", 128, 200, 0.15),
    ],
)
def test_share_of_a_tiny_shared_block(name, channels, classes, percent):
    share = 100 * channels**2 / array_weights(full_size(name, classes=classes))
    assert round(share, 2) == percent


@pytest.mark.parametrize("name", MODELS)
def test_network(name):
    model = build(name, classes=7, width=0.125, activation_bits=3, seed=0)
    assert model.activation_bits == 3
    x = torch.rand(4, *IMAGE[name])
    assert model(x).shape == (4, 7)
    model.eval()
    assert torch.isfinite(model(x)).all()
    # frozen ranges: an image's logits do not depend on its batch (in float64, because the last bits do, and
    # in float32 such a bit moves an activation to the next of its 8 levels now and then)
    model.double()
    together = model(x.double())
    alone = torch.cat([model(one[None]) for one in x.double()])
    torch.testing.assert_close(together, alone)


def test_bits_and_defaults():
    found = {name: (m.bits, m.activation_bits) for name in MODELS for m in [build(name, width=0.125)]}
    lenet, rest = (4, 4), (8, 0)
    assert found == {
        "lenet": lenet, "lenet5": lenet, "lenet3": rest, "vgg8": rest, "vgg8_tsb": rest, "resnet18": rest,
    }  # fmt: skip
    trice = build("vgg8", width=0.125, bits=6, activation_bits=6)
    assert (trice.bits, trice.activation_bits) == (6, 6)
    assert not any(isinstance(m, ActivationQuantiser) for m in build("lenet", activation_bits=0).modules())
    assert build("resnet18", width=0.125, in_channels=1).eval()(torch.rand(2, 1, 64, 64)).shape == (2, 10)


def test_seed_makes_the_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    a, b, c = (build("lenet", seed=seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["fc1.weight"], c["fc1.weight"])


def test_pooling_first_changes_nothing():
    model = build("lenet", seed=0)
    x = torch.rand(8, 1, 28, 28)
    model(x)
    model.eval()
    usual = F.max_pool2d(model.quant1(F.relu(model.conv1(x))), 2)
    assert torch.equal(model.quant1(F.relu(F.max_pool2d(model.conv1(x), 2))), usual)


def test_quantiser_follows_its_definition():
    q = ActivationQuantiser(2)
    x = torch.tensor([0.0, 0.4, 1.1, 3.0], requires_grad=True)
    y = q(x)
    assert q.range == 3 and y.tolist() == [0, 0, 1, 3]  # the first batch sets the range
    q(torch.tensor([1.0]))
    torch.testing.assert_close(q.range, torch.tensor(0.9 * 3 + 0.1 * 1))
    q.eval()
    y = q(torch.tensor([0.9, 2.6, 50.0], requires_grad=True))
    torch.testing.assert_close(y, torch.tensor([1, 3, 3]) * (2.8 / 3))
    torch.testing.assert_close(q.range, torch.tensor(2.8))  # frozen
    with torch.inference_mode():
        assert torch.equal(q(torch.tensor([0.9, 2.6, 50.0])), y)


def test_quantiser_gradient_is_one_up_to_the_range_and_zero_above():
    q = ActivationQuantiser(4)
    x = torch.tensor([0.2, 1.0], requires_grad=True)
    q(x).sum().backward()
    assert x.grad.tolist() == [1, 1]
    q.eval()
    x = torch.tensor([0.2, 1.5], requires_grad=True)
    q(x).sum().backward()
    assert x.grad.tolist() == [1, 0]


def test_quantiser_before_its_first_batch_and_after_a_dead_one():
    q = ActivationQuantiser(4).eval()
    x = torch.rand(100)
    assert (q(x) - x).abs().max() <= 2.0**-20
    q.train()
    assert torch.equal(q(torch.zeros(5)), torch.zeros(5))
    assert q(torch.tensor([torch.nan])).isnan()  # a diverged network shows
    q(torch.full((3,), 2.0))
    assert q.range == 2


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["lenet", "lenet3", "vgg8", "resnet18"])
def test_population_equals_each_member_alone(name, training):
    members = [build(name, width=0.05, activation_bits=4, seed=seed).double() for seed in range(3)]
    image = (3, 16, 16) if name == "resnet18" else IMAGE[name]
    x = torch.rand(3, 2, 3, *image, dtype=torch.float64)  # member, batch, image
    for member, batches in zip(members, x, strict=True):
        member(batches[0])
        member.train(training)
    parameters, buffers = stack_module_state(members)
    model = members[0]

    def run(p, b, batch):
        return functional_call(model, (p, b), (batch,))

    out = vmap(run)(parameters, buffers, x[:, 1])
    out.square().sum().backward()
    alone = [member(batches[1]) for member, batches in zip(members, x, strict=True)]
    torch.stack(alone).square().sum().backward()
    torch.testing.assert_close(out, torch.stack(alone))
    for i, member in enumerate(members):
        for key, value in member.named_buffers():
            torch.testing.assert_close(buffers[key][i], value, msg=key)
        for key, value in member.named_parameters():
            torch.testing.assert_close(parameters[key].grad[i], value.grad, msg=key)


def test_gradients_by_torch_func_in_eval_mode():
    model = build("lenet", seed=0)
    x, y = torch.rand(4, 1, 28, 28), torch.arange(4)
    model(x)
    model.eval()
    parameters = dict(model.named_parameters())
    found = grad(lambda p: F.cross_entropy(functional_call(model, p, (x,)), y))(parameters)
    F.cross_entropy(model(x), y).backward()
    torch.testing.assert_close(found["conv1.weight"], model.conv1.weight.grad)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "lenet4"}, "did you mean 'lenet"),
        ({"width": 0}, "width=0"),
        ({"width": -1.0}, "width=-1.0"),
        ({"width": float("nan")}, "width=nan"),
        ({"bits": 0}, "bits=0"),
        ({"bits": 2.5}, "bits=2.5"),
        ({"activation_bits": -1}, "activation_bits=-1"),
        ({"classes": 0}, "classes=0"),
        ({"in_channels": 0}, "in_channels=0"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**32}, "seed=4294967296"),
    ],
)
def test_bad_input(options, says):
    with pytest.raises(InputError, match=says) as error:
        build(**{"name": "lenet"} | options)
    assert "\n" not in str(error.value)


def test_images_that_do_not_fit():
    with pytest.raises(InputError, match=r"\(2, 3, 32, 32\) do not fit LeNet"):
        build("lenet")(torch.rand(2, 3, 32, 32))
    with pytest.raises(InputError, match=r"nvlib\.data\.resize"):
        build("vgg8", width=0.1)(torch.rand(2, 3, 28, 28))
