"""Small modules as people write them, and what becomes of them: read by test_zoo, and written to docs/support.md.

    python tests/zoo.py            every module x every use, as a table, to docs/support.md
"""

import sys
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch.fx
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils import spectral_norm as old_spectral_norm
from torch.utils.checkpoint import checkpoint

import nvlib
from nvlib import InputError, circuits, deploy, taylor
from nvlib.data import Dataset, Split

PAGE = Path(__file__).parents[1] / "docs" / "support.md"
N, FEATURES, CLASSES = 24, 8, 4
USES = ("loop", "vmap", "native", "tiles", "train", "deploy", "taylor")


def mlp():
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))


class Call(nn.Module):
    """Parts and a function of them: forward(x) = run(self, x)."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.run(self, x)


def shared():
    net = Call(lambda s, x: s.o(torch.tanh(s.b(torch.tanh(s.a(x))))), a=nn.Linear(8, 8), o=nn.Linear(8, 4))
    net.b = net.a
    return net


def tied():
    net = Call(lambda s, x: s.o(torch.tanh(s.b(torch.tanh(s.a(x))))), a=nn.Linear(8, 8), b=nn.Linear(8, 8),
               o=nn.Linear(8, 4))  # fmt: skip
    net.b.weight = net.a.weight
    return net


def embedded(first):
    parts = {"e": nn.Embedding(20, 8), "o": nn.Linear(8, 20, bias=False)}
    parts = parts if first else dict(reversed(parts.items()))
    net = Call(lambda s, x: s.o(torch.tanh(s.h(s.e(x)))).mean(1), **parts, h=nn.Linear(8, 8))
    net.o.weight = net.e.weight
    return net


def changed(make):
    def build():
        net = mlp()
        for i in (0, 2):
            make(net[i])
        return net

    return build


class Observer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("top", torch.ones(()))

    def forward(self, x):
        self.top.copy_(torch.maximum(self.top, x.detach().abs().max()))
        return torch.round(x / self.top * 15) * self.top / 15


class Assigned(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(()))
        self.calls = 0

    def forward(self, x):
        self.total = self.total + x.detach().sum()
        self.calls += 1
        return x + self.calls


class Twice(nn.Module):
    """Parametrised by hand: twice the weight."""

    def forward(self, w):
        return 2 * w


def inplace(s, x):
    x.sub_(0.5).div_(0.25)
    return s.f(x)


def frozen():
    net = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    for p in net[1].parameters():
        p.requires_grad_(False)
    return net


def recurrent(kind):
    return Call(lambda s, x: s.f(s.r(x)[0][:, -1]), r=kind(8, 8, batch_first=True), f=nn.Linear(8, 4))


def attention():
    return Call(lambda s, x: s.o(s.a(x, x, x, need_weights=False)[0].mean(1)),
                a=nn.MultiheadAttention(8, 2, batch_first=True), o=nn.Linear(8, 4))  # fmt: skip


class Listed(nn.Module):
    """Its weights once more in a list, an object and a partial, where forward takes them from."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.o = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.held, self.one = [{"a": self.a.weight}], SimpleNamespace(weight=self.b.weight)
        self.last = partial(F.linear, weight=self.o.weight)

    def forward(self, x):
        x = torch.tanh(F.linear(x, self.held[0]["a"], self.a.bias))
        return self.last(torch.tanh(F.linear(x, self.one.weight)))


class Replaced(nn.Module):
    """A forward of its own, put in place of the class's."""

    def __init__(self):
        super().__init__()
        self.a, self.o = nn.Linear(8, 8), nn.Linear(8, 4)
        self.forward = lambda x: self.o(torch.tanh(self.a(x)))


def lora():
    net = Call(lambda s, x: s.f(x) + x @ s.down.t() @ s.up.t(), f=nn.Linear(8, 4))
    net.down, net.up = nn.Parameter(torch.randn(2, 8) / 8), nn.Parameter(torch.randn(4, 2) / 8)
    net.array_weights = ("down", "up")
    return net


def steps():
    def run(s, x):
        h = x.new_zeros(len(x), 8)
        for t in range(x.shape[1]):
            h = s.c(x[:, t], h)
        return s.f(h)

    return Call(run, c=nn.GRUCell(8, 8), f=nn.Linear(8, 4))


