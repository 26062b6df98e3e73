"""Accuracy against one setting of the circuits round the arrays: the mean and a percentile of the same chips."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from nvlib.errors import InputError
from nvlib.figures.layout import FRAME, finish, wrap
from nvlib.figures.names import BLUE, ORANGE, ordinal

_NEEDED = ("field", "value", "mean", "mean_low", "mean_high", "kpp", "kpp_low", "kpp_high", "chips", "k")
_WORDS = {
    "adc_bits": "bits of an ADC", "input_bits": "bits of an input", "rows": "rows of a tile",
    "serial_bits": "bits of an input fed at a time", "adc_range": "range of an ADC",
    "wire_column": "resistance of a column's wire (ohm a cell)", "wire_row": "resistance of a row's wire (ohm a cell)",
    "adc_gain": "deviation of ADCs' gains", "adc_offset": "deviation of ADCs' offsets (steps)",
    "time": "time after programming", "on_resistance": "resistance of a cell at the top level (ohm)",
}  # fmt: skip


def setting_curves(table: pd.DataFrame, note: str = "") -> go.Figure:
    """Return accuracy against a setting, values in the order of the table; dotted: exact products on the same chips.

    Args:
        table: of `nvlib.sweep`.
        note: which model under which conditions.

    Raises:
        InputError: for another table.
    """
    if missing := [column for column in _NEEDED if column not in table]:
        raise InputError(f"the table lacks {', '.join(missing)}; expected that of nvlib.sweep")
    rows = table[table["value"] != "exact"]
    if rows.empty or rows["field"].nunique() > 1:
        raise InputError("the table holds no setting, or several; expected that of one nvlib.sweep")
    k, fig = float(rows["k"].iloc[0]), go.Figure()
    for of, label, colour in (("mean", "mean", BLUE), ("kpp", f"{ordinal(k)} percentile of chips", ORANGE)):
        fig.add_scatter(
            x=rows["value"], y=rows[of], name=label, mode="lines+markers", line={"color": colour, "width": 2.5},
            marker={"size": 9}, hovertemplate="%{x}: %{y:.2f} %<extra>" + label + "</extra>",
            error_y={"type": "data", "symmetric": False, "array": rows[f"{of}_high"] - rows[of],
                     "arrayminus": rows[of] - rows[f"{of}_low"], "thickness": 1, "width": 3},
        )  # fmt: skip
        for value in table.loc[table["value"] == "exact", of]:
            fig.add_hline(y=value, line={"color": colour, "dash": "dot", "width": 1})
    fig.update_xaxes(type="category", title=_WORDS.get(rows["field"].iloc[0], rows["field"].iloc[0]))
    fig.update_yaxes(title="accuracy (%)", gridcolor=FRAME, gridwidth=0.3)
    chips = int(rows["chips"].max())
    dotted = "dotted: exact products" if (table["value"] == "exact").any() else ""
    parts = [note, f"{chips:,} chips, the same at every value", "bars: 95 % intervals over chips", dotted]
    return finish(fig, f"Accuracy against the {_WORDS.get(rows['field'].iloc[0], rows['field'].iloc[0])}", wrap(parts))
