"""doctor, devices, data, app: what this machine has, what devices and data sets there are, and the dashboard."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys

from nvlib import devices
from nvlib.commands.parser import Parser
from nvlib.errors import InputError
from nvlib.store import project_root


def add(command: object) -> None:
    """Add the commands."""
    command("doctor", _doctor, "say what is installed and found, and check that the numbers come out right",
            "  python -m nvlib doctor && echo all is well")  # fmt: skip
    sub: Parser = command(
        "devices", _devices, "show devices with their numbers and sources",
        "  python -m nvlib devices\n  python -m nvlib devices fefet1 mine.toml",
    )  # fmt: skip
    sub.add_argument("names", nargs="*", help="names, or paths of .toml or .csv device files (default: all)")
    sub = command(
        "data", _data, "show data sets, or load (and with --download fetch) some",
        "  python -m nvlib data\n  python -m nvlib data cifar10 --download\n  python -m nvlib data photos/",
    )  # fmt: skip
    sub.add_argument("names", nargs="*", help="data sets, or paths of image folders")
    sub.add_argument("--download", action="store_true", help="fetch what is not there, with an integrity check")
    command("app", _app, "start the dashboard, on this machine only (needs a checkout)", "  python -m nvlib app")


def _doctor(_: argparse.Namespace) -> int:
    from nvlib import doctor

    return doctor.main()


def _devices(options: argparse.Namespace) -> int:
    for name in options.names or devices.names():
        device = devices.get(name)
        size = "x sigma_d" if device.relative else device.unit
        print(f"{device.name}: {device.bits} bits a cell")
        print(f"    levels     {', '.join(f'{g:g}' for g in device.levels)} {device.unit}")
        print(f"    deviation  {', '.join(f'{d:.4g}' for d in device.deviation)} {size}")
        print(f"    source     {device.source}\n    validity   {device.validity}")
    return 0


def _data(options: argparse.Namespace) -> int:
    from nvlib import data

    for name in options.names:
        loaded = data.load(name, download=options.download)
        parts = ", ".join(f"{len(getattr(loaded, part))} {part}" for part in ("train", "validation", "test"))
        classes = f"{loaded.classes} classes, guessing scores {loaded.chance:.3g} %"
        print(f"{loaded.name}: {parts}; {classes}; fingerprint {loaded.fingerprint[:12]}")
    if not options.names:
        for name, status in data.available().items():
            print(f"{name:<16} {status}")
    return 0


def _app(_: argparse.Namespace) -> int:
    root = project_root()
    if root is None or not (root / "app" / "main.py").is_file():
        raise InputError(
            "the dashboard is not part of the installed package; start it from a clone of the project: make app"
        )
    if importlib.util.find_spec("streamlit") is None:
        raise InputError("streamlit is not installed; pip install -e '.[app]' (or make setup)")
    return subprocess.run([sys.executable, "-m", "streamlit", "run", "app/main.py"], cwd=root).returncode
