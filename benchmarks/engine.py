"""How fast chips are evaluated and populations trained: every way on the same chips, one table a network.

Baselines, plainly: (a) *rebuild*, as the papers' public code does it: for each chip build the network anew, load the
checkpoint from disk, sample noise, loop over batches; (b) *tuned loop*: the network built once, images resident, the
best of several batch sizes, channels first; (c) the same, channels last. Then `vmap`, `torch.compile(vmap)`, generated
code, and last `nvlib.monte_carlo` with programming and statistics. All score the same chips: the table says how many
labels differ from (b)'s, and a run fails where an accuracy does by more than those.

Seconds are the best of several rounds in which all ways take turns, of wall time and of this process's CPU time (all
its threads): the second is what to go by where other programs run. The limit is the network's multiplications at the
rate at which `torch.mm` multiplies 2048 x 2048 matrices, measured between the ways.

    python benchmarks/engine.py                                   the two LeNets, 10,000 images
    python benchmarks/engine.py --networks vgg8 resnet18 --width 0.25 --images 512 --chips 2
    python benchmarks/engine.py --networks lenet --scaling        cost and memory from 100 to 10,000 chips
    python benchmarks/engine.py --training --members 45           a population's training step
    python benchmarks/engine.py --draws                           random numbers, compiled and by PyTorch
    python benchmarks/engine.py --on cuda
"""

import argparse
import contextlib
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy

import nvlib
from nvlib import data, models, native, philox, population, store
from nvlib.data import Split

DEVICE, SIGMA_D = "rram", 0.1
NETWORKS = {  # what is built, and on what
    "lenet5": ({"name": "lenet5", "activation_bits": 0}, "mnist"),
    "lenet": ({"name": "lenet"}, "mnist"),
    "vgg8": ({"name": "vgg8"}, "cifar10"),
    "resnet18": ({"name": "resnet18"}, "cifar10"),
}


@dataclass
class Way:
    """A way to get the predicted labels of all chips: (chips, images)."""

    name: str
    run: Callable[[], torch.Tensor]
    first: float = 0.0  # seconds of the first call, with whatever it generates and compiles
    wall: float = float("inf")
    cpu: float = float("inf")
    labels: torch.Tensor | None = None


@dataclass
class Bench:
    """One network, its chips and images."""

    title: str
    network: dict
    model: nn.Module
    split: Split
    chips: dict
    count: int
    on: str
    ways: list[Way] = field(default_factory=list)

    def weights(self, chip):
        """One chip's weights by name."""
        return {name: w[chip] for name, w in self.chips.items()}


# -- the ways ---------------------------------------------------------------------------------------------------------


def rebuild(bench, images, batch=100):
    """As public code: everything again for each chip. The noise it samples is then replaced by the common chip's."""
    with tempfile.TemporaryDirectory() as folder:
        torch.save(bench.model.state_dict(), Path(folder) / "checkpoint.pt")
        labels = []
        for chip in range(bench.count):
            model = models.build(**bench.network).to(bench.on)
            model.load_state_dict(torch.load(Path(folder) / "checkpoint.pt", map_location=bench.on, weights_only=True))
            model.eval()
            with torch.no_grad():
                for name, w in model.named_parameters():
                    if name in bench.chips:
                        w += SIGMA_D * w.abs().max() * torch.randn_like(w)
                        w.copy_(bench.chips[name][chip])
                labels.append(torch.cat([model(x).argmax(-1) for x in images.split(batch)]))
        return torch.stack(labels)


def loop(bench, x, batch):
    """One module, another chip's weights copied into it each time."""
    own, labels = dict(bench.model.named_parameters()), []
    clean = {name: own[name].detach().clone() for name in bench.chips}
    with torch.inference_mode():
        for chip in range(bench.count):
            for name, w in bench.weights(chip).items():
                own[name].data.copy_(w)
            labels.append(torch.cat([bench.model(part).argmax(-1) for part in x.split(batch)]))
        for name, w in clean.items():
            own[name].data.copy_(w)
    return torch.stack(labels)


def blocks(bench, call, chips, images):
    """A function of several chips' weights and some images, on all of them."""
    with torch.inference_mode():
        rows = []
        for first in range(0, bench.count, chips):
            part = {name: w[first : first + chips] for name, w in bench.chips.items()}
            rows.append(torch.cat([call(part, x).argmax(-1) for x in bench.split.x.split(images)], 1))
        return torch.cat(rows)


def compiled(function):
    """A compiled function, in one piece."""
    return torch.compile(function, dynamic=False, fullgraph=True)


