"""Still pictures: a figure's JSON is drawn by plotly.js in a browser that nobody sees, through kaleido.

Nothing is fetched: plotly.js is the installed package's, and MathJax, which no figure needs, is left out.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import plotly.graph_objects as go

from nvlib.errors import InputError, unknown

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
KINDS = ("png", "svg")


def lacking() -> str:
    """Return what is missing to draw pictures, and what to do; nothing if all is there."""
    asked = os.environ.get("BROWSER_PATH")
    browser = asked or next(filter(None, map(shutil.which, _BROWSERS)), None)
    if not browser or not Path(browser).is_file():
        here = f"BROWSER_PATH is {asked!r}"
        return f"no browser to draw with ({here}); install Chromium, or point BROWSER_PATH at a Chrome"
    if importlib.util.find_spec("kaleido") is None:
        return "kaleido is not installed; pip install 'nvlib[export]'"
    return ""


def picture(fig: go.Figure, kind: str = "png", width: int = 900, scale: float = 2) -> bytes:
    """Return a figure as PNG (``scale`` pixels a unit of length) or SVG; needs kaleido and a Chrome or Chromium.

    Raises:
        InputError: for another kind, or where kaleido or a browser (``BROWSER_PATH``) is missing.
    """
    if kind not in KINDS:
        raise unknown("kind of picture", kind, KINDS)
    if missing := lacking():
        raise InputError(missing)
    import kaleido

    browser = os.environ.get("BROWSER_PATH") or next(filter(None, map(shutil.which, _BROWSERS)))
    options = {"format": kind, "width": width, "height": fig.layout.height or 480}
    options |= {"scale": scale} if kind == "png" else {}
    offline = kaleido.PageGenerator(mathjax=False)
    return kaleido.calc_fig_sync(fig.to_dict(), opts=options, kopts={"path": browser, "page_generator": offline})


def to_png(fig: go.Figure, path: str | Path, width: int = 900, scale: float = 2) -> Path:
    """Write a figure as PNG and return the path.

    Raises:
        InputError: kaleido or a browser is missing.
    """
    Path(path).write_bytes(picture(fig, "png", width, scale))
    return Path(path)
