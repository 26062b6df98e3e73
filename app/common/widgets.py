"""Choices bound to the address, and what is said of an address that cannot be used.

Streamlit takes a bound widget's value from the address where it can, and its default where it cannot; the reader is
told of the latter. A choice that is no longer among the options (other options, same key) falls back to the default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st


def choice(widget: Callable, label: str, key: str, among: Sequence, default: object, text: str, **more: Any) -> Any:
    """Draw a page's own choice among options, bound to the address, and return what is chosen.

    Args:
        widget: `st.selectbox`, `st.segmented_control`, `st.multiselect` or `st.select_slider`.
        label: shown beside it.
        key: its name in the address and in the session.
        among: what can be chosen.
        default: what is, before anybody does.
        text: its help.
        **more: further arguments of the widget.
    """
    if unusable := refused(key, among, more.get("format_func", str), several(widget, more)):
        warn(unusable)
    if not several(widget, more):
        meant(key, among)
    return bound(widget, label, key, among, default, text, **more)


def bound(widget: Callable, label: str, key: str, among: Sequence, default: object, text: str, **more: Any) -> Any:
    """Draw a choice bound to the address, without a word about what the address may hold."""
    if key in st.session_state and not set(_as_list(st.session_state[key])) <= set(among):
        del st.session_state[key]  # e.g. sigma_d = 0.2, and now a device that counts in multiples of 0.25
    start = _start(widget, among, default)
    return widget(label, among, **start, key=key, help=text or None, bind="query-params", **more)


def number(label: str, key: str, low: float, high: float, default: float, step: float, text: str, **more: Any) -> Any:
    """Draw a page's own slider over numbers, bound to the address, and return where it stands."""
    if unusable := out_of_range(key, low, high):
        warn(unusable)
    return st.slider(label, low, high, default, step, key=key, help=text or None, bind="query-params", **more)


def refused(key: str, among: Sequence, written: Callable[[Any], str] = str, empty: bool = False) -> list[str]:
    """Return what the address asks of a choice that is not among its options, as ``key=value``.

    Args:
        key: of the choice.
        among: its options.
        written: how the address writes one.
        empty: whether nothing may be chosen, which the address writes as ``key=``.
    """
    known = {*map(written, among), *([""] if empty else [])}
    return [f"{key}={value}" for value in st.query_params.get_all(key)
            if value not in known and (empty or _number(value) not in _numbers(among))]  # fmt: skip


def meant(key: str, among: Sequence) -> None:
    """Take a number of the address, written otherwise than its choice writes it (1 for 1.0), before that is drawn."""
    text = st.query_params.get(key, "")
    if key not in st.session_state and text not in map(str, among) and (asked := _number(text)) in _numbers(among):
        st.session_state[key] = next(v for v in among if v == asked)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _numbers(among: Sequence) -> set[float]:
    return {v for v in among if isinstance(v, int | float) and not isinstance(v, bool)}


def out_of_range(key: str, low: float, high: float) -> list[str]:
    """Return what the address asks of a number that is none, or out of its range."""
    if (given := st.query_params.get(key)) is None:
        return []
    try:
        sound = low <= float(given) <= high
    except ValueError:
        sound = False
    return [] if sound else [f"{key}={given}"]


def warn(asked: Sequence[str]) -> None:
    """Say that the address asks for something that cannot be used."""
    listed = ", ".join(f"`{' '.join(text[:60].replace('`', '').split())}`" for text in asked[:8])
    st.warning(f"The address asks for {listed}, which cannot be used; the default is shown instead.")


def several(widget: Callable, more: Mapping[str, Any]) -> bool:
    """Whether a widget lets several options be chosen, or none."""
    return widget == st.multiselect or more.get("selection_mode") == "multi"


def _as_list(value: object) -> list:
    return list(value) if isinstance(value, list | tuple) else [value]


def _start(widget: Callable, among: Sequence, default: object) -> dict[str, object]:
    """Return the argument that sets a widget's default, which widgets name differently."""
    if widget == st.selectbox:
        return {"index": list(among).index(default) if default in among else 0}
    return {"value" if widget == st.select_slider else "default": default}
