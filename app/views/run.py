"""Run: a study by a form, its time and memory first; then a job in a process of its own, followed from here."""

import json
from collections.abc import Callable

import common
import streamlit as st
from common import jobs
from common.query import DATASETS, MEASURED, METHODS, NETWORKS, RELATIVE

from nvlib import catalogue, devices, figures, launch, plugins, summary
from nvlib.clock import in_words
from nvlib.models import own as networks

DEPLOYMENTS = ("none", *catalogue.DEPLOYMENTS)
OWN = "your device: "
EVERY = 1.0  # seconds between looks at jobs under way


def form() -> None:
    """Ask for a study, and show what it takes; a second button launches it."""
    mine = st.session_state.get("own_device")
    places = [*DATASETS, *jobs.folders()]
    known = [*devices.names(), *([f"{OWN}{mine.name}"] if mine else [])]
    nets = [*NETWORKS]
    first = query.network if query.network in nets else nets[0]
    with st.form("study", border=True):
        left, middle, right = st.columns(3)
        network = left.selectbox("Network", nets, nets.index(first), format_func=networks.label,
                                 help="Your own is listed last where the app was started with "
                                 "`--network mine.py:small`.")  # fmt: skip
        text = "MNIST is here; others are looked for in $NVLIB_DATA, as are image folders."
        at = places.index(query.dataset) if query.dataset in places else 0
        dataset = middle.selectbox("Data set", places, at, help=text)
        methods = right.multiselect("Training methods", [*METHODS], [m for m in query.method if m in METHODS])
        at = len(known) - 1 if mine else known.index(query.device) if query.device in known else 0
        device = left.selectbox("Device", known, at, help="One that you made in the Device lab is listed last.")
        grid = sorted({*RELATIVE, *MEASURED, query.sigma_d})
        sigma_d = middle.multiselect("sigma_d", grid, [query.sigma_d], help="Trained and tested at each (matched).")
        deployments = right.multiselect("On each chip", DEPLOYMENTS, ["none"], help="What is done before it is scored.")
        epochs = left.number_input("Epochs", 1, 500, 10)
        seeds = middle.number_input("Trainings (seeds)", 1, 20, 1, help="Their spread says what is known of a method.")
        chips = right.number_input("Chips a training", 1, 20_000, 400, help="368 are needed for a first percentile.")
        images = left.selectbox("Images of each split", ["all", 500, 1000, 2500, 10_000], help="Fewer: a quick look.")
        mapping = middle.selectbox("Mapping", ["differential", "signed"], int(query.mapping == "signed"))
        reference = right.selectbox("sigma_d is relative to", devices.REFERENCES, int(query.reference == "level"))
        asked = st.form_submit_button("Estimate time and memory", icon=":material/timer:")
    record = {
        "network": network, "dataset": jobs.folders().get(dataset, dataset), "methods": methods,
        "devices": [mine.to_dict() if mine and device.startswith(OWN) else device], "sigma_d": sigma_d,
        "seeds": list(range(seeds)), "epochs": epochs, "chips": chips, "images": None if images == "all" else images,
        "mapping": mapping, "reference": reference, "deployments": [None if d == "none" else d for d in deployments],
        "plugins": plugins.needed(network, *methods, *deployments),
    }  # fmt: skip
    if asked:
        st.session_state.pop("forecast", None)
        if not (methods and sigma_d and deployments):
            st.error("Choose at least one training method, one sigma_d and one treatment of the chips.")
        else:
            st.session_state["forecast"] = (record, jobs.forecast(json.dumps(record, sort_keys=True)))
    if "forecast" in st.session_state:
        offer(*st.session_state["forecast"])


def offer(record: dict, found: dict) -> None:
    """Show what a study takes, and launch it if the reader wants."""
    with st.container(border=True):
        st.code(found["text"], language=None)
        if not found["missing"]:
            st.success("All of it is stored already; look at it on the other pages.", icon=":material/check:")
            return
        about = f"{', '.join(record['methods'])} on {networks.label(record['network'])}"
        if st.button("Start", type="primary", icon=":material/play_arrow:", help="In a process of its own."):
            st.session_state["watched"] = jobs.start(found["record"], about)
            del st.session_state["forecast"]
            st.rerun()


