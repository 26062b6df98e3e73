"""NFT (Qin et al., arXiv 2305.14561): its figures, tables and text, with the studies behind each.

Protocol: mean accuracy, matched, `full_scale` and `signed` (as in their authors' code), 8-bit weights. What a small
machine can compute of a panel, at reduced width or with LeNet, is a substitute, and is marked so.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from nvlib.figures.names import name
from nvlib.papers.artefact import Artefact, Claim, Notebook, Paper, Variant
from nvlib.papers.drawing import of_chips, of_variants
from nvlib.papers.measures import change, fewer_failures, gain, half_width, least_gain
from nvlib.papers.presets import ENOUGH, LADDER, LARGE, SIGMAS, Entry
from nvlib.papers.printed_numbers import number, published
from nvlib.papers.select import Protocol
from nvlib.papers.substitutes import WIDTHS, whole
from nvlib.papers.trice import LENET_MNIST

NOTEBOOK = "04_nft"
BASE: dict[str, Any] = {
    "device": "rram", "reference": "full_scale", "mapping": "signed", "protocol": "matched", "bits": 8,
}  # fmt: skip
PARAMETERS: dict[str, dict[str, Any]] = {
    "ovf": {"n": 3, "step": 0.05, "reverse": False}, "irs": {"n": None, "reverse": False, "noisy": True},
}  # fmt: skip
PANELS = (
    ("vgg8", "mnist"), ("vgg8", "cifar10"), ("resnet18", "mnist"), ("resnet18", "cifar10"), ("resnet18", "cifar100"),
    ("resnet18", "tiny-imagenet"),
)  # fmt: skip
TRAINED = ("none", "gaussian", "ovf", "irs")
SHOWN = ("gaussian", "ovf", "none", "irs")
GAINS: dict[str, Any] = {"baseline": "gaussian", "of": "mean"}
_whole = partial(whole, BASE, parameters=PARAMETERS)



def panel(network: str, dataset: str) -> tuple[Protocol, ...]:
    """Return where a panel itself is looked for: its network, at its width or parts of it, on the whole of its data."""
    return _whole(network, dataset)


def settings(network: str, dataset: str) -> tuple[Protocol, ...]:
    """Return where a panel's numbers are looked for: the panel itself, then what stands in for it."""
    found = list(panel(network, dataset))
    if dataset in ("mnist", "cifar10"):
        reduced = [f"{network} x{width:g}" for width in WIDTHS]
        found.append(Protocol({**BASE, "network": reduced, "dataset": "mnist", "images": ENOUGH},
                              "reduced width, MNIST", PARAMETERS))
    if (network, dataset) == ("vgg8", "mnist"):
        signed = {**LENET_MNIST, "mapping": "signed"}
        found += [Protocol(signed, "LeNet, 4-bit", PARAMETERS),
                  Protocol(LENET_MNIST, "LeNet, 4-bit, differential", PARAMETERS)]
    return tuple(found)


# -- studies ---------------------------------------------------------------------------------------------------------

_HIDDEN = {"smoke": 32, "quick": 32, "full": 64}  # units of IRS's classifiers; whole: 512, a sixteenth: 32
# a network of a sixteenth of its width is as far gone at 0.1 as the whole one at 0.3: at 0.2 Gauss stays near chance
_NARROW = {"curves": (0.05, 0.1, 0.15), "ablation": 0.1, "convergence": 0.15}
BETA = {  # as NFT's authors published them (README of the artefacts, item 6)
    ("vgg8", "mnist"): (1e-3, 1e-2), ("vgg8", "cifar10"): (1e-3, 1e-1), ("resnet18", "mnist"): (1e-4, 1e-1),
    ("resnet18", "cifar10"): (1e-1, 1e-3), ("resnet18", "cifar100"): (1e-1, 1e-3),
    ("resnet18", "tiny-imagenet"): (1e-2, 1e-2),
}  # fmt: skip


def trained(preset: str, network: str, dataset: str, methods: tuple[str, ...], **more: Any) -> Entry:
    """Return the study of some methods on a network and data set, with the beta that was published for it."""
    ovf, irs = BETA[network, dataset]
    beta = {"ovf": {"beta": ovf}, "irs": {"beta": irs, **({"hidden": _HIDDEN[preset]} if preset in _HIDDEN else {})}}
    size = LARGE[preset]
    size = size if "dataset" in size else {**size, "dataset": dataset, "recipe": network}
    return {**size, "network": network, "mapping": "signed", "methods": methods,
            "parameters": {m: beta[m] for m in methods if m in beta}, **more}  # fmt: skip


