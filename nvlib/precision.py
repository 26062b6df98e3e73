"""In which arithmetic a network's products are taken: float32, or a shorter word that hardware multiplies faster.

    float32   24 significant bits
    tf32      factors of 11 significant bits, sums in float32               (NVIDIA GPUs from Ampere on)
    bf16      factors and kept activations of 8 significant bits, sums in float32
                                                    (CPUs with AVX-512 BF16, AMX or Arm's BF16; the same GPUs)

What is short are the factors of convolutions and linear layers, and the activations between them. Weights, their
noise and their gradients, the optimiser's state, BatchNorm's statistics, the ranges of activation quantisers, and the
loss are float32 whatever the word. A training in another word is another training; an evaluation's word is part of its
plan. Hardware that would only emulate a word is refused: it is slower there than float32.

>>> from nvlib import precision
>>> precision.check("float32")
'float32'
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator

import torch

from nvlib.errors import InputError, unknown

PRECISIONS = ("float32", "tf32", "bf16")
_AMPERE = (8, 0)  # compute capability


def check(precision: str, on: str | torch.device = "cpu") -> str:
    """Return a precision that a machine computes in.

    Args:
        precision: one of `PRECISIONS`.
        on: where, ``cpu`` or ``cuda``.

    Raises:
        InputError: for an unknown word, or one that the hardware has no instructions for.
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if not supported(precision, on):
        what = "the GPU" if torch.device(on).type == "cuda" else "the processor"
        has = "an NVIDIA GPU of compute capability 8.0 or more" + (
            "" if precision == "tf32" else ", or a CPU with AVX-512 BF16, AMX or Arm's BF16"
        )
        raise InputError(f"precision={precision!r}, but {what} here multiplies no such numbers; expected {has}; "
                         "or use precision='float32'")  # fmt: skip
    return precision


def supported(precision: str, on: str | torch.device = "cpu") -> bool:
    """Whether the hardware has instructions for a precision; a GPU that is not here is taken to have them."""
    if precision == "float32":
        return True
    if torch.device(on).type == "cuda":
        return not torch.cuda.is_available() or torch.cuda.get_device_capability(on) >= _AMPERE
    return precision == "bf16" and _cpu_multiplies_bf16()


def _cpu_multiplies_bf16() -> bool:
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


@contextlib.contextmanager
def products(precision: str, on: str | torch.device) -> Iterator[None]:
    """Let a GPU take float32 products in TF32 for a while, or forbid it; a CPU is as it is."""
    if torch.device(on).type != "cuda":
        yield
        return
    word = "tf32" if precision == "tf32" else "ieee"  # by default cuDNN's convolutions would be TF32
    switches = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]  # added at import
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = word
        yield
    finally:
        for switch, held in zip(switches, before, strict=True):
            switch.fp32_precision = held


def casting(precision: str, on: str | torch.device) -> torch.autocast:
    """Return the context in which layers run in a precision; in float32 whatever is around it."""
    return torch.autocast(torch.device(on).type, torch.bfloat16, enabled=precision == "bf16")
