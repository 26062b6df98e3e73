"""MNIST and Fashion-MNIST: idx files, gzipped or not.

    idx     two zero bytes, the type (8: bytes), the number of dimensions d, d big-endian uint32 sizes, then the bytes

Files are known by the published MD5 of their uncompressed bytes, so that it does not matter who compressed them.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from nvlib.data import lazy_images
from nvlib.data.lazy_images import Source
from nvlib.data.locations import how_to_fetch, located
from nvlib.errors import InputError

MNIST_FOLDER = Path(__file__).parents[1] / "_data" / "mnist"
MNIST_FILES = {  # training images and labels, test images and labels -> MD5 of the uncompressed bytes, as published
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
FASHION_FILES = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
GREY_SCALE = ((0.0,), (1.0,))


def read_mnist(root: Path, download: bool) -> Source:
    """Read MNIST, which is part of the package: root and download decide nothing."""
    return _read(MNIST_FOLDER, MNIST_FILES, tuple("0123456789"), "embedded", "install nvlib again")


def read_fashion_mnist(root: Path, download: bool) -> Source:
    """Read Fashion-MNIST, 28 x 28 grey images of ten kinds of clothes in MNIST's numbers and layout.

    Raises:
        InputError: if it is missing, half extracted or damaged.
    """
    folder = located("fashion-mnist", root, download)
    advice = f"delete {folder} and {how_to_fetch('fashion-mnist')}"
    return _read(folder, FASHION_FILES, FASHION_CLASSES, str(folder), advice)


def _read(folder: Path, files: Mapping[str, str], classes: tuple[str, ...], origin: str, advice: str) -> Source:
    x, y, test_x, test_y = (_array(folder, name, md5, advice) for name, md5 in files.items())
    train, test = (lazy_images.array(images[:, None], labels) for images, labels in ((x, y), (test_x, test_y)))
    return Source(train, test, classes, GREY_SCALE, origin)


def _array(folder: Path, name: str, md5: str, advice: str) -> np.ndarray:
    """Return the array of one file, read as it is or from its .gz; it cannot be written to."""
    path = folder / name
    path = path if path.exists() else folder / f"{name}.gz"
    try:
        held = path.stat()
        return _checked(path, (held.st_ino, held.st_size, held.st_mtime_ns), md5, advice)
    except FileNotFoundError as error:
        raise InputError(f"{folder} lacks {name} and {path.name}: {advice}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}): {advice}") from error


@lru_cache(maxsize=4)  # the files of one set, 55 MB: studies load their data again and again
def _checked(path: Path, state: tuple[int, ...], md5: str, advice: str) -> np.ndarray:
    """Return the array of a file that is in this state."""
    raw = path.read_bytes() if path.suffix != ".gz" else gzip.decompress(path.read_bytes())
    if (got := hashlib.md5(raw, usedforsecurity=False).hexdigest()) != md5:
        raise InputError(f"{path} is damaged: the MD5 of its bytes is {got}, not the published {md5}: {advice}")
    dims = raw[3]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(np.frombuffer(raw, ">i4", dims, offset=4))
