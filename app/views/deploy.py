"""Deploy: what is done to one programmed chip: what it wins, what verifying costs, what the hardware costs."""

import json

import common
import pandas as pd
import streamlit as st
from common import compute, deployed_tables
from common.answers import offered

from nvlib import array, devices, figures, summary
from nvlib.catalogue import DEPLOYMENTS
from nvlib.errors import InputError
from nvlib.explore import ask
from nvlib.image_sets import classes_of

VIEWS = ("What it wins", "Which weights to verify", "TSB: time and limits", "Hardware")
PLAIN = ("lenet", "lenet5")  # without normalisation, whose statistics could be taken again
CHIPS = (8, 16, 32)
FEW = 10  # chips of each deployment that are offered
QUICK = ["write_verify", "swim"]  # nothing is trained


def nothing() -> None:
    """Say how chips are deployed, and where some are stored."""
    st.info("**No deployed chips yet** for this choice.", icon=":material/hourglass_empty:")
    method = query.method[-1:] or ("gaussian",)
    idle = {"normalise"} if query.network in PLAIN else set()
    idle |= set() if "drift" in query.effects else {"compensate"}
    able = [m for m in DEPLOYMENTS if m not in idle]
    label = "What is done to the chips"
    chosen = common.choice(st.pills, label, "remedies", able, QUICK, "Those that train take longer: a minute or so.",
                           selection_mode="multi", format_func=lambda name: DEPLOYMENTS[name])  # fmt: skip
    if chosen:
        with common.guarded():
            offered(ask.deployed(query, method[0], common.stored(), chosen, chips=FEW), query)
    with st.expander("The command that computes it", icon=":material/terminal:"):
        at = f"{common.command(query, method)} --chips {FEW}"
        st.code(f"{at} --deploy {' '.join(chosen or able)}", language="bash", wrap_lines=True)
    common.offer_nearest(query, deployed=True)


