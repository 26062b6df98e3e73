"""Other stored settings of the chosen methods laid over what the sidebar shows: epochs, ranges, parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from common.query import Query
from common.stored import stored
from common.widgets import choice
from nvlib.explore import overlay


@st.cache_data(ttl=20, max_entries=50, show_spinner=False)
def _known(query: Query) -> tuple[str, ...]:
    return tuple(overlay.beside(stored(), query))


def beside(query: Query) -> list[str]:
    """Let the reader choose stored settings to lay beside those that are shown; nothing where there is none."""
    if not (known := _known(query)):
        return []
    text = ("Stored results of the same network, device and sigma_d that differ in training length, weight range, "
            "parameters of the method, or test images. Their chips have the same deviations; the legend says what "
            "differs.")  # fmt: skip
    many = f"{len(known)} other stored setting{'s' if len(known) > 1 else ''}"
    return choice(st.multiselect, "Lay beside", "beside", known, [], text, max_selections=overlay.MOST,
                  placeholder=f"{many}: epochs, ranges, parameters")  # fmt: skip


def laid(query: Query, labels: Sequence[str], *, clean: bool = False, **where: Any) -> pd.DataFrame:
    """Return the rows that a query shows over all sigma_d or those of ``where``, and those laid beside them."""
    return overlay.laid(stored(), query, labels, clean=clean, **where)
