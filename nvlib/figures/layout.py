"""What all figures share: the template, the words around a figure, and the room they take.

Colours of text, paper and grid live in the template alone, so that a dark page can replace them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

from nvlib import devices
from nvlib.catalogue import plain, span
from nvlib.figures.names import SPARE, name
from nvlib.image_sets import parted
from nvlib.summary import ONE_OF, cell, values

_FAINT = "rgba(127,127,127,0.22)"  # visible on white and on black
FRAME = "rgba(127,127,127,0.60)"
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Source Sans Pro, Inter, Segoe UI, Helvetica, Arial, sans-serif", "size": 13},
        "title": {
            "x": 0,
            "xref": "paper",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 16},
            "font": {"size": 18},
            "subtitle": {"font": {"size": 12.5}},
        },
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "colorway": SPARE,
        "margin": {"l": 70, "r": 24, "t": 110, "b": 60},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"},
        "hoverlabel": {"namelength": -1},
        "hovermode": "closest",
        "xaxis": {
            "gridcolor": _FAINT,
            "linecolor": FRAME,
            "showline": True,
            "zeroline": False,
            "ticks": "outside",
            "tickcolor": FRAME,
            "automargin": True,
            "title": {"standoff": 12},
        },
        "yaxis": {"gridcolor": _FAINT, "zeroline": False, "automargin": True, "title": {"standoff": 12}},
    }
)
pio.templates["nvlib"] = TEMPLATE


def finish(fig: go.Figure, title: str, subtitle: str, height: int = 480) -> go.Figure:
    """Set template, title and height; leave room for as many lines of subtitle and legend as there are."""
    entries = len({t.legendgroup or t.name for t in fig.data if t.showlegend is not False and t.name})
    return fig.update_layout(
        template="nvlib",
        title={"text": title, "subtitle": {"text": subtitle}},
        height=height,
        margin={"t": 70 + 18 * (1 + subtitle.count("<br>")), "b": 60 + 22 * math.ceil(entries / 5)},
    )


def detach_title(fig: go.Figure) -> tuple[str, str]:
    """Take title and subtitle off a figure and return them as Markdown, for a page to set and wrap."""
    title, subtitle = fig.layout.title.text or "", fig.layout.title.subtitle.text or ""
    fig.update_layout(title={"text": "", "subtitle": {"text": ""}}, margin={"t": 24})
    written = [re.sub(r"σ<sub>(\w)</sub>", r"$\\sigma_\1$", text.replace("<br>", " · ")) for text in (title, subtitle)]
    return written[0], written[1]


def fill(colour: str, opacity: float) -> str:
    """Return a colour ``#rrggbb`` as a transparent one."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


# -- axes ------------------------------------------------------------------------------------------------------------


def sigma_title(df: pd.DataFrame) -> str:
    """Return the axis title of sigma_d, with what it is relative to."""
    relative = _relative(df)
    if relative is False:
        return "device variation, as a multiple of the measured deviation"
    references = values(df, "reference") if relative else []
    return "device variation σ<sub>d</sub>" + (f" (relative to {name(references[0])})" if references else "")


def _relative(df: pd.DataFrame) -> bool | None:
    """Whether sigma_d is a fraction, not a factor on what was measured; None of several kinds, or where unknown."""
    held = values(df, "device")
    if any(values(df, "device_numbers")) or not set(held) <= set(devices.names()):
        return None
    kinds = {devices.get(device).relative for device in held} or {True}
    return kinds.pop() if len(kinds) == 1 else None


def sigma_axis(fig: go.Figure, df: pd.DataFrame) -> None:
    """Put ticks where there are values, unless they would crowd."""
    sigmas = values(df, "sigma_d")
    ticks = {"tickvals": sigmas, "ticktext": [f"{s:g}" for s in sigmas]} if len(sigmas) <= 12 else {}
    fig.update_xaxes(title=sigma_title(df), **ticks)


# -- subtitles -------------------------------------------------------------------------------------------------------


def describe(df: pd.DataFrame, *notes: str) -> str:
    """Return the subtitle of a figure of chips: what the data are and how many, then the notes."""
    held = {column: values(df, column) for column in ONE_OF if column in df}
    first = {column: found[0] for column, found in held.items() if len(found) == 1}
    parts = [" on ".join(name(first[c]) for c in ("network", "dataset") if c in first)]
    arrays = f"{first['mapping']} arrays" if "mapping" in first else ""
    parts.append(", ".join(filter(None, [name(first.get("device", "")), arrays])))
    if len(sigmas := values(df, "sigma_d")) == 1:
        relative = _relative(df)
        of = f" of {name(first['reference'])}" if "reference" in first and relative else ""
        what = "measured deviation ×" if relative is False else "σ<sub>d</sub> ="
        parts.append(f"{what} {sigmas[0]:g}{of}")
    if "bits" in first:
        activations = first.get("activation_bits", 0)
        parts.append(f"{first['bits']}-bit weights" + (f", {activations}-bit activations" if activations else ""))
    parts += [_protocol(df), _counts(df)]
    if "images" in first:
        parts.append(f"{first['images']:,} test images")
    classes = parted(first.get("dataset", ""))[1]
    parts.append(f"guessing scores {100 / classes:.3g} %" if classes else "")
    differs = "the legend says what differs" if any(plain(m)[1] for m in df["method"].unique()) else ""
    return wrap([*parts, differs, *notes])


def _protocol(df: pd.DataFrame) -> str:
    """Say at which sigma_d the models with noise were trained."""
    noisy = df[~df["method"].isin([m for m in df["method"].unique() if plain(m)[0] == "none"])]
    if "train_sigma_d" not in df or noisy.empty:
        return ""
    if (noisy["train_sigma_d"] == noisy["sigma_d"]).all():
        return "matched: trained at the σ<sub>d</sub> of the test"
    return f"swept: trained at σ<sub>d</sub> = {', '.join(f'{t:g}' for t in values(noisy, 'train_sigma_d'))}"


def _counts(df: pd.DataFrame) -> str:
    """Return e.g. ``400 chips × 3 trainings of 10 epochs``; one chip without variation says nothing about n."""
    noisy = df[df["sigma_d"] > 0] if (df["sigma_d"] > 0).any() else df
    text = span(noisy.groupby(cell(df), observed=True).size().tolist(), "chip")
    if "train_seed" in df:
        seeds = noisy.groupby(["method", "sigma_d"], observed=True)["train_seed"].nunique()
        text += f" × {span(seeds.tolist(), 'training')}"
        text += f" of {span(values(df, 'epochs'), 'epoch')}" if "epochs" in df else ""
    return text


def wrap(parts: Sequence[str], width: int = 110) -> str:
    """Return the parts that are not empty, in lines of at most about ``width`` characters."""
    lines: list[str] = []
    for part in filter(None, parts):
        if lines and len(re.sub("<[^>]*>", "", lines[-1] + part)) + 3 <= width:  # tags take no room
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return "<br>".join(lines)
