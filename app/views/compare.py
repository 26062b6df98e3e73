"""Compare: methods side by side on the same chips; their differences, places, numbers and what training them cost."""

from dataclasses import replace
from typing import Any

import common
import pandas as pd
import streamlit as st

from nvlib import figures, summary
from nvlib.catalogue import plain

VIEWS = ("Differences", "Ranking", "Table")
STATISTICS = {"KPP": "kpp", "Mean accuracy": "mean", "EKL": "ekl"}


def paired(df: pd.DataFrame, baseline: str) -> bool:
    """Return whether another method has chips at a sigma_d and of a training seed that the baseline's have."""
    cells = df[["method", "sigma_d", "train_seed"]].drop_duplicates()
    own = cells["method"] == baseline
    return not cells[own].merge(cells[~own], on=["sigma_d", "train_seed"]).empty


def side_by_side(df: pd.DataFrame, baseline: str, of: str, k: float) -> pd.DataFrame:
    """Return a row a method and sigma_d: its numbers, its difference to the baseline, and its training's cost."""
    at = ["method", "sigma_d"]
    table = summary.results_table(df, k).drop(columns=["k", "epochs", "note"])
    gaps = ["difference", "low", "high", "chips_low", "chips_high", "wins"]
    if paired(df, baseline):
        table = table.merge(summary.differences(df, baseline, of, k)[[*at, *gaps]], how="left", on=at)
    trained = df[[*at, "training"]].drop_duplicates().astype({"method": object, "training": object})
    spent = trained.merge(common.costs(tuple(sorted(trained["training"].unique()))), on="training")
    return table.merge(spent.groupby(at)[["epochs", "seconds"]].mean().reset_index(), how="left", on=at)


def written(of: str) -> dict[str, Any]:
    """Return how the columns of `side_by_side` are written."""
    number, unit = st.column_config.NumberColumn, "nats" if of == "ekl" else "points"
    form = "%+.4f" if of == "ekl" else "%+.2f"
    return common.columns() | {
        "difference": number(f"difference ({unit})", format=form, help="To the baseline, on the same chips."),
        "low": number("over trainings, low", format=form, help="95 % interval over trainings: of the methods."),
        "high": number("over trainings, high", format=form),
        "chips_low": number("over chips, low", format=form, help="95 % interval over chips: of these trainings."),
        "chips_high": number("over chips, high", format=form),
        "wins": st.column_config.ProgressColumn(
            "chips above", min_value=0, max_value=1, help="Share of paired chips above the baseline's.",
        ),
        "epochs": number("epochs", format="%g"),
        "seconds": number("training (s)", format="%.0f", help="Of one training on the machine that ran it."),
    }  # fmt: skip


query = common.query()
st.title("Compare", anchor=False)
df = common.chips(query)
df = df[df["sigma_d"] > 0]  # without variation there is one chip, and nothing to compare over chips
lacking = common.missing(query, df)
if df.empty:
    st.stop()
every = [m for m in common.METHODS if not common.chips(replace(query, method=(m,))).empty]
beside = common.beside(query)
if beside:
    df = common.laid(query, beside)
    df = df[df["sigma_d"] > 0]
held = [m for m, _ in summary.by_method(df)]
if len(held) < 2:
    st.info("Comparing takes two methods with results; choose more in the sidebar.", icon=":material/balance:")
if set(every) - set(query.method):
    label = f"Compare all {len(every)} methods that have results"
    st.button(label, on_click=st.session_state.__setitem__, args=("method", every), icon=":material/done_all:")
with st.container(horizontal=True, vertical_alignment="bottom"):
    baseline = common.choice(
        st.selectbox, "Baseline", "baseline", held, next((m for m in held if plain(m)[0] == "gaussian"), held[0]),
        "What the others are compared with, chip by chip: chip i of every method has the same deviations.",
        width=220 if beside else 180, format_func=lambda m: figures.style(m).label if plain(m)[1] else m,
    )  # fmt: skip
    of = STATISTICS[common.choice(
        st.segmented_control, "Compare by", "by", list(STATISTICS), "KPP",
        "KPP: the accuracy that all but k % of chips exceed. EKL: mean -ln p of the right label, in nats; lower is "
        "surer.", required=True,
    )]  # fmt: skip
    view = common.choice(st.segmented_control, "View", "compare", VIEWS, VIEWS[0], "", required=True)

alone = not paired(df, baseline)
if alone and len(held) > 1:
    st.info(f"No other method has chips at a sigma_d, and of a training seed, that those of "
            f"{figures.style(baseline).label} have; choose another baseline, or another setting under Conditions.",
            icon=":material/balance:")  # fmt: skip
if alone or view == "Table":
    sigmas = sorted(df["sigma_d"].unique().tolist())
    chosen = common.choice(st.pills, "At sigma_d", "only", sigmas, None, "None chosen: all.", selection_mode="multi")
    shown = df[df["sigma_d"].isin(chosen)] if chosen else df
    table = side_by_side(shown, baseline, of, query.k)
    order = ["method", "sigma_d", "mean", "kpp", "kpp_low", "kpp_high", "ekl", "worst", "difference", "chips_low",
             "chips_high", "low", "high", "wins", "epochs", "seconds", "n", "seeds"]  # fmt: skip
    st.dataframe(table, hide_index=True, column_order=order, column_config=written(of), placeholder="")
    origin = " and ".join(sorted(shown["origin"].unique()))
    st.caption(
        f"n = {len(shown):,} chips · results: {origin} · {shown['run'].nunique()} runs. Click a column's head to sort, "
        "the lens to search. Differences are to "
        f"{figures.style(baseline).label}, paired by chip and training; an empty limit: too few chips or trainings."
    )  # fmt: skip
    common.downloads({"This table": table, "All chips": shown}, "compare")
elif view == "Ranking":
    fig = figures.ranking(df, of, query.k)
    common.show(fig, df, query, f"figures.ranking(df, {of!r}, k={query.k:g})", view, beside)
else:
    fig = figures.difference_curves(df, baseline, of, query.k)
    call = f"figures.difference_curves(df, {baseline!r}, {of!r}, k={query.k:g})"
    common.show(fig, df, query, call, view, beside)
