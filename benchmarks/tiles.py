"""Time a chip through tiles and converters against the plain loop: the same chips, one CPU thread.

    python benchmarks/tiles.py                            # LeNet, 1,000 images, settings that matter
    python benchmarks/tiles.py --network vgg8 --width 0.0625 --images 256
    python benchmarks/tiles.py --periphery isaac "adc_bits=6,rows=64"

Each setting's forward of a few chips is alternated with the plain loop's; the fastest of several rounds counts. Times
are of the processor, so that neighbours on the machine weigh less. What `attach` takes (calibration on 500 images) and
what programming a chip takes is printed beside.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import replace

import torch

import nvlib
from nvlib import Crossbar, circuits

SETTINGS = (
    "default", "subtract=digital", "rows=64", "serial_bits=1", "serial_bits=1,subtract=digital", "isaac", "sonos",
    "input_bits=none,adc_bits=none,wire_column=1.56,on_resistance=6000",
    "input_bits=none,adc_bits=none,wire_column=1.56,wire_row=4.69,on_resistance=6000",
)  # fmt: skip


def spent(run: Callable[[], object]) -> float:
    """Return processor seconds of one call."""
    began = time.process_time()
    run()
    return time.process_time() - began


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="lenet")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--chips", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--periphery", nargs="*", default=SETTINGS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = nvlib.load(args.dataset)
    x = data.test.x[: args.images]
    model = nvlib.build(args.network, width=args.width, classes=data.classes, in_channels=data.shape[0], seed=0).eval()
    plain = Crossbar("rram", 0.1)
    chips = nvlib.program(model, plain, index=range(args.chips))
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}; {args.network} at width "
          f"{args.width:g}, {args.images} images, {args.chips} chips\n")  # fmt: skip
    print("| periphery | ms a chip | times the plain loop | attach, s | program, ms a chip |\n|---|---|---|---|---|")

    def loop(module: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
        with torch.inference_mode():
            for part in x.split(250):
                nvlib.forward(module, weights, part, how="loop")

    for text in args.periphery:
        began = time.process_time()
        on = circuits.attach(model, replace(plain, periphery=text), data.train.x)
        attached = time.process_time() - began
        one = min(spent(lambda on=on: on.program(range(1))) for _ in range(2))
        held = on.program(range(args.chips))
        pairs = [(spent(lambda: loop(model, chips)), spent(lambda on=on, held=held: loop(on.module, held)))
                 for _ in range(args.rounds)]  # fmt: skip
        base, through = (1000 * min(times) / args.chips for times in zip(*pairs, strict=True))
        print(f"| `{text}` | {through:.1f} | {through / base:.1f} | {attached:.2f} | {1000 * one:.0f} |", flush=True)


if __name__ == "__main__":
    main()
