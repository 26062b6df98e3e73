"""A network of one's own: a Python file and a function (or class) in it that returns a plain module, ``mine.py:small``.

    def small(classes=10, in_channels=1):              # in mine.py; no noise in it
        return nn.Sequential(...)

    python -m nvlib train --network mine.py:small      # in records: own:mine.small@0f1e2d3c4b5a6978

The name in records holds the first 16 digits of the file's SHA-256 (and of modules of one's own that it imports), so a
run's hash follows the content, wherever it lies, and an edited file is another network. To name a file is to agree that
it runs with one's own rights. Runs keep its text (network.json), and no text in a folder of results is ever run:
whoever evaluates a stored network of one's own names its file again. A plug-in may register it as well,
``nvlib.MODELS["small"] = small``.

`nvlib.models.factory` says what the function is given. Nothing here needs torch, but the file may.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from nvlib import plugins
from nvlib.errors import InputError, unknown
from nvlib.plugins import DIGITS, Source

PREFIX = "own:"
_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,31}"
_FACTORY = r"[A-Za-z_][A-Za-z0-9_]{0,63}"
_NETWORK = re.compile(rf"{PREFIX}({_NAME})\.({_FACTORY})@([0-9a-f]{{{DIGITS}}})")
_FILE = re.compile(r"(.+\.py)(?::(.*))?")


@dataclass(frozen=True)
class Own:
    """A network of one's own.

    Attributes:
        network: its name, as records have it.
        factory: the function or class that makes it.
        source: the file.
    """

    network: str
    factory: str
    source: Source


def is_own(network: object) -> bool:
    """Whether a network's name in records is one of a user's own."""
    return isinstance(network, str) and network.startswith(PREFIX)


def is_file(network: object) -> bool:
    """Whether a network is given as a file, ``mine.py`` or ``mine.py:small``."""
    return isinstance(network, str) and not is_own(network) and _FILE.fullmatch(network) is not None


def label(network: str) -> str:
    """Return a network's name for readers: ``own:mine.small@0f1e2d3c4b5a6978`` -> ``mine.small (own, 0f1e2d3c)``."""
    match = _NETWORK.fullmatch(network)
    return f"{match[1]}.{match[2]} (own, {match[3][:8]})" if match else network


def given(network: str) -> Own:
    """Run a file, and return the network that it names, which `find` knows from now on.

    Args:
        network: ``mine.py:small``; without a function where there is one alone.

    Raises:
        InputError: for a file that is not there, or a function that it does not have.
        Broken: if the file fails.
    """
    match = _FILE.fullmatch(network)
    if match is None:
        raise InputError(f"network {network!r} is no file; expected e.g. mine.py:small")
    source = plugins.load(match[1])
    module = plugins.module_of(source)
    known = [name for name, thing in vars(module).items() if isinstance(thing, FunctionType | type)
             and thing.__module__ == source.module and re.fullmatch(_FACTORY, name)]  # fmt: skip
    factory, name = match[2], f"{source.name}.py"
    if not known:
        raise InputError(f"{name} has no function at its top level; expected a factory: def make(classes=10): ...")
    if not factory and len(known) > 1:
        raise InputError(f"{name} has several functions or classes: {', '.join(known)}; say which makes the network, "
                         f"e.g. {name}:{known[0]}")  # fmt: skip
    factory = factory or known[0]
    if factory not in known:
        raise unknown(f"function or class of {name}", factory, known)
    return _named(source, factory)


def registered(name: str, factory: Callable[..., Any]) -> Own:
    """Return the network that a plug-in registered by a name.

    Raises:
        InputError: for one of a session, whose text no run could keep.
    """
    source = plugins.source_of(factory)
    if source is None:
        raise InputError(f"network {name!r} was registered in this session alone, so that no run could keep its text; "
                         f"put it into a file: --network mine.py:{name} (or give the module itself)")  # fmt: skip
    return _named(source, name)


def find(network: str) -> Own:
    """Return a network by its name in records, whose file was named in this process.

    Raises:
        InputError: for one whose file was not; it says which file is missing, and what to do.
    """
    match = _NETWORK.fullmatch(network)
    if match is None:
        raise InputError(f"network {network[:80]!r} is none of one's own; expected FILE.py:FACTORY, or as records have "
                         f"it: {PREFIX}NAME.FACTORY@DIGITS, {DIGITS} of them")  # fmt: skip
    name, factory, digits = match.groups()
    source = plugins.find(digits)
    if source is None:
        plugins.installed()
        source = plugins.find(digits)
    if source is None:
        raise InputError(f"network {network} needs its file, whose SHA-256 begins with {digits}; name it: --plugin "
                         f"{name}.py (nvlib.plugins.load in Python); its runs keep the text, see: python -m nvlib "
                         "results show HASH")  # fmt: skip
    return Own(network, factory, source)


def facts(network: str, classes: int, in_channels: int) -> dict[str, Any]:
    """Return what a run keeps of its network: names, SHA-256, what the data set decided, and the file's text."""
    found = find(network)
    return {
        "name": found.source.name, "factory": found.factory, "sha256": found.source.sha256, "classes": classes,
        "in_channels": in_channels, "source": found.source.text,
        **({"imports": found.source.texts} if found.source.imports else {}),
    }  # fmt: skip


def _named(source: Source, factory: str) -> Own:
    if not re.fullmatch(_NAME, source.name):
        raise InputError(f"file {source.name[:60]!r} cannot name a network; expected a letter, then up to 31 letters, "
                         "digits, _ or -")  # fmt: skip
    network = source.network(factory)
    return Own(plugins.shown(network, source), factory, source)
