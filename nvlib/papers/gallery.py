"""The figures of each artefact, as its notebook draws them.

An artefact that is a sentence is drawn as what it speaks of; tsb-share has its claims alone, printed and ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from nvlib import figures, summary
from nvlib.papers import onchip
from nvlib.papers.deployment_tables import converged, repaired
from nvlib.papers.drawing import Drawing, computed_by, drawing, of_block, of_chips, of_table, of_variants
from nvlib.papers.evidence import grid
from nvlib.papers.registry import artefact
from nvlib.papers.select import Evidence


def drawings(name: str) -> dict[str, Drawing]:
    """Return what there is to draw of an artefact, by title, the main one first; InputError for an unknown one."""
    artefact(name)
    return {one.title: one for one in _DRAWN.get(name, ())}


_AT = f"LeNet-3 on MNIST, RRAM, signed, sigma_d = {onchip.AT:g}"


def _cost(axis: str) -> Drawing:
    return of_table(f"In {axis}", "cost", lambda held: figures.training_cost(held, axis, note=_AT),
                    f"figures.training_cost(table, {axis!r}, note={_AT!r})")  # fmt: skip


def _many(results: Evidence) -> pd.DataFrame:
    """Return the chips of trice-n: ten thousand of one model on a thousand images."""
    return results.under(artefact("trice-n").settings[-1], method="gaussian", sigma_d=0.2)


def _points(held: pd.DataFrame) -> pd.DataFrame:
    """Return the first percentile of each training of TRICE's grid."""
    about = held.drop_duplicates("training").set_index("training")
    table = summary.results_table(held.assign(method=held["training"].astype(str)), k=1)
    known = [about.loc[training, "parameters"] for training in table["method"]]
    table.insert(0, "ratio", [parameters["ratio"] for parameters in known])
    table.insert(1, "th", [parameters["th"] for parameters in known])
    return table.drop(columns="method").sort_values(["ratio", "th"], ignore_index=True)


# -- what needs no chips ---------------------------------------------------------------------------------------------

_EXACT = "exact: nothing is drawn at random"
_TH, _SIGMA_D = 2.0, 0.1  # of laws and devices, as notebook 01 shows them


def _laws(results: Evidence) -> pd.DataFrame:
    from nvlib import noise

    laws = [noise.get(name, None if name == "gaussian" else _TH) for name in noise.LAWS]
    return pd.DataFrame({
        "law": [figures.style(law.name).label for law in laws], "mean": [law.mean() for law in laws],
        "deviation": [law.variance() ** 0.5 for law in laws],
    })  # fmt: skip


def _device(name: str) -> Drawing:
    def levels(results: Evidence) -> pd.DataFrame:
        from nvlib import devices

        device = devices.get(name)
        return pd.DataFrame({"level": range(len(device.levels)), "conductance": device.levels,
                             "strays by (levels)": device.spread(_SIGMA_D, "full_scale")})  # fmt: skip

    return Drawing(
        figures.name(name), levels, lambda held: figures.device_levels(name, _SIGMA_D),
        f"from nvlib import figures\n\nfigures.device_levels({name!r}, {_SIGMA_D:g})", note=lambda held: _EXACT,
    )  # fmt: skip


def _one_weight(results: Evidence) -> pd.DataFrame:
    import numpy as np

    from nvlib import taylor

    return taylor.compare(np.linspace(0, 1, 41), 4, 0.1, q=0.01, f0=0.05)


def _designs(results: Evidence) -> pd.DataFrame:
    from nvlib import hardware

    return hardware.table1()


def _training(results: Evidence) -> pd.DataFrame:
    from nvlib.papers import theory

    return theory.table("training")


# -- which artefact has which ----------------------------------------------------------------------------------------

TABLE1 = ("none", "gaussian", "correctnet", "rc", "rc_manual", "trice", "trice_gauss")
SEARCHED = ("gaussian", "trice", "none", "trice_gauss")
FED_BACK = ("gaussian", "ovf", "none", "irs")
_FAILING = {"runs": 2}  # where several were trained, to see which fail
_GAINS = {"baseline": "gaussian", "of": "mean"}

