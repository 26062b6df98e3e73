"""Functions that work element by element: their name in PyTorch, and the C++ that computes them on a vector of images.

`{0}`, `{1}`, ... stand for the operands, in the order of the operator's arguments given here; the helpers that formulas
call (``largest``, ``round_``, ...) are in `PRELUDE`. Where PyTorch lets NaN pass, so do these: a network that
overflowed must not look sound.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Formula:
    """C++ on vectors, and which of the operator's arguments are operands."""

    text: str
    arguments: tuple[str, ...] = ("self",)
    mask: bool = False


_TWO = ("self", "other")

FORMULAS: dict[str, Formula] = {
    "relu": Formula("largest({0}, all(0.f))"),
    "neg": Formula("(-{0})"),
    "abs": Formula("largest({0}, -{0})"),
    "exp": Formula("exp_({0})"),
    "sqrt": Formula("sqrt_({0})"),
    "rsqrt": Formula("(1.f / sqrt_({0}))"),
    "square": Formula("({0} * {0})"),
    "round": Formula("round_({0})"),
    "floor": Formula("floor_({0})"),
    "ceil": Formula("(-floor_(-{0}))"),
    "tanh": Formula("tanh_({0})"),
    "sigmoid": Formula("sigmoid({0})"),
    "silu": Formula("({0} * sigmoid({0}))"),
    "gelu": Formula("({0} * 0.5f * (1.f + erf_({0} * 0.70710678f)))"),
    "gelu_tanh": Formula("({0} * 0.5f * (1.f + tanh_(0.79788456f * ({0} + 0.044715f * {0} * {0} * {0}))))"),
    "mish": Formula("({0} * tanh_(log1p_(exp_({0}))))"),
    "hardsigmoid": Formula("(smallest(largest({0} + 3.f, all(0.f)), all(6.f)) / 6.f)"),
    "hardswish": Formula("({0} * smallest(largest({0} + 3.f, all(0.f)), all(6.f)) / 6.f)"),
    "leaky_relu": Formula("({0} > 0.f ? {0} : {0} * {1})", ("self", "negative_slope")),
    "elu": Formula(
        "({0} > 0.f ? {0} * {2} : {1} * {2} * expm1_({0} * {3}))", ("self", "alpha", "scale", "input_scale")
    ),
    "selu": Formula("(1.05070098f * ({0} > 0.f ? {0} : 1.67326324f * expm1_({0})))"),
    "softplus": Formula("({0} * {1} > {2} ? {0} : log1p_(exp_({0} * {1})) / {1})", ("self", "beta", "threshold")),
    "add": Formula("({0} + {1})", _TWO),
    "sub": Formula("({0} - {1})", _TWO),
    "rsub": Formula("({1} - {0})", _TWO),
    "mul": Formula("({0} * {1})", _TWO),
    "div": Formula("({0} / {1})", _TWO),
    "minimum": Formula("smallest({0}, {1})", _TWO),
    "maximum": Formula("largest({0}, {1})", _TWO),
    "scale_shift": Formula("({0} * {1} + {2})"),  # batch normalisation, once its statistics are two constants
    "gt": Formula("({0} > {1})", _TWO, mask=True),
    "ge": Formula("({0} >= {1})", _TWO, mask=True),
    "lt": Formula("({0} < {1})", _TWO, mask=True),
    "le": Formula("({0} <= {1})", _TWO, mask=True),
    "where": Formula("({0} ? {1} : {2})", ("condition", "self", "other")),
    "to_float": Formula("({0} ? all(1.f) : all(0.f))"),
}

PRELUDE = r"""
#include <cmath>
#include <cstddef>

// One vector holds the same activation of LANES images.
typedef float vec __attribute__((vector_size(LANES * 4)));

static inline const vec& load(const float* from) { return *(const vec*)from; }
static inline void store(float* to, vec a) { *(vec*)to = a; }
static inline vec all(float a) { return a - (vec){}; }
static inline vec largest(vec a, vec b) { return (a < b) | (b != b) ? b : a; }   // NaN wins
static inline vec smallest(vec a, vec b) { return (b < a) | (b != b) ? b : a; }

#define LANE_BY_LANE(name, expression) \
  vec name(vec a) { \
    vec r; \
    for (int i = 0; i < LANES; i++) { float x = a[i]; r[i] = (expression); } \
    return r; \
  }
static inline LANE_BY_LANE(round_, std::nearbyint(x))
static inline LANE_BY_LANE(floor_, std::floor(x))
static inline LANE_BY_LANE(sqrt_, std::sqrt(x))

// These call the C library for each lane; as calls themselves they keep the code small.
#define APART static __attribute__((noinline))
APART LANE_BY_LANE(exp_, std::exp(x))
APART LANE_BY_LANE(expm1_, std::expm1(x))
APART LANE_BY_LANE(log1p_, std::log1p(x))
APART LANE_BY_LANE(tanh_, std::tanh(x))
APART LANE_BY_LANE(erf_, std::erf(x))
APART LANE_BY_LANE(sigmoid, 1.f / (1.f + std::exp(-x)))
"""
