"""One setting of the circuits round the arrays after another, on the same chips: what each costs in accuracy.

For each value of a field of `nvlib.array.Periphery` the same chips are scored (`nvlib.monte_carlo`, which calibrates
the converters anew); ``lost`` is the mean over chips of what the crossbar without a periphery scores, less what it
scores. `stored` makes the same table of chips that are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from nvlib import array, statistics
from nvlib.array import Periphery
from nvlib.conditions import LEFT_OUT, Conditions, Crossbar, as_crossbar
from nvlib.data import Dataset, Split
from nvlib.devices import Device
from nvlib.errors import InputError, unknown
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
    _check(field)
    if isinstance(values, str) or not len(values):
        raise InputError(f"values={values!r}: expected a list of values of {field}, e.g. (4, 6, 8)")
    crossbar = as_crossbar(crossbar, sigma_d, **conditions)
    base = crossbar.periphery or Periphery()
    settings = [replace(base, **{field: value}) for value in values]
    found = []
    for value, periphery in (("exact", None), *zip(values, settings, strict=True)):
        if progress:
            progress("exact" if periphery is None else f"{field}={value}")
        held = replace(crossbar, periphery=periphery)
        samples = monte_carlo(model, data, held, chips=chips, seed=seed, on=on, calibration=calibration)
        found.append((value, periphery, samples.accuracy))
    return _table(field, found, k, confidence)


def stored(
    rows: pd.DataFrame, *, field: str, base: Periphery | str = "default", k: float = 1, confidence: float = 0.95
) -> pd.DataFrame:
    """Return the table of a sweep from stored chips: those whose periphery differs from a base in one field at most.

    Args:
        rows: of `nvlib.results`, of one training, crossbar and number of images, with its exact products among them.
        field: of the periphery.
        base: all other settings; as text, as `nvlib.Crossbar` takes it.
        k: percentile of the KPP.
        confidence: of the intervals.

    Returns:
        As `sweep`, by value, "ideal" last; of the chips that all settings have.

    Raises:
        InputError: for an unknown field, rows of several evaluations a periphery, or none with exact products.
    """
    _check(field)
    if rows.duplicated(["periphery", "chip"]).any():
        raise InputError(f"{len(rows)} rows have several results of a chip and a periphery; expected those of one "
                         "training, crossbar and number of images, from nvlib.results")  # fmt: skip
    if not (rows["periphery"] == "").any():
        raise InputError(f"{len(rows)} rows have none of exact products; expected those of periphery '' beside")
    whole, values = array.get(base) or Periphery(), {}
    for text in filter(None, rows["periphery"].unique()):
        one = array.get(text) or Periphery()
        if replace(one, **{field: getattr(whole, field)}) == whole:
            values[text] = getattr(one, field)
    order = sorted(values, key=lambda text: (values[text] is None, values[text] or 0))
    chips = rows.pivot(index="chip", columns="periphery", values="accuracy")[["", *order]].dropna()
    found = [(values[text], array.get(text), chips[text].to_numpy()) for text in order]
    return _table(field, [("exact", None, chips[""].to_numpy()), *found], k, confidence)


def _check(field: str) -> None:
    known = [f.name for f in fields(Periphery)]
    if field not in known:
        raise unknown("field of a periphery", field, known)


def _table(
    field: str, found: Sequence[tuple[Any, Periphery | None, np.ndarray]], k: float, confidence: float
) -> pd.DataFrame:
    """Return a row a setting, of value, periphery and what the chips score; the first has exact products."""
    import pandas as pd

    rows, exact = [], found[0][2]
    for value, periphery, accuracy in found:
        mean, tail = statistics.mean(accuracy, confidence), statistics.kpp(accuracy, k, confidence)
        lost = statistics.paired(exact, accuracy, confidence)
        rows.append({
            "field": field, "value": "ideal" if value is None else str(value), "periphery": str(periphery or "none"),
            "mean": mean.value, "mean_low": mean.low, "mean_high": mean.high,
            "kpp": tail.value, "kpp_low": tail.low, "kpp_high": tail.high,
            "lost": lost.value, "lost_low": lost.low, "lost_high": lost.high, "chips": len(accuracy), "k": k,
        })  # fmt: skip
    table = pd.DataFrame(rows)
    numbers = table.columns.difference(["field", "value", "periphery", "chips"])
    return table.astype(dict.fromkeys(numbers, float))