def ways(bench, skip):
    """All ways that this machine has."""
    cuda = bench.on == "cuda"
    rows, columns = bench.split.x.shape[2:]
    strides = (bench.split.x[0].numel(), rows * columns, columns, 1)
    first = bench.split.x.contiguous().as_strided(bench.split.x.shape, strides)  # spelt out: see population
    last = population._channels_last(bench.split.x)
    own = vmap(lambda w, x: functional_call(bench.model, w, (x,)), in_dims=(0, None))
    yield Way("(a) rebuild loop", lambda: rebuild(bench, first))
    for batch in (1000, 5000) if cuda else (100, 250, 500):
        yield Way(f"(b) tuned loop, batch {batch}", lambda batch=batch: loop(bench, first, batch))
    for batch in (1000, 5000) if cuda else (100, 250, 500):
        yield Way(f"(c) tuned loop, channels last, batch {batch}", lambda batch=batch: loop(bench, last, batch))
    sizes = ((bench.count, 1000),) if cuda else ((4, 250),)
    for chips, images in sizes:
        yield Way(f"vmap, {chips} chips x {images} images", lambda c=chips, i=images: blocks(bench, own, c, i))
    if "compile" not in skip:
        for chips, images in ((bench.count, 1000),) if cuda else ((4, 250), (16, 50)):
            chips = min(chips, bench.count)
            call = compiled(own)
            name = f"torch.compile(vmap), {chips} chips x {images} images"
            yield Way(name, lambda c=chips, i=images, f=call: blocks(bench, f, c, i))
    if not cuda:
        call = lambda w, x: native.logits(bench.model, w, x)  # noqa: E731
        yield Way("generated code", lambda: blocks(bench, call, 16, len(first)))


def carlo(bench):
    """The public function, all included: programming, running by the plan that `how` of a long run has, statistics."""
    how = "native" if bench.on == "cpu" else None
    plan = population.plan(bench.model, bench.split.x, bench.count, how=how)
    return nvlib.monte_carlo(bench.model, bench.split, DEVICE, SIGMA_D, chips=bench.count, plan=plan, on=bench.on)


# -- measuring --------------------------------------------------------------------------------------------------------


def clock(run, on):
    """Seconds of wall and of CPU time, and what the call returned."""
    if on == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    got = run()
    if on == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu, got


def product_rate(on, size=2048, seconds=0.4):
    """Multiply-adds a second of a large matrix product, by wall and by CPU time (all threads together)."""
    a, b = torch.randn(2, size, size, device=on)
    out, best, until = torch.mm(a, b), [float("inf")] * 2, time.perf_counter() + seconds
    while time.perf_counter() < until:
        wall, cpu, _ = clock(lambda: torch.mm(a, b, out=out), on)
        best = [min(best[0], wall), min(best[1], cpu)]
    return [size**3 / t for t in best]


def multiply_adds(model, x):
    """Multiply-adds of convolutions and linear layers for one image."""
    total = 0

    def count(layer, _, out):
        nonlocal total
        total += out[0].numel() * layer.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.inference_mode():
        model(x[:1])
    for hook in hooks:
        hook.remove()
    return total


def prepare(name, options):
    """Build and, where there is data, train a little: the margins of a network that works decide what flips."""
    network, dataset = NETWORKS[name]
    network = network | {"width": options.width if dataset == "cifar10" else 1.0}
    torch.manual_seed(0)
    model = models.build(**network, seed=0)
    known = not data.available()[dataset].startswith("not found")
    if known:
        loaded = data.load(dataset)
        few = replace(loaded, train=Split(loaded.train.x[:8000], loaded.train.y[:8000]),
                      validation=Split(loaded.validation.x[:500], loaded.validation.y[:500]))  # fmt: skip
        recipe = nvlib.Recipe(batch_size=64)
        *_, last = nvlib.train("gaussian", model, few, DEVICE, SIGMA_D, epochs=options.epochs, recipe=recipe,
                               validation_chips=1, on=options.on)  # fmt: skip
        model, split = last.model(), loaded.test
        split = Split(split.x[: options.images], split.y[: options.images])
    else:
        x = torch.rand(options.images, 3, 32, 32)
        with torch.no_grad():
            model.train()(x[:64])
        split = Split(x, torch.randint(0, 10, (options.images,)))
    model = model.to(options.on).eval()
    split = Split(split.x.to(options.on), split.y.to(options.on))
    chips = nvlib.program(model, DEVICE, SIGMA_D, index=range(options.chips))
    where = f"{dataset}" if known else "random images"
    width = "" if network["width"] == 1 else f", width {network['width']:g}"
    title = f"{name}{width}, {len(split):,} {where}"
    return Bench(title, network, model, split, chips, options.chips, options.on)


