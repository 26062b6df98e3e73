"""Device lab: a device's levels, the noise of training, and what a device does to the weights and chips of a model."""

from dataclasses import replace
from functools import partial

import common
import pandas as pd
import streamlit as st
from common import compute, own
from common.answers import offered

from nvlib import devices, figures, summary
from nvlib.devices import Device
from nvlib.errors import InputError
from nvlib.explore import ask

VIEWS = ("Levels", "Training noise", "Weights of a model", "Weight range", "Chips of a model")
SPANS = ("max", *(f"deviations:{n}" for n in (5, 4, 3.5, 3, 2.5, 2, 1.5, 1)))
SOURCES = ("Sidebar", "Edit a table", "Upload a file")


def chosen() -> Device | None:
    """Let the reader choose, edit or upload a device, and return it; None while there is none."""
    source = common.choice(
        st.segmented_control, "Device", "from", SOURCES, SOURCES[0],
        "The sidebar's device; the same with levels that you edit; or one of yours from a CSV or TOML file.",
        required=True,
    )  # fmt: skip
    listed = devices.get(query.device) if query.device in devices.names() else None
    if source == SOURCES[2]:
        with st.container(border=True):
            file = st.file_uploader("A device as CSV or TOML", ["csv", "toml"], key="file", max_upload_size=1)
            template = listed or devices.get("pcm")
            st.caption("A row a level, `level,conductance,deviation`, and other fields as `# key: value`. For example:")
            save(template, "example")
        return own.read(file.name, file.getvalue()) if file else None
    if listed is None:
        st.info("The numbers of this device are not built in; edit a table or upload it.", icon=":material/memory:")
    if source == SOURCES[0] or listed is None:
        return listed
    with st.container(border=True):
        left, middle, right = st.columns([3, 2, 3], vertical_alignment="bottom")
        name = left.text_input("Name", f"my_{listed.name}", max_chars=60, key=f"name-{listed.name}")
        unit = middle.text_input("Unit of conductance", listed.unit, max_chars=12, key=f"unit-{listed.name}")
        relative = right.toggle("Deviations are multiples of sigma_d", listed.relative, key=f"kind-{listed.name}",
                                help="Else they are standard deviations in the unit of the levels.")  # fmt: skip
        table = pd.DataFrame({"conductance": listed.levels, "deviation": listed.deviation})
        number = st.column_config.NumberColumn
        kinds = {"conductance": number(min_value=0, format="%g"), "deviation": number(min_value=0, format="%g")}
        edited = st.data_editor(table, num_rows="dynamic", key=f"levels-{listed.name}", column_config=kinds)
        st.caption("A row a level, from low to high: 2, 4, 8, ... rows for cells of 1, 2, 3, ... bits.")
        fields = {"name": name, "unit": unit, "relative": relative, "source": "edited by you", "validity": "yours"}
        return own.made(fields, edited)


def save(device: Device, key: str) -> None:
    """Offer a device as a file."""
    with st.container(horizontal=True):
        for suffix in (".csv", ".toml"):
            st.download_button(
                f"{figures.name(device.name)} as {suffix[1:].upper()}", partial(own.written, device, suffix),
                f"device{suffix}", "text/plain", key=f"{key}{suffix}", on_click="ignore", icon=":material/download:",
            )  # fmt: skip


def levels() -> None:
    """Show where programmed cells end up."""
    table = pd.DataFrame({
        "level": range(len(device.levels)), f"conductance ({device.unit})": device.levels,
        "deviation": device.deviation, "read as (levels)": device.values,
        "strays by (levels)": device.spread(sigma_d, query.reference),
    })  # fmt: skip
    kind = "multiples of sigma_d" if device.relative else f"standard deviations in {device.unit}"
    made = "devices.load('device.toml')  # downloaded here" if mine else f"devices.get({device.name!r})"
    code = f"from nvlib import devices, figures\n\ndevice = {made}\n"
    code += f"figures.device_levels(device, {sigma_d:g}, {query.reference!r})"
    fig = figures.device_levels(device, sigma_d, query.reference)
    common.figure(
        fig, "levels", table=table, code=code,
        note=f"exact, nothing is drawn · {2**device.bits} levels, {device.bits} bits a cell · deviations are {kind} · "
        f"{own.plain(device.validity)}",
    )  # fmt: skip
    save(device, "this")


