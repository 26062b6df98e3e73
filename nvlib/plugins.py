"""A user's own methods in every process: a Python file that registers them, and the digest of their code.

The file says what a notebook cell would, ``nvlib.METHODS["louder"] = Louder`` or ``nvlib.DEPLOYMENTS[...] = ...``. A
study names it (``plugins``, ``--plugin mine.py``), so whoever works on the study, spawned processes and SLURM's jobs
among them, runs it first. A record holds the SHA-256 of the code of what is not nvlib's own, so that an edited method
is another method.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

from nvlib import code
from nvlib.errors import InputError

_loaded: dict[str, str] = {}  # path -> SHA-256 of the text that was run
_PREFIX = "nvlib_plugin_"


def load(path: str | Path) -> str:
    """Run a plug-in, unless it was run as it is now; returns its absolute path.

    Raises:
        InputError: if there is no such file, or it fails.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file() or file.suffix != ".py":
        raise InputError(f"plug-in {str(path)!r} is not there; expected the path of a Python file, e.g. mine.py")
    source = file.read_bytes()
    text = hashlib.sha256(source).hexdigest()
    if _loaded.get(str(file)) == text:
        return str(file)
    name = _PREFIX + hashlib.sha256(str(file).encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        exec(compile(source, str(file), "exec"), module.__dict__)
    except Exception as error:
        said = " ".join(str(error).split())
        what = f"{type(error).__name__}: {said}"
        raise InputError(f"plug-in {file} fails: {what}; run it by itself to see where") from error
    _loaded[str(file)] = text
    return str(file)


def code_of(kind: type) -> str | None:
    """Return the SHA-256 of a class's code: a plug-in's whole file, else `nvlib.code`; None for nvlib's own."""
    if kind.__module__.partition(".")[0] == "nvlib":
        return None
    if kind.__module__.startswith(_PREFIX):
        return _loaded.get(sys.modules[kind.__module__].__file__)
    return code.digest(kind)
