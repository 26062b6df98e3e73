"""The tables of programmed chips that ship (`nvlib.papers.analyses`): SWIM's curve, TSB's time and limits."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from common.query import Query
from common.show import figure, guarded
from common.widgets import choice
from nvlib import figures, papers
from nvlib.papers import deployment_analyses
from nvlib.papers.deployment_measures import SETTLED
from nvlib.papers.printed_numbers import number

OPEN = "from nvlib import figures, papers\n\n"
WHERE = f"{figures.name(deployment_analyses.SMALL)} on MNIST, RRAM, signed"


@st.cache_data(ttl=60, show_spinner=False)
def shipped(name: str) -> tuple[pd.DataFrame, str]:
    """Return a table of programmed chips that ships, empty where it does not, and where it was made."""
    return deployment_analyses.table(name), deployment_analyses.made_by(name)


def sweep(query: Query) -> None:
    """Show the shipped sweep where the sidebar's choice has one."""
    table, origin = shipped("sweep")
    here = {**deployment_analyses.MODELS, "network": deployment_analyses.SMALL}
    asked = all(getattr(query, key) == here[key] for key in ("network", "dataset", "device", "reference", "mapping"))
    rows = table[table["sigma_d"] == query.sigma_d] if asked and len(table) else table[:0]
    if rows.empty:
        return
    said = f"n = {rows['chip'].nunique()} chips, {deployment_analyses.MODELS['images']:,} test images, one training"
    figure(
        figures.selective_verify(rows, f"{WHERE}, σ<sub>d</sub> = {query.sigma_d:g}"), "stored-sweep", table=rows,
        note=f"{said} · {origin}",
        code=f"{OPEN}sweep = papers.analysis_table('sweep')\n"
        f"figures.selective_verify(sweep[sweep.sigma_d == {query.sigma_d:g}])",
    )  # fmt: skip


def limits() -> None:
    """Show what TSB's block costs in training, how it learns, and what keeps it from the ideal."""
    st.markdown(
        "A backbone need not be trained to its end if the block makes up for it: stop early, program, train the block. "
        "Below that, how many epochs the block takes, and what stands between it and the ideal accuracy. **LeNet-3 on "
        "MNIST, RRAM, `signed`, whatever the sidebar says**; in the last figure VGG-8 as well."
    )
    (cost, cost_from), (learning, learning_from), (held, held_from) = map(shipped, ("cost", "learning", "causes"))
    if cost.empty and learning.empty and held.empty:
        st.info("**None of these tables yet.** This makes them, in half an hour:", icon=":material/hourglass_empty:")
        st.code("python -m nvlib.papers.analyses", language="bash")
        return
    at = f"{WHERE}, σ<sub>d</sub> = {deployment_analyses.AT:g}"
    with guarded():
        if len(cost):
            text = "Images run forward and backward do not depend on the machine; seconds are of one process."
            axis = choice(st.segmented_control, "Cost in", "axis", ("passes", "seconds"), "passes", text,
                          required=True)  # fmt: skip
            figure(
                figures.training_cost(cost, axis, note=at), "cost", table=cost,
                note=f"n = {deployment_analyses.SIZES['full']['cost'].chips} chips, one training of "
                f"{deployment_analyses.SIZES['full']['cost'].epochs} epochs · {cost_from}",
                code=f"{OPEN}figures.training_cost(papers.analysis_table('cost'), {axis!r})",
            )  # fmt: skip
        if len(learning):
            figure(
                figures.tsb_learning(learning, papers.converged(learning), at), "learning", table=learning,
                note=f"n = {learning['chip'].nunique()} chips, one training; converged: from there on "
                f"{100 * SETTLED:g} % of what is gained in the end · {learning_from}",
                code=f"{OPEN}learning = papers.analysis_table('learning')\n"
                "figures.tsb_learning(learning, papers.converged(learning))",
            )  # fmt: skip
        if len(held):
            table, paper = papers.causes(held, learning), number("tsb-fig3", method="tsb")
            figure(
                figures.tsb_causes(table, paper), "causes", table=table,
                note=f"{papers.most(table)} One training a network · {held_from}",
                code=f"{OPEN}held, learning = map(papers.analysis_table, ('causes', 'learning'))\n"
                f"figures.tsb_causes(papers.causes(held, learning), paper={paper:g})",
            )  # fmt: skip
