"""Figures of what chips are made of: where a device's levels end up, and the noise that training adds.

A cell programmed to level d holds a conductance around its target: N(g_d, s_d^2), drawn in level units, one curve a
level, all of area 1. A law of the training noise is drawn beside the standard normal density it comes from.
"""

from __future__ import annotations

import math
import textwrap

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nvlib import devices
from nvlib.devices import Device
from nvlib.errors import InputError
from nvlib.figures.layout import fill, finish, wrap
from nvlib.figures.names import SPARE, name, style


def device_levels(device: str | Device, sigma_d: float | None = None, reference: str = "full_scale") -> go.Figure:
    """Return the distribution of the programmed conductance at each level of a device (trice-fig7).

    Args:
        device: name, record or path (`nvlib.devices.get`).
        sigma_d: device variation; for a device with measured deviations a factor on them.
        reference: what sigma_d is relative to, ``full_scale`` or ``level``.
    """
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
        colour, digits = SPARE[level % len(SPARE)], f"{level:0{device.bits}b}"
        density = np.array([0, roof / 1.12]) if stroke else np.exp(-(z**2) / 2) / (math.sqrt(2 * math.pi) * s)
        fig.add_scatter(
            x=[g, g] if stroke else g + z * s,
            y=density,
            mode="lines",
            fill="tozeroy",
            name=f"level {digits}",
            fillcolor=fill(colour, 0.25),
            line={"color": colour, "width": 2},
            showlegend=False,
            hovertemplate=f"level {digits}: {g:.3g} ± {s:.3g} levels<extra></extra>",
        )
        if len(values) <= 8:
            fig.add_annotation(x=g, y=float(density.max()), text=f"<b>{digits}</b>", showarrow=False, yshift=12)
    text, axis = [f"{v:.3g}" for v in values], "programmed conductance (levels)"
    how = f"σ<sub>d</sub> = {sigma_d:g} (relative to {name(reference)})"
    if not device.relative:
        unit = {"uS": "µS"}.get(device.unit, device.unit)
        text = [f"{v}<br>{g:,.4g} {unit}" for v, g in zip(text, device.levels, strict=True)]
        axis = f"programmed conductance (levels; target in {unit})"
        how = f"measured deviation × {sigma_d:g}"
    every = math.ceil(len(text) / 8)
    fig.update_xaxes(
        title=axis, tickvals=values[::every], range=[values[0] - reach, values[-1] + reach], ticktext=text[::every]
    )
    fig.update_yaxes(title="density (1 / level)", range=[0, roof])
    return finish(
        fig, f"Where the levels of {name(device.name)} end up", wrap([how, *textwrap.wrap(device.source, 90)])
    )


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
            fillcolor=fill(look.colour, 0.3),
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
    subtitle = wrap(
        [
            f"threshold {th:g} deviations",
            f"σ<sub>t</sub> = {sigma_t:g}",
            "bars: mass at the threshold, as in bins of 0.1 σ<sub>t</sub>",
        ]
    )
    fig = finish(fig, "Noise laws for training", subtitle, height=580)
    return fig.update_layout(margin={"t": 116})  # room for the panels' titles
