"""A user's own methods, networks, deployments and effects in every process, and the text that a record stands for.

A plug-in is a Python file that registers them as a notebook cell would (``nvlib.METHODS["louder"] = Louder``,
``nvlib.MODELS[...]``, ``nvlib.DEPLOYMENTS[...]``), or that a network is named in (``mine.py:small``). It comes to a
process in one of two ways:

    --plugin mine.py       a study names the file (``plugins``), so spawned processes and SLURM's jobs run it as well
    an installed package   its entry points (group ``nvlib.plugins``) name modules, imported on demand

To name a file, or to install a package, is to agree that it runs with one's own rights. What lies in a folder of
results is data and never run. A record holds the SHA-256 of the file and of modules of one's own that it imports
(`code_of`, `nvlib.local_imports`), so an edited method or helper is another method, and the run keeps their text
(`texts`).

>>> from nvlib import methods, plugins
>>> plugins.code_of(methods.METHODS["rc"]) is None  # nvlib's own has no digest
True
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import linecache
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

from nvlib import catalogue, code, local_imports
from nvlib.errors import InputError, instance
from nvlib.local_imports import LocalModule

GROUP = "nvlib.plugins"  # of entry points
_PREFIX = "nvlib_plugin_"
_LOCK = threading.RLock()
_held: dict[str, Source] = {}  # by the name of the module that it was run as
_current: dict[str, Source] = {}  # by path: what was run last
_packages: dict[str, bool] = {}  # modules of entry points: whether they could be imported
_listed: dict[str, list[tuple[dict[str, str], str]]] = {}  # by path: what of the catalogue it brought
_REGISTRIES = (
    ("method", "nvlib.methods", "METHODS", catalogue.METHODS),
    ("network", "nvlib.models.registry", "MODELS", catalogue.NETWORKS),
    ("deployment", "nvlib.deploy", "DEPLOYMENTS", catalogue.DEPLOYMENTS),
)
_OURS = {kind: frozenset(names) for kind, _, _, names in _REGISTRIES}
_NEEDS = {"method": "loss", "deployment": "apply"}
DIGITS = 16  # of the SHA-256, in a network's name


class Broken(InputError):
    """A user's own code failed; ``__cause__`` is its error, with the traceback."""


@dataclass(frozen=True)
class Source:
    """A file of one's own, as it was when it was run.

    Attributes:
        path: where it lies.
        text: all of it.
        sha256: of its bytes; where it imports modules of the user's own, of its and their SHA-256.
        module: the name of the module that it was run as.
        imports: modules of the user's own that it imports, and that they import.
    """

    path: str
    text: str
    sha256: str
    module: str
    imports: tuple[LocalModule, ...] = ()

    @property
    def name(self) -> str:
        """Return what a network of it is called by: the file without its ending, or the module."""
        return Path(self.path).stem if self.travels else self.module.rpartition(".")[2]

    @property
    def travels(self) -> bool:
        """Whether it is a file that a study names, not a module of an installed package."""
        return self.module.startswith(_PREFIX)

    @property
    def texts(self) -> dict[str, str]:
        """Return the texts of what it imports of the user's own, by where they lie beside it."""
        return {each.relative: each.text for each in self.imports}

    def network(self, factory: str) -> str:
        """Return the name in records of a network of it: ``own:mine.small@0f1e2d3c4b5a6978``."""
        return f"own:{self.name}.{factory}@{self.sha256[:DIGITS]}"


def load(path: str | Path) -> Source:
    """Run a plug-in, unless it, or a copy, was run as it is now; returns what was run.

    Raises:
        InputError: if there is no such file, it is no text, or it registers what cannot be used, or in place of nvlib's
            own.
        Broken: if it fails.
    """
    file = Path(instance("plug-in", path, str | PathLike, "the path of a Python file")).expanduser().resolve()
    if not file.is_file() or file.suffix != ".py":
        raise InputError(f"plug-in {str(path)!r} is not there; expected the path of a Python file, e.g. mine.py")
    found = read(file)
    with _LOCK:
        for same in _current.values():  # also where a job has a copy of it
            if (same.sha256, same.name) == (found.sha256, found.name):
                return same
        module = ModuleType(found.module)
        module.__file__ = found.path
        # tracebacks show what was run, whatever the file holds by then
        linecache.cache[found.path] = len(found.text), None, found.text.splitlines(keepends=True), found.path
        sys.modules[found.module] = module  # dataclasses and torch.export look a class's module up
        before = _registered()
        try:
            with watched(found, "it"), contextlib.redirect_stdout(sys.stderr), local_imports.serving(found.imports):
                exec(compile(found.text, found.path, "exec", dont_inherit=True), module.__dict__)
            _held[found.module] = found
            _refuse_unusable(found, before)
            _refuse_ours()
        except BaseException:
            _held.pop(found.module, None)
            sys.modules.pop(found.module)
            raise
        _current[found.path] = found
        _list(found)
    return found


def read(file: Path, module: str | None = None) -> Source:
    """Return a Python file as it is now, with what it imports of the user's own; it is not run.

    ``module``: of an installed package, which it was imported as.

    Raises:
        InputError: if one of them cannot be read, or is no text.
    """
    content, text = local_imports.read(file)
    digest, found = hashlib.sha256(content).hexdigest(), local_imports.collect(file, text, module)
    if found:
        lines = [digest, *(f"{each.module} {hashlib.sha256(each.text.encode()).hexdigest()}" for each in found)]
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    name = module or _PREFIX + hashlib.sha256(f"{file} {digest}".encode()).hexdigest()
    return Source(str(file), text, digest, name, found)


def loaded() -> tuple[str, ...]:
    """Return the paths of the files that were run here: what a study of their names gives as its ``plugins``."""
    return tuple(_current)


