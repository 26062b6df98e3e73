"""Why (Taylor): what a second-order expansion of the loss says of the worst chips, and where it stops being true."""

from collections.abc import Callable

import common
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from common import compute

from nvlib import figures
from nvlib.errors import InputError
from nvlib.papers import theory, training_length

VIEWS = ("One weight", "Layers and slices", "All weights", "Along training", "Length of training")
COMMAND = "python -m nvlib.papers.analyses taylor"
DRAWS = 100_000  # of one weight, at each slope
OPEN = "import nvlib\nfrom nvlib import figures\nfrom nvlib.papers import theory\n\n"
MODEL = ["method", "train_sigma_d", "train_seed"]
FIGURES: dict[str, tuple[Callable[..., go.Figure], str, str]] = {
    "Percentiles": (figures.loss_percentiles, "predicted", "loss_percentiles"),
    "Quantiles": (figures.loss_quantiles, "quantiles", "loss_quantiles"),
    "Chip by chip": (figures.chip_losses, "chips", "chip_losses"),
}


@st.cache_data(ttl=60, show_spinner=False)
def shipped(name: str) -> pd.DataFrame:
    """Return a table of the analysis; an empty one where it does not ship."""
    try:
        return theory.table(name)
    except InputError:
        return pd.DataFrame()


def nothing() -> None:
    """Say how the analysis is computed."""
    st.info("**No analysis of a model yet.** This computes it for the models in the store, some minutes each:",
            icon=":material/hourglass_empty:")  # fmt: skip
    st.code(COMMAND, language="bash")


@st.cache_data(max_entries=200, show_spinner="Computing")
def laws(f1: float, f2: float, sigma: float, q: float) -> tuple[pd.DataFrame, dict[str, tuple]]:
    """Return the percentile of the loss against the slope by every law, and at one slope with its interval."""
    import numpy as np

    from nvlib import taylor

    table = taylor.compare(np.linspace(0, max(2 * f1, 1.0), 65), f2, sigma, q, draws=DRAWS)
    at = {law: (float(taylor.percentile(f1, f2, sigma, q, law=law)), None, None) for law in ("printed", "exact")}
    seen = taylor.simulate(f1, f2, sigma, q, draws=DRAWS)
    return table, at | {"simulated": (seen.value, seen.low, seen.high)}


def one_weight() -> None:
    """Move one weight's slope, curvature and deviation."""
    st.markdown(
        "The loss of a chip is the loss at slightly different weights. To second order, one weight that strays by "
        "$dw$ makes it $f + f'\\,dw + f''\\,dw^2/2$; TRICE's Eq. 6 derives from this what the worst chips lose, and "
        "concludes that a larger slope $|f'|$ helps. The exact law and simulated chips say otherwise."
    )
    first, second, third = st.columns(3)
    with first:
        f1 = common.number("Slope f'", "f1", 0.0, 2.0, 0.5, 0.05, "First derivative of the loss in the weight.")
    with second:
        f2 = common.number("Curvature f''", "f2", 0.1, 20.0, 4.0, 0.1, "Second derivative of the loss.")
    with third:
        sigma = common.number("Deviation sigma", "sigma", 0.01, 1.0, 0.1, 0.01, "Of the weight, in its own units.")
    q = query.k / 100
    table, at = laws(f1, f2, sigma, q)
    tiles = st.columns(3)
    for tile, (law, label) in zip(tiles, (("printed", "Eq. 6 as printed"), ("exact", "Exact law"),
                                          ("simulated", f"Simulated, {DRAWS:,} chips")), strict=True):  # fmt: skip
        value, low, high = at[law]
        text = "closed form" if low is None else f"95 %: {low:.4f} to {high:.4f}"
        tile.metric(
            label, f"{value:+.4f}", text, delta_color="off", delta_arrow="off", border=True,
            help=f"Rise of the loss (nats) that {query.k:g} % of the chips exceed, at the slope above.",
        )  # fmt: skip
    code = f"taylor.compare(np.linspace(0, {max(2 * f1, 1.0):g}, 65), {f2:g}, {sigma:g}, {q:g}, draws={DRAWS:_})"
    common.figure(
        figures.one_weight(table), "one-weight", table=table,
        note=f"laws exact; simulation: {DRAWS:,} chips a point, each point's its own, seed 0 · q = k / 100 = {q:g} "
        "(k is in the sidebar)",
        code=f"import numpy as np\nfrom nvlib import figures, taylor\n\nfigures.one_weight({code})",
    )  # fmt: skip


