"""One setting of the circuits round the arrays after another, on the same chips: what each costs in accuracy.

For each value of a field of `nvlib.array.Periphery` the same chips are scored (`nvlib.monte_carlo`, which calibrates
the converters anew); ``lost`` is the mean over chips of what the crossbar without a periphery scores, less what it
scores. `stored` makes the same table of chips that are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from nvlib.array import Periphery, settings
from nvlib.array.settings import stored as stored
from nvlib.conditions import LEFT_OUT, Conditions, Crossbar, as_crossbar
from nvlib.data import Dataset, Split
from nvlib.devices import Device
from nvlib.errors import InputError
from nvlib.evaluate import monte_carlo

if TYPE_CHECKING:
    import pandas as pd


def sweep(
    model: nn.Module,
    data: Dataset | Split | tuple[Tensor, Tensor],
    crossbar: Crossbar | Device | str | None = None,
    sigma_d: float | None = LEFT_OUT,
    *,
    field: str,
    values: Sequence[Any],
    chips: int = 400,
    seed: int = 0,
    k: float = 1,
    confidence: float = 0.95,
    on: str | torch.device = "cpu",
    calibration: Tensor | None = None,
    progress: Callable[[str], None] | None = None,
    **conditions: Unpack[Conditions],
) -> pd.DataFrame:
    """Score the same chips at each value of one setting of their periphery.

    Args:
        model: any module; it is not changed.
        data: as `nvlib.monte_carlo` takes it.
        crossbar: the conditions, or a device with ``sigma_d`` and ``conditions`` beside it; its periphery (the default
            one where it has none) holds all other settings.
        sigma_d: size of the variation.
        field: of the periphery, e.g. ``adc_bits``.
        values: of that field; None is "ideal" for bits.
        chips: how many.
        seed: the family of chips.
        k: percentile of the KPP.
        confidence: of the intervals.
        on: where to compute.
        calibration: training images for the converters, as `nvlib.monte_carlo` takes them.
        progress: called with each setting's text when it begins.
        **conditions: other fields of `nvlib.Crossbar`.

    Returns:
        A row a value: field, value (as text), periphery, mean, mean_low, mean_high, kpp, kpp_low, kpp_high (percent),
        lost, lost_low, lost_high (points, against exact products on the same chips), chips, k. The first row, of value
        "exact", has no periphery.

    Raises:
        InputError: for an unknown field, and as `nvlib.monte_carlo`.

    Example:
        >>> import nvlib
        >>> model, mnist = nvlib.build("lenet3").eval(), nvlib.load("mnist", limit=30)
        >>> crossbar = nvlib.Crossbar("rram", 0.1, periphery="images=30")
        >>> nvlib.sweep(model, mnist, crossbar, field="adc_bits", values=(4, None), chips=2)["value"].tolist()
        ['exact', '4', 'ideal']
    """
    settings.check(field)
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or not len(values):
        raise InputError(f"values={values!r}: expected a list of values of {field}, e.g. (4, 6, 8)")
    crossbar = as_crossbar(crossbar, sigma_d, **conditions)
    base = crossbar.periphery or Periphery()
    peripheries = [replace(base, **{field: value}) for value in values]
    found = []
    for value, periphery in (("exact", None), *zip(values, peripheries, strict=True)):
        if progress:
            progress("exact" if periphery is None else f"{field}={value}")
        held = replace(crossbar, periphery=periphery)
        samples = monte_carlo(model, data, held, chips=chips, seed=seed, on=on, calibration=calibration)
        found.append((value, periphery, samples.accuracy))
    return settings.table(field, found, k, confidence)