def sized(*parts):
    """Parts of images, and a head for what they give."""
    before = nn.Sequential(*parts, nn.ReLU(), nn.Flatten()).eval()
    with torch.no_grad():
        width = before(torch.rand(2, 1, 4, 4)).shape[1]
    return nn.Sequential(*before, nn.Linear(width, 4))


def crossed():
    return Call(lambda s, x: s.o(s.a(x, x[..., :6], x[..., :4], need_weights=False)[0].mean(1)),
                a=nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True), o=nn.Linear(8, 4))  # fmt: skip


def encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return Call(lambda s, x: s.o(s.t(x).mean(1)), t=nn.TransformerEncoder(layer, 1, enable_nested_tensor=False),
                o=nn.Linear(8, 4))  # fmt: skip


def joined():
    return Call(lambda s, x: F.linear(x, torch.cat([s.a.weight, s.b.weight]), torch.cat([s.a.bias, s.b.bias])),
                a=nn.Linear(8, 2), b=nn.Linear(8, 2))  # fmt: skip


def hooked():
    net = mlp()
    net[0].register_forward_hook(lambda part, _, out: out * part.weight.sum())
    net[2].register_forward_pre_hook(lambda part, given: (given[0] + part.weight.mean(),))
    return net


def convolution(*parts):
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *parts, nn.Flatten(), nn.Linear(64, 4))


def at(shape):
    return lambda: torch.rand(N, *shape)


