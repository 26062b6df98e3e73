"""The artefacts of NFT (Qin et al., arXiv 2305.14561) and of OVF (the same authors; OVF alone): figures, tables, text.

Protocol: mean accuracy, matched, `full_scale` and `signed` (as in their authors' code), 8-bit weights. What a small
machine can compute of a panel, at reduced width or with LeNet, is a substitute, and is marked so.
"""

from __future__ import annotations

from nvlib.figures.names import name
from nvlib.papers.artefact import Artefact, Claim
from nvlib.papers.measures import Measure, change, fewer_failures, gain, half_width, least_gain
from nvlib.papers.printed_numbers import number
from nvlib.papers.select import Protocol
from nvlib.papers.substitutes import WIDTHS, whole
from nvlib.papers.trice import ENOUGH, LENET

NFT_BASE = {"device": "rram", "reference": "full_scale", "mapping": "signed", "protocol": "matched", "bits": 8}
PANELS = (
    ("vgg8", "mnist"), ("vgg8", "cifar10"), ("resnet18", "mnist"), ("resnet18", "cifar10"), ("resnet18", "cifar100"),
    ("resnet18", "tiny-imagenet"),
)  # fmt: skip


def panel(network: str, dataset: str) -> tuple[Protocol, ...]:
    """Return where a panel itself is looked for: its network, at its width or parts of it, on the whole of its data."""
    return whole(NFT_BASE, network, dataset)


def settings(network: str, dataset: str) -> tuple[Protocol, ...]:
    """Return where a panel's numbers are looked for: the panel itself, then what stands in for it."""
    found = list(panel(network, dataset))
    if dataset in ("mnist", "cifar10"):
        reduced = [f"{network} x{width:g}" for width in WIDTHS]
        found.append(Protocol({**NFT_BASE, "network": reduced, "dataset": "mnist", "images": ENOUGH},
                             "reduced width, MNIST"))
    if (network, dataset) == ("vgg8", "mnist"):
        signed = {**LENET, "mapping": "signed"}
        found += [Protocol(signed, "LeNet, 4-bit"), Protocol(LENET, "LeNet, 4-bit, differential")]
    return tuple(found)


def _at(measure: Measure, where: tuple[Protocol, ...]) -> Measure:
    """Return a measure that looks in its own places: a claim about one panel of several."""
    return lambda results, _: measure(results, where)


def _panels(artefact: str, methods: tuple[str, ...]) -> tuple[Claim, ...]:
    return tuple(
        Claim(
            f"{name(method)} lies above Gauss: {name(network)} on {name(dataset)}, up to".replace("ovf", "OVF")
            .replace("irs", "IRS"),
            "gain", _at(gain(method, "gaussian", "mean"), settings(network, dataset)),
            number(artefact, network=network, dataset=dataset, method=method),
        )
        for network, dataset in PANELS
        for method in methods
    )  # fmt: skip


def _less(artefact: str, method: str, usual: float, varied: float) -> float:
    """Return what the paper loses by a variation: the accuracy of its own setting minus that of the varied one."""
    x = [number(artefact, method=method, x=at, metric="mean") for at in (usual, varied)]
    return round(x[0] - x[1], 2)


_RESNET = settings("resnet18", "cifar10")
_VGG = settings("vgg8", "mnist")
_ABLATION = (
    *whole(NFT_BASE, "resnet18", "cifar10"), *whole(NFT_BASE, "vgg8", "cifar10", "VGG-8"),
    *whole(NFT_BASE, "vgg8", "mnist", "VGG-8, MNIST"), *[s for s in _VGG if "train_images" not in s.where][1:],
)  # fmt: skip
_CONVERGENCE = "reproduce {} --preset full; 10 trainings of VGG-8 a method"

