"""What decides a result: two records, each named by the SHA-256 of its canonical JSON.

`Training` -> weights. `Evaluation` of a training -> samples. A record holds everything that decides the numbers (the
device's own numbers, the data's fingerprint, the version of the semantics) and nothing else: not where it ran, and not
how many chips were evaluated, so that samples grow and more chips never repeat a training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

VERSION = 1  # of the semantics: raised whenever the same record would give other numbers


def canonical(record: object) -> str:
    """Return a record's canonical JSON: sorted keys, no spaces, no NaN."""
    return json.dumps(asdict(record), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(record: object) -> str:
    """Return a record's name: the SHA-256 of its canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical(record).encode()).hexdigest()


@dataclass(frozen=True)
class Training:
    """Everything that decides a training's weights.

    ``device`` holds the device's numbers (`Device.numbers`); ``images`` is how many training images were used. Training
    without noise does not depend on device, sigma_d, reference or mapping: `studies` leaves them empty there.
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
