"""Reproduce: every claim of the four papers beside ours, and for each artefact what makes it."""

from pathlib import Path
from typing import Any

import common
import pandas as pd
import streamlit as st
from common import notebook

from nvlib import figures, papers
from nvlib.papers.drawing import Picture
from nvlib.store import shipped_results

BIBTEX = {paper.name: paper.bibtex for paper in papers.PAPERS}
SOURCES = ("Shipped", "Shipped and yours")
WRITTEN: dict[str, Any] = {
    "claim": st.column_config.TextColumn(width="large"),
    "printed": st.column_config.NumberColumn(format="%.4g"), "ours": st.column_config.NumberColumn(format="%.4g"),
    "low": st.column_config.NumberColumn("95 %, low", format="%.4g"), "said_by": "said by",
    "high": st.column_config.NumberColumn("95 %, high", format="%.4g"), "n": st.column_config.NumberColumn("chips"),
}  # fmt: skip
ORDER = ("artefact", "claim", "printed", "ours", "low", "high", "unit", "at", "verdict", "protocol", "substitute",
         "note", "n", "said_by")  # fmt: skip


@st.cache_resource(ttl=20, max_entries=2, show_spinner=False)
def held(source: str) -> papers.Evidence:
    """Return the stored chips, as shipped or with the reader's own; shared by all sessions and never written to."""
    table = common.stored()
    return papers.Evidence(held=table[table["origin"] == "shipped"] if source == SOURCES[0] else table)


@st.cache_data(ttl=60, max_entries=60, show_spinner="Drawing")
def drawn(name: str, title: str, source: str) -> Picture | None:
    """Return one of an artefact's figures; None where nothing is stored for it."""
    return papers.drawings(name)[title].picture(held(source))


@st.cache_data(ttl=300, max_entries=4, show_spinner="Measuring the claims in the stored chips")
def claims(source: str) -> pd.DataFrame:
    """Return the claims table: as it ships where it does, else (or with the reader's own results) measured now."""
    path = (shipped_results() or Path("results")) / "claims.csv"
    if source == SOURCES[0] and path.is_file():
        numbers = {key: [""] for key in ("printed", "ours", "low", "high", "n")}
        return pd.read_csv(path, keep_default_na=False, na_values=numbers)
    return papers.claims_table(held(source))


def overview(table: pd.DataFrame) -> None:
    """Show all claims, narrowed by paper and verdict."""
    left, right = st.columns([1, 2])
    with left:
        chosen = common.choice(st.pills, "Paper", "paper", list(BIBTEX), None, "None chosen: all.",
                               selection_mode="multi")  # fmt: skip
    known = [v for v in papers.VERDICTS if v in set(table["verdict"])]
    with right:
        verdicts = common.choice(st.pills, "Verdict", "verdict", known, None, "None chosen: all.",
                                 selection_mode="multi", wrap=True)  # fmt: skip
    shown = table[table["paper"].isin(chosen or BIBTEX) & table["verdict"].isin(verdicts or known)]
    counts = shown["verdict"].value_counts()
    st.dataframe(shown, hide_index=True, column_config=WRITTEN, column_order=ORDER, placeholder="")
    st.caption(
        f"{len(shown)} claims: {', '.join(f'{n} {verdict}' for verdict, n in counts.items())}. Rules of the verdicts "
        "were fixed before the results were looked at (`nvlib/papers/rules.py`, with what was changed since); what "
        "was measured on another network or data set than the paper's holds in direction at best."
    )
    common.downloads({"These claims": shown}, "claims")


def own(artefact: papers.Artefact) -> None:
    """Show the figure of an artefact, or what computes it."""
    listed = papers.drawings(artefact.name)
    if not listed:
        return  # a sentence: its claims below are all there is to draw
    titles, title = list(listed), next(iter(listed))
    if len(titles) > 1:
        title = common.choice(st.segmented_control, "Figure", "figure", titles, title, "", required=True)
    drawing, found = listed[title], drawn(artefact.name, title, source)
    if found is None:
        st.info("**No result yet for this figure.** This computes it, as large as two cores do in minutes; the page "
                "then finds it by itself:", icon=":material/hourglass_empty:")  # fmt: skip
        st.code(artefact.command, language="bash", wrap_lines=True)
        return
    common.figure(found.fig, f"{artefact.name}-{title}".lower().replace(" ", "-"), table=found.table, note=found.note,
                  chips=found.chips, code=drawing.code, columns=common.columns() | WRITTEN)  # fmt: skip


