"""One reader for each public layout: it finds the official images and hands over a training and a test pool.

    READERS[name](root, download) -> Source

    mnist          embedded, nvlib/_data/mnist/*.gz
    cifar10        cifar-10-batches-py/, or cifar-10-python.tar.gz
    cifar100       cifar-100-python/, or cifar-100-python.tar.gz
    tiny-imagenet  tiny-imagenet-200/, or tiny-imagenet-200.zip (its val/ is our test split)
    cifar10-jpeg   cifar10-jpeg/{train_a,train_b,test}.npz: `jpeg` (bytes end to end), `offsets`, `labels`

and `image_folder`, for a user's own. A reader scales nothing and splits nothing off.
"""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from nvlib.data import depth, pools
from nvlib.data.places import PLACES, fetch_tiny_imagenet, how_to_fetch, missing, one_line
from nvlib.errors import InputError

MNIST_FOLDER = Path(__file__).parents[1] / "_data" / "mnist"
MNIST_FILES = {  # MD5 of the uncompressed bytes, as published
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_NOT_DATA = (".", "__MACOSX")  # what macOS leaves in folders and archives
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}

Scale = tuple[Sequence[float], Sequence[float]]  # mean and standard deviation per channel, of pixels in [0, 1]
CIFAR10_SCALE = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100_SCALE = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
TINY_SCALE = ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821))
GREY_SCALE = ((0.0,), (1.0,))


@dataclass(frozen=True)
class Source:
    """What a reader found: the official images, and how they are scaled (None: by the training split)."""

    train: pools.Pool
    test: pools.Pool
    class_names: tuple[str, ...]
    scale: Scale | None
    origin: str


def _mnist(root: Path, download: bool) -> Source:
    """The embedded idx files: big-endian header (magic, then the dimensions), then bytes."""
    arrays = []
    for name, md5 in MNIST_FILES.items():
        path = MNIST_FOLDER / f"{name}.gz"
        try:
            raw = gzip.decompress(path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"the embedded {path} cannot be read ({error}): install nvlib again") from error
        if hashlib.md5(raw, usedforsecurity=False).hexdigest() != md5:
            raise InputError(f"the embedded {path} is damaged (its MD5 is not {md5}): install nvlib again")
        dims = raw[3]
        shape = tuple(np.frombuffer(raw, ">i4", dims, offset=4))
        arrays.append(np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape))
    x, y, test_x, test_y = arrays
    train, test = pools.array(x[:, None], y), pools.array(test_x[:, None], test_y)
    return Source(train, test, tuple("0123456789"), GREY_SCALE, "embedded")


def _cifar(kind: str, scale: Scale, root: Path, download: bool) -> Source:
    """CIFAR-10 or CIFAR-100 through torchvision, which checks the MD5 of each file before it reads any."""
    from torchvision import datasets
    from torchvision.datasets.utils import check_integrity

    name, public = kind.lower(), getattr(datasets, kind)
    folder, archive = (root / place for place in PLACES[name])
    if not (download or folder.exists() or archive.exists()):
        raise missing(name, root)
    # "download" unpacks an archive that is there and sound, and fetches nothing then
    unpack = not folder.exists() and check_integrity(archive, public.tgz_md5)
    try:
        train, test = (public(root, train=part, download=download or unpack) for part in (True, False))
    except (RuntimeError, OSError) as error:
        found = folder if folder.exists() else archive
        raise InputError(
            f"{name} at {found} is damaged or cannot be fetched ({one_line(error)}): "
            f"delete what is there and {how_to_fetch(name)}"
        ) from error
    both = (pools.array(part.data.transpose(0, 3, 1, 2), part.targets) for part in (train, test))
    return Source(*both, tuple(train.classes), scale, str(folder))


