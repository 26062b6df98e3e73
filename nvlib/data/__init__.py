"""Image data sets as tensors, always split into train, validation and test, and named by their pixels.

    load(name) -> Dataset: .train, .validation, .test, each with .x (n, channels, height, width) and .y (n,)

Every set passes the same steps: read the official images (0 .. 255), shuffle training and test by a fixed seed, cut
the validation images from the training ones (5,000, at most a tenth), scale. Methods choose on the validation split;
the test split is for reporting alone. Grey pixels are x / 255, plain; colour ones (x / 255 - mean) / std per channel,
with the constants in common use for CIFAR-10, CIFAR-100 and Tiny ImageNet, and those of the training split for a
folder. The fingerprint is the SHA-256 of the raw pixels and labels of the three splits in order: results on one
fingerprint saw the same images in the same splits.

MNIST is part of the package; the others are read from `root`, else $NVLIB_DATA, else ./data. The steps after reading
are here; before them, each file importing only from those before it:

    locations                  where a data set lies, what is said when it is missing, what is fetched
    depth                      images of 16 bits, of floats and with palettes on the scale of 8 bits
    lazy_images                labels, and pixels when asked for
    idx, cifar, tiny_imagenet  the public layouts, each file known by its published MD5 where there is one
    readers                    all of them by name, and the one for a user's folder

>>> from nvlib import data
>>> data.resize(data.load("mnist", limit=10), 32).test.x.shape
torch.Size([10, 1, 32, 32])
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nvlib import image_sets
from nvlib.data.cifar import CIFAR10_CLASSES, CIFAR10_SCALE, CIFAR100_CLASSES, CIFAR100_SCALE
from nvlib.data.idx import FASHION_FILES, GREY_SCALE, MNIST_FILES
from nvlib.data.lazy_images import Scale, Source
from nvlib.data.locations import PLACES, available, folder_of
from nvlib.data.readers import NAMES, READERS, SUFFIXES, image_folder
from nvlib.data.tiny_imagenet import TINY_SCALE, read_tiny_imagenet
from nvlib.errors import InputError, instance, unknown, whole

__all__ = [
    "Split", "Dataset", "load", "resize", "available",
    "NAMES", "READERS", "PLACES", "VALIDATION", "MNIST_FILES", "FASHION_FILES", "SUFFIXES",
    "CIFAR10_CLASSES", "CIFAR100_CLASSES", "CIFAR10_SCALE", "CIFAR100_SCALE", "TINY_SCALE", "GREY_SCALE",
]  # fmt: skip

VALIDATION = 5000


@dataclass(frozen=True, eq=False)
class Split:
    """Images `x`, float32 (n, channels, height, width), and labels `y`, int64 (n,)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits of one data set.

    Attributes:
        name: how `load` calls it; some of Tiny ImageNet's classes are named by how many: another set.
        classes: number of classes.
        train, validation, test: the splits.
        fingerprint: SHA-256 (hex) of the raw pixels and labels of the splits, in order.
        source: where the images were read.
        class_names: names of the classes, by label.
    """

    name: str
    classes: int
    train: Split
    validation: Split
    test: Split
    fingerprint: str
    source: str
    class_names: tuple[str, ...] = ()

    @property
    def chance(self) -> float:
        """Accuracy of guessing, in percent: 100 / classes."""
        return 100 / self.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: (channels, height, width)."""
        channels, height, width = self.train.x.shape[1:]
        return channels, height, width


