"""Checkpoints: what a training needs to go on, in one file that is replaced whole after every epoch.

Tensors (weights, optimiser state, what a method remembers) lie in it beside the history so far, the trace and the plan;
its own hash tells a damaged one, which is set aside, and the training starts afresh.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from nvlib import store
from nvlib.store import formats

SUFFIX = ".checkpoint.safetensors"


@dataclass
class Checkpoint:
    """How far a pack of trainings is: the loop's state, a history a member, the search's trace, the plan."""

    state: dict[str, Tensor]
    history: list[list[dict[str, Any]]]
    trace: list[dict[str, Any]]
    plan: dict[str, Any]
    spent: float = field(default=0.0)  # seconds

    def save(self, path: Path) -> None:
        """Replace the file, in one piece."""
        notes = {key: getattr(self, key) for key in ("history", "trace", "plan", "spent")}
        text = json.dumps(notes, default=lambda value: value.item())  # numbers of numpy
        store.atomic_write(path, lambda target: formats.write_tensors(self.state, target, {"notes": text}))


def place(runs: Path, pack: Sequence[str]) -> Path:
    """Return where the checkpoint of a pack lies."""
    name = pack[0] if len(pack) == 1 else f"pack-{hashlib.sha256(' '.join(pack).encode()).hexdigest()}"
    return runs / f".{name}{SUFFIX}"


def remove(path: Path) -> None:
    """Delete a checkpoint that is not needed any more, and what kills left of it half written."""
    path.unlink(missing_ok=True)
    store.remove_partial(path.parent, path.name)


def find(runs: Path) -> list[tuple[str, ...]]:
    """Return the packs of several trainings that were begun and have a checkpoint."""
    found = []
    for path in sorted(runs.glob(f".pack-*{SUFFIX}")):
        held = load(path)
        if held is not None:
            found.append(tuple(held.plan["pack"]))
    return found


def load(path: Path, mend: bool = False) -> Checkpoint | None:
    """Return a checkpoint; None if there is none or it is damaged. A forecast only looks.

    Args:
        path: of the file.
        mend: set a damaged one aside, with a warning; only for who holds its runs.
    """
    try:
        data = formats.checked(path.read_bytes())
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return Checkpoint(load_tensors(data), **json.loads(header["__metadata__"]["notes"]))
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, store.Damage, ValueError, KeyError, TypeError) as error:
        if not mend:
            return None
        aside = path.with_name(f"{path.name}.damaged")
        try:
            path.replace(aside)
        except FileNotFoundError:  # another process was quicker
            return None
        said = str(error).strip().splitlines() or [type(error).__name__]
        warnings.warn(f"checkpoint {path} is damaged ({said[0][:100]}); set aside as {aside.name}, "
                      "its training starts afresh", store.Damaged, stacklevel=2)  # fmt: skip
        return None
