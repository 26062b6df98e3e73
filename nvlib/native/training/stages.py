"""C++ of the layers that are neither convolution nor linear, over one block of images, forwards and backwards.

    pooling      the largest of a window (its place is kept), or the mean
    pointwise    a formula of `nvlib.native.pointwise`, its derivative from `derivatives`
    quantiser    q = s round(min(x, R) / s), s = R / (2^H - 1), R = R + 0.1 (max x - R) over the batch; g_x = g [x <= R]
    BatchNorm    y = (x - m) / d * w + b;   g_x = w / d (g - mean g - h mean(g h)),  h = (x - m) / d

A function works on one block; numbers of a batch are kept as vectors (a lane an image) or, once known, as numbers.
Lanes beyond the batch's last image are kept out of sums by ``valid``, a vector of ones and zeros.
"""

from __future__ import annotations

from nvlib.native.graph import Pointwise, Pool
from nvlib.native.layout import Buffer
from nvlib.native.pointwise import FORMULAS
from nvlib.native.training.derivatives import DERIVATIVES
from nvlib.native.training.graph import BatchNorm, Quantiser


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


# -- BatchNorm -------------------------------------------------------------------------------------------------------
# state: for each channel a vector of sums, then a vector of squares; then means, then 1 / deviations, as numbers


def norm_sums(norm: BatchNorm, source: Buffer, squares: bool) -> str:
    """C++: (x, valid, state): adds x, or the squares of its distances from the mean."""
    channels, rows, columns = norm.source.shape
    value = f"load(x + {source.at(*AT)})"
    add = f"{{ const vec d = {value} - mean; sum += d * d; }}" if squares else f"sum += {value};"
    offset = channels if squares else 0
    mean = f"const vec mean = all(state[{2 * channels} * LANES + channel]);" if squares else ""
    return f"""static void KERNEL(const float* x, vec valid, float* state) {{
  for (int channel = 0; channel < {channels}; channel++) {{
    vec sum = all(0.f);
    {mean}
    for (int row = 0; row < {rows}; row++)
      for (int column = 0; column < {columns}; column++) {add}
    float* to = state + ({offset} + channel) * LANES;
    store(to, load(to) + sum * valid);
  }}
}}"""


def norm_mean(norm: BatchNorm, images: int) -> str:
    """C++: (state)."""
    channels, rows, columns = norm.source.shape
    return f"""static void KERNEL(float* state) {{
  for (int channel = 0; channel < {channels}; channel++)
    state[{2 * channels} * LANES + channel] = total(load(state + channel * LANES)) / {float(images * rows * columns)!r}f;
}}"""


def norm_statistics(norm: BatchNorm, images: int) -> str:
    """C++: (state, running mean, running variance): either running one may be null."""
    channels, rows, columns = norm.source.shape
    count = images * rows * columns
    m = norm.momentum
    return f"""static void KERNEL(float* state, float* mean, float* variance) {{
  for (int channel = 0; channel < {channels}; channel++) {{
    const float squares = total(load(state + ({channels} + channel) * LANES));
    const float m = state[{2 * channels} * LANES + channel], v = squares / {float(count)!r}f;
    state[{2 * channels} * LANES + {channels} + channel] = 1.f / std::sqrt(v + {norm.eps!r}f);
    if (mean) mean[channel] = {1 - m!r}f * mean[channel] + {m!r}f * m;
    if (variance) variance[channel] = {1 - m!r}f * variance[channel] + {m!r}f * (squares / {float(max(1, count - 1))!r}f);
  }}
}}"""


def norm_forward(norm: BatchNorm, source: Buffer, result: Buffer) -> str:
    """C++: (x, state, w, b, y): w and b may be null."""
    channels, rows, columns = norm.source.shape
    return f"""static void KERNEL(const float* x, const float* state, const float* w, const float* b, float* y) {{
  for (int channel = 0; channel < {channels}; channel++) {{
    const float m = state[{2 * channels} * LANES + channel], d = state[{2 * channels} * LANES + {channels} + channel];
    const vec mean = all(m), scale = all(d * (w ? w[channel] : 1.f)), shift = all(b ? b[channel] : 0.f);
    for (int row = 0; row < {rows}; row++)
      for (int column = 0; column < {columns}; column++)
        store(y + {result.at(*AT)}, (load(x + {source.at(*AT)}) - mean) * scale + shift);
  }}
}}"""


def norm_gradient_sums(norm: BatchNorm, source: Buffer, gradient: Buffer) -> str:
    """C++: (x, state, g, sums): sums hold for each channel a vector of g, then a vector of g h."""
    channels, rows, columns = norm.source.shape
    return f"""static void KERNEL(const float* x, const float* state, const float* g, float* sums) {{
  for (int channel = 0; channel < {channels}; channel++) {{
    const float m = state[{2 * channels} * LANES + channel], d = state[{2 * channels} * LANES + {channels} + channel];
    const vec mean = all(m), scale = all(d);
    vec sum = load(sums + channel * LANES), with_h = load(sums + ({channels} + channel) * LANES);
    for (int row = 0; row < {rows}; row++)
      for (int column = 0; column < {columns}; column++) {{
        const vec value = load(g + {gradient.at(*AT)});
        sum += value;
        with_h += value * ((load(x + {source.at(*AT)}) - mean) * scale);
      }}
    store(sums + channel * LANES, sum);
    store(sums + ({channels} + channel) * LANES, with_h);
  }}
}}"""


def norm_gradient_totals(norm: BatchNorm) -> str:
    """C++: (sums, gw, gb): totals are left in the first lanes; gw and gb may be null."""
    channels = norm.source.channels
    return f"""static void KERNEL(float* sums, float* gw, float* gb) {{
  for (int channel = 0; channel < {channels}; channel++) {{
    float *a = sums + channel * LANES, *b = sums + ({channels} + channel) * LANES;
    *a = total(load(a));
    *b = total(load(b));
    if (gb) gb[channel] = *a;
    if (gw) gw[channel] = *b;
  }}
}}"""


def norm_backward(
    norm: BatchNorm, source: Buffer, gradient: Buffer, to: Buffer, images: int, accumulate: bool
) -> str:
    """C++: (x, state, w, g, sums, valid, gx)."""
    channels, rows, columns = norm.source.shape
    count = float(images * rows * columns)
    line = write(
        to, "gx", f"(load(g + {gradient.at(*AT)}) - g_mean - (load(x + {source.at(*AT)}) - mean) * h_mean) * scale * valid",
        accumulate,
    )  # fmt: skip
    return f"""static void KERNEL(
    const float* x, const float* state, const float* w, const float* g, const float* sums, vec valid, float* gx) {{
  for (int channel = 0; channel < {channels}; channel++) {{
    const float m = state[{2 * channels} * LANES + channel], d = state[{2 * channels} * LANES + {channels} + channel];
    const vec mean = all(m), scale = all(d * (w ? w[channel] : 1.f)), g_mean = all(sums[channel * LANES] / {count!r}f),
              h_mean = all(sums[({channels} + channel) * LANES] / {count!r}f * d);
    for (int row = 0; row < {rows}; row++)
      for (int column = 0; column < {columns}; column++) {line}
  }}
}}"""
