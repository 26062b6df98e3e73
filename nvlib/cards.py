"""How a value shows itself in a notebook: a small table, with a picture of a few numbers. No dependency, no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 160, 36  # of a picture, in pixels


def card(title: str, rows: Mapping[str, object], picture: str = "") -> str:
    """Return a titled table of names and values as HTML; a picture (SVG) stands below it."""
    lines = "".join(
        f"<tr><th style='text-align:left;font-weight:normal;opacity:.7'>{escape(str(name))}</th>"
        f"<td style='text-align:left'>{escape(str(value))}</td></tr>"
        for name, value in rows.items()
    )
    return f"<div><b>{escape(title)}</b><table style='margin:.3em 0'>{lines}</table>{picture}</div>"


def bars(heights: Sequence[float], label: str) -> str:
    """Return bars side by side as SVG; ``label`` is read out in their place."""
    top, step = max(heights, default=0) or 1, WIDTH / max(1, len(heights))
    drawn = "".join(
        f"<rect x='{i * step:.1f}' y='{HEIGHT * (1 - h / top):.1f}' width='{0.9 * step:.1f}' "
        f"height='{HEIGHT * h / top:.1f}'/>"
        for i, h in enumerate(heights)
    )
    return (f"<svg width='{WIDTH}' height='{HEIGHT}' role='img' aria-label='{escape(label, quote=True)}' "
            f"fill='#0072B2'>{drawn}</svg>")  # fmt: skip