def load(
    name: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    size: int | None = None,
    download: bool = False,
    seed: int = 0,
    limit: int | None = None,
) -> Dataset:
    """Read a data set, split it and scale it.

    Args:
        name: one of `NAMES`, ``tiny-imagenet (25 of 200 classes)`` for so many of its classes, or the path of a folder
            with one sub-folder of images for each class.
        root: folder to look in; None takes $NVLIB_DATA, else ./data.
        size: resize images to (size, size).
        download: fetch what is missing into that folder, with a progress bar, and check it.
        seed: of the shuffle that makes the splits; results compare at one seed (the fingerprint tells).
        limit: keep the first so many images of each split after the shuffle, for quick looks.

    Raises:
        InputError: for an unknown name, data that are missing, damaged, half extracted or empty, classes that are not
            there, `limit` or `size` below 1.

    Example:
        >>> import nvlib
        >>> mnist = nvlib.load("mnist", limit=100)
        >>> mnist.test.x.shape, mnist.classes
        (torch.Size([100, 1, 28, 28]), 10)
    """
    for what, value in (("limit", limit), ("size", size)):
        if value is not None:
            whole(what, value, 1, otherwise=", or None")
    instance("name", name, str | os.PathLike, "a data set of nvlib.data.NAMES, or the path of a folder")
    seed, limit = whole("seed", seed, 0), limit if limit is None else int(limit)
    known, classes = image_sets.parted(str(name))
    if known in READERS and (classes is None or READERS[known] is read_tiny_imagenet):
        more = {} if classes is None else {"classes": classes}
        source = READERS[known](folder_of(root), download, **more)
        data = _split(source.name or known, source, seed, limit)
        return data if size is None or data.shape[1:] == (size, size) else resize(data, size)
    path = Path(name).expanduser()
    if str(name).strip() and path.is_dir():  # an empty name is no word for the current folder
        return _split(str(name), image_folder(path, size, seed), seed, limit)
    if isinstance(name, os.PathLike) or os.sep in str(name):
        raise InputError(f"no folder at {name}: expected one with a sub-folder of images for each class")
    raise unknown("data set", name, [*NAMES, "or the path of an image folder"])


def resize(data: Dataset, size: int) -> Dataset:
    """Return the data set with images of (size, size), bilinearly interpolated (smoothed where it shrinks).

    VGG-8 and ResNet-18 take MNIST this way, at 32. The fingerprint becomes one of the old one and the size.
    """
    size = whole("size", size, 1)

    def one(split: Split) -> Split:
        x = torch.nn.functional.interpolate(split.x, (size, size), mode="bilinear", antialias=True)
        return Split(x, split.y)

    mark = hashlib.sha256(f"{data.fingerprint} bilinear {size}".encode()).hexdigest()
    train, validation, test = map(one, (data.train, data.validation, data.test))
    return replace(data, train=train, validation=validation, test=test, fingerprint=mark)


def _split(name: str, source: Source, seed: int, limit: int | None) -> Dataset:
    """Shuffle, cut, read, fingerprint and scale."""
    n = len(source.train.labels)
    if n < 2 or not len(source.test.labels):
        found = f"{n} training and {len(source.test.labels)} test images at {source.origin}"
        raise InputError(f"data set {name} is empty: {found}; expected at least 2 and 1")
    rng = np.random.default_rng(seed)
    order, test = rng.permutation(n), rng.permutation(len(source.test.labels))
    cut = n - min(VALIDATION, max(1, n // 10))
    picks = [(source.train, order[:cut]), (source.train, order[cut:]), (source.test, test)]
    digest, raw = hashlib.sha256(), []
    for pool, picked in picks:
        picked = picked[:limit]
        pixels, labels = pool.read(picked), pool.labels[picked].astype(np.int64)
        digest.update(repr(pixels.shape).encode())
        digest.update(np.ascontiguousarray(pixels).data)
        digest.update(labels.data)
        raw.append((pixels, labels))
    scale = source.scale or _scale_of(raw[0][0])
    train, validation, test = (Split(_scaled(pixels, scale), torch.from_numpy(labels)) for pixels, labels in raw)
    names = source.class_names
    return Dataset(name, len(names), train, validation, test, digest.hexdigest(), source.origin, names)


def _scale_of(pixels: np.ndarray) -> Scale:
    if pixels.shape[1] == 1:
        return GREY_SCALE
    x = pixels.transpose(1, 0, 2, 3).reshape(pixels.shape[1], -1)
    std = np.maximum(x.std(axis=1, dtype=np.float64), 1e-6)  # a constant channel stays finite
    return tuple(x.mean(axis=1, dtype=np.float64) / 255), tuple(std / 255)


def _scaled(pixels: np.ndarray, scale: Scale) -> Tensor:
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in scale)
    # in the strides that networks expect (one channel cut out of many images has others); in place: Tiny ImageNet's
    # training images alone are 4.7 GB as float32
    values = torch.empty(pixels.shape).copy_(torch.from_numpy(pixels))
    return values.div_(255).sub_(mean).div_(std)
