"""What a network computes in training mode, beside `nvlib.native.graph`: layers whose numbers follow from a batch.

A weight is a parameter of the module itself, not computed from one, so that its gradient is the parameter's. Buffers
that a layer updates are named; counters (BatchNorm's `num_batches_tracked`) are counted by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

from nvlib.native.graph import Convolution, Pointwise, Pool, Value


@dataclass(frozen=True)
class BatchNorm:
    """Normalisation by the batch's own mean and variance a channel; running statistics follow."""

    name: str
    source: Value
    result: Value
    weight: str | None
    bias: str | None
    mean: str | None
    variance: str | None
    momentum: float
    eps: float


@dataclass(frozen=True)
class Quantiser:
    """2^bits levels over [0, running maximum]; the maximum follows the batch, gradients pass below it."""

    name: str
    source: Value
    result: Value
    range: str
    bits: int
    momentum: float


Operation = Convolution | Pool | Pointwise | BatchNorm | Quantiser


@dataclass(frozen=True)
class Training:
    """Operations in order, from the images to one or several results.

    Attributes:
        source: the images.
        results: what is returned; several where the module stacks them on a first axis.
        stacked: whether there is such an axis.
        operations: in order.
        names: of each step of the recipe that is a tensor of the module.
        counters: buffers that grow by a number each pass.
    """

    source: Value
    results: tuple[Value, ...]
    stacked: bool
    operations: tuple[Operation, ...]
    names: dict[int, str]
    counters: tuple[tuple[str, float], ...]

    def weight(self, convolution: Convolution) -> str:
        """Return the name of a convolution's weight."""
        return self.names[convolution.weight.step]

    def bias(self, convolution: Convolution) -> str | None:
        """Return the name of a convolution's bias."""
        return None if convolution.bias is None else self.names[convolution.bias.step]