def _tiny_imagenet(root: Path, download: bool) -> Source:
    """Tiny ImageNet from its folder or straight from its zip; labels follow the sorted WordNet ids."""
    folder, archive = (root / place for place in PLACES["tiny-imagenet"])
    if download and not folder.is_dir():
        fetch_tiny_imagenet(archive)
    origin = folder if folder.is_dir() else archive
    if not origin.exists():
        raise missing("tiny-imagenet", root)
    try:
        names, fetch = _tree(origin)
        lines = fetch("val/val_annotations.txt").decode().splitlines()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"tiny-imagenet at {origin} is damaged ({one_line(error)}): delete it and {how_to_fetch('tiny-imagenet')}"
        ) from error
    train = sorted(name for name in names if name.startswith("train/"))
    test = [line.split("\t")[:2] for line in lines if line]
    ids = sorted({name.split("/")[1] for name in train})
    label = {wnid: i for i, wnid in enumerate(ids)}
    if strangers := {wnid for _, wnid in test} - set(ids):
        raise InputError(f"tiny-imagenet at {origin}: class {min(strangers)} of val has no training images")
    return Source(
        pools.files(train, [label[name.split("/")[1]] for name in train], fetch),
        pools.files([f"val/images/{name}" for name, _ in test], [label[wnid] for _, wnid in test], fetch),
        tuple(ids),
        TINY_SCALE,
        str(origin),
    )


def _tree(origin: Path) -> tuple[list[str], Callable[[str], bytes]]:
    """Names of the images within Tiny ImageNet's folder or zip, and what reads one of its files."""
    if origin.is_dir():
        names = [path.relative_to(origin).as_posix() for path in origin.glob("train/*/images/*.JPEG")]
        return names, lambda name: (origin / name).read_bytes()
    opened, top = zipfile.ZipFile(origin), "tiny-imagenet-200/"
    names = [name.removeprefix(top) for name in opened.namelist() if name.endswith(".JPEG")]
    return names, lambda name: opened.read(top + name)  # checks the file's CRC


def _cifar10_jpeg(root: Path, download: bool) -> Source:
    """CIFAR-10 whose images went through JPEG; not the original pixels, so it has its own name."""
    (folder,) = (root / place for place in PLACES["cifar10-jpeg"])
    if not folder.is_dir():
        raise missing("cifar10-jpeg", root)
    (a, labels_a), (b, labels_b), (test, test_labels) = (
        _jpegs(folder / f"{part}.npz") for part in ("train_a", "train_b", "test")
    )
    train, labels = a + b, np.concatenate([labels_a, labels_b])
    return Source(
        pools.files(range(len(train)), labels, train.__getitem__),
        pools.files(range(len(test)), test_labels, test.__getitem__),
        CIFAR10_CLASSES,
        CIFAR10_SCALE,
        str(folder),
    )


def _jpegs(path: Path) -> tuple[list[bytes], np.ndarray]:
    """Compressed images and labels of one npz file."""
    try:
        with np.load(path) as file:
            blob, ends, labels = file["jpeg"].tobytes(), file["offsets"], file["labels"]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        what = "an npz file of jpeg, offsets and labels"
        raise InputError(f"{path} cannot be read ({one_line(error)}): expected {what}") from error
    if len(ends) != len(labels) + 1 or ends[-1] != len(blob):
        found = f"{len(labels)} labels, {len(ends)} offsets, {len(blob)} bytes"
        raise InputError(f"{path} is damaged: {found} do not agree; replace the file")
    return [blob[start:end] for start, end in pairwise(ends)], labels


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
    sizes, grey, deep = {}, True, False
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
        pools.files([names[i] for i in part], [labels[i] for i in part], Path.read_bytes, mode, size, deep)
        for part in (order[:cut], order[cut:])
    )
    return Source(train, test, tuple(kind.name for kind in kinds), None, str(path))


READERS: dict[str, Callable[[Path, bool], Source]] = {  # of the root, and whether to download
    "mnist": _mnist,
    "cifar10": partial(_cifar, "CIFAR10", CIFAR10_SCALE),
    "cifar10-jpeg": _cifar10_jpeg,
    "cifar100": partial(_cifar, "CIFAR100", CIFAR100_SCALE),
    "tiny-imagenet": _tiny_imagenet,
}
NAMES = tuple(READERS)
