"""C++ for a training step of a network: `forward` keeps what `backward` needs, `backward` gives all gradients.

A batch is cut into blocks of as many images as a vector has lanes. Layers that treat a block by itself run one after
another on each block, while it is in the cache; what needs the whole batch (a quantiser's largest activation,
BatchNorm's moments, a linear layer's products) runs between such stretches. Layers of one shape share a function.

Memory of a member: ``kept`` (images, activations, places of maxima, moments), from forward to backward; of a thread:
``scratch`` (gradients of activations, sums of weights' gradients); see `memory`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nvlib.native.fuse import Border
from nvlib.native.graph import Convolution, Pointwise, Pool, Unsupported, Value
from nvlib.native.layout import Machine
from nvlib.native.pointwise import PRELUDE
from nvlib.native.training.graph import BatchNorm, Operation, Quantiser, Training
from nvlib.native.training.layers import Layers, is_linear, takes_pool
from nvlib.native.training.memory import Phase, stretches
from nvlib.native.training.prelude import HELPERS, SHUFFLE

_WINDOW = 4  # results of a convolution that a fused pooling takes, at most: they are in registers together


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


def generate(network: Training, machine: Machine, images: int, of_images: bool) -> Source:
    """Return code for batches of so many images, with gradients of them if ``of_images``."""
    return _Emitter(network, machine, images, of_images).emit()


class _Emitter(Layers):
    """Phases of both passes, and the functions that they call."""

    def emit(self) -> Source:
        """Return the whole."""
        groups = [self._of(chain) for chain in self._chains()]
        # dead operations, whose results nobody reads, have no gradient and are left out
        forward = [("block", self._laid())]
        forward += [phase for ahead, _, result in groups if self.users.get(result) for phase in ahead()]
        self.started |= set(self.network.results)
        backward = [phase for _, back, result in reversed(groups) if result in self.started for phase in back()]
        lengths = {value.channels for value in self.network.results}
        if len(lengths) != 1 or any(self.gradient(v).border != Border() for v in self.network.results):
            raise Unsupported("results of different lengths")
        (classes,) = lengths
        text = self._text(forward, backward, classes)
        return Source(text, self.memory.sizes["kept"], self.memory.sizes["scratch"], tuple(self.parameters),
                      tuple(self.buffers), len(self.network.results), classes, self.of_images)  # fmt: skip

    def _chains(self) -> list[list[Operation]]:
        """Return operations in order, those that run as one together."""
        done, chains = set(), []
        for operation in self.network.operations:
            if id(operation) not in done:
                chain = [operation]
                while (follower := self._only_user(chain[-1])) is not None and _joins(chain, follower):
                    chain.append(follower)
                done |= set(map(id, chain))
                chains.append(chain)
        return chains

    def _only_user(self, operation: Operation) -> Operation | None:
        users = self.users.get(operation.result, [])
        return users[0] if len(users) == 1 and not isinstance(users[0], str) else None

    def _of(self, chain: list[Operation]) -> tuple:
        first, *rest = chain
        pool = next((o for o in rest if isinstance(o, Pool)), None)
        relu = next((o for o in rest if isinstance(o, Pointwise)), None)
        quantiser = next((o for o in rest if isinstance(o, Quantiser)), None)
        if isinstance(first, Convolution):
            if is_linear(first) and self.buffer(first.source).border == Border():
                return self.linear(first)
            return self.convolution(first, pool)
        if isinstance(first, Pool):
            return self.pool(first)
        if isinstance(first, BatchNorm):
            return self.norm(first, pool, relu)
        if isinstance(first, Quantiser):
            return self.quantiser(first, first.source, relu=False)
        return self.pointwise(first) if quantiser is None else self.quantiser(quantiser, first.values[0], relu=True)

    def _laid(self) -> str:
        """C++: a block of images laid out, images innermost."""
        source, buffer = self.network.source, self.buffer(self.network.source)
        per, last, to = math.prod(source.shape), self.images % self.machine.lanes, self.at(source)
        there = f"block < {self.blocks - 1} ? LANES : {last}" if last else "LANES"
        images = f"const float* images = x + (ptrdiff_t)block * LANES * {per};"
        if buffer.border == Border():  # all pixels in one run
            return f"""{{
      {images}
      for (int k = 0; k < {per}; k += LANES) lay(images + k, {per} - k, {there}, {per}, {to} + k * LANES);
    }}"""
        return f"""{{
      {images}
      for (int channel = 0; channel < {source.channels}; channel++)
        for (int row = 0; row < {source.rows}; row++)
          for (int column = 0; column < {source.columns}; column += LANES)
            lay(images + (channel * {source.rows} + row) * {source.columns} + column, {source.columns} - column, {there}, {per},
                {to} + {buffer.at("channel", "row", "column")});
    }}"""

    def _text(self, forward: list[Phase], backward: list[Phase], classes: int) -> str:
        results, wanted = [], []
        for number, value in enumerate(self.network.results):
            size, place = self.buffer(value).size, f"({number} * {self.images} + image) * {classes} + label"
            results.append(f"out[{place}] = ({self.all_of(value)})[block * {size} + label * LANES + lane];")
            size = self.gradient(value).size
            wanted.append(f"({self.all_of_gradient(value)})[block * {size} + label * LANES + lane] = "
                          f"image < {self.images} ? g[{place}] : 0.f;")  # fmt: skip
        gx = self._of_images() if self.of_images else ""
        self.memory.lay_out((forward, backward), [*results, *wanted, *self.zeroed, gx])
        functions = "\n".join(text.replace("KERNEL", name) for text, name in self.functions.items())
        over_images = f"for (int block = 0; block < {self.blocks}; block++) for (int lane = 0; lane < LANES; lane++)"
        last = self.images % self.machine.lanes or self.machine.lanes
        return self.memory.resolved(f"""#define LANES {self.machine.lanes}
{PRELUDE}{SHUFFLE}{HELPERS}
static inline vec last_valid() {{ vec r; for (int lane = 0; lane < LANES; lane++) r[lane] = lane < {last}; return r; }}
static inline void clear(float* at, int floats) {{ for (int i = 0; i < floats; i++) at[i] = 0.f; }}
{functions}