def evaluation(name, options):
    """The table of one network."""
    torch.compiler.reset()
    bench = prepare(name, options)
    flops, rates, each = multiply_adds(bench.model, bench.split.x) * len(bench.split), [0.0, 0.0], bench.count
    candidates = list(ways(bench, options.skip))
    for way in list(candidates):
        try:
            way.first, _, way.labels = clock(way.run, options.on)
        except Exception as error:  # a way that this network or machine has not
            print(f"- {way.name}: {type(error).__name__}: {str(error).splitlines()[0][:120]}")
            candidates.remove(way)
    samples, rest = carlo(bench), Way("`nvlib.monte_carlo`, all included", lambda: carlo(bench))
    for _ in range(options.rounds):
        for way in [*candidates, rest]:
            rates = [max(pair) for pair in zip(rates, product_rate(options.on), strict=True)]
            wall, cpu, _ = clock(way.run, options.on)
            way.wall, way.cpu = min(way.wall, wall / each), min(way.cpu, cpu / each)
    limit = [flops / rate for rate in rates]
    tuned = min((w for w in candidates if w.name.startswith("(b)")), key=lambda w: w.cpu)
    last = min((w for w in candidates if w.name.startswith("(c)")), key=lambda w: w.cpu)
    again = next(w for w in candidates if w.name.startswith("(a)"))
    print(f"\n### {bench.title}; {bench.count} chips, {torch.get_num_threads()} thread(s), plan {samples.plan.how}\n")
    print(f"`torch.mm`: {2 * rates[0] / 1e9:.0f} GFLOP/s by wall time, {2 * rates[1] / 1e9:.0f} by CPU time; "
          f"{flops / len(bench.split) / 1e6:.3g} M multiply-adds an image; limit {limit[0]:.4f} s a chip "
          f"(CPU {limit[1]:.4f})\n")  # fmt: skip
    print("| way | s a chip | CPU s a chip | chips/s | x (a) | x (b) | x (c) | of the limit (CPU) | first call s | "
          "labels changed |")  # fmt: skip
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for way in [*candidates, rest]:
        ratios = " | ".join(f"{base.cpu / way.cpu:.2f}" for base in (again, tuned, last))
        changed = "" if way.labels is None else f"{100 * agreement(way, tuned, bench):.4f} %"
        print(f"| {way.name} | {way.wall:.4f} | {way.cpu:.4f} | {1 / way.wall:.1f} | {ratios} | "
              f"{100 * limit[1] / way.cpu:.0f} % | {way.first:.1f} | {changed} |")  # fmt: skip
    accuracy = 100 * (tuned.labels == bench.split.y).double().mean(1).cpu()
    off = (torch.as_tensor(samples.accuracy) - accuracy).abs().max()
    print(f"\nmean accuracy {accuracy.mean():.2f} %; `monte_carlo` is within {off:.3f} points of (b) on every chip")
    assert off <= 100 * 5e-4 + 100 * 2 / len(bench.split), "accuracies differ by more than near-ties"


def agreement(way, tuned, bench):
    """The share of labels that differ from the tuned loop's; accuracies may differ by no more than that."""
    changed = (way.labels != tuned.labels).double().mean(1)
    accuracies = [(w.labels == bench.split.y).double().mean(1) for w in (way, tuned)]
    assert ((accuracies[0] - accuracies[1]).abs() <= changed + 1e-12).all() and changed.max() < 5e-3, way.name
    return float(changed.mean())


