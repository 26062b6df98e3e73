"""The C++ of a convolution: a tile of channels x positions in registers, and loops over tiles.

For each of its inputs (channel, row and column of the window) a tile loads one vector of images a position and
multiplies it by one weight a channel, spread over the lanes. Positions are neighbours in a row, the results of one
pooling window, or, where a layer has one result a channel, blocks of images.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nvlib.native.fuse import runs
from nvlib.native.layout import Spot, Tiling

if TYPE_CHECKING:
    from nvlib.native.graph import Convolution
    from nvlib.native.kernels import Writer


def tiled(writer: Writer, root: Convolution) -> str:
    """Return the kernel: loops over groups, rows and tiles, and the function of each size of tile."""
    kernel, source = writer.kernel, writer.buffers[root.source]
    tiling = Tiling.of(kernel, root, writer.machine)
    groups, of_group = root.groups, root.result.channels // root.groups
    depth = source.value.channels // groups * math.prod(root.kernel)
    writer.constant(writer.packing.weights(root, tiling.channels * groups), "weight")
    if root.bias is not None:
        writer.constant(writer.packing.plain(root.bias), "bias")
    tiles = [_tile(writer, root, channels, columns, tiling.blocks, depth)
             for channels in sorted(set(tiling.channels)) for columns in sorted(set(tiling.columns))]  # fmt: skip
    # the smaller of weights and images is the one that is gone through again and again
    rows_first = of_group * depth < source.plane * source.value.channels // groups
    row_loop = f"for (int row = 0; row < {kernel.shape[1]}; row++)"
    lines, first = [], 0
    for channels, many in runs(tiling.channels):
        last, column = first + many * channels, 0
        lines.append(f"    for (int channel = base + {first}; channel < base + {last}; channel += {channels})")
        lines.append(("    " if rows_first else f"    {row_loop} ") + "{")
        for columns, count in runs(tiling.columns):
            end = column + count * columns
            call = f"KERNEL_{channels}x{columns}(NAMES, inputs, channel, row, column);"
            lines.append(f"      for (int column = {column}; column < {end}; column += {columns}) {call}")
            column = end
        lines.append("    }")
        first = last
    inner = "\n".join(lines)
    return f"""
// {writer.what()}
{"".join(tiles)}
static void KERNEL(POINTERS) {{
  const float* inputs = source;  // of a group
  for (int base = 0; base < {root.result.channels}; base += {of_group}, inputs += {source.size // groups})
  {row_loop if rows_first else ""} {{
{inner}
  }}
}}"""


def _tile(writer: Writer, root: Convolution, channels: int, columns: int, blocks: int, depth: int) -> str:
    """A function for ``channels`` channels of ``columns`` neighbours, of one pooling window, or of several blocks."""
    source = writer.buffers[root.source]
    height, width = writer.kernel.pool.kernel if writer.kernel.pool else (1, columns)
    spots = [Spot(r, c, b) for r in range(height) for c in range(width) for b in range(blocks)]
    sums = [{spot: f"sum_{channel}_{i}" for i, spot in enumerate(spots)} for channel in range(channels)]
    start = "all(bias[channel + {0}])" if root.bias is not None else "all(0.f)"
    lines = [
        f"vec {', '.join(f'{name} = {start.format(channel)}' for name in names.values())};"
        for channel, names in enumerate(sums)
    ]
    (down, right), (dy, dx) = root.stride, root.dilation
    per_row, per_column = (height, width) if writer.kernel.pool else (1, 1)
    top, left = source.border.rows - root.padding[0], source.border.columns - root.padding[1]
    lines += [
        f"const float* w = weight + (ptrdiff_t)channel * {depth};",
        f"const float* window = inputs + ((row * {per_row * down} + {top}) * {source.columns}"
        f" + column * {per_column * right} + {left}) * LANES;",
    ]
    steps = [(s.row * down * source.columns + s.column * right) * source.lanes + s.block * source.size for s in spots]
    loads = [f"const vec x_{i} = load(at + {step});" for i, step in enumerate(steps)]
    products = [
        f"{{ const vec u = all(w[{channel}]); "
        + " ".join(f"{name} += u * x_{i};" for i, name in enumerate(names.values())) + " }"
        for channel, names in enumerate(sums)
    ]  # fmt: skip
    rows, across = root.kernel
    if source.rows == rows and source.columns == across:  # the window is all of the source: one run through it
        lines.append(f"const float* at = window;\n  for (int k = 0; k < {depth}; k++, at += LANES, w += {channels}) {{")
    else:
        unroll = f"\n    #pragma GCC unroll {across}" if across <= 5 else ""
        lines.append(
            f"for (int input = 0; input < {depth // (rows * across)}; input++, window += {source.plane})\n"
            f"  for (int y = 0; y < {rows}; y++) {{\n"
            f"    const float* at = window + y * {dy * source.columns} * LANES;{unroll}\n"
            f"    for (int x = 0; x < {across}; x++, at += {dx} * LANES, w += {channels}) {{"
        )
    lines += ["    " + line for line in loads + products]
    lines.append("}" if source.rows == rows and source.columns == across else "  } }")
    for channel, names in enumerate(sums):
        lines += writer.finish(f"channel + {channel}", names)
    inner = "\n  ".join(lines)
    head = f"KERNEL_{channels}x{columns}(POINTERS, const float* inputs, int channel, int row, int column)"
    return f"static inline void {head} {{\n  {inner}\n}}\n"
