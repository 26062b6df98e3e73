"""The same LeNet in nvlib, IBM's aihwkit and aihwkit-lightning: seconds a chip, seconds an epoch of noise injection.

The peers live in an environment of their own, made where ``--where`` says by ``python -m venv`` and pip; a process
there runs theirs, this one ours, turn by turn on the same threads, so that what else runs here meets all alike. Seconds
are the least of the rounds, of CPU time of all threads and of wall time.

    a chip      program all weights once with the deviations of a device, then label 10,000 MNIST images: converters and
                wires perfect, activations not quantised. aihwkit: `TorchInferenceRPUConfig` with ``forward.is_perfect``
                and `PCMLikeNoiseModel`, weights programmed and drifted by 0 s; best of batches of 250, 1,000, 5,000.
                aihwkit-lightning programs no chips: its weights get fresh noise a batch (``enable_during_test``).
                nvlib: `monte_carlo` on several chips, by its plan for many
    an epoch    all weights strayed anew for every batch by a Gaussian of 0.1 of the largest weight, 55,000 images in
                batches of 128, Adam (aihwkit: `AnalogAdam`, lightning: `AnalogOptimizer`; nvlib: generated code, as
                a training of this length has where there is a compiler); on some batches, scaled

    python benchmarks/peers.py
    python benchmarks/peers.py --rounds 5 --threads 2 --where /tmp/peers
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PACKAGES = ("torch==2.13.0", "aihwkit==1.1.0", "aihwkit-lightning==2.1.0")  # binary wheels that go together
BATCH, TRAINING, STRAY = 128, 55_000, 0.1


# -- their side: runs in their environment, which has no nvlib ---------------------------------------------------------


def lenet(torch):
    """TRICE's LeNet as plain layers; pooling before ReLU, as ours."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(6, 16, 3, padding=1), nn.MaxPool2d(2),
        nn.ReLU(), nn.Flatten(), nn.Linear(784, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def aihwkit(torch, model):
    """An analog twin, how to program it, and its optimiser."""
    from aihwkit.inference import PCMLikeNoiseModel
    from aihwkit.nn.conversion import convert_to_analog
    from aihwkit.optim import AnalogAdam
    from aihwkit.simulator.configs import TorchInferenceRPUConfig, WeightModifierParameter, WeightModifierType

    config = TorchInferenceRPUConfig()
    config.forward.is_perfect, config.drift_compensation = True, None
    config.noise_model = PCMLikeNoiseModel(g_max=25.0)
    kind = WeightModifierType.ADD_NORMAL
    config.modifier = WeightModifierParameter(type=kind, std_dev=STRAY, rel_to_actual_wmax=True)
    analog = convert_to_analog(model, config)
    optimiser = AnalogAdam(analog.parameters(), lr=1e-3)
    optimiser.regroup_param_groups(analog)

    def program():
        analog.program_analog_weights()
        analog.drift_analog_weights(0.0)

    return analog, program, optimiser


def lightning(torch, model):
    """The same of aihwkit-lightning."""
    from aihwkit_lightning.nn.conversion import convert_to_analog
    from aihwkit_lightning.optim import AnalogOptimizer
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig, WeightModifierType

    config = TorchInferenceRPUConfig()
    config.modifier.type, config.modifier.std_dev = WeightModifierType.ADD_NORMAL, STRAY
    config.modifier.enable_during_test = True
    analog = convert_to_analog(model, config)
    optimiser = AnalogOptimizer(torch.optim.Adam, analog.analog_layers, analog.parameters(), lr=1e-3)
    return analog, lambda: None, optimiser


def serve(folder, threads):
    """Answer, a line each: {"kit", "what", ...} -> {"cpu", "wall", ...}."""
    import copy
    import warnings

    import numpy as np
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    held = np.load(Path(folder) / "lenet.npz")
    plain = lenet(torch)
    plain.load_state_dict({name: torch.from_numpy(held[f"w{i}"]) for i, name in enumerate(plain.state_dict())})
    x, y, train, labels = (torch.from_numpy(held[name]) for name in ("x", "y", "train", "labels"))
    kits = {kit.__name__: kit(torch, copy.deepcopy(plain)) for kit in (aihwkit, lightning)}
    with torch.no_grad():
        clean = float((plain(x).argmax(-1) == y).double().mean())
    print(json.dumps({"clean": 100 * clean, "torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        analog, program, optimiser = kits[asked["kit"]]
        accuracy = None
        wall, cpu = time.perf_counter(), time.process_time()
        if asked["what"] == "chip":
            analog.eval()
            with torch.no_grad():
                program()
                found = torch.cat([analog(part).argmax(-1) for part in x.split(asked["batch"])])
            accuracy = 100 * float((found == y).double().mean())
        else:
            analog.train()
            for start in range(0, asked["batches"] * BATCH, BATCH):
                optimiser.zero_grad()
                out = analog(train[start : start + BATCH])
                torch.nn.functional.cross_entropy(out, labels[start : start + BATCH]).backward()
                optimiser.step()
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "accuracy": accuracy}
        if asked["what"] == "epoch":  # the next chip is of the weights that were given
            kits[asked["kit"]] = globals()[asked["kit"]](torch, copy.deepcopy(plain))
        print(json.dumps(spent), flush=True)


# -- our side ----------------------------------------------------------------------------------------------------------


def made(where):
    """The python of their environment, made if need be."""
    python = where / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    ready = where / "ready.json"
    if not ready.exists() or json.loads(ready.read_text()) != list(PACKAGES):
        subprocess.run([sys.executable, "-m", "venv", "--clear", where], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
        ready.write_text(json.dumps(PACKAGES))
    return python


def ask(process, **what):
    """Send a line, read the answer."""
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()
    return answer(process)


def answer(process):
    """The next line that is an answer; packages print other things."""
    for line in process.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise SystemExit("the peers' process ended; see what it said above")


def main():
    """Read the options, measure, and print a table as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--where", type=Path, default=Path.home() / ".cache" / "nvlib-peers", help="their environment")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, default=60, help="of an epoch, which is scaled")
    parser.add_argument("--chips", type=int, default=8, help="of a call of ours")
    options = parser.parse_args()
    python = made(options.where)

    import numpy as np
    import torch

    import nvlib
    from nvlib import data, models, population, store
    from nvlib.data import Split

    torch.set_num_threads(options.threads)
    mnist = data.load("mnist")
    start = models.build("lenet", activation_bits=0, bits=8, seed=0)
    recipe = nvlib.Recipe(batch_size=BATCH)
    size = options.batches * BATCH
    few = Split(mnist.train.x[:size], mnist.train.y[:size])
    small = data.Dataset(**{**vars(mnist), "train": few, "validation": Split(mnist.validation.x[:64],
                                                                              mnist.validation.y[:64])})  # fmt: skip
    *_, last = nvlib.train("gaussian", start, small, "rram", STRAY, epochs=2, recipe=recipe, validation_chips=1)
    model = last.model()
    plan = population.plan(model, mnist.test.x, 1000)

    def chip():
        nvlib.monte_carlo(model, mnist.test, "rram", STRAY, chips=options.chips, plan=plan, mapping="signed")

    def epoch():
        steps = nvlib.train("gaussian", start, small, "rram", STRAY, mapping="signed", epochs=1, recipe=recipe,
                            validation_chips=1, how="native")  # fmt: skip
        return next(iter(steps)).seconds

    with tempfile.TemporaryDirectory() as folder:
        weights = {f"w{i}": w.numpy() for i, w in enumerate(p.detach() for p in model.parameters())}
        np.savez(Path(folder) / "lenet.npz", x=mnist.test.x.numpy(), y=mnist.test.y.numpy(), train=few.x.numpy(),
                 labels=few.y.numpy(), **weights)  # fmt: skip
        process = subprocess.Popen(
            [python, __file__, "--serve", folder, str(options.threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        theirs = answer(process)
        with torch.no_grad():
            clean = 100 * float((model(mnist.test.x).argmax(-1) == mnist.test.y).double().mean())
        assert abs(clean - theirs["clean"]) < 0.05, (clean, theirs["clean"])  # it is the same network
        found = {}

        def keep(name, what, cpu, wall):
            found.setdefault((name, what), []).append((cpu, wall))

        for turn in range(options.rounds + 1):
            for what, scale in (("chip", 1), ("epoch", TRAINING / size)):
                for kit in ("aihwkit", "lightning"):
                    for batch in (250, 1000, 5000) if what == "chip" else (None,):
                        spent = ask(process, kit=kit, what=what, batch=batch, batches=options.batches)
                        if turn:  # the first warms up
                            keep(kit, what, scale * spent["cpu"], scale * spent["wall"])
                wall, cpu = time.perf_counter(), time.process_time()
                (chip if what == "chip" else epoch)()
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                each = scale / (options.chips if what == "chip" else 1)
                if turn:
                    keep("nvlib", what, each * cpu, each * wall)
        process.stdin.close()
        process.wait()
    environment = store.environment()
    print(f"{environment['written'][:10]}, {environment['processor']}, {options.threads} thread(s); torch "
          f"{torch.__version__} here, {theirs['torch']} there; {', '.join(PACKAGES[1:])}\n")  # fmt: skip
    print("| | CPU s | wall s | x nvlib (CPU) |\n|---|--:|--:|--:|")
    for what, said in (("chip", "a chip, 10,000 images"), ("epoch", "an epoch of noise injection")):
        ours = min(found["nvlib", what])[0]
        for name in ("nvlib", "aihwkit", "lightning"):
            cpu, wall = min(found[name, what])
            print(f"| {said}: {name} | {cpu:.3f} | {wall:.3f} | {cpu / ours:.1f} |")
    print(f"\nours by plan {plan.how}; clean accuracy {clean:.2f} % in all")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        main()