_DRAWN: Mapping[str, tuple[Drawing, ...]] = {
    "trice-fig2": (
        of_chips("Distribution", "trice-fig2", ("none", "gaussian"), "accuracy_distribution", {"sigma_d": 0.2}, k=5),
    ),
    "trice-fig3": (
        Drawing("Densities", _laws, lambda held: figures.noise_laws(_TH),
                f"from nvlib import figures\n\nfigures.noise_laws({_TH:g})", note=lambda held: _EXACT),
    ),
    "trice-fig4": (
        drawing("Grid", "trice-fig4", grid, "papers.grid(results)", "noise_grid", numbers=_points),
    ),
    "trice-table1": (
        of_chips("Percentile", "trice-table1", TABLE1, "percentile_curves", {"zero": True}),
        of_chips("Over Gauss", "trice-table1", TABLE1, "difference_curves", {"zero": True}, baseline="gaussian"),
    ),
    **{name: (of_chips("Percentile", name, SEARCHED, "percentile_curves"),)
       for name in ("trice-fig5a", "trice-fig5b", "trice-fig6a", "trice-fig6b")},
    "trice-fig7": (_device("rram"), _device("fefet2")),
    "trice-fig8": (
        of_chips("Percentile", "trice-fig8", ("rc", "lc", "gaussian", "rt", "lt"), "percentile_curves"),
    ),
    "trice-eq6": (
        drawing("One weight", "trice-eq6", _one_weight,
                 "taylor.compare(np.linspace(0, 1, 41), 4, 0.1, q=0.01, f0=0.05)", "one_weight",
                 start="import numpy as np\nfrom nvlib import figures, taylor\n\n",
                 note=lambda held: "laws exact; the simulation's draws are of seed 0"),
    ),
    "trice-n": (
        drawing("Distribution", "trice-n", _many,
                 "results.under(papers.artefact('trice-n').settings[-1], method='gaussian', sigma_d=0.2)",
                 "accuracy_distribution", numbers=lambda held: summary.results_table(held)),
    ),
    "trice-text": (
        of_chips("Percentile", "trice-text", ("none", "gaussian", "correctnet", "rt", "lt", "rc_manual", "trice"),
               "percentile_curves", {"zero": True}),
    ),
    "trice-3c": (
        drawing("Along training", "trice-3c", _training, "theory.table('training')", "derivatives_by_epoch",
                 start="from nvlib import figures\nfrom nvlib.papers import theory\n\n", options={"split": "train"},
                 command="python -m nvlib.papers.theory",
                 note=lambda held: f"LeNet on MNIST, one training of {held['epoch'].max()} epochs a method, seed 0 · "
                 "shipped, `python -m nvlib.papers.theory`"),
    ),
    "nft-fig3": (
        of_chips("Mean", "nft-fig3", FED_BACK, "mean_curves"),
        of_chips("Over Gauss", "nft-fig3", FED_BACK, "difference_curves", **_GAINS),
    ),
    "nft-fig4": (of_chips("EKL", "nft-fig4", FED_BACK, "mean_curves", of="ekl"),),
    "nft-convergence": (
        of_chips("Trainings", "nft-convergence", ("gaussian", "ovf", "irs"), "converging", _FAILING),
    ),
    "nft-table1": (of_variants("nft-table1", "Number of feedback outputs"),),
    "nft-reverse-gamma": (of_variants("nft-reverse-gamma", "Decay factors reversed"),),
    "nft-reverse-sigma": (of_variants("nft-reverse-sigma", "Louder or quieter feedback"),),
    "nft-classifier-noise": (of_variants("nft-classifier-noise", "Noise in the classifiers"),),
    "nft-table2": (of_variants("nft-table2", "From a pretrained model, and from scratch"),),
    "nft-n": (replace(of_chips("Mean", "nft-n", FED_BACK, "mean_curves"), command=computed_by("nft-fig3")),),
    "ovf-fig3": (
        of_chips("Mean", "ovf-fig3", FED_BACK[:3], "mean_curves"),
        of_chips("Over Gauss", "ovf-fig3", FED_BACK[:3], "difference_curves", **_GAINS),
    ),
    "ovf-fig4": (of_chips("EKL", "ovf-fig4", FED_BACK[:3], "mean_curves", of="ekl"),),
    "ovf-convergence": (of_chips("Trainings", "ovf-convergence", ("gaussian", "ovf"), "converging", _FAILING),),
    "tsb-fig3": (
        drawing("Distance", "tsb-fig3", lambda results: repaired(artefact("tsb-fig3").settings, results),
                 "papers.repaired(papers.artefact('tsb-fig3').settings, results)", "accuracy_distance",
                 numbers=lambda held: summary.distance_table(held)),
    ),
    "tsb-fig4": (_cost("passes"), _cost("seconds")),
    "tsb-table1": (
        drawing("Designs", "tsb-table1", _designs, "hardware.table1()", "hardware_designs",
                 start="from nvlib import figures, hardware\n\n",
                 note=lambda held: "ours first order; NeuroSim run by us; the paper's as printed: each as a ratio to "
                 "its own base"),
    ),
    "tsb-table2": (of_block("tsb-table2", "channels"),),
    "tsb-depth": (of_block("tsb-depth", "insertions"),),
    "tsb-layers": (of_block("tsb-layers", "layers"),),
    "tsb-init": (of_block("tsb-init", "init"),),
    "tsb-text": (
        of_table("Epoch by epoch", "learning", lambda held: figures.tsb_learning(held, converged(held), _AT),
               f"figures.tsb_learning(table, papers.converged(table), {_AT!r})"),
    ),
}  # fmt: skip