def one_setting(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with one setting of each deployment method: the reader's choice where there are several."""
    parts = []
    for method, part in rows.groupby("deployment", observed=True):
        sizes = part.groupby("deployment_parameters", observed=True).agg(s=("sigma_d", "nunique"), n=("chip", "size"))
        order = sorted(sizes.index, key=lambda p: (-sizes.s[p], -sizes.n[p], len(p), p))
        said = {", ".join(f"{k} {v}" for k, v in json.loads(p or "{}").items()) or "its defaults": p for p in order}
        chosen = next(iter(said))
        if len(said) > 1:
            text = "Its settings in the order of how many sigma_d and chips they have; never mixed in one bar."
            label = f"Settings of {figures.deployment_style(method).label}"
            chosen = common.choice(st.selectbox, label, f"set_{method}", list(said), chosen, text)
        parts.append(part[part["deployment_parameters"] == said[chosen]])
    return pd.concat(parts)


def wins() -> None:
    """Show stored chips with and without each deployment method."""
    st.markdown(
        "What can be done to a programmed chip: write **all** its cells until they are right, only the weights that "
        "matter (**SWIM**), retrain its **last layers**, or add a small block that all layers share (**TSB**)."
    )
    rows = common.deployed(query)
    if rows.empty:
        nothing()
        return
    held = sorted(rows["method"].unique())
    method = common.choice(st.selectbox, "Trained with", "trained", held, held[-1], "One training method at a time.")
    rows = one_setting(rows[rows["method"] == method])
    runs = sorted(rows["run"].unique())
    hashes = ", ".join(f"`{run[:10]}`" for run in runs[:3]) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
    note = f"n = {len(rows):,} deployed chips, each with and without the remedy · results: "
    note += f"{' and '.join(sorted(rows['origin'].unique()))} · run {hashes}"
    try:
        ideal = common.ideal(query)
    except InputError as error:
        st.info(f"No distance to the ideal accuracy: {error}", icon=":material/hourglass_empty:")
    else:
        with common.guarded():
            columns = {"normalised": st.column_config.NumberColumn("normalised distance", format="%.3f")}
            common.figure(
                figures.accuracy_distance(rows, ideal), "distance", table=summary.distance_table(rows, ideal),
                note=note, columns=columns, code=f"from nvlib import figures, results\n\ndf = results(run={runs})\n"
                f"figures.accuracy_distance(df, ideal={ideal})",
            )  # fmt: skip
    st.subheader("What it costs", anchor=False)
    costs = rows.groupby(["deployment", "sigma_d"], observed=True).agg(
        chips=("chip", "size"), before=("before", "mean"), after=("accuracy", "mean"), cells=("cells", "mean"),
        verified=("verified", "mean"), pulses=("pulses", "mean"), passes=("passes", "mean"),
        seconds=("seconds", "mean"),
    ).reset_index()  # fmt: skip
    costs["deployment"] = [figures.deployment_style(d).label for d in costs["deployment"]]
    number = st.column_config.NumberColumn
    st.dataframe(costs.round({"cells": 0, "verified": 0, "pulses": 0}), hide_index=True, column_config={
        "sigma_d": number(format="%g"),
        "before": number("mean before (%)", format="%.2f"), "after": number("mean after (%)", format="%.2f"),
        "cells": number(format="localized", help="On arrays, TSB's block with them."),
        "verified": number("verified cells", format="localized", help="Read and written until they are right."),
        "pulses": number("pulses a chip", format="localized", help="Writes of a cell, retraining's with them."),
        "passes": number("training images a chip", format="localized", help="Images shown while retraining."),
        "seconds": number("training (s a chip)", format="%.1f", help="On the machine that ran it."),
    })  # fmt: skip
    st.caption(note)
    common.downloads({"This table": costs, "All chips": rows}, "costs")


def verifying() -> None:
    """Verify more and more weights of some chips, by several rankings, now."""
    found = compute.trained(query)
    if found.empty:
        common.missing(query, pd.DataFrame(columns=["method"]))
        return
    labels = compute.labels(found)
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        training = labels[common.choice(st.selectbox, "Model", "model", list(labels), compute.near(found, query),
                                        "Stored trainings of the sidebar's choice.")]  # fmt: skip
    with right:
        count = common.choice(st.select_slider, "Chips", "chips", CHIPS, CHIPS[0], "The first chips of seed 0.")
    device = devices.get(query.device)
    asked = (training, device, query.sigma_d, query.reference, query.mapping, count)
    if st.button("Program, verify and score", type="primary", icon=":material/play_arrow:",
                 help="Here, in this server: some seconds. Nothing is stored."):  # fmt: skip
        with st.spinner("Ranking the weights, then verifying them"), compute.turn():
            table = compute.verified(training, device, query.sigma_d, query, count)
        st.session_state["verified"] = (asked, table)
    if "verified" not in st.session_state:
        deployed_tables.sweep(query)
        st.info(
            "SWIM verifies first the weights whose second derivative of the loss is largest; beside it, those whose "
            "deviation adds most to the expected loss, those that are largest, and a random order. The button draws "
            "accuracy against the verified share, pulses and energy.",
            icon=":material/touch_app:",
        )
        return
    shown, table = st.session_state["verified"]
    if shown != asked:
        st.warning(f"This is what was computed before, for {figures.name(shown[1].name)} at sigma_d = {shown[2]:g}; "
                   "press the button for your present choice.", icon=":material/history:")  # fmt: skip
    last = (
        f"from nvlib import hardware\nfrom nvlib.deploy import swim\n\n"
        f"images = nvlib.load({query.dataset!r}, limit={compute.SWEPT_IMAGES})\n"
        f"table = swim.sweep(\n    model, images, device, {shown[2]:g}, index=range({shown[5]}),\n"
        f"    fractions={compute.SHARES}, reference={shown[3]!r}, mapping={shown[4]!r},\n"
        "    method=swim.Swim(estimate='sampled', images=250, process=False),\n)\n"
        "reads = table.pulses - (table.cells - table.verified)\n"
        "figures.selective_verify(table.assign(energy=hardware.written_energy(table.pulses, reads)))"
    )
    common.figure(
        figures.selective_verify(table), "verify", table=table,
        note=f"n = {shown[5]} chips, {compute.SWEPT_IMAGES:,} test images, computed now, not stored · "
        f"training `{shown[0][:10]}` · a verified cell keeps a deviation of 0.03 (assumed, as SWIM's authors); its "
        "pulses are expected ones, in closed form",
        code=compute.code(shown[0], shown[1], last),
    )  # fmt: skip


@st.cache_data(max_entries=20, show_spinner="Counting")
def counted(
    network: str, classes: int, device: str, sigma_d: float, reference: str, mapping: str, range: str, periphery: str
) -> tuple:
    """Return layers, writing costs and TSB's designs of a network, and what the numbers leave out."""
    from nvlib import Crossbar, hardware, models

    model = models.build(network, classes=classes)
    accelerator = hardware.Accelerator.of(Crossbar(device, mapping=mapping, range=range, periphery=periphery))
    found = hardware.estimate(model, accelerator=accelerator)
    written = hardware.programming(model, accelerator=accelerator, device=device, sigma_d=sigma_d, reference=reference)
    return found.layers, found.totals, written, hardware.table1(), hardware.LIMITS


def hardware() -> None:
    """Show energy, latency and area of the network, and what writing it costs."""
    network = query.network.partition(" x")[0]
    classes = classes_of(query.dataset) or 10
    periphery = common.choice(
        st.selectbox, "Tiles and converters", "accelerator", [*array.PRESETS, "default"], "neurosim",
        "The record that accuracy is computed with on the pages Array and Life; default: tiles of 128 x 128 and 8-bit "
        "converters. All of them at the costs of one technology, 22 nm.",
    )  # fmt: skip
    preset = array.PRESETS.get(periphery)
    st.caption(f"`{array.get(periphery)}`" + (f" · {preset.source}; {preset.note}" if preset else ""))
    layers, totals, written, designs, limits = counted(
        network, classes, query.device, query.sigma_d, query.reference, query.mapping, query.range, periphery
    )
    tiles = st.columns(4)
    for tile, (label, value, text) in zip(tiles, (
        ("Energy of an image", f"{totals['energy'] * 1e6:.3g} µJ", f"{totals['macs']:,.0f} multiplications"),
        ("Latency of an image", f"{totals['latency'] * 1e6:.4g} µs", "layers one after another"),
        ("Area", f"{totals['area'] * 1e6:.3g} mm²", f"{totals['allocated']:,.0f} arrays in whole tiles"),
        ("Cells", f"{totals['cells']:,.0f}", f"fill {totals['utilisation']:.0%} of their arrays"),
    ), strict=True):  # fmt: skip
        tile.metric(label, value, text, delta_color="off", delta_arrow="off", border=True)
    start = "from nvlib import figures, hardware, models\n\n"
    common.figure(
        figures.hardware_layers(layers), "layers", table=layers, note=f"counted, nothing is simulated. {limits}",
        code=f"from nvlib import Crossbar\n{start}model = models.build({network!r}, classes={classes})\n"
        f"crossbar = Crossbar({query.device!r}, mapping={query.mapping!r}, range={query.range!r},\n"
        f"                    periphery={periphery!r})\n"
        "chip = hardware.Accelerator.of(crossbar)\n"
        "figures.hardware_layers(hardware.estimate(model, accelerator=chip).layers)",
    )  # fmt: skip
    st.subheader("What writing it costs", anchor=False)
    number = st.column_config.NumberColumn
    st.dataframe(written.round({"verified_cells": 0, "pulses": 0, "reads": 0}), hide_index=True, column_config={
        "cells": number(format="localized"), "verified_cells": number("verified cells", format="localized"),
        "pulses": number(format="localized"), "pulses_per_cell": number("pulses a verified cell", format="%.2f"),
        "reads": number(format="localized"), "energy": number("energy (J)", format="scientific"),
        "time": number("time (s)", format="%.3g"),
    })  # fmt: skip
    common.downloads({"This table": written}, "written")
    common.figure(
        figures.hardware_designs(designs), "designs", table=designs,
        note="ours first order; NeuroSim run by us; the paper's as printed: each as a ratio to its own base",
        code=f"{start}figures.hardware_designs(hardware.table1())",
    )  # fmt: skip


query = common.query()
st.title("Deploy", anchor=False)
view = common.choice(st.segmented_control, "View", "deploy", VIEWS, VIEWS[0], "", required=True,
                     label_visibility="collapsed")  # fmt: skip
if view != VIEWS[0] and query.device not in devices.names():
    raise InputError("the numbers of this device are not built in; choose another in the sidebar")
dict(zip(VIEWS, (wins, verifying, deployed_tables.limits, hardware), strict=True))[view]()
