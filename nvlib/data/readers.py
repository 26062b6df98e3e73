"""The readers by name, and the one for a user's folder.

    READERS[name](root, download) -> Source

    mnist          embedded, nvlib/_data/mnist/*.gz                                      idx
    fashion-mnist  fashion-mnist/ or FashionMNIST/raw/, idx files, gzipped or not        idx
    cifar10        cifar-10-batches-bin/ or cifar-10-binary.tar.gz, else the Python one  cifar
    cifar100       cifar-100-binary/ or cifar-100-binary.tar.gz, else the Python one     cifar
    tiny-imagenet  tiny-imagenet-200/ or tiny-imagenet-200.zip (its val/ is our test)    tiny_imagenet

A reader scales nothing and splits nothing off.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from nvlib.data import depth, lazy_images
from nvlib.data.cifar import read_cifar10, read_cifar100
from nvlib.data.idx import read_fashion_mnist, read_mnist
from nvlib.data.lazy_images import Source
from nvlib.data.tiny_imagenet import read_tiny_imagenet
from nvlib.errors import InputError

_NOT_DATA = (".", "__MACOSX")  # what macOS leaves in folders and archives
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}


def image_folder(path: Path, size: int | None, seed: int) -> Source:
    """Read a user's images, one sub-folder for each class; a tenth of them, by seed, are the test split."""
    from PIL import Image

    names: list[Path] = []
    labels: list[int] = []
    kinds = sorted(kind for kind in path.iterdir() if kind.is_dir() and not kind.name.startswith(_NOT_DATA))
    for label, kind in enumerate(kinds):
        files = (file for file in kind.iterdir() if not file.name.startswith(_NOT_DATA))
        images = sorted(file for file in files if file.suffix.lower() in SUFFIXES)
        if not images:
            raise InputError(f"class folder {kind} holds no images ({' '.join(sorted(SUFFIXES))})")
        names += images
        labels += [label] * len(images)
    if len(names) < 3:
        found = f"{len(names)} images in {len(kinds)} class folders"
        raise InputError(f"{path} holds {found}: expected at least 3 images, in one sub-folder a class")
    sizes: dict[tuple[int, int], Path] = {}
    grey, deep = True, False
    for name in names:
        try:
            with Image.open(name) as image:  # reads the header alone
                sizes.setdefault(image.size, name)
                grey, deep = grey and depth.is_grey(image), deep or depth.is_deep(image)
        except OSError as error:
            raise InputError(f"{name} is not a readable image: delete or replace it") from error
    if size is None and len(sizes) > 1:
        (a, first), (b, second) = list(sizes.items())[:2]
        raise InputError(f"images differ in size ({first}: {a}, {second}: {b}): give size=, e.g. size=32")
    mode = "L" if grey else "RGB"
    order = np.random.default_rng([seed, 1]).permutation(len(names))
    cut = max(1, len(names) // 10)
    test, train = (
        lazy_images.files([names[i] for i in part], [labels[i] for i in part], Path.read_bytes, mode, size, deep)
        for part in (order[:cut], order[cut:])
    )
    return Source(train, test, tuple(kind.name for kind in kinds), None, str(path))


READERS: dict[str, Callable[[Path, bool], Source]] = {  # of the root, and whether to download
    "mnist": read_mnist,
    "fashion-mnist": read_fashion_mnist,
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "tiny-imagenet": read_tiny_imagenet,
}
NAMES = tuple(READERS)
