"""Grey and colour values of a decoded image on one scale, 0 .. 255, however many bits it was stored with.

    8 bits and palettes    v               uint8, as they are (a palette's colours, not its indices)
    n bits, n <= 16        255 v / (2^n - 1)     float32: none of the 65,536 levels of 16 bits is lost
    float                  255 v           v in [0, 1], else it is refused: nothing in the file says what white is

Pillow's own conversion clips what is above 255, so that all but black becomes white. 32-bit integers and signed ones
say nothing of their range either, and are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nvlib.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

_WHOLE = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of TIFF
_WHITE_IS_ZERO = 0


def is_deep(image: Image) -> bool:
    """Whether an image has more than 8 bits a value; the header says so."""
    return image.mode in (*_WHOLE, "F")


def is_grey(image: Image) -> bool:
    """Whether an image has no colours: by its mode, or by a palette of greys."""
    if image.mode == "P" and image.palette is not None and image.palette.mode == "RGB":
        colours = np.frombuffer(bytes(image.palette.palette), np.uint8)
        colours = colours[: len(colours) // 3 * 3].reshape(-1, 3)
        return bool((colours == colours[:, :1]).all())
    return image.mode in ("1", "L", "LA") or is_deep(image)


def planes(image: Image, mode: str, size: int | None = None) -> np.ndarray:
    """Return an image's values (channels, height, width) on a scale of 0 .. 255.

    Args:
        image: opened by Pillow.
        mode: "RGB", or "L" for grey.
        size: resize to (size, size), bilinearly.

    Returns:
        uint8; float32 of a deep image.

    Raises:
        InputError: for a deep image whose range is not known.
    """
    from PIL import Image as pillow

    deep = is_deep(image)
    image = pillow.fromarray(_scaled(image)) if deep else image.convert(mode)
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), pillow.Resampling.BILINEAR)
    values = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
    return np.repeat(values, 3, 0) if deep and mode == "RGB" else values


def _scaled(image: Image) -> np.ndarray:
    """Return a deep image's values as float32 (height, width) on a scale of 0 .. 255."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    if image.mode == "F":
        top, expected = 1.0, "floats from 0 to 1"
    else:  # a whole number of Pillow's own width, "I", is 16 bits in PNG and PGM
        bits = tags.get(_BITS_PER_SAMPLE, (16,))[0] if tags or image.format in ("PNG", "PPM") else 16
        known = image.mode != "I" or image.format in ("PNG", "PPM")
        top, expected = float(2**bits - 1), f"{bits} bits, 0 to {2**bits - 1}"
        if not known:
            raise InputError(f"it holds integers of {bits} bits whose range is not known; expected 8 or 16 bits "
                             "without sign, or floats from 0 to 1: convert it")  # fmt: skip
    values = np.asarray(image, np.float64)
    low, high = float(values.min()), float(values.max())
    if not (0 <= low and high <= top):  # NaN as well
        raise InputError(f"its values go from {low:g} to {high:g}; expected {expected}: scale them")
    values = top - values if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else values
    return (values * (255 / top)).astype(np.float32)
