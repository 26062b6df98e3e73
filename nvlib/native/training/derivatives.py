"""Derivatives of the element-wise functions of `nvlib.native.pointwise`, as C++ on vectors of images.

`{g}` stands for the gradient of the result, `{r}` for the result, `{0}`, `{1}`, ... for the operands. An entry has one
formula for each operand that may be an activation (in the order of `FORMULAS`); numbers have none.
"""

from __future__ import annotations

DERIVATIVES: dict[str, tuple[str, ...]] = {
    "relu": ("({r} > 0.f ? {g} : all(0.f))",),
    "neg": ("(-{g})",),
    "abs": ("({0} > 0.f ? {g} : {0} < 0.f ? -{g} : all(0.f))",),
    "exp": ("({g} * {r})",),
    "sqrt": ("({g} * 0.5f / {r})",),
    "square": ("({g} * 2.f * {0})",),
    "tanh": ("({g} * (1.f - {r} * {r}))",),
    "sigmoid": ("({g} * {r} * (1.f - {r}))",),
    "silu": ("({g} * (sigmoid({0}) * (1.f + {0} * (1.f - sigmoid({0})))))",),
    "gelu": (
        "({g} * (0.5f * (1.f + erf_({0} * 0.70710678f)) + {0} * 0.39894228f * exp_(-0.5f * {0} * {0})))",
    ),
    "hardsigmoid": ("({0} > -3.f ? ({0} < 3.f ? {g} / 6.f : all(0.f)) : all(0.f))",),
    "hardswish": ("({0} < -3.f ? all(0.f) : {0} <= 3.f ? {g} * ({0} / 3.f + 0.5f) : {g})",),
    "leaky_relu": ("({0} > 0.f ? {g} : {g} * {1})",),
    "elu": ("({0} > 0.f ? {g} * {2} : {g} * {3} * ({r} + {1} * {2}))",),
    "softplus": ("({0} * {1} > {2} ? {g} : {g} * sigmoid({0} * {1}))",),
    "add": ("{g}", "{g}"),
    "sub": ("{g}", "(-{g})"),
    "rsub": ("(-{g})", "{g}"),
    "mul": ("({g} * {1})", "({g} * {0})"),
    "div": ("({g} / {1})", "(-{g} * {r} / {1})"),
    # PyTorch halves the gradient where both are equal, but for a number (clamp), where it passes it whole
    "minimum": ("({0} < {1} ? {g} : {0} == {1} ? {g} * SHARE : all(0.f))", "({1} < {0} ? {g} : {0} == {1} ? {g} * SHARE : all(0.f))"),
    "maximum": ("({0} > {1} ? {g} : {0} == {1} ? {g} * SHARE : all(0.f))", "({1} > {0} ? {g} : {0} == {1} ? {g} * SHARE : all(0.f))"),
}
