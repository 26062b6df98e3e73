"""What hardware costs: each layer by component, and TSB's designs as ratios to the base accelerator.

Both draw tables of `nvlib.hardware`, whose `LIMITS` belong into the caption of either.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nvlib.errors import InputError
from nvlib.figures.layout import FRAME, finish, wrap
from nvlib.figures.names import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, name

_NOTE = "first order: counts times constants; no wire resistance, bus widths, routing or pipelining"
# component: its colour, and its columns; one colour through the three panels
_COMPONENTS = {
    "cells": (BLUE, ("energy_array", "area_cells")),
    "ADC": (VERMILLION, ("energy_adc", "latency_read", "area_adc")),
    "shift, add, scale": (ORANGE, ("energy_accumulate", "energy_scale", "latency_accumulate", "area_accumulate")),
    "drivers, periphery": (PURPLE, ("energy_drivers", "area_periphery")),
    "buffer": (GREEN, ("energy_buffer", "latency_buffer", "area_buffer")),
    "interconnect": (SKY, ("energy_interconnect", "latency_interconnect", "area_interconnect")),
    "leakage": (GREY, ("energy_leakage",)),
}
_PANELS = {
    "energy": ("energy", (("pJ", 1e-12), ("nJ", 1e-9), ("µJ", 1e-6), ("mJ", 1e-3))),
    "latency": ("latency", (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0))),
    "area": ("area", (("µm²", 1e-12), ("mm²", 1e-6))),
}
_SOURCES = {
    "first order": ("this library, first order", BLUE),
    "neurosim": ("DNN+NeuroSim V1.3, run by us", GREEN),
    "paper": ("TSB Table 1", VERMILLION),
}
_DESIGNS = {"common": ("Common", "circle", -1), "separate": ("Separate", "square", 1)}


def hardware_layers(layers: pd.DataFrame, title: str = "Energy, latency and area by layer") -> go.Figure:
    """Return energy, latency and area of each layer for one image, stacked by component.

    Args:
        layers: the table of an `nvlib.hardware.Estimate`.
        title: of the figure.

    Raises:
        InputError: for a table that is no estimate's.
    """
    _has(layers, ["name", *(column for _, columns in _COMPONENTS.values() for column in columns)], "an estimate's")
    fig = make_subplots(3, 1, shared_xaxes=True, vertical_spacing=0.06)
    for row, (panel, (shown, units)) in enumerate(_PANELS.items(), start=1):
        unit, scale = _unit(layers[panel].max(), units)
        for component, (colour, columns) in _COMPONENTS.items():
            for column in (c for c in columns if c.startswith(panel)):
                fig.add_bar(
                    x=layers["name"], y=layers[column] / scale, name=component, legendgroup=component,
                    showlegend=panel == "energy", marker={"color": colour, "line": {"width": 0}}, row=row, col=1,
                    hovertemplate=f"%{{x}}<br>{component}: %{{y:.3g}} {unit}<extra></extra>",
                )  # fmt: skip
        fig.update_yaxes(title=f"{shown} ({unit})", row=row, col=1)
    totals = [(layers[panel].sum(), units) for panel, (_, units) in _PANELS.items()]
    sums = [f"{value / scale:.3g} {unit}" for value, (unit, scale) in ((v, _unit(v, u)) for v, u in totals)]
    counts = f"{int(layers['arrays'].sum()):,} arrays, {layers['cells'].sum():,.0f} cells"
    fig.update_layout(barmode="stack")
    fig.update_xaxes(tickangle=-45, row=3, col=1)
    return finish(fig, title, wrap(["one image", counts, f"in all {', '.join(sums)}", _NOTE]), height=760)


def hardware_designs(table: pd.DataFrame) -> go.Figure:
    """Return what TSB's block costs on the Common and Separate accelerators, as ratios to the base.

    Args:
        table: `nvlib.hardware.table1`, or rows of it.

    Raises:
        InputError: for a table of another shape.
    """
    ratios = {"ratio_energy": "energy", "ratio_latency": "latency", "ratio_edp": "energy × delay"}
    _has(table, ["source", "network", "design", *ratios], "nvlib.hardware.table1's")
    networks = list(dict.fromkeys(table["network"]))
    fig = make_subplots(1, 3, shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=list(ratios.values()))
    for place, (source, (label, colour)) in enumerate(_SOURCES.items()):
        for design, (shown, marker, side) in _DESIGNS.items():
            rows = table[(table["source"] == source) & (table["design"] == design)]
            at = [networks.index(n) + 0.26 * (place - 1) + 0.055 * side for n in rows["network"]]
            for column, ratio in enumerate(ratios, start=1):
                fig.add_scatter(
                    x=at, y=rows[ratio], mode="markers", name=f"{shown}, {label}", legendgroup=source + design,
                    showlegend=column == 1, marker={"color": colour, "symbol": marker, "size": 10},
                    customdata=rows["network"].map(name), row=1, col=column,
                    hovertemplate=f"%{{customdata}}, {shown}, {label}: %{{y:.3f}}<extra></extra>",
                )  # fmt: skip
    fig.add_hline(y=1, line={"color": FRAME, "width": 1})
    fig.update_xaxes(tickvals=list(range(len(networks))), ticktext=[name(n) for n in networks],
                     range=[-0.5, len(networks) - 0.5])  # fmt: skip
    ticks = [1, 1.2, 1.5, 2, 3, 4, 5]
    fig.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{t:g}" for t in ticks])
    fig.update_yaxes(title="ratio to the base (log scale)", row=1, col=1)
    fig = finish(fig, "What TSB's shared block costs on two accelerators", wrap([
        "each source as a ratio to its own base accelerator, without the block", "2-bit cells, 8-bit weights",
        _NOTE, "where a marker is missing the tool was not run",
    ]), height=520)  # fmt: skip
    return fig.update_layout(margin={"t": fig.layout.margin.t + 26})


def _unit(top: float, units: tuple[tuple[str, float], ...]) -> tuple[str, float]:
    """Return the largest unit in which a value is at least one."""
    return next(((unit, scale) for unit, scale in reversed(units) if top >= scale), units[0])


def _has(table: pd.DataFrame, columns: list[str], whose: str) -> None:
    if missing := [column for column in columns if column not in table]:
        raise InputError(f"the table has no column {missing[0]!r}; expected {whose} table")
