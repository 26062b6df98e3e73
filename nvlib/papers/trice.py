"""TRICE (Yan et al., ICCAD 2023): its figures, Table I and the numbers in its text, with the studies behind each.

Protocol: first percentile of accuracy (k = 1), every model tested at the sigma_d it was trained at (matched),
`full_scale` and `differential`; LeNet with 4-bit weights and activations, VGG-8 and ResNet-18 with 6. TRICE stands
beside the same search with a plain Gaussian, and beside RC at sigma_t = sigma_d, which the paper does not show.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd

from nvlib import summary
from nvlib.calls import call
from nvlib.figures.names import name
from nvlib.papers.artefact import Artefact, Claim, Notebook, Paper
from nvlib.papers.drawing import RESULTS, TABLE, Drawing, of_chips
from nvlib.papers.measures import gain, half_width, least_gain
from nvlib.papers.presets import ENOUGH, LADDER, LARGE, LENET, SIGMAS, Entry
from nvlib.papers.printed_numbers import number
from nvlib.papers.select import Protocol
from nvlib.papers.substitutes import WIDTHS, whole
from nvlib.papers.trice_measures import (
    derivative,
    eq6,
    grid_points,
    interior,
    law_mean,
    law_moments,
    levels,
    middle_levels,
    share_below,
    slope,
)

NOTEBOOK = "03_trice"
BASE = {"reference": "full_scale", "mapping": "differential", "protocol": "matched"}
LENET_MNIST: dict[str, Any] = {
    **BASE, "network": "lenet", "dataset": "mnist", "device": "rram", "bits": 4, "images": 10_000,
}  # fmt: skip
CIFAR: dict[str, Any] = {**BASE, "device": "rram", "bits": 6}
GRID = {"ratio": (0.5, 1.0, 1.5, 2.0), "th": (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)}  # of fig4, at sigma_d = 0.25
_CUT = {"th": 2.0, "sigma_t": None, "ratio": 1.0, "space": "weight"}
_FOUND = {"th": 2.0, "start": 0.0, "end": 2.0, "k": 1, "space": "weight"}
PARAMETERS: dict[str, dict[str, Any]] = {
    # the paper's, where nothing else is asked for, whatever the classes' defaults become
    **dict.fromkeys(("rc", "lc", "rt", "lt"), _CUT), "trice": _FOUND, "trice_gauss": _FOUND,
}  # fmt: skip


def lenet(**other: object) -> tuple[Protocol, ...]:
    """Return LeNet on MNIST under the decided protocol."""
    return (Protocol({**LENET_MNIST, **other}, parameters=PARAMETERS),)


def large(network: str) -> tuple[Protocol, ...]:
    """Return a large network on CIFAR-10, at its width or parts of it; then reduced in width on MNIST."""
    reduced = [f"{network} x{width:g}" for width in WIDTHS]
    return (
        *whole(CIFAR, network, "cifar10", parameters=PARAMETERS),
        Protocol({**CIFAR, "network": reduced, "dataset": "mnist", "images": ENOUGH}, "reduced width, MNIST",
                 PARAMETERS),
    )  # fmt: skip


# -- studies ---------------------------------------------------------------------------------------------------------

# Searches are scaled to the epochs there are: `warm`, chips of a KPP, the bracket's end.
SEARCH: dict[str, dict[str, Any]] = {
    "smoke": {"warm": 0, "n_train": 4, "images": 50, "tolerance": 0.02},
    "quick": {"warm": 1, "n_train": 100, "images": 500, "tolerance": 0.05},
    "full": {"warm": 2, "tolerance": 0.02, "images": 1000},
    "paper": {},
}
FIG5_SEARCH = {**SEARCH, "full": {"warm": 2, "n_train": 100, "images": 500, "tolerance": 0.02}}
_SIX_BITS = {"bits": 6, "activation_bits": 6}  # VGG-8's and ResNet-18's


def _lenet(preset: str, methods: tuple[str, ...], sigma_d: tuple[float, ...], **more: Any) -> Entry:
    parameters = {m: SEARCH[preset] for m in methods if m in ("trice", "trice_gauss")}
    return {**LENET[preset], "methods": methods, "sigma_d": sigma_d, "parameters": parameters, **more}


def _table1(preset: str) -> list[Entry]:
    """Table I's methods; at paper in the order of what says most: sigma_d = 0.2, its neighbours, the rest."""
    methods = ("none", "correctnet", "gaussian", "rc", "trice_gauss", "trice")
    if preset == "paper":
        rest = tuple(s for s in SIGMAS if s not in (0.1, 0.2, 0.3))
        return [_lenet(preset, methods, (0.2,), chips=10_000), _lenet(preset, methods, (0.1, 0.3)),
                _lenet(preset, methods, rest, seeds=(0, 1, 2))]  # fmt: skip
    # quick asks for what ships: it is there
    return [_lenet("full" if preset == "quick" else preset, methods, (0.2,) if preset == "smoke" else (0.1, 0.2, 0.3))]


