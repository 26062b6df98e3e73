"""Each kind of layer as phases of both passes: what is called for a block of images, what once a batch.

A method takes operations that run as one and returns (forward, backward, result), the first two as functions: buffers
and gradients are known once all layers have been seen. A phase is (``block`` | ``once`` | ``start`` | ``end``, C++).
"""

from __future__ import annotations

import math

from nvlib.native.fuse import Border
from nvlib.native.graph import Convolution, Pointwise, Pool, Unsupported, Value
from nvlib.native.layout import Buffer
from nvlib.native.training import norms, stages
from nvlib.native.training.convolution import Passes
from nvlib.native.training.graph import BatchNorm, Quantiser
from nvlib.native.training.linear import Linear
from nvlib.native.training.memory import Phase
from nvlib.native.training.names import Names


class Layers(Names):
    """Phases by kind of layer."""

    def linear(self, layer: Convolution) -> tuple:
        """A layer whose kernel is its whole source: products over the whole batch."""
        weight, bias = self.network.weight(layer), self.network.bias(layer)
        linear = Linear(self.machine, math.prod(layer.source.shape), layer.result.channels, self.blocks,
                        self.buffer(layer.source).size, self.buffer(layer.result).size, bias is not None)  # fmt: skip

        def forward() -> list[Phase]:
            given = self.all_of(layer.source), self.weight(weight), self.weight(bias), self.all_of(layer.result)
            return [("once", self.call(linear.forward(), *given))]

        def backward() -> list[Phase]:
            g = self.all_of_gradient(layer.result)
            memory = self.memory.once("scratch", ("transposed", linear.transposed), linear.transposed)
            given = self.all_of(layer.source), g, memory, self.slope(weight), self.slope(bias)
            phases = [("once", self.call(linear.weights(), *given))]
            if self.wants(layer.source):
                text = linear.data(self.adds(layer.source))
                phases.append(("once", self.call(text, g, self.weight(weight), self.all_of_gradient(layer.source))))
            return phases

        return forward, backward, layer.result

    def convolution(self, layer: Convolution, pool: Pool | None = None) -> tuple:
        """A convolution, with a max-pooling of whole windows if one follows."""
        weight, bias = self.network.weight(layer), self.network.bias(layer)
        result = pool.result if pool else layer.result
        spread = spread_gradient(layer, self.machine.lanes)
        direct = pool is None and layer.stride == (1, 1)
        if direct and layer.result not in self.network.results:
            self.spreads[layer.result] = spread
        sums = math.prod(layer.weight.shape)

        def passes() -> Passes:
            return Passes(layer, self.machine, self.buffer(layer.source), self.buffer(result), spread,
                          self.gradient(layer.source), pool)  # fmt: skip

        def forward() -> list[Phase]:
            which = self.which(pool) if pool else "(int*)0"
            given = self.at(layer.source), self.weight(weight), self.weight(bias), self.at(result), which
            return [("block", self.call(passes().forward(), *given))]

        def backward() -> list[Phase]:
            phases = []
            if layer.result in self.spreads:
                at = self.of(layer.result)
            else:
                at = self.memory.once("scratch", ("spread", spread), spread.size)
                if pool:
                    phases.append(("block", self.call(passes().unpool(pool), self.of(result), self.which(pool), at)))
                else:
                    phases.append(("block", self.call(_stretch(layer, self.gradient(result), spread), self.of(result), at)))
            w = self.sums(("weight", layer.name, weight), sums * self.machine.lanes)
            b = "(float*)0"
            if bias is not None:
                b = self.sums(("bias", layer.name, weight), layer.result.channels * self.machine.lanes)
            given = self.at(layer.source), at, f"{self.slope(weight)} ? {w} : (float*)0"
            given += (b if bias is None else f"{self.slope(bias)} ? {b} : (float*)0",)
            phases.append(("block", self.call(passes().weights(), *given)))
            if self.wants(layer.source):
                text = passes().data(self.adds(layer.source))
                phases.append(("block", self.call(text, at, self.weight(weight), self.of(layer.source))))
            for name, held, count in ((weight, w, sums), (bias, b, layer.result.channels)):
                if name is not None:
                    text = "if (TO) for (int k = 0; k < COUNT; k++) TO[k] = total(load(FROM + k * LANES));"
                    text = text.replace("TO", self.slope(name)).replace("COUNT", str(count)).replace("FROM", held)
                    phases.append(("end", text))
            return phases

        return forward, backward, result

    def pool(self, pool: Pool) -> tuple:
        """Pooling by itself."""

        def which() -> str:
            return self.which(pool) if pool.kind == "max" else "(int*)0"

        def forward() -> list[Phase]:
            text = stages.pool_forward(pool, self.buffer(pool.source), self.buffer(pool.result))
            return [("block", self.call(text, self.at(pool.source), self.at(pool.result), which()))]

        def backward() -> list[Phase]:
            if not self.wants(pool.source):
                return []
            gradients = self.gradient(pool.result), self.gradient(pool.source)
            text = stages.pool_backward(pool, *gradients, self.adds(pool.source))
            return [("block", self.call(text, self.of(pool.result), which(), self.of(pool.source)))]

        return forward, backward, pool.result

    def pointwise(self, operation: Pointwise) -> tuple:
        """Element-wise work by itself."""
        values = operation.values

        def forward() -> list[Phase]:
            text = stages.pointwise_forward(operation, [self.buffer(v) for v in values], self.buffer(operation.result))
            return [("block", self.call(text, *map(self.at, values), self.at(operation.result)))]

        def backward() -> list[Phase]:
            if not all(self.wants(value) for value in values):
                raise Unsupported("element-wise work on the images")
            adds = [self.adds(value) for value in values]
            text = stages.pointwise_backward(
                operation, [self.buffer(v) for v in values], self.buffer(operation.result),
                self.gradient(operation.result), [self.gradient(v) for v in values], adds,
            )  # fmt: skip
            given = *map(self.at, values), self.at(operation.result), self.of(operation.result), *map(self.of, values)
            return [("block", self.call(text, *given))]

        return forward, backward, operation.result

    def quantiser(self, quantiser: Quantiser, source: Value, relu: bool) -> tuple:
        """A quantiser of activations, with the ReLU before it if there is one."""

        def state() -> str:
            return self.state(quantiser, self.machine.lanes)

        def forward() -> list[Phase]:
            peak = stages.quantiser_peak(self.buffer(source), relu)
            apply = stages.quantiser_forward(quantiser, self.buffer(source), self.buffer(quantiser.result), relu)
            return [
                ("start", f"store({state()}, all(-INFINITY));"),
                ("block", self.call(peak, self.at(source), self.valid, state())),
                ("once", self.call(stages.quantiser_range(quantiser), self.own(quantiser.range), state())),
                ("block", self.call(apply, self.at(source), state(), self.at(quantiser.result))),
            ]

        def backward() -> list[Phase]:
            if not self.wants(source):
                return []
            text = stages.quantiser_backward(
                self.buffer(source), self.gradient(quantiser.result), self.gradient(source), relu, self.adds(source)
            )
            return [("block", self.call(text, self.at(source), state(), self.of(quantiser.result), self.of(source)))]

        return forward, backward, quantiser.result

    def norm(self, norm: BatchNorm, pool: Pool | None = None, relu: Pointwise | None = None) -> tuple:
        """BatchNorm, with a max-pooling of whole windows and a ReLU if they follow."""
        channels, lanes = norm.source.channels, self.machine.lanes
        result = (relu or pool or norm).result
        form = norms.Norm(norm, pool, relu is not None, self.images, lanes)

        def state() -> str:
            return self.state(norm, (2 * lanes + 3) * channels)

        def best() -> str:  # of a window, before it is normalised
            return self.memory.block("kept", ("best", norm), math.prod(result.shape) * lanes)

        def forward() -> list[Phase]:
            source, x = self.buffer(norm.source), self.at(norm.source)
            weight, running = self.weight(norm.weight), (self.own(norm.mean), self.own(norm.variance))
            given = x, weight, self.valid, "block == 0", state()
            sums = (form.pooled_sums(pool, source), best(), self.which(pool)) if pool else (form.sums(source),)
            taken = best() if pool else x
            return [
                ("start", f"clear({state()}, {2 * channels * lanes});"),
                ("block", self.call(sums[0], *given, *sums[1:])),
                ("once", self.call(form.statistics(), state(), *running)),
                ("block", self.call(form.forward(source, self.buffer(result)), taken, state(), weight,
                                    self.weight(norm.bias), self.at(result))),
            ]  # fmt: skip

        def backward() -> list[Phase]:
            source, gradient = self.buffer(norm.source), self.gradient(result)
            sums = self.sums(("norm", norm), 2 * channels * lanes)
            x, g, weight = self.at(norm.source), self.of(result), self.weight(norm.weight)
            taken, y = (best() if pool else x), (self.at(result) if relu else "(const float*)0")
            phases = [
                ("block", self.call(form.gradient_sums(source, self.buffer(result), gradient), taken, y, state(), g, sums)),
                ("once", self.call(form.gradient_totals(), sums, self.slope(norm.weight), self.slope(norm.bias))),
            ]
            if self.wants(norm.source):
                adds, which = self.adds(norm.source), self.which(pool) if pool else "(const int*)0"
                text = form.backward(source, gradient, self.gradient(norm.source), adds)
                given = x, state(), weight, g, which, sums, self.valid, self.of(norm.source)
                phases.append(("block", self.call(text, *given)))
            return phases

        return forward, backward, result


