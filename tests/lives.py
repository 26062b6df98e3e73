"""Every effect in every use, and what comes of it: read by test_lives, and written to docs/effects.md.

    python tests/lives.py            every effect x every use, as a table, to docs/effects.md
"""

import inspect
import sys
import warnings
from dataclasses import MISSING, fields, replace
from pathlib import Path

import numpy as np
import torch

import nvlib
from nvlib import Crossbar, InputError, data, deploy, devices, effects, hardware, taylor
from nvlib.crossbar import readings
from nvlib.data import Dataset, Split
from nvlib.effects import CommonVariation, Drift, Limits, ReadNoise, Retention, StuckCells

PAGE = Path(__file__).parents[1] / "docs" / "effects.md"
USES = ("evaluate", "train", "deploy", "taylor", "hardware")
EFFECTS = {  # one of each kind, on a device that has its numbers
    CommonVariation(die=0.2, row=0.2, field=0.2): "rram", Retention(86400.0): "rram_wan2022",
    StuckCells(0.0904, 0.0175): "rram", Drift(86400.0): "pcm", ReadNoise(86400.0, images=20): "pcm", Limits(): "pcm",
}  # fmt: skip


def crossbar(effect):
    """Chips that one effect befalls."""
    device = devices.get(EFFECTS[effect])
    return Crossbar(device, 0.1 if device.relative else 1.0, effects=effect)


def setting():
    """A small network and a few images."""
    model, found = nvlib.build("lenet3", seed=0).eval(), data.load("mnist", limit=50)
    few = [Split(s.x[:50], s.y[:50]) for s in (found.train, found.validation, found.test)]
    return model, Dataset("mnist", 10, *few, "0" * 64, "tests/lives.py")


def outcome(effect, use):
    """Use chips that an effect befell in one way: what came of it, in words; AssertionError where it is wrong."""
    model, few = setting()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return USE[use](effect, model, few)
        except InputError as error:
            assert "\n" not in str(error) and "knows programming alone" in str(error), error
            return "refused"


def _evaluate(effect, model, few):
    aged = crossbar(effect)
    found = nvlib.monte_carlo(model, few, aged, chips=2)
    read, right, at_once = readings(model, aged, seed=0, index=range(2)), torch.zeros(2), aged.images_a_read or 50
    for start in range(0, 50, at_once):
        with torch.no_grad():
            outs = nvlib.forward(model, next(read), few.test.x[start : start + at_once], how="loop")
        right += (outs.argmax(-1) == few.test.y[start : start + at_once]).sum(1)
    assert np.array_equal(found.accuracy, 2 * right.double().numpy())
    plain = nvlib.monte_carlo(model, few, replace(aged, effects=()), chips=2)
    assert not np.array_equal(found.loss, plain.loss)
    return "yes"


def _train(effect, model, few):
    ends = []
    for conditions in (crossbar(effect), replace(crossbar(effect), effects=())):
        *_, last = nvlib.train("gaussian", model, few, conditions, epochs=1, how="loop", validation_chips=1,
                               recipe=nvlib.Recipe("sgd", lr=0.01, batch_size=25))  # fmt: skip
        assert np.isfinite(last.loss).all()
        ends.append(last.weights())
    assert any(not torch.equal(w, ends[1][name]) for name, w in ends[0].items())
    return "yes"


def _deploy(effect, model, few):
    known = []
    for name in deploy.DEPLOYMENTS:
        try:
            (block,) = deploy.get(name).apply(model, few, crossbar(effect), index=range(2))
        except InputError as error:
            assert "\n" not in str(error) and f"deployment by {name} knows programming alone" in str(error), error
            continue
        aged = nvlib.program(model, crossbar(effect), index=range(2))
        with torch.no_grad():
            outs = nvlib.forward(model, aged, few.test.x, how="loop")
        by_hand = 100 * (outs.argmax(-1) == few.test.y).double().mean(1).numpy()
        assert abs(block.before - by_hand).max() < 1e-9  # one reading
        known.append(name)
    return f"{', '.join(known)}; others refused" if known else "refused"


