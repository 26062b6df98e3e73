"""What chips scored, and whether a run goes on from what another one scored.

Samples hold a digest of all that decides them but seed and index, so that a run cannot go on from another's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from nvlib import modules, statistics
from nvlib.cards import bars, card
from nvlib.code import contents
from nvlib.conditions import Crossbar
from nvlib.data import Split
from nvlib.errors import InputError
from nvlib.population import Plan
from nvlib.rounding import Rounding
from nvlib.statistics import Estimate

_LARGE = 1 << 20  # bytes of a tensor from which its digest is of sums


@dataclass(frozen=True)
class Samples:
    """What chips scored: one entry a chip.

    Attributes:
        index: which draws, (chips,) int.
        accuracy: percent, (chips,).
        loss: mean cross-entropy in nats, (chips,).
        ekl: mean -ln p_label over correct predictions in nats, (chips,).
        seed: the family of draws.
        plan: how they were run.
        estimate: what ``until`` waited for, with an interval that allows for the looks (those of `mean` and `kpp` do
            not); None without ``until``.
        rounding: how far its precision is off float32; None where that is float32.
        of: digest of the model, the images and the conditions; "" where it is not known.

    Example:
        >>> import nvlib, numpy
        >>> acc = numpy.array([98.0, 97.0, 99.0])
        >>> samples = nvlib.Samples(numpy.arange(3), acc, 0 * acc, 0 * acc)
        >>> print(samples.mean())
        98.00 [95.52, 100.48], n = 3
    """

    index: np.ndarray
    accuracy: np.ndarray
    loss: np.ndarray
    ekl: np.ndarray
    seed: int = 0
    plan: Plan | None = field(default=None, compare=False)
    estimate: Estimate | None = field(default=None, compare=False)
    rounding: Rounding | None = field(default=None, compare=False)
    of: str = field(default="", compare=False)

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(self.index)

    def _repr_html_(self) -> str:
        """Return them as a notebook shows them: how many, mean and first percentile, and their histogram."""
        if not len(self):
            return card("Samples", {"chips": 0})
        counts, _ = np.histogram(self.accuracy, bins=24)
        rows = {"chips": f"{len(self):,} of seed {self.seed}"}
        for name, e in (("mean (%)", self.mean()), ("1st percentile (%)", self.kpp())):
            limits = e.note if e.low is None else f"[{e.low:.2f}, {e.high:.2f}]"
            rows[name] = f"{e.value:.2f} {limits}".strip()
        span = f"{self.accuracy.min():.2f} to {self.accuracy.max():.2f} %"
        return card("Samples", rows | {"accuracy": span}, bars(counts.tolist(), f"chips by accuracy, {span}"))

    def mean(self, of: str = "accuracy", confidence: float = 0.95) -> Estimate:
        """Return the mean over chips with its t interval."""
        return statistics.mean(getattr(self, of), confidence)

    def kpp(self, k: float = 1, confidence: float = 0.95) -> Estimate:
        """Return the accuracy that all but k % of chips exceed, with its distribution-free interval."""
        return statistics.kpp(self.accuracy, k, confidence)

    def head(self, chips: int) -> Samples:
        """Return the first ``chips`` of them."""
        index, accuracy, loss, ekl = (getattr(self, c)[:chips] for c in ("index", "accuracy", "loss", "ekl"))
        return Samples(index, accuracy, loss, ekl, self.seed, self.plan, of=self.of)

    @staticmethod
    def join(parts: list[Samples]) -> Samples:
        """Concatenate samples of one family, in order; the plan is the last one's, which memory has held."""
        index, accuracy, loss, ekl = (
            np.concatenate([getattr(p, c) for p in parts]) for c in ("index", "accuracy", "loss", "ekl")
        )
        return Samples(index, accuracy, loss, ekl, parts[0].seed, parts[-1].plan, of=parts[0].of)


class Interrupted(KeyboardInterrupt):
    """A run was interrupted; ``samples`` holds the chips that were finished.

    Example:
        >>> import nvlib, numpy
        >>> one = numpy.array([98.0])
        >>> nvlib.Interrupted(nvlib.Samples(numpy.array([0]), one, one, one)).samples.accuracy
        array([98.])
    """

    def __init__(self, samples: Samples) -> None:
        super().__init__(f"interrupted; {len(samples)} chips are finished: go on with resume=error.samples")
        self.samples = samples


def identity(model: nn.Module, split: Split, crossbar: Crossbar, calibration: Tensor | None = None) -> str:
    """Return the digest of all that decides samples, but for seed and index: model, images, conditions."""
    plain = vars(nn.Module())
    parts: list[object] = [type(effect) for effect in crossbar.effects]
    for name, part in model.named_modules():  # what it computes: code, settings and hooks
        own = {k: v for k, v in vars(part).items() if k not in plain and not k.startswith("_flat_weight")}
        hooks = (*part._forward_pre_hooks.values(), *part._forward_hooks.values())
        parts.append((name, type(part), own, hooks))
    found = hashlib.sha256(f"{type(model).__qualname__} {crossbar!r} {contents(parts)}".encode())
    tensors = {**modules.state(model), "images": split.x, "labels": split.y,
               "calibration": calibration}  # fmt: skip
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor):
            held = tensor.detach().cpu().contiguous()
            found.update(f"{name} {tuple(held.shape)} {held.dtype}".encode())
            held = held.reshape(-1).view(torch.uint8)
            found.update((_condensed(held) if held.numel() > _LARGE else held).numpy().data)
    return found.hexdigest()


def _condensed(data: Tensor) -> Tensor:
    """Return sums of products of each 4,096 bytes with random odd numbers, modulo 2^64: a fifth of SHA-256's time.

    Two data sets that differ have the same sums by a chance of some 2^-63.
    """
    data = data.clone() if data.storage_offset() % 8 else data  # words of 64 bits start at whole ones
    rest = data.numel() % 4096
    whole = data[: data.numel() - rest].view(torch.int64).view(-1, 512)
    factors = torch.randint(-(2**62), 2**62, (512,), generator=torch.Generator().manual_seed(0)) * 2 + 1
    return torch.cat([torch.mv(whole, factors).view(torch.uint8), data[data.numel() - rest :]])


def continued(samples: Samples, first: int, seed: int, of: str) -> Samples:
    """Return samples to go on from; InputError if they do not begin what is asked for."""
    if samples.of and samples.of != of:
        raise InputError("resume holds chips of another model, other images or other conditions (device, sigma_d, "
                         "bits, ...); expected those of the call that it came from")  # fmt: skip
    if samples.seed != seed or not np.array_equal(samples.index, np.arange(first, first + len(samples))):
        raise InputError(
            f"resume holds {len(samples)} chips of seed {samples.seed} that are not the first ones asked for; "
            f"expected chips {first}, {first + 1}, ... of seed {seed}"
        )
    return samples
