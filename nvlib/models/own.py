"""A network of one's own: a Python file with a factory, adopted by its content. Nothing here runs it.

    def small(classes=10, in_channels=1):              # in mine.py; returns a plain nn.Module, without noise in it
        ...

    python -m nvlib models add mine.py:small           own:mine.small@0f1e2d3c4b5a6978
    python -m nvlib train --network own:mine           the same, by the latest file of that name

To adopt a file is to consent to its being run with one's own rights. It is copied to a folder of the user's own
($NVLIB_MODELS, else ~/.local/share/nvlib/models), named by the SHA-256 of its bytes:

    <sha256>.py      the file                <sha256>.json     under which names, with which factories, since when

The network's name in full holds the first 16 digits, so a run's hash follows the file's content, wherever it lies. A
file that was altered since is refused. Runs keep the text of their network's file (network.json), and no text in a
folder of results is ever run: results from somebody else are data, until their file is read and adopted here.

A file stands for itself: what it imports from other files of one's own is not part of its hash. `nvlib.models.factory`
says what the factory is given. Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from nvlib.errors import InputError, unknown
from nvlib.models.syntax import IDENTIFIER, MOST, factories

PREFIX = "own:"
DIGITS = 16  # of the SHA-256, in a name
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_NETWORK = re.compile(rf"{PREFIX}({_NAME.pattern})(?:\.({IDENTIFIER.pattern})(?:@([0-9a-f]{{{DIGITS}}}))?)?")


@dataclass(frozen=True)
class Own:
    """A network of one's own.

    Attributes:
        name: what its owner calls the file; the file's own name unless said otherwise.
        factory: the function (or class) of the file that makes the network.
        sha256: of the file.
        adopted: when, UTC; "" for one that is only named.
    """

    name: str
    factory: str
    sha256: str
    adopted: str = ""

    @property
    def network(self) -> str:
        """Return its name as a network, as records have it."""
        return f"{PREFIX}{self.name}.{self.factory}@{self.sha256[:DIGITS]}"


class Broken(InputError):
    """A user's own code failed; ``__cause__`` is its error, with the traceback."""


def is_own(network: object) -> bool:
    """Whether a network's name is one of a user's own."""
    return isinstance(network, str) and network.startswith(PREFIX)


def label(network: str) -> str:
    """Return a network's name for readers: ``own:mine.small@0f1e2d3c4b5a6978`` -> ``mine.small (own, 0f1e2d3c)``."""
    match = _NETWORK.fullmatch(network)
    return f"{match[1]}.{match[2]} (own, {match[3][:8]})" if match and match[3] else network


# -- adopting --------------------------------------------------------------------------------------------------------


def adopt(file: str | PathLike[str] | bytes, factory: str | None = None, name: str | None = None) -> Own:
    """Consent to run a file with one's own rights, and keep a copy of it; it is not run here.

    Args:
        file: its path, or its bytes.
        factory: the function or class that makes the network; None: the only one there is.
        name: what to call it; None: as the file is called.

    Raises:
        InputError: for a file that is too large or no Python, an unknown factory, or a name that cannot be used.
    """
    shown, stem, content = _read(file)
    known = factories(content, shown)
    if factory is None and len(known) > 1:
        raise InputError(f"{shown} has several functions or classes: {', '.join(known)}; say which makes the network, "
                         f"e.g. {shown}:{known[0]}")  # fmt: skip
    factory = factory or known[0]
    if factory not in known:
        raise unknown(f"function or class of {shown}", factory, known)
    name = stem if name is None else name
    if not _NAME.fullmatch(name):
        raise InputError(f"name {name[:60]!r} cannot be used for a network; expected a letter, then up to 31 letters, "
                         "digits, _ or -")  # fmt: skip
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    found = Own(name, factory, hashlib.sha256(content).hexdigest(), now)
    home = folder()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    _refuse_open(home)
    entry = {key: value for key, value in asdict(found).items() if key != "sha256"}
    others = [e for e in _entries(home / f"{found.sha256}.json") if (e["name"], e["factory"]) != (name, factory)]
    _write(home / f"{found.sha256}.py", content)
    _write(home / f"{found.sha256}.json", json.dumps({"adopted": [*others, entry]}, indent=1).encode())
    return found


def adopted() -> list[Own]:
    """Return the networks that were adopted here, the latest first."""
    home = folder()
    if not home.is_dir():
        return []
    _refuse_open(home)
    held = [Own(sha256=path.stem, **entry) for path in home.glob("*.json") if re.fullmatch("[0-9a-f]{64}", path.stem)
            for entry in _entries(path)]  # fmt: skip
    return sorted(held, key=lambda one: (one.adopted, one.network), reverse=True)


