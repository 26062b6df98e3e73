"""Passes over activations in C++: BatchNorm, ReLU, 2x2 max-pooling and activation quantisers, forward and backward.

Activations are rows of C channels (channels last), float32 or bfloat16; numbers between are float32. PyTorch's kernels
walk such rows a channel's vector at a time, which narrow networks leave mostly empty; here several rows make one
vector. A tensor is cut into blocks of rows whatever the number of threads, and what is summed over rows is summed in
blocks first and over blocks in float64 and in order, so that results do not depend on threads.

    BatchNorm     y = a x + b,  a = w / s,  b = beta - a m,  s^2 = var + eps
                  dx = a (g - mean g - (x - m) mean(g (x - m)) / s^2),  dw = sum g (x - m) / s,  dbeta = sum g
    mean, var     of a block in two passes while it is in the cache; blocks join by Chan's rule,
                  M = M_1 + M_2 + d^2 n_1 n_2 / (n_1 + n_2)
    max-pooling   the gradient goes to the first of the largest, as in PyTorch
    quantiser     q = s round(min(x, top) / s);  dx = g where x <= top
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from nvlib.native.build import load, machine

MOST = 4096  # channels
_BLOCK = 1 << 15  # numbers of a block: within the second cache, with what a pass reads beside it
_P, _S, _F = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_float
_SOURCE = Path(__file__).with_name("passes.cpp")
_ARGUMENTS = {
    "moments": (_P, _S, _S, _S, _S, _S, _P),
    "scaled": (_P, _P, _S, _S, _S, _P),
    "products": (_P, _P, _S, _S, _S, _S, _S, _P, _P),
    "slopes": (_P, _P, _P, _S, _S, _S, _P),
    "pooled": (_P, _P, _S, _S, _S, _S, _S),
    "unpooled": (_P, _P, _P, _P, _S, _S, _S, _S, _S),
    "rectified": (_P, _P, _S, _S),
    "passed": (_P, _P, _P, _S, _S),
    "quantised": (_P, _P, _F, _F, _S, _S),
    "clipped": (_P, _P, _P, _F, _S, _S),
}
_CROPPED = (_P, _P, _P, _P, _P, _S, _S, _S, _S, _S, _S)
_JOINED = (_P, _S, _S, _S, _S, _P, _P, _F, _P, _P)
_RESOLVED = (_P, _S, _S, _S, _P, _P, _P, _P, _P)
_KINDS = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


class Passes:
    """The compiled functions on tensors; a tensor (images, channels, rows, columns) lies channels last."""

    def __init__(self) -> None:
        source = _SOURCE.read_text()

        def get(name: str, arguments: tuple[type, ...]) -> Callable[..., None]:
            return load(source, machine(), name, arguments)

        self._of = {
            kind: {name: get(f"{name}_{word}", arguments) for name, arguments in _ARGUMENTS.items()}
            for kind, word in _KINDS.items()
        }
        self._joined, self._resolved = get("joined", _JOINED), get("resolved", _RESOLVED)
        self._cropped = get("cropped", _CROPPED)

    def crop(self, x: Tensor, top: Tensor, left: Tensor, mirrored: Tensor, pad: int) -> Tensor:
        """Cut images out of their padded selves: (images, channels, height, width) in, the same channels last out.

        Args:
            x: float32, contiguous.
            top: row of the padded image where the cut begins, int64 (images,).
            left: column of it, int64 (images,).
            mirrored: whether it is then mirrored, bool (images,).
            pad: zeros on each side.
        """
        images, channels, height, width = x.shape
        y = x.new_empty((images, height, width, channels)).permute(0, 3, 1, 2)
        at = [t.data_ptr() for t in (x, y, top, left, mirrored)]
        _shared(lambda a, b: self._cropped(*at, channels, height, width, pad, a, b), images, 16)
        return y

    def normalise(self, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Return BatchNorm of ``x``, and (3, channels): mean, unbiased variance, 1 / sqrt(variance + eps)."""
        of, (rows, channels, step, blocks) = self._of[x.dtype], _cut(x)
        part, known = torch.empty(blocks, 2, channels), torch.empty(3, channels)
        ab, y = torch.empty(2, channels), torch.empty_like(x)
        at, into = x.data_ptr(), part.data_ptr()
        _shared(lambda a, b: of["moments"](at, rows, channels, step, a, b, into), blocks)
        self._joined(into, blocks, rows, step, channels, weight.data_ptr(), bias.data_ptr(), eps, known.data_ptr(),
                     ab.data_ptr())  # fmt: skip
        _shared(lambda a, b: of["scaled"](at, y.data_ptr(), a, b, channels, ab.data_ptr()), rows, step)
        return y, known

    def normalise_back(self, x: Tensor, g: Tensor, weight: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of ``x``, weight and bias, from that of the output."""
        of, (rows, channels, step, blocks) = self._of[x.dtype], _cut(x)
        part, mabc = torch.empty(blocks, 2, channels), torch.empty(4, channels)
        d, (dw, dbeta) = torch.empty_like(x), torch.empty(2, channels)
        xs, gs, into = x.data_ptr(), g.data_ptr(), part.data_ptr()
        mean = known.data_ptr()
        _shared(lambda a, b: of["products"](xs, gs, rows, channels, step, a, b, mean, into), blocks)
        self._resolved(into, blocks, rows, channels, weight.data_ptr(), mean, dw.data_ptr(), dbeta.data_ptr(),
                       mabc.data_ptr())  # fmt: skip
        _shared(lambda a, b: of["slopes"](xs, gs, d.data_ptr(), a, b, channels, mabc.data_ptr()), rows, step)
        return d, dw, dbeta

    def pool(self, x: Tensor) -> Tensor:
        """Return the largest of each 2 x 2."""
        images, channels, height, width = x.shape
        y = x.new_empty((images, height // 2, width // 2, channels)).permute(0, 3, 1, 2)
        at = x.data_ptr(), y.data_ptr(), height, width, channels
        _shared(lambda a, b: self._of[x.dtype]["pooled"](*at, a, b), images * (height // 2), height // 2)
        return y

    def pool_back(self, x: Tensor, y: Tensor, g: Tensor) -> Tensor:
        """Return the gradient of ``x`` from that of ``y = pool(x)``."""
        images, channels, height, width = x.shape
        d = torch.empty_like(x)
        at = x.data_ptr(), y.data_ptr(), g.data_ptr(), d.data_ptr(), height, width, channels
        _shared(lambda a, b: self._of[x.dtype]["unpooled"](*at, a, b), images * (height // 2), height // 2)
        return d

    def rectify(self, x: Tensor) -> Tensor:
        """Return max(x, 0)."""
        y = torch.empty_like(x)
        _shared(lambda a, b: self._of[x.dtype]["rectified"](x.data_ptr(), y.data_ptr(), a, b), x.numel(), _BLOCK)
        return y

    def rectify_back(self, y: Tensor, g: Tensor) -> Tensor:
        """Return the gradient of ``x`` from that of ``y = rectify(x)``."""
        d, at = torch.empty_like(y), (y.data_ptr(), g.data_ptr())
        _shared(lambda a, b: self._of[y.dtype]["passed"](*at, d.data_ptr(), a, b), y.numel(), _BLOCK)
        return d

    def quantise(self, x: Tensor, step: float, top: float) -> Tensor:
        """Return step * round(min(x, top) / step)."""
        y, of = torch.empty_like(x), self._of[x.dtype]["quantised"]
        _shared(lambda a, b: of(x.data_ptr(), y.data_ptr(), step, top, a, b), x.numel(), _BLOCK)
        return y

    def quantise_back(self, x: Tensor, g: Tensor, top: float) -> Tensor:
        """Return the gradient straight through where x <= top."""
        d, of = torch.empty_like(x), self._of[x.dtype]["clipped"]
        _shared(lambda a, b: of(x.data_ptr(), g.data_ptr(), d.data_ptr(), top, a, b), x.numel(), _BLOCK)
        return d


@lru_cache(maxsize=1)
def passes() -> Passes:
    """Return the functions for this processor, compiled if need be; Unsupported if they are not to be had."""
    return Passes()


def _cut(x: Tensor) -> tuple[int, int, int, int]:
    """Return rows, channels, rows of a block (whole groups), blocks."""
    channels = x.shape[1]
    rows = x.numel() // channels
    step = max(64, _BLOCK // channels // 64 * 64)
    return rows, channels, step, -(-rows // step)


def _shared(work: Callable[[int, int], object], count: int, least: int = 1) -> None:
    """Do work(from, to) on all of 0 .. count, shared out to PyTorch's number of threads in multiples of ``least``."""
    threads = min(torch.get_num_threads(), -(-count // least))
    if threads == 1:
        work(0, count)
        return
    each = -(-count // threads // least) * least
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda start: work(start, min(start + each, count)), range(0, count, each)))
