"""doctor, devices, data, app, completion: what there is on this machine, and the dashboard."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import Annotated, Any, cast

from cyclopts import Parameter

from nvlib.commands.options import Dataset, Device, Flag
from nvlib.errors import InputError, unknown

Files = Annotated[tuple[str, ...], Parameter(consume_multiple=False, metavar="FILE", show_default=False)]
SHELLS = ("bash", "zsh", "fish")


def doctor() -> int:
    """Say what is installed and found, and check that the numbers come out right.

    Examples:
        python -m nvlib doctor && echo all is well
    """
    from nvlib import doctor

    return doctor.main()


def devices(*names: Device) -> int:
    """Show devices with their numbers and sources.

    Examples:
        python -m nvlib devices
        python -m nvlib devices fefet1 mine.toml

    Args:
        names: names, or paths of .toml or .csv device files (default: all).
    """
    from nvlib import devices

    for name in names or devices.names():
        device = devices.get(name)
        size = "x sigma_d" if device.relative else device.unit
        print(f"{device.name}: {device.bits} bits a cell")
        print(f"    levels     {', '.join(f'{g:g}' for g in device.levels)} {device.unit}")
        print(f"    deviation  {', '.join(f'{d:.4g}' for d in device.deviation)} {size}")
        print(f"    source     {device.source}\n    validity   {device.validity}")
    return 0


def data(*names: Dataset, download: Flag = False) -> int:
    """Show data sets, or load (and with --download fetch) some.

    Examples:
        python -m nvlib data
        python -m nvlib data cifar10 --download
        python -m nvlib data photos/

    Args:
        names: data sets, or paths of image folders.
        download: fetch what is not there, with an integrity check.
    """
    from nvlib import data

    for name in names:
        loaded = data.load(name, download=download)
        parts = ", ".join(f"{len(getattr(loaded, part))} {part}" for part in ("train", "validation", "test"))
        classes = f"{loaded.classes} classes, guessing scores {loaded.chance:.3g} %"
        print(f"{loaded.name}: {parts}; {classes}; fingerprint {loaded.fingerprint[:12]}")
    if not names:
        for name, status in data.available().items():
            print(f"{name:<16} {status}")
    return 0


def app(*, plugin: Files = (), network: Files = ()) -> int:
    """Start the dashboard, on this machine only (needs a checkout).

    Examples:
        python -m nvlib app
        python -m nvlib app --plugin mine.py --network mine.py:small

    Args:
        plugin: a file that registers methods or networks of your own; may be given again.
        network: a network of your own, FILE.py:FUNCTION; may be given again.
    """
    from nvlib.store import project_root

    root = project_root()
    if root is None or not (root / "app" / "main.py").is_file():
        raise InputError(
            "the dashboard is not part of the installed package; start it from a clone of the project: make app"
        )
    if importlib.util.find_spec("streamlit") is None:
        raise InputError("streamlit is not installed; pip install -e '.[app]' (or make setup)")
    for file in (*plugin, *network):  # else a server starts whose every page says so
        path = file.partition(".py:")[0] + (".py" if ".py:" in file else "")
        if not (path.endswith(".py") and os.path.isfile(path)):
            raise InputError(f"{file!r} is not there; expected the path of a Python file, e.g. mine.py, or "
                             "mine.py:small")  # fmt: skip
    files = [word for file in (*plugin, *network) for word in ("--plugin", os.path.abspath(file))]
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py", *(["--", *files] if files else [])]
    return subprocess.run(command, cwd=root).returncode


def completion(shell: str, /) -> int:
    """Print a script that completes the command nvlib in a shell.

    Examples:
        python -m nvlib completion bash > ~/.local/share/bash-completion/completions/nvlib
        python -m nvlib completion zsh > ~/.zfunc/_nvlib          (a folder of your $fpath)
        python -m nvlib completion fish > ~/.config/fish/completions/nvlib.fish

    Args:
        shell: bash, zsh or fish.
    """
    from nvlib import commands

    if shell not in SHELLS:
        raise unknown("shell", shell, SHELLS)
    print(commands.root().generate_completion(shell=cast(Any, shell)))
    return 0