def _text(preset: str) -> list[Entry]:
    """Table I's trainings, the truncated laws, and RC-Manual with what the grid's validation images chose."""
    made = _table1(preset)
    bases = [{key: value for key, value in entry.items() if key != "parameters"} for entry in made]
    laws = [{**base, "methods": ("rt", "lt")} for base in bases[:2]]
    manual = [{**base, "methods": ("rc_manual",), "manual": preset} for base in bases]
    return [*made, *laws] if preset == "quick" else [*made, *laws, *_fig4(preset), *manual]


def _fig4(preset: str) -> list[Entry]:
    cut = {"smoke": ((0.5, 1.0, 2.0), (2.0,)), "quick": ((0.5, 1.0, 1.5, 2.0), (0.5, 1.0, 2.0, 3.0))}
    ratios, ths = cut.get(preset, (GRID["ratio"], GRID["th"]))
    points = [{"ratio": r, "th": t} for r in ratios for t in ths]
    made = [_lenet(preset, ("rc_manual",), (0.25,), parameters={"rc_manual": p}) for p in points]
    if preset == "quick":  # 400 chips have no interval of a first percentile at the confidence that two looks ask for
        made = [{**entry, "chips": 1000} for entry in made]
    seeds = {"full": (0,), "paper": (0, 1, 2)}.get(preset)
    return made if seeds is None else [{**entry, "seeds": seeds} for entry in made]


def _fig5(network: str, preset: str) -> list[Entry]:
    sigma_d = {"smoke": (0.1,), "quick": (0.05, 0.1), "full": LADDER, "paper": SIGMAS}[preset]
    size = {**LARGE[preset], "chips": {"smoke": 3, "paper": 10_000}.get(preset, 400)}
    size |= {} if "dataset" in size else {"dataset": "cifar10", "recipe": network}
    size |= {"epochs": 100} if preset == "paper" else {}
    methods = ("gaussian", "trice") if preset == "smoke" else ("none", "gaussian", "trice_gauss", "trice")
    parameters = {m: FIG5_SEARCH[preset] for m in methods if m.startswith("trice")}
    size |= {"operating_points": (f"trice-fig5-{network}", "both")} if preset == "full" else {}
    return [{**size, **_SIX_BITS, "network": network, "methods": methods, "sigma_d": sigma_d, "parameters": parameters}]


def _fig6(device: str, preset: str) -> list[Entry]:
    sigma_d = {"smoke": (0.1,), "quick": (0.05, 0.1), "full": (0.05, 0.1, 0.15, 0.2), "paper": (0.1, 0.2)}[preset]
    methods = ("gaussian", "trice") if preset == "smoke" else ("none", "gaussian", "trice_gauss", "trice")
    more = {"seeds": (0, 1, 2)} if preset == "paper" else {}
    return [_lenet(preset, methods, sigma_d, devices=(device,), **more)]


def _fig8(preset: str) -> list[Entry]:
    methods = ("rc", "lc") if preset == "smoke" else ("gaussian", "rc", "lc", "rt", "lt")
    return [_lenet(preset, methods, (0.25,))]


# -- artefacts -------------------------------------------------------------------------------------------------------

TH, SIGMA_D = 2.0, 0.1  # of laws and devices, as notebook 01 shows them
TABLE1 = ("none", "gaussian", "correctnet", "rc", "rc_manual", "trice", "trice_gauss")
SEARCHED = ("gaussian", "trice", "none", "trice_gauss")


def _exact(held: pd.DataFrame) -> str:
    return "exact: nothing is drawn at random"


def _followed(held: pd.DataFrame) -> str:
    return (f"LeNet on MNIST, one training of {held['epoch'].max()} epochs a method, seed 0 · shipped, "
            "`python -m nvlib.papers.analyses taylor`")  # fmt: skip


