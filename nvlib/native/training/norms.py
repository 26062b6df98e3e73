"""C++ of BatchNorm over one block of images, alone or with the max-pooling (and the ReLU) that follows.

    y = h w + b,  h = (x - m) / d;      g_x = w / d (g - mean g - h mean(g h))

m and d^2 come from one pass: sums of x - p and of its squares, p the mean of the first block, which keeps the difference
of the two from cancelling. A maximum is taken before normalising, which turns no order but where w < 0: the minimum
then. So only a window's best is normalised, and only at its place is g not zero.

The state of a batch: for each channel a vector of sums, then one of squares; then means, 1 / deviations and p, a number a
channel. Lanes beyond the batch's last image are kept out by ``valid``, a vector of ones and zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

from nvlib.native.graph import Pool
from nvlib.native.layout import Buffer
from nvlib.native.training.graph import BatchNorm
from nvlib.native.training.stages import AT, write
from nvlib.native.training.tiles import spans

_APART = 4  # sums side by side, which do not wait for each other


@dataclass(frozen=True)
class Norm:
    """The layer, what follows it, and how many images a batch and a block hold."""

    norm: BatchNorm
    pool: Pool | None
    relu: bool
    images: int
    lanes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of what is normalised: the best of each window, if there is a pooling."""
        return (self.pool.result if self.pool else self.norm.source).shape

    def _number(self, which: int) -> str:
        channels = self.norm.source.channels
        return f"state[{2 * channels} * LANES + {which * channels} + channel]"

    @property
    def _known(self) -> str:
        return f"const float m = {self._number(0)}, d = {self._number(1)};"

    def _pivot(self, source: Buffer) -> str:
        _, rows, columns = self.norm.source.shape
        count = float(min(self.images, self.lanes) * rows * columns)
        return f"""
    if (first) {{
      vec sum = all(0.f);
      for (int row = 0; row < {rows}; row++)
        for (int column = 0; column < {columns}; column++) sum += load(x + {source.at(*AT)});
      {self._number(2)} = total(sum * valid) / {count!r}f;
    }}
    const vec pivot = all({self._number(2)});"""

    def _added(self, channels: int) -> str:
        sums, squares = ("(" + " + ".join(f"{name}_{n}" for n in range(_APART)) + ")" for name in ("sum", "square"))
        return f"""
    float *sums = state + channel * LANES, *squares = state + ({channels} + channel) * LANES;
    store(sums, load(sums) + {sums} * valid);
    store(squares, load(squares) + {squares} * valid);"""

    @property
    def _zeros(self) -> str:
        return "vec " + ", ".join(f"sum_{n} = all(0.f), square_{n} = all(0.f)" for n in range(_APART)) + ";"

    def sums(self, source: Buffer) -> str:
        """C++: (x, w, valid, first, state): adds a block's x - p and their squares."""
        channels, rows, columns = self.norm.source.shape

        def several(count: int) -> str:
            at = [source.at("channel", "row", f"column + {n}") for n in range(count)]
            return "\n".join(f"{{ const vec a = load(x + {at[n]}) - pivot; sum_{n} += a; square_{n} += a * a; }}"
                             for n in range(count))  # fmt: skip

        return f"""static void KERNEL(const float* x, const float* w, vec valid, bool first, float* state) {{
  for (int channel = 0; channel < {channels}; channel++) {{{self._pivot(source)}
    {self._zeros}
    for (int row = 0; row < {rows}; row++) {{
      {spans("column", columns, _APART, several)}
    }}{self._added(channels)}
  }}
}}"""

    def pooled_sums(self, pool: Pool, source: Buffer) -> str:
        """C++: (x, w, valid, first, state, best, which): also takes the window's x that is best once normalised."""
        (height, width), (channels, rows, columns) = pool.kernel, self.shape
        lines = []
        for n, (r, q) in enumerate((r, q) for r in range(height) for q in range(width)):
            at = source.at("channel", f"row * {height} + {r}", f"column * {width} + {q}")
            lines.append(f"const vec x_{n} = load(x + {at}), a_{n} = x_{n} - pivot;")
            lines.append(f"sum_{n % _APART} += a_{n}; square_{n % _APART} += a_{n} * a_{n};")
            more = f"(x_{n} * sign > most) | (x_{n} != x_{n})"
            lines.append(f"{{ const ints more = {more}; most = more ? x_{n} * sign : most; where = more ? where * 0 + {n} : where; }}"
                         if n else "vec most = x_0 * sign; ints where = {};")  # fmt: skip
        inner = "\n        ".join(lines)
        best = f"((channel * {rows} + row) * {columns} + column)"
        return f"""static void KERNEL(
    const float* x, const float* w, vec valid, bool first, float* state, float* best, int* which) {{
  for (int channel = 0; channel < {channels}; channel++) {{{self._pivot(source)}
    // where w = 0 all are alike, and the first is taken
    const vec sign = all(w ? (w[channel] < 0.f ? -1.f : w[channel] == 0.f ? 0.f : 1.f) : 1.f);
    {self._zeros}
    for (int row = 0; row < {rows}; row++)
      for (int column = 0; column < {columns}; column++) {{
        {inner}
        store(best + {best} * LANES, w && w[channel] == 0.f ? x_0 : most * sign);
        ((ints*)which)[{best}] = where;
      }}{self._added(channels)}
  }}
}}"""

    def statistics(self) -> str:
        """C++: (state, running mean, running variance): either running one may be null."""
        norm, (channels, rows, columns) = self.norm, self.norm.source.shape
        count, m = self.images * rows * columns, norm.momentum
        return f"""static void KERNEL(float* state, float* mean, float* variance) {{
  for (int channel = 0; channel < {channels}; channel++) {{
    const float sum = total(load(state + channel * LANES)) / {float(count)!r}f, m = {self._number(2)} + sum;
    const float squares = total(load(state + ({channels} + channel) * LANES)) - sum * sum * {float(count)!r}f;
    const float v = squares < 0.f ? 0.f : squares / {float(count)!r}f;
    {self._number(0)} = m;
    {self._number(1)} = 1.f / std::sqrt(v + {norm.eps!r}f);
    if (mean) mean[channel] = {1 - m!r}f * mean[channel] + {m!r}f * m;
    if (variance) variance[channel] = {1 - m!r}f * variance[channel] + {m!r}f * (v * {count / max(1, count - 1)!r}f);
  }}
}}"""

    def forward(self, source: Buffer, result: Buffer) -> str:
        """C++: (x, state, w, b, y), x the best of each window if there is a pooling; w and b may be null."""
        channels, rows, columns = self.shape
        y = f"(load(x + {self._taken(source)}) - mean) * scale + shift"
        return f"""static void KERNEL(const float* x, const float* state, const float* w, const float* b, float* y) {{
  for (int channel = 0; channel < {channels}; channel++) {{
    {self._known}
    const vec mean = all(m), scale = all(d * (w ? w[channel] : 1.f)), shift = all(b ? b[channel] : 0.f);
    for (int row = 0; row < {rows}; row++)
      for (int column = 0; column < {columns}; column++)
        store(y + {result.at(*AT)}, {f"largest({y}, all(0.f))" if self.relu else y});
  }}
}}"""

    def _taken(self, source: Buffer) -> str:
        _, rows, columns = self.shape
        return f"((channel * {rows} + row) * {columns} + column) * LANES" if self.pool else source.at(*AT)

    def gradient_sums(self, source: Buffer, result: Buffer, gradient: Buffer) -> str:
        """C++: (x, y, state, g, sums): for each channel a vector of g, then a vector of g h; a ReLU cuts g in place."""
        channels, rows, columns = self.shape
        g = f"g + {gradient.at(*AT)}"
        cut = f"value = load(y + {result.at(*AT)}) > 0.f ? value : all(0.f); store({g}, value);" if self.relu else ""
        return f"""static void KERNEL(const float* x, const float* y, const float* state, float* g, float* sums) {{
  for (int channel = 0; channel < {channels}; channel++) {{
    {self._known}
    const vec mean = all(m), scale = all(d);
    vec sum = load(sums + channel * LANES), with_h = load(sums + ({channels} + channel) * LANES);
    for (int row = 0; row < {rows}; row++)
      for (int column = 0; column < {columns}; column++) {{
        vec value = load({g});
        {cut}
        sum += value;
        with_h += value * ((load(x + {self._taken(source)}) - mean) * scale);
      }}
    store(sums + channel * LANES, sum);
    store(sums + ({channels} + channel) * LANES, with_h);
  }}
}}"""

    def gradient_totals(self) -> str:
        """C++: (sums, gw, gb): totals are left in the first lanes; gw and gb may be null."""
        channels = self.norm.source.channels
        return f"""static void KERNEL(float* sums, float* gw, float* gb) {{
  for (int channel = 0; channel < {channels}; channel++) {{
    float *a = sums + channel * LANES, *b = sums + ({channels} + channel) * LANES;
    *a = total(load(a));
    *b = total(load(b));
    if (gb) gb[channel] = *a;
    if (gw) gw[channel] = *b;
  }}
}}"""

    def backward(self, source: Buffer, gradient: Buffer, to: Buffer, accumulate: bool) -> str:
        """C++: (x, state, w, g, which, sums, valid, gx)."""
        channels, rows, columns = self.norm.source.shape
        count = float(self.images * rows * columns)

        def line(g: str, at: tuple[str, str, str]) -> str:
            x = f"load(x + {source.at(*at)})"
            return write(to, "gx", f"({g} * scale + ({x} - mean) * slope + base)", accumulate, at)

        if self.pool:
            (height, width), (_, inner_rows, inner_columns) = self.pool.kernel, self.shape
            spots = [(r, q) for r in range(height) for q in range(width)]
            lines = [f"const vec value = load(g + {gradient.at(*AT)});",
                     f"const ints where = ((const ints*)which)[(channel * {inner_rows} + row) * {inner_columns} + column];"]  # fmt: skip
            lines += [line(f"(where == {n} ? value : all(0.f))", ("channel", f"row * {height} + {r}", f"column * {width} + {q}"))
                      for n, (r, q) in enumerate(spots)]  # fmt: skip
        else:
            inner_rows, inner_columns = rows, columns
            lines = [line(f"load(g + {gradient.at(*AT)})", AT)]
        inner = "\n        ".join(lines)
        return f"""static void KERNEL(const float* x, const float* state, const float* w, const float* g, const int* which,
                   const float* sums, vec valid, float* gx) {{
  for (int channel = 0; channel < {channels}; channel++) {{
    {self._known}
    const float wide = d * (w ? w[channel] : 1.f), g_mean = sums[channel * LANES] / {count!r}f,
                h_mean = sums[({channels} + channel) * LANES] / {count!r}f * d;
    const vec mean = all(m), scale = wide * valid, slope = -h_mean * wide * valid, base = -g_mean * wide * valid;
    for (int row = 0; row < {inner_rows}; row++)
      for (int column = 0; column < {inner_columns}; column++) {{
        {inner}
      }}
  }}
}}"""
