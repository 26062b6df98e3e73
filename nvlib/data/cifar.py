"""CIFAR-10 and CIFAR-100: their binary layout, and through torchvision their Python one.

    binary     records of 1 + 3072 bytes (CIFAR-100: 2 + 3072): the label (coarse, then fine), then 32 x 32 pixels of
               red, green, blue; a folder or its .tar.gz, from which the files are read without being unpacked
    python     pickled batches, for who has them: only torchvision loads those, after a check of each file's MD5

Both hold the same images in the same order, so the fingerprint is the same. Each binary file has the published MD5 or
is refused: half extracted, cut off and altered files never become numbers. Nothing here loads a pickle itself.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nvlib.data import lazy_images
from nvlib.data.lazy_images import Scale, Source
from nvlib.data.locations import how_to_fetch, located, one_line
from nvlib.errors import InputError

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_CLASSES = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm
    """.split()
)
CIFAR10_SCALE = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100_SCALE = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Binary:
    """One set's binary layout.

    Attributes:
        folder: that its archive unpacks to.
        train, test: files in order -> images in each, and published MD5.
        labels: bytes of labels before an image's pixels; the last of them is the class.
    """

    folder: str
    train: Mapping[str, tuple[int, str]]
    test: Mapping[str, tuple[int, str]]
    labels: int


BINARY = {
    "cifar10": Binary(
        "cifar-10-batches-bin",
        {
            "data_batch_1.bin": (10_000, "5dd7e06a14cb22eb9f671a540d1b7c25"),
            "data_batch_2.bin": (10_000, "5ea93a67294ea407fff1d09f752e9692"),
            "data_batch_3.bin": (10_000, "942cd6a4bcdd0dd3c604fbe906cb4421"),
            "data_batch_4.bin": (10_000, "ae636b3ba5c66a11e91e8cb52e771fcb"),
            "data_batch_5.bin": (10_000, "53f37980c15c3d472c316c40844f3f0d"),
        },
        {"test_batch.bin": (10_000, "803d5f7f4d78ea53de84dbe85f74fb6d")},
        1,
    ),
    "cifar100": Binary(
        "cifar-100-binary",
        {"train.bin": (50_000, "6172c7755cfe09b2fe270c85cebc1b15")},
        {"test.bin": (10_000, "4499cfba6c016c1be1438163640a0898")},
        2,
    ),
}


def read_cifar10(root: Path, download: bool) -> Source:
    """Read CIFAR-10 from the first of its layouts that is there; what is fetched is the binary archive.

    Raises:
        InputError: if it is missing, half extracted, damaged, or in the Python layout without torchvision.
    """
    return _read("cifar10", root, download, CIFAR10_CLASSES, CIFAR10_SCALE)


def read_cifar100(root: Path, download: bool) -> Source:
    """Read CIFAR-100 (its 100 fine classes), as `read_cifar10` reads."""
    return _read("cifar100", root, download, CIFAR100_CLASSES, CIFAR100_SCALE)


def _read(name: str, root: Path, download: bool, classes: tuple[str, ...], scale: Scale) -> Source:
    found = located(name, root, download)
    if "python" in found.name or found.name.endswith("-py"):
        return _python(name, found, classes, scale)
    layout, fetch = BINARY[name], _folder if found.is_dir() else _archive
    try:
        raw = fetch(found, layout.folder, [*layout.train, *layout.test])
        train, test = (_pool(part, raw, layout.labels) for part in (layout.train, layout.test))
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise _damaged(name, found, one_line(error)) from error
    return Source(train, test, classes, scale, str(found))


def _folder(folder: Path, _: str, files: list[str]) -> dict[str, bytes]:
    """Return the bytes of the files in a folder."""
    if lacking := [file for file in files if not (folder / file).exists()]:
        raise ValueError(f"half extracted, it lacks {', '.join(lacking)}")
    return {file: (folder / file).read_bytes() for file in files}


def _archive(archive: Path, folder: str, files: list[str]) -> dict[str, bytes]:
    """Return the bytes of the files in a .tar.gz, which is read from its beginning to its end once."""
    raw = {}
    with tarfile.open(archive, "r|gz") as opened:
        for member in opened:
            top, _, file = member.name.removeprefix("./").rpartition("/")
            if top == folder and file in files and (content := opened.extractfile(member)):
                raw[file] = content.read()
    if lacking := [file for file in files if file not in raw]:
        raise ValueError(f"the archive lacks {', '.join(lacking)}")
    return raw


def _pool(files: Mapping[str, tuple[int, str]], raw: Mapping[str, bytes], labels: int) -> lazy_images.Pool:
    """Return the images of some files, each checked, as one pool."""
    parts = []
    for file, (images, md5) in files.items():
        size = images * (labels + PIXELS)
        if len(raw[file]) != size:
            raise ValueError(f"{file} has {len(raw[file]):,} bytes, expected {size:,}")
        if (got := hashlib.md5(raw[file], usedforsecurity=False).hexdigest()) != md5:
            raise ValueError(f"the MD5 of {file} is {got}, not the published {md5}")
        parts.append(np.frombuffer(raw[file], np.uint8).reshape(images, labels + PIXELS))
    rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return lazy_images.array(rows[:, labels:].reshape(-1, 3, 32, 32), rows[:, labels - 1])


def _python(name: str, found: Path, classes: tuple[str, ...], scale: Scale) -> Source:
    """Read the Python layout through torchvision, which checks the MD5 of each file before it unpickles any."""
    try:
        from torchvision import datasets
        from torchvision.datasets.utils import check_integrity
    except ImportError as error:
        raise InputError(f"{name} at {found} is in its Python layout, which only torchvision reads (pip install "
                         f"torchvision); the binary one needs nothing: {how_to_fetch(name)}, into another folder"
                         ) from error  # fmt: skip
    public: Any = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    # "download" unpacks an archive that is there and sound, and fetches nothing then
    unpack = found.is_file() and check_integrity(found, public.tgz_md5)
    try:
        train, test = (public(found.parent, train=part, download=unpack) for part in (True, False))
    except (RuntimeError, OSError) as error:
        raise _damaged(name, found, one_line(error)) from error
    if tuple(train.classes) != classes:
        raise _damaged(name, found, f"its classes are {', '.join(train.classes[:3])}, ...")
    train, test = (lazy_images.array(part.data.transpose(0, 3, 1, 2), part.targets) for part in (train, test))
    return Source(train, test, classes, scale, str(found))


def _damaged(name: str, found: Path, why: str) -> InputError:
    return InputError(f"{name} at {found} is damaged ({why}): delete what is there and {how_to_fetch(name)}")