def model(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Let the reader choose one of the analysed models; its rows, and the code that selects them."""
    known = table[MODEL].drop_duplicates()
    labels = {
        f"{figures.style(row.method).label}, trained at sigma_d = {row.train_sigma_d:g}, seed {row.train_seed}": row
        for row in known.itertuples(index=False)
    }  # fmt: skip
    text = "LeNet on MNIST, RRAM, full scale, differential: what the analysis was made for."
    near = min(labels, key=lambda label: (labels[label].method not in query.method[-1:],
                                          abs(labels[label].train_sigma_d - query.sigma_d)))  # fmt: skip
    row = labels[common.choice(st.selectbox, "Model", "model", list(labels), near, text)]
    keep = (table[MODEL] == pd.Series(row._asdict())).all(axis=1)
    where = f"method == {row.method!r} and train_sigma_d == {row.train_sigma_d:g} and train_seed == {row.train_seed}"
    return table[keep].reset_index(drop=True), f".query({where!r})"


def shares() -> None:
    """Show who carries the loss: a map of layers and slices to click on, and all that is known of the layer chosen."""
    layers, bits = shipped("layers"), shipped("bits")
    if layers.empty or bits.empty:
        nothing()
        return
    st.markdown(
        "A weight lies on slices of cells, of which the highest weighs most. Each square stands for the cells of one "
        "slice in one layer. **Click on one**: what follows is of its layer."
    )
    left, middle, right = st.columns([1, 1, 2])
    with left:
        text = "Rise of the mean loss, or variance of the loss over chips."
        of = common.choice(st.segmented_control, "Of", "of", ("mean", "variance"), "mean", text, required=True)
    with middle:
        sigmas = sorted(layers["sigma_d"].unique().tolist())
        sigma_d = common.choice(st.segmented_control, "At sigma_d", "at", sigmas, sigmas[-1],
                                "Small, where the expansion to second order holds.", required=True)  # fmt: skip
    with right:
        rows, where = model(layers[layers["sigma_d"] == sigma_d])
    same = (bits[[*MODEL, "sigma_d"]] == rows[[*MODEL, "sigma_d"]].iloc[0]).all(axis=1)
    bits, name = bits[same].reset_index(drop=True), rows["method"].iloc[0]
    table = figures.share_table(rows, bits)
    both = (f"rows, bits = (theory.table(name){where} for name in ('layers', 'bits'))\n"
            f"rows, bits = (t[t.sigma_d == {sigma_d:g}] for t in (rows, bits))\n")  # fmt: skip
    clicked = common.figure(
        figures.share_map(table, of, name), "map", table=table, on_select="rerun", selection_mode="points",
        note=f"predicted by the expansion to second order · shipped, `{COMMAND}` · training "
        f"`{rows['training'].iloc[0][:10]}`",
        code=f"{OPEN}{both}figures.share_map(figures.share_table(rows, bits), {of!r}, {name!r})",
    )  # fmt: skip
    layer = chosen(rows["layer"].tolist(), clicked)
    about(rows.set_index("layer").loc[layer])
    text = "Slices are the cells of equal weight: the highest bits weigh most."
    place = common.choice(st.segmented_control, "Predicted and simulated, by", "place", ("layer", "slice"), "layer",
                          text, required=True)  # fmt: skip
    shown = rows if place == "layer" else bits
    common.figure(
        figures.variance_shares(shown, of), f"shares-{place}", table=shown,
        note=f"bars: predicted; dots: simulated chips that stray there alone · shipped, `{COMMAND}`",
        code=f"{OPEN}{both}figures.variance_shares({'rows' if place == 'layer' else 'bits'}, {of!r})",
    )  # fmt: skip
    along(rows, layer)
    if len(training := shipped("training")) and layer in set(training["layer"]):
        st.subheader(f"While training: {layer.removesuffix('.weight')}", anchor=False)
        followed(training, "test", layer, "layer-training")


def chosen(names: list[str], clicked: dict) -> str:
    """Return the layer that was clicked on last, or chosen by name."""
    points = clicked["selection"]["points"]
    point = tuple(points[0]["customdata"][:2]) if points else None
    if point and point != st.session_state.get("clicked"):
        st.session_state["clicked"], st.session_state["layer"] = point, point[0]
    return common.choice(st.selectbox, "Layer", "layer", names, names[0], "Or click on a square of the map.")


def about(row: pd.Series) -> None:
    """Show what the expansion tells of a layer, in four numbers."""
    tiles = st.columns(4)
    for tile, (label, value, text, said) in zip(tiles, (
        ("Weights", f"{row['weights']:,}", f"mean |f'| {row['f1']:.2g}", "On arrays; f' is the loss's derivative."),
        ("Mean curvature f''", f"{row['f2']:.2g}", "nats a weight squared", "Mean second derivative of the loss."),
        ("Rise of the mean loss", f"{row['mean']:.2g}", f"simulated {row['mean_seen']:.2g} ± {row['mean_error']:.1g}",
         "Nats, predicted, if this layer alone strays; ± one standard error."),
        ("Variance of the loss", f"{row['variance']:.2g}",
         f"simulated {row['variance_seen']:.2g} ± {row['variance_error']:.1g}",
         "Square nats over chips, predicted, if this layer alone strays; ± one standard error."),
    ), strict=True):  # fmt: skip
        tile.metric(label, value, text, delta_color="off", delta_arrow="off", border=True, help=said)


def along(rows: pd.DataFrame, layer: str) -> None:
    """Show the true loss and its parabola along the weight of a layer that matters most."""
    st.subheader("Along one weight of it", anchor=False)
    found = compute.trained_as(rows.iloc[0])
    if found is None:
        st.caption("The model itself is not in the store, so that its loss cannot be drawn.")
        return
    if st.button("Draw the true loss and its parabola", icon=":material/show_chart:",
                 help="The layer's weight that adds most to the mean loss; takes some seconds."):  # fmt: skip
        with st.spinner("Differentiating the loss twice"), compute.turn():
            st.session_state["cut"] = (found, layer, compute.cut(found, layer))
    if "cut" not in st.session_state:
        return
    of, where, cut = st.session_state["cut"]
    if (of, where) != (found, layer):
        st.warning(f"This is what was drawn before, of {where} of training `{of[:10]}`; press the button for {layer} "
                   f"of training `{found[:10]}`.", icon=":material/history:")  # fmt: skip
    common.figure(
        figures.loss_cut([cut]), "cut", table=cut.table,
        note=f"{where} · {compute.CUT_IMAGES} test images, activation quantisation off · computed now, not stored · "
        f"training `{of[:10]}` · they agree within {cut.tolerance:g} nats from {cut.low / cut.sigma:.2f} to "
        f"{cut.high / cut.sigma:.2f} deviations",
    )  # fmt: skip


def all_weights() -> None:
    """Set predicted and simulated losses of chips side by side."""
    which = common.choice(st.segmented_control, "Show", "show", list(FIGURES), next(iter(FIGURES)),
                          "Percentiles against sigma_d; quantiles at one; each chip's loss and its own prediction.",
                          required=True)  # fmt: skip
    draw, name, call = FIGURES[which]
    table = shipped(name)
    if table.empty:
        nothing()
        return
    rows, where = model(table)
    common.figure(
        draw(rows), f"all-{name}", table=rows,
        note=f"activation quantisation off on both sides · shipped, `{COMMAND}`",
        code=f"{OPEN}figures.{call}(theory.table({name!r}){where})",
    )  # fmt: skip


def along_training() -> None:
    """Show what training does to the loss and its derivatives."""
    table = shipped("training")
    if table.empty:
        nothing()
        return
    left, right = st.columns(2)
    with left:
        split = common.choice(st.segmented_control, "Loss over", "split", ("test", "train"), "test",
                              "Images that the derivatives are of.", required=True)  # fmt: skip
    with right:
        layers = ["all", *sorted(set(table["layer"]) - {"all"})]
        layer = common.choice(st.selectbox, "Layer", "layer", layers, "all", "")
    followed(table, split, layer, "training")


def followed(table: pd.DataFrame, split: str, layer: str, key: str) -> None:
    """Show loss and derivatives by epoch, of all layers or one."""
    common.figure(
        figures.derivatives_by_epoch(table, split, layer), key, table=table[table["layer"] == layer],
        note=f"one training a method, seed 0 · shipped, `{COMMAND}`",
        code=f"{OPEN}figures.derivatives_by_epoch(theory.table('training'), {split!r}, {layer!r})",
    )  # fmt: skip


def lengths() -> None:
    """Show the percentile by length of training, above the largest weight."""
    st.markdown(
        "A cell's deviation is relative to its full scale, and the full scale stands for the **largest** weight of a "
        "tensor: the further that one lies from the others, the further all of them stray. Here the same training is "
        "shown at several lengths, each with a whole schedule of the learning rate, and once more with its weights "
        "clipped after each update."
    )
    rows, table = lengthened(query.k)
    if table.empty:
        st.info("**No trainings of several lengths yet.** These train and look at them, some minutes each:",
                icon=":material/hourglass_empty:")  # fmt: skip
        st.code(training_length.COMMANDS, language="bash", wrap_lines=True)
        return
    common.figure(
        figures.length_curves(table, rows, query.k), "lengths", table=table,
        note=f"LeNet on MNIST, one training a point, the first {len(rows) // len(table):,} chips of each · shipped",
        code="from nvlib import figures, papers\n\n"
        f"figures.length_curves(papers.length_table({query.k:g}), papers.length_rows(), {query.k:g})",
    )  # fmt: skip


@st.cache_data(ttl=60, show_spinner=False)
def lengthened(k: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the chips of all lengths of training, and the table of them."""
    return training_length.length_rows(), training_length.length_table(k)


query = common.query()
st.title("Why: the loss around a weight", anchor=False)
view = common.choice(st.segmented_control, "View", "why", VIEWS, VIEWS[0], "", required=True,
                     label_visibility="collapsed")  # fmt: skip
{VIEWS[0]: one_weight, VIEWS[1]: shares, VIEWS[2]: all_weights, VIEWS[3]: along_training,
 VIEWS[4]: lengths}[view]()  # fmt: skip
