"""Time what befalls a chip against its programming: the same chips with an effect and without, one CPU thread.

    python benchmarks/effects.py                          # LeNet, 50 chips, each effect on a device of its own
    python benchmarks/effects.py --effects pcm "drift:time=3600" sonos read

Chips are programmed as `nvlib.program` does, alternately; the fastest of several rounds counts, in time of the
processor, so that neighbours on the machine weigh less. The mark: five times the programming.
"""

from __future__ import annotations

import argparse
import platform
import time

import torch

import nvlib
from nvlib import Crossbar, effects

CASES = (
    ("rram", "common:die=0.2,row=0.2,field=0.2"), ("rram_wan2022", "retention:time=86400"),
    ("sonos", "retention:time=86400"), ("rram", "stuck:chen2015"), ("pcm", "drift:time=86400"),
    ("rram", "drift:time=86400,law=hermes"), ("pcm", "read:time=86400"), ("sonos", "read"),
    ("rram", "read:relative=0.01"), ("pcm", "limits"), ("pcm", "stuck:chen2015 + drift:time=86400 + read"),
)  # fmt: skip


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="lenet")
    parser.add_argument("--chips", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--effects", nargs="*", help="a device, then what befalls it, in turns")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = nvlib.build(args.network, seed=0).eval()
    cases = zip(args.effects[::2], args.effects[1::2], strict=True) if args.effects else CASES

    def spent(crossbar: Crossbar) -> float:
        began = time.process_time()
        nvlib.program(model, crossbar, index=range(args.chips))
        return 1000 * (time.process_time() - began) / args.chips

    machine = platform.processor() or platform.machine()
    print(f"{machine}, torch {torch.__version__}; {args.network}, {args.chips} chips\n")
    print("| device | effects | programmed, ms a chip | with them | times |\n|---|---|---|---|---|")
    for device, text in cases:
        plain = Crossbar(device, 0.1 if device == "rram" else None)
        aged = Crossbar(device, plain.sigma_d, effects=effects.chain(text))
        spent(aged)
        pairs = [(spent(plain), spent(aged)) for _ in range(args.rounds)]
        base, found = map(min, zip(*pairs, strict=True))
        print(f"| {device} | `{text}` | {base:.2f} | {found:.2f} | {found / base:.1f} |", flush=True)


if __name__ == "__main__":
    main()
