"""Still pictures of figures, drawn on request by a browser of this machine; a clear line where there is none."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from nvlib import figures

_ONE = threading.Lock()  # a browser takes some 200 MB: one at a time
_MIME = {"png": "image/png", "svg": "image/svg+xml"}


def offer(fig: go.Figure, words: Mapping[str, Any], key: str) -> None:
    """Offer a figure, title and all, as PNG and SVG; each is drawn when it is asked for.

    Args:
        fig: as the page has drawn it, without its title.
        words: the layout of its title and margin.
        key: unique on the page.
    """
    if why := _lacking():
        st.caption(f"No still picture: {why}. The camera in the figure's corner saves what you see as SVG.")
        return
    with st.container(horizontal=True):
        for kind, mime in _MIME.items():
            st.download_button(
                f"Picture ({kind.upper()})", partial(_drawn, fig, words, kind), f"nvlib-{key}.{kind}", mime,
                key=f"{key}-{kind}", on_click="ignore", icon=":material/image:", help="Drawn now: some seconds.",
            )  # fmt: skip


@st.cache_data(ttl=60, show_spinner=False)
def _lacking() -> str:
    return figures.lacking()


def _drawn(fig: go.Figure, words: Mapping[str, Any], kind: str) -> bytes:
    with _ONE:
        return figures.picture(fig.update_layout(words), kind)
