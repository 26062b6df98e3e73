"""Uniform numbers to noise to weights in one compiled pass, for training on CPUs.

    u (Philox)  ->  z = clamp(Phi^-1(scale u + shift), low, high)  ->  s sign(w) (v_n + sigma spread_n z)

for each element: quantise w to n levels of s = max|w| / (2^M - 1), draw, perturb. In PyTorch's operations this is a
dozen passes over float64 tensors. The uniform numbers are those of `nvlib.philox` to the bit. Phi^-1 is Wichura's
PPND7 (algorithm AS 241, Applied Statistics 37, 1988) in float32, within 2e-6 (1 + |z|) of the float64 quantile
(tested); a training's noise needs no more, and programmed chips never come from here.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from nvlib.native.build import load, machine
from nvlib.native.graph import Unsupported
from nvlib.native.philox import SOURCE as PHILOX

_FLOATS, _SIZE = ctypes.c_void_p, ctypes.c_ssize_t
_ARGUMENTS = (
    *(_FLOATS, _FLOATS, _SIZE),  # out, w, numbers
    *(ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32),  # seed, index, the stream's name
    *(ctypes.c_int, ctypes.c_double, ctypes.c_double, ctypes.c_float, ctypes.c_float),  # draw?; the law
    *(ctypes.c_float, ctypes.c_float, ctypes.c_float, _FLOATS, _FLOATS, ctypes.c_int),  # sigma, top, deviation; tables
)
_SOURCE = r"""
#include <cmath>
enum { WIDE = 2 * LANES, MANY = 4 * STEP };  // a register's floats: wider vectors are taken apart, lane by lane
typedef float floats __attribute__((vector_size(4 * WIDE)));
typedef float loose __attribute__((vector_size(4 * WIDE), aligned(4)));
typedef int ints __attribute__((vector_size(4 * WIDE)));

static inline floats every(float a) { return a - (floats){}; }
static inline floats root(floats a) {
  floats r;
  for (int i = 0; i < WIDE; i++) r[i] = std::sqrt(a[i]);
  return r;
}
static inline floats nearest(floats a) {
  floats r;
  for (int i = 0; i < WIDE; i++) r[i] = std::nearbyint(a[i]);
  return r;
}

static inline floats taken(const float* table, ints at) {
#if defined(__AVX512F__)
  return (floats)_mm512_i32gather_ps((__m512i)at, table, 4);
#elif defined(__AVX2__)
  return (floats)_mm256_i32gather_ps(table, (__m256i)at, 4);
#else
  floats r;
  for (int i = 0; i < WIDE; i++) r[i] = table[at[i]];
  return r;
#endif
}

// The natural logarithm of normal positive numbers (Cephes' logf).
static inline floats logarithm(floats a) {
  ints bits = (ints)a, e = (bits >> 23) - 126;
  floats m = (floats)((bits & 0x7fffff) | 0x3f000000);
  const ints low = m < 0.707106781186547524f;
  e = low ? e - 1 : e;
  m = (low ? m + m : m) - 1.f;
  const floats k = __builtin_convertvector(e, floats), z = m * m;
  floats y = every(7.0376836292e-2f);
  y = y * m - 1.1514610310e-1f; y = y * m + 1.1676998740e-1f; y = y * m - 1.2420140846e-1f;
  y = y * m + 1.4249322787e-1f; y = y * m - 1.6668057665e-1f; y = y * m + 2.0000714765e-1f;
  y = y * m - 2.4999993993e-1f; y = y * m + 3.3333331174e-1f;
  return m + (y * m * z - 2.12194440e-4f * k - 0.5f * z) + 0.693359375f * k;
}

// of p - 1/2 and min(p, 1 - p), which are rounded from float64
static inline floats quantile(floats q, floats tail) {
  floats r = 0.180625f - q * q;
  const floats centre = q * (((5.9109374720e+1f * r + 1.5929113202e+2f) * r + 5.0434271938e+1f) * r + 3.3871327179f) /
      (((6.7187563600e+1f * r + 7.8757757664e+1f) * r + 1.7895169469e+1f) * r + 1.f);
  r = root(-logarithm(tail < 1.17549435e-38f ? every(1.17549435e-38f) : tail)) - 1.6f;
  const floats side = (((1.7023821103e-1f * r + 1.3067284816f) * r + 2.7568153900f) * r + 1.4234372777f) /
      ((1.2021132975e-1f * r + 7.3700164250e-1f) * r + 1.f);
  return (q < -0.425f) | (q > 0.425f) ? (q < 0.f ? -side : side) : centre;
}

