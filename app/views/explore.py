"""Explore: one choice seen as curves over sigma_d, distribution, cumulative distribution, fan, EKL and table."""

from typing import Any

import common
import streamlit as st

from nvlib import figures, summary

VIEWS = ("Curves", "Mean", "EKL", "Distribution", "Cumulative", "Fan", "Table")
SAID = {
    "Curves": "The k-th percentile performance (KPP) against the size of the variation: all but k % of the chips "
    "exceed it.",
    "Mean": "The mean accuracy over chips: what a paper that reports one number reports. The lower tail falls earlier.",
    "EKL": "How unsure the correct predictions are: the mean of -ln p of the right label over them, in nats. Lower is "
    "surer.",
    "Distribution": "Every chip of the chosen sigma_d, a row a method, with mean and percentile.",
    "Cumulative": "The share of chips at or below each accuracy, on a logarithmic scale that spreads the tail.",
    "Fan": "Percentiles 1 to 99 of one method over sigma_d, and the chosen one with its interval.",
    "Table": "The numbers behind the figures, with intervals.",
}

query = common.query()
st.title("Explore", anchor=False)
view = common.choice(st.segmented_control, "View", "view", VIEWS, VIEWS[0], "", required=True,
                     label_visibility="collapsed")  # fmt: skip
st.markdown(SAID[view])

one_sigma = view in ("Distribution", "Cumulative")
df = common.chips(query, sigma_d=query.sigma_d) if one_sigma else common.chips(query)
common.missing(query, df)
if df.empty:
    st.stop()
chosen = common.beside(query)
if chosen:
    where: dict[str, Any] = {"sigma_d": query.sigma_d} if one_sigma else {}
    df = common.laid(query, chosen, **where)
if view == "Distribution":
    fig = figures.accuracy_distribution(df, query.k)
    common.show(fig, df, query, f"figures.accuracy_distribution(df, k={query.k:g})", view, chosen)
elif view == "Cumulative":
    common.show(figures.ecdf(df, query.k), df, query, f"figures.ecdf(df, k={query.k:g})", view, chosen)
elif view == "Curves":
    fig = figures.percentile_curves(df, query.k)
    common.show(fig, df, query, f"figures.percentile_curves(df, k={query.k:g})", view, chosen)
elif view in ("Mean", "EKL"):
    of = "accuracy" if view == "Mean" else "ekl"
    common.show(figures.mean_curves(df, of), df, query, f"figures.mean_curves(df, {of!r})", view, chosen)
elif view == "Fan":
    for method, rows in summary.by_method(df):
        common.show(figures.fan(rows, query.k), rows, query, f"figures.fan(df, k={query.k:g})", f"fan-{method}", chosen)
else:
    common.numbers(df, query, view)