def _taylor(effect, model, few):
    taylor.point(model, crossbar(effect))
    return "yes"


def _hardware(effect, model, few):
    aged = crossbar(effect)
    plain = hardware.programming(model, (1, 28, 28), crossbar=replace(aged, effects=()))
    assert hardware.programming(model, (1, 28, 28), crossbar=aged).equals(plain)
    return "unaffected"


USE = {"evaluate": _evaluate, "train": _train, "deploy": _deploy, "taylor": _taylor, "hardware": _hardware}

INTRODUCTION = """# What befalls a chip

After programming, cells are stuck, drift, and are read with noise. `Crossbar(effects=(...))` says what befalls them and
in which order; without effects every number is what it was. An effect acts on conductances, on the cells of the same
chip that `nvlib.program` draws: chip 7 of seed 0 after an hour and after a day is chip 7 of seed 0.

```python
import nvlib

model, mnist = nvlib.build("lenet", seed=0).eval(), nvlib.load("mnist", limit=200)
crossbar = nvlib.Crossbar("pcm", None, effects=("stuck:chen2015", "drift:time=86400", "read"))
table = nvlib.stages(model, mnist, crossbar, chips=4)  # where the accuracy went, the same chips at every stage
figure = nvlib.figures.waterfall(table)
```

Written by `python tests/lives.py`, a test holds it to what happens.
"""
NOTES = """
*yes*: scores are those of the chips by hand, reading by reading; training injects chips that it befell (its mean
included), with the gradient passed straight through. *refused*: in one line. *unaffected*: what writing costs is the
same, whatever befalls the cells later. Deployments that write cells again, or train around them, would have to say what
befalls what they write, and refuse; those that know an effect meet one reading of the chip, before and after.

What it costs: a LeNet chip (106,000 weights, 4 cells each) takes 2.2 ms of CPU as programmed, 2.3 to 3.9 times as long
with one effect, 6.3 times with three, on a busy machine (`benchmarks/effects.py`).
"""


def page():
    """The whole page."""
    lines = [INTRODUCTION, "## The effects", "", "| effect | numbers, at their defaults | law |", "|---|---|---|"]
    for name, kind in effects.KINDS.items():
        default = [f"`{f.name}`" if f.default is MISSING else f"`{f.name}={f.default}`" for f in fields(kind)]
        law = inspect.getdoc(sys.modules[kind.__module__]).splitlines()[0]
        lines.append(f"| `{name}` | {', '.join(default)} | {law} |")
    lines += ["", "Presets of stuck cells:", ""]
    lines += [f"- `stuck:{key}`: high resistance {100 * h:g} %, low {100 * low:g} %. {source}."
              for key, (h, low, source) in effects.PRESETS.items()]  # fmt: skip
    has = {key: ", ".join(n for n in devices.names() if (d := devices.get(n).effects) and getattr(d, key))
           for key in ("drift", "read_noise", "retention")}  # fmt: skip
    lines += ["", f"Devices with numbers of their own: drift {has['drift']}; read noise {has['read_noise']}; retention "
              f"{has['retention']}. By name for any device: drift {', '.join(devices.DRIFT)}; read noise "
              f"{', '.join(devices.READ_NOISE)}. A device of your own: in its file (`nvlib.devices.laws`).", "",
              "## Which use knows which", ""]  # fmt: skip
    lines += [f"| effect | {' | '.join(USES)} |", f"|---|{'---|' * len(USES)}"]
    for effect in EFFECTS:
        lines.append(f"| {effect.name} | {' | '.join(outcome(effect, use) for use in USES)} |")
    return "\n".join(lines) + "\n" + NOTES


if __name__ == "__main__":
    torch.set_num_threads(1)
    PAGE.write_text(page())
