"""Overview: the problem, four numbers a method, the distribution they come from, and where to go from there."""

import common
import streamlit as st
from common import pages

from nvlib import devices, figures, summary

query = common.query()
st.title("Neural networks on imperfect chips", anchor=False)
st.markdown(
    "A compute-in-memory chip multiplies where it stores: each weight is the conductance of a few non-volatile cells. "
    "No cell takes quite the conductance it was programmed to, so every chip computes with slightly different weights, "
    "and some chips do far worse than the average. "
    "What counts is the accuracy that all but a few per cent of the chips exceed, and how training can raise it."
)

df = common.chips(query, sigma_d=query.sigma_d)
common.missing(query, df)
if not df.empty:
    numbers = st.container()  # above the choice of what they are of
    chosen = common.beside(query)
    df = common.laid(query, chosen, sigma_d=query.sigma_d)
    table = summary.results_table(df, query.k).set_index("method")
    clean = common.laid(query, chosen, clean=True)
    percentile = f"{figures.ordinal(query.k)} percentile (KPP)"
    for method, row in table.iterrows():
        alone = clean[clean["method"] == method]["accuracy"]
        numbers.markdown(f"**{figures.style(method).label}**")
        tiles = numbers.columns(4)
        tiles[0].metric(
            "Clean accuracy", f"{alone.mean():.2f} %" if len(alone) else "–", border=True,
            delta="without variation" if len(alone) else "not computed", delta_color="off", delta_arrow="off",
            help="The same models at sigma_d = 0: quantised, but every cell exactly as programmed.",
        )  # fmt: skip
        tiles[1].metric(
            "Mean over chips", f"{row['mean']:.2f} %", delta=common.interval(row, "mean"), delta_color="off",
            delta_arrow="off", border=True, help="With its 95 % t interval over chips, averaged over trainings.",
        )  # fmt: skip
        tiles[2].metric(
            percentile, f"{row['kpp']:.2f} %", delta=common.interval(row, "kpp"), delta_color="off", delta_arrow="off",
            border=True, help=f"All but {query.k:g} % of the chips exceed it. 95 % interval from order statistics.",
        )  # fmt: skip
        tiles[3].metric(
            "Worst chip", f"{row['worst']:.2f} %", delta=f"of {row['n']:,}", delta_color="off", delta_arrow="off",
            border=True, help="The lowest accuracy seen. It falls further the more chips are tried.",
        )  # fmt: skip
    fig = figures.accuracy_distribution(df, query.k)
    common.show(fig, df, query, f"figures.accuracy_distribution(df, k={query.k:g})", "distribution", chosen)
elif query.device in devices.names():  # what is known of it without a chip
    common.figure(
        figures.device_levels(query.device, query.sigma_d, query.reference), "levels",
        note=f"exact, nothing is drawn · {devices.get(query.device).validity}",
        code=f"from nvlib import figures\n\nfigures.device_levels({query.device!r}, {query.sigma_d:g}, "
        f"{query.reference!r})",
    )  # fmt: skip

st.subheader("What to try next", anchor=False)
ahead = [page for page in pages.PAGES.values() if page.invites]
st.markdown(
    "- **Move sigma_d** in the sidebar: the mean falls late, the lower tail early.\n"
    "- **Raise k** from 1 to 50: the percentile becomes the median, and the problem seems to vanish.\n"
    "- **Change the device**: FeFET1 strays four times as far in its middle levels; PCM and SONOS are measured.\n"
    f"- **Or** {', '.join(page.invites for page in ahead[:-1])}, or {ahead[-1].invites}:"
)
with st.container(horizontal=True):
    for name, page in pages.PAGES.items():
        if page.invites:
            st.page_link(pages.file(name), label=page.title, icon=page.symbol)
