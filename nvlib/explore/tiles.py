"""Chips through tiles, converters and wires as a choice: whose chips, which setting, and the stored ones that show it.

A *configuration* is one model on the chips of one crossbar, its periphery apart: a training, a device at a sigma_d,
what befell it. `SETTINGS` are what one asks of it: a field of the periphery, its values, and all that stays as it is.

>>> from nvlib.explore import tiles
>>> tiles.SETTINGS["Bits of an ADC"].texts()[:2]
['adc_bits=3', 'adc_bits=4']
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from nvlib import array, figures
from nvlib.array import Periphery
from nvlib.array.settings import stored
from nvlib.errors import unknown
from nvlib.explore.query import Query

_WIRES = "input_bits=none,adc_bits=none,on_resistance=6000"
_ROWS = (32, 64, 128, 256, 512)
# columns of the table of results that make a configuration
COLUMNS = ("network", "dataset", "training", "device", "device_numbers", "sigma_d", "reference", "mapping", "range",
           "effects")  # fmt: skip
_SAID = ("method", "train_sigma_d", "train_seed")  # of its training, in its label


@dataclass(frozen=True)
class Setting:
    """One setting of the circuits round the arrays.

    Attributes:
        field: of `nvlib.array.Periphery`.
        base: all others, as text.
        values: to be looked at; None is "ideal" for bits.
        words: what stays as it is.
    """

    field: str
    base: str
    values: tuple[Any, ...]
    words: str

    def texts(self) -> list[str]:
        """Return the peripheries, as records have them."""
        base = array.get(self.base) or Periphery()
        return [str(replace(base, **{self.field: value})) for value in self.values]


_TILES, _LINES = "tiles of 128 x 128", "cells of 6 kilo-ohm, no converters"
SETTINGS = {
    "Bits of an ADC": Setting("adc_bits", "default", (3, 4, 5, 6, 7, 8, None), f"{_TILES}, calibrated ranges"),
    "Bits over the whole range": Setting("adc_bits", "adc_range=bound", (6, 8, 10),
                                         f"{_TILES}, ranges of the largest possible sum"),
    "Rows of a tile": Setting("rows", "default", _ROWS, "converters of 8 bits, calibrated ranges"),
    "Rows at 5 bits": Setting("rows", "adc_bits=5", _ROWS, "ADCs of 5 bits, calibrated ranges"),
    "Rows with wires": Setting("rows", f"{_WIRES},wire_column=1.56", _ROWS, f"wires of 1.56 ohm a cell, {_LINES}"),
    "Resistance of a wire": Setting("wire_column", _WIRES, (0.52, 1.56, 4.17), f"{_TILES}, {_LINES}"),
}  # fmt: skip


def configurations(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return whose chips are stored through circuits and with exact products beside: label -> columns of `COLUMNS`.

    Those with most peripheries come first, of as many by the network's name.

    Args:
        table: from `nvlib.store.results`.
    """
    rows = table[(table["deployment"] == "") & (table["chip_seed"] == 0)]
    rows = rows[rows["training"].isin(rows.loc[rows["periphery"] != "", "training"].unique())]
    keys = [*COLUMNS, *_SAID]
    found = rows[[*keys, "periphery"]].drop_duplicates().astype(object)
    counts = found.groupby(keys)["periphery"].agg(n="nunique", exact=lambda held: (held == "").any()).reset_index()
    enough = counts[counts["exact"] & (counts["n"] > 2)]
    counts = enough.sort_values(["n", "network"], ascending=[False, True], kind="stable")
    labels = [_label(row) for row in counts.itertuples()]
    alone = [label if labels.count(label) == 1 else f"{label} ({training[:8]})"
             for label, training in zip(labels, counts["training"], strict=True)]  # fmt: skip
    return dict(zip(alone, counts[list(COLUMNS)].to_dict("records"), strict=True))


