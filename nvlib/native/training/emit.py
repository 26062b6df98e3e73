"""C++ for a training step of a network: `forward` keeps what `backward` needs, `backward` gives all gradients.

A batch is cut into blocks of as many images as a vector has lanes. Layers that treat a block by itself run one after
another on each block, while it is in the cache; what needs the whole batch (a quantiser's largest activation,
BatchNorm's moments, a linear layer's products) runs between such stretches. Layers of one shape share a function.

Memory of a member: ``kept`` (images, activations, places of maxima, moments), from forward to backward; of a thread:
``scratch`` (gradients of activations, sums of weights' gradients). Borders of zeros in both are never written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nvlib.native.fuse import Border, borders
from nvlib.native.graph import Convolution, Pointwise, Pool, Unsupported, Value
from nvlib.native.layout import Buffer, Machine
from nvlib.native.pointwise import PRELUDE
from nvlib.native.training import stages
from nvlib.native.training.convolution import Passes
from nvlib.native.training.graph import BatchNorm, Quantiser, Training
from nvlib.native.training.linear import Linear

_WINDOW = 4  # results of a convolution that a fused pooling takes, at most

_HELPERS = r"""
typedef int ints __attribute__((vector_size(LANES * 4)));
typedef float loose __attribute__((vector_size(LANES * 4), aligned(4)));