def card(status: launch.Status) -> None:
    """Show one job: how far it is, what it found so far, its log; let the reader end, resume or forget it."""
    word, colour = jobs.MARKS.get(status.state, (status.state, "gray"))
    with st.container(border=True):
        left, right = st.columns([4, 1], vertical_alignment="center")
        left.markdown(f"**{common.told(status.name or 'study')}** :{colour}-badge[{word}] `{status.id}`")
        with right:
            if not status.finished:
                button("Cancel", launch.cancel, status.id, "stop", "What is finished stays.")
            elif status.state == "done":
                button("Forget", launch.forget, status.id, "delete", "Results stay.")
            else:
                button("Resume", launch.resume, status.id, "replay", "Goes on from the last epoch and chip.")
        if status.total:
            known = None if status.finished else status.eta
            left_over = f", about {in_words(known)} left" if known is not None else ""
            st.progress(min(1.0, status.done / status.total), f"{status.done:.1f} of {status.total} runs{left_over}")
        now = jobs.latest(status) if status.finished else status.what
        lines = [now, f"begun {status.started.replace('T', ' ').replace('Z', ' UTC')}"]
        st.caption(common.told(" · ".join(filter(None, lines))))
        if status.error:
            st.error(common.told(status.error))
        with st.expander("Log", icon=":material/article:"):
            st.code(jobs.log(status) or "nothing yet", language=None, height=220)


def button(label: str, what: Callable, id: str, icon: str, text: str) -> None:
    """Offer to do something to a job."""
    st.button(label, key=f"{label}-{id}", on_click=act, args=(what, id), help=text, icon=f":material/{icon}:",
              width="stretch")  # fmt: skip


def act(what: Callable, id: str) -> None:
    """Do something to a job (a button's callback)."""
    try:
        what(id)
    except Exception as error:  # it ended, or was removed, a moment ago: the page shows how it is now
        st.session_state["said"] = common.told(error)
    st.session_state["moved"] = True


def followed() -> None:
    """Show all jobs; while one is under way this is drawn again each second, and nothing else of the page is."""
    held = jobs.listed()
    if said := st.session_state.pop("said", None):
        st.warning(said)
    if not held:
        st.info("No job yet. The form starts one; so does `python -m nvlib study FILE --detach`.",
                icon=":material/inbox:")  # fmt: skip
    for status in held[:8]:
        card(status)
    if len(held) > 8:
        st.caption(f"and {len(held) - 8} older: `python -m nvlib jobs list`")
    going = any(not status.finished for status in held)
    if going != st.session_state["going"] or st.session_state.pop("moved", False):
        st.rerun()


def so_far() -> None:
    """Show the chips that a job's runs have by now."""
    held = [s for s in jobs.listed() if s.runs]
    if not held:
        return
    labels = {f"{s.name or 'study'} ({s.id})": s for s in held}
    text = "The runs of a job that have chips; read again every 20 seconds while it runs."
    status = labels[common.choice(st.selectbox, "Chips of job", "job", list(labels), next(iter(labels)), text)]
    table = common.stored()
    df = table[table["run"].isin(status.runs) & (table["deployment"] == "")]
    if df.empty:
        st.caption("It has no chips yet: its models are being trained.")
        return
    sigma_d = max(df["sigma_d"].unique())
    df = df[df["sigma_d"] == sigma_d].reset_index(drop=True)
    call = (f"df = nvlib.results(run={sorted(df['run'].unique())!r}, deployment='')\n"
            f"figures.accuracy_distribution(df, k={query.k:g})")  # fmt: skip
    common.figure(
        figures.accuracy_distribution(df, query.k), "so-far", table=summary.results_table(df, query.k),
        note=f"n = {len(df):,} chips by now, at sigma_d = {sigma_d:g} · results: yours · job `{status.id}`",
        columns=common.columns(), code=f"import nvlib\nfrom nvlib import figures\n\n{call}",
    )  # fmt: skip


query = common.query()
st.title("Run", anchor=False)
st.caption(
    "Studies run in processes of their own: they outlive a reload of this page and a restart of the app. At most "
    f"{jobs.most()} at once; others wait for their turn. What is stored already is never computed again."
)
form()
st.subheader("Jobs", anchor=False)
going = any(not status.finished for status in jobs.listed())
if st.session_state.get("going") and not going:
    common.stored.clear()  # what was computed is to be seen here and on the other pages
st.session_state["going"] = going
st.fragment(followed, run_every=EVERY if going else None)()
so_far()
