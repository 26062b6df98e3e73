"""Where each data set lies, what a message says when it does not, and the one download that is ours to check.

    root / PLACES[name][0]      the public layout, unpacked
    root / PLACES[name][1]      the archive as published, where a set has one: then it can be fetched too

root is the argument, else $NVLIB_DATA, else ./data. torchvision fetches and checks CIFAR; Tiny ImageNet is not among
its data sets and is fetched here, against its MD5. MNIST is part of the package and has no place.
"""

from __future__ import annotations

import os
from pathlib import Path

from nvlib.errors import InputError

PLACES = {
    "cifar10": ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cifar10-jpeg": ("cifar10-jpeg",),
    "cifar100": ("cifar-100-python", "cifar-100-python.tar.gz"),
    "tiny-imagenet": ("tiny-imagenet-200", "tiny-imagenet-200.zip"),
}
TINY_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"


def folder_of(root: str | os.PathLike[str] | None) -> Path:
    """Return the folder data sets are looked for in."""
    return Path(root or os.environ.get("NVLIB_DATA") or "data").expanduser()


def available(root: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """Return, for each data set by name, where it was found or where it was looked for; nothing is read."""
    home = folder_of(root)
    status = {"mnist": "embedded"}
    for name, places in PLACES.items():
        found = next((home / place for place in places if (home / place).exists()), None)
        status[name] = f"found at {found}" if found else f"not found at {home / places[0]}"
    return status


def missing(name: str, root: Path) -> InputError:
    """Return the error for a data set that is not there: where it should be, and every remedy."""
    place, *archives = PLACES[name]
    remedy = f"set NVLIB_DATA (or root=) to the folder that holds {place}"
    return InputError(f"no {name} at {root / place}: {remedy}" + (f", or {how_to_fetch(name)}" if archives else ""))


def how_to_fetch(name: str) -> str:
    """Return the end of a message: what to call or type."""
    return f"fetch it with nvlib.data.load({name!r}, download=True) or python -m nvlib data {name} --download"


def fetch_tiny_imagenet(archive: Path) -> None:
    """Download Tiny ImageNet's zip with a progress bar; what is there and sound is kept.

    Raises:
        InputError: if it cannot be fetched, or is not the published file.
    """
    from torchvision.datasets.utils import download_url

    try:
        download_url(TINY_URL, str(archive.parent), archive.name, TINY_MD5)
    except (RuntimeError, OSError) as error:
        if isinstance(error, RuntimeError):  # fetched, but its MD5 is wrong: never to be read
            archive.unlink(missing_ok=True)
        raise InputError(f"cannot fetch {TINY_URL} to {archive} ({one_line(error)}): try again") from error


def one_line(error: Exception) -> str:
    """Return an exception's text as one line, for a message that quotes it."""
    return " ".join(str(error).split()) or type(error).__name__
