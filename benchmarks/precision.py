"""What bfloat16 and compiled layers are worth in training and in scoring chips of VGG-8 and ResNet-18.

All ways take turns, round by round, in one process; seconds are the best of the rounds, of wall and of CPU time (all
threads). A training is `nvlib.train` with Gaussian injection and the network's published recipe, an epoch of which is
said for 50,000 images; beside it plain PyTorch in channels last without noise or quantised weights. Chips are those of
the network trained here for some epochs, all on the same images: seconds a chip of 10,000 images, programming included,
the way that `nvlib.population.plan` chooses in float32 against bfloat16, how far mean accuracies are apart, and the
share of labels that differ.

    python benchmarks/precision.py                                      a quarter of the width, one thread
    python benchmarks/precision.py --width 0.125 --networks vgg8 --chips 10
"""

import argparse
import copy
import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import nvlib
from nvlib import data, models, native, population, store
from nvlib.data import Split
from nvlib.methods import loop
from nvlib.native import layers
from nvlib.population import _channels_last

EPOCH, IMAGES = 50_000, 10_000  # training images, test images


@dataclass
class Times:
    """Wall and CPU seconds of rounds."""

    name: str
    wall: list = field(default_factory=list)
    cpu: list = field(default_factory=list)

    def take(self, run):
        """Time a call and keep it."""
        wall, cpu = time.perf_counter(), time.process_time()
        out = run()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        return out


class Stamps:
    """A clock that remembers the CPU's time when it is asked for the wall's."""

    def __init__(self):
        self.cpu = []

    def perf_counter(self):
        """The wall's time."""
        self.cpu.append(time.process_time())
        return time.perf_counter()


def first(split, images):
    """The first images of a split."""
    return Split(split.x[:images], split.y[:images])