NFT = (
    Artefact(
        "nft-fig3", "mean noisy accuracy against sigma_d: six panels of network and data set",
        _panels("nft-fig3", ("ovf", "irs")), "04_nft", _VGG,
        "reproduce nft-fig3 --preset full; with the data, some 15 hours of two cores",
    ),
    Artefact(
        "nft-fig4", "EKL divergence of correct predictions",
        (
            Claim("OVF's EKL lies below Gauss's", "sign", least_gain("gaussian", ("ovf",), "ekl"), unit="nats"),
            Claim("IRS's EKL lies below Gauss's", "sign", least_gain("gaussian", ("irs",), "ekl"), unit="nats"),
            Claim("Gauss's EKL lies above no noise's (at 0.1)", "sign", gain("gaussian", "none", "ekl", sigma_d=0.1),
                  unit="nats"),
        ),
        "04_nft", _VGG, "reproduce nft-fig4 --preset full",
    ),
    Artefact(
        "nft-convergence", "10 trainings of VGG-8 on MNIST at sigma_d = 0.35: how many fail to converge",
        (
            Claim("OVF fails less often than Gauss (0 against 6 of 10)", "gain",
                  fewer_failures("ovf", "gaussian"), 60.0, "% of runs"),
            Claim("IRS fails less often than Gauss (2 against 6 of 10)", "gain",
                  fewer_failures("irs", "gaussian"), 40.0, "% of runs"),
        ),
        "04_nft", _VGG, _CONVERGENCE.format("nft-convergence"),
    ),
    Artefact(
        "nft-table1", "number N of feedback outputs (ResNet-18 on CIFAR-10 at 0.3)",
        (
            Claim("OVF: N = 3 lies above N = 1", "gain", change("ovf", "mean", {"n": 3}, {"n": 1}),
                  _less("nft-table1", "ovf", 3, 1)),
            Claim("IRS: all blocks but the last lie above N = 1", "gain", change("irs", "mean", {"n": None}, {"n": 1}),
                  _less("nft-table1", "irs", 4, 1)),
        ),
        "04_nft", _ABLATION, "reproduce nft-table1 --preset quick",
    ),
    Artefact(
        "nft-reverse-gamma", "decay factors the other way round",
        (
            Claim("OVF loses by it", "gain", change("ovf", "mean", {}, {"reverse": True}),
                  _less("nft-reverse-gamma", "ovf", 0, 1)),
            Claim("IRS loses by it", "gain", change("irs", "mean", {}, {"reverse": True}),
                  _less("nft-reverse-gamma", "irs", 0, 1)),
        ),
        "04_nft", _ABLATION, "reproduce nft-reverse-gamma --preset quick",
    ),
    Artefact(
        "nft-reverse-sigma", "quieter forwards as feedback in place of louder ones",
        (Claim("OVF loses by it", "gain", change("ovf", "mean", {}, {"step": -0.05}),
               -number("nft-reverse-sigma", method="ovf")),),
        "04_nft", _ABLATION, "reproduce nft-reverse-sigma --preset quick",
    ),
    Artefact(
        "nft-classifier-noise", "IRS without noise in its classifiers",
        (Claim("IRS loses by it", "gain", change("irs", "mean", {}, {"noisy": False}),
               _less("nft-classifier-noise", "irs", 1, 0)),),
        "04_nft", _ABLATION, "reproduce nft-classifier-noise --preset quick",
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
        "04_nft", _ABLATION, "reproduce nft-table2 --preset quick",
    ),
    Artefact(
        "nft-n", "200 chips give a mean to +-0.01",
        (Claim("half an interval's width on 200 chips, at most", "bound",
               half_width("mean", 200, ("none", "gaussian", "ovf", "irs")), 1.0),),
        "04_nft", _VGG,
    ),
)  # fmt: skip

OVF = (
    Artefact(
        "ovf-fig3", "mean noisy accuracy against sigma_d: six panels, OVF alone", _panels("ovf-fig3", ("ovf",)),
        "05_ovf", _VGG, "reproduce ovf-fig3 --preset full; with the data, some 10 hours of two cores",
    ),
    Artefact(
        "ovf-fig4", "EKL divergence of correct predictions, OVF alone",
        (
            Claim("OVF's EKL lies below Gauss's", "sign", least_gain("gaussian", ("ovf",), "ekl"), unit="nats"),
            Claim("Gauss's EKL lies above no noise's (at 0.1)", "sign", gain("gaussian", "none", "ekl", sigma_d=0.1),
                  unit="nats"),
        ),
        "05_ovf", _VGG, "reproduce ovf-fig4 --preset full",
    ),
    Artefact(
        "ovf-convergence", "10 trainings of VGG-8 on MNIST at sigma_d = 0.35: how many fail to converge",
        (Claim("OVF fails less often than Gauss (0 against 6 of 10)", "gain",
               fewer_failures("ovf", "gaussian"), 60.0, "% of runs"),),
        "05_ovf", _VGG, _CONVERGENCE.format("ovf-convergence"),
    ),
)  # fmt: skip
