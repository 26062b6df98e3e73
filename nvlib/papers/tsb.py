"""TSB (Qin et al., arXiv 2406.06544): its figures, tables and the numbers in its text, with the studies behind each.

Protocol: mean accuracy over chips each repaired on its own, `full_scale` and `signed` (assumed), 8-bit weights,
write-verified cells at sigma 0.03. What stands in for VGG-8 is said with each number. Our copy of the text lacks
several of its numbers; what it lacks is not filled in.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from nvlib import summary
from nvlib.calls import call
from nvlib.papers.artefact import Artefact, Claim, Notebook, Paper
from nvlib.papers.deployment_measures import distance_cut, epochs_to_converge, speedup, varied, whole_share
from nvlib.papers.drawing import RESULTS, TABLE, Drawing, of_block, of_table
from nvlib.papers.measures import Finding, Measure
from nvlib.papers.presets import LARGE, Entry
from nvlib.papers.printed_numbers import number
from nvlib.papers.select import Evidence, Protocol
from nvlib.papers.substitutes import whole
from nvlib.statistics import Estimate

CHANNELS = {"lenet3": 5, "vgg8_tsb": 128, "resnet18": 128}  # of the block (4.2)
CLASSES = {"lenet3": 10, "vgg8_tsb": 10, "resnet18": 200}
_PROTOCOL = {"device": "rram", "reference": "full_scale", "mapping": "signed", "protocol": "matched"}
LENET3 = (Protocol({**_PROTOCOL, "network": "lenet3", "dataset": "mnist", "images": 10_000}),)
VGG8 = (
    *whole(_PROTOCOL, "vgg8_tsb", "cifar10"),
    Protocol({**_PROTOCOL, "network": "vgg8_tsb x0.125", "dataset": "mnist", "images": 10_000},
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


# -- studies ---------------------------------------------------------------------------------------------------------

# what is trained on a chip; quick asks for what ships. The sigma_d of its ablations is not in the text at hand: 0.1
_TINY: dict[str, Any] = {"epochs": 1, "images": 32, "batch_size": 16, "redraws": 1}
_DEPLOYED: dict[str, dict[str, Any]] = {
    "smoke": {name: _TINY for name in ("last_layer", "last_layers", "tsb")},
    "quick": {"last_layer": {"epochs": 5}, "last_layers": {"epochs": 5}, "tsb": {"epochs": 5, "lr": 1e-2}},
    "full": {name: {"images": None} for name in ("last_layer", "last_layers", "tsb")},
    "paper": {name: {"images": None} for name in ("last_layer", "last_layers", "tsb")},
}
_CHIPS: dict[str, dict[str, Any]] = {
    "smoke": {"images": 64, "epochs": 1, "chips": 2, "recipe": {"lr": 3e-3, "batch_size": 32}},
    "quick": {"epochs": 10, "chips": 20},
    "full": {"epochs": 20, "chips": 20, "seeds": (0, 1, 2)},
    # its epochs are NFT's: its text has none; 200 chips in all, over five trainings that go on until they converge
    "paper": {"epochs": 200, "patience": 20, "chips": 40, "seeds": (0, 1, 2, 3, 4)},
}


_SMALLER = {key: LARGE["full"][key] for key in ("width", "epochs", "seeds", "precision")}
_RETRAINED: dict[str, dict[str, Any]] = {  # on each chip of VGG-8 at an eighth of its width
    "last_layer": {"images": 10_000}, "last_layers": {"images": 10_000},
    "tsb": {"epochs": 5, "images": 10_000, "lr": 1e-3, "redraws": 1},
}  # fmt: skip


def _distance(preset: str) -> list[Entry]:
    """LeNet-3, and where it is not small VGG-8 and ResNet-18: deployed chips, then the ideal of each network."""
    sigma_d = (0.2,) if preset == "smoke" else (0.1, 0.2, 0.3, 0.4)
    smaller = {**_SMALLER, "deployment_parameters": _RETRAINED} if preset == "full" else {}
    vgg8: dict[str, Any] = {"recipe": "vgg8", **smaller}
    networks: list[tuple[str, str, dict[str, Any]]] = [
        ("lenet3", "mnist", {}), ("vgg8_tsb", "cifar10", vgg8), ("resnet18", "tiny-imagenet", {"recipe": "resnet18"}),
    ]  # fmt: skip
    made = []
    for network, dataset, more in networks[: {"smoke": 1, "quick": 1, "full": 2, "paper": 3}[preset]]:
        whole = {**_CHIPS[preset], "network": network, "dataset": dataset, "mapping": "signed", **more}
        retrained = {"deployment_parameters": _DEPLOYED[preset], "deployments": ("last_layer", "last_layers", "tsb")}
        made.append({**retrained, **whole, "methods": ("gaussian",), "sigma_d": sigma_d})
        ideal = {key: value for key, value in whole.items() if key != "deployment_parameters"}
        made.append({**ideal, "methods": ("none",), "sigma_d": (0.0,)})
    return made


def _block(preset: str, of: str, values: tuple[Any, ...]) -> list[Entry]:
    """One parameter of TSB's block: VGG-8 on CIFAR-10, at full an eighth as wide; at smoke and quick on MNIST.

    ``values`` are those of the whole network, the default None; channels scale with the width.
    """
    width, tsb = 1.0, {"images": None}
    size = {**_CHIPS[preset], "dataset": "cifar10", "recipe": "vgg8"}
    if preset == "smoke":
        width, size, tsb, values = 1 / 16, _CHIPS[preset], _TINY, (None, values[-1])
    elif preset == "quick":
        width, size = 1 / 8, {"epochs": 3, "chips": 4}
        tsb = {"epochs": 2, "images": 4000, "lr": 1e-3, "redraws": 1}
    elif preset == "full":
        width, size, tsb = 1 / 8, {**size, **_SMALLER}, _RETRAINED["tsb"]
    made = []
    for value in values:
        own = {} if value is None else {of: max(1, round(value * width)) if of == "channels" else value}
        made.append({**size, "network": "vgg8_tsb", "width": width, "mapping": "signed", "methods": ("gaussian",),
                     "sigma_d": (0.1,), "deployments": ("tsb",), "deployment_parameters": {"tsb": {**tsb, **own}}})
    return made


# -- artefacts -------------------------------------------------------------------------------------------------------

NOTEBOOK = "06_tsb"
_AT = "LeNet-3 on MNIST, RRAM, signed, sigma_d = 0.2"


def _cost(axis: str) -> Drawing:
    return of_table(f"In {axis}", "cost", call("figures.training_cost", TABLE, axis, note=_AT))


_ARTEFACTS = (
    Artefact(
        "tsb-fig3", "normalised accuracy distance: Gauss, retrained last layer(s), TSB",
        (Claim("TSB cuts the distance to the ideal accuracy, over", "ratio", distance_cut("tsb"),
               number("tsb-fig3", method="tsb"), "times"),),
        NOTEBOOK, LENET3, _distance,
        (Drawing("Distance", call("figures.accuracy_distance", TABLE), call("papers.repaired", "tsb-fig3", RESULTS),
                 summary.distance_table),),
        options="--preset quick",
    ),
    Artefact(
        "tsb-fig4", "training time with early stops at 15, 30 and 50 %, then TSB",
        (Claim("total share of the full training time (LeNet-3), at most", "bound", whole_share(),
               number("tsb-fig4", network="lenet3"), "%"),),
        NOTEBOOK, LENET3, figures=(_cost("passes"), _cost("seconds")),
        needs="python -m nvlib.papers.analyses tsb-fig4",
    ),
    Artefact(
        "tsb-table1", "energy, latency, EDP: base, Common, Separate",
        tuple(
            Claim(f"EDP over the base's, {design.capitalize()}, {shown}", "equal", edp(network, design),
                  _edp_printed(network, design), "times")
            for network, shown in (("lenet3", "LeNet-3"), ("vgg8_tsb", "VGG-8"), ("resnet18", "ResNet-18"))
            for design in ("common", "separate")
        ),
        NOTEBOOK,
        figures=(Drawing("Designs", call("figures.hardware_designs", TABLE), call("hardware.table1"),
                         note=lambda _: "ours first order; NeuroSim run by us; the paper's as printed: each as a ratio "
                         "to its own base"),),
    ),
    Artefact(
        "tsb-table2", "channels of the block, 16 to 512",
        (Claim("128 channels lie above 512", "gain", varied("channels", 128, 512), _gap("tsb-table2", 128, 512)),),
        NOTEBOOK, VGG8, partial(_block, of="channels", values=(None, 16, 32, 64, 256, 512)),
        (of_block("tsb-table2", "channels"),), options="--preset quick",
    ),
    Artefact(
        "tsb-depth", "1 to 6 insertions of the block",
        (Claim("six insertions lie above one", "gain", varied("insertions", 6, 1), _gap("tsb-depth", 6, 1)),),
        NOTEBOOK, VGG8, partial(_block, of="insertions", values=(None, 5, 4, 3, 2, 1)),
        (of_block("tsb-depth", "insertions"),), options="--preset quick",
    ),
    Artefact(
        "tsb-layers", "1 to 4 layers in the block",
        (Claim("one layer lies above four", "gain", varied("layers", 1, 4), _gap("tsb-layers", 1, 4)),),
        NOTEBOOK, VGG8, partial(_block, of="layers", values=(None, 2, 3, 4)),
        (of_block("tsb-layers", "layers"),), options="--preset quick",
    ),
    Artefact(
        "tsb-init", "identity against ordinary initialisation",
        (Claim("ordinary initialisation fails to converge; identity lies above it", "sign",
               varied("init", "identity", "ordinary")),),
        NOTEBOOK, VGG8, partial(_block, of="init", values=(None, "ordinary")),
        (of_block("tsb-init", "init"),), options="--preset quick",
    ),
    Artefact(
        "tsb-share", "the block's weights as a share of the backbone's",
        tuple(
            Claim(f"{shown}'s share", "equal", share(network), number("tsb-share", network=network), "%")
            for network, shown in (("lenet3", "LeNet-3"), ("vgg8_tsb", "VGG-8"), ("resnet18", "ResNet-18"))
        ),
        NOTEBOOK,
    ),
    Artefact(
        "tsb-text", "converges within 10 epochs, less than 0.4 % verified, over 5 times faster",
        (
            Claim("epochs to converge, at most", "bound", epochs_to_converge(), 10.0, "epochs"),
            Claim("share of weights write-verified (LeNet-3), below", "bound", share("lenet3"), 0.4, "%"),
            Claim("training is faster, over", "ratio", speedup(), 5.0, "times"),
        ),
        NOTEBOOK, LENET3,
        figures=(of_table("Epoch by epoch", "learning",
                          call("figures.tsb_learning", TABLE, call("papers.converged", TABLE), _AT)),),
        needs="python -m nvlib.papers.analyses tsb-text",
    ),
)  # fmt: skip

TSB = Paper(
    "TSB",
    """@article{tsb2024,
  title   = {{TSB}: Tiny Shared Block for Efficient {DNN} Deployment on {NVCIM} Accelerators},
  author  = {Qin, Yifan and Yan, Zheyu and Pan, Zixuan and Wen, Wujie and Hu, Xiaobo Sharon and Shi, Yiyu},
  journal = {arXiv preprint arXiv:2406.06544},
  year    = {2024},
}""",
    _ARTEFACTS,
    Notebook(NOTEBOOK, {"smoke": 30, "quick": 60, "full": 40, "paper": 40}),
)
