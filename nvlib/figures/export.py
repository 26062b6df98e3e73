"""Still pictures: a figure's JSON is drawn by plotly.js in a browser that nobody sees, through kaleido."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import plotly.graph_objects as go

from nvlib.errors import InputError

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def to_png(fig: go.Figure, path: str | Path, width: int = 900, scale: float = 2) -> Path:
    """Write a figure as PNG and return the path; needs kaleido and a Chrome or Chromium (``BROWSER_PATH``).

    Raises:
        InputError: kaleido or a browser is missing.
    """
    browser = os.environ.get("BROWSER_PATH") or next(filter(None, map(shutil.which, _BROWSERS)), None)
    if not browser or not Path(browser).is_file():
        raise InputError(
            f"no browser to draw with (BROWSER_PATH is {os.environ.get('BROWSER_PATH')!r}); install "
            "Chromium, or point BROWSER_PATH at a Chrome"
        )
    try:
        import kaleido
    except ImportError:
        raise InputError("kaleido is not installed; pip install 'nvlib[export]'") from None
    options = {"format": "png", "width": width, "height": fig.layout.height or 480, "scale": scale}
    Path(path).write_bytes(kaleido.calc_fig_sync(fig.to_dict(), opts=options, kopts={"path": browser}))
    return Path(path)
