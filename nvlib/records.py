"""What decides a result: three records, each named by the SHA-256 of its canonical JSON.

`Training` -> weights. `Evaluation` of a training -> samples. `Analysis` of any of these -> tables. A record holds
everything that decides the numbers (the device's own numbers, the data's fingerprint, the version of the semantics) and
nothing else: not where it ran, and not how many chips were evaluated, so that samples grow and more chips never repeat
a training.

A record's JSON is written once and for all: the keys of version 1 always, whatever they hold. A field that came later
is declared with `later`, in a record or in anything that goes into one (a method, a deployment, a recipe, a device), at
any depth, and is left out wherever it holds its default. So what is added changes no name of what there is.

>>> from nvlib import records
>>> one = records.Analysis("theory", ("f9ba0a10",), {"k": 1})
>>> records.digest(one)[:16]  # its name in the store
'399207cb8b707fa1'
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

VERSION = 1  # of the semantics: raised whenever the same record would give other numbers


def later(default: Any = MISSING, *, default_factory: Callable[[], Any] | Any = MISSING, since: int = 2) -> Any:
    """Declare a field of a dataclass that came after version 1: no key in a record where it holds its default.

    Args:
        default: the value that stands for how things were before the field; or
        default_factory: a function that makes it.
        since: the release of the format that brought the field.
    """
    return field(default=default, default_factory=default_factory, metadata={"since": since})


def values(record: DataclassInstance) -> dict[str, Any]:
    """Return a dataclass as a record holds it: by field, at any depth; later fields only where they are used."""
    found = {f.name: getattr(record, f.name) for f in fields(record)}
    return {f.name: _plain(found[f.name]) for f in fields(record) if not _left_out(f, found[f.name])}


def _left_out(f: Field, value: object) -> bool:
    if f.metadata.get("since", 1) == 1:
        return False
    default = f.default_factory() if f.default_factory is not MISSING else f.default
    return value == default and isinstance(value, bool) == isinstance(default, bool)


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return values(value)
    if isinstance(value, Mapping):
        return {key: _plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(held) for held in value)
    return value


def canonical(record: DataclassInstance) -> str:
    """Return a record's canonical JSON: sorted keys, no spaces, no NaN."""
    return json.dumps(values(record), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(record: DataclassInstance) -> str:
    """Return a record's name: the SHA-256 of its canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical(record).encode()).hexdigest()


@dataclass(frozen=True)
class Training:
    """Everything that decides a training's weights.

    ``device`` holds the device's numbers (`Device.numbers`); ``images`` is how many training images were used. Training
    without noise does not depend on device, sigma_d, reference, mapping or range: `studies` leaves them empty there.
    ``code`` is the digest of a method of one's own (`nvlib.code`).
    """

    network: str
    width: float
    dataset: str
    fingerprint: str
    images: int
    method: str
    parameters: Mapping[str, Any]
    device: Mapping[str, Any] | None
    sigma_d: float
    reference: str | None
    mapping: str | None
    bits: int
    activation_bits: int
    epochs: int
    recipe: Mapping[str, Any]
    seed: int
    kind: str = "training"
    version: int = VERSION
    code: str | None = later(None)  # SHA-256 of a method's code that is not nvlib's own
    precision: str = later("float32")
    range: str = later("max")  # that its forwards quantised to (`nvlib.ranges`)
    effects: tuple[Mapping[str, Any], ...] = later(())  # that its noisy forwards met, as in an evaluation


@dataclass(frozen=True)
class Evaluation:
    """Everything that decides an evaluation's samples, but for last bits, which the recorded plan decides.

    ``deployment`` is what each chip undergoes before it is scored: a method's name and all its parameters, or None.
    """

    training: str
    device: Mapping[str, Any]
    sigma_d: float
    reference: str
    mapping: str
    bits: int
    images: int
    deployment: Mapping[str, Any] | None
    seed: int
    kind: str = "evaluation"
    version: int = VERSION
    range: str = later("max")  # what the largest level stands for (`nvlib.ranges`)
    effects: tuple[Mapping[str, Any], ...] = later(())  # what befalls cells: each one's text, and all its numbers
    periphery: str = later("")  # tiles, converters, wires (`nvlib.array`)


@dataclass(frozen=True)
class Analysis:
    """Everything that decides an analysis' tables.

    ``analysis`` names what is done, ``of`` the runs that it is done to (their hashes, in order; none for one that
    trains by itself), ``parameters`` all else in plain JSON values.
    """

    analysis: str
    of: tuple[str, ...]
    parameters: Mapping[str, Any]
    kind: str = "analysis"
    version: int = VERSION