// Lay the images out, images innermost; run; hand out the results.
extern "C" void forward(
    const float* x, const float* const* weights, float* const* buffers, float* kept, float* out) {{
  {stretches(forward, self.blocks)}
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
  {stretches(backward, self.blocks)}{gx}
}}
""")

    def _of_images(self) -> str:
        """C++: the gradient of the images, handed out."""
        source: Value = self.network.source
        at, per = self.gradient(source), math.prod(source.shape)
        return f"""
  if (gx) for (int block = 0; block < {self.blocks}; block++) for (int lane = 0; lane < LANES; lane++) {{
    const int image = block * LANES + lane;
    if (image < {self.images}) for (int channel = 0; channel < {source.channels}; channel++)
      for (int row = 0; row < {source.rows}; row++) for (int column = 0; column < {source.columns}; column++)
        gx[(ptrdiff_t)image * {per} + (channel * {source.rows} + row) * {source.columns} + column] =
          ({self.all_of_gradient(source)})[(ptrdiff_t)block * {at.size} + {at.at("channel", "row", "column")} + lane];
  }}"""


def _joins(chain: list[Operation], follower: Operation) -> bool:
    """Whether an operation runs in one with those before it, whose results nobody else reads."""
    first, last = chain[0], chain[-1]
    if isinstance(first, Convolution | BatchNorm) and last is first:
        return isinstance(follower, Pool) and takes_pool(follower, _WINDOW)
    relu = isinstance(follower, Pointwise) and follower.function == "relu"
    if isinstance(first, BatchNorm):
        return isinstance(last, Pool) and relu
    return isinstance(last, Pointwise) and last.function == "relu" and isinstance(follower, Quantiser)