def _label(row: Any) -> str:
    """Return a configuration as a reader chooses it: what is not as usual is said."""
    usual = {"reference": "full_scale", "mapping": "differential", "range": "max", "effects": "", "device_numbers": ""}
    more = [str(getattr(row, key)) for key, value in usual.items() if getattr(row, key) != value]
    trained = figures.style(row.method).label + (f" at {row.train_sigma_d:g}" if row.train_sigma_d else "")
    return ", ".join([f"{figures.name(row.network)} on {figures.name(row.dataset)}", trained,
                      f"{figures.name(row.device)} at sigma_d = {row.sigma_d:g}", *more])  # fmt: skip


def caption(of: Mapping[str, Any], name: str, rows: pd.DataFrame) -> str:
    """Return in words which model under which conditions a figure of a setting shows.

    Args:
        of: one of `configurations`.
        name: of `SETTINGS`.
        rows: the chips that it is of.
    """
    known = rows.iloc[0]
    images = f"{known['images']:,} test images"
    return ", ".join([_label(pd.Series({**known[list(_SAID)], **of})), SETTINGS[name].words, images])


def configuration(training: str, query: Query) -> dict[str, Any]:
    """Return the configuration of a training on the chips of a query."""
    own = {"training": training, "device_numbers": ""}
    return {key: own[key] if key in own else getattr(query, key) for key in COLUMNS}


def query(of: Mapping[str, Any]) -> Query:
    """Return the query of a configuration's chips."""
    return Query(**{key: value for key, value in of.items() if key not in ("training", "device_numbers")})


def chips(table: pd.DataFrame, of: Mapping[str, Any], name: str) -> pd.DataFrame:
    """Return the stored chips of a configuration that show a setting: those that each value and exact products have.

    Of several numbers of test images the one that most values have, of several alike the largest; of one precision.

    Args:
        table: from `nvlib.store.results`.
        of: one of `configurations`.
        name: of `SETTINGS`.

    Raises:
        InputError: for a setting that is none.
    """
    if name not in SETTINGS:
        raise unknown("setting", name, SETTINGS)
    rows = _chips(table, of)
    rows = rows[rows["periphery"].isin(["", *SETTINGS[name].texts()])]
    parts = [(part["periphery"].nunique(), *key, part)
             for key, part in rows.groupby(["images", "precision"], observed=True) if (part["periphery"] == "").any()]
    if not parts:
        return rows[:0]
    found = max(parts, key=lambda held: held[:-1])[-1]
    common = found.groupby("chip")["periphery"].nunique() == found["periphery"].nunique()
    return found[found["chip"].isin(common.index[common])]


def _chips(table: pd.DataFrame, of: Mapping[str, Any]) -> pd.DataFrame:
    """Return the stored chips of a configuration as programmed, of seed 0, through whatever."""
    keep = (table["deployment"] == "") & (table["chip_seed"] == 0)
    for column, value in of.items():
        keep &= table[column] == value
    return table[keep]


def sweep(table: pd.DataFrame, of: Mapping[str, Any], name: str, k: float = 1) -> pd.DataFrame:
    """Return the table of a setting as `nvlib.sweep` gives it, from stored chips; no row where not two values have any.

    Args:
        table: from `nvlib.store.results`.
        of: one of `configurations`.
        name: of `SETTINGS`.
        k: percentile of the KPP.

    Raises:
        InputError: for a setting that is none.
    """
    rows = chips(table, of, name).astype({"periphery": object})
    if rows["periphery"].nunique() < 3:
        return pd.DataFrame()
    return stored(rows, field=SETTINGS[name].field, base=SETTINGS[name].base, k=k)


def losses(swept: pd.DataFrame) -> str:
    """Return in words what each value of a table of `sweep` loses, with the paired interval."""
    rows = swept[swept["value"] != "exact"]
    each = (f"{row.value}: {row.lost:z.2f} [{row.lost_low:z.2f}, {row.lost_high:z.2f}]" for row in rows.itertuples())
    return "points of mean accuracy lost, paired with exact products, 95 %: " + ", ".join(each)


def lacking(table: pd.DataFrame, of: Mapping[str, Any], name: str) -> list[str]:
    """Return the peripheries of a setting that are not stored on as many test images as its model ever saw."""
    rows, known = _chips(table, of), _chips(table, {"training": of["training"]})
    there = set(rows.loc[rows["images"] == known["images"].max(), "periphery"])
    return [text for text in ("", *SETTINGS[name].texts()) if text not in there]
