"""The table of one setting of a periphery after another: made of scores, or of chips that are stored.

>>> from nvlib.array import settings
>>> settings.check("adc_bits")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nvlib import statistics
from nvlib.array.periphery import Periphery
from nvlib.array.presets import get
from nvlib.errors import InputError, unknown

if TYPE_CHECKING:
    import pandas as pd


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
        As `nvlib.sweep`, by value, "ideal" last; of the chips that all settings have.

    Raises:
        InputError: for an unknown field, rows of several evaluations a periphery, or none with exact products.
    """
    check(field)
    if rows.duplicated(["periphery", "chip"]).any():
        raise InputError(f"{len(rows)} rows have several results of a chip and a periphery; expected those of one "
                         "training, crossbar and number of images, from nvlib.results")  # fmt: skip
    if not (rows["periphery"] == "").any():
        raise InputError(f"{len(rows)} rows have none of exact products; expected those of periphery '' beside")
    whole, values = get(base) or Periphery(), {}
    for text in filter(None, rows["periphery"].unique()):
        one = get(text) or Periphery()
        if replace(one, **{field: getattr(whole, field)}) == whole:
            values[text] = getattr(one, field)
    order = sorted(values, key=lambda text: (values[text] is None, values[text] or 0))
    chips = rows.pivot(index="chip", columns="periphery", values="accuracy")[["", *order]].dropna()
    found = [(values[text], get(text), chips[text].to_numpy()) for text in order]
    return table(field, [("exact", None, chips[""].to_numpy()), *found], k, confidence)


def check(field: str) -> None:
    """Refuse a field that a periphery has not, with an `InputError`."""
    known = [f.name for f in fields(Periphery)]
    if field not in known:
        raise unknown("field of a periphery", field, known)


def table(
    field: str, found: Sequence[tuple[Any, Periphery | None, np.ndarray]], k: float, confidence: float
) -> pd.DataFrame:
    """Return the table of `nvlib.sweep`: a row a setting, of which the first has exact products.

    Args:
        field: of the periphery.
        found: value, periphery and accuracy of the same chips (chips,), percent, of each setting.
        k: percentile of the KPP.
        confidence: of the intervals.
    """
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
    made = pd.DataFrame(rows)
    numbers = made.columns.difference(["field", "value", "periphery", "chips"])
    return made.astype(dict.fromkeys(numbers, float))
