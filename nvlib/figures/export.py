"""Still pictures: a figure's JSON is drawn by plotly.js in a browser that nobody sees, through kaleido.

Nothing is fetched: plotly.js is the installed package's, and MathJax, which no figure needs, is left out.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from nvlib.errors import InputError, unknown

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
KINDS = ("png", "svg")
PATIENCE = 30  # seconds; a picture takes two, and a browser now and then never answers its first message
TRIES = 3


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
        InputError: for another kind, or where kaleido or a browser (``BROWSER_PATH``) is missing or does not answer.
    """
    if kind not in KINDS:
        raise unknown("kind of picture", kind, KINDS)
    if missing := lacking():
        raise InputError(missing)
    browser = os.environ.get("BROWSER_PATH") or next(filter(None, map(shutil.which, _BROWSERS)))
    options = {"format": kind, "width": width, "height": fig.layout.height or 480}
    options |= {"scale": scale} if kind == "png" else {}
    for _ in range(TRIES):
        try:
            with ThreadPoolExecutor(1) as thread:  # a loop of its own: a notebook's is running
                return thread.submit(asyncio.run, _drawn(fig.to_dict(), options, browser)).result()
        except TimeoutError:
            continue
    slow = f"{browser} did not answer within {PATIENCE} s, {TRIES} times"
    raise InputError(f"{slow}; point BROWSER_PATH at another Chrome")


async def _drawn(fig: dict[str, Any], options: dict[str, Any], browser: str) -> bytes:
    import kaleido

    offline = {"path": browser, "page_generator": kaleido.PageGenerator(mathjax=False)}
    return await asyncio.wait_for(kaleido.calc_fig(fig, opts=options, kopts=offline), PATIENCE)


def to_png(fig: go.Figure, path: str | Path, width: int = 900, scale: float = 2) -> Path:
    """Write a figure as PNG and return the path.

    Raises:
        InputError: kaleido or a browser is missing.
    """
    Path(path).write_bytes(picture(fig, "png", width, scale))
    return Path(path)
