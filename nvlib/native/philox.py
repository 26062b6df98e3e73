"""Philox4x32-10 in C++, the draws of `nvlib.philox` to the bit: blocks innermost, one a lane of 64 bits.

    p_0, p_1 = M_0 c_0, M_1 c_2;   c = (hi p_1 ^ c_1 ^ k_0, lo p_1, hi p_0 ^ c_3 ^ k_1, lo p_0),   ten times

A product of 32-bit numbers is one instruction on the lower halves of lanes, which takes no notice of the upper ones;
"lo" therefore costs nothing, and the upper halves hold rubbish until the words are read. A word w becomes

    (w + 1/2) 2^-32 = (1 + w 2^-32 + 2^-33) - 1,

where the bracket's bits are those of 1.0 with w and a one below it in the fraction (32 + 1 of its 52 bits): exact, as
is the difference. Only addresses of numbers come in, so that a call depends on nothing beside it.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from nvlib.native.build import load, machine

_ARGUMENTS = (
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_void_p),  # out; seeds and their stride; indices
    *(ctypes.c_ssize_t, ctypes.c_ssize_t, ctypes.c_uint32, ctypes.c_uint32),  # rows, blocks; the stream's name
)
SOURCE = """
typedef unsigned int u32;
typedef unsigned long long u64;
typedef __PTRDIFF_TYPE__ size;
#if defined(__AVX512F__)
enum { LANES = 8 };
#elif defined(__AVX2__)
enum { LANES = 4 };
#else
enum { LANES = 2 };
#endif
enum { GROUPS = 2, STEP = LANES * GROUPS };  // two groups hide each other's latency
typedef u64 vec __attribute__((vector_size(8 * LANES)));
typedef double real __attribute__((vector_size(8 * LANES)));

// products of the lower halves of lanes; not every compiler sees that the upper ones need no multiplying
#if defined(__AVX512F__)
#include <immintrin.h>
static inline vec product(vec a, u64 b) { return (vec)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(b)); }
#elif defined(__AVX2__)
#include <immintrin.h>
static inline vec product(vec a, u64 b) { return (vec)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b)); }
#else
static inline vec product(vec a, u64 b) { return (a & 0xFFFFFFFFull) * b; }
#endif

// STEP blocks from `block` on: four words each, the upper halves of lanes rubbish
static inline void rounds(vec c[GROUPS][4], u64 block, u32 index, u32 low, u32 high, u32 k0, u32 k1) {
  for (int g = 0; g < GROUPS; g++) {
    for (int lane = 0; lane < LANES; lane++) c[g][0][lane] = block + g * LANES + lane;
    c[g][1] = vec{} + index;
    c[g][2] = vec{} + low;
    c[g][3] = vec{} + high;
  }
  for (int round = 0; round < 10; round++) {
    for (int g = 0; g < GROUPS; g++) {
      const vec p0 = product(c[g][0], 0xD2511F53u), p1 = product(c[g][2], 0xCD9E8D57u);
      c[g][0] = (p1 >> 32) ^ c[g][1] ^ k0;
      c[g][2] = (p0 >> 32) ^ c[g][3] ^ k1;
      c[g][1] = p1;
      c[g][3] = p0;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// the same as 4 STEP numbers
static inline void step(double* out, u64 block, u32 index, u32 low, u32 high, u32 k0, u32 k1) {
  vec c[GROUPS][4];
  rounds(c, block, index, low, high, k0, k1);
  for (int g = 0; g < GROUPS; g++) {
    double numbers[4][LANES];
    for (int j = 0; j < 4; j++) {
      const vec bits = ((c[g][j] << 32) >> 12) | 0x3FF0000000080000ull;
      const real number = (real)bits - 1.0;
      __builtin_memcpy(numbers[j], &number, sizeof number);
    }
    for (int lane = 0; lane < LANES; lane++)
      for (int j = 0; j < 4; j++) out[4 * (g * LANES + lane) + j] = numbers[j][lane];
  }
}

extern "C" void uniform(
    double* out, const u64* seeds, size stride, const u64* indices, size rows, size blocks, u32 low, u32 high) {
  for (size row = 0; row < rows; row++, out += 4 * blocks) {
    const u64 seed = seeds[stride * row], index = indices[row];
    size block = 0;
    for (; block + STEP <= blocks; block += STEP) step(out + 4 * block, block, index, low, high, seed, seed >> 32);
    if (block < blocks) {
      double rest[4 * STEP];
      step(rest, block, index, low, high, seed, seed >> 32);
      __builtin_memcpy(out + 4 * block, rest, 4 * sizeof(double) * (blocks - block));
    }
  }
}
"""


@dataclass(frozen=True)
class Kernel:
    """Compiled code."""

    function: Callable[..., None]

    def fill(self, out: Tensor, seeds: Sequence[int], indices: Sequence[int], stream: tuple[int, int]) -> None:
        """Write draws into ``out``, a row each.

        Args:
            out: float64 (rows, 4 blocks) on the CPU, contiguous.
            seeds: one, or one a row.
            indices: one a row.
            stream: the last two words of the counter.
        """
        rows, numbers = out.shape
        if len(seeds) not in (1, rows) or len(indices) != rows or numbers % 4 or not out.is_contiguous():
            raise ValueError(f"{len(seeds)} seeds and {len(indices)} indices do not fit {tuple(out.shape)}")
        keys, draws = array("Q", seeds), array("Q", indices)
        stride = int(len(seeds) > 1)
        addresses = out.data_ptr(), keys.buffer_info()[0], stride, draws.buffer_info()[0]
        self.function(*addresses, rows, numbers // 4, *stream)


def kernel(*, make: bool) -> Kernel:
    """Return the kernel for this processor, compiled if need be and ``make`` allows it.

    Raises:
        Unsupported: if it is not to be had.
    """
    return Kernel(load(SOURCE, machine(), "uniform", _ARGUMENTS, make=make))
