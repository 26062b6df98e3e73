"""The figures of each artefact, as its notebook draws them: what is read for each, who draws it, and the code of both.

    drawings(name)       what there is to draw of an artefact, by title; nothing is read yet
    Drawing.picture      one of them, of the largest results that the store has; None where it has none

An artefact that is a sentence is drawn as what it speaks of; tsb-share has its claims alone, printed and ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from nvlib import figures
from nvlib.errors import InputError
from nvlib.reproduce import onchip
from nvlib.reproduce.artefacts import artefact
from nvlib.reproduce.measures import protocol
from nvlib.reproduce.presets import has_studies
from nvlib.reproduce.query import Results
from nvlib.reproduce.repaired import ablated, ablation, converged, repaired
from nvlib.reproduce.shown import grid, rows
from nvlib.reproduce.variants import variants
from nvlib.store.table import COLUMNS

if TYPE_CHECKING:
    import plotly.graph_objects as go

STUDY = "from nvlib import figures, reproduce\n\nresults = reproduce.Results()\n"
SHIPS = "from nvlib import figures, reproduce\n\n"


@dataclass(frozen=True)
class Picture:
    """A figure, with what it is of.

    Attributes:
        fig: the figure.
        table: its numbers.
        chips: the rows of `nvlib.results` that it is of; empty where it is of none.
        note: where its numbers come from.
    """

    fig: go.Figure
    table: pd.DataFrame
    chips: pd.DataFrame
    note: str


def _protocol(held: pd.DataFrame) -> str:
    """Say how chips were trained and scored; of a table of several settings what `variants` says."""
    return protocol(held) if "run" in held else str(held.attrs.get("origin", ""))


@dataclass(frozen=True)
class Drawing:
    """One figure of an artefact.

    Attributes:
        title: what it shows, in a word or two.
        read: what is drawn, from a store that was read; empty, or InputError, where there is nothing.
        draw: the figure of that.
        code: Python that does both.
        command: what computes it where there is nothing; empty where it needs nothing.
        numbers: the table under the figure; None: what was read.
        note: where its numbers come from.
    """

    title: str
    read: Callable[[Results], pd.DataFrame]
    draw: Callable[[pd.DataFrame], go.Figure]
    code: str
    command: str = ""
    numbers: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    note: Callable[[pd.DataFrame], str] = _protocol

    def picture(self, results: Results | None = None) -> Picture | None:
        """Return it, of a store that was read (None: the project's own); None where there is nothing to draw."""
        try:
            held = self.read(results or Results())
        except InputError:  # a table that does not ship
            return None
        if held.empty or ("ours" in held and held["ours"].isna().all()):
            return None
        table = self.numbers(held) if self.numbers else held
        chips = held[[c for c in COLUMNS if c in held]] if "run" in held else pd.DataFrame()
        return Picture(self.draw(held), table, chips, self.note(held))


def drawings(name: str) -> dict[str, Drawing]:
    """Return what there is to draw of an artefact, by title, the main one first; InputError for an unknown one."""
    artefact(name)
    return {drawing.title: drawing for drawing in _DRAWN.get(name, ())}


# -- how each kind is read and drawn ---------------------------------------------------------------------------------


def _drawing(
    title: str, name: str, read: Callable[[Results], pd.DataFrame], source: str, figure: str, *,
    start: str = STUDY, command: str | None = None, options: Mapping[str, Any] | None = None, **more: Any,
) -> Drawing:  # fmt: skip
    """Return what a function of `nvlib.figures` draws of what is read; ``source`` is the code of the reading."""
    options = options or {}
    return Drawing(
        title, read, lambda held: getattr(figures, figure)(held, **options),
        f"{start}figures.{figure}({source}{_written(options)})",
        _command(name) if command is None else command, **more,
    )  # fmt: skip


def _written(options: Mapping[str, Any]) -> str:
    return "".join(f", {key}={value!r}" for key, value in options.items())


def _command(name: str) -> str:
    """Return what computes an artefact's chips in minutes; empty where it needs none."""
    made = has_studies(name) or artefact(name).needs.startswith("reproduce ")
    return f"python -m nvlib reproduce {name} --preset quick" if made else ""


def _chips(
    title: str, name: str, methods: tuple[str, ...], figure: str, select: Mapping[str, Any] | None = None,
    **options: Any,
) -> Drawing:  # fmt: skip
    """Return a figure of the chips that `nvlib.reproduce.rows` selects."""
    select = select or {}

    def numbers(held: pd.DataFrame) -> pd.DataFrame:
        if figure == "difference_curves":
            return figures.differences(held, **options).drop(columns="each")  # a tuple a row
        return figures.results_table(held, options.get("k", 1))

    return _drawing(
        title, name, lambda results: rows(name, methods, results, **select),
        f"reproduce.rows({name!r}, {methods!r}, results{_written(select)})", figure, options=options, numbers=numbers,
    )  # fmt: skip


def _ablation(name: str, of: str) -> Drawing:
    """Return TSB's accuracy by one parameter of its block; what ships was timed on a busy machine."""
    printed = None if of == "init" else name  # no accuracies are printed for initialisations
    return _drawing(
        f"By {of}", name, lambda results: ablated(of, results, artefact(name).settings),
        f"reproduce.ablated({of!r}, results, reproduce.artefact({name!r}).settings)", "tsb_ablation",
        options={"of": of, "seconds": False}, numbers=lambda held: ablation(held, of, printed),
    )  # fmt: skip


def _variants(name: str, title: str) -> Drawing:
    """Return an ablation of NFT's, the paper's rows beside ours."""
    return _drawing("Beside the paper's", name, lambda results: variants(name, results),
                    f"reproduce.variants({name!r}, results)", "beside_printed", options={"title": title})  # fmt: skip


def _table(title: str, name: str, draw: Callable[[pd.DataFrame], go.Figure], code: str) -> Drawing:
    """Return a figure of a table of `nvlib.reproduce.onchip`."""
    size = onchip.SIZES["full"][name]
    return Drawing(
        title, lambda results: onchip.table(name), draw, f"{SHIPS}table = reproduce.onchip.table({name!r})\n{code}",
        f"python -m nvlib.reproduce.making {name}",
        note=lambda held: f"n = {size.chips} chips, one training of {size.epochs} epochs · {made_by(name)}",
    )  # fmt: skip


def made_by(name: str) -> str:
    """Say what makes a table of `nvlib.reproduce.onchip`, and where the one that ships was made."""
    made = onchip.provenance(name)
    where = f", commit {made['commit']}, {made['written'][:10]}" if made else ""
    return f"shipped, `python -m nvlib.reproduce.making {name}`{where}"


_AT = f"LeNet-3 on MNIST, RRAM, signed, sigma_d = {onchip.AT:g}"


def _cost(axis: str) -> Drawing:
    return _table(f"In {axis}", "cost", lambda held: figures.training_cost(held, axis, note=_AT),
                  f"figures.training_cost(table, {axis!r}, note={_AT!r})")  # fmt: skip


def _many(results: Results) -> pd.DataFrame:
    """Return the chips of trice-n: ten thousand of one model on a thousand images."""
    return results.under(artefact("trice-n").settings[-1], method="gaussian", sigma_d=0.2)


def _points(held: pd.DataFrame) -> pd.DataFrame:
    """Return the first percentile of each training of TRICE's grid."""
    about = held.drop_duplicates("training").set_index("training")
    table = figures.results_table(held.assign(method=held["training"].astype(str)), k=1)
    known = [about.loc[training, "parameters"] for training in table["method"]]
    table.insert(0, "ratio", [parameters["ratio"] for parameters in known])
    table.insert(1, "th", [parameters["th"] for parameters in known])
    return table.drop(columns="method").sort_values(["ratio", "th"], ignore_index=True)


# -- what needs no chips ---------------------------------------------------------------------------------------------

_EXACT = "exact: nothing is drawn at random"
_TH, _SIGMA_D = 2.0, 0.1  # of laws and devices, as notebook 01 shows them


def _laws(results: Results) -> pd.DataFrame:
    from nvlib import noise

    laws = [noise.get(name, None if name == "gaussian" else _TH) for name in noise.LAWS]
    return pd.DataFrame({
        "law": [figures.style(law.name).label for law in laws], "mean": [law.mean() for law in laws],
        "deviation": [law.variance() ** 0.5 for law in laws],
    })  # fmt: skip


def _device(name: str) -> Drawing:
    def levels(results: Results) -> pd.DataFrame:
        from nvlib import devices

        device = devices.get(name)
        return pd.DataFrame({"level": range(len(device.levels)), "conductance": device.levels,
                             "strays by (levels)": device.spread(_SIGMA_D, "full_scale")})  # fmt: skip

    return Drawing(
        figures.name(name), levels, lambda held: figures.device_levels(name, _SIGMA_D),
        f"from nvlib import figures\n\nfigures.device_levels({name!r}, {_SIGMA_D:g})", note=lambda held: _EXACT,
    )  # fmt: skip


def _one_weight(results: Results) -> pd.DataFrame:
    import numpy as np

    from nvlib import taylor

    return taylor.compare(np.linspace(0, 1, 41), 4, 0.1, q=0.01, f0=0.05)


def _designs(results: Results) -> pd.DataFrame:
    from nvlib import hardware

    return hardware.table1()


def _training(results: Results) -> pd.DataFrame:
    from nvlib.reproduce import theory

    return theory.table("training")


# -- which artefact has which ----------------------------------------------------------------------------------------

TABLE1 = ("none", "gaussian", "correctnet", "rc", "rc_manual", "trice", "trice_gauss")
SEARCHED = ("gaussian", "trice", "none", "trice_gauss")
FED_BACK = ("gaussian", "ovf", "none", "irs")
_FAILING = {"sigma_d": (0.35, 0.15)}  # the paper's; where what stands in for its network begins to fail
_GAINS = {"baseline": "gaussian", "of": "mean"}

_DRAWN: Mapping[str, tuple[Drawing, ...]] = {
    "trice-fig2": (
        _chips("Distribution", "trice-fig2", ("none", "gaussian"), "accuracy_distribution", {"sigma_d": 0.2}, k=5),
    ),
    "trice-fig3": (
        Drawing("Densities", _laws, lambda held: figures.noise_laws(_TH),
                f"from nvlib import figures\n\nfigures.noise_laws({_TH:g})", note=lambda held: _EXACT),
    ),
    "trice-fig4": (
        _drawing("Grid", "trice-fig4", grid, "reproduce.grid(results)", "noise_grid", numbers=_points),
    ),
    "trice-table1": (
        _chips("Percentile", "trice-table1", TABLE1, "percentile_curves", {"zero": True}),
        _chips("Over Gauss", "trice-table1", TABLE1, "difference_curves", {"zero": True}, baseline="gaussian"),
    ),
    **{name: (_chips("Percentile", name, SEARCHED, "percentile_curves"),)
       for name in ("trice-fig5a", "trice-fig5b", "trice-fig6a", "trice-fig6b")},
    "trice-fig7": (_device("rram"), _device("fefet2")),
    "trice-fig8": (
        _chips("Percentile", "trice-fig8", ("rc", "lc", "gaussian", "rt", "lt"), "percentile_curves"),
    ),
    "trice-eq6": (
        _drawing("One weight", "trice-eq6", _one_weight,
                 "taylor.compare(np.linspace(0, 1, 41), 4, 0.1, q=0.01, f0=0.05)", "one_weight",
                 start="import numpy as np\nfrom nvlib import figures, taylor\n\n",
                 note=lambda held: "laws exact; the simulation's draws are of seed 0"),
    ),
    "trice-n": (
        _drawing("Distribution", "trice-n", _many,
                 "results.under(reproduce.artefact('trice-n').settings[-1], method='gaussian', sigma_d=0.2)",
                 "accuracy_distribution", numbers=lambda held: figures.results_table(held)),
    ),
    "trice-text": (
        _chips("Percentile", "trice-text", ("none", "gaussian", "correctnet", "rt", "lt", "rc_manual", "trice"),
               "percentile_curves", {"zero": True}),
    ),
    "trice-3c": (
        _drawing("Along training", "trice-3c", _training, "theory.table('training')", "derivatives_by_epoch",
                 start="from nvlib import figures\nfrom nvlib.reproduce import theory\n\n", options={"split": "train"},
                 command="python -m nvlib.reproduce.theory",
                 note=lambda held: f"LeNet on MNIST, one training of {held['epoch'].max()} epochs a method, seed 0 · "
                 "shipped, `python -m nvlib.reproduce.theory`"),
    ),
    "nft-fig3": (
        _chips("Mean", "nft-fig3", FED_BACK, "mean_curves"),
        _chips("Over Gauss", "nft-fig3", FED_BACK, "difference_curves", **_GAINS),
    ),
    "nft-fig4": (_chips("EKL", "nft-fig4", FED_BACK, "mean_curves", of="ekl"),),
    "nft-convergence": (
        _chips("Trainings", "nft-convergence", ("gaussian", "ovf", "irs"), "converging", _FAILING),
    ),
    "nft-table1": (_variants("nft-table1", "Number of feedback outputs"),),
    "nft-reverse-gamma": (_variants("nft-reverse-gamma", "Decay factors reversed"),),
    "nft-reverse-sigma": (_variants("nft-reverse-sigma", "Louder or quieter feedback"),),
    "nft-classifier-noise": (_variants("nft-classifier-noise", "Noise in the classifiers"),),
    "nft-table2": (_variants("nft-table2", "From a pretrained model, and from scratch"),),
    "nft-n": (replace(_chips("Mean", "nft-n", FED_BACK, "mean_curves"), command=_command("nft-fig3")),),
    "ovf-fig3": (
        _chips("Mean", "ovf-fig3", FED_BACK[:3], "mean_curves"),
        _chips("Over Gauss", "ovf-fig3", FED_BACK[:3], "difference_curves", **_GAINS),
    ),
    "ovf-fig4": (_chips("EKL", "ovf-fig4", FED_BACK[:3], "mean_curves", of="ekl"),),
    "ovf-convergence": (_chips("Trainings", "ovf-convergence", ("gaussian", "ovf"), "converging", _FAILING),),
    "tsb-fig3": (
        _drawing("Distance", "tsb-fig3", lambda results: repaired(artefact("tsb-fig3").settings, results),
                 "reproduce.repaired(reproduce.artefact('tsb-fig3').settings, results)", "accuracy_distance",
                 numbers=lambda held: figures.distance_table(held)),
    ),
    "tsb-fig4": (_cost("passes"), _cost("seconds")),
    "tsb-table1": (
        _drawing("Designs", "tsb-table1", _designs, "hardware.table1()", "hardware_designs",
                 start="from nvlib import figures, hardware\n\n",
                 note=lambda held: "ours first order; NeuroSim run by us; the paper's as printed: each as a ratio to "
                 "its own base"),
    ),
    "tsb-table2": (_ablation("tsb-table2", "channels"),),
    "tsb-depth": (_ablation("tsb-depth", "insertions"),),
    "tsb-layers": (_ablation("tsb-layers", "layers"),),
    "tsb-init": (_ablation("tsb-init", "init"),),
    "tsb-text": (
        _table("Epoch by epoch", "learning", lambda held: figures.tsb_learning(held, converged(held), _AT),
               f"figures.tsb_learning(table, reproduce.converged(table), {_AT!r})"),
    ),
}  # fmt: skip
