"""Modules of a user's own that a file imports: their text is part of what the file is, and that text is what runs.

    collect(file, text)    what a file imports, and what that imports, wherever in it the import stands: beside the
                           file first, then along ``sys.path``; not what comes with Python or a package
    serving(modules)       imports of them give the texts that were read, whatever the files hold by then

What is named at run time alone (``importlib.import_module(name)``) is not seen.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any

from nvlib.errors import InputError


@dataclass(frozen=True)
class LocalModule:
    """A module of a user's own, as it was when it was read.

    Attributes:
        module: its name, as it is imported.
        path: where it lies; of a folder without ``__init__.py`` the folder.
        text: all of it.
        package: whether others lie in it.
    """

    module: str
    path: str
    text: str
    package: bool

    @property
    def relative(self) -> str:
        """Return where it lies as seen from the file that imports it: ``parts/scale.py``."""
        return f"{self.module.replace('.', '/')}{'/__init__' if self.package else ''}.py"


def collect(file: Path, text: str, module: str | None = None) -> tuple[LocalModule, ...]:
    """Return the modules of a user's own that a file imports, by name.

    Args:
        file: where it lies.
        text: of it.
        module: its name, for one of an installed package; others of that package are then the user's own as well.

    Raises:
        InputError: if one of them cannot be read.
    """
    held: dict[str, LocalModule] = {}
    own = module.partition(".")[0] if module else None
    package = file.name == "__init__.py"
    todo = [(text, module or "", package)]
    folders = [str(file.parent), *sys.path] if own is None else list(sys.path)
    while todo:
        for name in _imports(*todo.pop()):
            path = None if name in held or name == module else _locate(name, folders, own)
            if path is None or path == file:
                continue
            held[name] = LocalModule(name, str(path), read(path)[1], path.name == "__init__.py")
            todo.append((held[name].text, name, held[name].package))
    for name in list(held):  # folders without an __init__.py on the way to them
        for upper in _upper(name)[:-1]:
            if upper not in held and upper != module:
                depth = name.count(".") - upper.count(".") + held[name].package
                held[upper] = LocalModule(upper, str(Path(held[name].path).parents[depth - 1]), "", True)
    return tuple(held[name] for name in sorted(held))


def _upper(name: str) -> list[str]:
    """Return a module's name and those of the packages around it, outermost first."""
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


@lru_cache(maxsize=1024)
def _imports(text: str, module: str, package: bool) -> tuple[str, ...]:
    """Return the names that a text may import, with the packages around them."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # whoever runs it says so
        return ()
    here = module if package else module.rpartition(".")[0]
    names: dict[str, None] = {}
    for node in ast.walk(tree):
        given: list[str] = []
        if isinstance(node, ast.Import):
            given = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = here.split(".")[: len(here.split(".")) - node.level + 1] if node.level and here else []
            if node.level and not above:
                continue
            base = ".".join([*above, *([node.module] if node.module else [])])
            given = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in given:
            names.update(dict.fromkeys(_upper(name)))
    return tuple(names)


def _locate(name: str, folders: list[str], own: str | None) -> Path | None:
    """Return the file of a module of a user's own; None for what comes with Python or a package, or is no file."""
    root, *rest = name.split(".")
    if root == "nvlib" or root in sys.stdlib_module_names or root in sys.builtin_module_names:
        return None
    for folder in folders:
        if file := _within(Path(folder).joinpath(root, *rest)):
            return None if root != own and _packaged(file) else file
        if _within(Path(folder, root)):  # found, but has no such part
            return None
    with contextlib.suppress(ImportError, ValueError, AttributeError):  # by a finder of an installation in place
        spec = importlib.util.find_spec(root)
        for top in (spec.submodule_search_locations or ()) if spec else ():
            if (file := _within(Path(top).joinpath(*rest))) and (root == own or not _packaged(file)):
                return file
    return None


def _within(base: Path) -> Path | None:
    """Return the file of a package or module at a path without its ending."""
    return next((file for file in (base / "__init__.py", base.with_name(f"{base.name}.py")) if file.is_file()), None)


def _packaged(file: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(file.parts))


def read(file: Path) -> tuple[bytes, str]:
    """Return the bytes and the text of a Python file; InputError if it has none."""
    try:
        content = file.read_bytes()
        return content, content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); expected a Python file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not text in UTF-8 (byte {error.start}); save it as UTF-8") from None


# -- imports of what was read ----------------------------------------------------------------------------------------


class _Reader(SourceFileLoader):
    """Loads a module from its text as read, never from what Python has kept of an earlier one."""

    def __init__(self, held: LocalModule) -> None:
        super().__init__(held.module, held.path)
        self.held = held

    def get_data(self, path: str) -> bytes:
        return self.held.text.encode()

    def path_stats(self, path: str) -> Any:
        raise OSError  # so that no byte code of it is looked for


class _Finder(MetaPathFinder):
    """Knows the modules that were read, by name: the last that were."""

    def __init__(self) -> None:
        self.held: dict[str, LocalModule] = {}

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        held = self.held.get(name)
        if held is None:
            return None
        if target is not None:  # importlib.reload: what the file holds by now
            return importlib.util.spec_from_file_location(name, held.path) if held.path.endswith(".py") else None
        inner = None
        if held.package:
            inner = [held.path if not held.path.endswith(".py") else str(Path(held.path).parent)]
        return importlib.util.spec_from_file_location(
            name, held.path, loader=_Reader(held), submodule_search_locations=inner
        )


_FINDER = _Finder()


@contextlib.contextmanager
def serving(modules: Iterable[LocalModule]) -> Iterator[None]:
    """Let imports of modules give them as they were read, from now on; after an error as before."""
    modules, before = tuple(modules), dict(_FINDER.held)
    if modules and _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    _FINDER.held |= {each.module: each for each in modules}
    loaded = [(sys.modules[each.module], each) for each in modules if each.module in sys.modules]
    if any(getattr(getattr(module, "__loader__", None), "held", None) != each for module, each in loaded):
        for each in modules:  # all of them: one that stayed as it was may hold parts of another
            sys.modules.pop(each.module, None)
    try:
        yield
    except BaseException:
        _FINDER.held = before
        for each in modules:
            sys.modules.pop(each.module, None)
        raise