def scaling(name, options):
    """Cost by the number of chips and of images, and the most memory that each took (the process's resident set)."""
    bench = prepare(name, options)
    how = "native" if options.on == "cpu" else None
    print(f"\n### {name}: cost by chips and images, {torch.get_num_threads()} thread(s)\n")
    print("| chips | images | s | CPU s | CPU ms a chip and 1,000 images | peak memory MB |")
    print("|--:|--:|--:|--:|--:|--:|")
    most = len(bench.split)
    cases = [(100, most // 50)] + [(c, most // 50) for c in (100, 300, 1000, 3000, 10_000)]
    cases += [(100, most * k // 50) for k in (2, 5, 10, 25, 50)]
    for number, (chips, images) in enumerate(cases):
        split = Split(bench.split.x[:images], bench.split.y[:images])
        plan = population.plan(bench.model, split.x, chips, how=how)
        with contextlib.suppress(OSError):  # Linux forgets the peak so far
            Path("/proc/self/clear_refs").write_text("5")
        wall, cpu, _ = clock(
            lambda s=split, c=chips, p=plan: nvlib.monte_carlo(
                bench.model, s, DEVICE, SIGMA_D, chips=c, plan=p, on=bench.on
            ),
            options.on,
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if number:  # the first is there to generate and compile
            each = 1e6 * cpu / chips / images
            print(f"| {chips:,} | {images:,} | {wall:.1f} | {cpu:.1f} | {each:.2f} | {peak:.0f} |")


def training(options):
    """A step of P LeNets (their own weights and images, Adam), one after another, and as a population."""
    count, batch, steps = options.members, 64, 5
    threads = torch.get_num_threads()
    print(f"\n### A training step of {count} LeNets, batch {batch}, {threads} thread(s), {options.on}\n")
    members = [models.build("lenet", seed=i).to(options.on).train() for i in range(count)]
    x = torch.rand(count, batch, 1, 28, 28, device=options.on)
    y = torch.randint(0, 10, (count, batch), device=options.on)

    def alone():
        for model, images, labels, optimiser in zip(members, x, y, optimisers, strict=True):
            for _ in range(steps):
                optimiser.zero_grad()
                cross_entropy(model(images), labels).backward()
                optimiser.step()

    def together(how):
        for _ in range(steps):
            optimiser.zero_grad()
            out = population.forward(members[0], stacked, x, per_member=True, how=how)
            cross_entropy(out.flatten(0, 1), y.flatten(), reduction="none").view(count, -1).mean(1).sum().backward()
            optimiser.step()

    optimisers = [torch.optim.Adam(model.parameters()) for model in members]
    stacked = population.stack(members)
    names = [name for name, _ in members[0].named_parameters()]
    for name in names:
        stacked[name].requires_grad_()
    optimiser = torch.optim.Adam([stacked[name] for name in names])
    found = [Way("one after another", alone), Way("population, loop", lambda: together("loop")),
             Way("population, vmap", lambda: together("vmap"))]  # fmt: skip
    for way in found:
        way.run()
    for _ in range(options.rounds):
        for way in found:
            wall, cpu, _ = clock(way.run, options.on)
            way.wall, way.cpu = min(way.wall, wall / steps), min(way.cpu, cpu / steps)
    print("| way | ms a step | CPU ms a step | x one after another |\n|---|--:|--:|--:|")
    for way in found:
        ratio = found[0].wall / way.wall if options.on == "cuda" else found[0].cpu / way.cpu
        print(f"| {way.name} | {1e3 * way.wall:.1f} | {1e3 * way.cpu:.1f} | {ratio:.2f} |")


def draws(options):
    """Uniform numbers of a LeNet's tensors, for many chips and many members: PyTorch's operations, compiled code."""
    compiled, many = philox._compiled(True), list(range(45))
    print(f"\n### Random numbers, {torch.get_num_threads()} thread(s)\n")
    if compiled is None:
        print("no compiled code on this machine")
        return
    cases = [("its largest tensor", [1], [2], 94_080), ("its second convolution", [1], [2], 864),
             ("its largest tensor, 16 chips", [1], many[:16], 94_080),
             ("its second linear layer, 45 members", many, [2] * 45, 10_080)]  # fmt: skip
    print("| a LeNet's draw | numbers | PyTorch, CPU ms | compiled, CPU ms | x PyTorch |\n|---|--:|--:|--:|--:|")
    for what, seeds, indices, size in cases:
        outs = [torch.empty(len(indices), size, dtype=torch.float64) for _ in range(2)]
        found = [Way(what, partial(fill, out, seeds, indices, (3, 4)))
                 for fill, out in zip((philox._compute, compiled.fill), outs, strict=True)]  # fmt: skip
        for _ in range(20 * options.rounds):
            for way in found:
                way.cpu = min(way.cpu, clock(way.run, "cpu")[1])
        assert torch.equal(*outs), what
        slow, fast = (1e3 * way.cpu for way in found)
        print(f"| {what} | {outs[0].numel():,} | {slow:.3f} | {fast:.3f} | {slow / fast:.0f} |")


def main():
    """Read the options and print what they ask for, as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["lenet5", "lenet"])
    parser.add_argument("--width", type=float, default=0.25, help="of vgg8 and resnet18")
    parser.add_argument("--chips", type=int, default=16)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="of training beforehand, on 8,000 images")
    parser.add_argument("--on", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--members", type=int, default=45)
    parser.add_argument("--skip", nargs="*", choices=["compile"], default=[])
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--training", action="store_true")
    parser.add_argument("--draws", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    machine = store.environment()
    print(f"{machine['processor']}, torch {torch.__version__}, {native.description()}")
    if options.draws:
        draws(options)
    elif options.training:
        training(options)
    elif options.scaling:
        for name in options.networks:
            scaling(name, options)
    else:
        for name in options.networks:
            evaluation(name, options)


if __name__ == "__main__":
    main()
