"""Checkpoints: what a training needs to go on, in one file that is replaced whole after every epoch.

Tensors (weights, optimiser state, what a method remembers) lie in it beside the history so far, the trace and the plan;
its own SHA-256 tells a damaged one, which is set aside, and the training starts afresh.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nvlib import store

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
        metadata = {"notes": text, "sha256": _sum(self.state, text)}
        store.write_whole(path, lambda target: save_file(self.state, target, metadata))


def place(runs: Path, pack: Sequence[str]) -> Path:
    """Return where the checkpoint of a pack lies."""
    name = pack[0] if len(pack) == 1 else f"pack-{hashlib.sha256(' '.join(pack).encode()).hexdigest()}"
    return runs / f".{name}{SUFFIX}"


def remove(path: Path) -> None:
    """Delete a checkpoint that is not needed any more, and what kills left of it half written."""
    path.unlink(missing_ok=True)
    store.sweep(path.parent, path.name)


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
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}
            metadata = file.metadata() or {}
        notes = json.loads(metadata["notes"])
        if metadata["sha256"] != _sum(state, metadata["notes"]):
            raise ValueError("its contents do not have the checksum that it names")
        return Checkpoint(state, **notes)
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
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


def _sum(state: Mapping[str, Tensor], notes: str) -> str:
    """Return the SHA-256 of tensors and notes."""
    found = hashlib.sha256(notes.encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b"")
    return found.hexdigest()