FLAT, ROWS, IMAGES = at((8,)), at((5, 8)), at((1, 4, 4))
ZOO = {  # name -> how it is built, its inputs
    "linear layers": (mlp, FLAT),
    "one module under two names": (shared, FLAT),
    "tied weights": (tied, FLAT),
    "embedding tied to its decoder": (lambda: embedded(True), lambda: torch.randint(0, 20, (N, 6))),
    "decoder tied to its embedding": (lambda: embedded(False), lambda: torch.randint(0, 20, (N, 6))),
    "weight_norm": (changed(parametrizations.weight_norm), FLAT),
    "weight_norm by hooks": (changed(nn.utils.weight_norm), FLAT),
    "spectral_norm": (changed(parametrizations.spectral_norm), FLAT),
    "spectral_norm by hooks": (changed(old_spectral_norm), FLAT),
    "orthogonal": (changed(parametrizations.orthogonal), FLAT),
    "a parametrisation of one's own": (changed(lambda m: parametrize.register_parametrization(m, "weight", Twice())),
                                       FLAT),
    "pruned": (changed(lambda m: prune.l1_unstructured(m, "weight", amount=0.5)), FLAT),
    "one layer pruned": (lambda: (lambda n: (prune.l1_unstructured(n[0], "weight", amount=0.5), n)[1])(mlp()), FLAT),
    "buffer updated in place": (lambda: nn.Sequential(nn.Linear(8, 8), Observer(), nn.Linear(8, 4)), FLAT),
    "buffer and attribute assigned": (lambda: nn.Sequential(nn.Linear(8, 8), Assigned(), nn.Linear(8, 4)), FLAT),
    "input changed in place": (lambda: Call(inplace, f=nn.Linear(8, 4)), FLAT),
    "activation in place": (lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 4)), FLAT),
    "normalisation": (lambda: nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)), FLAT),
    "frozen normalisation": (frozen, FLAT),
    "layer normalisation": (lambda: nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 4)), FLAT),
    "dropout": (lambda: nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 4)), FLAT),
    "a layer called twice": (lambda: Call(lambda s, x: s.o(torch.relu(s.a(torch.relu(s.a(x))))), a=nn.Linear(8, 8),
                                          o=nn.Linear(8, 4)), FLAT),
    "called by keyword": (lambda: Call(lambda s, x: s.f(input=x), f=nn.Linear(8, 4)), FLAT),
    "functional call of a layer's weight": (lambda: Call(lambda s, x: F.linear(x, s.f.weight), f=nn.Linear(8, 4)),
                                            FLAT),
    "control flow on values": (lambda: Call(lambda s, x: s.a(x) if x.sum() > 0 else s.b(x), a=nn.Linear(8, 4),
                                            b=nn.Linear(8, 4)), FLAT),
    "bilinear": (lambda: Call(lambda s, x: s.b(x, x), b=nn.Bilinear(8, 8, 4)), FLAT),
    "LSTM": (lambda: recurrent(nn.LSTM), ROWS),
    "GRU": (lambda: recurrent(nn.GRU), ROWS),
    "recurrent tanh": (lambda: recurrent(nn.RNN), ROWS),
    "attention": (attention, ROWS),
    "convolution": (lambda: convolution(nn.ReLU()), IMAGES),
    "convolution and normalisation": (lambda: convolution(nn.BatchNorm2d(4), nn.ReLU()), IMAGES),
    "view after a convolution": (lambda: Call(lambda s, x: s.f(s.c(x).view(len(x), -1)), f=nn.Linear(64, 4),
                                              c=nn.Conv2d(1, 4, 3, padding=1)), IMAGES),
    "grouped convolution": (lambda: convolution(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.ReLU()), IMAGES),
    "sequences first": (lambda: Call(lambda s, x: s.o(torch.tanh(s.a(x.transpose(0, 1)))).mean(0), a=nn.Linear(8, 6),
                                     o=nn.Linear(6, 4)), ROWS),
    "a sequence in the batch": (lambda: Call(lambda s, x: s.o(torch.tanh(s.a(x.reshape(-1, 8))).reshape(len(x), -1)),
                                             a=nn.Linear(8, 3), o=nn.Linear(15, 4)), ROWS),
    "a weight and its transpose": (lambda: Call(lambda s, x: F.linear(torch.tanh(s.a(x)), s.a.weight.t()[:4]),
                                                a=nn.Linear(8, 6)), FLAT),
    "a layer of constants": (lambda: Call(lambda s, x: s.o(torch.tanh(s.a(x) * s.g(torch.ones(1, 8).to(x)))),
                                          a=nn.Linear(8, 6), g=nn.Linear(8, 6), o=nn.Linear(6, 4)), FLAT),
    "hooks that use the weight": (hooked, FLAT),
    "weights in a list, an object, a partial": (Listed, FLAT),
    "a forward put in place of another": (Replaced, FLAT),
    "weights joined before use": (joined, FLAT),
    "a low-rank adapter": (lora, FLAT),
    "checkpointed": (lambda: Call(lambda s, x: s.o(checkpoint(s.a, x, use_reentrant=False)), a=nn.Linear(8, 8),
                                  o=nn.Linear(8, 4)), FLAT),
    "fx GraphModule": (lambda: torch.fx.symbolic_trace(mlp()), FLAT),
    "bag of embeddings": (lambda: nn.Sequential(nn.EmbeddingBag(20, 8), nn.Linear(8, 4)),
                          lambda: torch.randint(0, 20, (N, 6))),
    "LSTM with projections, two ways": (lambda: Call(lambda s, x: s.f(s.r(x)[0][:, -1]), f=nn.Linear(8, 4), r=nn.LSTM(
        8, 8, batch_first=True, bidirectional=True, proj_size=4)), ROWS),
    "recurrent cell": (steps, ROWS),
    "attention, keys and values of other sizes": (crossed, ROWS),
    "transformer encoder": (encoder, ROWS),
    "transposed convolution": (lambda: sized(nn.ConvTranspose2d(1, 4, 3, stride=2, output_padding=1)), IMAGES),
    "convolution of one axis": (lambda: nn.Sequential(nn.Conv1d(5, 4, 3, dilation=2), nn.ReLU(), nn.Flatten(),
                                                      nn.Linear(16, 4)), ROWS),
    "convolution of three axes": (lambda: nn.Sequential(nn.Unflatten(1, (1, 2)), nn.Conv3d(1, 2, (1, 3, 3)),
                                                        nn.Flatten(), nn.Linear(16, 4)), at((2, 4, 4))),
    "convolution, circular padding": (lambda: sized(nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular")), IMAGES),
    "convolution, padding by name": (lambda: sized(nn.Conv2d(1, 4, 2, padding="same")), IMAGES),
    "group normalisation": (lambda: sized(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4)), IMAGES),
    "instance normalisation": (lambda: sized(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4, affine=True)), IMAGES),
    "float64": (lambda: mlp().double(), lambda: torch.rand(N, 8, dtype=torch.float64)),
    "DataParallel": (lambda: nn.DataParallel(mlp()), FLAT),
    "as the part `module` of another": (lambda: Call(lambda s, x: s.module(x), module=mlp()), FLAT),
    "several outputs": (lambda: Call(lambda s, x: (s.f(x), x), f=nn.Linear(8, 4)), FLAT),
    "TorchScript": (lambda: torch.jit.script(mlp()), FLAT),
}  # fmt: skip
COVER = [(name, "loop") for name in ZOO] + [
    *((name, "vmap") for name in ("one module under two names", "tied weights", "buffer and attribute assigned",
                                  "input changed in place", "pruned", "DataParallel")),
    *(("weights in a list, an object, a partial", use) for use in USES[1:]),
    *((name, use) for name in ("tied weights", "weight_norm by hooks", "pruned", "spectral_norm")
      for use in ("train", "deploy")),
    *((name, "taylor") for name in ("tied weights", "attention", "LSTM", "weight_norm")),
    *((name, "tiles") for name in ("tied weights", "attention", "LSTM", "weight_norm", "grouped convolution",
                                   "a layer called twice", "DataParallel", "functional call of a layer's weight")),
]  # fmt: skip


