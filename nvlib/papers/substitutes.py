"""What stands in for a paper's network or data set, and in which order it is looked for.

    the paper's network on the whole of the paper's data set             nothing stands in
    the same at a half, a quarter, an eighth of its width                the width alone
    Tiny ImageNet with 25 of its 200 classes, at any of these widths     the classes too

"Whole" are all training images but those of validation, and all test images. What is closer to the paper comes first,
whatever it says. A number of 25 classes stands beside one of 200 only with these words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvlib.image_sets import subset
from nvlib.papers.measures import Parameters
from nvlib.papers.select import Protocol

WIDTHS = {0.5: "a half", 0.25: "a quarter", 0.125: "an eighth", 0.0625: "a sixteenth"}
TINY = subset("tiny-imagenet", 25)
WHOLE = {  # training images without those of validation, and test images
    "mnist": (55_000, 10_000), "cifar10": (45_000, 10_000), "cifar100": (45_000, 10_000),
    "tiny-imagenet": (95_000, 10_000), TINY: (11_250, 1_250),
}  # fmt: skip


def whole(
    base: Mapping[str, Any], network: str, dataset: str, instead: str = "", parameters: Parameters | None = None
) -> tuple[Protocol, ...]:
    """Return where a network on the whole of a data set is looked for: at its width, then at parts of it.

    Args:
        base: columns that all share.
        network: which.
        dataset: which; Tiny ImageNet with all its classes, then with 25.
        instead: what network and data set stand in for the paper's; empty: they are the paper's.
        parameters: of methods, by name, as the paper has them.
    """
    names = (dataset, TINY) if dataset == "tiny-imagenet" else (dataset,)
    return tuple(protocol for name in names for protocol in _widths(base, network, name, instead, parameters or {}))


def _widths(
    base: Mapping[str, Any], network: str, dataset: str, instead: str, parameters: Parameters
) -> list[Protocol]:
    classes = dataset.partition(" (")[2].rstrip(")")
    train, test = WHOLE[dataset]
    made = [Protocol({**base, "network": network, "dataset": dataset}, _words(instead, classes), parameters)]
    for width, part in WIDTHS.items():
        where = {"network": f"{network} x{width:g}", "dataset": dataset, "train_images": train, "images": test}
        made.append(Protocol({**base, **where}, _words(instead, f"{part} of the width", classes), parameters))
    return made


def _words(*parts: str) -> str:
    return ", ".join(filter(None, parts))
