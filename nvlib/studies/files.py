"""A study in a small file, TOML or YAML: its keys are those of `Study`, a lone value is an axis of one.

network = "lenet"                       methods = ["none", "gaussian", "trice"]
sigma_d = [0.0, 0.1, 0.2]               seeds = [0, 1, 2]
epochs = 10                             chips = 400
deployments = ["none", "write_verify"]
[recipe]                                [parameters.trice]
lr = 1e-3                               n_train = 100
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from nvlib.errors import InputError
from nvlib.studies.study import Study

SUFFIXES = (".toml", ".yaml", ".yml")
_INT = "tag:yaml.org,2002:int"
_WHOLE = re.compile(r"[-+]?\d+(_\d+)*$")
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")


def read(study: Study | Mapping[str, Any] | str | PathLike[str]) -> Study:
    """Return a study: itself, of plain values, or from a file.

    Raises:
        InputError: for what is none, or cannot be used.
    """
    if isinstance(study, str | PathLike):
        return load(study)
    if isinstance(study, Study):
        return study
    if not isinstance(study, Mapping):
        raise InputError(f"study={study!r} is none; expected an nvlib.Study, its values by name, or a file")
    return Study.of(study)


def load(path: str | PathLike[str]) -> Study:
    """Read a study from a file.

    Raises:
        InputError: for a file that is not there or cannot be parsed, an unknown key or a value that cannot be used.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: expected the file of a study to end in {', '.join(SUFFIXES)}")
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise InputError(f"no study at {path}; expected a .toml or .yaml file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); expected a text file") from None
    values = _toml(path, text) if path.suffix == ".toml" else _yaml(path, text)
    try:
        return Study.of(values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not TOML: {error}") from None


def _yaml(path: Path, text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML 1.1 takes 1e-3 for a text, 010 for 8 and 1:30 for 90; here numbers are what they look like."""

        yaml_implicit_resolvers: ClassVar = {
            first: [held for held in known if held[0] != _INT]
            for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            """Return a table; YAML takes the last value of a key that is there twice."""
            keys = [key.value for key, _ in node.value]
            if twice := {str(key) for key in keys if keys.count(key) > 1}:
                raise InputError(f"{path}: {', '.join(sorted(twice))} is there twice; expected each key once")
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    Loader.add_implicit_resolver(_INT, _WHOLE, list("-+0123456789"))
    Loader.add_constructor(_INT, lambda loader, node: int(node.value))
    try:
        return yaml.load(text, Loader) or {}  # a safe loader: plain values only
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