def one(name: str, table: pd.DataFrame) -> None:
    """Show an artefact: its figure, its claims as a figure and in words, its notebook, commands and downloads."""
    artefact = papers.artefact(name)
    rows = table[table["artefact"] == name]
    st.subheader(f"{name}: {artefact.what}", anchor=False)
    with common.guarded():
        own(artefact)
    drawn = rows[rows["printed"].notna() | rows["ours"].notna()]
    units = drawn["unit"].unique().tolist()
    for unit in units:
        part = drawn[drawn["unit"] == unit]
        part = part.assign(label=[f"{row.claim} [{i}]" if part["claim"].duplicated(keep=False).any() else row.claim
                                  for i, row in enumerate(part.itertuples(), 1)])  # fmt: skip
        fig = figures.beside_printed(part, f"Printed and ours ({unit})", unit)
        common.figure(
            fig, f"{name}-{unit}", table=part,
            note=" · ".join(filter(None, dict.fromkeys(part["protocol"]))) or "not yet computed",
            code=f"from nvlib import figures, papers\n\ntable = papers.claims_table(names=[{name!r}])\n"
            f"figures.beside_printed(table.assign(label=table.claim), {name!r}, {unit!r})",
        )  # fmt: skip
    for row in rows.itertuples():
        ours = "" if pd.isna(row.ours) else f": ours {row.ours:.4g} {row.unit}" + (f", {row.at}" if row.at else "")
        printed = "" if pd.isna(row.printed) else f" (printed: {row.printed:g} {row.unit})"
        st.markdown(f"- {common.told(f'{row.claim}{printed}{ours}')}: **{row.verdict}**"
                    + (f". {common.told(row.note)}" if row.note else ""))  # fmt: skip
    making(artefact)


def making(artefact: papers.Artefact) -> None:
    """Show what makes an artefact."""
    st.markdown("##### Make it yourself")
    text = "smoke: seconds. quick: minutes on two cores. full: what ships, hours. paper: its protocol to the letter."
    presets = list(papers.PRESETS)
    preset = common.choice(st.segmented_control, "Size", "preset", presets, "quick", text, required=True)
    book, out = artefact.notebook, f"{artefact.notebook}-{preset}.ipynb"
    st.code(notebook.commands(artefact.name, book, preset), language="bash", wrap_lines=True)
    with st.container(horizontal=True):
        if notebook.path(book):
            st.download_button(
                "Open as notebook", lambda: notebook.parameterised(book, preset), out, "application/x-ipynb+json",
                key="notebook", on_click="ignore", icon=":material/book:", help="Put it in notebooks/ and run it.",
            )  # fmt: skip
        else:
            st.caption(f"Its notebook `{book}` is still to come.")
    if artefact.name in set(papers.printed_numbers.everything()["artefact"]):
        with st.expander("The numbers the paper prints", icon=":material/table:"):
            printed = papers.published(artefact.name)
            st.dataframe(printed, hide_index=True)
            common.downloads({"Printed numbers": printed}, "printed")
    with st.expander("Cite the paper", icon=":material/format_quote:"):
        st.code(BIBTEX[artefact.paper], language="latex")


st.title("Reproduce", anchor=False)
st.caption("Every claim of the four papers, the number they print, ours with its 95 % interval, and a verdict. A row "
           "stays until it works; what was not computed yet says so. A claim fixes its own network, device and "
           "sigma_d: the sidebar changes nothing here.")  # fmt: skip
source = common.choice(st.segmented_control, "Measured in", "source", SOURCES, SOURCES[0],
                       "What ships alone is the same for everybody; with yours it is measured again.",
                       required=True)  # fmt: skip
table = claims(source)
overview(table)
names = list(papers.ARTEFACTS)
start = "trice-table1" if "trice-table1" in names else names[0]
one(common.choice(st.selectbox, "Artefact", "artefact", names, start, "A figure, table or sentence of a paper."), table)
