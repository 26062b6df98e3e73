"""What is installed and found on this machine, and a ten-second check that the numbers come out right."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from importlib import metadata

from nvlib import provenance, store

EXTRAS = {
    "core": ("torch", "numpy", "scipy", "pandas", "pyarrow", "safetensors", "tqdm", "cyclopts", "rich"),
    "data": ("torchvision",),
    "app": ("streamlit", "plotly"),
    "notebooks": ("jupyterlab", "ipywidgets", "anywidget", "papermill", "nbconvert"),
    "cluster": ("submitit",),
    "export": ("kaleido",),
    "dev": ("pytest", "nbval", "ruff", "playwright"),
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CLUSTER = ("sbatch", "srun", "squeue")


def report() -> Iterator[tuple[str, str, bool]]:
    """Yield (what, finding, whether it is there) for packages, machine, data and tools."""
    yield "python", platform.python_version(), True
    for extra, packages in EXTRAS.items():
        for package in packages:
            found = importlib.util.find_spec(package) is not None
            hint = "missing" if extra == "core" else f"missing; pip install -e '.[{extra}]'"
            yield f"{extra}: {package}", metadata.version(package) if found else hint, found
    yield "cpu", f"{os.cpu_count()} cores, {provenance.processor()}", True
    if importlib.util.find_spec("torch"):
        import torch

        from nvlib import data, native

        cuda = torch.cuda.is_available()
        found = native.description()
        yield "compiler", found, not found.startswith("there is no")
        yield "cuda", torch.cuda.get_device_name() if cuda else "none; everything runs on the CPU", cuda
        for name, status in data.available().items():
            yield f"data: {name}", status, not status.startswith("not found")
    browser = os.environ.get("BROWSER_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)
    yield "browser", browser or "none; only picture export and browser tests need one (chromium)", bool(browser)
    cluster = [tool for tool in CLUSTER if shutil.which(tool)]
    yield "cluster", *_cluster(cluster)
    root = store.project_root()
    yield "checkout", str(root or "none; the dashboard and the notebooks start from a clone of the project"), bool(root)
    runs, shipped = store.local_runs(), store.shipped_results()
    yield "runs", f"{runs} ({len(list(runs.glob('*/record.json'))) if runs.is_dir() else 0} here)", True
    yield "shipped results", str(shipped or "none"), shipped is not None


def _cluster(tools: Sequence[str]) -> tuple[str, bool]:
    """Return what there is of SLURM, and whether a cluster answers."""
    if not tools:
        return "no SLURM on this machine", False
    try:
        answers = not subprocess.run(["squeue", "--noheader", "--me"], capture_output=True, timeout=5).returncode
    except (OSError, subprocess.TimeoutExpired):
        answers = False
    return ", ".join(tools) + ("" if answers else "; no cluster answers (squeue)"), answers


def self_check() -> Iterator[tuple[str, bool, float]]:
    """Yield (what was checked, whether it held, seconds): random numbers, chips, engine, data."""
    import torch

    from nvlib import data, evaluate, models, philox, population
    from nvlib.crossbar import program

    began = time.perf_counter()

    def timed(what: str, held: bool) -> tuple[str, bool, float]:
        nonlocal began
        spent, began = time.perf_counter() - began, time.perf_counter()
        return what, held, spent

    words = philox.words((0xA4093822, 0x299F31D0), [torch.tensor([c]) for c in _COUNTER])
    yield timed("random numbers equal Philox4x32-10's published vector", [int(w) for w in words] == _ANSWER)
    model = models.build("lenet", seed=0).eval()
    many, alone = program(model, "rram", 0.1, index=range(4)), program(model, "rram", 0.1, index=3)
    yield timed("a chip is the same alone and among others", all(torch.equal(many[k][3], alone[k]) for k in alone))
    mnist = data.load("mnist", limit=200)
    yield timed("MNIST is whole (MD5 of its four files)", len(mnist.test) == 200)
    with torch.no_grad():
        outs = {how: population.forward(model, many, mnist.test.x, how=how) for how in population.WAYS}
    for how in population.WAYS[1:]:
        yield timed(f"loop and {how} agree", torch.allclose(outs["loop"], outs[how], atol=1e-4))
    samples = evaluate.monte_carlo(model, mnist, "rram", 0.0, chips=2)
    yield timed("chips without variation are alike", samples.accuracy[0] == samples.accuracy[1])


_COUNTER = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
_ANSWER = [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def main() -> int:
    """Print the report and the self-check; 0 if the core is there and the check held, else 1."""
    sound = True
    for what, finding, there in report():
        print(f"  {'ok ' if there else '-- '} {what:<24} {finding}")
        sound &= there or not what.startswith("core")
    if not sound:
        print("core packages are missing; run: pip install -e .   (or make setup)")
        return 1
    print("self-check")
    for what, held, seconds in self_check():
        print(f"  {'ok ' if held else 'BAD'} {what} ({seconds:.1f} s)")
        sound &= held
    return 0 if sound else 1
