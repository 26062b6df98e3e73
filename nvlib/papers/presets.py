"""The presets, and what they shrink of studies that several artefacts share.

    smoke   seconds, to see that everything works: a thousand images or fewer, one epoch; the numbers mean nothing
    quick   real MNIST on two CPU cores, minutes: fewer images and epochs, large networks at a sixteenth of their width
    full    one GPU, or what ships
    paper   the paper's protocol to the letter

An entry holds arguments of `nvlib.Study`, and three that are resolved when it is run: ``pretrain`` (arguments of the
study whose models are trained on), ``manual`` (RC-Manual's sigma_t and th come from trice-fig4's grid, chosen on
validation images) and ``operating_points`` (the study's file, and which of its two sigma_d are taken: first, second or
both; `nvlib.papers.operating_points` chooses them on validation images). ``data`` sets that are not at hand are left
out and said to be. What a preset shrinks of one paper alone stands in that paper's file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nvlib.studies import Study

PRESETS = ("smoke", "quick", "full", "paper")
LADDER = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)  # rungs on which operating points are sought
SIGMAS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)  # of TRICE's Table I
ENOUGH = (1000, 2000, 5000, 10_000)  # test images: fewer are a smoke test's

Entry = dict[str, Any]  # arguments of `nvlib.Study`, and what is resolved when it is run

LENET: dict[str, dict[str, Any]] = {
    "smoke": {"network": "lenet3", "images": 200, "epochs": 1, "chips": 8, "recipe": {"lr": 3e-3, "batch_size": 32}},
    "quick": {"images": 10_000, "epochs": 5, "chips": 400},
    "full": {"epochs": 10, "chips": 400, "seeds": (0, 1, 2)},
    "paper": {"epochs": 100, "chips": 1000, "seeds": (0, 1, 2, 3, 4)},  # 1,000 chips: trainings differ by more
}
_SMALL = {"width": 1 / 16, "dataset": "mnist", "recipe": {"lr": 3e-3, "batch_size": 32}}
LARGE: dict[str, dict[str, Any]] = {
    "smoke": {**_SMALL, "images": 64, "epochs": 1, "chips": 3},
    "quick": {**_SMALL, "images": 2000, "epochs": 8, "chips": 200},
    "full": {  # bfloat16 does not pay for chips of networks this narrow (measured); all are scored in one precision
        "width": 1 / 8, "epochs": 20, "chips": 100, "seeds": (0,), "precision": "bf16", "chip_precision": "float32",
    },
    "paper": {"epochs": 200, "chips": 200, "seeds": (0, 1, 2, 3, 4)},
}


def as_study(entry: Entry) -> Study:
    """Return an entry as a study."""
    from nvlib.studies import Study

    values = {key: value for key, value in entry.items() if key not in ("pretrain", "manual", "operating_points")}
    return Study(**with_recipe(values))


def with_recipe(entry: Entry) -> Entry:
    """Return an entry with a published recipe, given by its name, by its values."""
    from nvlib.methods import preset

    recipe, channels = entry.get("recipe"), 1 if entry.get("dataset", "mnist") == "mnist" else 3
    return {**entry, "recipe": preset(recipe, channels)} if isinstance(recipe, str) else entry
