"""C++ of the layers that are neither convolution, linear nor BatchNorm, over one block of images, forwards and backwards.

    pooling      the largest of a window (its place is kept), or the mean
    pointwise    a formula of `nvlib.native.pointwise`, its derivative from `derivatives`
    quantiser    q = s round(min(x, R) / s), s = R / (2^H - 1), R = R + 0.1 (max x - R) over the batch; g_x = g [x <= R]

A function works on one block; numbers of a batch are kept as vectors (a lane an image) or, once known, as numbers.
Lanes beyond the batch's last image are kept out of a maximum by ``valid``, a vector of ones and zeros. BatchNorm is in
`norms`.
"""

from __future__ import annotations

from nvlib.native.graph import Pointwise, Pool
from nvlib.native.layout import Buffer
from nvlib.native.pointwise import FORMULAS
from nvlib.native.training.derivatives import DERIVATIVES
from nvlib.native.training.graph import Quantiser


def everywhere(shape: tuple[int, int, int], lines: list[str]) -> str:
    """Return loops over channels, rows and columns."""
    channels, rows, columns = shape
    inner = "\n        ".join(lines)
    return f"""for (int channel = 0; channel < {channels}; channel++)
    for (int row = 0; row < {rows}; row++)
      for (int column = 0; column < {columns}; column++) {{
        {inner}
      }}"""


AT = ("channel", "row", "column")


def write(gradient: Buffer, pointer: str, text: str, accumulate: bool, at: tuple[str, str, str] = AT) -> str:
    """Return the line that stores or adds a gradient."""
    place = f"{pointer} + {gradient.at(*at)}"
    return f"store({place}, {f'load({place}) + ' if accumulate else ''}{text});"


# -- pooling ---------------------------------------------------------------------------------------------------------


def pool_forward(pool: Pool, source: Buffer, result: Buffer) -> str:
    """C++: (x, y, which)."""
    (height, width), (down, right), (top, left) = pool.kernel, pool.stride, pool.padding
    at = source.at("channel", "y_", "x_")
    largest = pool.kind == "max"
    take = f"load(x + {at})"
    body = (
        f"{{ const vec value = {take}; const ints more = (value > best) | (value != value); "
        "best = more ? value : best; where = more ? where * 0 + place : where; }"
        if largest
        else f"best += {take};"
    )
    lines = [
        f"vec best = all({'-INFINITY' if largest else '0.f'}); ints where = {{}}; int place = 0;",
        f"for (int y_ = row * {down} - {top}, end_y = y_ + {height}; y_ < end_y; y_++)",
        f"  for (int x_ = column * {right} - {left}, end_x = x_ + {width}; x_ < end_x; x_++, place++)",
        f"    if (y_ >= 0 && y_ < {source.value.rows} && x_ >= 0 && x_ < {source.value.columns}) {body}",
    ]
    keep = f"((ints*)which)[(channel * {result.value.rows} + row) * {result.value.columns} + column] = where;"
    done = [keep] if largest else [f"best = best / {float(height * width)!r}f;"]
    lines += [*done, f"store(y + {result.at(*AT)}, best);"]
    return f"static void KERNEL(const float* x, float* y, int* which) {{\n  {everywhere(result.value.shape, lines)}\n}}"


def pool_backward(pool: Pool, gradient: Buffer, of_source: Buffer, accumulate: bool) -> str:
    """C++: (g, which, gx)."""
    (height, width), (down, right), (top, left) = pool.kernel, pool.stride, pool.padding
    place = f"gx + {of_source.at('channel', 'y_', 'x_')}"
    share = "where == place ? value : all(0.f)" if pool.kind == "max" else f"value / {float(height * width)!r}f"
    where = f"((const ints*)which)[(channel * {pool.result.rows} + row) * {pool.result.columns} + column]"
    lines = [
        f"const vec value = load(g + {gradient.at(*AT)}); int place = 0;",
        f"const ints where = {where};" if pool.kind == "max" else "",
        f"for (int y_ = row * {down} - {top}, end_y = y_ + {height}; y_ < end_y; y_++)",
        f"  for (int x_ = column * {right} - {left}, end_x = x_ + {width}; x_ < end_x; x_++, place++)",
        f"    if (y_ >= 0 && y_ < {pool.source.rows} && x_ >= 0 && x_ < {pool.source.columns})",
        f"      store({place}, load({place}) + ({share}));",
    ]
    zero = "" if accumulate else everywhere(pool.source.shape, [f"store(gx + {of_source.at(*AT)}, all(0.f));"])
    return f"""static void KERNEL(const float* g, const int* which, float* gx) {{
  {zero}
  {everywhere(pool.result.shape, lines)}
}}"""


# -- element by element ----------------------------------------------------------------------------------------------


