"""What a programmed chip can be taught and at what price: TSB's time, SWIM's curve, TSB's limits, as analyses.

    cost        early-stops      accuracy against training cost, TSB after early stops     (`cost.early_stops`)
    learning    learning-curve   TSB's accuracy epoch by epoch                             (`cost.history`)
    sweep       verify-sweep     accuracy against the verified share, by ranking           (`swim.sweep`)
    causes      tsb-causes       TSB once more, with one thing changed at a time

All are of LeNet-3 on MNIST, RRAM, `full_scale`, `signed`; *causes* of VGG-8 at an eighth of its width too. Accuracies
of cost, learning and causes are of validation images, SWIM's of test images. ``python -m nvlib.papers.analyses``
computes what is not there (half an hour on a quiet core).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from nvlib.errors import InputError, unknown
from nvlib.store import Store, results

if TYPE_CHECKING:
    from torch import nn

TABLES = {"cost": "tsb-fig4", "learning": "tsb-text", "sweep": "swim-lenet3", "causes": "tsb-causes"}  # the folders
ANALYSES = {"cost": "early-stops", "learning": "learning-curve", "sweep": "verify-sweep", "causes": "tsb-causes"}
AT = 0.2  # sigma_d of cost and learning
TSB: dict[str, Any] = {"epochs": 5, "lr": 1e-2}  # as tsb-fig3's shipped chips; lr chosen on validation images
SMALL = "lenet3"
MODELS: dict[str, Any] = {
    "dataset": "mnist", "device": "rram", "reference": "full_scale", "mapping": "signed", "images": 10_000,
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How large a table is made: images of a data set, epochs, chips, and TSB's parameters where they differ."""

    chips: int
    epochs: int = 20  # of the backbone (cost) or the block (learning)
    limit: int | None = None
    tsb: Mapping[str, Any] = field(default_factory=dict)
    fractions: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
    sigma_d: tuple[float, ...] = (0.2, 0.4)


_TINY = Size(2, 4, 300, {"epochs": 2, "images": 256, "batch_size": 64, "redraws": 1}, (0.0, 0.1, 1.0), (0.2,))
SIZES = {
    "smoke": dict.fromkeys(TABLES, _TINY),
    "full": {"cost": Size(20), "learning": Size(6), "sweep": Size(20), "causes": Size(6)},
    "paper": {  # its epochs are not in the text; 200 chips are, and its learning rate of 1e-3 for the block
        "cost": Size(200, 100, tsb={"epochs": 10, "lr": 1e-3, "images": None}),
        "learning": Size(200, 10, tsb={"lr": 1e-3, "images": None}),
        "sweep": Size(200, sigma_d=(0.1, 0.2, 0.3, 0.4)), "causes": Size(200),
    },
}  # fmt: skip


def table(name: str, store: Store | None = None) -> pd.DataFrame:
    """Return what the store has of one of the tables, of the size that ships; empty where that is nothing.

    Raises:
        InputError: for an unknown name.
    """
    if name not in TABLES:
        raise unknown("table of programmed chips", name, TABLES)
    return (store or Store()).analysed(ANALYSES[name], name, {"size": asdict(SIZES["full"][name])})


def provenance(name: str, store: Store | None = None) -> dict[str, Any]:
    """Return where a table's last part was computed (`nvlib.provenance.environment`); empty if there is none."""
    store = store or Store()
    known = store.analyses(ANALYSES[name], {"size": asdict(SIZES["full"][name])})
    made = [found for part in known if (found := store.about(part).get("environment"))]
    return max(made, key=lambda found: found["written"], default={})


def made_by(name: str) -> str:
    """Say what makes a table, and where the one that ships was made."""
    made = provenance(name)
    where = f", commit {made['commit']}, {made['written'][:10]}" if made else ""
    return f"shipped, `python -m nvlib.papers.analyses {TABLES[name]}`{where}"


def trained(sigma_d: float, method: str = "gaussian", network: str = "lenet3") -> nn.Module:
    """Return the stored model that was trained at a sigma_d by a method; InputError where there is none."""
    from nvlib import studies

    return studies.model_of(training_of(sigma_d, method, network))


def training_of(sigma_d: float, method: str = "gaussian", network: str = "lenet3") -> str:
    """Return the hash of that training."""
    rows = results(network=network, method=method, origin="shipped", clipping="none", train_range="max", **MODELS)
    rows = rows[rows.train_sigma_d == (0.0 if method == "none" else sigma_d)]
    if rows.empty:
        raise InputError(f"no {network} trained by {method} at sigma_d={sigma_d:g} ships; run studies/ first")
    return str(rows.training.iloc[0])


# -- what keeps TSB from the ideal -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """A chip and its remedy, with one thing changed.

    Attributes:
        says: what is changed, for a reader.
        method: deployment method; None: nothing is trained.
        parameters: of it, over `TSB`'s.
        before: whether normalisation's statistics are taken again before it.
        after: and after it.
        exact: layers whose cells do not stray (the beginning of their names).
        activation_bits: that activations are quantised to.
    """

    says: str
    method: str | None = "tsb"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    before: bool = False
    after: bool = False
    exact: str = ""
    activation_bits: int = 0


_ALL = {"mode": "on_chip", "layers": ("conv1", "norm1", "conv2", "norm2", "fc1"), "lr": 3e-3}
VARIANTS = {
    "tsb": Variant("TSB as in tsb-fig3"),
    "statistics": Variant("no block, normalisation's statistics taken again", None, before=True),
    "statistics, tsb": Variant("statistics taken again, then TSB", before=True),
    "convolutions": Variant("no block, fully connected layers do not stray", None, exact="fc"),
    "convolutions, tsb": Variant("TSB, fully connected layers do not stray", exact="fc"),
    "all layers": Variant("all weights trained around the chip's known deviations", "last_layers", _ALL),
    "channels": Variant("TSB with twice the channels", parameters={"channels": 10}),
    "exact block": Variant("TSB, its own cells do not stray", parameters={"sigma": 1e-6}),
    "activations": Variant("TSB, activations quantised to 8 bits", activation_bits=8),
    "statistics, tsb, statistics": Variant("statistics taken again before and after TSB", before=True, after=True),
}
FIRST = 5  # of them come before those of VGG-8
FEW = ("statistics, tsb", "all layers")  # at smoke
WIDE = ("tsb", "statistics", "statistics, tsb")  # of VGG-8
VGG8 = {"epochs": 2, "images": 4000, "lr": 1e-3, "redraws": 1}  # as studies/vgg8-tsb.toml
WIDE_CHIPS = 4