def needed(*names: str | None) -> list[str]:
    """Return the paths of the files that registered some of these methods, networks or deployments here."""
    return [path for path, brought in _listed.items() if path in _current and any(name in names for _, name in brought)]


def installed() -> None:
    """Import the modules that installed packages name as plug-ins; one that fails is a warning, and is left out."""
    with _LOCK:
        for entry in importlib.metadata.entry_points(group=GROUP):
            if entry.module in _packages:
                continue
            try:
                importlib.import_module(entry.module)
                _packages[entry.module] = True
                _refuse_ours()
                for _, module, attribute, _ in _REGISTRIES:
                    for thing in getattr(sys.modules.get(module), attribute, {}).values():
                        if (source := source_of(thing)) and not source.travels:
                            _list(source)
            except Exception as error:
                _packages[entry.module] = False
                said = " ".join(str(error).split())
                warnings.warn(f"plug-in {entry.name!r} of an installed package is left out: {type(error).__name__}: "
                              f"{said}", stacklevel=2)  # fmt: skip


def find(digits: str) -> Source | None:
    """Return what was run here, last, and has a SHA-256 that begins so; None if nothing has."""
    return next((held for held in reversed(_held.values()) if held.sha256.startswith(digits)), None)


def source_of(thing: Any) -> Source | None:
    """Return the file that a class or function comes from; None for nvlib's own, and for what is in no plug-in."""
    name = getattr(thing, "__module__", None) or ""
    if name not in _held and any(name == package or name.startswith(f"{package}.") for package in _packages):
        with contextlib.suppress(InputError):
            _held[name] = read(Path(str(sys.modules[name].__file__)), name)
    return _held.get(name)


def module_of(source: Source) -> ModuleType:
    """Return the module that a file was run as."""
    return sys.modules[source.module]


def code_of(kind: type) -> str | None:
    """Return the SHA-256 of a class's code: a plug-in's files, else `nvlib.code`; None for nvlib's own."""
    found = source_of(kind)
    return found.sha256 if found else code.digest(kind)


def texts(*kinds: type) -> dict[str, dict[str, Any]] | None:
    """Return what a run keeps of the files that classes come from: by file name, SHA-256 and text; None for none.

    ``imports`` has the texts of the user's own modules that they import, where there are any.
    """
    found = [source for kind in kinds if (source := source_of(kind))]
    return {
        Path(s.path).name: {"sha256": s.sha256, "text": s.text, **({"imports": s.texts} if s.imports else {})}
        for s in found
    } or None


@contextlib.contextmanager
def watched(source: Source, what: str, whose: str = "") -> Iterator[None]:
    """Turn an error of a user's code into one line that names it (``whose``, else the file) and the line in the file.

    Raises:
        Broken: with the error as its cause.
    """
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == source.path]
        if isinstance(error, SyntaxError) and error.filename == source.path:
            lines = [error.lineno]
        where = f" (line {lines[-1]} of its file)" if lines else ""
        said = " ".join(str(error).split())[:200]
        whose = whose or Path(source.path).name
        raise Broken(f"{whose}: {what} raised {type(error).__name__}: {said}{where}") from error


def shown(network: str, source: Source) -> str:
    """Put a network of one's own into the catalogue, for pages to offer; returns its name."""
    if network not in catalogue.NETWORKS:
        catalogue.NETWORKS[network] = network.removeprefix("own:").partition("@")[0]
        _listed.setdefault(source.path, []).append((catalogue.NETWORKS, network))
    return network


def _registered() -> dict[tuple[str, str], Any]:
    """Return what is registered: (kind, name) -> class or function."""
    return {(kind, name): thing for kind, module, attribute, _ in _REGISTRIES
            for name, thing in getattr(sys.modules.get(module), attribute, {}).items()}  # fmt: skip


def _refuse_unusable(source: Source, before: dict[tuple[str, str], Any]) -> None:
    """Take out what a file registered that is no method, network or deployment, and refuse it."""
    for kind, module, attribute, _ in _REGISTRIES:
        registry = getattr(sys.modules.get(module), attribute, {})
        for name, thing in list(registry.items()):
            wanted, old = _NEEDS.get(kind, "__call__"), before.get((kind, name))
            if thing is old or (callable(thing) and hasattr(thing, wanted)):
                continue
            registry.pop(name)
            if old is not None or name in _OURS[kind]:
                registry[name] = catalogue.classes(f"{kind}s")[name] if old is None else old
            expected = f"a class with the function {_NEEDS[kind]}" if kind in _NEEDS else "a class or a function"
            raise InputError(f"{Path(source.path).name} registers {thing!r} as the {kind} {name!r}; expected "
                             f"{expected}")  # fmt: skip


def _refuse_ours() -> None:
    """Put back what a file took the place of, and refuse it: tables would hold both under one name."""
    for kind, module, attribute, _ in _REGISTRIES:
        registry = getattr(sys.modules.get(module), attribute, {})
        for name in _OURS[kind] & set(registry):
            if source := source_of(registry[name]):
                registry[name] = catalogue.classes(f"{kind}s")[name]
                raise InputError(f"{Path(source.path).name} puts a {kind} of its own in place of nvlib's {name!r}; "
                                 "expected a name of its own")  # fmt: skip


def _list(source: Source) -> None:
    """Put into the catalogue what a file registered, in place of what it did before."""
    for labels, name in _listed.pop(source.path, ()):
        labels.pop(name, None)
    for kind, module, attribute, labels in _REGISTRIES:
        for name, thing in getattr(sys.modules.get(module), attribute, {}).items():
            if source_of(thing) != source:
                continue
            if kind == "network":
                shown(source.network(name), source)
            else:
                labels[name] = getattr(thing, "label", name)
                _listed.setdefault(source.path, []).append((labels, name))