def find(network: str) -> Own:
    """Return an adopted network by its name in full, or shorter: the latest of that name.

    Raises:
        InputError: for one that was not adopted here; it says which file is missing, and what to do.
    """
    match = _NETWORK.fullmatch(network)
    if match is None:
        raise InputError(f"network {network[:80]!r} is none of one's own; expected {PREFIX}NAME, {PREFIX}NAME.FACTORY "
                         f"or {PREFIX}NAME.FACTORY@DIGITS, {DIGITS} of them; see: python -m nvlib models")  # fmt: skip
    name, factory, digits = match.groups()
    held = adopted()
    if digits:  # the consent is to the file, whatever it is called
        files = sorted({one.sha256 for one in held if one.sha256.startswith(digits)})
        if len(files) == 1:
            return Own(name, factory, files[0])
        raise InputError(
            f"network {network} was not adopted here: its file, whose SHA-256 begins with {digits}, is missing; read "
            f"that file, then: python -m nvlib models add FILE:{factory} --name {name} (or --run HASH, of a run of it)"
        )
    found = [one for one in held if one.name == name and factory in (None, one.factory)]
    if not found and held:
        raise unknown("network of one's own", network, [one.network for one in held])
    if not found:
        raise InputError(f"network {network} was not adopted here, nor was any other; adopt one: python -m nvlib "
                         f"models add FILE:{factory or 'FACTORY'} --name {name}")  # fmt: skip
    if len(several := {one.factory for one in found if one.sha256 == found[0].sha256}) > 1:
        names = ", ".join(f"{PREFIX}{name}.{each}" for each in sorted(several))
        raise InputError(f"network {network} has several factories; expected one of: {names}")
    return found[0]


def source(found: Own) -> bytes:
    """Return an adopted file's bytes, exactly those that were adopted.

    Raises:
        InputError: if the file is gone or was altered.
    """
    path = place(found)
    again = f"put it back, or adopt what it is now: python -m nvlib models add FILE:{found.factory} --name {found.name}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"the file of {found.network} cannot be read ({error.strerror}: {path}); {again}") from None
    if hashlib.sha256(content).hexdigest() != found.sha256:
        raise InputError(f"{path} was altered since {found.network} was adopted, and is not run; {again}")
    return content


def place(found: Own) -> Path:
    """Return where an adopted file lies."""
    return folder() / f"{found.sha256}.py"


def withdraw(network: str) -> Own:
    """Take a consent back: the copy of the file is removed, with all its names; runs keep its text."""
    found = find(network)
    for suffix in (".json", ".py"):
        (folder() / f"{found.sha256}{suffix}").unlink(missing_ok=True)
    return found


def facts(network: str, classes: int, in_channels: int) -> dict[str, Any]:
    """Return what a run keeps of its network: names, SHA-256, what the data set decided, and the file's text."""
    found = find(network)
    held = {key: value for key, value in asdict(found).items() if key != "adopted"}
    return {**held, "classes": classes, "in_channels": in_channels, "source": source(found).decode()}


def kept(held: Mapping[str, Any] | None, run: str) -> tuple[bytes, str, str]:
    """Return the file that a run kept, its factory and its name; InputError if it kept none, or not that file."""
    content = str((held or {}).get("source", "")).encode()
    if not held or hashlib.sha256(content).hexdigest() != held.get("sha256"):
        raise InputError(f"run {run[:12]} keeps no file of a network of its own; expected a training of one")
    return content, str(held.get("factory")), str(held.get("name"))


# -- the folder ------------------------------------------------------------------------------------------------------


def folder() -> Path:
    """Return where adopted files lie: $NVLIB_MODELS, else ~/.local/share/nvlib/models."""
    if given := os.environ.get("NVLIB_MODELS"):
        return Path(given)
    try:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "nvlib" / "models"
    except RuntimeError:
        raise InputError("no home folder to keep adopted networks in; say where: NVLIB_MODELS=FOLDER") from None


def _refuse_open(home: Path) -> None:
    """Refuse a folder into which others may put files: a consent there need not be the user's."""
    if home.stat().st_mode & 0o022:
        raise InputError(f"others may write to {home}, where files lie that are run; forbid it: chmod go-w {home}")


def _entries(path: Path) -> list[dict[str, str]]:
    """Return the names in a JSON beside a file; those that are none are left out."""
    try:
        held = json.loads(path.read_text())["adopted"]
        said = [{key: str(entry[key]) for key in ("name", "factory", "adopted")} for entry in held]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [entry for entry in said if _NAME.fullmatch(entry["name"]) and IDENTIFIER.fullmatch(entry["factory"])]


def _read(file: str | PathLike[str] | bytes) -> tuple[str, str, bytes]:
    """Return what to call a file, its name without the ending, and its bytes."""
    if isinstance(file, bytes):
        return "the file", "mine", file
    path = Path(file)
    if path.suffix != ".py":
        raise InputError(f"{path.name} ends in {path.suffix!r}; expected a Python file, .py")
    try:
        with path.open("rb") as held:
            return path.name, path.stem, held.read(MOST + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); expected a Python file") from None


def _write(path: Path, content: bytes) -> None:
    """Write a file whole, for its owner's eyes."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
