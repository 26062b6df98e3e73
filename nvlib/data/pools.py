"""Images not read yet: a pool knows their labels, and reads the pixels of those asked for.

    pool.read(indices) -> uint8 (n, channels, height, width)

So the splits can be drawn from the labels alone, and a quick look at 32 images decodes 32 files.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nvlib.data.places import one_line
from nvlib.errors import InputError


@dataclass(frozen=True)
class Pool:
    """Labels (n,), and what reads the pixels at given indices."""

    labels: np.ndarray
    read: Callable[[np.ndarray], np.ndarray]


def array(pixels: np.ndarray, labels: Sequence[int] | np.ndarray) -> Pool:
    """Return a pool of pixels in memory."""
    return Pool(np.asarray(labels), lambda indices: pixels[indices])


def files(
    names: Sequence[Any],
    labels: Sequence[int] | np.ndarray,
    fetch: Callable[[Any], bytes],
    mode: str = "RGB",
    size: int | None = None,
) -> Pool:
    """Return a pool of compressed images, all of one size in the end.

    Args:
        names: of the images.
        labels: of the images.
        fetch: name -> the bytes of one image.
        mode: "RGB", or "L" for grey.
        size: resize each to (size, size).
    """
    from PIL import Image

    def decode(name: Any) -> np.ndarray:
        try:
            with Image.open(io.BytesIO(fetch(name))) as image:
                image = image.convert(mode)
        except (OSError, ValueError, KeyError, SyntaxError, zipfile.BadZipFile) as error:
            raise InputError(f"image {name} cannot be read ({one_line(error)}): delete or replace it") from error
        if size is not None and image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)

    def read(indices: np.ndarray) -> np.ndarray:
        first = decode(names[indices[0]])
        pixels = np.empty((len(indices), *first.shape), np.uint8)  # filled row by row: one copy in memory
        pixels[0] = first
        for row, i in enumerate(indices[1:], 1):
            image = decode(names[i])
            if image.shape != first.shape:
                raise InputError(f"image {names[i]}: {image.shape}, others {first.shape}; expected one size")
            pixels[row] = image
        return pixels

    return Pool(np.asarray(labels, np.int64), read)
