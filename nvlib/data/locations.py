"""Where a data set lies, what a message says when it does not, and what of it is fetched.

    root / places[0], root / places[1], ...      `nvlib.image_sets`: the first that exists is read

root is the argument, else $NVLIB_DATA, else ./data. What is fetched lies where the readers look, has the MD5 that its
authors publish, and takes its name only when it is whole: what was cut off or altered is never there to be read. MNIST
is part of the package and has no place.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import urllib.request
from http.client import HTTPException
from pathlib import Path

from nvlib.errors import InputError
from nvlib.image_sets import IMAGE_SETS

PLACES = {name: known.places for name, known in IMAGE_SETS.items() if known.places}
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
SOURCES: dict[str, dict[str, tuple[str, str]]] = {  # name: where it comes to lie -> address, published MD5
    "fashion-mnist": {
        "fashion-mnist/train-images-idx3-ubyte.gz":
            (f"{_FASHION}/train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        "fashion-mnist/train-labels-idx1-ubyte.gz":
            (f"{_FASHION}/train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        "fashion-mnist/t10k-images-idx3-ubyte.gz":
            (f"{_FASHION}/t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        "fashion-mnist/t10k-labels-idx1-ubyte.gz":
            (f"{_FASHION}/t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    },
    "cifar10": {"cifar-10-binary.tar.gz":
        ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")},
    "cifar100": {"cifar-100-binary.tar.gz":
        ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")},
    "tiny-imagenet": {"tiny-imagenet-200.zip":
        ("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de")},
}  # fmt: skip


def folder_of(root: str | os.PathLike[str] | None) -> Path:
    """Return the folder data sets are looked for in."""
    return Path(root or os.environ.get("NVLIB_DATA") or "data").expanduser()


def find(name: str, root: Path) -> Path | None:
    """Return the first of a data set's places that exists."""
    return next((root / place for place in PLACES[name] if (root / place).exists()), None)


def available(root: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """Return, for each data set by name, where it was found or where it was looked for; nothing is read."""
    home = folder_of(root)
    status = {}
    for name, known in IMAGE_SETS.items():
        found = find(name, home) if known.places else None
        looked = f"not found at {home / known.places[0]}" if known.places else "embedded"
        status[name] = f"found at {found}" if found else looked
    return status


def located(name: str, root: Path, download: bool) -> Path:
    """Return where a data set lies, fetched if it may be.

    Raises:
        InputError: if it is nowhere, naming where it should be and what to do; or cannot be fetched.
    """
    found = find(name, root)
    if found is None and download:
        for place, (url, md5) in SOURCES[name].items():
            fetch(url, root / place, md5)
        found = find(name, root)
    if found is None:
        first, *others = PLACES[name]
        raise InputError(f"no {name} at {root / first} (nor {', '.join(others)} there): set NVLIB_DATA (or root=) to "
                         f"the folder that holds one of these, or {how_to_fetch(name)}")  # fmt: skip
    return found


def how_to_fetch(name: str) -> str:
    """Return the end of a message: what to call or type."""
    return f"fetch it with nvlib.data.load({name!r}, download=True) or python -m nvlib data {name} --download"


def fetch(url: str, path: Path, md5: str) -> None:
    """Download one file with a progress bar; one that is there and sound is kept.

    Raises:
        InputError: if it cannot be fetched, or is not the published file; nothing is left at ``path`` then.
    """
    from nvlib import bars

    if path.exists() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5:
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=60) as answer, part.open("wb") as file:
            size = int(answer.headers.get("Content-Length") or 0) or None
            with bars.on_terminal("{task.completed:.1f} MB", left=True) as shown:
                bar = shown.add_task(path.name, total=size and size / 1e6)
                while block := answer.read(1 << 20):
                    digest.update(block)
                    file.write(block)
                    shown.update(bar, advance=len(block) / 1e6)
        if (got := digest.hexdigest()) != md5:
            raise InputError(f"{url} gave {part.stat().st_size} bytes whose MD5 {got} is not the published {md5}: "
                             "the download was cut off or altered; nothing of it is kept, try again")  # fmt: skip
        part.replace(path)
    except (OSError, HTTPException, ValueError) as error:  # InputError is a ValueError of its own
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot fetch {url} to {path} ({one_line(error)}): try again") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def one_line(error: Exception) -> str:
    """Return an exception's text as one line, for a message that quotes it."""
    return " ".join(str(error).split()) or type(error).__name__
