"""Cross-entropy and its gradient in one compiled pass: of a small network, PyTorch's operations take longer to call.

    l = mean_i (log sum_c exp o_ic - o_iy),    g_ic = (softmax(o_i)_c - [c = y_i]) / batch

A diverged member's loss is NaN, as PyTorch has it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from nvlib.native.build import load, machine

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_ssize_t
_SOURCE = r"""
#include <cmath>
#include <cstddef>
#include <cstdint>

extern "C" void entropy(const float* o, const int64_t* y, float* loss, float* g, int64_t* wrong, ptrdiff_t members,
                        ptrdiff_t batch, ptrdiff_t classes) {
  for (ptrdiff_t member = 0; member < members; member++) {
    double sum = 0.;
    for (ptrdiff_t image = 0; image < batch; image++, o += classes, g += classes, y++) {
      if (*y < 0 || *y >= classes) { *wrong = 1; return; }
      float most = o[0], all = 0.f;
      for (ptrdiff_t c = 1; c < classes; c++) most = o[c] > most || o[c] != o[c] ? o[c] : most;
      for (ptrdiff_t c = 0; c < classes; c++) all += g[c] = std::exp(o[c] - most);
      sum += most + std::log(all) - o[*y];
      const float scale = 1.f / (all * batch);
      for (ptrdiff_t c = 0; c < classes; c++) g[c] *= scale;
      g[*y] -= 1.f / batch;
    }
    loss[member] = sum / batch;
  }
}
"""


def cross_entropy(outs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return each member's mean cross-entropy, (members,), and its gradient, like ``outs``.

    Args:
        outs: logits (members, batch, classes), float32 on the CPU, contiguous.
        y: labels (members, batch), int64, from 0 to classes - 1, contiguous.

    Raises:
        IndexError: for other labels.
    """
    members, batch, classes = outs.shape
    loss, slope, wrong = outs.new_empty(members), torch.empty_like(outs), ctypes.c_int64()
    addresses = outs.data_ptr(), y.data_ptr(), loss.data_ptr(), slope.data_ptr()
    _kernel()(*addresses, ctypes.byref(wrong), members, batch, classes)
    if wrong.value:
        raise IndexError(f"labels from {int(y.min())} to {int(y.max())} do not fit {classes} classes")
    return loss, slope


@lru_cache
def _kernel() -> Callable[..., None]:
    pointers = _POINTER, _POINTER, _POINTER, _POINTER, ctypes.POINTER(ctypes.c_int64)
    return load(_SOURCE, machine(), "entropy", (*pointers, _SIZE, _SIZE, _SIZE))