def _panel_at(network: str, dataset: str, which: str) -> Entry:
    """Operating points of a panel, the same for every artefact."""
    return {"sigma_d": LADDER, "operating_points": (f"nft-fig3-{network}-{dataset}", which)}


def curves(methods: tuple[str, ...], preset: str) -> list[Entry]:
    """Return the panels of Fig. 3 (Fig. 4 reads the same chips); smoke and quick make the first, at reduced width."""
    if preset == "full":
        made = [trained(preset, *panel, methods, **_panel_at(*panel, "both")) for panel in BETA]
        return [*made, trained(preset, *next(iter(BETA)), methods[:2], sigma_d=(0.1,))]  # where Fig. 4's text looks
    sigma_d = {"smoke": (0.2,), "quick": _NARROW["curves"]}.get(preset, SIGMAS[1:])
    panels = list(BETA) if preset == "paper" else list(BETA)[:1]
    return [trained(preset, *panel, methods, sigma_d=sigma_d) for panel in panels]


def convergence(methods: tuple[str, ...], preset: str) -> list[Entry]:
    """Return ten trainings of VGG-8 on MNIST a method."""
    runs = {"smoke": (0, 1)}.get(preset, tuple(range(10)))
    chips = {"smoke": 2, "quick": 40, "full": 100}.get(preset, 200)
    sizes = {"epochs": 1, "images": 32} if preset == "smoke" else {}
    at = {"sigma_d": (_NARROW["convergence"] if preset == "quick" else 0.35,)}
    at = _panel_at("vgg8", "mnist", "second") if preset == "full" else at
    return [trained(preset, "vgg8", "mnist", methods, **at, seeds=runs, chips=chips, **sizes)]


def _ablated(preset: str, *variants: tuple[str, dict[str, Any]], **more: Any) -> list[Entry]:
    """An ablation: one method under other parameters, ResNet-18 on CIFAR-10 at 0.3; smaller presets a narrow VGG-8."""
    network, dataset, at = {
        "full": ("vgg8", "cifar10", _panel_at("vgg8", "cifar10", "first")),
        "paper": ("resnet18", "cifar10", {"sigma_d": (0.3,)}),
    }.get(preset, ("vgg8", "mnist", {"sigma_d": (_NARROW["ablation"],)}))
    made = []
    for method, parameters in variants:
        entry = trained(preset, network, dataset, (method,), **at, **more)
        made.append({**entry, "parameters": {method: {**entry["parameters"][method], **parameters}}})
    return made


