"""Explore: one choice seen as distribution, cumulative distribution, curves over sigma_d, fan and table."""

import common
import streamlit as st

from nvlib import figures

VIEWS = ("Curves", "Distribution", "Cumulative", "Fan", "Table")

query = common.query()
st.title("Explore", anchor=False)
if (asked := st.query_params.get("view", VIEWS[0])) not in VIEWS:
    st.warning(f"The address asks for `view={asked[:60].replace('`', '')}`, which cannot be used; {VIEWS[0]} is shown.")
view = st.segmented_control(
    "View", VIEWS, default="Curves", required=True, key="view", bind="query-params", label_visibility="collapsed"
)

one_sigma = view in ("Distribution", "Cumulative")
df = common.chips(query, sigma_d=query.sigma_d) if one_sigma else common.chips(query)
common.missing(query, df)
if df.empty:
    st.stop()
if view == "Distribution":
    fig = figures.accuracy_distribution(df, query.k)
    common.show(fig, df, query, f"figures.accuracy_distribution(df, k={query.k:g})", view)
elif view == "Cumulative":
    common.show(figures.ecdf(df, query.k), df, query, f"figures.ecdf(df, k={query.k:g})", view)
elif view == "Curves":
    fig = figures.percentile_curves(df, query.k)
    common.show(fig, df, query, f"figures.percentile_curves(df, k={query.k:g})", view)
elif view == "Fan":
    for method in [m for m in query.method if (df["method"] == m).any()]:
        rows = df[df["method"] == method]
        common.show(figures.fan(rows, query.k), rows, query, f"figures.fan(df, k={query.k:g})", f"fan-{method}")
else:
    common.numbers(df, query, view)
