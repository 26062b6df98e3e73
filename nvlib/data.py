"""Image data sets as tensors, always split into train, validation and test, and named by their pixels.

    load(name) -> Dataset: .train, .validation, .test, each with .x (n, channels, height, width) and .y (n,)

Every set passes the same steps: read the official training and test images (uint8), shuffle both by a fixed
seed, cut the validation images from the training ones (5,000, at most a tenth), scale. Methods choose on the
validation split; the test split is for reporting alone. Grey pixels are x / 255, plain; colour ones
(x / 255 - mean) / std per channel, with the constants in common use for CIFAR-10, CIFAR-100 and Tiny
ImageNet, and those of the training split for a folder. The fingerprint is the SHA-256 of the raw pixels and
labels of the three splits in order: results on one fingerprint saw the same images in the same splits.

MNIST is part of the package. The others are read in their public layouts from `root`, else $NVLIB_DATA, else
./data:

    cifar10        cifar-10-batches-py/, or cifar-10-python.tar.gz
    cifar100       cifar-100-python/, or cifar-100-python.tar.gz
    tiny-imagenet  tiny-imagenet-200/, or tiny-imagenet-200.zip (its val/ is our test split)
    cifar10-jpeg   cifar10-jpeg/{train_a,train_b,test}.npz: `jpeg` (bytes end to end), `offsets`, `labels`
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nvlib.errors import InputError, unknown

MNIST_FILES = {  # MD5 of the uncompressed bytes, as published
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
VALIDATION = 5000
TINY_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}

# mean and standard deviation per channel, of pixels in [0, 1]
CIFAR10_SCALE = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100_SCALE = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
TINY_SCALE = ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821))
GREY_SCALE = ((0.0,), (1.0,))


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
        name: how `load` calls it; `label` is how a figure should.
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
    def label(self) -> str:
        """Name for captions; JPEG-compressed CIFAR-10 is not CIFAR-10, and says so."""
        return "cifar10 (jpeg)" if self.name == "cifar10-jpeg" else self.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: (channels, height, width)."""
        return tuple(self.train.x.shape[1:])


@dataclass(frozen=True)
class _Pool:
    """Images not read yet: their labels, and what reads those at given indices, as uint8 (n, c, h, w).

    So a `limit` decodes only the files it keeps.
    """

    labels: np.ndarray
    read: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Source:
    """What a reader returns; `scale` is the mean and deviation of each channel, None to compute it."""

    train: _Pool
    test: _Pool
    class_names: tuple[str, ...]
    scale: tuple[Sequence[float], Sequence[float]] | None
    origin: str


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
        name: one of `NAMES`, or the path of a folder with one sub-folder of images for each class.
        root: folder to look in; None takes $NVLIB_DATA, else ./data.
        size: resize images to (size, size).
        download: fetch what is missing into that folder, with a progress bar, and check it.
        seed: of the shuffle that makes the splits; results compare at one seed (the fingerprint tells).
        limit: keep the first so many images of each split after the shuffle, for quick looks.

    Raises:
        InputError: for an unknown name, data that are missing, damaged or empty, `limit` or `size` below 1.
    """
    for what, value in (("limit", limit), ("size", size)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise InputError(f"{what}={value!r}: expected a whole number of at least 1, or None")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed={seed!r}: expected a whole number of at least 0")
    home = _root(root)
    if str(name) in READERS:
        source = READERS[str(name)](home, download)
        data = _split(str(name), source, seed, limit)
        return data if size is None or data.shape[1:] == (size, size) else resize(data, size)
    if Path(name).expanduser().is_dir():
        return _split(str(name), _folder(Path(name).expanduser(), size, seed), seed, limit)
    if isinstance(name, os.PathLike) or os.sep in str(name):
        raise InputError(f"no folder at {name}: expected one with a sub-folder of images for each class")
    raise unknown("data set", name, [*NAMES, "or the path of an image folder"])


def resize(data: Dataset, size: int) -> Dataset:
    """Return the data set with images of (size, size), bilinearly interpolated (smoothed where it shrinks).

    VGG-8 and ResNet-18 take MNIST this way, at 32. The fingerprint becomes one of the old one and the size.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise InputError(f"size={size!r}: expected a whole number of at least 1")

    def one(split: Split) -> Split:
        x = torch.nn.functional.interpolate(split.x, (size, size), mode="bilinear", antialias=True)
        return Split(x, split.y)

    mark = hashlib.sha256(f"{data.fingerprint} bilinear {size}".encode()).hexdigest()
    splits = {key: one(getattr(data, key)) for key in ("train", "validation", "test")}
    return replace(data, **splits, fingerprint=mark)


