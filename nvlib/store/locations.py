"""Where results lie: this machine's runs, and what ships with the project."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGED = Path(__file__).resolve().parents[1] / "_data" / "results"  # in a wheel: setup.py puts them there


def project_root() -> Path | None:
    """Return the checkout that the package lies in; None where it is installed without one."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() else None


def local_runs() -> Path:
    """Return where this machine's runs lie: $NVLIB_RUNS, else runs/ of the checkout, else ./runs."""
    return Path(os.environ.get("NVLIB_RUNS") or (project_root() or Path()) / "runs")


def shipped_results() -> Path | None:
    """Return the folder of shipped results: $NVLIB_RESULTS, else of the checkout, else the small ones of the package.

    None if there is none.
    """
    root = project_root()
    path = Path(os.environ.get("NVLIB_RESULTS") or (root / "results" if root else PACKAGED))
    return path if path.is_dir() else None
