"""A convolution's three passes over one block of images, and the max-pooling that is fused with it.

    y = w * x + b,    g_x = w' * g (full, turned),    g_w[o, i, k] = sum over positions of g[o, p] x[i, p s + k d]

Gradients of y are read with a border of zeros, spread by the stride where it is above one, so that the second pass is
a plain convolution. Sums of the third are kept a vector each, lanes added when the batch is through.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nvlib.native.graph import Convolution, Pool
from nvlib.native.layout import Buffer, Machine
from nvlib.native.training.tiles import spans, tile


@dataclass(frozen=True)
class Passes:
    """A convolution with the buffers that it reads and writes.

    Attributes:
        source: its x, with a border as wide as its padding.
        result: its y; with a pooling, what that leaves.
        spread: the gradient of its y, spread and with a border.
        gradient: the gradient of its x.
        pool: a fused max-pooling of whole windows.
    """

    convolution: Convolution
    machine: Machine
    source: Buffer
    result: Buffer
    spread: Buffer
    gradient: Buffer
    pool: Pool | None

    @property
    def of_group(self) -> tuple[int, int]:
        """Inputs and outputs of a group."""
        c = self.convolution
        return c.source.channels // c.groups, c.result.channels // c.groups

    @property
    def depth(self) -> int:
        """Weights of one output."""
        return self.of_group[0] * math.prod(self.convolution.kernel)

    def forward(self) -> str:
        """C++: (x, w, bias, y, which); ``which`` holds the place in a window that a pooling took."""
        c, source = self.convolution, self.source
        inputs, outputs = self.of_group
        height, width = self.pool.kernel if self.pool else (1, 1)
        (down, right), (dy, dx), (ky, kx) = c.stride, c.dilation, c.kernel
        top, left = source.border.rows - c.padding[0], source.border.columns - c.padding[1]
        rows, columns = self.result.value.rows, self.result.value.columns
        places = height * width if self.pool else min(4, columns)

        def channels(count: int) -> str:
            def across(many: int) -> str:
                spots = [(r, q) for r in range(height) for q in range(width)] if self.pool else [(0, q) for q in range(many)]
                per_row, per_column = (height, width) if self.pool else (1, 1)
                steps = [(r * down * source.columns + q * right) * source.lanes for r, q in spots]
                loops = [
                    f"const float* weight = w + (ptrdiff_t)(base * {outputs} + o) * {self.depth};",
                    f"const float* window = x + base * {inputs * source.plane} + ((row * {per_row * down} + {top}) * "
                    f"{source.columns} + column * {per_column * right} + {left}) * LANES;",
                    f"for (int i = 0; i < {inputs}; i++, window += {source.plane}) {{",
                    f"for (int y_ = 0; y_ < {ky}; y_++) {{",
                    f"const float* at = window + y_ * {dy * source.columns} * LANES;",
                    f"#pragma GCC unroll {min(kx, 8)}\n      for (int x_ = 0; x_ < {kx}; x_++, at += {dx} * LANES, weight++) {{",
                ]
                start = f"all(bias[base * {outputs} + o + {{0}}])" if c.bias is not None else "all(0.f)"
                at = lambda r, q: self.result.at(f"base * {outputs} + o + {r}", "row", f"column + {q}" if q else "column")  # noqa: E731

                def finish(r: int, q: int, name: str) -> list[str]:
                    if not self.pool:
                        return [f"store(y + {at(r, q)}, {name});"]
                    if q == 0:
                        return [f"vec best_{r} = {name}; ints where_{r} = {{}};"]
                    better = f"({name} > best_{r}) | ({name} != {name})"
                    lines = [f"{{ const ints more = {better}; best_{r} = more ? {name} : best_{r}; "
                             f"where_{r} = more ? where_{r} * 0 + {q} : where_{r}; }}"]  # fmt: skip
                    if q == len(spots) - 1:
                        place = f"((base * {outputs} + o + {r}) * {rows} + row) * {columns} + column"
                        lines.append(f"store(y + {at(r, 0)}, best_{r}); ((ints*)which)[{place}] = where_{r};")
                    return lines

                return tile(
                    [f"all(weight[{r * self.depth}])" for r in range(count)], [f"load(at + {s})" for s in steps], loops,
                    lambda r, q: start.format(r), finish,
                )  # fmt: skip

            inside = spans("column", columns, 1 if self.pool else places, across)
            return f"for (int row = 0; row < {rows}; row++) {{\n{inside}\n}}"

        return f"""
