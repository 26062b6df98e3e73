"""Uniform numbers to noise to weights in one compiled pass, for training on CPUs.

    u (Philox)  ->  z = clamp(Phi^-1(scale u + shift), low, high)  ->  s sign(w) (v_n + sigma spread_n z)

for each element: quantise w to n levels of s = max|w| / (2^M - 1), draw, perturb. In PyTorch's operations this is a
dozen passes over float64 tensors. The uniform numbers are those of `nvlib.philox`, rounded to float32 with 1 - u beside
them. Phi^-1 is Wichura's
PPND7 (algorithm AS 241, Applied Statistics 37, 1988) in float32, within 2e-6 (1 + |z|) of the float64 quantile
(tested); a training's noise needs no more, and programmed chips never come from here.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable, Sequence
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
enum { WIDE = 2 * LANES, MANY = 512 };  // a register's floats: wider vectors are taken apart, lane by lane
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

// Of two vectors at a time, step by step, so that neither waits for its own last result.
#define BOTH(...) for (int v = 0; v < 2; v++) { __VA_ARGS__; }

// The natural logarithm of normal positive numbers (Cephes' logf).
static inline void logarithm(floats a[2]) {
  floats m[2], k[2], z[2], y[2];
  BOTH(ints bits = (ints)a[v], e = (bits >> 23) - 126; m[v] = (floats)((bits & 0x7fffff) | 0x3f000000);
       const ints low = m[v] < 0.707106781186547524f; e = low ? e - 1 : e; m[v] = (low ? m[v] + m[v] : m[v]) - 1.f;
       k[v] = __builtin_convertvector(e, floats))
  BOTH(z[v] = m[v] * m[v]; y[v] = m[v] * 7.0376836292e-2f - 1.1514610310e-1f)
  BOTH(y[v] = y[v] * m[v] + 1.1676998740e-1f) BOTH(y[v] = y[v] * m[v] - 1.2420140846e-1f)
  BOTH(y[v] = y[v] * m[v] + 1.4249322787e-1f) BOTH(y[v] = y[v] * m[v] - 1.6668057665e-1f)
  BOTH(y[v] = y[v] * m[v] + 2.0000714765e-1f) BOTH(y[v] = y[v] * m[v] - 2.4999993993e-1f)
  BOTH(y[v] = y[v] * m[v] + 3.3333331174e-1f)
  BOTH(a[v] = m[v] + (y[v] * m[v] * z[v] - 2.12194440e-4f * k[v] - 0.5f * z[v]) + 0.693359375f * k[v])
}

// STEP blocks of words in order; two of them are the halves of 64 bits, the lower one first
static inline void words(int* out, u64 block, u32 index, u32 low, u32 high, u32 k0, u32 k1) {
  vec c[GROUPS][4];
  rounds(c, block, index, low, high, k0, k1);
  for (int g = 0; g < GROUPS; g++) {
    u64 pairs[2][LANES], *to = (u64*)out + 2 * g * LANES;
    for (int j = 0; j < 2; j++) {
      const vec both = (c[g][2 * j] & 0xFFFFFFFFull) | (c[g][2 * j + 1] << 32);
      __builtin_memcpy(pairs[j], &both, sizeof both);
    }
    for (int lane = 0; lane < LANES; lane++) {
      to[2 * lane] = pairs[0][lane];
      to[2 * lane + 1] = pairs[1][lane];
    }
  }
}

// (w + 1/2) 2^-32 of whole numbers w without sign, to float32's relative precision
static inline floats share(ints w) {
  const ints high = (w >> 16) & 0xFFFF, low = w & 0xFFFF;
  const floats sum = __builtin_convertvector(high, floats) * 65536.f + (__builtin_convertvector(low, floats) + 0.5f);
  return sum * 2.3283064365386963e-10f;
}

// Phi^-1 of p, given with 1 - p, so that neither tail is lost; instead of p.
static inline void quantile(floats p[2], const floats rest[2]) {
  floats q[2], r[2], above[2], below[2], centre[2];
  BOTH(const ints lower = p[v] < rest[v]; q[v] = lower ? p[v] - 0.5f : 0.5f - rest[v]; p[v] = lower ? p[v] : rest[v];
       r[v] = 0.180625f - q[v] * q[v])
  BOTH(above[v] = 5.9109374720e+1f * r[v] + 1.5929113202e+2f; below[v] = 6.7187563600e+1f * r[v] + 7.8757757664e+1f)
  BOTH(above[v] = above[v] * r[v] + 5.0434271938e+1f; below[v] = below[v] * r[v] + 1.7895169469e+1f)
  BOTH(above[v] = above[v] * r[v] + 3.3871327179f; below[v] = below[v] * r[v] + 1.f)
  BOTH(centre[v] = q[v] * above[v] / below[v]; p[v] = p[v] < 1.17549435e-38f ? every(1.17549435e-38f) : p[v])
  logarithm(p);
  BOTH(r[v] = root(-p[v]) - 1.6f)
  BOTH(above[v] = 1.7023821103e-1f * r[v] + 1.3067284816f; below[v] = 1.2021132975e-1f * r[v] + 7.3700164250e-1f)
  BOTH(above[v] = above[v] * r[v] + 2.7568153900f; below[v] = below[v] * r[v] + 1.f)
  BOTH(above[v] = (above[v] * r[v] + 1.4234372777f) / below[v]; above[v] = q[v] < 0.f ? -above[v] : above[v];
       p[v] = (q[v] < -0.425f) | (q[v] > 0.425f) ? above[v] : centre[v])
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
  const float wide = scale, first = shift, last = 1.0 - scale - shift;
  const float s = peak / top, divisor = s > 0.f ? s : 1.f, size_of_noise = s * sigma;
  for (size start = 0; start < numbers; start += MANY) {
    alignas(64) int drawn[MANY];
    alignas(64) float noise[MANY];
    for (int k = 0; draw && k < MANY && start + k < numbers; k += 4 * STEP)
      words(drawn + k, (start + k) / 4, index, name_low, name_high, seed, seed >> 32);
    for (int k = 0; draw && k < MANY && start + k < numbers; k += 2 * WIDE) {
      floats p[2], rest[2];
      BOTH(const ints w = *(const ints*)(drawn + k + v * WIDE); p[v] = share(w) * wide + first;
           rest[v] = share(~w) * wide + last)
      quantile(p, rest);
      BOTH(*(floats*)(noise + k + v * WIDE) = p[v] < low ? every(low) : p[v] > high ? every(high) : p[v])
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
        floats z = *(const floats*)(noise + at);
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
def _kernel() -> Callable[..., None]:
    try:
        return load(PHILOX + _SOURCE, machine(), "perturb", _ARGUMENTS)
    except Unsupported:
        raise
    except Exception as error:  # a full disk, a broken compiler: it costs time, not the result
        raise Unsupported(f"{type(error).__name__}: {error}") from error
