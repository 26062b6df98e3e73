"""Life: what befalls a chip after it is programmed: time on a slider, effects as switches, where the accuracy goes."""

from dataclasses import replace

import common
import pandas as pd
import streamlit as st
from common import compute
from common.answers import offered

from nvlib import array, devices, figures
from nvlib.explore import ask, life

CHIPS, TILED = 100, 10  # offered; through circuits a chip takes several times as long
EXACT = "exact products"
EXAMPLE = "pcm"  # whose life ships


def best(found: pd.DataFrame) -> str:
    """Return the label of the model whose life is stored, else of the one trained nearest to the sidebar's sigma_d."""
    known = compute.labels(found)
    label = max(known, key=lambda label: stored(known[label], query))
    return label if stored(known[label], query) > 1 else compute.near(found, query)


def stored(training: str, of: common.Query) -> int:
    """Return how many different things befell the stored chips of a model."""
    return life.held(common.stored(), training, of)["effects"].nunique()


def drawn(training: str, effects: tuple[str, ...], on: list[str], of: common.Query) -> bool:
    """Show the waterfall at the time and the accuracy along time, of stored chips; returns whether there were any."""
    table = common.stored()
    stages, along = (life.stages(table, training, of, effects), life.along(table, training, of, on))
    timed = of
    if len(along) < 2 and of.periphery:
        timed = replace(of, periphery="")
        along = life.along(table, training, timed, on)
    known = table[table["training"] == training]
    where = f"{figures.style(known['method'].iloc[0]).label}, {figures.name(of.network)} on {figures.name(of.dataset)}"
    where += f" · {figures.name(of.device)}, sigma_d = {of.sigma_d:g}"
    if len(stages):
        used = life.shown(table, training, of, effects)
        common.figure(
            figures.waterfall(stages, where), "waterfall", table=stages, chips=used,
            code=code(of, f"figures.waterfall(life.stages(results(), {training!r}, query, {effects!r}))"),
        )  # fmt: skip
    deployed = life.deployed(table, training, of, on)
    if len(along) > 1:
        rows = life.held(table, training, timed)
        used = rows[rows["effects"].isin([" + ".join(life.chain(of.device, on, t)) for t in along["seconds"]])]
        through = f"{where}, {circuits_said(timed)}" if of.periphery else where
        common.figure(
            figures.setting_curves(along, through), "along", table=along, chips=used,
            code=code(timed, f"figures.setting_curves(life.along(results(), {training!r}, query, {on!r}))"),
        )  # fmt: skip
    if len(deployed):
        st.markdown("Cells that lose alike scale a layer's outputs down. **Drift compensation** measures how far, and "
                    "multiplies by what is missing, one factor a layer.")  # fmt: skip
        used = life.held(table, training, of, life.DEPLOYMENT)
        used = used[used["effects"].isin([" + ".join(life.chain(of.device, on, t)) for t in deployed["seconds"]])]
        common.figure(
            figures.setting_curves(deployed, where), "deployed", table=deployed, chips=used,
            code=code(of, f"figures.setting_curves(life.deployed(results(), {training!r}, query, {on!r}))"),
        )  # fmt: skip
    return bool(len(stages) or len(along) > 1)


def circuits_said(of: common.Query) -> str:
    """Return what is round the arrays, in words."""
    return f"through {array.called(of.periphery)}" if of.periphery else EXACT


def circuits(training: str) -> list[str]:
    """Return what can be round the arrays: published settings by name, and what is stored of a model."""
    table = common.stored()
    rows = table[(table["training"] == training) & (table["device"] == query.device) & (table["periphery"] != "")]
    held = [array.called(text) for text in rows["periphery"].unique()]
    return list(dict.fromkeys((EXACT, "default", *sorted(held), *array.PRESETS)))


def code(of: common.Query, call: str) -> str:
    """Return the Python that draws a figure of a query by ``call``."""
    fields = ("network", "dataset", "device", "sigma_d", "reference", "mapping", "range", "periphery", "k")
    made = ", ".join(f"{name}={getattr(of, name)!r}" for name in fields)
    return (f"from nvlib import explore, figures, results\nfrom nvlib.explore import life\n\n"
            f"query = explore.Query({made})\n{call}")  # fmt: skip


def example(found: pd.DataFrame) -> None:
    """Show the life that ships, where there is none of the sidebar's choice."""
    if query.device == EXAMPLE and query.sigma_d == 1.0:
        return
    other = common.Query(device=EXAMPLE, sigma_d=1.0, k=query.k)
    training = max(found.index, key=lambda name: stored(name, other))
    if stored(training, other) > 1:
        st.subheader(f"Meanwhile: a life of {figures.name(EXAMPLE)}, as measured", anchor=False)
        effects = life.chain(EXAMPLE, life.first(EXAMPLE), life.TIMES["1 day"])
        drawn(training, effects, life.first(EXAMPLE), other)


query = common.query()
st.title("A chip's life", anchor=False)
st.markdown(
    "After it was programmed a chip ages: conductances drift, each cell by an exponent of its own; some cells are "
    "stuck; every reading differs from the last. The same chips are followed from stage to stage."
)
found = compute.models(query)
labels = compute.labels(found)
model, when = st.columns(2, vertical_alignment="bottom")
with model:
    label = common.choice(st.selectbox, "Model", "life_model", list(labels), best(found),
                          "Stored trainings of the sidebar's network, data set and methods.")  # fmt: skip
ages = life.times(query.device)
with when:
    age = common.choice(st.select_slider, "Time after programming", "age", list(ages),
                        "1 day" if "1 day" in ages else list(ages)[-1], "The same chip at every time.")  # fmt: skip
own = devices.get(query.device).effects
befalls, through = st.columns([2, 1], vertical_alignment="bottom")
with befalls:
    on = common.choice(
        st.pills, "What befalls it", "befalls", list(life.switches(query.device)), life.first(query.device),
        f"By the numbers of the device where it has some, else by {figures.name(life.BORROWED)}'s law. Stuck: 9 % of "
        "the cells at high resistance, 1.75 % at low. Common: 30 % of the variance is the die's, the two chains apart.",
        selection_mode="multi",
    )  # fmt: skip
on = [name for name in life.switches(query.device) if name in on]
training, effects = labels[label], life.chain(query.device, on, ages[age])
with through:
    chosen = common.choice(st.selectbox, "Circuits", "circuits", circuits(training), EXACT,
                           "Tiles, converters and wires round the arrays, as the last stage; default: tiles of "
                           "128 x 128 and 8-bit converters. The Array page follows one setting.")  # fmt: skip
tiled = replace(query, periphery="" if chosen == EXACT else str(array.get(chosen)))
if not own and {"Drift", "Read noise"} & set(on):
    st.caption(f"No life of {figures.name(query.device)} was measured: it drifts and is read by "
               f"{figures.name(life.BORROWED)}'s law.")  # fmt: skip
lacking = life.lacking(common.stored(), training, query, on, ages[age])
chips = TILED if tiled.periphery else CHIPS
asked = [ask.aged(training, query, lacking, chips=chips)] if lacking else []
if tiled.periphery and (last := life.lacking(common.stored(), training, tiled, on, ages[age])):
    asked.append(ask.aged(training, tiled, last, chips=chips))
    lacking += last
if asked:
    st.info(f"**{len(lacking)} of the stages and times are not computed yet.**", icon=":material/hourglass_empty:")
    offered(ask.together(asked), query)
if not drawn(training, effects, on, tiled):
    example(found)
