"""Tidy DataFrame in, plotly figure out: every decision about how a result looks is made here.

A tidy frame has one row per chip (columns: see `nvlib.store.results`). The columns method, sigma_d and accuracy
suffice; what else is there goes into the subtitle. Three rules hold for every figure:

* A method keeps its colour (Okabe-Ito, safe for colour-blind readers), dash and marker everywhere.
* A percentile of several trainings is the mean of the percentiles of each; its interval is the mean of theirs.
  It speaks of the chips, for these trainings; how trainings differ is seen in the faint dots.
* Where there are too few chips for an interval (`nvlib.statistics.needed`), no line or band is drawn.

Colours of text, paper and grid live in the template alone, so that a dark page can replace them.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.subplots import make_subplots

from nvlib import statistics
from nvlib.errors import InputError
from nvlib.statistics import Estimate

if TYPE_CHECKING:
    from nvlib.devices import Device

# -- style -----------------------------------------------------------------------------------------

BLUE, SKY, GREEN, ORANGE = "#0072B2", "#56B4E9", "#009E73", "#E69F00"
VERMILLION, PURPLE, GREY = "#D55E00", "#CC79A7", "#7F7F7F"


@dataclass(frozen=True)
class Style:
    """How one method looks in every figure."""

    label: str
    colour: str
    dash: str
    marker: str


STYLES = {
    "none": Style("w/o noise", GREY, "solid", "circle"),
    "gaussian": Style("Gauss", BLUE, "solid", "square"),
    "correctnet": Style("CorrectNet", PURPLE, "dash", "diamond"),
    "rc": Style("RC", ORANGE, "dash", "triangle-up"),
    "rc_manual": Style("RC-Manual", ORANGE, "dot", "pentagon"),
    "lc": Style("LC", SKY, "dash", "triangle-down"),
    "rt": Style("RT", GREEN, "dashdot", "triangle-right"),
    "lt": Style("LT", PURPLE, "dashdot", "triangle-left"),
    "trice": Style("TRICE", VERMILLION, "solid", "star"),
    "ovf": Style("OVF", GREEN, "solid", "hexagon"),
    "irs": Style("IRS", PURPLE, "solid", "cross"),
}
_SPARE = (BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE)  # for methods and levels without an entry above

_FAINT = "rgba(127,127,127,0.22)"  # visible on white and on black
_FRAME = "rgba(127,127,127,0.60)"
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
        "colorway": _SPARE,
        "margin": {"l": 70, "r": 24, "t": 110, "b": 60},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"},
        "hoverlabel": {"namelength": -1},
        "hovermode": "closest",
        "xaxis": {
            "gridcolor": _FAINT,
            "linecolor": _FRAME,
            "showline": True,
            "zeroline": False,
            "ticks": "outside",
            "tickcolor": _FRAME,
            "automargin": True,
            "title": {"standoff": 12},
        },
        "yaxis": {"gridcolor": _FAINT, "zeroline": False, "automargin": True, "title": {"standoff": 12}},
    }
)
pio.templates["nvlib"] = TEMPLATE


def style(method: str) -> Style:
    """Return the look of a method; an unlisted one (a user's own) gets its name and always the same colour."""
    spare = _SPARE[sum(method.encode()) % len(_SPARE)]
    return STYLES.get(method, Style(method, spare, "longdash", "x"))


def ordinal(k: float) -> str:
    """Return ``1st``, ``2nd``, ``0.5th``, ..."""
    last = {1: "st", 2: "nd", 3: "rd"}.get(k % 10 if k % 1 == 0 and k % 100 not in (11, 12, 13) else 0, "th")
    return f"{k:g}{last}"


# -- what a frame holds ----------------------------------------------------------------------------

_NAMES = {
    "lenet": "LeNet",
    "lenet5": "LeNet 5x5",
    "lenet3": "LeNet-3",
    "vgg8": "VGG-8",
    "vgg8_tsb": "VGG-8 (TSB)",
    "resnet18": "ResNet-18",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "cifar10-jpeg": "CIFAR-10 (JPEG)",
    "cifar100": "CIFAR-100",
    "tiny-imagenet": "Tiny ImageNet",
    "rram": "RRAM",
    "fefet1": "FeFET1",
    "fefet2": "FeFET2",
    "pcm": "PCM",
    "sonos": "SONOS",
    "rram_wan2022": "RRAM (Wan 2022)",
    "rram_wan2022_crosssim": "RRAM (Wan 2022, CrossSim's fit)",
    "rram_milo2021": "RRAM (Milo 2021)",
    "nft_rram4": "NFT's RRAM4",
    "nft_fefet2": "NFT's FeFET2",
    "nft_fefet6": "NFT's FeFET6",
    "full_scale": "full scale",
    "level": "one level",
}
# A curve that silently mixes these would show something that does not exist.
_ONE_OF = ("network", "dataset", "device", "reference", "mapping", "bits", "activation_bits", "images")


def name(key: str) -> str:
    """Return a name as it is written for readers: ``lenet`` -> ``LeNet``."""
    return _NAMES.get(key, str(key))


def _checked(df: pd.DataFrame, one_sigma: bool = False) -> pd.DataFrame:
    """Return the frame if it can be drawn as one figure."""
    if missing := {"method", "sigma_d", "accuracy"} - set(df.columns):
        raise InputError(f"the table lacks {', '.join(sorted(missing))}; expected the columns of nvlib.store.results")
    if df.empty:
        raise InputError("no chip matches the selection; widen it, or compute it with: python -m nvlib study")
    if not np.isfinite(df["accuracy"].to_numpy(float)).all():
        raise InputError("accuracy holds values that are not finite; expected percentages")
    for column in (*_ONE_OF, *(("sigma_d",) if one_sigma else ())):
        if len(values := _values(df, column)) > 1:
            listed = ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
            raise InputError(f"the selection mixes {column} {listed}; choose one")
    for method, part in df.groupby("method", observed=True):
        trained = _values(part, "train_sigma_d")
        if len(trained) > 1 and not (part["train_sigma_d"] == part["sigma_d"]).all():
            listed = ", ".join(f"{t:g}" for t in trained)
            raise InputError(
                f"the selection mixes models of {method} trained at sigma_d {listed}; choose one, "
                "or those with protocol 'matched'"
            )
    if "training" in df:
        seeds = ["method", "sigma_d", *(["train_seed"] if "train_seed" in df else [])]
        if (df.groupby(seeds, observed=True)["training"].nunique() > 1).any():
            raise InputError("the selection mixes different trainings of one seed; choose one by epochs or training")
    return df


def _values(df: pd.DataFrame, column: str) -> list:
    return sorted(df[column].unique().tolist()) if column in df else []


def _by_method(df: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (method, rows), known methods first and in their order."""
    order, held = list(STYLES), df["method"].unique()
    for method in sorted(held, key=lambda m: (order.index(m) if m in order else len(order), m)):
        yield method, df[df["method"] == method]


def _by_seed(df: pd.DataFrame) -> list[np.ndarray]:
    """Return the accuracies of each training seed."""
    if "train_seed" not in df:
        return [df["accuracy"].to_numpy(float)]
    return [part["accuracy"].to_numpy(float) for _, part in df.groupby("train_seed", observed=True)]


def _kpp(accuracy: np.ndarray, k: float, sigma_d: float) -> Estimate:
    if sigma_d == 0:  # every chip is the same one: nothing to estimate
        value = float(np.sort(accuracy)[statistics.index(k, len(accuracy))])
        return Estimate(value, value, value, len(accuracy))
    return statistics.kpp(accuracy, k)


def _mean(accuracy: np.ndarray, sigma_d: float) -> Estimate:
    if sigma_d == 0:
        value = float(accuracy.mean())
        return Estimate(value, value, value, len(accuracy))
    return statistics.mean(accuracy)


def _pool(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean over trainings of value and limits; no limits if one training has none."""
    low, high = [e.low for e in estimates], [e.high for e in estimates]
    return Estimate(
        float(np.mean([e.value for e in estimates])),
        None if None in low else float(np.mean(low)),
        None if None in high else float(np.mean(high)),
        sum(e.n for e in estimates),
        next((e.note for e in estimates if e.low is None), ""),
    )


def results_table(df: pd.DataFrame, k: float = 1) -> pd.DataFrame:
    """Return one row per method and sigma_d: mean, KPP, their 95 % intervals, worst chip, EKL, n, seeds, note.

    With several training seeds, mean and KPP (with their limits) are averages over the seeds, ``kpp_seed_min`` and
    ``kpp_seed_max`` the extremes; ``n`` counts all chips. Limits are NaN where there are too few chips.

    Raises:
        InputError: an empty selection, or one that mixes what cannot stand in one row.
    """
    df = _checked(df)
    rows = []
    for method, part in _by_method(df):
        for sigma_d, chips in part.groupby("sigma_d"):
            seeds = _by_seed(chips)
            kpps = [_kpp(a, k, sigma_d) for a in seeds]
            mean, kpp = _pool([_mean(a, sigma_d) for a in seeds]), _pool(kpps)
            rows.append(
                {
                    "method": method,
                    "sigma_d": float(sigma_d),
                    "mean": mean.value,
                    "mean_low": mean.low,
                    "mean_high": mean.high,
                    "k": k,
                    "kpp": kpp.value,
                    "kpp_low": kpp.low,
                    "kpp_high": kpp.high,
                    "kpp_seed_min": min(e.value for e in kpps),
                    "kpp_seed_max": max(e.value for e in kpps),
                    "worst": float(chips["accuracy"].min()),
                    "ekl": float(chips["ekl"].mean()) if "ekl" in chips else math.nan,
                    "n": len(chips),
                    "seeds": len(seeds),
                    "epochs": _span(_values(chips, "epochs")) if "epochs" in chips else "",
                    "note": kpp.note,
                }
            )
    table = pd.DataFrame(rows)
    limits = ["mean_low", "mean_high", "kpp_low", "kpp_high"]
    return table.astype(dict.fromkeys(limits, float))


# -- words -----------------------------------------------------------------------------------------


def sigma_title(df: pd.DataFrame) -> str:
    """Return the axis title of sigma_d, with what it is relative to."""
    from nvlib import devices

    held = _values(df, "device")
    if held and held[0] in devices.names() and not devices.get(held[0]).relative:
        return "device variation, as a multiple of the measured deviation"
    references = _values(df, "reference")
    relative = f" (relative to {name(references[0])})" if references else ""
    return f"device variation σ<sub>d</sub>{relative}"


def _span(values: Sequence[float], unit: str = "") -> str:
    """Return ``10 epochs`` or ``10-30 epochs``."""
    low, high = min(values), max(values)
    text = f"{low:,}" if low == high else f"{low:,}-{high:,}"
    return f"{text} {unit}{'' if text == '1' else 's'}" if unit else text


def _protocol(df: pd.DataFrame) -> str:
    noisy = df[df["method"] != "none"]
    if "train_sigma_d" not in df or noisy.empty:
        return ""
    if (noisy["train_sigma_d"] == noisy["sigma_d"]).all():
        return "matched: trained at the σ<sub>d</sub> of the test"
    return f"swept: trained at σ<sub>d</sub> = {', '.join(f'{t:g}' for t in _values(noisy, 'train_sigma_d'))}"


def _subtitle(df: pd.DataFrame, *notes: str, width: int = 110) -> str:
    """Return what the data are and how many, broken into lines of at most about ``width`` characters."""
    first = {column: _values(df, column)[0] for column in _ONE_OF if column in df}
    parts = [" on ".join(name(first[c]) for c in ("network", "dataset") if c in first)]
    arrays = f"{first['mapping']} arrays" if "mapping" in first else ""
    parts.append(", ".join(filter(None, [name(first.get("device", "")), arrays])))
    if len(sigmas := _values(df, "sigma_d")) == 1:
        relative = f" of {name(first['reference'])}" if "reference" in first else ""
        parts.append(f"σ<sub>d</sub> = {sigmas[0]:g}{relative}")
    if "bits" in first:
        activations = first.get("activation_bits", 0)
        parts.append(f"{first['bits']}-bit weights" + (f", {activations}-bit activations" if activations else ""))
    parts.append(_protocol(df))
    noisy = df[df["sigma_d"] > 0] if (df["sigma_d"] > 0).any() else df
    cell = ["method", "sigma_d", *(["train_seed"] if "train_seed" in df else [])]
    parts.append(_span(noisy.groupby(cell, observed=True).size().tolist(), "chip"))
    if seeds := len(_values(df, "train_seed")):
        parts[-1] += f" × {seeds} training{'' if seeds == 1 else 's'}"
        parts[-1] += f" of {_span(_values(df, 'epochs'), 'epoch')}" if "epochs" in df else ""
    if "images" in first:
        parts.append(f"{first['images']:,} test images")
    return _wrap([*parts, *notes], width)


def _wrap(parts: Sequence[str], width: int = 110) -> str:
    lines: list[str] = []
    for part in filter(None, parts):
        if lines and len(re.sub("<[^>]*>", "", lines[-1] + part)) + 3 <= width:  # tags take no room
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return "<br>".join(lines)


def _finish(fig: go.Figure, title: str, subtitle: str, height: int = 480) -> go.Figure:
    """Set template, title and height; leave room for as many lines of subtitle and legend as there are."""
    entries = len({t.legendgroup or t.name for t in fig.data if t.showlegend is not False and t.name})
    fig.update_layout(
        template="nvlib",
        title={"text": title, "subtitle": {"text": subtitle}},
        height=height,
        margin={"t": 70 + 18 * (1 + subtitle.count("<br>")), "b": 60 + 22 * math.ceil(entries / 5)},
    )
    return fig


def _fill(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def detach_title(fig: go.Figure) -> tuple[str, str]:
    """Take title and subtitle off a figure and return them as Markdown, for a page to set and wrap."""
    title, subtitle = fig.layout.title.text or "", fig.layout.title.subtitle.text or ""
    fig.update_layout(title={"text": "", "subtitle": {"text": ""}}, margin={"t": 24})
    return title, re.sub(r"σ<sub>(\w)</sub>", r"$\\sigma_\1$", subtitle.replace("<br>", " · "))


# -- figures ---------------------------------------------------------------------------------------


def accuracy_distribution(df: pd.DataFrame, k: float = 1) -> go.Figure:
    """Return the histogram of chip accuracies at one sigma_d, a row a method, with mean and KPP (trice-fig2).

    Args:
        df: tidy frame of one sigma_d.
        k: percentile of the line.

    Raises:
        InputError: an empty selection, several sigma_d, or a mixture that is no distribution.
    """
    df = _checked(df, one_sigma=True)
    table = results_table(df, k).set_index("method")
    groups = list(_by_method(df))
    edges = _edges(df["accuracy"].to_numpy(float))
    centres, step = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    heads = [_head(style(method), table.loc[method], k) for method, _ in groups]
    fig = make_subplots(
        rows=len(groups), cols=1, shared_xaxes=True, subplot_titles=heads, vertical_spacing=0.2 / len(groups)
    )
    for row, (method, chips) in enumerate(groups, start=1):
        look, line = style(method), table.loc[method]
        share = 100 * np.histogram(chips["accuracy"], edges)[0] / len(chips)
        roof = 1.08 * share.max()
        fig.add_bar(
            x=centres,
            y=share,
            width=step,
            name=look.label,
            showlegend=False,
            marker={"color": _fill(look.colour, 0.55), "line": {"width": 0}},
            hovertemplate=f"{look.label}<br>%{{x:.2f}} ± {step / 2:.2g} %<br>%{{y:.1f}} % of chips<extra></extra>",
            row=row,
            col=1,
        )
        lines = [(line["mean"], "dot")]
        if not math.isnan(line["kpp_low"]):  # too few chips: no line
            lines.append((line["kpp"], "solid"))
            fig.add_scatter(
                x=line[["kpp_low", "kpp_high", "kpp_high", "kpp_low"]],
                y=[0, 0, roof, roof],
                fill="toself",
                mode="none",
                fillcolor=_fill(look.colour, 0.2),
                showlegend=False,
                hoverinfo="skip",
                row=row,
                col=1,
            )
        for value, dash in lines:
            fig.add_scatter(
                x=[value, value],
                y=[0, roof],
                mode="lines",
                showlegend=False,
                hoverinfo="skip",
                line={"color": look.colour, "dash": dash, "width": 2},
                row=row,
                col=1,
            )
        fig.update_yaxes(title="chips (%)", range=[0, roof], nticks=4, row=row, col=1)
    fig.update_annotations(x=0, xanchor="left", font={"size": 13.5}, yshift=2)  # the heads
    fig.update_xaxes(range=[edges[0], edges[-1]])
    fig.update_xaxes(title="accuracy of a chip (%)", row=len(groups), col=1)
    fig.update_layout(bargap=0)
    notes = sorted(set(table["note"]) - {""})
    band = "shaded: 95 % interval over chips" if table["kpp_low"].notna().any() else ""
    subtitle = _subtitle(df, band, *notes)
    return _finish(fig, "Accuracy over programmed chips", subtitle, height=max(400, 170 + 165 * len(groups)))


def _head(look: Style, line: pd.Series, k: float) -> str:
    """Return the line of text above one method's histogram; its bars are the strokes of the lines below."""
    kpp = "" if math.isnan(line["kpp_low"]) else f"  ┃ {ordinal(k)} percentile <b>{line['kpp']:.2f} %</b>"
    return f"<span style='color:{look.colour}'>■</span> <b>{look.label}</b>{kpp}  ┊ mean {line['mean']:.2f} %"


def _edges(x: np.ndarray, bins: int = 60) -> np.ndarray:
    """Return bin edges at round numbers, common to all methods."""
    span = max(float(np.ptp(x)), 0.2)
    raw = span / bins
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= raw)
    first, last = math.floor(x.min() / step) - 1, math.ceil(x.max() / step) + 1
    return np.arange(first, min(last, math.ceil(100 / step)) + 1) * step


def percentile_curves(df: pd.DataFrame, k: float = 1) -> go.Figure:
    """Return the k-th percentile performance against sigma_d, with its interval (trice-table1, trice-fig5).

    A band is the 95 % interval; faint dots are the single trainings. Values with too few chips for an interval are
    drawn open and unconnected.

    Raises:
        InputError: an empty selection, or a mixture that is no curve.
    """
    df = _checked(df)
    table, fig, notes = results_table(df, k), go.Figure(), set()
    for method, part in _by_method(df):
        look, rows = style(method), table[table["method"] == method]
        sound = rows["kpp_low"].notna()
        held = rows[sound]
        if len(held) > 1:
            x, y = [*held["sigma_d"], *held["sigma_d"][::-1]], [*held["kpp_high"], *held["kpp_low"][::-1]]
            fig.add_scatter(
                x=x,
                y=y,
                fill="toself",
                mode="none",
                fillcolor=_fill(look.colour, 0.2),
                showlegend=False,
                legendgroup=method,
                hoverinfo="skip",
            )
        if rows["seeds"].max() > 1:
            dots = [(s, _kpp(a, k, s).value) for s, chips in part.groupby("sigma_d") for a in _by_seed(chips)]
            fig.add_scatter(
                x=[d[0] for d in dots],
                y=[d[1] for d in dots],
                mode="markers",
                showlegend=False,
                legendgroup=method,
                marker={"color": look.colour, "size": 4, "opacity": 0.5},
                hovertemplate=f"{look.label}, one training<br>%{{y:.2f}} %<extra></extra>",
            )
        limits = [
            f"[{low:.2f}, {high:.2f}]" if ok else "too few chips"
            for low, high, ok in zip(rows["kpp_low"], rows["kpp_high"], sound, strict=True)
        ]
        fig.add_scatter(
            x=rows["sigma_d"],
            y=rows["kpp"],
            name=look.label,
            legendgroup=method,
            mode="lines+markers" if sound.all() else "markers",
            line={"color": look.colour, "dash": look.dash, "width": 2.5},
            marker={"symbol": [look.marker if ok else f"{look.marker}-open" for ok in sound], "size": 9},
            customdata=np.column_stack([limits, rows["n"], rows["mean"].round(2)]),
            hovertemplate=f"<b>{look.label}</b> at σ<sub>d</sub> = %{{x:g}}<br>{ordinal(k)} percentile %{{y:.2f}} % "
            "%{customdata[0]}<br>mean %{customdata[2]} %, %{customdata[1]} chips<extra></extra>",
        )
        notes |= set(rows["note"]) - {""}
    _sigma_axis(fig, df)
    fig.update_yaxes(title=f"{ordinal(k)}-percentile accuracy (%)", rangemode="tozero")
    band = "band: 95 % interval over chips" if table["kpp_low"].notna().any() else ""
    dots = "dots: single trainings" if table["seeds"].max() > 1 else ""
    few = [f"open, unconnected: {note}" for note in sorted(notes)[:1]]
    return _finish(fig, f"Accuracy that all but {k:g} % of chips exceed", _subtitle(df, band, dots, *few))


def _sigma_axis(fig: go.Figure, df: pd.DataFrame) -> None:
    """Put ticks where there are values, unless they would crowd."""
    sigmas = _values(df, "sigma_d")
    ticks = {"tickvals": sigmas, "ticktext": [f"{s:g}" for s in sigmas]} if len(sigmas) <= 12 else {}
    fig.update_xaxes(title=sigma_title(df), **ticks)


FAN = (1, 5, 25, 50, 75, 95, 99)


def fan(df: pd.DataFrame, k: float = 1) -> go.Figure:
    """Return the percentiles 1 to 99 of one method against sigma_d as nested bands, the k-th as a line.

    Percentiles with too few chips for an interval are left out.

    Raises:
        InputError: an empty selection, several methods, or a mixture that is no curve.
    """
    df = _checked(df)
    if len(methods := _values(df, "method")) > 1:
        raise InputError(f"the selection mixes method {', '.join(methods)}; choose one for a fan")
    look, fig = style(methods[0]), go.Figure()
    curves = {q: results_table(df, q) for q in {*FAN, k}}
    for low, high, opacity in ((1, 99, 0.14), (5, 95, 0.2), (25, 75, 0.3)):
        lower, upper = curves[low], curves[high]
        if lower["kpp_low"].isna().any() or upper["kpp_low"].isna().any():
            continue
        fig.add_scatter(
            x=[*lower["sigma_d"], *upper["sigma_d"][::-1]],
            y=[*lower["kpp"], *upper["kpp"][::-1]],
            fill="toself",
            mode="none",
            fillcolor=_fill(look.colour, opacity),
            name=f"{ordinal(low)} to {ordinal(high)}",
            hoverinfo="skip",
        )
    for q, dash in ((50, "dot"), (k, "solid")):
        if curves[q]["kpp_low"].notna().all():
            fig.add_scatter(
                x=curves[q]["sigma_d"],
                y=curves[q]["kpp"],
                name="median" if q == 50 else f"{ordinal(q)} percentile",
                line={"color": look.colour, "dash": dash},
                mode="lines+markers",
                hovertemplate="σ<sub>d</sub> = %{x:g}: %{y:.2f} %<extra></extra>",
            )
    _sigma_axis(fig, df)
    fig.update_yaxes(title="accuracy of a chip (%)", rangemode="tozero")
    notes = sorted(set(curves[k]["note"]) - {""})
    return _finish(fig, f"Percentiles of chip accuracy, {look.label}", _subtitle(df, *notes[:1]))


def ecdf(df: pd.DataFrame, k: float = 1) -> go.Figure:
    """Return the share of chips at or below each accuracy, at one sigma_d, on a logarithmic scale for the tail.

    Raises:
        InputError: an empty selection, several sigma_d, or a mixture that is no distribution.
    """
    df, fig = _checked(df, one_sigma=True), go.Figure()
    statistics.needed(k)  # checks k
    for method, chips in _by_method(df):
        look, x = style(method), np.sort(chips["accuracy"].to_numpy(float))
        value, last = np.unique(x, return_index=False, return_counts=True)
        share = 100 * np.cumsum(last) / len(x)
        start = 100 / len(x) / 2  # a logarithmic axis has no 0: begin below the first step
        fig.add_scatter(
            x=[value[0], *value],
            y=[start, *share],
            name=look.label,
            mode="lines",
            line={"color": look.colour, "dash": look.dash, "width": 2.5, "shape": "hv"},
            hovertemplate=f"<b>{look.label}</b><br>%{{y:.3g}} % of chips reach at most %{{x:.2f}} %<extra></extra>",
        )
    fig.add_hline(y=k, line={"color": _FRAME, "dash": "dot", "width": 1.5})
    fig.add_annotation(
        x=1, xref="paper", y=math.log10(k), text=f"k = {k:g} %", showarrow=False, xanchor="left", xshift=6
    )
    low = math.log10(50 / df.groupby("method", observed=True).size().max())
    fig.update_yaxes(
        type="log",
        range=[min(low, math.log10(k) - 0.3), 2.05],
        dtick=1,
        ticksuffix=" %",
        title="chips at or below (%, log scale)",
    )
    fig.update_xaxes(title="accuracy of a chip (%)")
    fig = _finish(fig, "How many chips fall short", _subtitle(df, "all trainings together"))
    return fig.update_layout(margin={"r": 78})  # room for the label of k


def device_levels(device: str | Device, sigma_d: float | None = None, reference: str = "full_scale") -> go.Figure:
    """Return the distribution of the programmed conductance at each level of a device (trice-fig7).

    Args:
        device: name, record or path (`nvlib.devices.get`).
        sigma_d: device variation; for a device with measured deviations a factor on them.
        reference: what sigma_d is relative to, ``full_scale`` or ``level``.
    """
    from nvlib import devices

    device = devices.get(device)
    if sigma_d is None and not device.relative:
        sigma_d = 1.0
    values, spread = np.array(device.values), np.array(device.spread(sigma_d, reference))
    needle = spread <= spread.max() / 100  # too narrow to see beside the others: a stroke to the top
    peaks = 1 / (math.sqrt(2 * math.pi) * spread[~needle])
    roof = 1.15 * peaks.max(initial=1 if needle.all() else 0)
    reach = max(3.6 * spread.max(), 0.15)
    z, fig = np.linspace(-4, 4, 201), go.Figure()
    for level, (g, s, stroke) in enumerate(zip(values, spread, needle, strict=True)):
        colour, digits = _SPARE[level % len(_SPARE)], f"{level:0{device.bits}b}"
        density = np.array([0, roof / 1.12]) if stroke else np.exp(-(z**2) / 2) / (math.sqrt(2 * math.pi) * s)
        fig.add_scatter(
            x=[g, g] if stroke else g + z * s,
            y=density,
            mode="lines",
            fill="tozeroy",
            name=f"level {digits}",
            fillcolor=_fill(colour, 0.25),
            line={"color": colour, "width": 2},
            showlegend=False,
            hovertemplate=f"level {digits}: {g:.3g} ± {s:.3g} levels<extra></extra>",
        )
        if len(values) <= 8:
            fig.add_annotation(x=g, y=float(density.max()), text=f"<b>{digits}</b>", showarrow=False, yshift=12)
    unit = {"uS": "µS"}.get(device.unit, device.unit)
    text = [
        f"{v:.3g}" if device.relative else f"{v:.3g}<br>{g:,.4g} {unit}"
        for v, g in zip(values, device.levels, strict=True)
    ]
    every = math.ceil(len(text) / 8)
    fig.update_xaxes(
        title="programmed conductance (levels)"
        if device.relative
        else f"programmed conductance (levels; target in {unit})",
        tickvals=values[::every],
        range=[values[0] - reach, values[-1] + reach],
        ticktext=text[::every],
    )
    fig.update_yaxes(title="density (1 / level)", range=[0, roof])
    if device.relative:
        how = f"σ<sub>d</sub> = {sigma_d:g} (relative to {name(reference)})"
    else:
        how = f"measured deviation × {sigma_d:g}"
    return _finish(fig, f"Where the levels of {name(device.name)} end up", _wrap([how, *_sentence(device.source)]))


def _sentence(text: str, width: int = 90) -> list[str]:
    """Return a long text in pieces that fit a line."""
    import textwrap

    return textwrap.wrap(text, width)


def noise_laws(th: float = 2, sigma_t: float = 1) -> go.Figure:
    """Return the training-noise laws RC, LC, RT, LT beside the Gaussian they come from (trice-fig3).

    A censored law piles up mass at the threshold: drawn as the bar it would be in a histogram of bins 0.1 sigma_t wide.

    Args:
        th: threshold, in deviations, > 0.
        sigma_t: scale of the training noise, > 0.
    """
    from nvlib import noise

    if not (math.isfinite(sigma_t) and sigma_t > 0):
        raise InputError(f"sigma_t is {sigma_t!r}; expected a finite number > 0, e.g. 1")
    laws = {"rc": "right-censored", "lc": "left-censored", "rt": "right-truncated", "lt": "left-truncated"}
    titles = [f"<b>{key.upper()}</b>, {text}" for key, text in laws.items()]
    fig = make_subplots(
        rows=2,
        cols=2,
        subplot_titles=titles,
        shared_xaxes=True,
        shared_yaxes=True,
        vertical_spacing=0.13,
        horizontal_spacing=0.05,
    )
    z, gauss, bin_width = np.linspace(-4, 4, 801), noise.get("gaussian"), 0.1
    for place, key in enumerate(laws):
        where = {"row": place // 2 + 1, "col": place % 2 + 1}
        law, look = noise.get(key, th), style(key)
        fig.add_scatter(
            x=sigma_t * z,
            y=law.density(z) / sigma_t,
            mode="lines",
            fill="tozeroy",
            showlegend=False,
            line={"color": look.colour, "width": 2},
            fillcolor=_fill(look.colour, 0.3),
            hovertemplate="%{x:.2f}: %{y:.3f}<extra></extra>",
            **where,
        )
        fig.add_scatter(
            x=sigma_t * z,
            y=gauss.density(z) / sigma_t,
            mode="lines",
            name="Gauss",
            showlegend=place == 0,
            line={"color": style("none").colour, "dash": "dash", "width": 1.5},
            hoverinfo="skip",
            **where,
        )
        if atom := law.atom():
            at, mass = atom
            height = mass / bin_width / sigma_t
            fig.add_bar(
                x=[sigma_t * at],
                y=[height],
                width=[bin_width * sigma_t],
                marker={"color": look.colour},
                showlegend=False,
                hovertemplate=f"{100 * mass:.2f} % of the mass<extra></extra>",
                **where,
            )
            fig.add_annotation(
                x=sigma_t * at, y=height, text=f"{100 * mass:.2g} %", showarrow=False, yshift=10, **where
            )
        moments = f"mean {sigma_t * law.mean():+.4f}<br>deviation {sigma_t * math.sqrt(law.variance()):.3f}"
        fig.add_annotation(
            x=-4 * sigma_t,
            y=0.42 / sigma_t,
            text=moments,
            align="left",
            xanchor="left",
            yanchor="top",
            xshift=6,
            showarrow=False,
            **where,
        )
    fig.update_yaxes(range=[0, 0.45 / sigma_t])
    fig.update_yaxes(title="density", col=1)
    fig.update_xaxes(title="training noise added to a weight, in device deviations", row=2)
    subtitle = _wrap(
        [
            f"threshold {th:g} deviations",
            f"σ<sub>t</sub> = {sigma_t:g}",
            "bars: mass at the threshold, as in bins of 0.1 σ<sub>t</sub>",
        ]
    )
    fig = _finish(fig, "Noise laws for training", subtitle, height=580)
    return fig.update_layout(margin={"t": 116})  # room for the panels' titles


# -- still pictures --------------------------------------------------------------------------------


def to_png(fig: go.Figure, path: str | Path, width: int = 900, scale: float = 2) -> Path:
    """Write a figure as PNG and return the path; needs kaleido and a Chrome or Chromium (``BROWSER_PATH``).

    Raises:
        InputError: kaleido or a browser is missing.
    """
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    browser = os.environ.get("BROWSER_PATH") or next(filter(None, map(shutil.which, names)), None)
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