static void KERNEL(const float* x, const float* w, const float* bias, float* y, int* which) {{
  for (int base = 0; base < {c.groups}; base++) {{
    {spans("o", outputs, self.machine.sums // places, channels)}
  }}
}}"""

    def unpool(self, pool: Pool) -> str:
        """C++: the pooled gradient g, put where its maximum came from: (g, which, spread)."""
        (height, width), pooled = pool.kernel, self.gradient_of_result
        _, rows, columns = pool.result.shape
        (down, right), spread = self.convolution.stride, self.spread
        lines = []
        for place, (r, q) in enumerate((r, q) for r in range(height) for q in range(width)):
            to = spread.at("o", f"(row * {height} + {r}) * {down}", f"(column * {width} + {q}) * {right}")
            lines.append(f"store(spread + {to}, where == {place} ? value : all(0.f));")
        inner = "\n        ".join(lines)
        return f"""
static void KERNEL(const float* g, const int* which, float* spread) {{
  for (int o = 0; o < {pool.result.channels}; o++)
    for (int row = 0; row < {rows}; row++)
      for (int column = 0; column < {columns}; column++) {{
        const vec value = load(g + {pooled.at("o", "row", "column")});
        const ints where = ((const ints*)which)[(o * {rows} + row) * {columns} + column];
        {inner}
      }}
}}"""

    @property
    def gradient_of_result(self) -> Buffer:
        """Where the gradient of the result lies: without a border after a pooling."""
        return Buffer(self.result.value, type(self.result.border)(), self.machine.lanes) if self.pool else self.spread

    def data(self, accumulate: bool) -> str:
        """C++ of the gradient of x: (spread, w, gx)."""
        c, spread, gradient = self.convolution, self.spread, self.gradient
        inputs, outputs = self.of_group
        (dy, dx), (ky, kx), taps = c.dilation, c.kernel, math.prod(c.kernel)
        # position p of x takes weight k from spread position p + padding - k d
        top, left = spread.border.rows + c.padding[0], spread.border.columns + c.padding[1]

        def channels(count: int) -> str:
            def across(many: int) -> str:
                at = lambda r, q: gradient.at(f"base * {inputs} + i + {r}", "row", f"column + {q}" if q else "column")  # noqa: E731
                loops = [
                    f"for (int o = 0; o < {outputs}; o++) {{",
                    f"const float* weight = w + ((ptrdiff_t)(base * {outputs} + o) * {inputs} + i) * {taps};",
                    f"const float* window = spread + (base * {outputs} + o) * {spread.plane} + ((row + {top}) * "
                    f"{spread.columns} + column + {left}) * LANES;",
                    f"for (int y_ = 0; y_ < {ky}; y_++) {{",
                    f"const float* at = window - y_ * {dy * spread.columns} * LANES;",
                    f"#pragma GCC unroll {min(kx, 8)}\n      for (int x_ = 0; x_ < {kx}; x_++, at -= {dx} * LANES, weight++) {{",
                ]
                return tile(
                    [f"all(weight[{r * taps}])" for r in range(count)],
                    [f"load(at + {q * spread.lanes})" for q in range(many)], loops,
                    lambda r, q: f"load(gx + {at(r, q)})" if accumulate else "all(0.f)",
                    lambda r, q, name: [f"store(gx + {at(r, q)}, {name});"],
                )  # fmt: skip

            return f"for (int row = 0; row < {c.source.rows}; row++) {{\n{spans('column', c.source.columns, 4, across)}\n}}"

        return f"""
static void KERNEL(const float* spread, const float* w, float* gx) {{
  for (int base = 0; base < {c.groups}; base++) {{
    {spans("i", inputs, self.machine.sums // min(4, c.source.columns), channels)}
  }}
}}"""

    def weights(self) -> str:
        """C++ of the sums of g_w and g_b over a block: (x, spread, sums, bias_sums)."""
        c, source, spread = self.convolution, self.source, self.spread
        inputs, outputs = self.of_group
        (down, right), (dy, dx), (ky, kx), taps = c.stride, c.dilation, c.kernel, math.prod(c.kernel)
        top, left = source.border.rows - c.padding[0], source.border.columns - c.padding[1]
        whole = taps <= self.machine.sums // 2
        together = [(y, x) for y in range(ky) for x in range(kx)] if whole else [(0, x) for x in range(kx)]
        _, rows, columns = c.result.shape
        unit = spread.at("0", "0", "0")

        def channels(count: int) -> str:
            at = lambda r, q: f"sums + (((base * {outputs} + o + {r}) * (ptrdiff_t){inputs} + i) * {taps} + first + {q}) * LANES"  # noqa: E731
            loops = [
                f"for (int row = 0; row < {rows}; row++) {{",
                f"const float* gradient = spread + (base * {outputs} + o) * {spread.plane} + {unit} + row * "
                f"{down * spread.columns} * LANES;",
                f"const float* at = x + (base * {inputs} + i) * {source.plane} + ((row * {down} + {top} + first / {kx} * {dy})"
                f" * {source.columns} + {left}) * LANES;",
                f"for (int column = 0; column < {columns}; column++, gradient += {right} * LANES, at += {right} * LANES) {{",
            ]
            return tile(
                [f"load(gradient + {r * spread.plane})" for r in range(count)],
                [f"load(at + {(y * dy * source.columns + x * dx) * source.lanes})" for y, x in together], loops,
                lambda r, q: f"load({at(r, q)})", lambda r, q, name: [f"store({at(r, q)}, {name});"],
            )  # fmt: skip

        bias = f"""
  if (bias_sums)
    for (int o = 0; o < {c.result.channels}; o++) {{
      vec sum = load(bias_sums + o * LANES);
      for (int row = 0; row < {rows}; row++)
        for (int column = 0; column < {columns}; column++)
          sum += load(spread + {spread.at("o", f"row * {down}", f"column * {right}")});
      store(bias_sums + o * LANES, sum);
    }}""" if c.bias is not None else ""
        return f"""
static void KERNEL(const float* x, const float* spread, float* sums, float* bias_sums) {{{bias}
  if (!sums) return;
  for (int base = 0; base < {c.groups}; base++)
    for (int i = 0; i < {inputs}; i++)
      for (int first = 0; first < {taps}; first += {len(together)}) {{
    {spans("o", outputs, max(1, self.machine.sums // len(together)), channels)}
      }}
}}"""