extern "C" void perturb(
    float* out, const float* w, size numbers, u64 seed, u32 index, u32 name_low, u32 name_high, int draw, double scale,
    double shift, float low, float high, float sigma, float top, float deviation, const float* value,
    const float* spread, int conductance) {
  floats most = {};
  size i = 0;
  for (; i + WIDE <= numbers; i += WIDE) {
    const floats a = *(const loose*)(w + i), b = a < 0.f ? -a : a;
    most = (most < b) | (b != b) ? b : most;  // NaN stays
  }
  float peak = 0.f;
  for (int lane = 0; lane < WIDE; lane++) peak = peak < most[lane] || most[lane] != most[lane] ? most[lane] : peak;
  for (; i < numbers; i++) { const float b = std::fabs(w[i]); peak = peak < b || b != b ? b : peak; }
  const float s = peak / top, divisor = s > 0.f ? s : 1.f, size_of_noise = s * sigma;
  for (size start = 0; start < numbers; start += MANY) {
    alignas(64) float centred[MANY], tail[MANY];
    if (draw) {
      alignas(64) double u[MANY];
      step(u, start / 4, index, name_low, name_high, seed, seed >> 32);
      for (int k = 0; k < MANY; k++) {
        const double p = u[k] * scale + shift;
        centred[k] = p - 0.5;
        tail[k] = p < 0.5 ? p : 1.0 - p;
      }
    }
    for (size at = 0; at < MANY && start + at < numbers; at += WIDE) {
      const size left = numbers - start - at < WIDE ? numbers - start - at : WIDE;
      floats a = {};
      if (left == WIDE) a = *(const loose*)(w + start + at);
      else for (size k = 0; k < left; k++) a[k] = w[start + at + k];
      floats n = nearest(a / divisor);
      n = n < -top ? every(-top) : n > top ? every(top) : n;
      floats level = n, deviates = every(deviation);
      if (value || spread) {
        const ints digit = __builtin_convertvector(n < 0.f ? -n : n == n ? n : every(0.f), ints);
        if (value) level = taken(value, digit);
        if (spread) deviates = taken(spread, digit);
        if (value) level = a < 0.f ? -level : a != a ? a : level;
      }
      floats held = s * level;
      if (draw) {
        floats z = quantile(*(const floats*)(centred + at), *(const floats*)(tail + at));
        z = z < low ? every(low) : z > high ? every(high) : z;
        if (conductance) z = a < 0.f ? -z : z;
        held += size_of_noise * deviates * z;
      }
      if (left == WIDE) *(loose*)(out + start + at) = held;
      else for (size k = 0; k < left; k++) out[start + at + k] = held[k];
    }
  }
}
"""


@dataclass(frozen=True)
class Draw:
    """Which uniform numbers become which noise: their address, and the law's quantile function.

    Attributes:
        seeds: one a member.
        index: of the draw.
        name: of the stream.
        law: (scale, shift, low, high): z = clamp(Phi^-1(scale u + shift), low, high).
        conductance: whether a law's right is where conductance grows, not the weight.
    """

    seeds: Sequence[int]
    index: int
    name: str
    law: tuple[float, float, float, float]
    conductance: bool = False


def perturb(
    w: Tensor, bits: int, value: Tensor | None, deviation: Tensor, sigma: Sequence[float], draw: Draw | None
) -> Tensor:
    """Return weights quantised and perturbed.

    Args:
        w: clean weights (members, ...), float32 on the CPU, contiguous.
        bits: M.
        value: what level n reads, in units of s, (2^M,) float32; None: n.
        deviation: likewise of its deviation; one number if all are alike.
        sigma: one a member.
        draw: None: quantised only.

    Returns:
        Tensor like ``w``, without a graph.

    Raises:
        Unsupported: if this cannot be done here.
    """
    if w.device.type != "cpu" or w.dtype != torch.float32 or not w.is_contiguous():
        raise Unsupported("weights that are not contiguous float32 on the CPU")
    function, out = _kernel(), torch.empty_like(w)
    law = draw.law if draw else (1.0, 0.0, 0.0, 0.0)
    name = _words(draw.name if draw else "")
    one = 0.0 if deviation.ndim else float(deviation)
    tables = [None if t is None or not t.ndim else t.data_ptr() for t in (value, deviation)]
    numbers, to, of = w.stride(0) if len(w) > 1 else w.numel(), out.data_ptr(), w.data_ptr()
    for member in range(len(w)):
        seed, index = (draw.seeds[member], draw.index) if draw else (0, 0)
        function(
            to + 4 * numbers * member, of + 4 * numbers * member, numbers, seed, index, *name, draw is not None, *law,
            sigma[member], float(2**bits - 1), one, *tables, bool(draw and draw.conductance),
        )  # fmt: skip
    return out


@lru_cache(maxsize=1024)
def _words(name: str) -> tuple[int, int]:
    """Return the two words of a counter that name a stream."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


@lru_cache
def _kernel() -> ctypes._CFuncPtr:
    try:
        return load(PHILOX + _SOURCE, machine(), "perturb", _ARGUMENTS)
    except Unsupported:
        raise
    except Exception as error:  # a full disk, a broken compiler: it costs time, not the result
        raise Unsupported(f"{type(error).__name__}: {error}") from error
