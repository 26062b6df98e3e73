"""Time training steps of small networks on one CPU thread: generated code, the loop, plain PyTorch, and the limit.

    python benchmarks/training.py                       # the LeNets with every kind of method
    python benchmarks/training.py --networks lenet --methods gaussian --batches 100 --rounds 5

Whole epochs of `nvlib.train`, without validation, alternated between the ways; the fastest of several rounds counts.
The *limit* is three times the multiply-adds of all forwards, and of what a method adds, at the rate of `torch.mm`;
*plain* PyTorch's own loop over the same network without noise and quantisers, channels last, fused Adam. Times are of
the processor, so that neighbours on the machine weigh less; ratios are of one run.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

import nvlib
from nvlib import models, native
from nvlib.data import Split

FORWARDS = {"gaussian": 1, "ovf": 4, "irs": 1, "trice": 3, "correctnet": 1}
BATCH = 128


def rate(size: int = 2048, seconds: float = 0.5) -> float:
    """Multiply-adds a second of `torch.mm`, the best of some."""
    a, best, began = torch.randn(size, size), float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.process_time()
        a @ a
        best = min(best, time.process_time() - start)
    return size**3 / best


def multiply_adds(model: torch.nn.Module, x: torch.Tensor) -> float:
    """Multiply-adds of one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x[:1])
    return counter.get_total_flops() / 2


def epochs(method: str, network: str, data: nvlib.data.Dataset, how: str):
    """Yield processor seconds of one epoch after another."""
    records = nvlib.train(method, network, data, "rram", 0.2, epochs=1000, how=how, validation_chips=0)
    while True:
        began = time.process_time()
        next(records)
        yield time.process_time() - began


def plain(network: str, data: nvlib.data.Dataset):
    """Likewise of PyTorch's own loop."""
    model = models.build(network, activation_bits=0).train().to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    x, y = data.train.x.to(memory_format=torch.channels_last), data.train.y
    while True:
        began = time.process_time()
        order = torch.randperm(len(y))
        for start in range(0, len(y) - BATCH + 1, BATCH):
            take = order[start : start + BATCH]
            optimiser.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(model(x[take]), y[take]).backward()
            optimiser.step()
        yield time.process_time() - began


def extra(method: str, network: str, x: torch.Tensor) -> float:
    """Multiply-adds of one image that a method adds to the network's: IRS's classifiers, CorrectNet's W W^T."""
    if method == "correctnet":
        from nvlib.crossbar import array_weights, own_weights
        from nvlib.methods.correctnet import matrix

        model = models.build(network)
        sizes = [matrix(w[None]).shape for w in own_weights(model, array_weights(model)).values()]
        return sum(m * m * n for _, m, n in sizes) / BATCH
    if method != "irs":
        return 0.0
    from nvlib.methods.irs import Snapshots, blocks

    model = models.build(network)
    whole = Snapshots(model, blocks(model)[:-1], x[:1], 512).eval()
    return multiply_adds(whole, x) - multiply_adds(model.eval(), x)


def measured(network: str, method: str, options: argparse.Namespace, data: nvlib.data.Dataset) -> dict[str, float]:
    """Return the best seconds of each way, and the limit."""
    # `validation` is scored after each epoch: one image, next to nothing
    ways = {how: epochs(method, network, data, how) for how in ("native", "loop")} | {"plain": plain(network, data)}
    best, product = dict.fromkeys(ways, float("inf")), 0.0
    for way in ways.values():
        next(way)  # compiled, warm
    for _ in range(options.rounds):
        product = max(product, rate())
        for name, way in ways.items():
            best[name] = min(best[name], next(way))
    x = data.train.x
    work = FORWARDS[method] * multiply_adds(models.build(network).eval(), x) + extra(method, network, x)
    return best | {"limit": 3 * work * options.batches * BATCH / product, "rate": product}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--networks", nargs="+", default=["lenet", "lenet5", "lenet3"])
    parser.add_argument("--methods", nargs="+", default=list(FORWARDS), choices=FORWARDS)
    parser.add_argument("--batches", type=int, default=60, help="of 128 images, an epoch")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = nvlib.load("mnist", limit=options.batches * BATCH * 2)
    part = Split(data.train.x[: options.batches * BATCH], data.train.y[: options.batches * BATCH])
    data = dataclasses.replace(data, train=part, validation=Split(data.validation.x[:1], data.validation.y[:1]))
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {native.description()}\n")
    print("| network | method | forward-backwards | ms a step, generated | loop | plain | limit "
          "| generated over limit | plain over generated | loop over generated |")  # fmt: skip
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for network in options.networks:
        for method in options.methods:
            found, count = measured(network, method, options, data), FORWARDS[method]
            step = {name: 1e3 * seconds / options.batches for name, seconds in found.items() if name != "rate"}
            ours = step["native"]
            numbers = (ours, step["loop"], step["plain"], step["limit"], ours / step["limit"],
                       count * step["plain"] / ours, step["loop"] / ours)  # fmt: skip
            print(f"| {network} | {method} | {count} | {' | '.join(f'{n:.2f}' for n in numbers)} |", flush=True)


if __name__ == "__main__":
    main()