def laws() -> None:
    """Show the laws of the training noise with their moments."""
    from nvlib import noise

    left, right = st.columns(2)
    with left:
        th = common.number("Threshold th (deviations)", "th", 0.5, 4.0, 2.0, 0.1, "Where a law is cut.")
    with right:
        sigma_t = common.number("Training noise sigma_t", "sigma_t", 0.1, 3.0, 1.0, 0.1, "As a multiple of sigma_d.")
    made = [noise.get(name, None if name == "gaussian" else th) for name in noise.LAWS]
    table = pd.DataFrame({
        "law": [figures.style(law.name).label for law in made], "mean": [sigma_t * law.mean() for law in made],
        "deviation": [sigma_t * law.variance() ** 0.5 for law in made],
        "at the threshold (%)": [100 * atom[1] if (atom := law.atom()) else 0.0 for law in made],
    })  # fmt: skip
    code = f"from nvlib import figures\n\nfigures.noise_laws({th:g}, {sigma_t:g})"
    common.figure(figures.noise_laws(th, sigma_t), "laws", table=table, code=code,
                  note="exact: densities and moments in closed form (`nvlib.noise`)")  # fmt: skip


def model() -> str | None:
    """Let the reader choose a stored model; its training's hash."""
    found = compute.trained(query)
    if found.empty:
        common.missing(query, pd.DataFrame(columns=["method"]))
        return None
    labels, text = compute.labels(found), "Stored trainings of the sidebar's network, data set and methods."
    return labels[common.choice(st.selectbox, "Model", "model", list(labels), compute.near(found, query), text)]


def weights(training: str) -> None:
    """Show how far each layer's weights stray."""
    with st.spinner("Reading the model"), compute.turn():
        table = compute.deviations(training, device, sigma_d, query)
    where = f"{sigma_d:g}, reference={query.reference!r}, mapping={query.mapping!r}"
    note = f"{figures.name(query.network)} · {figures.name(device.name)} · σ<sub>d</sub> = {sigma_d:g}, {query.mapping}"
    common.figure(
        figures.layer_deviations(table, note), "weights", table=table,
        note=f"exact: no chip is drawn · training `{training[:10]}`",
        code=compute.code(training, device, f"figures.layer_deviations(crossbar.deviations(model, device, {where}))"),
    )  # fmt: skip


def span(training: str) -> None:
    """Show a model's weights against a range, how many saturate, and how chips score under the ranges stored."""
    text = "What the largest level stands for: max|w|, or so many root mean squares of a tensor; beyond, they saturate."
    chosen = common.choice(st.select_slider, "Weight range", "span", SPANS, "deviations:3", text)
    try:
        with st.spinner("Reading the model"), compute.turn():
            spread, layers = compute.saturating(training, chosen)
    except InputError as error:
        st.info(f"The weights of this model are not here: {common.told(error)}", icon=":material/hourglass_empty:")
        return
    common.figure(
        figures.weights_and_range(spread, layers, f"{figures.name(query.network)} · range {chosen}"), "saturation",
        table=layers, note=f"exact: no chip is drawn · training `{training[:10]}` · other weights stray by "
        "`quieter` of what they do at max",
        code=compute.code(training, device, "from nvlib.explore import saturation\n\nfigures.weights_and_range(\n    "
                       f"saturation.spread(model), saturation.saturation(model, {chosen!r}),\n)"),
    )  # fmt: skip
    table = common.stored()
    rows = table[(table["training"] == training) & (table["device"] == device.name) & (table["sigma_d"] == sigma_d)
                 & (table["deployment"] == "") & (table["effects"] == "") & (table["periphery"] == "")
                 & (table["mapping"] == query.mapping) & (table["reference"] == query.reference)]  # fmt: skip
    rows = rows[rows["images"] == rows["images"].max()]
    under = rows[rows["range"] == chosen]["accuracy"]
    share = (layers["saturated"] * layers["weights"]).sum() / layers["weights"].sum()
    quieter = (layers["quieter"] * layers["weights"]).sum() / layers["weights"].sum()
    tiles = st.columns(3)
    for tile, (label, value, text) in zip(tiles, (
        ("Saturated weights", f"{100 * share:.2f} %", "held at the top level"),
        ("Deviation of all weights", f"× {quieter:.2f}", "of what it is at max, on average over weights"),
        ("Mean over chips", f"{under.mean():.2f} %" if len(under) else "–",
         f"{len(under):,} chips" if len(under) else "not computed"),
    ), strict=True):  # fmt: skip
        tile.metric(label, value, text, delta_color="off", delta_arrow="off", border=True)
    if rows["range"].nunique() > 1:
        runs = sorted(rows["run"].unique())
        common.figure(figures.range_curves(rows, query.k), "ranges", table=summary.by_range(rows, query.k), chips=rows,
                      code=f"from nvlib import figures, results\n\nfigures.range_curves(results(run={runs}), "
                      f"k={query.k:g})")  # fmt: skip
    if chosen not in set(rows["range"]) and not mine:
        st.info(f"**No chip of this model under range {chosen} yet.**", icon=":material/hourglass_empty:")
        own = replace(query, range=chosen, sigma_d=sigma_d)
        offered(ask.aged(training, own, [""]), own)


