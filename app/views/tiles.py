"""Array: what tiles, converters and wires round the arrays cost in accuracy, one setting after another."""

from typing import Any

import common
import pandas as pd
import streamlit as st
from common import compute
from common.answers import offered

from nvlib import array, figures
from nvlib.explore import ask, tiles

CHIPS = 10  # offered at each value
OWN = "As in the sidebar"


def own() -> dict[str, Any]:
    """Let the reader choose a stored model for the chips of the sidebar, and return them."""
    found = compute.models(query)
    labels = compute.labels(found)
    label = common.choice(st.selectbox, "Model", "tiles_model", list(labels), compute.near(found, query),
                          "Stored trainings of the sidebar's network, data set and methods.")  # fmt: skip
    return tiles.configuration(labels[label], query)


def nearest() -> str:
    """Return the stored chips that are most like the sidebar's, of those with most settings."""
    def off(label: str) -> tuple[bool, ...]:
        return tuple(known[label][key] != getattr(query, key) for key in ("network", "dataset", "device"))

    return min(known, key=off, default=OWN)


def offer() -> None:
    """Offer what is not stored of the setting, on all test images of the model's data."""
    lacking = tiles.lacking(common.stored(), chosen, setting)
    if table.empty:
        st.info(f"**Not computed yet for these chips**: {setting}, {held.words}.", icon=":material/hourglass_empty:")
    if chosen["device_numbers"] or not lacking:  # a device of one's own may have other numbers by now
        return
    wanted = ask.aged(chosen["training"], tiles.query(chosen), [chosen["effects"]], peripheries=lacking, chips=CHIPS)
    if table.empty:
        offered(wanted, query)
        return
    with st.expander("The same on all test images", icon=":material/hourglass_empty:"):
        offered(wanted, query)


query = common.query()
st.title("Tiles, converters, wires", anchor=False)
st.markdown(
    "Inputs reach the arrays through DACs, each column of each tile is summed in the analogue and passes an ADC, and "
    "currents flow through wires. What these cost is measured on *the same chips*, against exact products."
)
known = tiles.configurations(common.stored())
label = common.choice(st.selectbox, "Network and chips", "tiled", [*known, OWN], nearest(),
                      "Those that are stored through tiles, or a stored model on the sidebar's chips.")  # fmt: skip
setting = common.choice(st.segmented_control, "What is varied", "setting_of", list(tiles.SETTINGS),
                        next(iter(tiles.SETTINGS)), "All else stays as it is.", required=True)  # fmt: skip
chosen, held = own() if label == OWN else known[label], tiles.SETTINGS[setting]
table = tiles.sweep(common.stored(), chosen, setting, query.k)
if table.empty:
    offer()
else:
    rows = tiles.chips(common.stored(), chosen, setting)
    note = tiles.caption(chosen, setting, rows)
    common.figure(
        figures.setting_curves(table, note), "circuits", table=table, note=tiles.losses(table),
        chips=rows[rows["periphery"].isin(["", *(t for t in table["periphery"] if t != "none")])],
        code="from nvlib import figures, results\nfrom nvlib.explore import tiles\n\n"
        f"chosen = {chosen!r}\ntable = tiles.sweep(results(), chosen, {setting!r}, k={query.k!r})\n"
        f"figures.setting_curves(table, {note!r})",
    )  # fmt: skip
    offer()
with st.expander("Published settings", icon=":material/menu_book:"):
    st.dataframe(pd.DataFrame([
        {"name": name, "source": preset.source, "note": preset.note, "settings": str(preset.periphery)}
        for name, preset in array.PRESETS.items()
    ]), hide_index=True)  # fmt: skip
    st.caption("As `--periphery NAME` of the command line, `periphery=` of a crossbar, the last stage on the page Life "
               "and what Deploy charges for; fields may follow: `isaac,adc_bits=8`.")  # fmt: skip
