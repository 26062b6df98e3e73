"""Accuracy against one setting of the circuits round the arrays: the mean and a percentile of the same chips."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from nvlib.errors import InputError
from nvlib.figures.deploy import deployment_style
from nvlib.figures.layout import finish, wrap
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
        table: of `nvlib.sweep`; or of `nvlib.explore.life`, whose column ``deployment`` lays chips left alone and
            deployed ones over each other.
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
    done = dict(iter(rows.groupby("deployment", sort=False))) if "deployment" in rows else {"": rows}
    for of, label, colour in (("mean", "mean", BLUE), ("kpp", f"{ordinal(k)} percentile of chips", ORANGE)):
        for remedy, part in done.items():
            name = deployment_style(remedy).label if remedy else "left alone"
            words = label if len(done) == 1 else f"{label}, {name}"
            fig.add_scatter(
                x=part["value"], y=part[of], name=words, mode="lines+markers",
                line={"color": colour, "width": 2.5, "dash": deployment_style(remedy).dash},
                marker={"size": 9, "symbol": deployment_style(remedy).marker if remedy else "circle"},
                hovertemplate="%{x}: %{y:.2f} %<extra>" + words + "</extra>",
                error_y={"type": "data", "symmetric": False, "array": part[f"{of}_high"] - part[of],
                         "arrayminus": part[of] - part[f"{of}_low"], "thickness": 1, "width": 3},
            )  # fmt: skip
        for value in table.loc[table["value"] == "exact", of]:
            fig.add_hline(y=value, line={"color": colour, "dash": "dot", "width": 1})
    fig.update_xaxes(type="category", title=_WORDS.get(rows["field"].iloc[0], rows["field"].iloc[0]))
    fig.update_yaxes(title="accuracy (%)")
    chips = int(rows["chips"].max())
    dotted = "dotted: exact products" if (table["value"] == "exact").any() else ""
    few = ", too few for the percentile's" if rows["kpp_low"].isna().any() else ""
    bars = f"bars: 95 % intervals over chips{few}"
    parts = [note, f"{chips:,} chips, the same at every value", bars, dotted]
    deployed = " and ".join(deployment_style(remedy).label for remedy in done if remedy)
    title = f"Accuracy against the {_WORDS.get(rows['field'].iloc[0], rows['field'].iloc[0])}"
    return finish(fig, title + (f": left alone, and {deployed}" if deployed else ""), wrap(parts))