def chips(training: str) -> None:
    """Program some chips now and show how they score."""
    left, middle, right = st.columns([2, 2, 2], vertical_alignment="bottom")
    with left:
        count = common.choice(st.select_slider, "Chips", "chips", compute.CHIPS, 100, "How many chips to program.")
    with middle:
        text = "Test images that each chip sees. Few images make its accuracy uncertain."
        images = common.choice(st.select_slider, "Test images", "images", compute.IMAGES, 1000, text)
    asked = (training, device, sigma_d, query.reference, query.mapping, count, images)
    if right.button("Program and score", type="primary", icon=":material/play_arrow:"):
        bar = st.progress(0.0, "Waiting for a turn")
        with compute.turn():
            df = compute.scored(training, device, sigma_d, query, count, images,
                             lambda done, of: bar.progress(done / of, f"{done} of {of} chips"))  # fmt: skip
        bar.empty()
        st.session_state["live"] = (asked, df)
    if "live" not in st.session_state:
        st.caption("Takes seconds here, in this server; nothing is stored. For more chips see *Run*.")
        return
    shown, df = st.session_state["live"]
    if shown != asked:
        st.warning(f"This is what was computed before, for {figures.name(shown[1].name)} at sigma_d = {shown[2]:g}; "
                   "press the button for your present choice.", icon=":material/history:")  # fmt: skip
    last = (
        f"images = nvlib.load({query.dataset!r}, limit={shown[6]})\n"
        f"samples = nvlib.monte_carlo(\n    model, images, device, {shown[2]:g}, chips={shown[5]},\n"
        f"    reference={shown[3]!r}, mapping={shown[4]!r},\n)\n"
        f"print(samples.mean(), samples.kpp({query.k:g}))"
    )
    common.figure(
        figures.accuracy_distribution(df, query.k), "scored", table=summary.results_table(df, query.k),
        note=f"n = {len(df):,} chips · computed now, not stored · training `{shown[0][:10]}`", columns=common.columns(),
        code=compute.code(shown[0], shown[1], last),
    )  # fmt: skip


query = common.query()
st.title("Device lab", anchor=False)
view = common.choice(st.segmented_control, "View", "lab", VIEWS, VIEWS[0], "", required=True,
                     label_visibility="collapsed")  # fmt: skip
if view == VIEWS[1]:
    laws()
    st.stop()
found = chosen()
if found is None:
    st.stop()
device: Device = found
mine = device.name not in devices.names()
if mine:
    st.session_state["own_device"] = device  # for a study of it
sigma_d = query.sigma_d
if mine:
    start = 0.2 if device.relative else 1.0
    sigma_d = common.number("sigma_d of your device", "own_sigma_d", 0.0, 2.0, start, 0.05, "Relative, or a factor.")
if view == VIEWS[0]:
    levels()
elif training := model():
    dict(zip(VIEWS[2:], (weights, span, chips), strict=True))[view](training)
