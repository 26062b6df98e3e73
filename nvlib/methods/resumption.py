"""What a training is of, so that it is not gone on with as another one.

A checkpoint holds a number for each of the method, the crossbar (with its sigma_d), the seeds, the recipe and the
training images; a call that differs in one of them is not the training that the checkpoint began. How many epochs there
are, and where and by which way it runs, may change.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nvlib.conditions import Crossbar
from nvlib.data import Dataset
from nvlib.errors import InputError

PARTS = ("method", "crossbar or sigma_d", "seed", "recipe", "training images")


def digests(
    method: object, crossbar: Crossbar, sigmas: Sequence[float], seeds: Sequence[int], recipe: object, data: Dataset
) -> Tensor:
    """Return a number for each of `PARTS`, int64."""
    split = data.train
    images = f"{data.fingerprint} {tuple(split.x.shape)} {tuple(split.x[:1].flatten()[:256].tolist())}"
    parts = [f"{type(method).__qualname__} {method!r}", f"{crossbar!r} {sigmas!r}", f"{seeds!r}", f"{recipe!r}", images]
    found = [hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", part).encode()) for part in parts]  # places in memory
    found[-1].update(torch.as_tensor(split.y).cpu().contiguous().numpy().tobytes())
    return torch.tensor([int.from_bytes(each.digest()[:8], "big", signed=True) for each in found])


def check(state: Mapping[str, Tensor], of: Tensor | None) -> None:
    """Refuse a state that is none, or one of another training; InputError says what differs."""
    if not isinstance(state, Mapping):
        raise InputError(f"resume is a {type(state).__name__}; expected the state of an earlier record: record.state")
    begun = state.get("of")
    if begun is None or of is None:  # of before there were digests
        return
    if other := [part for part, a, b in zip(PARTS, begun.tolist(), of.tolist(), strict=True) if a != b]:
        raise InputError(f"resume holds a training with another {other[0]}; expected the call that it came from (to "
                         "train on from its weights otherwise, pass them as the model: record.model())")  # fmt: skip
