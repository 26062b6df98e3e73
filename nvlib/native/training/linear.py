"""A linear layer's three passes over a whole batch (features are stored as (block of images, feature, lane)).

    y = W x + b,    g_x = W' g,    g_W = g x',  g_b = sum g

The first two multiply vectors of images by one weight each, over stretches of features that the first-level cache
holds; the third multiplies vectors of features, for which x is transposed, by one image's gradient each.
"""

from __future__ import annotations

from dataclasses import dataclass

from nvlib.native.layout import Machine
from nvlib.native.training.tiles import spans, tile

STRETCH = 64  # features of a batch of 128 images that fit in the first-level cache beside weights
_BLOCKS = 4  # at a time: they, their sums and a weight are in registers together


@dataclass(frozen=True)
class Linear:
    """Sizes of a linear layer and of a batch, in features, blocks and floats."""

    machine: Machine
    inputs: int
    outputs: int
    blocks: int
    x_size: int  # floats of a block of the source
    y_size: int
    bias: bool

    @property
    def padded(self) -> int:
        """Features of a transposed image: whole vectors."""
        return -(-self.inputs // self.machine.lanes) * self.machine.lanes

    @property
    def transposed(self) -> int:
        """Floats that the transposed batch takes."""
        return self.blocks * self.machine.lanes * self.padded

    def forward(self) -> str:
        """C++: (x, w, bias, y)."""
        start = "all(bias[o])" if self.bias else "all(0.f)"
        inner = self._products(self.outputs, "(o + {r}) * (ptrdiff_t)" + f"{self.inputs} + k", self.inputs, "x",
                               self.x_size, "y", self.y_size)  # fmt: skip
        return f"""
static void KERNEL(const float* x, const float* w, const float* bias, float* y) {{
  for (int block = 0; block < {self.blocks}; block++)
    for (int o = 0; o < {self.outputs}; o++) store(y + block * {self.y_size} + o * LANES, {start});
  {inner}
}}"""

    def data(self, accumulate: bool) -> str:
        """C++ of the gradient of x: (g, w, gx)."""
        zero = "" if accumulate else f"""
  for (int block = 0; block < {self.blocks}; block++)
    for (int o = 0; o < {self.inputs}; o++) store(gx + block * {self.x_size} + o * LANES, all(0.f));"""
        inner = self._products(self.inputs, "k * (ptrdiff_t)" + f"{self.inputs} + o + " + "{r}", self.outputs, "g",
                               self.y_size, "gx", self.x_size)  # fmt: skip
        return f"""
static void KERNEL(const float* g, const float* w, float* gx) {{{zero}
  {inner}
}}"""

    def _products(self, results: int, weight: str, depth: int, x: str, x_size: int, y: str, y_size: int) -> str:
        """Y += weights x, stretch by stretch."""

        def blocks(many: int) -> str:
            def outputs(count: int) -> str:
                rows = [f"all(w[{weight.format(r=r)}])" for r in range(count)]
                columns = [f"load({x} + (block + {c}) * {x_size} + k * LANES)" for c in range(many)]
                at = lambda r, c: f"{y} + (block + {c}) * {y_size} + (o + {r}) * LANES"  # noqa: E731
                return tile(
                    rows, columns, ["for (int k = first; k < last; k++) {"],
                    lambda r, c: f"load({at(r, c)})", lambda r, c, name: [f"store({at(r, c)}, {name});"],
                )  # fmt: skip

            return spans("o", results, self.machine.sums // many, outputs)

        return f"""for (int first = 0; first < {depth}; first += {STRETCH}) {{
    const int last = first + {STRETCH} < {depth} ? first + {STRETCH} : {depth};
    {spans("block", self.blocks, _BLOCKS, blocks)}
  }}"""

    def weights(self) -> str:
        """C++ of the gradients of W and b: (x, g, memory, gw, gb); gw, gb may be null."""
        lanes, padded = self.machine.lanes, self.padded
        wide = 4 if self.machine.sums >= 16 else 2

        def columns(many: int) -> str:
            def outputs(count: int) -> str:
                rows = [f"all(gradients[{r * lanes}])" for r in range(count)]
                vectors = [f"load(images + {c * lanes})" for c in range(many)]
                return tile(
                    rows, vectors,
                    [f"for (int block = 0; block < {self.blocks}; block++) {{",
                     f"const float* gradients = g + block * {self.y_size} + o * LANES;",
                     f"const float* images = memory + (ptrdiff_t)block * LANES * {padded} + v * LANES;",
                     f"for (int lane = 0; lane < LANES; lane++, gradients++, images += {padded}) {{"],
                    lambda r, c: "all(0.f)",
                    lambda r, c, name: [f"put(gw + (ptrdiff_t)(o + {r}) * {self.inputs} + (v + {c}) * LANES, {name}, "
                                        f"{self.inputs} - (v + {c}) * LANES);"],
                )  # fmt: skip

            return spans("o", self.outputs, self.machine.sums // many, outputs)

        return f"""
static void KERNEL(const float* x, const float* g, float* memory, float* gw, float* gb) {{
  if (gb)
    for (int o = 0; o < {self.outputs}; o++) {{
      vec sum = all(0.f);
      for (int block = 0; block < {self.blocks}; block++) sum += load(g + block * {self.y_size} + o * LANES);
      gb[o] = total(sum);
    }}
  if (!gw) return;
  for (int block = 0; block < {self.blocks}; block++)
    for (int k = 0; k < {padded}; k += LANES)
      turn(x + block * {self.x_size} + k * LANES, {self.inputs} - k, memory + (ptrdiff_t)block * LANES * {padded} + k,
           {padded});
  {spans("v", padded // lanes, wide, columns)}
}}"""