static inline float total(vec a) { float sum = 0.f; for (int lane = 0; lane < LANES; lane++) sum += a[lane]; return sum; }
// Write the first `left` of a vector's numbers, anywhere.
static inline void put(float* to, vec a, int left) {
  if (left >= LANES) { *(loose*)to = a; return; }
  for (int lane = 0; lane < left; lane++) to[lane] = a[lane];
}
// Exchange rows and columns.
static inline void transpose(vec* rows) {
  #pragma GCC unroll 8
  for (int step = LANES / 2; step; step /= 2) {
    ints low, high;
    for (int lane = 0; lane < LANES; lane++) {
      low[lane] = lane & step ? LANES + lane - step : lane;
      high[lane] = lane & step ? LANES + lane : lane + step;
    }
    #pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
      if (!(i & step)) {
        const vec a = rows[i], b = rows[i + step];
        rows[i] = SHUFFLE(a, b, low);
        rows[i + step] = SHUFFLE(a, b, high);
      }
  }
}
// Turn LANES features of LANES images (`left` of them there) into images of features, `stride` apart.
static inline void turn(const float* from, int left, float* to, ptrdiff_t stride) {
  vec rows[LANES];
  for (int i = 0; i < LANES; i++) rows[i] = i < left ? load(from + i * LANES) : all(0.f);
  transpose(rows);
  for (int i = 0; i < LANES; i++) store(to + i * stride, rows[i]);
}
// Lay `left` pixels of LANES images (`there` of them there), `stride` apart, out with the images innermost.
static inline void lay(const float* from, int left, int there, ptrdiff_t stride, float* to) {
  vec rows[LANES];
  for (int i = 0; i < LANES; i++) {
    rows[i] = all(0.f);
    if (i < there) {
      if (left >= LANES) rows[i] = *(const loose*)(from + i * stride);
      else for (int k = 0; k < left; k++) rows[i][k] = from[i * stride + k];
    }
  }
  transpose(rows);
  for (int i = 0; i < LANES && i < left; i++) store(to + i * LANES, rows[i]);
}
"""
_SHUFFLE = r"""
#if defined(__clang__)
static inline vec SHUFFLE(vec a, vec b, ints m) {
  vec r;
  for (int lane = 0; lane < LANES; lane++) r[lane] = m[lane] < LANES ? a[m[lane]] : b[m[lane] - LANES];
  return r;
}
#else
#define SHUFFLE __builtin_shuffle
#endif
"""


@dataclass(frozen=True)
class Source:
    """Generated code, and what its caller needs to know: sizes in floats, names in the order of pointers."""

    text: str
    kept: int
    scratch: int
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    results: int
    classes: int
    of_images: bool


@dataclass
class Area:
    """Floats handed out one after another, each stretch on a whole vector."""

    lanes: int
    size: int = 0
    places: dict[object, int] = field(default_factory=dict)

    def take(self, key: object, floats: int) -> int:
        """Return the offset of a stretch, made if need be."""
        if key not in self.places:
            self.places[key] = self.size
            self.size += -(-floats // self.lanes) * self.lanes
        return self.places[key]


class Emitter:
    """Phases of both passes, and the functions that they call."""

    def __init__(self, network: Training, machine: Machine, images: int, of_images: bool) -> None:
        self.network, self.machine, self.images, self.of_images = network, machine, images, of_images
        self.blocks = -(-images // machine.lanes)
        self.kept, self.scratch = Area(machine.lanes), Area(machine.lanes)
        self.parameters: list[str] = []
        self.buffers: list[str] = []
        self.functions: dict[str, str] = {}
        self.wide = borders(network.operations)
        self.users: dict[Value, list[object]] = {}
        for operation in network.operations:
            for value in operation.values if isinstance(operation, Pointwise) else [operation.source]:
                self.users.setdefault(value, []).append(operation)
        for result in network.results:
            self.users.setdefault(result, []).append("result")
        self.spreads: dict[Value, Buffer] = {}  # of plain convolutions, by result
        self.started: set[Value] = set()
        self.zeroed: list[str] = []

    # -- memory ------------------------------------------------------------------------------------------------------

    def buffer(self, value: Value) -> Buffer:
        """Return how a value is kept."""
        return Buffer(value, self.wide.get(value, Border()), self.machine.lanes)

    def gradient(self, value: Value) -> Buffer:
        """Return how its gradient is kept: where a convolution made it, with the border its second pass needs."""
        return self.spreads.get(value) or Buffer(value, Border(), self.machine.lanes)

    def at(self, value: Value, block: str = "block") -> str:
        """C++: a block of a value."""
        size = self.buffer(value).size
        place = self.kept.take(("value", value), size * self.blocks)
        return f"kept + {place}" + (f" + (ptrdiff_t){block} * {size}" if block else "")

    def of(self, value: Value, block: str = "block") -> str:
        """C++: a block of the gradient of a value."""
        size = self.gradient(value).size
        place = self.scratch.take(("gradient", value), size * self.blocks)
        return f"scratch + {place}" + (f" + (ptrdiff_t){block} * {size}" if block else "")

    def which(self, pool: Pool) -> str:
        """C++: where the places of a block's maxima are kept."""
        size = math.prod(pool.result.shape) * self.machine.lanes
        return f"(int*)(kept + {self.kept.take(('which', pool), size * self.blocks)} + (ptrdiff_t)block * {size})"

    def state(self, key: object, floats: int) -> str:
        """C++: numbers of a batch."""
        return f"kept + {self.kept.take(('state', key), floats)}"

    def sums(self, key: object, floats: int) -> str:
        """C++: sums over a batch in backward, zero at its start."""
        place = self.scratch.take(("sums", key), floats)
        self.zeroed.append(f"clear(scratch + {place}, {floats});")
        return f"scratch + {place}"

    def weight(self, name: str | None) -> str:
        """C++: a parameter, or null."""
        return "(const float*)0" if name is None else f"weights[{self._number(self.parameters, name)}]"

    def slope(self, name: str | None) -> str:
        """C++: the gradient of a parameter, or null."""
        return "(float*)0" if name is None else f"slopes[{self._number(self.parameters, name)}]"

    def own(self, name: str | None) -> str:
        """C++: a buffer of the module, or null."""
        return "(float*)0" if name is None else f"buffers[{self._number(self.buffers, name)}]"

    @staticmethod
    def _number(names: list[str], name: str) -> int:
        if name not in names:
            names.append(name)
        return names.index(name)

    def call(self, text: str, *given: str) -> str:
        """C++: a call of a function of this text."""
        name = self.functions.setdefault(text, f"kernel_{len(self.functions) + 1}")
        return f"{name}({', '.join(given)});"

    def adds(self, value: Value) -> bool:
        """Whether a gradient is there already, to be added to; from now on it is."""
        there = value in self.started
        self.started.add(value)
        return there

    @property
    def valid(self) -> str:
        """C++: ones for lanes that hold an image, zeros for others."""
        return "all(1.f)" if self.images % self.machine.lanes == 0 else f"(block == {self.blocks - 1} ? last_valid() : all(1.f))"

    # -- operations --------------------------------------------------------------------------------------------------

    def joined(self) -> list[tuple]:
        """Return operations in order, those that run as one together: (root, follower or None)."""
        done, groups = set(), []
        for operation in self.network.operations:
            if id(operation) in done:
                continue
            follower = None
            users = self.users.get(operation.result, [])
            if len(users) == 1 and users[0] != "result":
                (user,) = users
                whole = isinstance(operation, Convolution) and isinstance(user, Pool) and _takes(user)
                clipped = isinstance(operation, Pointwise) and operation.function == "relu" and isinstance(user, Quantiser)
                follower = user if whole or clipped else None
            done |= {id(operation), id(follower)}
            groups.append((operation, follower))
        return groups

    def emit(self) -> Source:
        """Return the whole."""
        groups = [self._of(*group) for group in self.joined()]
        # dead operations, whose results nobody reads, have no gradient and are left out
        forward = [phase for ahead, _, result in groups if self._alive(result) for phase in ahead()]
        forward_text = _stretches(forward, self.blocks)
        self.started |= set(self.network.results)
        backward = [phase for _, back, result in reversed(groups) if result in self.started for phase in back()]
        backward_text = _stretches(backward, self.blocks)
        source, buffer = self.network.source, self.buffer(self.network.source)
        classes = {value.channels for value in self.network.results}
        if len(classes) != 1 or any(self.gradient(v).border != Border() for v in self.network.results):
            raise Unsupported("results of different lengths")
        (classes,) = classes
        images = self.of(source, "") if self.of_images else ""
        text = self._text(forward_text, backward_text, source, buffer, classes, images)
        return Source(text, self.kept.size, self.scratch.size, tuple(self.parameters), tuple(self.buffers),
                      len(self.network.results), classes, self.of_images)  # fmt: skip

    def _alive(self, result: Value) -> bool:
        return bool(self.users.get(result))

    def _text(self, forward: str, backward: str, source: Value, buffer: Buffer, classes: int, images: str) -> str:
        functions = "\n".join(text.replace("KERNEL", name) for text, name in self.functions.items())
        per, lanes = math.prod(source.shape), self.machine.lanes
        inside = buffer.at("channel", "row", "column")
        results, wanted = [], []
        for number, value in enumerate(self.network.results):
            size, place = self.buffer(value).size, f"({number} * {self.images} + image) * {classes} + label"
            results.append(f"out[{place}] = ({self.at(value, '')})[block * {size} + label * LANES + lane];")
            size = self.gradient(value).size
            wanted.append(f"({self.of(value, '')})[block * {size} + label * LANES + lane] = "
                          f"image < {self.images} ? g[{place}] : 0.f;")  # fmt: skip
        over_images = f"for (int block = 0; block < {self.blocks}; block++) for (int lane = 0; lane < LANES; lane++)"
        last = self.images % lanes
        if buffer.border == Border():  # all pixels in one run
            laid = f"for (int k = 0; k < {per}; k += LANES) lay(images + k, {per} - k, there, {per}, {self.at(source)} + k * LANES);"
        else:
            laid = f"""for (int channel = 0; channel < {source.channels}; channel++)
      for (int row = 0; row < {source.rows}; row++)
        for (int column = 0; column < {source.columns}; column += LANES)
          lay(images + (channel * {source.rows} + row) * {source.columns} + column, {source.columns} - column, there, {per},
              {self.at(source)} + {inside});"""
        gx = ""
        if images:
            at = self.gradient(source)
            gx = f"""
  if (gx) {over_images} {{
    const int image = block * LANES + lane;
    if (image < {self.images}) for (int channel = 0; channel < {source.channels}; channel++)
      for (int row = 0; row < {source.rows}; row++) for (int column = 0; column < {source.columns}; column++)
        gx[(ptrdiff_t)image * {per} + (channel * {source.rows} + row) * {source.columns} + column] =
          ({images})[(ptrdiff_t)block * {at.size} + {at.at("channel", "row", "column")} + lane];
  }}"""
        return f"""#define LANES {lanes}
{PRELUDE}{_SHUFFLE}{_HELPERS}
static inline vec last_valid() {{ vec r; for (int lane = 0; lane < LANES; lane++) r[lane] = lane < {last or lanes}; return r; }}
static inline void clear(float* at, int floats) {{ for (int i = 0; i < floats; i++) at[i] = 0.f; }}
{functions}

// Lay the images out, images innermost; run; hand out the results.
extern "C" void forward(
    const float* x, const float* const* weights, float* const* buffers, float* kept, float* out) {{
  for (int block = 0; block < {self.blocks}; block++) {{
    const float* images = x + (ptrdiff_t)block * LANES * {per};
    const int there = block < {self.blocks - 1} ? LANES : {last or lanes};
    {laid}
  }}
  {forward}
  {over_images} {{
    const int image = block * LANES + lane;
    if (image < {self.images}) for (int label = 0; label < {classes}; label++) {{ {" ".join(results)} }}
  }}
}}

extern "C" void backward(
    const float* g, const float* const* weights, float* kept, float* scratch, float* const* slopes, float* gx) {{
  {" ".join(dict.fromkeys(self.zeroed))}
  {over_images} {{
    const int image = block * LANES + lane;
    for (int label = 0; label < {classes}; label++) {{ {" ".join(wanted)} }}
  }}
  {backward}{gx}
}}
"""

    def _of(self, operation: object, follower: object | None) -> tuple:
        if isinstance(operation, Convolution):
            if _is_linear(operation) and self.buffer(operation.source).border == Border():
                return self._linear(operation)
            return self._convolution(operation, follower)
        if isinstance(operation, Pool):
            return self._pool(operation)
        if isinstance(operation, BatchNorm):
            return self._norm(operation)
        if isinstance(operation, Quantiser):
            return self._quantiser(operation, operation.source, relu=False)
        if follower is not None:
            return self._quantiser(follower, operation.operands[0], relu=True)
        return self._pointwise(operation)

    def _wants(self, value: Value) -> bool:
        """Whether the gradient of a value is wanted."""
        return value is not self.network.source or self.of_images

    def _linear(self, layer: Convolution) -> tuple:
        weight, bias = self.network.weight(layer), self.network.bias(layer)
        linear = Linear(self.machine, math.prod(layer.source.shape), layer.result.channels, self.blocks,
                        self.buffer(layer.source).size, self.buffer(layer.result).size, bias is not None)  # fmt: skip

        def forward() -> list:
            given = self.at(layer.source, ""), self.weight(weight), self.weight(bias), self.at(layer.result, "")
            return [("once", self.call(linear.forward(), *given))]

        def backward() -> list:
            g = self.of(layer.result, "")
            memory = f"scratch + {self.scratch.take(('transposed', linear.transposed), linear.transposed)}"
            given = self.at(layer.source, ""), g, memory, self.slope(weight), self.slope(bias)
            phases = [("once", self.call(linear.weights(), *given))]
            if self._wants(layer.source):
                text = linear.data(self.adds(layer.source))
                phases.append(("once", self.call(text, g, self.weight(weight), self.of(layer.source, ""))))
            return phases

        return forward, backward, layer.result

    def _convolution(self, layer: Convolution, pool: Pool | None) -> tuple:
        weight, bias = self.network.weight(layer), self.network.bias(layer)
        result = pool.result if pool else layer.result
        spread = _spread(layer, self.machine.lanes)
        direct = pool is None and layer.stride == (1, 1)
        if direct and layer.result not in self.network.results:
            self.spreads[layer.result] = spread
        wants = self._wants(layer.source)
        size, sums = spread.size, math.prod(layer.weight.shape)

        def passes() -> Passes:
            return Passes(layer, self.machine, self.buffer(layer.source), self.buffer(result), spread,
                          self.gradient(layer.source), pool)  # fmt: skip

        def forward() -> list:
            which = self.which(pool) if pool else "(int*)0"
            given = self.at(layer.source), self.weight(weight), self.weight(bias), self.at(result), which
            return [("block", self.call(passes().forward(), *given))]

        def backward() -> list:
            phases = []
            if layer.result in self.spreads:
                at = self.of(layer.result)
            else:
                at = f"scratch + {self.scratch.take(('spread', spread), size)}"
                if pool:
                    phases.append(("block", self.call(passes().unpool(), self.of(result), self.which(pool), at)))
                else:
                    phases.append(("block", self.call(_stretch(layer, self.gradient(result), spread), self.of(result), at)))
            w = self.sums(("weight", layer.name, weight), sums * self.machine.lanes)
            b = "(float*)0" if bias is None else self.sums(("bias", layer.name, weight), layer.result.channels * self.machine.lanes)
            given = self.at(layer.source), at, f"{self.slope(weight)} ? {w} : (float*)0"
            given += (b if bias is None else f"{self.slope(bias)} ? {b} : (float*)0",)
            phases.append(("block", self.call(passes().weights(), *given)))
            if wants:
                text = passes().data(self.adds(layer.source))
                phases.append(("block", self.call(text, at, self.weight(weight), self.of(layer.source))))
            for name, held, count in ((weight, w, sums), (bias, b, layer.result.channels)):
                if name is not None:
                    text = "if (TO) for (int k = 0; k < COUNT; k++) TO[k] = total(load(FROM + k * LANES));"
                    text = text.replace("TO", self.slope(name)).replace("COUNT", str(count)).replace("FROM", held)
                    phases.append(("end", text))
            return phases

        return forward, backward, result

    def _pool(self, pool: Pool) -> tuple:
        def which() -> str:
            return self.which(pool) if pool.kind == "max" else "(int*)0"

        def forward() -> list:
            text = stages.pool_forward(pool, self.buffer(pool.source), self.buffer(pool.result))
            return [("block", self.call(text, self.at(pool.source), self.at(pool.result), which()))]

        def backward() -> list:
            if not self._wants(pool.source):
                return []
            gradients = self.gradient(pool.result), self.gradient(pool.source)
            text = stages.pool_backward(pool, *gradients, self.adds(pool.source))
            return [("block", self.call(text, self.of(pool.result), which(), self.of(pool.source)))]

        return forward, backward, pool.result

    def _pointwise(self, operation: Pointwise) -> tuple:
        values = operation.values

        def forward() -> list:
            text = stages.pointwise_forward(operation, [self.buffer(v) for v in values], self.buffer(operation.result))
            return [("block", self.call(text, *map(self.at, values), self.at(operation.result)))]

        def backward() -> list:
            if not all(self._wants(value) for value in values):
                raise Unsupported("element-wise work on the images")
            adds = [self.adds(value) for value in values]
            text = stages.pointwise_backward(
                operation, [self.buffer(v) for v in values], self.buffer(operation.result),
                self.gradient(operation.result), [self.gradient(v) for v in values], adds,
            )  # fmt: skip
            given = *map(self.at, values), self.at(operation.result), self.of(operation.result), *map(self.of, values)
            return [("block", self.call(text, *given))]

        return forward, backward, operation.result

    def _quantiser(self, quantiser: Quantiser, source: Value, relu: bool) -> tuple:
        def state() -> str:
            return self.state(quantiser, self.machine.lanes)

        def forward() -> list:
            peak = stages.quantiser_peak(self.buffer(source), relu)
            apply = stages.quantiser_forward(quantiser, self.buffer(source), self.buffer(quantiser.result), relu)
            return [
                ("start", f"store({state()}, all(-INFINITY));"),
                ("block", self.call(peak, self.at(source), self.valid, state())),
                ("once", self.call(stages.quantiser_range(quantiser), self.own(quantiser.range), state())),
                ("block", self.call(apply, self.at(source), state(), self.at(quantiser.result))),
            ]

        def backward() -> list:
            if not self._wants(source):
                return []
            text = stages.quantiser_backward(
                self.buffer(source), self.gradient(quantiser.result), self.gradient(source), relu, self.adds(source)
            )
            return [("block", self.call(text, self.at(source), state(), self.of(quantiser.result), self.of(source)))]

        return forward, backward, quantiser.result

    def _norm(self, norm: BatchNorm) -> tuple:
        channels, lanes = norm.source.channels, self.machine.lanes

        def state() -> str:
            return self.state(norm, 2 * channels * lanes + 2 * channels)

        def forward() -> list:
            source, result = self.buffer(norm.source), self.buffer(norm.result)
            x, images = self.at(norm.source), self.images
            sums, squares = (stages.norm_sums(norm, source, squares) for squares in (False, True))
            given = x, state(), self.weight(norm.weight), self.weight(norm.bias), self.at(norm.result)
            running = self.own(norm.mean), self.own(norm.variance)
            return [
                ("start", f"clear({state()}, {2 * channels * lanes});"),
                ("block", self.call(sums, x, self.valid, state())),
                ("once", self.call(stages.norm_mean(norm, images), state())),
                ("block", self.call(squares, x, self.valid, state())),
                ("once", self.call(stages.norm_statistics(norm, images), state(), *running)),
                ("block", self.call(stages.norm_forward(norm, source, result), *given)),
            ]

        def backward() -> list:
            source, gradient = self.buffer(norm.source), self.gradient(norm.result)
            sums = self.sums(("norm", norm), 2 * channels * lanes)
            x, g = self.at(norm.source), self.of(norm.result)
            phases = [
                ("block", self.call(stages.norm_gradient_sums(norm, source, gradient), x, state(), g, sums)),
                ("once", self.call(stages.norm_gradient_totals(norm), sums, self.slope(norm.weight), self.slope(norm.bias))),
            ]
            if self._wants(norm.source):
                adds = self.adds(norm.source)
                text = stages.norm_backward(norm, source, gradient, self.gradient(norm.source), self.images, adds)
                given = x, state(), self.weight(norm.weight), g, sums, self.valid, self.of(norm.source)
                phases.append(("block", self.call(text, *given)))
            return phases

        return forward, backward, norm.result


