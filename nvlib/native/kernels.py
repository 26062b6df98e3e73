"""The C++ of one kernel: what is done to each result of its root, and kernels that are no convolution.

Every function takes pointers alone (values read and written, constants); shapes are numbers in its text. KERNEL,
POINTERS and NAMES stand for its name, parameters and arguments until the text is complete.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from nvlib.native.fuse import Kernel
from nvlib.native.graph import Constant, Convolution, Pointwise, Pool, Value
from nvlib.native.layout import Buffer, Machine, Packing, Spot
from nvlib.native.pointwise import FORMULAS


@dataclass(frozen=True)
class Function:
    """A kernel's C++, and what it is called with."""

    name: str
    values: tuple[Value, ...]
    constants: tuple[int, ...]  # offsets in the chip


class Writer:
    """The text of one kernel."""

    def __init__(self, kernel: Kernel, machine: Machine, buffers: dict[Value, Buffer], packing: Packing) -> None:
        self.kernel, self.machine, self.buffers, self.packing = kernel, machine, buffers, packing
        self.root = kernel.root
        self.values: dict[Value, str] = {}
        self.constants: dict[int, str] = {}
        self.count = 0
        if self.root is not None:
            self.values[self.root.source] = "source"
        for number, value in enumerate(kernel.read):
            self.values.setdefault(value, f"read_{number}")
        for number, value in enumerate(kernel.stored):
            self.values[value] = f"result_{number}"

    def function(self, names: dict[str, str], convolution: Callable[[Writer, Convolution], str]) -> Function:
        """Write the kernel, unless ``names`` (text -> name) has one of the same text; returns how to call it.

        ``convolution`` writes the text of one whose root is a convolution.
        """
        kind = "pointwise" if self.root is None else "pooling" if isinstance(self.root, Pool) else "convolution"
        text = convolution(self, self.root) if isinstance(self.root, Convolution) else self._simple()
        made = {o.result for o in self.kernel.operations}
        pointers = [f"{'' if v in made else 'const '}float* {name}" for v, name in self.values.items()]
        pointers += [f"const float* {name}" for name in self.constants.values()]
        text = text.replace("POINTERS", ", ".join(pointers))
        text = text.replace("NAMES", ", ".join([*self.values.values(), *self.constants.values()]))
        name = names.setdefault(text, f"{kind}_{len(names) + 1}")
        return Function(name, tuple(self.values), tuple(self.constants))

    # -- what is done to each result ---------------------------------------------------------------------------------

    def finish(self, channel: str, spots: dict[Spot, str] | None) -> list[str]:
        """Element-wise work, pooling and storing for one channel; ``spots`` hold the root's results."""
        kernel, lines = self.kernel, []
        height, width = kernel.pool.kernel if kernel.pool else (1, 1)
        names: dict[Value, dict[Spot, str]] = {}
        if self.root is not None and spots is not None:
            names[self.root.result] = spots
        places = list(spots) if spots is not None else [Spot()]

        def row_and_column(spot: Spot, scale: tuple[int, int]) -> tuple[str, str]:
            return _affine("row", scale[0], spot.row), _affine("column", scale[1], spot.column)

        def work(operations: list[Pointwise], places: list[Spot], scale: tuple[int, int]) -> None:
            for operation in operations:
                names[operation.result] = {}
                for spot in places:
                    at = (channel, *row_and_column(spot, scale))
                    operands = [self._operand(o, names, spot, at) for o in operation.operands]
                    name = self._name(operation.function)
                    kind = "auto" if operation.result.mask else "const vec"
                    lines.append(f"{kind} {name} = {FORMULAS[operation.function].text.format(*operands)};")
                    names[operation.result][spot] = name

        work(kernel.before, places, (height, width))
        if kernel.pool:
            text, *others = names[kernel.pool.source].values()
            for other in others:
                text = f"largest({text}, {other})"
            name = self._name("pooled")
            lines.append(f"const vec {name} = {text};")
            names[kernel.pool.result] = {Spot(): name}
            work(kernel.after, [Spot()], (1, 1))
        for value in kernel.stored:
            for spot, name in names[value].items():
                lines.append(f"store({self._address(value, spot, (channel, *row_and_column(spot, (1, 1))))}, {name});")
        return lines

    def _operand(
        self, operand: Value | Constant | float, names: dict[Value, dict[Spot, str]], spot: Spot, at: tuple[str, ...]
    ) -> str:
        if isinstance(operand, Value):
            return names[operand][spot] if operand in names else f"load({self._address(operand, spot, at)})"
        if isinstance(operand, Constant):
            name = self.constant(self.packing.plain(operand), "constant")
            return f"all({name}[{_index(operand.shape, at)}])"
        return f"all({_literal(operand)})"

    def _address(self, value: Value, spot: Spot, at: tuple[str, ...]) -> str:
        buffer = self.buffers[value]
        block = f" + {spot.block * buffer.size}" if spot.block else ""
        return f"{self.values[value]} + {buffer.at(*at)}{block}"

    def constant(self, offset: int, kind: str) -> str:
        """Return the pointer's name for a constant at ``offset`` in the chip."""
        if offset not in self.constants:
            alone = kind in ("weight", "bias")
            self.constants[offset] = kind if alone else f"constant_{len(self.constants)}"
        return self.constants[offset]

    def _name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}_{self.count}"

    # -- pooling and element-wise work on their own ------------------------------------------------------------------

    def _simple(self) -> str:
        channels, rows, columns = self.kernel.shape
        lines: list[str] = []
        spots: dict[Spot, str] | None = None
        if isinstance(self.root, Pool):
            lines, spots = self._window(self.root), {Spot(): "window"}
        lines += self.finish("channel", spots)
        inner = "\n        ".join(lines)
        return f"""
// {self.what()}
static void KERNEL(POINTERS) {{
  for (int channel = 0; channel < {channels}; channel++)
    for (int row = 0; row < {rows}; row++)
      for (int column = 0; column < {columns}; column++) {{
        {inner}
      }}
}}"""

    def _window(self, pool: Pool) -> list[str]:
        """The largest or the mean of a window, those of its elements that lie in the source."""
        source = pool.source
        (height, width), (down, right), (top, left) = pool.kernel, pool.stride, pool.padding
        _, rows, columns = pool.result.shape
        reach = (rows - 1) * down + height, (columns - 1) * right + width
        inside = not (top or left or reach[0] > source.rows or reach[1] > source.columns)
        at = self.buffers[source].at("channel", "y", "x")
        check = "" if inside else f"if (y >= 0 && y < {source.rows} && x >= 0 && x < {source.columns}) "
        more = "largest(window, {0})" if pool.kind == "max" else "window + {0}"
        lines = [
            f"vec window = all({'-INFINITY' if pool.kind == 'max' else '0.f'});",
            f"for (int y = row * {down} - {top}, end_y = y + {height}; y < end_y; y++)",
            f"  for (int x = column * {right} - {left}, end_x = x + {width}; x < end_x; x++)",
            f"    {check}window = {more.format(f'load(source + {at})')};",
        ]
        return lines if pool.kind == "max" else [*lines, f"window = window / {float(height * width)!r}f;"]

    def what(self) -> str:
        """Shapes and operations, without the names of layers: layers of one shape share the function."""
        title = self.kernel.title
        return title.split(": ", 1)[1] if isinstance(self.root, Convolution) else title


def _affine(index: str, scale: int, offset: int) -> str:
    text = index if scale == 1 else f"{index} * {scale}"
    return f"{text} + {offset}" if offset else text


def _index(shape: tuple[int, ...], at: tuple[str, ...]) -> str:
    """C++ for the index of a constant of ``shape`` beside a result; axes of one element are repeated."""
    if math.prod(shape) == 1:
        return "0"
    _, rows, columns = shape
    channel, row, column = ("0" if size == 1 else f"({index})" for size, index in zip(shape, at, strict=True))
    return channel if rows == columns == 1 else f"({channel} * {rows} + {row}) * {columns} + {column}"


def _literal(number: float) -> str:
    if math.isnan(number):
        return "NAN"
    return f"{number!r}f" if math.isfinite(number) else "INFINITY" if number > 0 else "-INFINITY"
