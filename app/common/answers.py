"""Where nothing is stored: an offer to compute it in place, and what comes of it while one watches.

An offer is a launch of its own (`nvlib.launch`), named by what it computes: who asks for the same finds it, after a
reload or from another window, and what it computes is in the store for everyone. One process answers all of them in
turn, and stays warm for a while (`nvlib.launch.warm`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from common import jobs
from common.query import Query
from common.show import told
from common.stored import stored
from nvlib import figures, launch, statistics
from nvlib.catalogue import MARKS
from nvlib.clock import in_words
from nvlib.errors import InputError
from nvlib.explore.ask import Ask, ask
from nvlib.launch import warm
from nvlib.store import Store

EVERY = 1.0  # seconds between looks at what is under way


def offer(query: Query, methods: Sequence[str], chips: int = 400) -> None:
    """Offer to compute what a choice lacks, or show how far that is."""
    try:
        wanted = ask(query, methods, stored(), chips=chips)
    except InputError as error:
        st.error(told(error))
        return
    offered(wanted, query)


def offered(wanted: Ask, query: Query) -> None:
    """Offer to compute what is asked for, or show how far that is."""
    name = f"answer {hashlib.sha256(json.dumps(wanted.studies, sort_keys=True).encode()).hexdigest()[:12]}"
    status = next((s for s in launch.jobs() if s.name == name), None)
    if status is not None and not status.finished:
        st.fragment(_follow, run_every=EVERY)(status.id, query)
        return
    if st.runtime.exists():  # a server's reader may press the button at any moment
        _ready()
    if status is not None and status.state in ("failed", "lost"):
        st.error(told(status.error or "it ended without a word"), icon=":material/error:")
    word = {None: "Compute it now", "cancelled": "Go on computing"}.get(status.state if status else None, "Try again")
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(word, type="primary", icon=":material/play_arrow:", key=f"compute-{name}",
                     help="In another process; what is finished stays if you stop it or leave."):  # fmt: skip
            own = any(study.get("plugins") for study in wanted.studies)  # what it registers stays in its process
            if own:
                launch.start(list(wanted.studies), "here", name=name)
            else:
                warm.ask(wanted.studies, name)
            st.rerun()
        st.caption(_takes(wanted))


@st.cache_resource(ttl=30, show_spinner=False)
def _ready() -> None:
    """Have a process ready to answer, asked for at most twice a minute."""
    warm.ready()


def _takes(wanted: Ask) -> str:
    """Say what an answer takes."""
    chips = f"{wanted.chips:,} chips"
    ways = sum(len(study["effects"]) * len(study["peripheries"]) for study in wanted.studies)
    deployments = [name for study in wanted.studies for name in study["deployments"] if name]
    if not wanted.trainings and any(any(study["peripheries"]) for study in wanted.studies):
        return (f"{chips} of a stored model through circuits, {ways} {'ways' if ways > 1 else 'way'}: up to a minute "
                "each on a small network, many where inputs are fed bit by bit.")  # fmt: skip
    if not wanted.trainings and ways > len(wanted.studies):
        return f"{chips} of a stored model, {ways} times: some seconds each on a small network."
    if deployments and not wanted.trainings:
        return f"{chips} of a stored model, deployed {len(deployments)} ways: some seconds a chip on a small network."
    if not wanted.trainings:
        return f"{chips} of a stored model: seconds on a small network."
    trained = "1 training" if wanted.trainings == 1 else f"{wanted.trainings} trainings"
    known = "" if wanted.seconds is None else f" ({in_words(wanted.seconds)} where such were trained)"
    return f"{trained}{known}, and {chips} of each."


def _follow(id: str, query: Query) -> None:
    """Show a launch and the chips it has; drawn again each second, and nothing else of the page is."""
    try:
        status = launch.status(id)
    except InputError:  # forgotten from another window
        st.rerun()
        return
    if status.finished:
        stored.clear()
        st.rerun()
    warm.tend()  # if whoever served was killed
    left = f", about {in_words(status.eta)} left" if status.eta is not None else ""
    share = min(1.0, status.done / status.total) if status.total else 0.0
    with st.container(border=True):
        bar, stop = st.columns([5, 1], vertical_alignment="center")
        bar.progress(share, told(f"{status.what or jobs.MARKS.get(status.state, (status.state,))[0]}{left}"))
        if stop.button("Stop", icon=":material/stop:", key=f"stop-{id}", help="What is finished stays."):
            launch.cancel(id)
        so_far = _chips(status)
        if so_far.empty:
            st.caption("No chip is scored yet.")
        for method, rows in so_far.groupby("method", sort=False):
            found = statistics.kpp(rows["accuracy"].to_numpy(float), query.k)
            limits = "too few chips for an interval" if found.low is None else f"[{found.low:.2f}, {found.high:.2f}]"
            st.markdown(f"**{figures.style(method).label}**: {len(rows)} chips, mean {rows['accuracy'].mean():.2f} %, "
                        f"{figures.ordinal(query.k)} percentile {found.value:.2f} % {limits}")  # fmt: skip
        if not so_far.empty:
            st.plotly_chart(figures.accuracy_distribution(so_far, query.k), key=f"so-far-{id}")


def _chips(status: launch.Status) -> pd.DataFrame:
    """Return the chips that a launch's evaluations have by now: method, sigma_d, train_seed, accuracy."""
    store, parts = Store(), []
    for run in status.runs:
        rows, record = store.samples(run), store.record(run)
        if len(rows) and record and record["sigma_d"]:  # without variation there is one chip, which says nothing yet
            training = store.training(record["training"])
            deployed = (record["deployment"] or {}).get("name", "")
            met = [*(held["effect"] for held in record.get("effects", ())), record.get("periphery", "")]
            befell = deployed or " + ".join(filter(None, met))
            parts.append(rows[["chip", "accuracy"]].assign(method=training.method, sigma_d=record["sigma_d"],
                                                           train_seed=training.seed, befell=befell))  # fmt: skip
    if len(kinds := {text: place for place, text in enumerate(dict.fromkeys(p["befell"].iloc[0] for p in parts))}) > 1:
        for part in parts:  # told apart, as settings of one method are
            text = part["befell"].iloc[0]
            part["method"] += f" {MARKS[min(kinds[text], len(MARKS) - 1)]} {text or 'as programmed'}"
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"method": [], "accuracy": []})
