"""The artefacts of TSB (Qin et al., arXiv 2406.06544): figures, tables and the numbers in its text.

Protocol: mean accuracy over chips each repaired on its own, `full_scale` and `signed` (assumed), 8-bit weights,
write-verified cells at sigma 0.03. What stands in for VGG-8 is said with each number. Our copy of the text lacks
several of its numbers; what it lacks is not filled in.
"""

from __future__ import annotations

from collections.abc import Sequence

from nvlib.papers.artefact import Artefact, Claim
from nvlib.papers.deployment_measures import distance_cut, epochs_to_converge, speedup, varied, whole_share
from nvlib.papers.measures import Finding, Measure
from nvlib.papers.printed_numbers import number
from nvlib.papers.select import Evidence, Protocol
from nvlib.papers.substitutes import whole
from nvlib.statistics import Estimate

CHANNELS = {"lenet3": 5, "vgg8_tsb": 128, "resnet18": 128}  # of the block (4.2)
CLASSES = {"lenet3": 10, "vgg8_tsb": 10, "resnet18": 200}
_CHIPS = {"device": "rram", "reference": "full_scale", "mapping": "signed", "protocol": "matched"}
LENET3 = (Protocol({**_CHIPS, "network": "lenet3", "dataset": "mnist", "images": 10_000}),)
VGG8 = (
    *whole(_CHIPS, "vgg8_tsb", "cifar10"),
    Protocol({**_CHIPS, "network": "vgg8_tsb x0.125", "dataset": "mnist", "images": 10_000},
            "VGG-8 at an eighth of its width on MNIST"),
)  # fmt: skip


def share(network: str) -> Measure:
    """Return the measure of a block's weights as a share of the backbone's, in percent; counted."""

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding:
        from nvlib import models

        model = models.build(network, classes=CLASSES[network])
        weights = sum(w.numel() for w in model.parameters() if w.ndim > 1)
        value = 100 * CHANNELS[network] ** 2 / weights
        note = f"{CHANNELS[network] ** 2} of {weights} weights"
        return Finding(Estimate(value, value, value, 1, note), "", "counted")

    return measure


def edp(network: str, design: str) -> Measure:
    """Return the measure of an accelerator's energy-delay product over the base one's, by `nvlib.hardware`."""

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding:
        from nvlib import hardware

        table = hardware.table1().set_index(["source", "network", "design"]).ratio_edp
        value = float(table["first order", network, design])
        return Finding(Estimate(value, value, value, 1), "", "first-order hardware model")

    return measure


def _edp_printed(network: str, design: str) -> float:
    base, other = (number("tsb-table1", network=network, method=m, metric="edp") for m in ("base", design))
    return round(other / base, 2)


def _gap(artefact: str, a: float, b: float) -> float:
    """Return how far the paper puts one x above another."""
    return round(number(artefact, metric="mean", x=a) - number(artefact, metric="mean", x=b), 2)


def _reproduce(artefact: str) -> str:
    return f"reproduce {artefact} --preset quick"


TSB = (
    Artefact(
        "tsb-fig3", "normalised accuracy distance: Gauss, retrained last layer(s), TSB",
        (Claim("TSB cuts the distance to the ideal accuracy, over", "ratio", distance_cut("tsb"),
               number("tsb-fig3", method="tsb"), "times"),),
        "06_tsb", LENET3, _reproduce("tsb-fig3"),
    ),
    Artefact(
        "tsb-fig4", "training time with early stops at 15, 30 and 50 %, then TSB",
        (Claim("total share of the full training time (LeNet-3), at most", "bound", whole_share(),
               number("tsb-fig4", network="lenet3"), "%"),),
        "06_tsb", LENET3, "the table results/tsb-fig4",
    ),
    Artefact(
        "tsb-table1", "energy, latency, EDP: base, Common, Separate",
        tuple(
            Claim(f"EDP over the base's, {design.capitalize()}, {shown}", "equal", edp(network, design),
                  _edp_printed(network, design), "times")
            for network, shown in (("lenet3", "LeNet-3"), ("vgg8_tsb", "VGG-8"), ("resnet18", "ResNet-18"))
            for design in ("common", "separate")
        ),
        "06_tsb",
    ),
    Artefact(
        "tsb-table2", "channels of the block, 16 to 512",
        (Claim("128 channels lie above 512", "gain", varied("channels", 128, 512), _gap("tsb-table2", 128, 512)),),
        "06_tsb", VGG8, _reproduce("tsb-table2"),
    ),
    Artefact(
        "tsb-depth", "1 to 6 insertions of the block",
        (Claim("six insertions lie above one", "gain", varied("insertions", 6, 1), _gap("tsb-depth", 6, 1)),),
        "06_tsb", VGG8, _reproduce("tsb-depth"),
    ),
    Artefact(
        "tsb-layers", "1 to 4 layers in the block",
        (Claim("one layer lies above four", "gain", varied("layers", 1, 4), _gap("tsb-layers", 1, 4)),),
        "06_tsb", VGG8, _reproduce("tsb-layers"),
    ),
    Artefact(
        "tsb-init", "identity against ordinary initialisation",
        (Claim("ordinary initialisation fails to converge; identity lies above it", "sign",
               varied("init", "identity", "ordinary")),),
        "06_tsb", VGG8, _reproduce("tsb-init"),
    ),
    Artefact(
        "tsb-share", "the block's weights as a share of the backbone's",
        tuple(
            Claim(f"{shown}'s share", "equal", share(network), number("tsb-share", network=network), "%")
            for network, shown in (("lenet3", "LeNet-3"), ("vgg8_tsb", "VGG-8"), ("resnet18", "ResNet-18"))
        ),
        "06_tsb",
    ),
    Artefact(
        "tsb-text", "converges within 10 epochs, less than 0.4 % verified, over 5 times faster",
        (
            Claim("epochs to converge, at most", "bound", epochs_to_converge(), 10.0, "epochs"),
            Claim("share of weights write-verified (LeNet-3), below", "bound", share("lenet3"), 0.4, "%"),
            Claim("training is faster, over", "ratio", speedup(), 5.0, "times"),
        ),
        "06_tsb", LENET3, "the tables results/tsb-text and results/tsb-fig4",
    ),
)  # fmt: skip