def _stretches(phases: list[tuple[str, str]], blocks: int) -> str:
    """Return the calls of a pass: neighbours that work block by block in one loop; ``start`` and ``end`` outside."""
    starts = [text for mode, text in phases if mode == "start"]
    ends = [text for mode, text in phases if mode == "end"]
    lines, stretch = list(starts), []

    def close() -> None:
        if stretch:
            inner = "\n    ".join(stretch)
            lines.append(f"for (int block = 0; block < {blocks}; block++) {{\n    {inner}\n  }}")
            stretch.clear()

    for mode, text in phases:
        if mode == "block":
            stretch.append(text)
        elif mode == "once":
            close()
            lines.append(text)
    close()
    return "\n  ".join(lines + ends)


def _takes(pool: Pool) -> bool:
    """Whether a pooling can be fused with the convolution before it."""
    whole = all(many * size == full for many, size, full in
                zip(pool.result.shape[1:], pool.kernel, pool.source.shape[1:], strict=True))  # fmt: skip
    tidy = not any(pool.padding) and pool.kernel == pool.stride
    return pool.kind == "max" and tidy and whole and math.prod(pool.kernel) <= _WINDOW


def _is_linear(layer: Convolution) -> bool:
    whole = layer.kernel == (layer.source.rows, layer.source.columns)
    return whole and layer.result.shape[1:] == (1, 1) and not any(layer.padding) and layer.groups == 1


def _spread(layer: Convolution, lanes: int) -> Buffer:
    """How the gradient of a convolution's result is laid out for the passes that read it."""
    sizes, reach = [], []
    for axis in (0, 1):
        size = (layer.result.shape[1 + axis] - 1) * layer.stride[axis] + 1
        before = layer.dilation[axis] * (layer.kernel[axis] - 1) - layer.padding[axis]
        after = layer.source.shape[1 + axis] - 1 + layer.padding[axis] - (size - 1)
        sizes.append(size)
        reach.append(max(0, before, after))
    return Buffer(Value(layer.result.channels, *sizes), Border(*reach), lanes)


def _stretch(layer: Convolution, gradient: Buffer, spread: Buffer) -> str:
    """C++: (g, spread): a gradient, spread by the stride."""
    to = spread.at("channel", f"row * {layer.stride[0]}", f"column * {layer.stride[1]}")
    inner = stages.everywhere(layer.result.shape, [f"store(spread + {to}, load(g + {gradient.at(*stages.AT)}));"])
    return f"static void KERNEL(const float* g, float* spread) {{\n  {inner}\n}}"
