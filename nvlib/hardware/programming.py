"""What writing a network costs: pulses, energy, time, with and without write-verify.

Without verification a cell takes one pulse. With it, the redraw model of `nvlib.deploy.write_verify`: each pulse is
followed by a read, and is repeated until the deviation is within the margin. The number of pulses is geometric with

    p = P(|z| <= margin / spread),   E[pulses] = (1 - (1 - p)^max) / p.

The margin is the one that leaves a deviation of ``sigma``. Levels are taken as equally frequent (assumed; it matters
only for devices whose levels differ in spread). A read is one conversion of one cell. ``cells_at_once`` are written
together (assumed: 1, everything in turn); energy does not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from torch import nn

from nvlib.conditions import LEFT_OUT, Conditions, Crossbar, as_crossbar
from nvlib.deploy.tsb import TinySharedBlock
from nvlib.deploy.verify_model import Verification, check_verification, mean_pulses
from nvlib.devices import Device
from nvlib.errors import InputError, number, whole
from nvlib.hardware.chip import Accelerator, Estimate, estimate


def programming(
    model: nn.Module | Estimate,
    shape: Sequence[int] | None = None,
    accelerator: Accelerator | None = None,
    *,
    crossbar: Crossbar | Device | str | None = None,
    sigma_d: float | None = LEFT_OUT,
    sigma: float = 0.03,
    margin: float | None = None,
    max_pulses: int = 100,
    share: float = 0.1,
    block: TinySharedBlock | None = None,
    cells_at_once: int = 1,
    **conditions: Unpack[Conditions],
) -> pd.DataFrame:
    """Return what it costs to write one copy of a network, by what is verified.

    Args:
        model: any module, or its estimate.
        shape: of one input without the batch.
        accelerator: what it lies on; by default `Accelerator()`.
        crossbar: whose cells are written: the conditions, or a device (None, and no ``device=``: RRAM).
        sigma_d: deviation of one pulse (left out: the crossbar's, 0.1); None for a measured device as measured.
        sigma: deviation that verification is to leave, in the unit of ``sigma_d``.
        margin: within which a cell is left; None: the one that leaves ``sigma``.
        max_pulses: after which a cell is left as it is.
        share: of the cells that the selective row verifies (SWIM), 0 to 1.
        block: TSB's, whose cells alone are verified in its row; None: as the paper has it, where it knows the network.
        cells_at_once: cells written together.
        **conditions: other fields of `nvlib.Crossbar`: ``device``, ``reference``, ...

    Returns:
        A row each for ``none``, ``selective``, ``all`` and, where the block is known, ``tsb``: cells, verified,
        pulses, pulses_per_cell (of verified cells), reads, energy (J), time (s).

    Raises:
        InputError: for values that cannot be used.
    """
    cells_at_once = whole("cells_at_once", cells_at_once, 1)
    share = number("share", share, 0, 1, otherwise=", the share of cells to verify")
    check_verification(sigma, margin, max_pulses)
    crossbar = as_crossbar(crossbar, sigma_d, **conditions)
    device = crossbar.device
    base = model if isinstance(model, Estimate) else estimate(model, shape, accelerator, cell_bits=device.bits)
    a = base.accelerator
    if a.cell_bits != device.bits:
        raise InputError(f"cell_bits={a.cell_bits} does not fit {device.name}, whose cells hold {device.bits} bits")
    how = Verification.of(crossbar, sigma=sigma, margin=margin, max_pulses=max_pulses)
    each = float(np.mean([mean_pulses(s, how.margin, max_pulses) for s in how.spreads]))
    cells = int(base.layers.loc[~base.layers["block"].astype(bool), "cells"].sum())
    own = _block_cells(model, block, a)
    plans = {"none": (cells, 0.0), "selective": (cells, share * cells), "all": (cells, float(cells))}
    if own:
        plans["tsb"] = (cells + own, float(own))
    t, rows = a.charges, []
    for scheme, (written, verified) in plans.items():
        pulses, reads = written - verified + verified * each, verified * each
        rows.append({
            "verified": scheme, "cells": written, "verified_cells": verified, "pulses": pulses,
            "pulses_per_cell": each if verified else 1.0, "reads": reads,
            "energy": written_energy(pulses, reads, a),
            "time": (pulses * t.write_time + reads * t.cycle) / cells_at_once,
        })  # fmt: skip
    return pd.DataFrame(rows)


def written_energy(pulses: ArrayLike, reads: ArrayLike, accelerator: Accelerator | None = None) -> Any:
    """Return what so many pulses and readings of single cells take (J), of the shape of the two."""
    a = accelerator or Accelerator()
    read = a.charges.cell_read + a.charges.conversion(a.adc_bits)
    return np.asarray(pulses) * a.charges.write + np.asarray(reads) * read


def _block_cells(model: nn.Module | Estimate, block: TinySharedBlock | None, a: Accelerator) -> int:
    """Return the cells of TSB's block; 0 where nothing says how wide it is."""
    if isinstance(model, Estimate):
        return int(model.layers.loc[model.layers["block"].astype(bool), "cells"].sum())
    try:
        weights = (block or TinySharedBlock()).weights(model)
    except InputError:
        if block is not None:
            raise
        return 0
    return weights * a.slices(a.held_bits) * a.chains