def plain(model, split, recipe, precision):
    """An epoch of PyTorch's own loop, channels last."""
    optimiser = recipe.build(list(model.parameters()))
    for start in range(0, len(split) // recipe.batch_size * recipe.batch_size, recipe.batch_size):
        x, y = (part[start : start + recipe.batch_size] for part in (split.x, split.y))
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            out = model(_channels_last(x))
        cross_entropy(out.float(), y).backward()
        optimiser.step()


def training(name, width, loaded, batches, rounds):
    """The table of a network's training; returns a trained network."""
    channels = loaded.shape[0]
    recipe = replace(nvlib.methods.preset(name, 3), augment="crop-flip")
    few = replace(loaded, train=first(loaded.train, batches * recipe.batch_size),
                  validation=first(loaded.validation, 64))  # fmt: skip
    scale = EPOCH / len(few.train)
    start = models.build(name, width=width, in_channels=channels, seed=0)
    ways = [(label, precision, fast) for precision in ("float32", "bf16") for label, fast in
            (("plain PyTorch, no noise", None), ("PyTorch's layers", False), ("compiled layers", True))]  # fmt: skip
    found = {way: Times(f"{way[0]}, {way[1]}") for way in ways}
    there = layers.available
    for turn in range(rounds + 1):
        for way in ways:
            _, precision, fast = way
            if fast is None:
                model = copy.deepcopy(start).train()
                spent = found[way]
                spent.take(lambda m=model, p=precision: plain(m, few.train, recipe, p))
            else:
                layers.available = there if fast else lambda: False
                stamps = Stamps()
                loop.time = stamps  # that it reads the CPU's clock where it reads the wall's: around an epoch's steps
                (epoch,) = nvlib.train("gaussian", copy.deepcopy(start), few, "rram", 0.1, mapping="signed", epochs=1,
                                       recipe=recipe, validation_chips=1, precision=precision, how="loop")  # fmt: skip
                found[way].wall.append(epoch.seconds)
                found[way].cpu.append(stamps.cpu[-1] - stamps.cpu[-2])
                layers.available, loop.time = there, time
            if turn == 0:  # compiles, fills caches
                found[way].wall.clear(), found[way].cpu.clear()
    print(f"\n### {name}, width {width:g}: training, batch {recipe.batch_size}, {batches} batches of {loaded.name}\n")
    print("| way | s an epoch of 50,000 | CPU s | x float32 (CPU) |\n|---|--:|--:|--:|")
    for way in ways:
        base = found[way[0], "float32", way[2]]
        times = found[way]
        print(f"| {times.name} | {scale * min(times.wall):.1f} | {scale * min(times.cpu):.1f} | "
              f"{min(base.cpu) / min(times.cpu):.2f} |")  # fmt: skip
    return start, recipe


def chips(name, width, start, recipe, loaded, options):
    """The table of a network's chips."""
    few = replace(loaded, train=first(loaded.train, options.train_images),
                  validation=first(loaded.validation, 256))  # fmt: skip
    *_, last = nvlib.train("gaussian", start, few, "rram", options.sigma_d, mapping="signed", epochs=options.epochs,
                           recipe=recipe, validation_chips=1, precision=options.trained_in)  # fmt: skip
    model, test = last.model(), first(loaded.test, options.images)
    best = population.plan(model, test.x, 100)
    plans = {"float32": best, "bf16": population.in_precision(best, "bf16")}
    times, samples = {word: Times(word) for word in plans}, {}
    each = max(1, options.chips // options.rounds)
    for turn in range(options.rounds + 1):
        for word, plan in plans.items():
            at, count = (0, 1) if turn == 0 else ((turn - 1) * each, each)
            found = times[word].take(lambda p=plan, f=at, n=count: nvlib.monte_carlo(
                model, test, "rram", options.sigma_d, chips=n, first=f, plan=p, mapping="signed"))  # fmt: skip
            if turn == 0:
                times[word].wall.clear(), times[word].cpu.clear()
            else:
                samples.setdefault(word, []).append(found.accuracy)
    scale = IMAGES / len(test) / each
    count = each * options.rounds
    print(f"\n### {name}, width {width:g}: {count} chips on {len(test):,} images, {best.how} in float32\n")
    print("| precision | s a chip of 10,000 | CPU s | x float32 (CPU) | mean accuracy |\n|---|--:|--:|--:|--:|")
    for word in plans:
        ratio = min(times["float32"].cpu) / min(times[word].cpu)
        print(f"| {word} | {scale * min(times[word].wall):.2f} | {scale * min(times[word].cpu):.2f} | {ratio:.2f} | "
              f"{np.concatenate(samples[word]).mean():.3f} |")  # fmt: skip
    off = np.concatenate(samples["bf16"]) - np.concatenate(samples["float32"])
    met = nvlib.rounding.rounding(model, test, plans["bf16"], "rram", options.sigma_d, mapping="signed")
    print(f"\nbf16 is {off.mean():+.4f} points off float32 in the mean of all chips, {np.abs(off).max():.3f} at most; "
          f"{met.changed:.3f} % of labels differ")  # fmt: skip


def main():
    """Read the options and print what they ask for, as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--networks", nargs="+", default=["vgg8", "resnet18"])
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--dataset", default="cifar10", help="MNIST at 32 x 32 where it is not there")
    parser.add_argument("--batches", type=int, default=8, help="of a timed epoch")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--chips", type=int, default=8)
    parser.add_argument("--images", type=int, default=1000, help="that chips are scored on")
    parser.add_argument("--train-images", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=2, help="of training before chips are scored")
    parser.add_argument("--trained-in", default="bf16", help="precision of that")
    parser.add_argument("--sigma-d", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    there = not data.available().get(options.dataset, "not found").startswith("not found")
    loaded = data.load(options.dataset) if there else data.resize(data.load("mnist", limit=8000), 32)
    print(f"{store.environment()['processor']}, torch {torch.__version__}, {native.description()}, "
          f"{options.threads} thread(s)")  # fmt: skip
    for name in options.networks:
        start, recipe = training(name, options.width, loaded, options.batches, options.rounds)
        chips(name, options.width, start, recipe, loaded, options)


if __name__ == "__main__":
    main()
