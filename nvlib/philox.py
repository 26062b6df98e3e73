"""Random numbers that depend on nothing but their names: Philox4x32-10, counter-based.

A draw is addressed, not produced in sequence. The key is the seed (64 bits); the 128-bit counter holds
(element // 4, index, hash of the stream's name), and each evaluation gives four 32-bit words:

    counter = (block, index, name_lo, name_hi),    word j of block b  ->  element 4 b + j

So number ``element`` of draw ``index`` of ``name`` under ``seed`` is the same whatever the batch, the chunk,
the number of threads or workers, the order of asking or the backend. The arithmetic is 32-bit integers held in
int64 (products wrap modulo 2^64 and lose nothing), hence exact on CPU and CUDA alike. On a CPU with a C++ compiler
the same numbers come from compiled code (`nvlib.native.philox`), fifteen to forty times as fast; else, from here.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

>>> from nvlib import philox
>>> alone, many = philox.uniform(0, 5, "w", 3), philox.uniform(0, range(8), "w", 3)
>>> bool((alone == many[5]).all())
True
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from nvlib.errors import InputError, whole
from nvlib.native.philox import Kernel, kernel

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF
_PASS = {"cpu": 1 << 15, "cuda": 1 << 24}  # blocks a pass: within a core's cache, or enough to fill a GPU
_COMPILING = 0.5  # seconds that compiling takes or so
_spent = 0.0  # seconds that this process has drawn without compiled code


def words(key: tuple[int | Tensor, int | Tensor], counter: list[Tensor]) -> list[Tensor]:
    """Apply Philox4x32-10.

    Args:
        key: two 32-bit integers, or int64 tensors of them that broadcast with the counter.
        counter: four int64 tensors of one shape holding 32-bit values.

    Returns:
        Four int64 tensors of the same shape holding 32-bit values.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = (p1 >> 32).bitwise_and_(_MASK).bitwise_xor_(c1).bitwise_xor_(k0)
        c2 = (p0 >> 32).bitwise_and_(_MASK).bitwise_xor_(c3).bitwise_xor_(k1)
        c1, c3 = p1.bitwise_and_(_MASK), p0.bitwise_and_(_MASK)
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return [c0, c1, c2, c3]


def check_seed(seed: int) -> int:
    """Return ``seed`` if it is an integer in [0, 2^64), else raise InputError."""
    try:
        return whole("seed", seed, 0, (1 << 64) - 1)
    except InputError:
        raise InputError(f"seed {seed!r} is not usable; expected an integer from 0 to 2**64 - 1") from None


def uniform(
    seed: int | Sequence[int], index: int | Sequence[int], name: str, size: int, device: str | torch.device = "cpu"
) -> Tensor:
    """Draw uniform numbers in the open interval (0, 1), a row a draw.

    Args:
        seed: which family of draws, 0 .. 2^64 - 1; or one a row.
        index: which draw of the family, 0 .. 2^32 - 1; or one a row.
        name: which stream of a draw (a tensor's name); streams of different names are independent.
        size: numbers a row.
        device: where to compute.

    Returns:
        float64 tensor (rows, size); a row depends on its (seed, index, name) only.

    Raises:
        InputError: for a seed or an index outside its range.
    """
    seeds = [check_seed(s) for s in (seed if isinstance(seed, Sequence) else [seed])]
    indices = [int(i) for i in (index if isinstance(index, Sequence) else [index])]
    rows = max(len(seeds), len(indices))
    if {len(seeds), len(indices)} - {1, rows} or not (seeds and indices):
        raise InputError(f"{len(seeds)} seeds and {len(indices)} draw indices do not pair; expected equal lengths")
    if not (min(indices) >= 0 and max(indices) <= _MASK):
        raise InputError(f"draw index {min(indices)}..{max(indices)} is out of range; expected 0 to 2**32 - 1")
    indices *= rows // len(indices)
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    stream = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")
    out = torch.empty(rows, 4 * -(-size // 4), dtype=torch.float64, device=device)
    _fill(out, seeds, indices, stream)
    return out[:, :size]


def _fill(out: Tensor, seeds: list[int], indices: list[int], stream: tuple[int, int]) -> None:
    """Write draws into ``out`` (rows, 4 blocks), compiling once that is no more than what was spent without."""
    global _spent
    if out.device.type != "cpu":
        return _compute(out, seeds, indices, stream)
    compiled = _compiled(_spent > _COMPILING)
    if compiled is not None:
        return compiled.fill(out, seeds, indices, stream)
    began = time.perf_counter()
    _compute(out, seeds, indices, stream)
    _spent += time.perf_counter() - began


@lru_cache
def _compiled(make: bool) -> Kernel | None:
    """Return compiled code (``make``: compile it if need be) that draws what PyTorch draws; None if there is none."""
    try:
        found = kernel(make=make)
    except Exception:  # no compiler, no cache, a full disk: it costs time, not the result
        return None
    seeds, indices, stream = [0x0123456789ABCDEF, (1 << 64) - 1], [_MASK, 7], (0xFEDCBA98, 0x76543210)
    got, expected = torch.zeros(2, 4 * 37, dtype=torch.float64), torch.empty(2, 4 * 37, dtype=torch.float64)
    found.fill(got, seeds, indices, stream)
    _compute(expected, seeds, indices, stream)
    return found if torch.equal(got, expected) else None


def _compute(out: Tensor, seeds: list[int], indices: list[int], stream: tuple[int, int]) -> None:
    """Write draws into ``out`` (rows, 4 blocks) by PyTorch's operations, on any device."""
    device, blocks = out.device, out.shape[1] // 4
    total, a_pass = len(indices) * blocks, _PASS["cuda" if device.type == "cuda" else "cpu"]
    flat_out = out.view(total, 4)
    keys = torch.tensor([[s & _MASK, s >> 32] for s in seeds], dtype=torch.int64, device=device)
    draws = torch.tensor(indices, dtype=torch.int64, device=device)
    for start in range(0, total, a_pass):
        flat = torch.arange(start, min(start + a_pass, total), dtype=torch.int64, device=device)
        row = flat // blocks
        low, high = (seeds[0] & _MASK, seeds[0] >> 32) if len(seeds) == 1 else keys[row].unbind(1)
        counter = [flat - row * blocks, draws[row], *(torch.full_like(flat, word) for word in stream)]
        for j, word in enumerate(words((low, high), counter)):
            flat_out[start : start + len(flat), j] = word
    out.add_(0.5).mul_(2.0**-32)


def normal(
    seed: int | Sequence[int], index: int | Sequence[int], name: str, size: int, device: str | torch.device = "cpu"
) -> Tensor:
    """Draw standard normal numbers: the normal quantile of `uniform`, in float64 (rows, size)."""
    return torch.special.ndtri(uniform(seed, index, name, size, device))
