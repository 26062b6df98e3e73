"""The image sets by name: how each is written, its classes, what guessing scores, where it lies; no torch.

    IMAGE_SETS[name]      what is known of a set before any of it is read
    subset(name, n)       "tiny-imagenet (25 of 200 classes)": some of a set's classes are a set of its own

Guessing scores 100 / classes percent: 0.5 on Tiny ImageNet, 4 on 25 of its classes. So numbers of a subset and of the
whole are never numbers of one set: the names differ, and whatever selects by name keeps them apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class ImageSet:
    """What is known of a set.

    Attributes:
        label: as figures write it.
        classes: how many.
        places: below the folder of data sets, in the order they are looked for; none where the package holds it.
    """

    label: str
    classes: int
    places: tuple[str, ...] = ()


IMAGE_SETS = {
    "mnist": ImageSet("MNIST", 10),
    "fashion-mnist": ImageSet("Fashion-MNIST", 10, ("fashion-mnist", "FashionMNIST/raw")),
    "cifar10": ImageSet("CIFAR-10", 10, (
        "cifar-10-batches-bin", "cifar-10-binary.tar.gz", "cifar-10-batches-py", "cifar-10-python.tar.gz")),
    "cifar100": ImageSet("CIFAR-100", 100, (
        "cifar-100-binary", "cifar-100-binary.tar.gz", "cifar-100-python", "cifar-100-python.tar.gz")),
    "tiny-imagenet": ImageSet("Tiny ImageNet", 200, ("tiny-imagenet-200", "tiny-imagenet-200.zip")),
}  # fmt: skip
_SUBSET = re.compile(r"(.+) \((\d+) of (\d+) classes\)")


def subset(name: str, classes: int) -> str:
    """Return the name of a set with so many of its classes: the set's own where it has all."""
    whole = IMAGE_SETS[name].classes
    return name if classes == whole else f"{name} ({classes} of {whole} classes)"


def parted(name: str) -> tuple[str, int | None]:
    """Return the set that a name is of, and how many of its classes; None for all, or where no such set is known."""
    found = _SUBSET.fullmatch(name)
    if found is None or found[1] not in IMAGE_SETS or int(found[3]) != IMAGE_SETS[found[1]].classes:
        return name, None
    return found[1], int(found[2])


def label(name: str) -> str | None:
    """Return how figures write a set, a subset with its classes; None for a set that is not known."""
    whole, classes = parted(name)
    known = IMAGE_SETS.get(whole)
    if known is None or classes is None:
        return None if known is None else known.label
    return known.label + name.removeprefix(whole)


def classes_of(name: str) -> int | None:
    """Return the number of classes of a set or subset; None for a set that is not known."""
    whole, classes = parted(name)
    known = IMAGE_SETS.get(whole)
    return classes or (None if known is None else known.classes)