def available(root: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """Return, for each data set by name, where it was found or where it was looked for; nothing is read."""
    home = _root(root)
    status = {"mnist": "embedded"}
    for name, places in PLACES.items():
        found = next((home / place for place in places if (home / place).exists()), None)
        status[name] = f"found at {found}" if found else f"not found at {home / places[0]}"
    return status


def _root(root: str | os.PathLike[str] | None) -> Path:
    return Path(root or os.environ.get("NVLIB_DATA") or "data").expanduser()


def _missing(name: str, root: Path) -> InputError:
    place = PLACES[name][0]
    remedy = f"set NVLIB_DATA (or root=) to the folder that holds {place}"
    return InputError(
        f"no {name} at {root / place}: {remedy}" + (f", or {_fetch(name)}" if len(PLACES[name]) > 1 else "")
    )


def _fetch(name: str) -> str:
    return f"fetch it with nvlib.data.load({name!r}, download=True) or python -m nvlib data {name} --download"


def _split(name: str, source: _Source, seed: int, limit: int | None) -> Dataset:
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
        digest.update(np.ascontiguousarray(pixels))
        digest.update(labels)
        raw.append((pixels, labels))
    mean, std = source.scale or _scale_of(raw[0][0])
    splits = [Split(_scaled(pixels, mean, std), torch.from_numpy(labels)) for pixels, labels in raw]
    names = source.class_names
    return Dataset(name, len(names), *splits, digest.hexdigest(), source.origin, names)


def _scale_of(pixels: np.ndarray) -> tuple[Sequence[float], Sequence[float]]:
    if pixels.shape[1] == 1:
        return GREY_SCALE
    x = pixels.transpose(1, 0, 2, 3).reshape(pixels.shape[1], -1)
    std = np.maximum(x.std(axis=1, dtype=np.float64), 1e-6)  # a constant channel stays finite
    return tuple(x.mean(axis=1, dtype=np.float64) / 255), tuple(std / 255)


def _scaled(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    # in place: Tiny ImageNet's training images alone are 4.7 GB as float32
    x = torch.from_numpy(pixels).float().div_(255)
    if any(mean) or any(s != 1 for s in std):
        x.sub_(torch.tensor(mean).view(-1, 1, 1)).div_(torch.tensor(std).view(-1, 1, 1))
    return x


def _array(pixels: np.ndarray, labels: np.ndarray) -> _Pool:
    return _Pool(np.asarray(labels), lambda i: pixels[i])


# ---- one reader for each public layout ---------------------------------------------------------------------
Reader = Callable[[Path, bool], _Source]  # of the root, and whether to download


def _mnist(root: Path, download: bool) -> _Source:
    """The embedded idx files: big-endian header (magic, then the dimensions), then bytes."""
    folder = Path(__file__).parent / "_data" / "mnist"
    arrays = []
    for name, md5 in MNIST_FILES.items():
        path = folder / f"{name}.gz"
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
    train, test = _array(x[:, None], y), _array(test_x[:, None], test_y)
    return _Source(train, test, tuple("0123456789"), GREY_SCALE, "embedded")


def _cifar(name: str, kind: str, scale: tuple[Sequence[float], Sequence[float]]) -> Reader:
    """CIFAR-10 or CIFAR-100 through torchvision, which checks the MD5 of each file before it reads any."""

    def read(root: Path, download: bool) -> _Source:
        from torchvision import datasets

        public = getattr(datasets, kind)
        folder, archive = root / public.base_folder, root / public.filename
        if not (download or folder.exists() or archive.exists()):
            raise _missing(name, root)
        # "download" unpacks an archive that is there and sound, and fetches nothing then
        unpack = not folder.exists() and archive.exists() and _md5(archive) == public.tgz_md5
        try:
            parts = [public(root, train=train, download=download or unpack) for train in (True, False)]
        except (RuntimeError, OSError) as error:
            found = folder if folder.exists() else archive
            raise InputError(
                f"{name} at {found} is damaged or cannot be fetched ({_line(error)}): "
                f"delete what is there and {_fetch(name)}"
            ) from error
        train, test = (_array(part.data.transpose(0, 3, 1, 2), np.array(part.targets)) for part in parts)
        return _Source(train, test, tuple(parts[0].classes), scale, str(folder))

    return read


def _tiny_imagenet(root: Path, download: bool) -> _Source:
    """Tiny ImageNet from its folder or straight from its zip; labels follow the sorted WordNet ids."""
    folder, archive = root / "tiny-imagenet-200", root / "tiny-imagenet-200.zip"
    if download and not folder.is_dir():
        from torchvision.datasets.utils import download_url

        try:
            download_url(TINY_URL, str(root), archive.name, TINY_MD5)
        except (RuntimeError, OSError) as error:
            if isinstance(error, RuntimeError):  # fetched, but its MD5 is wrong: never to be read
                archive.unlink(missing_ok=True)
            raise InputError(f"cannot fetch {TINY_URL} to {archive} ({_line(error)}): try again") from error
    origin = folder if folder.is_dir() else archive
    if not origin.exists():
        raise _missing("tiny-imagenet", root)
    try:
        if origin is folder:
            names = [path.relative_to(folder).as_posix() for path in folder.glob("train/*/images/*.JPEG")]

            def fetch(name: str) -> bytes:
                return (folder / name).read_bytes()
        else:
            opened, top = zipfile.ZipFile(archive), "tiny-imagenet-200/"
            names = [name.removeprefix(top) for name in opened.namelist() if name.endswith(".JPEG")]

            def fetch(name: str) -> bytes:
                return opened.read(top + name)  # checks the file's CRC

        lines = fetch("val/val_annotations.txt").decode().splitlines()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"tiny-imagenet at {origin} is damaged ({_line(error)}): delete it and {_fetch('tiny-imagenet')}"
        ) from error
    train = sorted(name for name in names if name.startswith("train/"))
    test = [line.split("\t")[:2] for line in lines if line]
    ids = sorted({name.split("/")[1] for name in train})
    label = {wnid: i for i, wnid in enumerate(ids)}
    if strangers := {wnid for _, wnid in test} - set(ids):
        raise InputError(f"tiny-imagenet at {origin}: class {min(strangers)} of val has no training images")
    return _Source(
        _files(train, [label[name.split("/")[1]] for name in train], fetch),
        _files([f"val/images/{name}" for name, _ in test], [label[wnid] for _, wnid in test], fetch),
        tuple(ids),
        TINY_SCALE,
        str(origin),
    )


def _cifar10_jpeg(root: Path, download: bool) -> _Source:
    """CIFAR-10 whose images went through JPEG; not the original pixels, so it has its own name."""
    folder = root / "cifar10-jpeg"
    if not folder.is_dir():
        raise _missing("cifar10-jpeg", root)
    parts = {}
    for part in ("train_a", "train_b", "test"):
        path = folder / f"{part}.npz"
        try:
            with np.load(path) as file:
                blob, ends, labels = file["jpeg"].tobytes(), file["offsets"], file["labels"]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            what = "an npz file of jpeg, offsets and labels"
            raise InputError(f"{path} cannot be read ({_line(error)}): expected {what}") from error
        if len(ends) != len(labels) + 1 or ends[-1] != len(blob):
            found = f"{len(labels)} labels, {len(ends)} offsets, {len(blob)} bytes"
            raise InputError(f"{path} is damaged: {found} do not agree; replace the file")
        images = [blob[start:end] for start, end in pairwise(ends)]
        parts[part] = images, labels
    train = [image for part in ("train_a", "train_b") for image in parts[part][0]]
    labels = np.concatenate([parts["train_a"][1], parts["train_b"][1]])
    return _Source(
        _files(range(len(train)), labels, train.__getitem__),
        _files(range(len(parts["test"][0])), parts["test"][1], parts["test"][0].__getitem__),
        CIFAR10_CLASSES,
        CIFAR10_SCALE,
        str(folder),
    )


def _folder(folder: Path, size: int | None, seed: int) -> _Source:
    """A user's images, one sub-folder for each class; a tenth of them, by seed, are the test split."""
    from PIL import Image

    names: list[Path] = []
    labels: list[int] = []
    kinds = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    for label, kind in enumerate(kinds):
        images = sorted(path for path in kind.iterdir() if path.suffix.lower() in SUFFIXES)
        if not images:
            raise InputError(f"class folder {kind} holds no images ({' '.join(sorted(SUFFIXES))})")
        names += images
        labels += [label] * len(images)
    if len(names) < 3:
        found = f"{len(names)} images in {len(kinds)} class folders"
        raise InputError(f"{folder} holds {found}: expected at least 3 images, in one sub-folder a class")
    sizes, modes = {}, set()
    for name in names:
        try:
            with Image.open(name) as image:  # reads the header alone
                sizes.setdefault(image.size, name)
                modes.add(image.mode)
        except OSError as error:
            raise InputError(f"{name} is not a readable image: delete or replace it") from error
    if size is None and len(sizes) > 1:
        (a, first), (b, second) = list(sizes.items())[:2]
        raise InputError(f"images differ in size ({first}: {a}, {second}: {b}): give size=, e.g. size=32")
    mode = "L" if modes <= {"1", "L", "LA"} else "RGB"
    order = np.random.default_rng([seed, 1]).permutation(len(names))
    cut = max(1, len(names) // 10)
    test, train = (
        _files([names[i] for i in part], [labels[i] for i in part], Path.read_bytes, mode, size)
        for part in (order[:cut], order[cut:])
    )
    return _Source(train, test, tuple(kind.name for kind in kinds), None, str(folder))


def _files(
    names: Sequence[Any],
    labels: Sequence[int] | np.ndarray,
    fetch: Callable[[Any], bytes],
    mode: str = "RGB",
    size: int | None = None,
) -> _Pool:
    """A pool of compressed images: `fetch(name)` gives the bytes of one."""
    from PIL import Image

    def decode(name: Any) -> np.ndarray:  # noqa: ANN401
        try:
            with Image.open(io.BytesIO(fetch(name))) as image:
                image = image.convert(mode)
        except (OSError, ValueError, KeyError, SyntaxError, zipfile.BadZipFile) as error:
            raise InputError(f"image {name} cannot be read ({_line(error)}): delete or replace it") from error
        if size is not None and image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)

    def read(indices: np.ndarray) -> np.ndarray:
        first = decode(names[indices[0]])
        pixels = np.empty((len(indices), *first.shape), np.uint8)
        for row, i in enumerate(indices):
            image = first if row == 0 else decode(names[i])
            if image.shape != first.shape:
                raise InputError(f"image {names[i]}: {image.shape}, others {first.shape}; expected one size")
            pixels[row] = image
        return pixels

    return _Pool(np.asarray(labels, np.int64), read)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _line(error: Exception) -> str:
    """An exception as one line."""
    return " ".join(str(error).split()) or type(error).__name__


READERS: dict[str, Reader] = {
    "mnist": _mnist,
    "cifar10": _cifar("cifar10", "CIFAR10", CIFAR10_SCALE),
    "cifar10-jpeg": _cifar10_jpeg,
    "cifar100": _cifar("cifar100", "CIFAR100", CIFAR100_SCALE),
    "tiny-imagenet": _tiny_imagenet,
}
NAMES = tuple(READERS)
PLACES = {  # under the root; the first is what a message names
    "cifar10": ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cifar10-jpeg": ("cifar10-jpeg",),
    "cifar100": ("cifar-100-python", "cifar-100-python.tar.gz"),
    "tiny-imagenet": ("tiny-imagenet-200", "tiny-imagenet-200.zip"),
}