FINE = "rows=5,input_bits=none,input_range=20,adc_bits=24,adc_range=bound"  # sums in parts, hardly rounded
REMOVALS = (nn.utils.remove_weight_norm, nn.utils.remove_spectral_norm, lambda m: prune.remove(m, "weight"))


def build(name):
    """A module of the zoo, the same each time, in evaluation mode but for what its author set."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ZOO[name][0]()
    x = ZOO[name][1]()
    return model.eval(), x, torch.randint(0, CLASSES, (N,))


def by_hand(name, chips):
    """Logits of chips without nvlib: built anew, parametrisations removed by torch, weights copied in."""
    outs = []
    for i in range(len(next(iter(chips.values())))):
        chip, x, _ = build(name)
        for part in list(chip.modules()):
            for leaf in list(getattr(part, "parametrizations", {})):
                parametrize.remove_parametrizations(part, leaf)
            for remove in REMOVALS:
                try:
                    remove(part)
                except (ValueError, AttributeError):
                    continue
        own = dict(chip.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for key, w in chips.items():
                own[key].copy_(w[i])
            outs.append(chip(x.clone()))
    return torch.stack(outs)


def state(model):
    """All that evaluation must not touch."""
    parts = [(p.training, dict(vars(p))) for p in model.modules()]
    tensors = [(t, t.detach().clone(), t.requires_grad) for t in (*model.parameters(), *model.buffers())]
    return parts, tensors


def untouched(model, before):
    """Whether a module is bit for bit what it was."""
    parts, tensors = before
    now = [(p.training, vars(p)) for p in model.modules()]
    alike = len(now) == len(parts) and all(
        mode == was and held.keys() == kept.keys() and all(held[k] is kept[k] for k in kept)
        for (mode, held), (was, kept) in zip(now, parts, strict=True))  # fmt: skip
    own = [*model.parameters(), *model.buffers()]
    return alike and len(own) == len(tensors) and all(
        t is s and torch.equal(t, kept) and t.requires_grad == grad
        for t, (s, kept, grad) in zip(own, tensors, strict=True))  # fmt: skip


def outcome(name, use):
    """Use a module in one way: (what came of it, in words; AssertionError where a number is wrong)."""
    model, x, y = build(name)
    split, keep = Split(x, y), x.clone()
    scripted = isinstance(model, torch.jit.ScriptModule)
    before = None if scripted else state(model)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            _use(name, use, model, split)
        except InputError as error:
            assert "\n" not in str(error)
            return "refused"
    if not scripted:
        assert untouched(model, before), "the model was changed"
        assert torch.equal(x, keep), "the images were changed"
    refused = [w for w in said if "running its chips in a loop" in str(w.message)]
    return "by the loop" if refused else "yes"


def _data(split):
    return Dataset("zoo", CLASSES, split, split, split, "0" * 64, "tests/zoo.py")


def _use(name, use, model, split):
    x, y = split.x, split.y
    if use in ("loop", "vmap", "native"):
        from nvlib import population

        population._refused.discard(type(model))
        population._said.clear()
        chips = nvlib.program(model, "rram", 0.1, index=range(3), bits=8)
        with torch.no_grad():
            outs = nvlib.forward(model, chips, x, how=use)
        hand = by_hand(name, chips)
        torch.testing.assert_close(outs, hand, rtol=1e-5, atol=1e-6)  # float32 sums in another order
        plan = population.Plan(2, len(x), use, 1, "cpu")
        found = nvlib.monte_carlo(model, split, "rram", 0.1, chips=3, bits=8, plan=plan)
        accuracy = (100 * (hand.argmax(-1) == y).double().mean(1)).numpy()
        assert abs(found.accuracy - accuracy).max() < 1e-9, (found.accuracy, accuracy)
    elif use == "tiles":
        crossbar = nvlib.Crossbar("rram", 0.1, 8, periphery=FINE)
        on, chips = circuits.attach(model, crossbar, x), nvlib.program(model, "rram", 0.1, index=range(3), bits=8)
        with torch.no_grad():
            outs = nvlib.forward(on.module, on.program(range(3)), x, how="loop")
        hand = by_hand(name, chips)
        torch.testing.assert_close(outs, hand, rtol=2e-3, atol=2e-3 * float(hand.abs().max()))
        found = nvlib.monte_carlo(model, split, crossbar, chips=3)
        accuracy = (100 * (outs.argmax(-1) == y).double().mean(1)).numpy()
        assert abs(found.accuracy - accuracy).max() < 1e-9, (found.accuracy, accuracy)
    elif use == "train":
        *_, last = nvlib.train("gaussian", model, _data(split), "rram", sigma_d=0.1,
                               epochs=1, bits=8, how="loop")  # fmt: skip
        trained = last.model()
        own = {**dict(trained.named_parameters()), **dict(trained.named_buffers())}
        assert all(torch.equal(own[key], w) for key, w in last.weights().items())
        again = nvlib.monte_carlo(trained, split, "rram", 0.0, chips=1, bits=8)
        assert abs(again.accuracy[0] - last.clean[0]) < 1e-6
    elif use == "deploy":
        (block,) = deploy.get("swim").apply(model, _data(split), "rram", 0.1,
                                            index=range(2), bits=8)  # fmt: skip
        plain = nvlib.monte_carlo(model, split, "rram", 0.1, chips=2, bits=8)
        assert abs(block.before - plain.accuracy).max() < 1e-9
    elif use == "taylor":
        point = taylor.point(model, "rram", bits=8, dtype=torch.float64)
        loss = taylor.Loss(point, split)
        slopes, (first, *_) = loss.gradient(), point.centre
        step = torch.zeros_like(point.centre[first])
        step.view(-1)[0] = 1e-6
        ends = [loss.value({first: point.centre[first] + sign * step}) for sign in (1, -1)]
        gap = abs((ends[0] - ends[1]) / 2e-6 - float(slopes[first].view(-1)[0]))
        assert gap < 1e-6, gap
        assert all(v.isfinite().all() for v in taylor.diagonal(loss, "exact").values.values())


def cell(name, use):
    """An outcome for the table; a wrong number is said as what it is."""
    try:
        return outcome(name, use)
    except AssertionError as error:
        return f"WRONG ({' '.join(str(error).split())[:80]})"
    except Exception as error:
        return f"FAILS ({type(error).__name__}: {' '.join(str(error).split())[:80]})"


INTRODUCTION = (
    "Each row is a small module of `tests/zoo.py`, each cell what came of it, written by `python tests/zoo.py`. *yes*:",
    "each chip equals the same chip by hand (weights copied into a copy, plain forward), and the model and the images",
    "are bit for bit what they were. *by the loop*: the same, but the loop runs in place of that way, with a warning.",
    "*tiles*: the same through tiles and converters of very many bits, to what these leave (`Crossbar.periphery`).",
    "*refused*: in one line that says what to do.",
)


def page():
    """The whole table as a page of the docs."""
    lines = ["# What is supported, in which way", "", *INTRODUCTION, "",
             f"| module | {' | '.join(USES)} |", f"|---|{'---|' * len(USES)}"]  # fmt: skip
    for name in ZOO:
        lines.append(f"| {name} | {' | '.join(cell(name, use) for use in USES)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def written():
    """What the page says: (module, use) -> outcome."""
    rows = [[part.strip() for part in line.strip("| \n").split("|")] for line in PAGE.read_text().splitlines()
            if line.startswith("| ")]  # fmt: skip
    return {(row[0], use): said for row in rows[1:] for use, said in zip(rows[0][1:], row[1:], strict=True)}


if __name__ == "__main__":
    PAGE.write_text(page())