_ARTEFACTS = (
    Artefact(
        "trice-fig2", "accuracy distribution of a noisy LeNet with its percentiles",
        (Claim("5 % of chips lie below the 5th percentile (share of fresh chips)", "equal", share_below(5), 5.0, "%"),),
        NOTEBOOK, lenet(), lambda preset: [{**_table1(preset)[0], "methods": ("none", "gaussian"), "sigma_d": (0.2,)}],
        (of_chips("Distribution", "trice-fig2", ("none", "gaussian"), "accuracy_distribution", {"sigma_d": 0.2}, k=5),),
    ),
    Artefact(
        "trice-fig3", "histograms of RC, LC, RT and LT noise",
        (Claim("right-censored noise has a negative mean (minus it)", "sign", law_mean, unit="sigma_t"),), "01_devices",
        figures=(Drawing("Densities", call("figures.noise_laws", TH), numbers=lambda _: law_moments(TH), note=_exact),),
    ),
    Artefact(
        "trice-fig4", "grid of sigma_t and th: the first percentile rises, then falls, along both",
        (Claim("the best sigma_t and th lie inside the grid, above both ends", "sign", interior),),
        NOTEBOOK, lenet(), _fig4,
        (Drawing("Grid", call("figures.noise_grid", TABLE), call("papers.grid", RESULTS), grid_points),),
        options="--preset quick",
    ),
    Artefact(
        "trice-table1", "LeNet on MNIST, RRAM: five trainings, sigma_d from 0 to 0.4",
        (
            Claim("TRICE lies above Gauss", "gain", gain("trice", "gaussian", table="trice-table1"), 15.42),
            Claim("Gauss lies above no noise", "gain", gain("gaussian", "none", table="trice-table1"), 49.45),
            Claim("CorrectNet lies below Gauss", "gain", gain("gaussian", "correctnet", table="trice-table1"), 26.5),
            Claim("RC at sigma_t = sigma_d lies above Gauss: the censoring alone", "sign",
                  gain("rc", "gaussian", sigma_d=0.3), control=True),
            Claim("the search alone (plain Gaussian) lies above Gauss", "sign",
                  gain("trice_gauss", "gaussian", sigma_d=0.3), control=True),
            Claim("TRICE lies above the same search with a plain Gaussian", "sign",
                  gain("trice", "trice_gauss", sigma_d=0.3), control=True),
        ),
        NOTEBOOK, lenet(), _table1,
        (of_chips("Percentile", "trice-table1", TABLE1, "percentile_curves", {"zero": True}),
         of_chips("Over Gauss", "trice-table1", TABLE1, "difference_curves", {"zero": True}, baseline="gaussian")),
        options="--preset full",
    ),
    *(
        Artefact(
            f"trice-fig5{letter}", f"{shown} on CIFAR-10: first percentile against sigma_d",
            (Claim("TRICE lies above Gauss, up to", "gain", gain("trice", "gaussian"),
                   number(f"trice-fig5{letter}", method="trice")),),
            NOTEBOOK, large(network), partial(_fig5, network),
            (of_chips("Percentile", f"trice-fig5{letter}", SEARCHED, "percentile_curves"),),
            options="--preset full; with CIFAR-10",
        )
        for letter, network, shown in (("a", "vgg8", "VGG-8"), ("b", "resnet18", "ResNet-18"))
    ),
    *(
        Artefact(
            f"trice-fig6{letter}", f"LeNet on MNIST, {shown}: first percentile against sigma_d",
            (Claim("TRICE lies above Gauss, up to", "gain", gain("trice", "gaussian"),
                   number(f"trice-fig6{letter}", method="trice")),),
            NOTEBOOK, lenet(device=device), partial(_fig6, device),
            (of_chips("Percentile", f"trice-fig6{letter}", SEARCHED, "percentile_curves"),),
            options="--preset quick",
        )
        for letter, device, shown in (("a", "fefet1", "FeFET1"), ("b", "fefet2", "FeFET2"))
    ),
    Artefact(
        "trice-fig7", "programmed conductance of uniform and non-uniform devices",
        (Claim("FeFET2's middle levels stray more than the outer ones", "equal", middle_levels, 2.0, "times"),),
        "01_devices",
        figures=tuple(
            Drawing(name(device), call("figures.device_levels", device, SIGMA_D),
                    numbers=partial(lambda device, _: levels(device, SIGMA_D), device), note=_exact)
            for device in ("rram", "fefet2")
        ),
    ),
    Artefact(
        "trice-fig8", "RC, LC, RT, LT and Gauss at sigma_d = 0.25",
        (Claim("RC lies above the best other law, at least", "gain",
               least_gain("rc", ("lc", "rt", "lt", "gaussian"), sigma_d=0.25), number("trice-fig8", method="rc")),
         Claim("RC lies above the best other law (at 0.3)", "gain",
               least_gain("rc", ("lc", "rt", "lt", "gaussian"), sigma_d=0.3), number("trice-fig8", method="rc"),
               control=True)),
        NOTEBOOK, lenet(), _fig8,
        (of_chips("Percentile", "trice-fig8", ("rc", "lc", "gaussian", "rt", "lt"), "percentile_curves"),),
        options="--preset quick",
    ),
    Artefact(
        "trice-eq6", "the percentile of the loss from f, f' and f'' (Eqs. 2-6) against simulation",
        (
            Claim("Eq. 6 gives the 99th percentile of the loss (f' = 0.5, f'' = 4, sigma = 0.1)", "equal", eq6,
                  unit="nats"),
            Claim("a larger |f'| lowers the loss's percentile there (by, per unit of f')", "sign", slope, unit="nats"),
        ),
        "02_kpp_taylor",
        figures=(Drawing("One weight", call("figures.one_weight", TABLE),
                         call("taylor.compare", call("np.linspace", 0, 1, 41), 4, 0.1, q=0.01, f0=0.05),
                         note=lambda _: "laws exact; the simulation's draws are of seed 0"),),
    ),
    Artefact(
        "trice-n", "10,000 chips give the first percentile to +-0.009",
        (Claim("half an interval's width on 10,000 chips, at most", "bound",
               half_width("kpp", 10_000, ("none", "gaussian")), number("trice-n", metric="kpp1_half_width")),
         Claim("300 chips give a mean to a point (II-B: enough)", "bound",
               half_width("mean", 300, ("none", "gaussian")), 1.0)),
        NOTEBOOK, (*lenet(), *lenet(images=1000)),
        figures=(Drawing("Distribution", call("figures.accuracy_distribution", TABLE),
                         call("papers.many_rows", RESULTS), summary.results_table),),
        options="--preset quick; 10,000 chips on 1,000 images",
    ),
    Artefact(
        "trice-text", "gains named in the text",
        (
            Claim("TRICE lies above no noise", "gain", gain("trice", "none", table="trice-table1"),
                  number("trice-text", method="trice", metric="kpp1_gain_over_none_max")),
            Claim("Gauss lies above no noise", "gain", gain("gaussian", "none", table="trice-table1"),
                  number("trice-text", method="gaussian")),
            Claim("CorrectNet lies above no noise (Table I itself has 29.55, at 0.15)", "gain",
                  gain("correctnet", "none", sigma_d=0.1), number("trice-text", method="correctnet")),
            Claim("TRICE lies above RC-Manual", "gain", gain("trice", "rc_manual", table="trice-table1"),
                  number("trice-text", metric="kpp1_gain_over_rc_manual_max")),
            Claim("right-truncated noise lies below Gauss", "sign", least_gain("gaussian", ("rt",))),
            Claim("left-truncated noise lies below Gauss", "sign", least_gain("gaussian", ("lt",))),
        ),
        NOTEBOOK, lenet(), _text,
        (of_chips("Percentile", "trice-text", ("none", "gaussian", "correctnet", "rt", "lt", "rc_manual", "trice"),
                  "percentile_curves", {"zero": True}),),
        options="--preset full",
    ),
    Artefact(
        "trice-3c", "noise injection lowers f'', right-censored noise raises |f'| (III-C)",
        (
            Claim("f'' falls with Gaussian injection: without noise it lies above", "sign",
                  derivative("f2", "none", "gaussian"), unit="%"),
            Claim("|f'| is larger under RC than under Gauss", "sign", derivative("f1", "rc", "gaussian"), unit="%"),
        ),
        "02_kpp_taylor",
        figures=(Drawing("Along training", call("figures.derivatives_by_epoch", TABLE, split="train"),
                         call("papers.theory.table", "training"), note=_followed),),
        needs="python -m nvlib.papers.analyses taylor",
    ),
)

TRICE = Paper(
    "TRICE",
    """@inproceedings{trice2023,
  title     = {Improving Realistic Worst-Case Performance of {NVCiM} {DNN} Accelerators through Training with
               Right-Censored {Gaussian} Noise},
  author    = {Yan, Zheyu and Qin, Yifan and Wen, Wujie and Hu, Xiaobo Sharon and Shi, Yiyu},
  booktitle = {IEEE/ACM International Conference on Computer-Aided Design (ICCAD)},
  year      = {2023},
}""",
    _ARTEFACTS,
    Notebook(NOTEBOOK, {"smoke": 40, "quick": 1560, "full": 1.2e5, "paper": 3e7}),
)
