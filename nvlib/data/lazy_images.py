"""Images not read yet: a pool knows their labels, and reads the pixels of those asked for.

    pool.read(indices) -> (n, channels, height, width), values 0 .. 255; uint8, or float32 of deeper images (`depth`)
    Source             what a reader hands over: a training and a test pool, and how they are named and scaled

So the splits can be drawn from the labels alone, and a quick look at 32 images decodes 32 files.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nvlib.data import depth
from nvlib.data.locations import one_line
from nvlib.errors import InputError

Scale = tuple[Sequence[float], Sequence[float]]  # mean and standard deviation per channel, of pixels in [0, 1]


@dataclass(frozen=True)
class Pool:
    """Labels (n,), and what reads the pixels at given indices."""

    labels: np.ndarray
    read: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Source:
    """What a reader found: the official images, and how they are scaled (None: by the training split).

    ``name`` is given where what was found is not all that was asked for: a subset of the classes.
    """

    train: Pool
    test: Pool
    class_names: tuple[str, ...]
    scale: Scale | None
    origin: str
    name: str | None = None


def array(pixels: np.ndarray, labels: Sequence[int] | np.ndarray) -> Pool:
    """Return a pool of pixels in memory."""
    return Pool(np.asarray(labels), lambda indices: pixels[indices])


def files(
    names: Sequence[Any],
    labels: Sequence[int] | np.ndarray,
    fetch: Callable[[Any], bytes],
    mode: str = "RGB",
    size: int | None = None,
    deep: bool = False,
) -> Pool:
    """Return a pool of compressed images, all of one size in the end.

    Args:
        names: of the images.
        labels: of the images.
        fetch: name -> the bytes of one image.
        mode: "RGB", or "L" for grey.
        size: resize each to (size, size).
        deep: whether any of them has more than 8 bits a value.
    """
    from PIL import Image

    def decode(name: Any) -> np.ndarray:
        try:
            with Image.open(io.BytesIO(fetch(name))) as image:
                return depth.planes(image, mode, size)
        except InputError as error:
            raise InputError(f"image {name}: {error}") from None
        except (OSError, ValueError, KeyError, SyntaxError, zipfile.BadZipFile) as error:
            raise InputError(f"image {name} cannot be read ({one_line(error)}): delete or replace it") from error

    def read(indices: np.ndarray) -> np.ndarray:
        first = decode(names[indices[0]])
        kind = np.float32 if deep else np.uint8
        pixels = np.empty((len(indices), *first.shape), kind)  # filled row by row: one copy in memory
        pixels[0] = first
        for row, i in enumerate(indices[1:], 1):
            image = decode(names[i])
            if image.shape != first.shape:
                raise InputError(f"image {names[i]}: {image.shape}, others {first.shape}; expected one size")
            pixels[row] = image
        return pixels

    return Pool(np.asarray(labels, np.int64), read)