def takes_pool(pool: Pool, most: int) -> bool:
    """Whether a pooling can run with the layer before it: a maximum of whole windows of two to so many places."""
    whole = all(many * size == full for many, size, full in
                zip(pool.result.shape[1:], pool.kernel, pool.source.shape[1:], strict=True))  # fmt: skip
    tidy = not any(pool.padding) and pool.kernel == pool.stride
    return pool.kind == "max" and tidy and whole and 1 < math.prod(pool.kernel) <= most


def is_linear(layer: Convolution) -> bool:
    """Whether a convolution's kernel is its whole source."""
    whole = layer.kernel == (layer.source.rows, layer.source.columns)
    return whole and layer.result.shape[1:] == (1, 1) and not any(layer.padding) and layer.groups == 1


def spread_gradient(layer: Convolution, lanes: int) -> Buffer:
    """How the gradient of a convolution's result is laid out for the passes that read it."""
    sizes, reach = [], []
    for axis in (0, 1):
        size = (layer.result.shape[1 + axis] - 1) * layer.stride[axis] + 1
        before = layer.dilation[axis] * (layer.kernel[axis] - 1) - layer.padding[axis]
        after = layer.source.shape[1 + axis] - 1 + layer.padding[axis] - (size - 1)
        sizes.append(size)
        reach.append(max(0, before, after))
    return Buffer(Value.of((layer.result.channels, *sizes)), Border(*reach), lanes)


def _stretch(layer: Convolution, gradient: Buffer, spread: Buffer) -> str:
    """C++: (g, spread): a gradient, spread by the stride."""
    to = spread.at("channel", f"row * {layer.stride[0]}", f"column * {layer.stride[1]}")
    inner = stages.everywhere(layer.result.shape, [f"store(spread + {to}, load(g + {gradient.at(*stages.AT)}));"])
    return f"static void KERNEL(const float* g, float* spread) {{\n  {inner}\n}}"
