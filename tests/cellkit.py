"""Cells as an effect meets them, without a network: what tests of effects share."""

from dataclasses import replace

import torch

from nvlib import devices
from nvlib.devices import Device
from nvlib.effects import Programmed


def programmed(device, digits, chips=3, sigma_d=None, seed=0, index=None, dtype=torch.float64, **more):
    """Cells of one digit a cell, (weights, cells), as an effect meets them, strayed by a draw of their own."""
    device = devices.get(device)
    digits = torch.as_tensor(digits)[None]
    index = range(chips) if index is None else index
    sigma_d = sigma_d if sigma_d is not None else 1.0 if not device.relative else 0.1
    shape = torch.Size([digits.shape[1], 1])
    cells = Programmed(digits, digits, torch.zeros(len(index), *digits.shape[1:], dtype=dtype),
                       torch.zeros(digits.shape[:2], dtype=torch.bool), **{"shape": shape, "chains": 2} | more,
                       sigma_d=sigma_d, device=device, seed=seed, index=index, name="w")  # fmt: skip
    cells = replace(cells, spread=cells.per_level(device.spread(sigma_d)))
    return replace(cells, programmed=cells.level + cells.spread * cells.drawn("cells/w"))


def at(g, top=25.0):
    """A device that has a level at conductance g, and which of its two it is."""
    levels = (0.0, top) if g == top else (g, top)
    return Device("at", 1, levels, (0.0, 0.0), "uS", False, effects=devices.get("pcm").effects), int(g == top)


def meant(g, n=1, chips=1):
    device, digit = at(g)
    return programmed(device, [[digit]] * n, chips), digit