def _table2(preset: str) -> list[Entry]:
    """From scratch, and on from a model trained without noise for the same number of epochs: +1/4, 1/2, all of them."""
    scratch = _ablated(preset, ("ovf", {}), ("irs", {}))
    whole = scratch[0]["epochs"]
    parts = sorted({max(1, whole * part // 4) for part in (1, 2, 4)})
    made = list(scratch)
    for entry in scratch:
        quiet = {key: value for key, value in entry.items() if key != "parameters"} | {"methods": ("none",)}
        made += [{**entry, "epochs": epochs, "pretrain": quiet} for epochs in parts]
    return made


def _numbers(preset: str) -> list[Entry]:
    """Table 1: N of both methods; small presets have a VGG-8, whose blocks are of four kinds."""
    blocks = (1, 2, 3, None, 5) if preset == "paper" else (1, 2, None, 4)
    return _ablated(preset, *(("ovf", {"n": n}) for n in (1, 2, 3, 4)), *(("irs", {"n": n}) for n in blocks))


# -- artefacts -------------------------------------------------------------------------------------------------------


def panels(artefact: str, methods: tuple[str, ...]) -> tuple[Claim, ...]:
    """Return the claims about each panel, looked for in that panel alone."""
    return tuple(
        Claim(
            f"{name(method)} lies above Gauss: {name(network)} on {name(dataset)}, up to".replace("ovf", "OVF")
            .replace("irs", "IRS"),
            "gain", gain(method, "gaussian", "mean"),
            number(artefact, network=network, dataset=dataset, method=method), settings=settings(network, dataset),
        )
        for network, dataset in PANELS
        for method in methods
    )  # fmt: skip


def _less(artefact: str, method: str, usual: float, varied: float) -> float:
    """Return what the paper loses by a variation: the accuracy of its own setting minus that of the varied one."""
    x = [number(artefact, method=method, x=at, metric="mean") for at in (usual, varied)]
    return round(x[0] - x[1], 2)


def _rows_of_table1() -> tuple[Variant, ...]:
    ovf = [Variant(f"OVF, N = {n}", "ovf", {"n": n}, number("nft-table1", method="ovf", x=n)) for n in (1, 2, 3, 4)]
    irs = [(1, 1, "N = 1", None), (2, 2, "N = 2", None), (3, 3, "N = 3", {"n": None}),
           (None, 4, "all blocks but the last", None), (5, 5, "all blocks", {"n": 4})]  # fmt: skip
    return (*ovf, *(Variant(f"IRS, {text}", "irs", {"n": n}, number("nft-table1", method="irs", x=x), on_vgg8=there)
                    for n, x, text, there in irs))  # fmt: skip


def _rows_of_reverse_gamma() -> tuple[Variant, ...]:
    return tuple(
        Variant(f"{m.upper()}, {text}", m, {"reverse": r}, number("nft-reverse-gamma", method=m, x=int(r)))
        for m in ("ovf", "irs") for r, text in ((False, "as published"), (True, "reversed"))
    )  # fmt: skip


def _rows_of_reverse_sigma() -> tuple[Variant, ...]:
    usual = number("nft-table1", method="ovf", x=3)
    quieter = round(usual + number("nft-reverse-sigma", method="ovf"), 2)
    return (Variant("OVF, louder by 0.05", "ovf", {}, usual),
            Variant("OVF, quieter by 0.05", "ovf", {"step": -0.05}, quieter))  # fmt: skip


def _rows_of_classifier_noise() -> tuple[Variant, ...]:
    return (Variant("IRS, noisy classifiers", "irs", {"noisy": True}, number("nft-classifier-noise", x=1)),
            Variant("IRS, exact classifiers", "irs", {"noisy": False}, number("nft-classifier-noise", x=0)))


def _rows_of_table2() -> tuple[Variant, ...]:
    rows = published("nft-table2")
    later = rows[rows.parameter == "epochs_after_pretraining"]
    made = [
        Variant(f"{r.method.upper()}, pretrained + {r.x / 200:.0%} of the epochs", r.method if r.x else "none",
                {}, r.value, "pretrained" if r.x else "", r.x / 200)
        for r in later.itertuples()
    ]  # fmt: skip
    scratch = rows[(rows.parameter == "epochs_from_scratch") & (rows.method != "none")]
    made += [Variant(f"{r.method.upper()}, from scratch", r.method, {}, r.value) for r in scratch.itertuples()]
    return tuple(sorted(made, key=lambda v: (v.label[:3], v.share is None, v.share)))


_RESNET = settings("resnet18", "cifar10")
VGG8 = settings("vgg8", "mnist")
_ABLATION = (
    *_whole("resnet18", "cifar10"), *_whole("vgg8", "cifar10", "VGG-8"), *_whole("vgg8", "mnist", "VGG-8, MNIST"),
    *[s for s in VGG8 if "train_images" not in s.where][1:],
)  # fmt: skip
CONVERGENCE = "--preset full; 10 trainings of VGG-8 a method"
AT_FAILING = {"runs": 2}  # where several were trained, to see which fail

_ARTEFACTS = (
    Artefact(
        "nft-fig3", "mean noisy accuracy against sigma_d: six panels of network and data set",
        panels("nft-fig3", ("ovf", "irs")), NOTEBOOK, VGG8, partial(curves, TRAINED),
        (of_chips("Mean", "nft-fig3", SHOWN, "mean_curves"),
         of_chips("Over Gauss", "nft-fig3", SHOWN, "difference_curves", **GAINS)),
        options="--preset full; with the data, some 15 hours of two cores",
    ),
    Artefact(
        "nft-fig4", "EKL divergence of correct predictions",
        (
            Claim("OVF's EKL lies below Gauss's", "sign", least_gain("gaussian", ("ovf",), "ekl"), unit="nats"),
            Claim("IRS's EKL lies below Gauss's", "sign", least_gain("gaussian", ("irs",), "ekl"), unit="nats"),
            Claim("Gauss's EKL lies above no noise's (at 0.1)", "sign", gain("gaussian", "none", "ekl", sigma_d=0.1),
                  unit="nats"),
        ),
        NOTEBOOK, VGG8, partial(curves, TRAINED), (of_chips("EKL", "nft-fig4", SHOWN, "mean_curves", of="ekl"),),
        options="--preset full",
    ),
    Artefact(
        "nft-convergence", "10 trainings of VGG-8 on MNIST at sigma_d = 0.35: how many fail to converge",
        (
            Claim("OVF fails less often than Gauss (0 against 6 of 10)", "gain",
                  fewer_failures("ovf", "gaussian"), 60.0, "% of runs"),
            Claim("IRS fails less often than Gauss (2 against 6 of 10)", "gain",
                  fewer_failures("irs", "gaussian"), 40.0, "% of runs"),
        ),
        NOTEBOOK, VGG8, partial(convergence, ("gaussian", "ovf", "irs")),
        (of_chips("Trainings", "nft-convergence", ("gaussian", "ovf", "irs"), "converging", AT_FAILING),),
        options=CONVERGENCE,
    ),
    Artefact(
        "nft-table1", "number N of feedback outputs (ResNet-18 on CIFAR-10 at 0.3)",
        (
            Claim("OVF: N = 3 lies above N = 1", "gain", change("ovf", "mean", {"n": 3}, {"n": 1}),
                  _less("nft-table1", "ovf", 3, 1)),
            Claim("IRS: all blocks but the last lie above N = 1", "gain", change("irs", "mean", {"n": None}, {"n": 1}),
                  _less("nft-table1", "irs", 4, 1)),
        ),
        NOTEBOOK, _ABLATION,
        _numbers,
        (of_variants("nft-table1", "Number of feedback outputs"),), _rows_of_table1(),
        options="--preset quick",
    ),
    Artefact(
        "nft-reverse-gamma", "decay factors the other way round",
        (
            Claim("OVF loses by it", "gain", change("ovf", "mean", {}, {"reverse": True}),
                  _less("nft-reverse-gamma", "ovf", 0, 1)),
            Claim("IRS loses by it", "gain", change("irs", "mean", {}, {"reverse": True}),
                  _less("nft-reverse-gamma", "irs", 0, 1)),
        ),
        NOTEBOOK, _ABLATION,
        lambda preset: _ablated(preset, *((m, {"reverse": r}) for m in ("ovf", "irs") for r in (False, True))),
        (of_variants("nft-reverse-gamma", "Decay factors reversed"),), _rows_of_reverse_gamma(),
        options="--preset quick",
    ),
    Artefact(
        "nft-reverse-sigma", "quieter forwards as feedback in place of louder ones",
        (Claim("OVF loses by it", "gain", change("ovf", "mean", {}, {"step": -0.05}),
               -number("nft-reverse-sigma", method="ovf")),),
        NOTEBOOK, _ABLATION,
        lambda preset: _ablated(preset, ("ovf", {}), ("ovf", {"step": -0.05})),
        (of_variants("nft-reverse-sigma", "Louder or quieter feedback"),), _rows_of_reverse_sigma(),
        options="--preset quick",
    ),
    Artefact(
        "nft-classifier-noise", "IRS without noise in its classifiers",
        (Claim("IRS loses by it", "gain", change("irs", "mean", {}, {"noisy": False}),
               _less("nft-classifier-noise", "irs", 1, 0)),),
        NOTEBOOK, _ABLATION,
        lambda preset: _ablated(preset, ("irs", {}), ("irs", {"noisy": False})),
        (of_variants("nft-classifier-noise", "Noise in the classifiers"),), _rows_of_classifier_noise(),
        options="--preset quick",
    ),
    Artefact(
        "nft-table2", "a pretrained backbone, trained on, against training from scratch",
        tuple(
            Claim(f"{method.upper()} from scratch lies above {method.upper()} on a pretrained model", "gain",
                  change(method, "mean", {}, {}, pretrained=True),
                  round(number("nft-table2", method=method, parameter="epochs_from_scratch")
                        - number("nft-table2", method=method, x=200, parameter="epochs_after_pretraining"), 2))
            for method in ("ovf", "irs")
        ),
        NOTEBOOK, _ABLATION,
        _table2,
        (of_variants("nft-table2", "From a pretrained model, and from scratch"),), _rows_of_table2(),
        options="--preset quick",
    ),
    Artefact(
        "nft-n", "200 chips give a mean to +-0.01",
        (Claim("half an interval's width on 200 chips, at most", "bound",
               half_width("mean", 200, ("none", "gaussian", "ovf", "irs")), 1.0),),
        NOTEBOOK, VGG8, figures=(of_chips("Mean", "nft-n", SHOWN, "mean_curves"),), made_of="nft-fig3",
    ),
)  # fmt: skip

NFT = Paper(
    "NFT",
    """@article{nft2023,
  title   = {Negative Feedback Training: A Novel Concept to Improve Robustness of {NVCIM} {DNN} Accelerators},
  author  = {Qin, Yifan and Yan, Zheyu and Wen, Wujie and Hu, Xiaobo Sharon and Shi, Yiyu},
  journal = {arXiv preprint arXiv:2305.14561},
  year    = {2023},
}""",
    _ARTEFACTS,
    Notebook(NOTEBOOK, {"smoke": 40, "quick": 600, "full": 7e4, "paper": 3e8}),
)