def pointwise_forward(operation: Pointwise, sources: list[Buffer], result: Buffer) -> str:
    """C++: (x_0, x_1, ..., y), an x an operand that is an activation."""
    names = iter(range(len(sources)))
    operands = [f"all({o!r}f)" if isinstance(o, float) else f"load(x_{(n := next(names))} + {sources[n].at(*AT)})"
                for o in operation.operands]  # fmt: skip
    lines = [f"store(y + {result.at(*AT)}, {FORMULAS[operation.function].text.format(*operands)});"]
    given = ", ".join(f"const float* x_{n}" for n in range(len(sources)))
    return f"static void KERNEL({given}, float* y) {{\n  {everywhere(result.value.shape, lines)}\n}}"


def pointwise_backward(
    operation: Pointwise, sources: list[Buffer], result: Buffer, gradient: Buffer, to: list[Buffer], accumulate: list[bool]
) -> str:
    """C++: (x_0, ..., y, g, gx_0, ...)."""
    names, operands, wanted = iter(range(len(sources))), [], []
    for number, operand in enumerate(operation.operands):
        if isinstance(operand, float):
            operands.append(f"all({operand!r}f)")
        else:
            n = next(names)
            operands.append(f"load(x_{n} + {sources[n].at(*AT)})")
            wanted.append((n, DERIVATIVES[operation.function][number]))
    share = "1.f" if len(wanted) < len(operands) else "0.5f"
    lines = [f"const vec g_ = load(g + {gradient.at(*AT)});", f"const vec y_ = load(y + {result.at(*AT)});"]
    for n, text in wanted:
        lines.append(f"const vec d_{n} = {text.format(*operands, g='g_', r='y_').replace('SHARE', share)};")
    lines += [write(to[n], f"gx_{n}", f"d_{n}", accumulate[n]) for n, _ in wanted]
    given = ", ".join(
        [*(f"const float* x_{n}" for n in range(len(sources))), "const float* y", "const float* g",
         *(f"float* gx_{n}" for n in range(len(sources)))]
    )  # fmt: skip
    return f"static void KERNEL({given}) {{\n  {everywhere(result.value.shape, lines)}\n}}"


# -- quantisers of activations ---------------------------------------------------------------------------------------


def quantiser_peak(source: Buffer, relu: bool) -> str:
    """C++: (x, valid, peak): the largest of the batch so far, a lane an image."""
    x = f"load(x + {source.at(*AT)})"
    lines = [f"most = largest(most, {f'largest({x}, all(0.f))' if relu else x});"]
    return f"""static void KERNEL(const float* x, vec valid, float* peak) {{
  vec most = all(-INFINITY);
  {everywhere(source.value.shape, lines)}
  store(peak, largest(load(peak), valid != 0.f ? most : all(-INFINITY)));
}}"""


def quantiser_range(quantiser: Quantiser) -> str:
    """C++: (range, state): state holds the peak's lanes; step and top are left in their place."""
    return f"""static void KERNEL(float* range, float* state) {{
  float peak = state[0];
  for (int lane = 1; lane < LANES; lane++) peak = peak < state[lane] || state[lane] != state[lane] ? state[lane] : peak;
  const float known = *range > 0.f ? *range + {quantiser.momentum!r}f * (peak - *range) : peak;
  *range = known;
  state[0] = known > 0.f ? known / {float(2**quantiser.bits - 1)!r}f : 9.5367431640625e-07f;
  state[1] = known > 0.f ? known : INFINITY;
}}"""


def quantiser_forward(quantiser: Quantiser, source: Buffer, result: Buffer, relu: bool) -> str:
    """C++: (x, state, y)."""
    x = f"load(x + {source.at(*AT)})"
    lines = [
        f"vec value = {f'largest({x}, all(0.f))' if relu else x};",
        "value = value > top ? top : value;",
        f"store(y + {result.at(*AT)}, round_(value / step) * step);",
    ]
    return f"""static void KERNEL(const float* x, const float* state, float* y) {{
  const vec step = all(state[0]), top = all(state[1]);
  {everywhere(quantiser.source.shape, lines)}
}}"""


def quantiser_backward(source: Buffer, gradient: Buffer, to: Buffer, relu: bool, accumulate: bool) -> str:
    """C++: (x, state, g, gx)."""
    inside = "(value > 0.f) & (value <= top)" if relu else "value <= top"
    lines = [
        f"const vec value = load(x + {source.at(*AT)});",
        write(to, "gx", f"({inside} ? load(g + {gradient.at(*AT)}) : all(0.f))", accumulate),
    ]
    return f"""static void KERNEL(const float* x, const float* state, const float* g, float* gx) {{
  const vec top = all(state[1]);
  {everywhere(source.value.shape, lines)}
}}"""
